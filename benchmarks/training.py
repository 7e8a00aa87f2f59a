"""Time a training step of GPT-2 124M beside transformers and nanoGPT in a plain loop, on a CPU.

    python benchmarks/training.py [path of nanoGPT's model.py]

Each contender has a process of its own, so that none profits from another's settings; they take
turns, a step each. Printed are medians, and the medians of the rounds' ratios. The floor is what no
step can do without: its matrix products, each operand laid out as oneDNN likes it, and fused AdamW.
"""

import importlib.util
import multiprocessing
import os
import statistics
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports: nothing here asks the hub

import torch
import torch.nn.functional as F

from gpt2lite import GPT, SIZES, cpu
from gpt2lite.config import TrainConfig
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer

ROUNDS = 9
ROWS = [(4, 32, "float32"), (4, 32, "bfloat16"), (4, 256, "bfloat16")]


def batches(B, T):
    """Yield random batches without end: the clock does not mind."""
    generator = torch.Generator().manual_seed(0)
    while True:
        ids = torch.randint(50257, (B, T + 1), generator=generator)
        yield ids[:, :-1], ids[:, 1:].contiguous()  # nanoGPT asks for that


class Endless:
    """Random batches with the methods that a Trainer asks for."""

    def __init__(self, B, T):
        self.draw = batches(B, T)

    def __next__(self):
        return next(self.draw)

    def state_dict(self):
        return {}


def ours(B, T, dtype, _):
    """Return our step as it comes."""
    config = TrainConfig(batch_size=B, seq_len=T)
    cpu.keep_process_memory()
    precision = Precision(torch.device("cpu"), dtype, False, "as asked")
    return Trainer(GPT(SIZES["gpt2"]), Endless(B, T), config, precision).step


def plain_loop(loss_of, optimizer, B, T, dtype):
    """Return a step as most people write it."""
    draw = batches(B, T)

    def step():
        x, y = next(draw)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def transformers(B, T, dtype, fused):
    """Return a step with transformers' model and AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, use_cache=False)
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=fused or None)

    def loss_of(x, y):
        return F.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())

    return plain_loop(loss_of, optimizer, B, T, dtype)


def nanogpt(B, T, dtype, fused):
    """Return a step with nanoGPT's model and its optimizer, which on a CPU is the for-loop."""
    spec = importlib.util.spec_from_file_location("nanogpt", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt"] = module
    spec.loader.exec_module(module)
    model = module.GPT(module.GPTConfig()).train()  # its V is 50,304
    if fused:
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    else:
        optimizer = model.configure_optimizers(0.1, 3e-4, (0.9, 0.95), "cpu")
    return plain_loop(lambda x, y: model(x, y)[1], optimizer, B, T, dtype)


def floor(B, T, dtype, _):
    """Return the step's matrix products and its AdamW, and nothing else."""
    config, N, products = SIZES["gpt2"], B * T, []
    C, V = config.n_embd, config.vocab_size
    for n_in, n_out in [(C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)] * config.n_layer + [(C, V)]:
        for m, k, n in ((N, n_in, n_out), (N, n_out, n_in), (n_in, N, n_out)):  # y, dx, dw
            products.append((torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)))
    weights = [torch.nn.Parameter(torch.randn(p.shape)) for p in GPT(config).parameters()]
    for p in weights:
        p.grad = torch.randn_like(p)
    optimizer = torch.optim.AdamW(weights, fused=True)
    cpu.keep_process_memory()

    def step():
        with cpu.onednn():
            for a, b in products:
                a @ b
        optimizer.step()

    return step


def serve(pipe, make, *options):
    """Take a step whenever asked, and answer with its milliseconds."""
    torch.manual_seed(0)
    step = make(*options)
    while pipe.recv():
        start = time.perf_counter()
        step()
        pipe.send(1e3 * (time.perf_counter() - start))


def row(B, T, dtype):
    """Print one setting: each contender's milliseconds, and ours as a multiple of it."""
    contenders = {"gpt2lite": (ours, False), "floor": (floor, False)}
    contenders |= {"transformers": (transformers, False), "… fused": (transformers, True)}
    if len(sys.argv) > 1:
        contenders |= {"nanoGPT": (nanogpt, False), "nanoGPT fused": (nanogpt, True)}
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name, (make, fused) in contenders.items():
        pipes[name], theirs = context.Pipe()
        options = theirs, make, B, T, getattr(torch, dtype), fused
        context.Process(target=serve, args=options, daemon=True).start()
    rounds = []
    for _ in range(ROUNDS + 2):  # the first two warm up
        rounds.append({})
        for name, pipe in pipes.items():
            time.sleep(0.1)  # the threads of the one before have stopped waiting for work
            pipe.send(True)
            rounds[-1][name] = pipe.recv()
    for pipe in pipes.values():
        pipe.send(False)
    print(f"\n({B}, {T}) {dtype}")
    for name in contenders:
        ms = statistics.median(r[name] for r in rounds[2:])
        ratio = statistics.median(r["gpt2lite"] / r[name] for r in rounds[2:])
        print(f"  {name:<14} {ms:8.0f} ms   gpt2lite is {ratio:.2f} of it", flush=True)


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for setting in ROWS:
        row(*setting)
