"""Measure on one GPU what the course says about a GPU, and write it down.

    python benchmarks/gpu.py [--minutes 25] [--peer build-nanogpt/train_gpt2.py]

The most useful parts come first; how often a part repeats a step follows from the time that is
left. What is done goes to notebooks/recorded, results into gpu.json there, and is not done again: a
second call goes on where the first ran out of time. Both print a table for the README, which says
what could not be done, and why; it is kept in build/gpu. The file is long since it has a part for
each thing that is measured, one after the other.
"""

import argparse
import ast
import gc
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
import types
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports: nothing here asks the hub

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lite import GPT, SIZES, __main__
from gpt2lite.accounting import mfu
from gpt2lite.assets import replacing
from gpt2lite.config import TrainConfig
from gpt2lite.data import Batches
from gpt2lite.loss import padded_vocabulary, plain_cross_entropy
from gpt2lite.precision import Precision, pick
from gpt2lite.sampling import generate
from gpt2lite.training import OutOfMemory, Trainer, maybe_compile

ROOT = Path(__file__).resolve().parent.parent
OUT, RECORDED = ROOT / "build" / "gpu", ROOT / "notebooks" / "recorded"
NOTEBOOKS = [p for d in (".", "deep") for p in sorted((ROOT / "notebooks" / d).glob("*.ipynb"))]
T4_CAP = 15 * 2**30  # bytes: what the ladder may take, as if the card were a T4
# Dense 16-bit operations a second, by the makers' data sheets.
PEAKS = {"T4": 65e12, "V100": 125e12, "L4": 121e12, "A100": 312e12, "H100": 989e12, "H200": 989e12}
RUNS = {  # what to train, and for how many steps; each makes a log of that name
    "step1": ("--init linear --dtype float32 --batch-size 32 --seq-len 8", 1000),
    "step2": ("--dtype float32 --batch-size 4 --seq-len 32", 1000),
    "step3": ("--batch-size 4 --seq-len 1024", 100),
    "step3_longer": ("--batch-size 4 --seq-len 1024 --compile", 1000),
}


