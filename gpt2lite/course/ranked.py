"""The run that made gpt2lite-plays, once more: the benchmark of pairs ranks its checkpoints.

    python -m gpt2lite.course.ranked LOG

begins with the same weights as that run, trains with its settings on its batches, and lets the
model answer the pairs at four marks. A minute on a GPU, an hour on a core. A GPU draws other
dropout masks than a CPU and adds in another order: there the run ends near the released model, not
at it.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch

from gpt2lite import GPT, GPTConfig, cpu, data, evaluation, pairs, run
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.course.records import recorded
from gpt2lite.log import Log, header, read_log
from gpt2lite.precision import pick

MARKS = (0, 400, 1200, 3500)  # steps done
VAL_FRACTION = 0.05


def settings() -> tuple[GPTConfig, TrainConfig, str]:
    """Return the sizes, the settings and the text of the plays run."""
    head, _ = read_log(recorded("plays"))
    return GPTConfig(**head["model"]), TrainConfig(**head["training"]), head["data"]


def start(precision) -> tuple[GPT, Iterator[dict], np.ndarray]:
    """Return the model before its first step, its run (see run.train), and the validation text."""
    cpu.keep_process_memory()
    sizes, config, text = settings()
    seen, unseen = data.split(data.encode(load_text(text)), VAL_FRACTION)
    torch.manual_seed(config.seed)
    model = GPT(sizes).to(precision.device)
    return model, run.train(model, seen, config, precision, order="random"), unseen


def main(log):
    """Train, let the model answer the pairs at each mark, and write a line for it."""
    sizes, config, text = settings()
    precision, benchmark = pick(), pairs.make_pairs()
    model, steps, unseen = start(precision)
    command = f"python -m gpt2lite.course.ranked {log}"
    parts = precision.dtype, asdict(sizes), asdict(config)
    lines = Log(log, header(command, text, precision.device, *parts))

    def mark(done):
        margins = pairs.margins(model, benchmark)
        share, error, n = pairs.accuracies(benchmark, margins)["all"]
        loss = evaluation.validation_loss(model, unseen, config.batch_size, config.seq_len)
        record = {"step": done, "validation": round(loss, 4), "accuracy": round(share, 4)}
        lines.write(record | {"margins": [float(f"{margin:.4g}") for margin in margins]})
        print(f"{done:>5} steps: loss {loss:.3f}, {share:.1%} ± {error:.1%} of {n} pairs")

    mark(0)
    for record in steps:
        if record["step"] + 1 in MARKS:
            mark(record["step"] + 1)


if __name__ == "__main__":
    main(sys.argv[1])
