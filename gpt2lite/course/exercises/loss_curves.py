"""Notebook 05: the entropy of single tokens, a debiased average, perplexity and bits per byte."""

import math

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 05 · the loss of a model that knows only how often each token occurs


def entropy(tokens):
    p = tokens.unique(return_counts=True)[1] / len(tokens)
    return -(p * p.log()).sum().item()


def _shares(tokens):
    return tokens.unique(return_counts=True)[1] / len(tokens)


PARTS["05_entropy"] = Part(
    solution=entropy,
    exercise=True,
    cases=tuple(
        (torch.tensor(tokens),)
        for tokens in (
            [3, 3, 3, 9],
            [50256, 0, 0, 11, 11, 11, 11, 7],
            [1, 2, 3, 4, 5, 5],
            [7, 7],
        )
    ),
    mistakes=(
        (
            lambda tokens: entropy(tokens) / math.log(2),
            "these are bits: the losses here are in nats, so take the natural logarithm",
        ),
        (
            lambda tokens: entropy(tokens) / math.log(10),
            "this is the logarithm to base 10: the losses here are in nats, so take log",
        ),
        (
            lambda tokens: math.log(len(tokens.unique())),
            "this takes all tokens that occur for equally likely: weigh each by how often it does",
        ),
        (
            lambda tokens: math.log(len(tokens)),
            "every token counts as a kind of its own: two tensors in a Counter or a dict are two "
            "keys even if they are equal, so count tokens.tolist()",
        ),
        (
            lambda tokens: -_shares(tokens).log().mean().item(),
            "each kind of token counts once: weigh the surprise -log p of each by its share p",
        ),
        (
            lambda tokens: -_shares(tokens).log().sum().item(),
            "the surprises are only added up: weigh each -log p by its share p",
        ),
        (
            lambda tokens: -entropy(tokens),
            "the sign: log p is negative, and a loss isn't, so the surprise is -log p",
        ),
        (
            lambda tokens: entropy(tokens) * len(tokens),
            "this is the loss of the whole text: divide by its tokens, as a mean loss does",
        ),
        (
            lambda tokens: entropy(tokens) / len(_shares(tokens)),
            "this is a mean over the kinds: p is the weight already, so add p · -log p up",
        ),
        (
            lambda tokens: math.exp(entropy(tokens)),
            "this is the perplexity, e to the loss: return the loss itself",
        ),
        (
            lambda tokens: math.nan,
            "a token that never occurs gives 0 · log 0, which is nan: leave out the empty bins",
        ),
    ),
)


# 05 · the average that a curve is smoothed with


def debiased(values, half_life):
    keep, average, smoothed = 0.5 ** (1 / half_life), 0.0, []
    for t, value in enumerate(values, 1):
        average = keep * average + (1 - keep) * value
        smoothed.append(average / (1 - keep**t))
    return smoothed


def _average(values, keep, start=0.0, divisor=lambda t: 1.0, carry=False):
    average, smoothed = start, []
    for t, value in enumerate(values, 1):
        average = keep * average + (1 - keep) * value
        smoothed.append(average / divisor(t))
        average = smoothed[-1] if carry else average
    return smoothed


def _with(keep):
    """Return the right average for another `keep` than the half-life's."""
    return lambda values, h: _average(values, keep(h), divisor=lambda t: 1 - keep(h) ** t)


