"""The comparisons of notebook 06: one setting changed, five seeds, the same batches for both arms.

    python -m gpt2lite.course.sweeps NAME LOG

runs one of SWEEPS ("warmup", "rates", "same", "overfit", "trunk") for one seed, and adds a line per
run to its log: five calls complete it. The model is small enough for hundreds of steps in a minute:
it reads the plays' bytes. The notebook makes one comparison live, with `cooled`.

Sources: Hägele et al. 2024 (arXiv:2405.18392), for one trunk with several cooldowns.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from gpt2lite import GPT, GPTConfig
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.course.records import recorded
from gpt2lite.data import Batches, encode, split
from gpt2lite.evaluation import validation_loss
from gpt2lite.log import Log, header, read_log
from gpt2lite.precision import Precision
from gpt2lite.training import Trainer, TrainingError

MODEL = GPTConfig(block_size=32, vocab_size=256, n_layer=2, n_head=4, n_embd=64)
RECIPE = TrainConfig(
    steps=300,
    batch_size=16,
    seq_len=32,
    lr=3e-3,
    min_lr=3e-4,
    warmup_steps=30,
    betas=(0.9, 0.95),
    weight_decay=0.1,
    grad_clip=1.0,
)
FP32 = Precision(torch.device("cpu"), torch.float32, False, "small and exact")
SEEDS = range(5)
WARMED = (3e-3, 1e-2)  # the rates that are tried without a warm-up too
RATES = (3e-4, 1e-3, 3e-2)  # the others
SMALL = 30_000  # characters of the text that is read again and again
OVERFIT = 300  # steps on it
EVERY = 10  # steps between two validations of these
LENGTHS = (80, 160, 240)  # of the trunk's cooldowns, and of the cosines that they stand for
OTHER = 1000  # added to a seed, for weights that have nothing to do with the first ones
# The 97.5 % point of Student's t for n - 1 degrees of freedom, by n.
STUDENT = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262), 2))


def interval(a, b) -> tuple[float, float, float]:
    """Return the mean of a - b, and the ends of its 95 % t-interval.

    a, b: at most 10 losses each, paired: those at one place come from the same batches. An interval
    that holds 0 shows no difference; that of a single pair has no ends.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    n, middle = len(differences), mean(differences)
    half = STUDENT[n] * stdev(differences) / math.sqrt(n) if n > 1 else math.inf
    return middle, middle - half, middle + half


def results(name: str, key: str = "validation") -> dict[str, list]:
    """Return {arm: what each seed's run ended with} of a recorded sweep; `key` is a record's."""
    found = {}
    for record in read_log(recorded(f"sweep_{name}"))[1]:
        found.setdefault(record["arm"], []).append(record[key])
    return found


def bytes_of(text: str) -> np.ndarray:
    """Return a text's UTF-8 bytes as token ids, uint16 (n,): V is 256."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)


def own_tokens(text: str) -> tuple[np.ndarray, int]:
    """Return a text's GPT-2 tokens, counted anew from 0 on, uint16 (n,), and how many kinds."""
    kinds, ids = np.unique(encode(text), return_inverse=True)
    return ids.astype(np.uint16), len(kinds)


def start(tokens, config: TrainConfig, seed: int, model=MODEL, init: int | None = None) -> Trainer:
    """Return a run whose batches come from `seed`, and its weights from `init`, or `seed` too."""
    torch.manual_seed(seed if init is None else init)
    shape = config.batch_size, config.seq_len
    batches = Batches(tokens, *shape, "random", seed, model.vocab_size)
    return Trainer(GPT(model), batches, config, FP32)


def finish(trainer: Trainer, unseen, every: int = 0, **others) -> dict:
    """Train to the end; return the losses, ten steps a number, and the validation loss.

    With `every`, "curve" holds the validation loss after each so many steps, and each name in
    `others` that on its own tokens. All are nan from the step on at which a run diverges.
    """
    losses, parts = [], {"curve": unseen} | others
    curves = {name: [] for name in parts}
    try:
        for record in trainer:
            losses.append(record["loss"])
            if every and trainer.done % every == 0:
                for name, tokens in parts.items():
                    curves[name].append(round(validate(trainer.model, tokens), 4))
        validation = validate(trainer.model, unseen)
    except TrainingError:
        validation = math.nan
    tens = [round(mean(losses[i : i + 10]), 4) for i in range(0, len(losses), 10)]
    return {"validation": validation, "losses": tens} | curves


def validate(model, unseen) -> float:
    """Return the loss in nats / token on the first 256 windows of the tokens kept for it."""
    return validation_loss(model, unseen, 64, model.config.block_size, batches=4)


