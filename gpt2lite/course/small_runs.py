"""Small runs on single bytes, for notebook 05; and the learning-rate sweep that it shows recorded.

    python -m gpt2lite.course.small_runs LOG

trains a model of 0.1 million parameters on Shakespeare's plays at six learning rates, each from
five seeds: runs of one seed begin with the same weights and read the same batches. Three minutes on
one quiet core; a line of the log is a run.
"""

import math
import sys
from dataclasses import asdict
from pydoc_data.topics import topics

import numpy as np
import torch
from tqdm.auto import tqdm

from gpt2lite import GPT, GPTConfig
from gpt2lite.assets import AssetError
from gpt2lite.config import SIZES, TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.data import Batches, split
from gpt2lite.evaluation import validation_loss
from gpt2lite.log import Log, header
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer, TrainingError

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS = range(5)
RECORDED = {"n_layer": 2, "n_head": 4, "n_embd": 64, "batch_size": 16, "seq_len": 32, "steps": 400}


def plays_or_stand_in() -> str:
    """Return Shakespeare's plays; say so if they can't be had, and return Python's help texts."""
    try:
        return load_text("shakespeare")
    except AssetError as reason:
        print(f"○ Python's help texts stand in for the plays: {reason}")
        return "\n".join(topics.values())


def validations(runs: list[dict], lr: float) -> np.ndarray:
    """Return the validation losses of one rate of the recorded sweep, one for each seed (5,)."""
    rows = [row for row in runs if row["lr"] == lr]
    return np.array([row["validation"] for row in sorted(rows, key=lambda row: row["seed"])])


def small_run(letters, n_layer, n_head, n_embd, batch_size, seq_len, seed=0, **settings):
    """Return a Trainer of a small GPT-2 on bytes `letters` (n,), its rate warmed up, then a cosine.

    `settings` are TrainConfig's. It computes in fp32 on the CPU, the same numbers everywhere.
    """
    torch.manual_seed(seed)
    model = GPT(GPTConfig(seq_len, 256, n_layer, n_head, n_embd))
    with torch.no_grad():
        for p in model.parameters():  # 0.02 suits C = 768: few channels begin with larger weights
            p.mul_(math.sqrt(SIZES["gpt2"].n_embd / n_embd) if p.dim() > 1 else 1)
    steps = settings.get("steps", TrainConfig.steps)
    settings = {"lr": 3e-3, "warmup_steps": steps // 6, "grad_clip": 1.0} | settings
    settings |= {"min_lr": settings["lr"] / 10, "seed": seed}
    config = TrainConfig(batch_size=batch_size, seq_len=seq_len, **settings)
    batches = Batches(letters, batch_size, seq_len, "random", seed, vocab_size=256)
    fp32 = Precision(torch.device("cpu"), torch.float32, False, "fp32, the same everywhere")
    return Trainer(model, batches, config, fp32)


def losses_of(run: Trainer) -> list[float]:
    """Train a run to its end and return the loss of each step; NaN where it broke, and nothing
    after it."""
    losses = []
    try:
        for record in run:
            losses.append(record["loss"])
    except TrainingError:
        losses.append(math.nan)
    return losses


def validated(run: Trainer, held, every: int) -> np.ndarray:
    """Train a run; return steps, training loss and validation loss, (3, n), one per `every` steps.

    The training loss is the mean since the last time, the validation loss that on bytes `held`.
    """
    history, losses = [], []
    for record in run:
        losses.append(record["loss"])
        if run.done % every == 0:
            validation = validation_loss(run.model, held, 64, run.config.seq_len)
            history.append((run.done, np.mean(losses[-every:]), validation))
    return np.array(history).T


def main(log):
    """Train all runs of the sweep and write the log."""
    letters = np.frombuffer(load_text("shakespeare").encode(), np.uint8)
    letters, held = split(letters)
    first = small_run(letters, **RECORDED)
    command = f"python -m gpt2lite.course.small_runs {log}"
    parts = first.precision.dtype, asdict(first.model.config), asdict(first.config)
    lines = Log(log, header(command, "shakespeare, as bytes", first.precision.device, *parts))
    for lr, seed in tqdm([(lr, seed) for lr in RATES for seed in SEEDS]):
        run = small_run(letters, **RECORDED, lr=lr, seed=seed)
        losses = losses_of(run)
        validation = validation_loss(run.model, held[:65_537], 64, run.config.seq_len)
        record = {"lr": lr, "warmup": run.config.warmup_steps, "seed": seed}
        tenth = [round(loss, 4) for loss in losses[::10]]
        lines.write(
            record | {"validation": round(validation, 5), "steps": len(losses), "losses": tenth}
        )


if __name__ == "__main__":
    main(sys.argv[1])
