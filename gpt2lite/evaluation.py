"""How good a model is on text that it has not seen: loss, perplexity, bits per byte.

Knows nothing about training. Bits per byte does not depend on the tokenizer, so that models with
different vocabularies can be compared.
"""

import math

import numpy as np
import torch

from gpt2lite import cpu
from gpt2lite.loss import cross_entropy
from gpt2lite.model import evaluating


@torch.no_grad()
def validation_loss(model, tokens, B: int, T: int, batches: int | None = None) -> float:
    """Return the mean cross-entropy in nats / token over consecutive windows of T tokens.

    tokens: token ids (n,), as gpt2lite.data loads them; B windows are read at a time, `batches`
    times at most. Raises ValueError for fewer than T + 1 tokens, or a number below 1. The model's
    mode is restored.
    """
    for name, value in {"B": B, "T": T, "batches": batches}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    windows = (len(tokens) - 1) // T
    if windows < 1:
        raise ValueError(f"{len(tokens)} tokens hold no window of {T} + 1: choose a smaller T")
    windows = min(windows, batches * B) if batches is not None else windows
    total = 0.0
    with evaluating(model), cpu.onednn():
        for first in range(0, windows, B):
            starts = range(first, min(first + B, windows))
            rows = np.stack([tokens[i * T : i * T + T + 1] for i in starts]).astype(np.int64)
            rows = torch.from_numpy(rows).to(model.wte.weight.device)  # (B, T + 1)
            logits = model(rows[:, :-1])
            loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            total += loss.item() * rows[:, 1:].numel()
    return total / (windows * T)


def perplexity(loss: float) -> float:
    """Return how many equally likely tokens a loss in nats / token is as unsure as."""
    try:
        return math.exp(loss)
    except OverflowError:  # above 709 nats
        return math.inf


def bits_per_byte(loss: float, n_tokens: int, n_bytes: int) -> float:
    """Return a loss in nats / token as bits / byte, for a text of n_tokens and n_bytes.

    Raises ValueError for a text without tokens or bytes.
    """
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(f"{n_tokens} tokens of {n_bytes} bytes are no text: count both again")
    return loss * n_tokens / (n_bytes * math.log(2))
