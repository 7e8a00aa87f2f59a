"""Time loading, prefill and decoding of GPT-2 124M beside transformers, on a CPU.

    python benchmarks/inference.py [decoding] [prefill] [samples] [encoding] [loading]

Without a name it measures all. Each row alternates the two and prints medians, and the median of
the ratios. "floor" is the time to read every weight once, measured in the same rounds: no decoder
makes a token sooner. The weights are random: the clock does not mind.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports: nothing here asks the hub

import tiktoken
import torch
import transformers
from tiktoken_ext.openai_public import r50k_pat_str

from gpt2lite import GPT, SIZES
from gpt2lite.corpora import load_text
from gpt2lite.sampling import generate
from gpt2lite.tokenizer import get_tokenizer

ROUNDS = 7


def clock(f) -> float:
    """Return the milliseconds of a call."""
    start = time.perf_counter()
    f()
    return 1e3 * (time.perf_counter() - start)


def compare(name, ours, theirs, floor=lambda: None, per=1):
    """Print one row: ours and theirs in milliseconds per unit, their ratio, and ours / floor."""
    for f in (ours, floor, theirs):
        f()  # warm up
    rounds = [(clock(ours) / per, clock(floor), clock(theirs) / per) for _ in range(ROUNDS)]
    a, c, b = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(x / y for x, _, y in rounds)
    bound = f"{c:9.1f} {statistics.median(x / z for x, z, _ in rounds):8.2f}" if c > 0.1 else ""
    print(f"{name:<34} {a:9.2f} {b:9.2f} {ratio:7.2f} {bound}", flush=True)


def reader(model):
    """Return a function that reads every weight of a model once from memory."""
    flat = [p.detach() if p.is_contiguous() else p.detach().t() for p in model.parameters()]
    flat = [w.view(-1).view(torch.int64) for w in flat]
    return lambda: [w.max() for w in flat]


def row(ours, theirs, dtype, B, n):
    """Compare n greedy tokens after a prompt of 8."""
    idx = torch.randint(50257, (B, 8), generator=torch.Generator().manual_seed(0))
    options = {"do_sample": False, "pad_token_id": 50256, "eos_token_id": None}
    compare(
        f"a token, {str(dtype)[6:]}, batch {B}, {n} tokens",
        lambda: generate(ours, idx, n, temperature=0),
        lambda: theirs.generate(idx, max_new_tokens=n, min_new_tokens=n, **options),
        reader(ours),
        per=n,
    )


def prefill(ours, theirs):
    """Compare reading a long prompt and making one token of it."""
    idx = torch.randint(50257, (1, 1023), generator=torch.Generator().manual_seed(0))
    compare(
        "prefill of 1,023 tokens, float32",
        lambda: generate(ours, idx, 1, temperature=0),
        lambda: theirs.generate(idx, do_sample=False, max_new_tokens=1, pad_token_id=50256),
    )


def samples(ours, B=5, T=512):
    """Compare samples that share a prompt with the prompt given several times, first tokens."""
    idx = torch.randint(50257, (1, T), generator=torch.Generator().manual_seed(0))
    compare(
        f"{B} of one prompt of {T}, not {B} of {B}",
        lambda: generate(ours, idx, 1, num_samples=B),
        lambda: generate(ours, idx.repeat(B, 1), 1),
    )


COLD = {
    "gpt2lite": "from gpt2lite import GPT; m = GPT.from_pretrained({!r})",
    "transformers": "import transformers as t; m = t.GPT2LMHeadModel.from_pretrained({!r})",
    "torch alone": "import torch",
    "gpt2lite alone": "import gpt2lite",
}


def cold(what, folder) -> tuple[float, float]:
    """Return the milliseconds of a fresh process, and its peak memory in MB (Linux)."""
    peak = "; print(next(x.split()[1] for x in open('/proc/self/status') if x[:5] == 'VmHWM'))"
    command = [sys.executable, "-c", COLD[what].format(folder) + peak]
    out = []
    ms = clock(lambda: out.append(subprocess.run(command, capture_output=True, check=True).stdout))
    return ms, int(out[0].split()[-1]) / 1024


def loading(folder):
    """Compare fresh processes up to the loaded weights."""
    rounds = [{what: cold(what, folder) for what in COLD} for _ in range(ROUNDS)]
    for what in COLD:
        ms, mb = (statistics.median(r[what][i] for r in rounds) for i in (0, 1))
        print(f"fresh process, {what:<19} {ms:9.0f} ms, peak {mb:5.0f} MB")
    ratio = statistics.median(r["gpt2lite"][0] / r["transformers"][0] for r in rounds)
    added = statistics.median(r["gpt2lite alone"][0] - r["torch alone"][0] for r in rounds)
    alone = statistics.median(clock(lambda: GPT.from_pretrained(folder)) for _ in range(ROUNDS))
    print(f"fresh process to weights, gpt2lite / transformers: {ratio:.2f}")
    print(
        f"import gpt2lite adds {added:.0f} ms to import torch; loading alone takes {alone:.0f} ms"
    )


def encoding():
    """Compare encoding the plays with tiktoken's own pattern on the same ranks."""
    text, ours = load_text("shakespeare"), get_tokenizer()
    ranks = {ours.decode_single_token_bytes(i): i for i in range(50256)}
    plain = tiktoken.Encoding(
        "plain", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}
    )
    encode = ours.encode_ordinary
    compare("encode the plays", lambda: encode(text), lambda: plain.encode_ordinary(text))


def main():
    """Print the rows of the parts that the command names, or of all."""
    asked = sys.argv[1:] or ["decoding", "prefill", "samples", "encoding", "loading"]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    threads = f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {threads}")
    print(f"{'milliseconds':<34}  gpt2lite   transf.   ratio     floor  x floor")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        GPT(SIZES["gpt2"]).save_pretrained(folder)
        for dtype in (torch.float32, torch.bfloat16):
            ours = GPT.from_pretrained(folder, dtype=dtype)
            theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            if "decoding" in asked:
                for B, n in ((1, 32), (1, 128), (5, 32), (5, 128)):
                    row(ours, theirs, dtype, B, n)
            if "prefill" in asked and dtype == torch.float32:
                prefill(ours, theirs)
            if "samples" in asked:
                samples(ours)
        if "encoding" in asked:
            encoding()
        if "loading" in asked:
            loading(folder)


if __name__ == "__main__":
    main()
