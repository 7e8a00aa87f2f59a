"""Six initializations of GPT-2, and what five of them do to training: five seeds, paired batches.

    python -m gpt2lite.course.initializations LOG
    python -m gpt2lite.course.initializations LOG gpt2

trains a GPT-2 of 12 layers from each, on the same batches for the same seed: a narrow one, or
GPT-2 small itself, which needs a GPU. The log has a line per seed with the losses of all five runs;
notebook 03 shows their differences.
"""

import argparse
import functools
import math
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import nn

from gpt2lite import GPT, GPTConfig, cpu
from gpt2lite.config import SIZES, TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.data import Batches, encode
from gpt2lite.log import Log, header
from gpt2lite.model import init_default, init_gpt2
from gpt2lite.precision import Precision, pick
from gpt2lite.training import Trainer, progress

SEEDS = range(1337, 1342)
MODELS = {"small": GPTConfig(32, n_layer=12, n_head=4, n_embd=64), "gpt2": SIZES["gpt2"]}
RECIPES = {
    "small": TrainConfig(steps=150, batch_size=4, seq_len=32, lr=1e-3),
    "gpt2": TrainConfig(steps=300, batch_size=8, seq_len=256),
}
CHARACTERS = {"small": 100_000, "gpt2": 2_000_000}  # of the plays


@torch.no_grad()
def init_without_factor(model: GPT):
    """Initialize as GPT-2, but c_proj at 0.02 like every other matrix."""
    init_gpt2(model)
    for name, p in model.named_parameters():
        if name.endswith("c_proj.weight"):
            p.mul_(math.sqrt(2 * model.config.n_layer))


@torch.no_grad()
def init_equal_positions(model: GPT):
    """Initialize as GPT-2, but positions at 0.02 like tokens, as the transformers library does."""
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
    with precision.device:  # a GPU draws its own random numbers, and much sooner
        model = GPT(config)
        init(model)
    B, T = recipe.batch_size, recipe.seq_len
    batches = Batches(ids, B, T, "random", seed, config.vocab_size, precision.device)
    run = progress(Trainer(model, batches, recipe, precision), f"seed {seed}")
    return torch.tensor([record["loss"] for record in run])


def main(log, size="small"):
    """Train all and write the log: "small" in three minutes on one core, "gpt2" on a GPU."""
    cpu.keep_process_memory()
    command = f"python -m gpt2lite.course.initializations {log}"
    data = f"shakespeare, the first {CHARACTERS[size]:,} characters"
    text, config, recipe = load_text("shakespeare")[: CHARACTERS[size]], MODELS[size], RECIPES[size]
    if size == "small":
        (ids, V), data = own_vocabulary(text), f"{data}, the tokens that occur in them"
        config = replace(config, vocab_size=V)
        precision = Precision(torch.device("cpu"), torch.float32, False, "exact and simple")
    else:
        ids, precision, command = encode(text), pick(), f"{command} {size}"
    parts = precision.device, precision.dtype, asdict(config), asdict(recipe)
    lines = Log(log, header(command, data, *parts))
    for seed in SEEDS:
        losses = {
            name: losses_of(INITIALIZATIONS[name], seed, ids, config, recipe, precision)
            for name in TRAINED
        }
        rounded = {n: [round(x, 4) for x in v.tolist()] for n, v in losses.items()}
        lines.write({"seed": seed} | rounded)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("size", nargs="?", choices=MODELS, default="small")
    main(**vars(parser.parse_args()))
