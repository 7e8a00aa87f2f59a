"""Notebook 05: the entropy of single tokens, a debiased average, perplexity and bits per byte."""

import math

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 05 · the loss of who knows only how often each token occurs


def _shares(tokens):
    return tokens.unique(return_counts=True)[1] / len(tokens)


def _entropy(tokens):
    p = _shares(tokens)
    return -(p * p.log()).sum().item()


def entropy(tokens):
    p = tokens.unique(return_counts=True)[1] / len(tokens)
    return -(p * p.log()).sum().item()


PARTS["05_entropy"] = Part(
    solution=entropy,
    exercise=True,
    cases=tuple(
        (torch.tensor(tokens),)
        for tokens in (
            [3, 3, 3, 9],
            [50256, 0, 0, 11, 11, 11, 11, 7],
            [1, 2, 3, 4, 5, 5],
        )
    ),
    mistakes=(
        (
            lambda tokens: _entropy(tokens) / math.log(2),
            "these are bits: the losses here are in nats, so take the natural logarithm",
        ),
        (
            lambda tokens: math.log(len(tokens.unique())),
            "this takes all tokens that occur for equally likely: weigh each by how often it does",
        ),
        (
            lambda tokens: -_shares(tokens).log().mean().item(),
            "each kind of token counts once: weigh the surprise -log p of each by its share p",
        ),
        (
            lambda tokens: -_entropy(tokens),
            "the sign: log p is negative, and a loss isn't, so the surprise is -log p",
        ),
        (
            lambda tokens: _entropy(tokens) * len(tokens),
            "this is the loss of the whole text: divide by its tokens, as a mean loss does",
        ),
    ),
)


# 05 · the average that a curve is smoothed with


def _debiased(values, half_life):
    keep, average, smoothed = 0.5 ** (1 / half_life), 0.0, []
    for t, value in enumerate(values, 1):
        average = keep * average + (1 - keep) * value
        smoothed.append(average / (1 - keep**t))
    return smoothed


def _average(values, keep, start=0.0):
    smoothed = []
    for value in values:
        start = keep * start + (1 - keep) * value
        smoothed.append(start)
    return smoothed


def _one_step_short(values, half_life):
    keep = 0.5 ** (1 / half_life)
    biased = _average(values, keep)
    return [a / (1 - keep ** max(t, 1)) for t, a in enumerate(biased)]


def debiased(values, half_life):
    keep, average, smoothed = 0.5 ** (1 / half_life), 0.0, []
    for t, value in enumerate(values, 1):
        average = keep * average + (1 - keep) * value
        smoothed.append(average / (1 - keep**t))
    return smoothed


PARTS["05_debiased"] = Part(
    solution=debiased,
    exercise=True,
    cases=(
        ([11.0, 9.0, 8.0, 7.5], 2.0),
        ([5.0, 5.0, 5.0], 10.0),
        ([0.0, 1.0, 0.0, 0.0, 4.0], 1.0),
        ([3.0], 7.0),
    ),
    mistakes=(
        (
            lambda values, half_life: _average(values, 0.5 ** (1 / half_life)),
            "not debiased: the average starts at 0 and drags that along; divide by 1 - keep**t",
        ),
        (
            lambda values, half_life: _average(values, 0.5 ** (1 / half_life), values[0]),
            "starting at the first value gives it the weight of all that never came: start at 0 "
            "and divide by 1 - keep**t",
        ),
        (
            lambda values, half_life: [sum(values[: t + 1]) / (t + 1) for t in range(len(values))],
            "this is the mean of all so far, where the first value never fades: weigh what is "
            "half_life steps old by half",
        ),
        (
            _one_step_short,
            "one step off: the first average holds one value, so divide it by 1 - keep**1",
        ),
    ),
)


# 05 · one loss, three units


def _measures(loss, n_tokens, n_bytes):
    return math.exp(loss), loss * n_tokens / (n_bytes * math.log(2))


def measures(loss, n_tokens, n_bytes):
    return math.exp(loss), loss * n_tokens / (n_bytes * math.log(2))


PARTS["05_measures"] = Part(
    solution=measures,
    exercise=True,
    cases=((5.0, 338025, 1115394), (10.824905, 1, 4), (0.5, 1000, 1000)),
    mistakes=(
        (
            lambda loss, n_tokens, n_bytes: (2**loss, _measures(loss, n_tokens, n_bytes)[1]),
            "the loss is in nats, so perplexity is e to the loss, not 2 to the loss",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(loss), loss * n_tokens / n_bytes),
            "these are nats per byte: a bit is ln 2 nats, so divide by that too",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(loss), loss / math.log(2)),
            "these are bits per token: spread them over the text's bytes, n_tokens / n_bytes",
        ),
        (
            lambda loss, n_tokens, n_bytes: _measures(loss, n_bytes, n_tokens),
            "upside down: a token is several bytes, so a byte carries less than a token",
        ),
        (
            lambda loss, n_tokens, n_bytes: (
                math.exp(loss * n_tokens / n_bytes),
                _measures(loss, n_tokens, n_bytes)[1],
            ),
            "this is the perplexity of a byte: perplexity is of a token, e to the loss",
        ),
    ),
)
