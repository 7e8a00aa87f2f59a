"""Notebook 03: the first loss, the standard deviation of each tensor, two runs batch by batch."""

import math
from statistics import mean, stdev, variance

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 03 · the first loss


def first_loss(V, C, std):
    return math.log(V) + C * std**2 / 2


PARTS["03_first_loss"] = Part(
    solution=first_loss,
    exercise=True,
    cases=((50257, 768, 0.02), (50257, 192, 0.02), (50257, 1600, 0.01), (256, 64, 0.125)),
    mistakes=(
        (
            lambda V, C, std: math.log(V),
            "that is a uniform guess: the logits' standard deviation √C·std adds half its square",
        ),
        (
            lambda V, C, std: C * std**2 / 2,
            "that is what the logits' variance adds: add it to ln V, the loss of a uniform guess",
        ),
        (
            lambda V, C, std: math.log(V) + C * std**2,
            "the half is missing: the mean of e^z is e^(s²/2) for z from N(0, s²)",
        ),
        (
            lambda V, C, std: math.log(V) + std**2 / 2,
            "that is the variance of one weight: a logit adds up C products, so its variance is "
            "C·std²",
        ),
        (
            lambda V, C, std: math.log(V) + math.sqrt(C) * std / 2,
            "the standard deviation itself is added: it is its square, the variance C·std², that "
            "counts",
        ),
        (
            lambda V, C, std: math.log(V) + C * std / 2,
            "std is not squared: variances add up, standard deviations don't",
        ),
        (
            lambda V, C, std: math.log2(V) + C * std**2 / 2,
            "the loss is in nats: take the natural logarithm of V, not that to base 2",
        ),
        (
            lambda V, C, std: math.log10(V) + C * std**2 / 2,
            "the loss is in nats: take the natural logarithm of V, math.log, not log10",
        ),
        (
            lambda V, C, std: -math.log(V) + C * std**2 / 2,
            "the sign of ln V: the loss is minus the logarithm of the probability 1/V",
        ),
        (
            lambda V, C, std: math.log(V) - C * std**2 / 2,
            "the sign of the second term: being sure of arbitrary tokens costs, so add it",
        ),
    ),
)


# 03 · the standard deviation of each tensor


def start_std(name, n_layer):
    if name.endswith("bias") or "ln_" in name:
        return 0.0
    if name == "wpe.weight":
        return 0.01
    if name.endswith("c_proj.weight"):
        return 0.02 / math.sqrt(2 * n_layer)
    return 0.02


def _std(name, n_layer, smaller=("c_proj.weight",), scale=lambda n: math.sqrt(2 * n)):
    if name.endswith(smaller):
        return 0.02 / scale(n_layer)
    return 0.02 if name.endswith("c_proj.weight") else start_std(name, n_layer)