def clock(work) -> float:
    """Return the seconds of a call, waiting for the GPU to finish."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def median_seconds(step, seconds: float) -> float:
    """Return the median time of a step, of as many as fit into `seconds`, 3 to 30."""
    slowest = max(clock(step) for _ in range(3))  # warm up
    count = int(min(30, max(3, seconds / slowest)))
    return statistics.median(clock(step) for _ in range(count))


def clear():
    """Give back what earlier parts held of the GPU's memory."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def tests(left, args):
    """Run the unit tests; those that ask for a device get the GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "tests"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left)
    (OUT / "tests.txt").write_text(run.stdout, encoding="utf-8")
    said = run.stdout.strip().splitlines()[-1:]
    if run.returncode:
        raise RuntimeError(f"the tests failed: {said}")
    return {"said": said[0]}


def record(name):
    """Return a part that trains one of RUNS and puts its log among the records."""

    def part(left, args):
        options, steps = RUNS[name]
        if left < steps * args.step_seconds:  # half a run is no record
            raise TimeoutError(f"needs {steps * args.step_seconds:.0f} s, {left:.0f} were left")
        log = OUT / f"{name}.jsonl"
        log.unlink(missing_ok=True)  # of a run that was cut off
        command = ["train", *shlex.split(options), "--steps", str(steps)]
        with mock.patch.object(sys, "argv", ["gpt2lite", *command, "--log-file", str(log)]):
            if __main__.main(sys.argv[1:]):
                raise RuntimeError(f"{shlex.join(sys.argv)} failed: see above")
        head, *lines = [json.loads(line) for line in log.read_text().splitlines()]
        ms = statistics.median(line["ms"] for line in lines[1:])
        head["command"] = head["command"].replace(str(log), f"notebooks/recorded/{name}.jsonl")
        text = "\n".join(map(json.dumps, [head, *lines])) + "\n"
        (RECORDED / f"{name}.jsonl").write_text(text, encoding="utf-8")
        return {"steps": steps, "first": lines[0]["loss"], "last": lines[-1]["loss"], "ms": ms}

    return part


LADDER = [  # each rung adds its change to those before
    "fp32, attention written out",
    "fp16 and a scaler",
    "SDPA",
    "compile",
    "V padded to 50,304",
    "fused AdamW",
]


def climb(on, seconds, B=4, T=1024):
    """Time a step of GPT-2 with the changes `on`; return milliseconds and peak bytes."""
    clear()
    torch.manual_seed(1337)
    model = GPT(SIZES["gpt2"]).to("cuda").train()
    T = min(T, model.config.block_size)
    half = "fp16 and a scaler" in on
    dtype = torch.float16 if half else torch.float32
    precision = Precision(torch.device("cuda"), dtype, half, "as the rung says")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused="fused AdamW" in on)
    batches = Batches(*random_tokens(B, T), device="cuda")
    with ExitStack() as settings:
        if "SDPA" not in on:
            settings.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "V padded to 50,304" in on:
            settings.enter_context(padded_vocabulary(model))
        forward, loss = model, plain_cross_entropy
        if "compile" in on:
            with autocast(precision):
                forward, loss, said = maybe_compile(model, next(batches)[0])
            print(said)

        def loss_of(x, y):
            return loss(forward(x).flatten(0, 1), y.flatten())

        step = plain_step(loss_of, model, optimizer, precision, batches)
        ms = 1e3 * median_seconds(step, seconds)
    return {"ms": ms, "tokens_per_s": 1e3 * B * T / ms, "bytes": torch.cuda.max_memory_allocated()}


def random_tokens(B, T):
    """Return tokens for one batch that is read over and over, and its sizes: the clock is blind."""
    return np.random.default_rng(0).integers(0, 50257, B * T + 1).astype(np.uint16), B, T


def plain_step(loss_of, model, optimizer, precision, batches):
    """Return a step as most people write it, for a model that says how `loss_of(x, y)` is made."""
    scaler = torch.amp.GradScaler("cuda", enabled=precision.scaler)

    def step():
        x, y = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision):
            loss = loss_of(x, y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    return step


def autocast(precision):
    return torch.autocast("cuda", precision.dtype, enabled=precision.dtype != torch.float32)


def ladder(left, args):
    """Climb in fp16, whatever the card can do better, with a T4's memory."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, T4_CAP / total))
    try:
        seconds = min(10, left / 2 / len(LADDER))
        return {name: climb(LADDER[: i + 1], seconds) for i, name in enumerate(LADDER)}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def ours(B, T, seconds):
    """Return the seconds of our training step at (B, T), compiled, V padded."""
    model = GPT(SIZES["gpt2"]).to("cuda")
    config = TrainConfig(steps=10**6, batch_size=B, seq_len=T, lr=1e-5, grad_clip=1.0)
    with padded_vocabulary(model):
        batches = Batches(*random_tokens(B, T), device="cuda")
        trainer = Trainer(model, batches, config, pick("cuda"))
        print(trainer.compile())
        return median_seconds(trainer.step, seconds)


def peers(path, B, T, seconds):
    """Return the seconds of a step of the model in a script, of which only its classes are run."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    peer = sys.modules["peer"] = types.ModuleType("peer")  # a dataclass looks its module up
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef)):
            with suppress(ImportError):  # of what its training needs, not its model
                exec(compile(ast.Module([node], []), path, "exec"), vars(peer))
    c = SIZES["gpt2"]
    sizes = {"block_size": c.block_size, "n_layer": c.n_layer, "n_head": c.n_head}
    model = peer.GPT(peer.GPTConfig(vocab_size=50304, n_embd=c.n_embd, **sizes))
    model.to("cuda").train()
    forward = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    batches = Batches(*random_tokens(B, T), device="cuda")

    def loss_of(x, y):
        return forward(x, y.contiguous())[1]  # such a model returns its loss itself

    step = plain_step(loss_of, model, optimizer, pick("cuda"), batches)
    return median_seconds(step, seconds)


def utilization(left, args):
    """Find the largest batch that fits, and MFU there, beside the peer's model if one is given."""
    T, B, seconds, result = SIZES["gpt2"].block_size, args.largest_batch, min(20, left / 6), {}
    torch.set_float32_matmul_precision("high")
    while B:
        try:
            clear()
            result = {"B": B, "T": T, "tokens_per_s": B * T / ours(B, T, seconds)}
            if args.peer:
                clear()
                result["peer_tokens_per_s"] = B * T / peers(args.peer, B, T, seconds)
            break
        except (OutOfMemory, torch.OutOfMemoryError):
            B //= 2
    name = torch.cuda.get_device_name()
    if peak := next((PEAKS[card] for card in PEAKS if card in name), None):
        result["mfu"] = mfu(SIZES["gpt2"], T, result["tokens_per_s"], peak)
    return result


