"""Training in fp32, in mixed precision, and with everything in bf16, each from five seeds.

    python -m gpt2lite.course.sixteen_bits LOG

writes the log that notebook 04 compares: for each seed the same first weights and the same batches
in all three, and at the end the same validation text, read in fp32. The model reads bytes: most of
a small one would be GPT-2's vocabulary.
"""

import sys
from dataclasses import asdict, replace

import numpy as np
import torch
from tqdm.auto import tqdm

from gpt2lite import GPT, GPTConfig, cpu
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.data import Batches, split
from gpt2lite.evaluation import validation_loss
from gpt2lite.log import Log, header
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer

SIZE = GPTConfig(block_size=32, vocab_size=256, n_layer=4, n_head=4, n_embd=128)
CONFIG = TrainConfig(steps=250, batch_size=8, seq_len=32, lr=6e-4, min_lr=6e-5, warmup_steps=20)
SEEDS = range(5)
WAYS = {  # the format of weights, gradients and AdamW's averages; the format of autocast
    "fp32": (torch.float32, torch.float32),
    "mixed": (torch.float32, torch.bfloat16),
    "all bf16": (torch.bfloat16, torch.float32),  # fp32 is no autocast: all stays in bf16
}


def train(way: str, seed: int, tokens) -> tuple[list[float], float, float]:
    """Train one model; return its losses, its validation loss, and how much of its gains is still.

    tokens: bytes (n,), the last tenth to validate on. The gains are LayerNorm's weights; they start
    at 1, and those are still that are 1 at the end.
    """
    weights, autocast = WAYS[way]
    training, validation = split(tokens)
    torch.manual_seed(seed)
    model = GPT(SIZE).to(weights)
    batches = Batches(training, CONFIG.batch_size, CONFIG.seq_len, "random", seed, SIZE.vocab_size)
    how = Precision(torch.device("cpu"), autocast, False, way)
    run = Trainer(model, batches, replace(CONFIG, seed=seed), how)
    bar = tqdm(run, desc=f"{way}, seed {seed}", total=CONFIG.steps)
    losses = [record["loss"] for record in bar]
    named = model.named_parameters()
    gains = torch.cat([p for name, p in named if "ln_" in name and name.endswith("weight")])
    still = (gains == 1).float().mean().item()
    return losses, validation_loss(model.float(), validation, 8, CONFIG.seq_len, 50), still


def main(log):
    """Train all and write the log: four minutes on one core."""
    cpu.keep_process_memory()
    tokens = np.frombuffer(load_text("shakespeare").encode(), dtype=np.uint8)
    found = {way: [train(way, seed, tokens) for seed in SEEDS] for way in WAYS}
    command = f"python -m gpt2lite.course.sixteen_bits {log}"
    parts = "float32, mixed and bfloat16", asdict(SIZE), asdict(CONFIG)
    head = header(command, "shakespeare", torch.device("cpu"), *parts)
    head["validation"] = {way: [loss for _, loss, _ in runs] for way, runs in found.items()}
    head["still"] = {way: [still for *_, still in runs] for way, runs in found.items()}
    lines = Log(log, head)
    for step in range(CONFIG.steps):
        losses = {way: [round(run[0][step], 5) for run in runs] for way, runs in found.items()}
        lines.write({"step": step, "loss": losses})


if __name__ == "__main__":
    main(sys.argv[1])
