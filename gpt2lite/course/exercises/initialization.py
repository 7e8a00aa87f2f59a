"""Notebook 03: the first loss, the spread each tensor starts with, two runs compared in pairs."""

import math
import statistics

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


def first_loss(V, C, std):
    return math.log(V) + C * std**2 / 2


PARTS["03_first_loss"] = Part(
    solution=first_loss,
    exercise=True,
    cases=((50257, 768, 0.02), (50257, 192, 0.02), (50257, 1600, 0.01), (256, 64, 0.125)),
    mistakes=(
        (
            lambda V, C, std: math.log(V),
            "that is a blind guess: the logits' spread √C·std adds half its square",
        ),
        (
            lambda V, C, std: math.log(V) + C * std**2,
            "the half is missing: the mean of e^z is e^(s²/2) for z from N(0, s²)",
        ),
        (
            lambda V, C, std: math.log(V) + std**2 / 2,
            "that is the spread of one weight: a logit adds up C products, so its variance is "
            "C·std²",
        ),
        (
            lambda V, C, std: math.log(V) + math.sqrt(C) * std / 2,
            "the spread itself is added: it is its square, the variance C·std², that counts",
        ),
        (
            lambda V, C, std: math.log2(V) + C * std**2 / 2,
            "the loss is in nats: take the natural logarithm of V, not that to base 2",
        ),
        (
            lambda V, C, std: -math.log(V) + C * std**2 / 2,
            "the sign of ln V: the loss is minus the logarithm of the probability 1/V",
        ),
    ),
)


def _start_std(name, n_layer, wpe=0.01, smaller=("c_proj.weight",), scale=lambda n: (2 * n) ** 0.5):
    if name.endswith("bias") or "ln_" in name:
        return 0.0
    if name == "wpe.weight":
        return wpe
    return 0.02 / scale(n_layer) if name.endswith(smaller) else 0.02


def start_std(name, n_layer):
    if name.endswith("bias") or "ln_" in name:
        return 0.0
    if name == "wpe.weight":
        return 0.01
    if name.endswith("c_proj.weight"):
        return 0.02 / math.sqrt(2 * n_layer)
    return 0.02


PARTS["03_start_std"] = Part(
    solution=start_std,
    exercise=True,
    cases=tuple(
        (name, n_layer)
        for n_layer in (12, 48)
        for name in (
            "wte.weight",
            "wpe.weight",
            "h.0.ln_1.weight",
            "h.0.attn.c_attn.weight",
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight",
            "h.7.mlp.c_fc.weight",
            "h.7.mlp.c_proj.weight",
            "h.7.mlp.c_proj.bias",
            "ln_f.weight",
        )
    ),
    mistakes=(
        (
            lambda name, n: _start_std(name, n, scale=lambda n: 1.0),
            "the projections that add to the stream, c_proj, start smaller by 1/√(2·n_layer)",
        ),
        (
            lambda name, n: _start_std(name, n, scale=lambda n: n**0.5),
            "each layer adds to the stream twice, attention and MLP: √(2·n_layer), not √n_layer",
        ),
        (
            lambda name, n: _start_std(name, n, scale=lambda n: 2 * n),
            "the root is missing: variances add up, so the spread shrinks by √(2·n_layer)",
        ),
        (
            lambda name, n: _start_std(name, n, smaller=("attn.c_proj.weight",)),
            "the MLP's c_proj adds to the stream too: there are two in each layer",
        ),
        (
            lambda name, n: _start_std(name, n, smaller=("c_proj.weight", "c_fc.weight")),
            "c_fc doesn't add to the stream, it only feeds c_proj: it keeps 0.02",
        ),
        (
            lambda name, n: _start_std(name, n, wpe=0.02),
            "positions start with half the spread of tokens, 0.01",
        ),
        (
            lambda name, n: 0.02 if "ln_" in name and "weight" in name else _start_std(name, n),
            "LayerNorm's gains all start at 1: a spread of 0",
        ),
    ),
)


def _paired(a, b, n=lambda n: math.sqrt(n)):
    d = [x - y for x, y in zip(a, b, strict=True)]
    return statistics.mean(d), statistics.stdev(d) / n(len(d))


def _unpaired(a, b):
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
    return statistics.mean(a) - statistics.mean(b), error


def compare(a, b):
    from statistics import mean, stdev

    d = [p - q for p, q in zip(a, b)]  # noqa: B905
    return mean(d), stdev(d) / math.sqrt(len(d))


PARTS["03_difference"] = Part(
    solution=compare,
    exercise=True,
    cases=(
        ([6.5, 5.8, 6.2, 4.7], [6.4, 5.6, 6.1, 4.4]),
        ([5.0, 6.0, 7.0, 5.5, 6.5], [5.5, 6.25, 7.25, 6.5, 6.75]),
        ([4.0, 4.5, 6.0], [4.25, 4.0, 6.5]),
    ),
    mistakes=(
        (
            _unpaired,
            "these are the errors of two separate means: batch i is the same text in both runs, so "
            "subtract first, and the text's own ups and downs are gone",
        ),
        (
            lambda a, b: _paired(a, b, n=lambda n: 1),
            "that is the spread of one difference; the mean of n has an error smaller by √n",
        ),
        (
            lambda a, b: _paired(a, b, n=lambda n: n),
            "divided by n: variances add up, so the error of a mean shrinks with √n",
        ),
        (
            lambda a, b: _paired(b, a),
            "the sign: a minus b, so that a negative number says that a is lower",
        ),
    ),
)
