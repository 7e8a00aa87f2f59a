"""Measure what DistributedDataParallel costs where there is one process, and nothing to exchange.

    torchrun --nproc-per-node 1 benchmarks/ddp.py [--model gpt2] [--batch-size 16] [--seq-len 1024]

The same compiled model takes steps with it and without, in turn; the last line is what came out, as
JSON: the median milliseconds of a step each way, and their ratio.
"""

import argparse
import json
import statistics

import numpy as np
import torch

from gpt2lite import GPT, SIZES
from gpt2lite.config import TrainConfig
from gpt2lite.data import Batches
from gpt2lite.distributed import joined
from gpt2lite.precision import pick
from gpt2lite.training import Trainer

WARM_UP = 10


def milliseconds(model, args) -> list[float]:
    """Return the times of a run's steps, the first ones left out."""
    B, T, device = args.batch_size, args.seq_len, model.wte.weight.device
    tokens = np.random.default_rng(0).integers(0, 50257, B * T + 1).astype(np.uint16)
    config = TrainConfig(steps=10**6, batch_size=B, seq_len=T, lr=1e-5, grad_clip=1.0)
    trainer = Trainer(model, Batches(tokens, B, T, device=device), config)
    if args.compile:
        print(trainer.compile())
    return [trainer.step()["ms"] for _ in range(WARM_UP + args.steps)][WARM_UP:]


def main(argv=None):
    """Take turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gpt2")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40, help="of each turn")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args(argv)
    model, plain, ddp = GPT(SIZES[args.model]).to(pick().device), [], []
    for _ in range(2):
        plain += milliseconds(model, args)
        with joined():
            if not torch.distributed.is_initialized():
                raise SystemExit("start it with torchrun --nproc-per-node 1")
            ddp += milliseconds(model, args)
    ms, ddp_ms = statistics.median(plain), statistics.median(ddp)
    sizes = {"B": args.batch_size, "T": args.seq_len}
    print(json.dumps(sizes | {"ms": ms, "ddp_ms": ddp_ms, "ratio": ddp_ms / ms}))


if __name__ == "__main__":
    main()
