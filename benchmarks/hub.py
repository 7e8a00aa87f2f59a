"""Measure OpenAI's GPT-2, all four sizes, against what others published; it needs the hub.

    python benchmarks/hub.py [RECORD]        or: make hub

RECORD (notebooks/recorded/hub.json) holds each result with its hardware, and why others could not
be done: run it again to do only those. The exit status is 1 if a result is not as published.

Sources of the published values: transformers, tests/models/gpt2/test_modeling_gpt2.py (greedy);
llm.c, test_gpt2.c and test_gpt2.cu (ten losses), dev/vislog.ipynb (FineWeb); build-nanogpt,
play.ipynb (FineWeb-Edu).
"""

import copy
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gpt2lite import GPT, CheckpointError
from gpt2lite.assets import AssetError, replacing
from gpt2lite.corpora import load_text
from gpt2lite.evaluation import validation_loss
from gpt2lite.precision import pick
from gpt2lite.pretrained import RELEASED
from gpt2lite.sampling import generate
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

RECORD = Path(__file__).parent.parent / "notebooks" / "recorded" / "hub.json"
DEVICE = pick().device
WINDOWS = 1000 if DEVICE.type == "cuda" else 64  # of 1,024 tokens, for a loss
TOKENIZER = get_tokenizer()

PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
GREEDY = {  # prompt: the whole text, of gpt2
    "The dog": "The dog was found in a field near the intersection of West and West Streets.\n\n"
    "The dog",
    "Hello, my dog is a little": "Hello, my dog is a little bit of a mess. I'm not sure if he's "
    "going",
    "Today, I": "Today, I'm going to be doing a lot of research on this. I",
}
THE_DOG = [464, 3290, 373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262]
THE_DOG += [13, 198, 198, 464, 3290]
OVERFIT = {  # AdamW's settings: gpt2's losses while it learns one batch by heart
    ((0.9, 0.999), 0.01): [
        *(5.270007, 4.059707, 3.375123, 2.800783, 2.315382),
        *(1.849029, 1.394656, 0.999147, 0.624080, 0.376511),
    ],
    ((0.9, 0.95), 0.0): [
        *(5.270009, 4.060681, 3.320085, 2.717550, 2.181066),
        *(1.653923, 1.168050, 0.736873, 0.401021, 0.187493),
    ],
}
SHARDS = {
    "fineweb": ("kjj0/fineweb10B-gpt2", "fineweb_val_000000.bin"),
    "fineweb_edu": ("kjj0/finewebedu10B-gpt2", "finewebedu_val_000000.bin"),
}
LOSSES = {
    "fineweb": dict(zip(PARAMETERS, (3.424958, 3.083089, 3.000580, 2.831273), strict=True)),
    "fineweb_edu": {"gpt2": 3.2924},
    "tinyshakespeare": {},
}


def parameters(size, model):
    """Count the parameters."""
    count = sum(p.numel() for p in model.parameters())
    return result(count, PARAMETERS[size], count == PARAMETERS[size])


def greedy(size, model):
    """Continue prompts with the likeliest token, as long as the published texts are."""
    texts = {}
    for prompt, whole in GREEDY.items():
        ids = TOKENIZER.encode_ordinary(prompt)
        new = len(TOKENIZER.encode_ordinary(whole)) - len(ids)
        made = generate(model, torch.tensor([ids], device=DEVICE), new, temperature=0)[0].tolist()
        texts[prompt] = TOKENIZER.decode(made)
        if prompt == "The dog":
            the_dog = made
    ours = {"the_dog": the_dog, "texts": texts}
    published = {"the_dog": THE_DOG, "texts": GREEDY} if size == "gpt2" else None
    return result(ours, published, ours == published)


