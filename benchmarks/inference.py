"""Time loading, prefill and decoding of GPT-2 124M beside transformers: `python benchmarks/inference.py`.

Each row alternates the two in one process and prints medians and the median of the ratios; "floor" is the time to read
every weight once, which no decoder of one token can beat. Weights are random: the clock does not mind. CPU only.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import: nothing here asks the hub

import tiktoken
import torch
import transformers

from gpt2lite import GPT, SIZES
from gpt2lite.corpora import load_text
from gpt2lite.sampling import generate
from gpt2lite.tokenizer import PATTERN, get_tokenizer

ROUNDS = 3


def clock(f) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def compare(name, ours, theirs, per=1, floor=None, rounds=ROUNDS):
    """Print one row: milliseconds per unit of ours and theirs, interleaved, their ratio, and the floor."""
    ours(), theirs()  # warm up
    pairs = [(clock(ours), clock(theirs)) for _ in range(rounds)]
    a, b = (1e3 * statistics.median(column) / per for column in zip(*pairs, strict=True))
    ratio = statistics.median(x / y for x, y in pairs)
    bound = f"{floor:8.1f} {a / floor:6.2f} x" if floor else ""
    print(f"{name:<34} {a:9.2f} {b:9.2f} {ratio:7.2f} {bound}", flush=True)


def read_once(model) -> float:
    """Milliseconds to read every weight once from memory."""
    flat = [p.detach().view(-1) if p.is_contiguous() else p.detach().t().view(-1) for p in model.parameters()]
    flat = [w.view(torch.int64) for w in flat]
    return 1e3 * statistics.median(clock(lambda: [w.max() for w in flat]) for _ in range(2 * ROUNDS))


def decoding(folder):
    for dtype in (torch.float32, torch.bfloat16):
        ours = GPT.from_pretrained(folder, dtype=dtype)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        floor = read_once(ours)
        for B, n in ((1, 32), (1, 128), (5, 32), (5, 128)):
            idx = torch.randint(50257, (B, 8), generator=torch.Generator().manual_seed(0))
            their = dict(do_sample=False, use_cache=True, pad_token_id=50256, eos_token_id=None)
            compare(
                f"token, {str(dtype)[6:]}, batch {B}, {n} tokens",
                lambda: generate(ours, idx, n, temperature=0),
                lambda: theirs.generate(idx, max_new_tokens=n, min_new_tokens=n, **their),
                per=n,
                floor=floor,
            )
        if dtype == torch.float32:
            idx = torch.randint(50257, (1, 1024), generator=torch.Generator().manual_seed(0))
            compare(
                "prefill 1,023 + 1 token, float32",
                lambda: generate(ours, idx[:, 1:], 1, temperature=0),
                lambda: theirs.generate(idx[:, 1:], max_new_tokens=1, **their),
            )


COLD = {
    "ours": "from gpt2lite import GPT; m = GPT.from_pretrained({!r})",
    "transformers": "from transformers import AutoModelForCausalLM as A; m = A.from_pretrained({!r})",
    "torch": "import torch",
    "torch, gpt2lite": "import torch, gpt2lite",
    "torch, weights read": "import torch, safetensors.torch as s; [w.max() for w in s.load_file({!r} + '/model.safetensors').values()]",
}


def cold(which, folder) -> tuple[float, float]:
    """Seconds of a fresh process, and its peak memory in MB."""
    peak = "; import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    start = time.perf_counter()
    code = COLD[which].format(folder) + peak
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, float(out.stdout.split()[-1])


def loading(folder):
    rows = {which: [cold(which, folder) for _ in range(ROUNDS)] for which in COLD}
    seconds = {k: statistics.median(s for s, _ in v) for k, v in rows.items()}
    memory = {k: statistics.median(m for _, m in v) for k, v in rows.items()}
    for which in COLD:
        print(f"cold process: {which:<22} {seconds[which]:6.2f} s, peak {memory[which]:5.0f} MB")
    print(f"cold process to weights, ours / transformers: {seconds['ours'] / seconds['transformers']:.2f}")
    print(f"import gpt2lite adds {seconds['torch, gpt2lite'] - seconds['torch']:.2f} s to import torch")
    print(f"loading alone: {1e3 * statistics.median(clock(lambda: GPT.from_pretrained(folder)) for _ in range(ROUNDS)):.0f} ms")


def encoding():
    text = load_text("shakespeare")
    ours = get_tokenizer()
    plain = tiktoken.Encoding("plain", pat_str=PATTERN, mergeable_ranks=ours._mergeable_ranks, special_tokens={})
    compare("encode the plays", lambda: ours.encode_ordinary(text), lambda: plain.encode_ordinary(text))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        GPT(SIZES["gpt2"]).save_pretrained(folder)
        print(f"{'':<34} {'ours ms':>9} {'theirs ms':>9} {'ratio':>7} {'floor ms':>8} {'x floor':>8}")
        decoding(folder)
        encoding()
        loading(folder)
