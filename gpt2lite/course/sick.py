"""Makes a run sick on purpose: mistakes that raise no error, each a function of a Trainer.

Each changes the run and returns it.
"""

import copy

import torch

from gpt2lite.course.wrong_models import Unmasked
from gpt2lite.optim import adamw


class Changed:
    """Batches that a function goes over: change(x, y) -> (x, y)."""

    def __init__(self, batches, change):
        self.batches, self.change = batches, change
        self.state_dict, self.load_state_dict = batches.state_dict, batches.load_state_dict

    def __next__(self):
        return self.change(*next(self.batches))


def one_batch(run):
    """Let a run read its first batch at every step. That is no mistake, but a test."""
    first = next(run.batches)
    run.batches = Changed(run.batches, lambda x, y: first)
    return run


def targets_are_inputs(run):
    """Forget to move the targets by one token: y = x."""
    run.batches = Changed(run.batches, lambda x, y: (x, x))
    return run


def no_causal_mask(run):
    """Let every position see the tokens that it should predict."""
    for block in run.model.h:
        block.attn.__class__ = Unmasked
    return run


def no_attention(run):
    """Cut attention and positions off, so that a position sees its own token alone."""
    run.model.wpe.weight.requires_grad_(False).zero_()
    for block in run.model.h:
        block.attn.forward = lambda x, cache=None: torch.zeros_like(x)
    return run


def optimizer_of_a_copy(run):
    """Give the optimizer the parameters of another model."""
    run.optimizer = adamw(copy.deepcopy(run.model), run.config)
    return run


def log_by_hand(run):
    """Take the logarithm of the softmax, where a probability may be 0, and not log_softmax."""
    run.forward = lambda idx: run.model(idx).softmax(-1).log()
    return run


# What the alarm of notebook 05 says about the eight runs below: G fools it.
VERDICTS = {
    "A": "stuck",
    "B": "too good",
    "C": "healthy",
    "D": "not finite",
    "E": "healthy",
    "F": "stuck",
    "G": "healthy",
    "H": "rising",
}


def eight_runs(start) -> dict[str, tuple]:
    """Return eight runs by letter, healthy and sick, each with its name: look at the losses first.

    start: makes a healthy run of the settings that it is given.
    """
    return {
        "A": ("no warm-up", start(lr=2e-2, warmup_steps=0)),
        "B": ("y = x", targets_are_inputs(start())),
        "C": ("healthy, B = 4", start(batch_size=4)),
        "D": ("log by hand", log_by_hand(start(lr=1.0))),
        "E": ("healthy", start()),
        "F": ("rate too high", start(lr=0.1)),
        "G": ("no causal mask", no_causal_mask(start())),
        "H": ("diverged", start(lr=1.0)),
    }
