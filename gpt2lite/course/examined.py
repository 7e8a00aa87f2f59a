"""gpt2lite's own parts, in the form in which notebook 09's checks examine a program.

Knows nothing about the checks.
"""

from unittest import mock

import numpy as np
import torch

from gpt2lite import GPT, GPTConfig, data
from gpt2lite.accounting import count_parameters
from gpt2lite.config import TrainConfig
from gpt2lite.course.clinic import (
    SMALL,
    DrawsANewOrder,
    OpenInEvaluation,
    attention_of,
    rolled,
    small,
)
from gpt2lite.evaluation import validation_loss
from gpt2lite.model import MLP
from gpt2lite.precision import Precision, pick
from gpt2lite.training import Trainer

SCALED = Precision(torch.device("cpu"), torch.float32, True, "a scaler, and nothing else of fp16")
TEXT = np.arange(60, dtype=np.uint16)  # it counts


def _gelu(x):
    """Return what the package's MLP makes of numbers (n,): one channel, sent through alone."""
    mlp = MLP(GPTConfig(n_embd=1, n_head=1))
    with torch.no_grad():
        for p in mlp.parameters():
            p.zero_()
        mlp.c_fc.weight[0] = mlp.c_proj.weight[0, 0] = 1
        return mlp(x.float()[..., None])[..., 0].to(x.dtype)


class _Batches(data.Batches):
    """The package's rows of a counting text, without their targets."""

    def __init__(self):
        super().__init__(TEXT, 1, 4, "random")

    def __next__(self):
        return super().__next__()[0][0]


def _batch(tokens):
    """Return a batch of the package's, of a text of any ids."""
    return next(data.Batches(tokens.numpy().astype(np.uint16), 4, 8, "random", vocab_size=65_536))


def _step(scale: float):
    """Return the gradient that the package's training step hands to AdamW, by its loss scale."""
    torch.manual_seed(0)
    config = TrainConfig(steps=1, batch_size=2, seq_len=8, grad_clip=1.0)
    batches = data.Batches(TEXT, 2, 8, vocab_size=SMALL.vocab_size)
    run = Trainer(GPT(SMALL), batches, config, SCALED)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    run.optimizer.step = lambda *_: None
    run.step()
    return torch.cat([p.grad.flatten() for p in run.model.parameters()])


def _format(capability, says_bf16):
    """Return the format that the package takes for a card of this compute capability."""
    with (
        mock.patch("torch.cuda.get_device_name", return_value="a card"),
        mock.patch("torch.cuda.get_device_capability", return_value=capability),
        mock.patch("torch.cuda.is_bf16_supported", return_value=says_bf16),
    ):
        return pick("cuda").dtype


def examine(check, parts: dict[int, tuple], number: int) -> str:
    """Return what a check says of a part: "passes", "fails" or "raises"; "-" where it lacks."""
    if number not in parts:
        return "-"
    try:
        return "passes" if check(*parts[number]) else "fails"
    except Exception:  # a reader's check may ask for what this part hasn't
        return "raises"


def tell(check, healthy: tuple, sick: tuple, claim: str) -> None:
    """Print ✓ if a check passes what is healthy and fails what is sick; else ○ and what it says."""
    said = [examine(check, {0: arguments}, 0) for arguments in (healthy, sick)]
    right = said == ["passes", "fails"]
    print(f"✓ {claim}" if right else "○ this check says: healthy {}, sick {}".format(*said))


def package() -> dict[int, tuple]:
    """Return what each check is to examine in gpt2lite itself, by the number of its bug.

    Without 8: its training reads full rows only.
    """
    return {
        1: (small("", dropout=0.1).program,),
        2: (small("", dropout=0.1).program,),
        3: (_gelu,),
        4: (_batch,),
        5: (_Batches,),
        6: (_step,),
        7: (
            lambda model: validation_loss(model, TEXT, 2, 8),
            small("", dropout=0.1).program,
        ),
        9: (_format,),
        10: (lambda model: count_parameters(model.config)["total"],),
    }


def stranger(name: str) -> dict[int, tuple]:
    """Return a package with one bug that the notebook hasn't shown: "X", "Y" or "Z"."""
    open_mask = attention_of(OpenInEvaluation)
    found = {
        "X": {5: (DrawsANewOrder,)},
        "Y": {2: (small("", open_mask, dropout=0.1).program,)},
        "Z": {4: (rolled,)},
    }
    return package() | found[name]