def halves(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a text's bytes to train on, and its last tenth, to validate on."""
    return split(bytes_of(text))


def warmup(text: str, seed: int) -> Iterator[dict]:
    """Train at the WARMED rates, at each without a warm-up and with the recipe's."""
    seen, unseen = halves(text)
    for lr in WARMED:
        for steps in (0, RECIPE.warmup_steps):
            config = replace(RECIPE, lr=lr, min_lr=lr / 10, warmup_steps=steps)
            yield {"arm": f"{lr:g}, {steps}"} | finish(start(seen, config, seed), unseen)


def rates(text: str, seed: int) -> Iterator[dict]:
    """Train at RATES with the recipe's warm-up: what `warmup` lacks of a sweep over the rate."""
    seen, unseen = halves(text)
    for lr in RATES:
        run = start(seen, replace(RECIPE, lr=lr, min_lr=lr / 10), seed)
        yield {"arm": f"{lr:g}, {RECIPE.warmup_steps}"} | finish(run, unseen)


def same(text: str, seed: int) -> Iterator[dict]:
    """Train by the recipe, as `warmup` does too, from other weights: neither can be better."""
    seen, unseen = halves(text)
    run = start(seen, RECIPE, seed, init=seed + OTHER)
    yield {"arm": "A again"} | finish(run, unseen)


def overfit(text: str, seed: int) -> Iterator[dict]:
    """Train on the first SMALL characters again and again, without dropout and with it.

    What is kept from training has two halves: one to stop by, and a "test" to judge by.
    """
    tokens, V = own_tokens(text[:SMALL])
    seen, kept = split(tokens, 0.3)
    unseen, test = split(kept, 0.5)
    for dropout in (0.0, 0.2):
        model = replace(MODEL, vocab_size=V, dropout=dropout)
        run = start(seen, replace(RECIPE, steps=OVERFIT, min_lr=None), seed, model)
        yield {"arm": f"dropout {dropout:g}"} | finish(run, unseen, every=EVERY, test=test)


def trunk(text: str, seed: int) -> Iterator[dict]:
    """Train three cosines to 0, and cool one run at a constant rate down at the same lengths."""
    seen, unseen = halves(text)
    for steps in LENGTHS:
        run = start(seen, replace(RECIPE, steps=steps, min_lr=0.0), seed)
        yield {"arm": f"cosine {steps}"} | finish(run, unseen)
    for steps, found in zip(LENGTHS, cooldowns(seen, unseen, seed, LENGTHS), strict=True):
        yield {"arm": f"cooldown {steps}"} | found


def cooldowns(tokens, unseen, seed: int, lengths) -> Iterator[dict]:
    """Train one run at a constant rate; yield what its copies, cooled down at `lengths`, end with.

    The last fifth of each length is its cooldown; the warm-up takes 3/8 of the first, which are the
    recipe's 30 steps for LENGTHS.
    """
    warm = {"warmup_steps": 3 * lengths[0] // 8}
    constant = start(tokens, replace(RECIPE, steps=lengths[-1], min_lr=None, **warm), seed)
    for steps in lengths:
        yield finish(cool(constant, steps, steps // 5), unseen)


def cool(constant: Trainer, steps: int, down: int) -> Trainer:
    """Train on at the constant rate, up to the last `down` of `steps`; return a run for these.

    It has the weights, the moments and the place in the text, and its rate falls linearly to 0.
    The run at the constant rate can go on.
    """
    while constant.done < steps - down:
        constant.step()
    config = replace(constant.config, steps=steps, cooldown_steps=down)
    branch = start(constant.batches.tokens, config, config.seed, constant.model.config)
    branch.load_state_dict(constant.state_dict())
    return branch


def cooled(tokens, unseen, config: TrainConfig, n: int) -> tuple[list[float], list[float]]:
    """Train n seeds at a constant rate, and cool each down over its last fifth of steps as well.

    Returns the validation losses of the cooled runs, and of those that kept the rate to the end.
    """
    down, hot = [], []
    for seed in range(n):
        constant = start(tokens, config, seed)
        down.append(finish(cool(constant, config.steps, config.steps // 5), unseen)["validation"])
        hot.append(finish(constant, unseen)["validation"])  # from where the other was copied on
    return down, hot


SWEEPS = {sweep.__name__: sweep for sweep in (warmup, rates, same, overfit, trunk)}


def main(name: str, log: str) -> None:
    """Run a sweep for the first seed that its log lacks: a minute or two on one core."""
    if name not in SWEEPS:
        sys.exit(f"{name} is none of the sweeps: {', '.join(SWEEPS)}")
    command = f"python -m gpt2lite.course.sweeps {name} {log}"
    head = header(command, "shakespeare", FP32.device, FP32.dtype, asdict(MODEL), asdict(RECIPE))
    path, place, done = Path(log), None, set()
    if path.exists():
        first = path.read_text(encoding="utf-8").splitlines(keepends=True)[0]
        place = {"header": first, "offset": path.stat().st_size}
        done = {record["seed"] for record in read_log(path)[1]}
    if len(done) == len(SEEDS):
        sys.exit(f"{log} is complete: it has the seeds {min(SEEDS)} to {max(SEEDS)}")
    seed = next(seed for seed in SEEDS if seed not in done)
    records = list(SWEEPS[name](load_text("shakespeare"), seed))
    lines = Log(path, head, place)
    for record in records:
        lines.write({"seed": seed} | record)
        print(f"{name} {seed} {record['arm']:<14} {record['validation']:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
