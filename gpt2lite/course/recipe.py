"""What notebook 06 needs beside its subject: texts, verdicts, gradients and losses to compare.

Knows nothing about the parts that the reader writes.
"""

import html
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from math import prod
from pydoc_data.topics import topics
from statistics import mean

import torch

from gpt2lite import GPT
from gpt2lite.course import sweeps
from gpt2lite.course.released import open_checkpoint
from gpt2lite.course.small_runs import plays_or_stand_in
from gpt2lite.evaluation import validation_loss
from gpt2lite.plotting import to_html


def texts() -> tuple[str, str]:
    """Return the plays, or what stands in for them, and Python's own help texts."""
    return plays_or_stand_in(), "\n".join(topics.values())


def released(name: str) -> tuple[str, str]:
    """Return the name of released weights that can be had here, this or the course's own, and whose
    they are."""
    _, whose = open_checkpoint(name)  # the course's own step in if the hub can't be reached
    return name if whose == "OpenAI's weights" else "gpt2lite-plays", whose


def verdict(what: str, a, b) -> str:
    """Print the 95 % interval of a − b (see sweeps.interval); return what it says of a."""
    middle, low, high = sweeps.interval(a, b)
    says = "lower" if high < 0 else "higher" if low > 0 else "no difference"
    print(f"{what:<36}{middle:+.3f} nats [{low:+.3f}, {high:+.3f}]: {says}")
    return says


def shows(condition: bool, claim: str, why_not: str) -> None:
    """Print a check of what depends on the dial: ✓, or ○ and why it need not show."""
    print(
        f"✓ {claim}" if condition else f"○ {claim}: doesn't show at these sizes, because {why_not}"
    )


@contextmanager
def folded(title: str, *figs) -> Iterator[None]:
    """Show figures, and below them what is printed inside, folded until the reader opens them."""
    from IPython.display import display

    page = io.StringIO()
    with redirect_stdout(page):
        yield
    inside = "".join(map(to_html, figs)) + f"<pre>{html.escape(page.getvalue())}</pre>"
    whole = f"<details><summary>{html.escape(title)}</summary>{inside}</details>"
    display({"text/html": whole, "text/plain": page.getvalue()}, raw=True)


def gradient(gather: Callable, parts, seed: int) -> torch.Tensor:
    """Return, as one vector, what gather(model, parts) leaves as gradient in a fresh tiny model."""
    torch.manual_seed(seed)
    model = GPT(sweeps.MODEL)
    gather(model, parts)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def restore(state: Mapping, model, optimizer, batches) -> int:
    """Put back what a state holds, nothing else; return its step, 0 if it holds none."""
    for name, thing in {"model": model, "optimizer": optimizer, "batches": batches}.items():
        if name in state:
            thing.load_state_dict(state[name])
    if "random" in state:
        torch.set_rng_state(state["random"])
    return state.get("step", 0)


def validations(records) -> tuple[list, list, int]:
    """Return a run's validation losses, the mean training loss up to each, and how many steps lie
    between two."""
    every = next(record["step"] for record in records if "validation" in record) + 1
    blocks = [records[i : i + every] for i in range(0, len(records), every)]
    trained = [mean(record["loss"] for record in block) for block in blocks]
    return [block[-1]["validation"] for block in blocks], trained, every


def how_long(header: Mapping, records, speeds: Mapping) -> None:
    """Print the seconds that a run's steps took, and the minutes predicted at other tokens / s."""
    sizes = (header["training"][n] for n in ("batch_size", "seq_len", "grad_accum_steps"))
    tokens = len(records) * prod(sizes)
    seconds = sum(record["ms"] for record in records) / 1000
    print(f"{tokens / 1e6:.1f}M tokens took {seconds:.0f} s on an {header['hardware']}")
    for name, speed in speeds.items():
        print(f"predicted for a {name}, at {speed:,} tokens/s: {tokens / speed / 60:.0f} minutes")


def loss_table(models: Mapping, token_ids: Mapping, B: int, T: int) -> dict[tuple, float]:
    """Print each model's loss on each text, at most 16 x B windows of T; return {(model, text)}."""
    losses = {}
    print(f"{'nats / token':<14}", *(f"{name:>12}" for name in models))
    for text, ids in token_ids.items():
        for name, model in models.items():
            losses[name, text] = validation_loss(model, ids, B, T, batches=16)
        print(f"{text:<14}", *(f"{losses[name, text]:>12.2f}" for name in models))
    return losses