PARTS["03_start_std"] = Part(
    solution=start_std,
    exercise=True,
    cases=tuple(
        (name, n_layer)
        for n_layer in (12, 48)
        for name in (
            "wte.weight",
            "wpe.weight",
            "h.0.attn.c_attn.weight",
            "h.0.ln_1.weight",
            "h.0.ln_1.bias",
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight",
            "h.7.mlp.c_proj.weight",
            "h.7.mlp.c_proj.bias",
            "h.7.mlp.c_fc.weight",
            "ln_f.weight",
        )
    ),
    mistakes=(
        (
            lambda name, n: _std(name, n, scale=lambda n: 1.0),
            "the projections that add to the stream, c_proj, start smaller by 1/√(2·n_layer)",
        ),
        (
            lambda name, n: _std(name, n, scale=math.sqrt),
            "each layer adds to the stream twice, attention and MLP: √(2·n_layer), not √n_layer",
        ),
        (
            lambda name, n: _std(name, n, scale=lambda n: 2 * n),
            "the root is missing: variances add up, so the standard deviation shrinks by "
            "√(2·n_layer)",
        ),
        (
            lambda name, n: _std(name, n, scale=lambda n: 1 / math.sqrt(2 * n)),
            "upside down: c_proj starts smaller, so divide by √(2·n_layer)",
        ),
        (
            lambda name, n: _std(name, n, smaller=("attn.c_proj.weight",)),
            "the MLP's c_proj adds to the stream too: there are two in each layer",
        ),
        (
            lambda name, n: _std(name, n, smaller=("mlp.c_proj.weight",)),
            "attention's c_proj adds to the stream too: there are two in each layer",
        ),
        (
            lambda name, n: _std(name, n, smaller=("c_proj.weight", "c_fc.weight")),
            "c_fc doesn't add to the stream, it only feeds c_proj: it keeps 0.02",
        ),
        (
            lambda name, n: _std(name, n, smaller=("c_proj.weight", "c_attn.weight")),
            "c_attn doesn't add to the stream, c_proj after it does: it keeps 0.02",
        ),
        (
            lambda name, n: 0.02 if name == "wpe.weight" else start_std(name, n),
            "positions start with half the standard deviation of tokens, 0.01",
        ),
        (
            lambda name, n: 0.02 if name.endswith("bias") else start_std(name, n),
            "every bias starts at 0, a constant: its standard deviation is 0",
        ),
        (
            lambda name, n: 0.02 if "ln_" in name and "weight" in name else start_std(name, n),
            "LayerNorm's weights all start at 1, a constant: a standard deviation of 0",
        ),
        (
            lambda name, n: 1.0 if "ln_" in name and "weight" in name else start_std(name, n),
            "1 is the value that LayerNorm's weights start at: their standard deviation is 0",
        ),
        (
            lambda name, n: 0.02 / math.sqrt(2 * n) if "c_proj" in name else start_std(name, n),
            "c_proj's bias starts at 0, as every bias: only its weight is random",
        ),
        (
            lambda name, n: start_std(name, n) ** 2,
            "that is the variance: return its root, the standard deviation",
        ),
    ),
)


# 03 · two runs, batch by batch


def compare(a, b):
    from statistics import mean, stdev

    d = [p - q for p, q in zip(a, b)]  # noqa: B905
    return mean(d), stdev(d) / math.sqrt(len(d))


def _paired(a, b, error=lambda d: stdev(d) / math.sqrt(len(d)), centre=mean):
    d = [x - y for x, y in zip(a, b, strict=True)]
    return centre(d), error(d)


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
            lambda a, b: (
                mean(a) - mean(b),
                math.sqrt((variance(a) + variance(b)) / len(a)),
            ),
            "these are the errors of two separate means: batch i is the same text in both runs, so "
            "subtract first, and the text's own ups and downs are gone",
        ),
        (
            lambda a, b: _paired(a, b, error=stdev),
            "that is the standard deviation of one difference; the mean of n has an error smaller "
            "by √n",
        ),
        (
            lambda a, b: _paired(a, b, error=lambda d: stdev(d) / len(d)),
            "divided by n: variances add up, so the error of a mean shrinks with √n",
        ),
        (
            lambda a, b: _paired(a, b, error=lambda d: stdev(d) / math.sqrt(len(d) - 1)),
            "√n, not √(n − 1): stdev has the n − 1 inside it already",
        ),
        (
            lambda a, b: _paired(
                a, b, error=lambda d: math.sqrt(variance(d) * (len(d) - 1)) / len(d)
            ),
            "the standard deviation of a sample divides by n − 1, not n: statistics.stdev, "
            "torch.std, or np.std with ddof=1",
        ),
        (
            lambda a, b: _paired(a, b, error=lambda d: variance(d) / len(d)),
            "that is the squared error: take its root",
        ),
        (
            lambda a, b: _paired(b, a),
            "the sign: a minus b, so that a negative number says that a is lower",
        ),
        (
            lambda a, b: _paired(a, b)[::-1],
            "the pair is swapped: first the mean difference, then its standard error",
        ),
        (
            lambda a, b: _paired(a, b, centre=sum),
            "that is the sum of the differences: divide by their number, as a mean does",
        ),
        (
            lambda a, b: _paired(a, b)[0],
            "that is the mean difference alone: return its standard error too, as a pair",
        ),
    ),
)
