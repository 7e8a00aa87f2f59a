"""One training run, measured as it goes: the margins of the pairs rank its checkpoints.

    python -m gpt2lite.course.ranked LOG

trains the course's small model as its `plays` run did, but for 600 steps of 8 x 64 tokens at twice
the rate, and keeps it on the way in build/ranked. Then each of them answers the pairs. A second
call finds them there, and only answers.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from gpt2lite import GPT, GPTConfig, cpu, data, evaluation, pairs, run
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.course.records import recorded
from gpt2lite.log import Log, header, read_log
from gpt2lite.precision import pick

MARKS = (0, 150, 300, 600)  # steps done
KEPT = Path("build/ranked")
SHORT = {"steps": MARKS[-1], "seq_len": 64, "lr": 2e-3, "warmup_steps": 50}  # no pair is longer
VAL_FRACTION = 0.05


def settings() -> tuple[GPTConfig, TrainConfig, str]:
    """Return what the plays run was made with, but for what makes this one short."""
    head, _ = read_log(recorded("plays"))
    config = replace(TrainConfig(**head["training"]), **SHORT)
    return GPTConfig(**head["model"]), config, head["data"]


def train(tokens) -> None:
    """Train, and keep the model at each mark: 3 minutes on a core."""
    cpu.keep_process_memory()
    sizes, config, _ = settings()
    torch.manual_seed(config.seed)
    model = GPT(sizes)
    model.save_pretrained(KEPT / "0")
    for record in run.train(model, tokens, config, order="random"):
        if (done := record["step"] + 1) in MARKS:
            model.save_pretrained(KEPT / str(done))


def main(log):
    """Train unless that is done, let each model answer the pairs, and write the log."""
    sizes, config, text = settings()
    tokens = data.encode(load_text(text))
    seen, unseen = data.split(tokens, VAL_FRACTION)
    if not (KEPT / str(MARKS[-1])).exists():
        train(seen)
    benchmark = pairs.make_pairs()
    command = f"python -m gpt2lite.course.ranked {log}"
    parts = pick().dtype, asdict(sizes), asdict(config)
    lines = Log(log, header(command, text, torch.device("cpu"), *parts))
    for step in MARKS:
        model = GPT.from_pretrained(KEPT / str(step))
        margins = pairs.margins(model, benchmark)
        share, error, n = pairs.accuracies(benchmark, margins)["all"]
        shape = config.batch_size, config.seq_len
        validation = evaluation.validation_loss(model, unseen, *shape, batches=32)
        lines.write(
            {
                "step": step,
                "validation": round(validation, 4),
                "accuracy": round(share, 4),
                "error": round(error, 4),
                "margins": [float(f"{margin:.4g}") for margin in margins],
            }
        )
        told = f"{share:.1%} ± {error:.1%} of {n} pairs, by {margins.mean():.3f} nats on average"
        print(f"{step:>5} steps: loss {validation:.3f}, {told}")


if __name__ == "__main__":
    main(sys.argv[1])