def decoding(left, args):
    """Time greedy decoding beside transformers; they take turns."""
    dtype, c, n, result = pick("cuda").dtype, SIZES["gpt2"], args.decode_tokens, {}
    model = GPT(c).to("cuda", dtype).eval()
    sizes = {"n_positions": c.block_size, "n_layer": c.n_layer, "n_head": c.n_head}
    theirs = GPT2LMHeadModel(GPT2Config(n_embd=c.n_embd, **sizes)).to("cuda", dtype).eval()
    options = {"do_sample": False, "pad_token_id": 50256, "eos_token_id": None}
    for B in (1, 5):
        idx = torch.randint(50257, (B, 8), device="cuda")
        works = (
            lambda idx=idx: generate(model, idx, n, temperature=0),
            lambda idx=idx: theirs.generate(idx, max_new_tokens=n, min_new_tokens=n, **options),
        )
        rounds = [[clock(work) / n for work in works] for _ in range(6)][1:]  # one warms up
        ms = [1e3 * statistics.median(column) for column in zip(*rounds, strict=True)]
        result[f"batch {B}"] = {"ms": ms[0], "transformers_ms": ms[1]}
    return result


def ddp(left, args):
    """Time our step with DistributedDataParallel around the model and without, in turn."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1"]
    command += [str(ROOT / "benchmarks" / "ddp.py")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left)
    if run.returncode:
        raise RuntimeError((run.stdout + run.stderr).strip()[-2000:])
    return json.loads(run.stdout.splitlines()[-1])


def notebook(path):
    """Return a part that runs one notebook in its full profile: how many minutes does it take?"""

    def part(left, args):
        command = [sys.executable, ".ci/notebooks.py", "course", str(path)]
        command += ["--build", str(OUT / path.stem)]
        env = os.environ | {"GPT2LITE_PROFILE": "full"}
        began = time.monotonic()
        run = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=left
        )
        if run.returncode:
            raise RuntimeError((run.stdout + run.stderr).strip()[-2000:])
        return {"minutes": round((time.monotonic() - began) / 60, 1)}

    return part


def parts():
    """Return every part by its name, with the seconds that must be left to begin it."""
    runs = {name: (20, record(name)) for name in RUNS}
    found = {"tests": (30, tests), **runs, "ladder": (60, ladder), "large batch": (60, utilization)}
    found |= {"decoding": (20, decoding), "ddp": (60, ddp)}
    return found | {f"notebook {path.stem}": (60, notebook(path)) for path in NOTEBOOKS}


def table(results, missing) -> str:
    """Return the results in Markdown, and what is missing with its reason."""
    rows = [("what", f"{results['hardware']}, torch {results['torch']}"), ("---", "---")]
    for name, found in results["parts"].items():
        inner = [value for value in found.values() if isinstance(value, dict)]
        named = {f"{name}: {key}": found[key] for key in found} if inner else {name: found}
        for row, values in named.items():
            told = (f"{key} {show(value)}" for key, value in values.items())
            rows.append((row, ", ".join(told)))
    rows += [(name, f"not measured: {reason}") for name, reason in missing.items()]
    return "".join(f"| {what} | {told} |\n" for what, told in rows)


def show(value) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value}"


def main(argv=None):
    """Do the parts that are not done yet, as far as the time goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--peer", help="a script with another GPT-2, to time beside ours")
    parser.add_argument("--largest-batch", type=int, default=128)
    parser.add_argument("--decode-tokens", type=int, default=128)
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("no GPU here: nothing to measure")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    kept, end = RECORDED / "gpu.json", time.monotonic() + 60 * args.minutes
    here = {"hardware": torch.cuda.get_device_name(), "torch": torch.__version__}
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if not results.items() >= here.items():  # another machine's are not ours
        results = here | {"parts": {}}
    missing = {}
    for name, (needs, part) in parts().items():
        left = end - time.monotonic()
        args.step_seconds = results["parts"].get("step3", {"ms": 100})["ms"] / 1e3  # a guess, then
        if name in results["parts"]:
            continue
        if left < needs:
            missing[name] = f"needs {needs} s, and {max(left, 0):.0f} were left: run this again"
            continue
        print(f"{name} …", flush=True)
        clear()
        try:
            results["parts"][name] = part(left, args)
        except Exception as error:  # the other parts are worth having all the same
            said = " ".join(f"{error}".split())
            missing[name] = f"{type(error).__name__}: {said[:300]}"
        with replacing(RECORDED, [kept.name]) as partial:
            text = json.dumps(results, indent=1) + "\n"
            (partial / kept.name).write_text(text, encoding="utf-8")
    written = table(results, missing)
    (OUT / "table.md").write_text(written, encoding="utf-8")
    print(written)
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