def _half(half_life):
    return 0.5 ** (1 / half_life)


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
            lambda values, h: _average(values, _half(h)),
            "not debiased: the average starts at 0 and drags that along; divide by 1 - keep**t",
        ),
        (
            lambda values, h: _average(values, _half(h), values[0]),
            "starting at the first value gives it the weight of all that never came: start at 0 "
            "and divide by 1 - keep**t",
        ),
        (
            lambda values, h: [sum(values[: t + 1]) / (t + 1) for t in range(len(values))],
            "this is the mean of all so far, where the first value never fades: weigh what is "
            "half_life steps old by half",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h) ** (t + 1)),
            "one step off: the first average holds one value, so divide it by 1 - keep**1",
        ),
        (
            lambda values, h: _average(
                values, _half(h), divisor=lambda t: 1 - _half(h) ** max(t - 1, 1)
            ),
            "one step late: the average of t values is divided by 1 - keep**t, so count from 1",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h) ** (t - 1)),
            "at the first value this divides by 1 - keep**0, which is 0: count from 1",
        ),
        (
            lambda values, h: _average(
                values, _half(h), divisor=lambda t: 1 - _half(h) ** t, carry=True
            ),
            "the divided value is carried on: divide what you return, and go on with what you had",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h)),
            "divided by the same number each time: 1 - keep**t grows towards 1 with t",
        ),
        (
            _with(lambda h: 1 - _half(h)),
            "the weights are swapped: keep goes with the old average, 1 - keep with the new value",
        ),
        (
            _with(lambda h: math.exp(-1 / h)),
            "after half_life steps e⁻¹ is left, not a half: keep is 0.5 ** (1 / half_life)",
        ),
        (
            _with(lambda h: 1 - 1 / h if h > 1 else 0.5),
            "1 - 1/half_life is another average: half must be left after half_life steps",
        ),
        (
            _with(lambda h: 0.5**h),
            "that is half after one step, half_life times over: keep is 0.5 ** (1 / half_life)",
        ),
        (
            lambda values, h: debiased(values, h)[-1],
            "that is the last average alone: return the list, one for each value",
        ),
    ),
)


# 05 · one loss, three units


def measures(loss, n_tokens, n_bytes):
    return math.exp(loss), loss * n_tokens / (n_bytes * math.log(2))


def _bits(loss, n_tokens, n_bytes):
    return measures(loss, n_tokens, n_bytes)[1]


PARTS["05_measures"] = Part(
    solution=measures,
    exercise=True,
    cases=((5.0, 338025, 1115394), (10.824905, 1, 4), (0.5, 1000, 1000)),
    mistakes=(
        (
            lambda loss, n_tokens, n_bytes: (2**loss, _bits(loss, n_tokens, n_bytes)),
            "the loss is in nats, so perplexity is e to the loss, not 2 to the loss",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(-loss), _bits(loss, n_tokens, n_bytes)),
            "that is a probability: perplexity is one over it, e to the loss",
        ),
        (
            lambda loss, n_tokens, n_bytes: (loss, _bits(loss, n_tokens, n_bytes)),
            "the first is the loss itself: perplexity is e to the loss",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(loss), loss * n_tokens / n_bytes),
            "these are nats per byte: a bit is ln 2 nats, so divide by that too",
        ),
        (
            lambda loss, n_tokens, n_bytes: (
                math.exp(loss),
                loss * n_tokens / n_bytes * math.log(2),
            ),
            "a bit is ln 2 nats, so there are more bits than nats: divide by ln 2",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(loss), loss / math.log(2)),
            "these are bits per token: spread them over the text's bytes, n_tokens / n_bytes",
        ),
        (
            lambda loss, n_tokens, n_bytes: (math.exp(loss), loss * n_tokens / math.log(2)),
            "these are the bits of the whole text: divide by its bytes",
        ),
        (
            lambda loss, n_tokens, n_bytes: measures(loss, n_bytes, n_tokens),
            "upside down: a token is several bytes, so a byte carries less than a token",
        ),
        (
            lambda loss, n_tokens, n_bytes: (
                math.exp(loss * n_tokens / n_bytes),
                _bits(loss, n_tokens, n_bytes),
            ),
            "this is the perplexity of a byte: perplexity is of a token, e to the loss",
        ),
        (
            lambda loss, n_tokens, n_bytes: measures(loss, n_tokens, n_bytes)[::-1],
            "the pair is swapped: first the perplexity, then the bits per byte",
        ),
        (
            lambda loss, n_tokens, n_bytes: math.exp(loss),
            "that is the perplexity alone: return the bits per byte too, as a pair",
        ),
        (
            lambda loss, n_tokens, n_bytes: _bits(loss, n_tokens, n_bytes),
            "these are the bits per byte alone: return the perplexity first, as a pair",
        ),
    ),
)
