"""Six initializations of GPT-2, and what five of them do to training: five seeds, paired batches.

    python -m gpt2lite.course.initializations LOG

trains a small GPT-2 of 12 layers from each, on the same batches for the same seed. The log has a
line per seed with the losses of all five runs; notebook 03 shows their differences.
"""

import functools
import math
import sys
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from gpt2lite import GPT, GPTConfig, cpu
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.data import Batches, encode
from gpt2lite.log import Log, header
from gpt2lite.model import init_default, init_gpt2
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer, progress

SEEDS = range(1337, 1342)
CHARACTERS = 100_000  # of the plays
TRAIN = TrainConfig(steps=150, batch_size=4, seq_len=32, lr=1e-3)
WIDTH = {"n_layer": 12, "n_head": 4, "n_embd": 64}


@torch.no_grad()
def init_without_factor(model: GPT):
    """Initialize as GPT-2, but c_proj at 0.02 like every other matrix."""
    init_gpt2(model)
    for name, p in model.named_parameters():
        if name.endswith("c_proj.weight"):
            p.mul_(math.sqrt(2 * model.config.n_layer))


@torch.no_grad()
def init_equal_positions(model: GPT):
    """Initialize as GPT-2, but positions at 0.02 like tokens, as many re-implementations do."""
    init_gpt2(model)
    model.wpe.weight.mul_(2)


def init_small_positions(model: GPT):
    """Initialize as PyTorch's modules do, wte as a linear layer; but positions N(0, 0.01²)."""
    init_default(model, wte="linear")
    nn.init.normal_(model.wpe.weight, std=0.01)


INITIALIZATIONS = {
    "GPT-2": init_gpt2,
    "GPT-2, no factor": init_without_factor,
    "GPT-2, wpe at 0.02": init_equal_positions,
    "PyTorch, linear": functools.partial(init_default, wte="linear"),
    "linear, wpe at 0.01": init_small_positions,
    "PyTorch, embedding": functools.partial(init_default, wte="embedding"),
}
TRAINED = list(INITIALIZATIONS)[:5]  # the sixth begins with a loss of hundreds: no fair race


def own_vocabulary(text: str) -> tuple[np.ndarray, int]:
    """Return the text's token ids, numbered from 0 in the order of GPT-2's, and how many differ.

    A small model then has no rows for tokens that never occur.
    """
    names, ids = np.unique(encode(text), return_inverse=True)
    return ids.astype(np.uint16), len(names)


def losses_of(init, seed, ids, config, recipe, precision):
    """Train a GPT that `init` fills; return its losses (steps,). Same seed, same batches."""
    torch.manual_seed(seed)
    model = GPT(config).to(precision.device)
    init(model)
    B, T = recipe.batch_size, recipe.seq_len
    batches = Batches(ids, B, T, "random", seed, config.vocab_size, precision.device)
    run = progress(Trainer(model, batches, recipe, precision), f"seed {seed}")
    return torch.tensor([record["loss"] for record in run])


def main(log):
    """Train all and write the log: three minutes on one core."""
    cpu.keep_process_memory()
    ids, V = own_vocabulary(load_text("shakespeare")[:CHARACTERS])
    config = GPTConfig(block_size=TRAIN.seq_len, vocab_size=V, **WIDTH)
    fp32 = Precision(torch.device("cpu"), torch.float32, False, "exact and simple")
    command = f"python -m gpt2lite.course.initializations {log}"
    data = f"shakespeare, the first {CHARACTERS:,} characters, the tokens that occur in them"
    lines = Log(log, header(command, data, fp32.device, fp32.dtype, asdict(config), asdict(TRAIN)))
    for seed in SEEDS:
        losses = {
            name: losses_of(INITIALIZATIONS[name], seed, ids, config, TRAIN, fp32)
            for name in TRAINED
        }
        rounded = {n: [round(x, 4) for x in v.tolist()] for n, v in losses.items()}
        lines.write({"seed": seed} | rounded)


if __name__ == "__main__":
    main(sys.argv[1])