def samples(size, model):
    """Draw the README's five samples, as `python -m gpt2lite sample --num-samples 5` does."""
    ids = TOKENIZER.encode_ordinary("Hello World ! I'm LLM")
    idx = torch.tensor([ids] * 5, device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(1337)
    rows = generate(model, idx, 32, stop=END_OF_TEXT, generator=generator).tolist()
    return result([TOKENIZER.decode(row).split("<|endoftext|>")[0] for row in rows])


def overfit(size, model):
    """Learn one batch of TinyShakespeare by heart: llm.c's test, ten steps under two settings."""
    x, y = llm_c_batch(load_text("tinyshakespeare"))
    ours = [ten_losses(copy.deepcopy(model), x, y, *settings) for settings in OVERFIT]
    published = list(OVERFIT.values())  # compared to llm.c's own tolerance
    return result(ours, published, bool(np.allclose(ours, published, rtol=0, atol=1e-2)))


def llm_c_batch(text, B=4, T=64):
    """Return llm.c's first batch, x and y (B, T): before each paragraph an end of text."""
    tokens = []
    for paragraph in text.replace("\n\n", "\n\n\0").split("\0"):
        tokens += [END_OF_TEXT, *TOKENIZER.encode_ordinary(paragraph)]
    ids = torch.tensor(tokens[: B * T + 1], device=DEVICE)
    return ids[:-1].view(B, T), ids[1:].view(B, T)


def ten_losses(model, x, y, betas, weight_decay):
    """Train on one batch and return the loss before each of ten steps."""
    settings = dict(lr=1e-4, betas=betas, weight_decay=weight_decay)
    optimizer = torch.optim.AdamW(model.parameters(), **settings)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def tokens_of(name):
    """Return FineWeb's validation tokens, FineWeb-Edu's, or TinyShakespeare, where we train."""
    if name in SHARDS:
        return validation_shard(*SHARDS[name])
    return np.array(TOKENIZER.encode_ordinary(load_text(name)))


def validation_shard(repository, file):
    """Fetch and map tokens in llm.c's format: 256 integers, the third the count, then uint16."""
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(repository, file, repo_type="dataset")
    except Exception as error:  # no connection, offline mode, full disk: many libraries' classes
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise AssetError(f"cannot fetch {file} of {repository} ({reason})") from error
    magic, version, count = np.fromfile(path, np.int32, 3)
    if (magic, version) != (20240520, 1):
        raise AssetError(f"{path} is no token file of llm.c")
    return np.memmap(path, np.uint16, "r", offset=1024, shape=(count,))


def loss_on(name, size, model, tokens, T=1024):
    """Return the mean loss over the first windows, with its standard error.

    Others averaged over more windows: ours may differ by its error, and theirs by 0.02.
    """
    windows = min(WINDOWS, (len(tokens) - 1) // T)
    each = [validation_loss(model, tokens[i * T : (i + 1) * T + 1], 1, T) for i in range(windows)]
    loss, error = np.mean(each), np.std(each, ddof=1) / windows**0.5
    ours = {"loss": loss, "standard_error": error, "tokens": windows * T}
    published = LOSSES[name].get(size)
    return result(ours, published, bool(abs(loss - (published or 0)) <= 3 * error + 0.02))


def result(ours, published=None, same=None):
    """Return one record; `same` says whether ours agrees with what was published."""
    return {"ours": ours, "published": published, "same": same if published else None}


def tasks_of(size) -> dict:
    """Return what to measure for a size, by name: only gpt2's ten losses are published."""
    tasks = {"parameters": parameters, "greedy": greedy, "samples": samples}
    if size == "gpt2":
        tasks["overfit"] = overfit
    for name in LOSSES:
        tasks[name] = lambda size, model, name=name: loss_on(name, size, model, tokens_of(name))
    return tasks


def memory() -> float:
    """Return the bytes of memory that a model can have here."""
    if DEVICE.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # Windows doesn't say
        return float("inf")


def hardware() -> str:
    """Name the machine."""
    cpu = f"{platform.machine()} {DEVICE.type}, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name() if DEVICE.type == "cuda" else cpu


def measure(size, name, task, found, missing):
    """Do a task, put its result into `found` or the reason into `missing`, and say it."""
    try:
        start = time.perf_counter()
        model = GPT.from_pretrained(size).to(DEVICE)
        found[name] = task(size, model) | {"hardware": hardware()}
        found[name]["seconds"] = time.perf_counter() - start
    except (AssetError, CheckpointError, torch.OutOfMemoryError) as reason:
        missing[name] = str(reason)
        print(f"○ {size:<12} {name:<16} could not be done: {reason}", flush=True)
        return
    mark = {True: "✓", False: "✗ not as published:", None: "✓"}[found[name]["same"]]
    print(f"{mark} {size:<12} {name:<16} {found[name]['ours']}", flush=True)


def write(record, results, missing):
    """Write all that is known, whole or not at all."""
    header = {"command": "python benchmarks/hub.py", "python": platform.python_version()}
    header |= {"torch": torch.__version__, "results": results, "not_done": missing}
    text = json.dumps(header, indent=1, ensure_ascii=False) + "\n"
    with replacing(record.parent, [record.name]) as partial:
        (partial / record.name).write_text(text, encoding="utf-8")


def main(record: Path) -> int:
    """Do what `record` doesn't hold yet, and write it after each task."""
    kept = json.loads(record.read_text(encoding="utf-8"))["results"] if record.exists() else {}
    results, missing = {size: kept.get(size, {}) for size in RELEASED}, {}
    for size in RELEASED:
        missing[size], needed = {}, 4 * PARAMETERS[size]
        for name, task in tasks_of(size).items():
            if name in results[size]:
                continue
            if needed > 0.8 * memory():
                missing[size][name] = f"{needed / 1e9:.1f} GB of weights don't fit into the memory"
                print(f"○ {size:<12} {name:<16} {missing[size][name]}", flush=True)
                continue
            measure(size, name, task, results[size], missing[size])
            write(record, results, missing)
    write(record, results, missing)
    each = [found for size in results.values() for found in size.values()]
    right, wrong = (sum(found["same"] is same for found in each) for same in (True, False))
    left = sum(map(len, missing.values()))
    print(f"{len(each)} results, {right} as published, {wrong} not; {left} not done: {record}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD))
