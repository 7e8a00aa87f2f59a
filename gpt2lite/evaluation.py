"""How good a model is on text that it has not seen, in three units, and how sure a score is.

A loss becomes perplexity, or bits per byte, which does not depend on the tokenizer, so that models
with different vocabularies can be compared. A score over items has a standard error, and items that
share words count together.

Knows nothing about training or about any benchmark. Source of the errors: Miller 2024, "Adding
Error Bars to Evals" (arXiv 2411.00640).
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gpt2lite import cpu
from gpt2lite.loss import cross_entropy
from gpt2lite.model import evaluating
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer


@torch.no_grad()
def validation_loss(model, tokens, B: int, T: int, batches: int | None = None) -> float:
    """Return the mean cross-entropy in nats / token over consecutive windows of T tokens.

    tokens: token ids (n,), as gpt2lite.data loads them; B windows are read at a time, `batches`
    times at most. Raises ValueError for fewer than T + 1 tokens, or a number below 1. The model's
    mode is restored.
    """
    _at_least_one(B=B, T=T, batches=batches)
    windows = (len(tokens) - 1) // T
    if windows < 1:
        raise ValueError(f"{len(tokens)} tokens hold no window of {T} + 1: choose a smaller T")
    windows = min(windows, batches * B) if batches is not None else windows
    total = 0.0
    with evaluating(model), cpu.onednn():
        for first in range(0, windows, B):
            starts = range(first, min(first + B, windows))
            total += _nats(model, [tokens[i * T : i * T + T + 1] for i in starts])
    return total / (windows * T)


def _nats(model, windows) -> float:
    """Return the cross-entropy of windows of T + 1 ids, summed over all but the first of each."""
    rows = torch.from_numpy(np.stack(windows).astype(np.int64)).to(model.wte.weight.device)
    logits = model(rows[:, :-1])  # (B, T, V)
    return cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).item() * rows[:, 1:].numel()


def _at_least_one(**numbers):
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


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


@functools.cache
def _bytes_of_each() -> np.ndarray:
    tokenizer = get_tokenizer()
    return np.array([len(tokenizer.decode_single_token_bytes(i)) for i in range(END_OF_TEXT)] + [0])


def count_bytes(tokens) -> int:
    """Return the bytes of text that token ids stand for; those of a whole text are all its bytes.

    A token may be a part of a character, which a decoder to `str` replaces by another one: so bytes
    are counted, never characters. <|endoftext|> stands between texts and counts for nothing. Raises
    ValueError for ids that the tokenizer does not know.
    """
    tokens = np.asarray(tokens, dtype=np.int64)
    if tokens.size and not 0 <= tokens.min() <= tokens.max() <= END_OF_TEXT:
        raise ValueError(f"token ids from {tokens.min()} to {tokens.max()} are not all GPT-2's")
    return int(_bytes_of_each()[tokens].sum())


@dataclass(frozen=True)
class TextScore:
    """What a model makes of a text, every token of it scored once."""

    nats: float  # the cross-entropy, summed
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats / token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """As many equally likely tokens are as unsure."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """The cross-entropy in bits, over the bytes of the tokens that were scored."""
        return bits_per_byte(self.loss, self.tokens, self.bytes)


@torch.no_grad()
def score_text(model, tokens, B: int, T: int, bar: Callable[[list], Iterable] = iter) -> TextScore:
    """Score every token of a text once, in consecutive windows of T tokens, B of them at a time.

    tokens: token ids (n,). The first token is predicted from <|endoftext|>, the first of a later
    window from the token before it; the last window may be shorter. `bar` gets the list of batches
    to go through and may show how far it is, as tqdm does. Raises ValueError for a text without
    tokens or bytes, or a number below 1.
    """
    _at_least_one(B=B, T=T)
    n_bytes = count_bytes(tokens)
    if not n_bytes:
        raise ValueError("the text is empty: there is nothing to score")
    line = np.concatenate([[END_OF_TEXT], tokens])
    windows = [line[i : i + T + 1] for i in range(0, len(tokens), T)]
    whole = len(tokens) // T
    batches = [windows[i : min(i + B, whole)] for i in range(0, whole, B)]
    batches += [windows[whole:]] if len(windows) > whole else []
    with evaluating(model), cpu.onednn():
        nats = sum(_nats(model, batch) for batch in bar(batches))
    return TextScore(nats, len(tokens), n_bytes)


def standard_error(values, clusters: Sequence | None = None) -> float:
    """Return the standard error of the mean of `values` (n,), such as 0 and 1 for wrong and right.

    clusters: a label for each value; what shares a label counts as one observation, since it errs
    together. Without labels this is the sample standard deviation / √n. Raises ValueError for fewer
    than two observations, or another number of labels.
    """
    values = np.asarray(values, dtype=np.float64)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if labels.shape != values.shape:
        raise ValueError(f"{labels.shape} labels of clusters for {values.shape} values")
    kinds, which = np.unique(labels, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(f"{len(kinds)} independent observations have no standard error")
    sums = np.bincount(which, weights=values - values.mean())
    return math.sqrt(len(kinds) / (len(kinds) - 1) * (sums**2).sum()) / len(values)


class Accuracy(NamedTuple):
    """The share of right answers, its standard error, and the number of items."""

    share: float
    error: float
    n: int


def accuracy(right, clusters: Sequence | None = None) -> Accuracy:
    """Return the accuracy of answers (n,), 1 for right and 0 for wrong; clusters as above."""
    return Accuracy(float(np.mean(right)), standard_error(right, clusters), len(right))


def paired_difference(a, b, clusters: Sequence | None = None) -> tuple[float, float]:
    """Return the mean of a - b over the same items (n,), and its standard error.

    What makes an item hard for both models falls out of the difference, and so out of its error.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return difference.mean().item(), standard_error(difference, clusters)
