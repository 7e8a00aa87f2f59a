"""Notebook 04: the format for a GPU, what lies between backward and step, bf16 by its bits."""

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 04 · the format for a GPU


def pick_dtype(capability):
    if capability is None or capability < (7, 0):
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16"


def _pick(capability, bf16=lambda c: c >= (8, 0), fp16=lambda c: c >= (7, 0), none="fp32"):
    if capability is None:
        return none
    return "bf16" if bf16(capability) else "fp16" if fp16(capability) else "fp32"


PARTS["04_pick_dtype"] = Part(
    solution=pick_dtype,
    exercise=True,
    cases=tuple(
        (capability,)
        for capability in (
            (7, 5),
            *((8, 0), (8, 6), (8, 9), (9, 0), (7, 0), (6, 0), (6, 1), (10, 0), (12, 0)),
            None,
        )
    ),
    mistakes=(
        (
            lambda c: _pick(c, bf16=lambda c: c >= (7, 0)),
            "a T4 (7.5) and a V100 (7.0) have no bf16 units: they emulate it, as slow as fp32",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: True),
            "every GPU gets bf16, as is_bf16_supported() would say: below 8.0 it is emulated",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c > (8, 0)),
            "8.0 is the A100, the first with bf16 units: it belongs to them, so >= and not >",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c == (8, 0)),
            "8.6, 8.9, 9.0 and later have bf16 units too: compare with >=, not with ==",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c[0] == 8),
            "9.0 and later have bf16 units too: compare with >=, not with ==",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: "{}.{}".format(*c) >= "8.0"),
            "these are numbers, not words: as text, '10.0' stands before '8.0'. Compare tuples",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: False),
            "from 8.0 on bf16 is as fast as fp16 and has fp32's range: no scaler is needed",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: True),
            "below 7.0 there are no matrix units for fp16: the risk without the speed, so fp32",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: c > (7, 0)),
            "7.0 is the V100, the first with matrix units for fp16: it belongs to them, so >=",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: False),
            "from 7.0 on there are matrix units for fp16: a T4 (7.5) wants it, with a scaler",
        ),
        (
            lambda c: {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[
                pick_dtype(c)
            ],
            "the right format, but return its name, a string such as 'bf16'",
        ),
        (lambda c: _pick(c, none=None), "without a GPU, for None, return 'fp32'"),
        (lambda c: _pick(c, none="bf16"), "without a GPU, for None, return 'fp32', not 'bf16'"),
        (
            lambda c: "bf16" if c >= (8, 0) else "fp16" if c >= (7, 0) else "fp32",
            "None can't be compared with a tuple: ask for it first, and return 'fp32'",
        ),
    ),
)


# 04 · between backward and step


def for_the_step(grad, scale, max_norm):
    grad = grad / scale
    if not grad.isfinite().all():
        return None
    norm = grad.norm()
    return grad * (max_norm / norm) if norm > max_norm else grad


def _step(grad, scale, max_norm, finite=lambda grad: grad.isfinite().all(), norm=torch.norm):
    grad = grad / scale
    return grad * (max_norm / norm(grad)).clamp(max=1.0) if finite(grad) else None


def _clipped_first(grad, scale, max_norm):
    return for_the_step(grad, 1.0, max_norm) / scale if grad.isfinite().all() else None


def _clipped_by_value(grad, scale, max_norm):
    return (grad / scale).clamp(-max_norm, max_norm) if grad.isfinite().all() else None


def _always_scaled(grad, scale, max_norm):
    return grad / grad.norm() * max_norm if grad.isfinite().all() else None


def _skipped_if_long(grad, scale, max_norm):
    return None if (grad / scale).norm() > max_norm else for_the_step(grad, scale, max_norm)


INF, NAN = float("inf"), float("nan")
PARTS["04_for_the_step"] = Part(
    solution=for_the_step,
    exercise=True,
    cases=tuple(
        (torch.tensor(grad) * scale, scale, max_norm)
        for grad, scale, max_norm in (
            ([-6.0, 8.0, 0.0], 1024.0, 5.0),
            ([3.0, 4.0], 65536.0, 1.0),
            ([0.3, -0.4], 65536.0, 1.0),
            ([1.0, INF], 65536.0, 1.0),
            ([1.0, NAN], 65536.0, 1.0),
            ([1.0, -INF], 65536.0, 1.0),
            ([0.0, 0.0], 65536.0, 1.0),
        )
    ),
    mistakes=(
        (
            _clipped_first,
            "clipped before it was unscaled: it is then 65,536 times too large for any limit, and "
            "what is left after the division is next to nothing",
        ),
        (
            lambda grad, scale, max_norm: for_the_step(grad, 1.0, max_norm),
            "a gradient shorter than max_norm must stay as it is: is the scale still in it when "
            "you take its norm?",
        ),
        (
            _always_scaled,
            "a gradient shorter than max_norm must stay as it is: you lengthen it",
        ),
        (
            lambda grad, scale, max_norm: for_the_step(grad, scale, INF),
            "nothing was clipped: where the norm is above max_norm, multiply by max_norm / norm",
        ),
        (
            _clipped_by_value,
            "each number was clipped alone, which turns the gradient's direction: shorten it as a "
            "whole, by its norm",
        ),
        (
            _skipped_if_long,
            "too long is no reason to skip: shorten it to max_norm, and skip only inf and nan",
        ),
        (
            lambda grad, scale, max_norm: _step(
                grad, scale, max_norm, norm=lambda g: g.abs().max()
            ),
            "that is the largest number: the norm is the root of the sum of squares",
        ),
        (
            lambda grad, scale, max_norm: _step(
                grad, scale, max_norm, norm=lambda g: g.abs().sum()
            ),
            "that is the sum of the absolute values: the norm is the root of the sum of squares",
        ),
        (
            lambda grad, scale, max_norm: _step(grad, scale, max_norm, finite=lambda g: True),
            "a gradient that is not finite must not reach the weights: return None, skip the step",
        ),
        (
            lambda grad, scale, max_norm: _step(
                grad, scale, max_norm, finite=lambda g: not g.isnan().any()
            ),
            "isnan misses inf: isfinite() is False for both",
        ),
        (
            lambda grad, scale, max_norm: _step(
                grad, scale, max_norm, finite=lambda g: not g.isinf().any()
            ),
            "isinf misses nan: isfinite() is False for both",
        ),
        (
            lambda grad, scale, max_norm: _step(
                grad, scale, max_norm, finite=lambda g: g.max().isfinite()
            ),
            "the largest number doesn't show -inf: every number must be finite",
        ),
        (
            lambda grad, scale, max_norm: (
                for_the_step(grad, scale, max_norm)
                if grad.isfinite().all()
                else torch.zeros_like(grad)
            ),
            "zeros are a step too, for AdamW goes on with its averages: return None to skip it",
        ),
        (
            lambda grad, scale, max_norm: (
                grad / scale * min(1.0, max_norm / (grad / scale).norm().item())
                if grad.isfinite().all()
                else None
            ),
            "a gradient of zeros has the norm 0: divide by it only where it is above max_norm",
        ),
    ),
)


# 04 · bf16 by its bits


def to_bf16(x):
    whole = x.view(torch.int32)
    last = whole >> 16 & 1  # of the bits that stay
    return (whole + 0x7FFF + last & -0x10000).view(torch.float32)


def _rounded(x, added=lambda whole: 0x7FFF + (whole >> 16 & 1), kept=-0x10000):
    whole = x.view(torch.int32)
    return (whole + added(whole) & kept).view(torch.float32)


PARTS["04_to_bf16"] = Part(
    solution=to_bf16,
    exercise=True,
    cases=tuple(
        (torch.tensor(numbers),)
        for numbers in (
            [0.1, -0.1, 3.14159, 50257.0],
            [1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 1 + 2.0**-8 + 2.0**-20],  # ties
            [0.0, 1.0, -65504.0, 1e-3, 7e4],
        )
    ),
    mistakes=(
        (
            lambda x: _rounded(x, added=lambda whole: 0),
            "the lower half is cut off, which always rounds towards 0: go to the nearest",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x8000),
            "right but for ties: exactly half way, go to the even neighbour, or sums drift upwards",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x7FFF),
            "half way between two, this always goes towards 0: to the even neighbour, so add 1 "
            "more where the last bit that stays, bit 16, is 1",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x10000),
            "that adds a whole step of the bits that stay, which rounds away from 0: add half",
        ),
        (
            lambda x: _rounded(x, kept=-1),
            "the lower 16 bits are still there: set them to 0 after the addition",
        ),
        (
            lambda x: _rounded(x, kept=0xFFFF),
            "these are the lower 16 bits: keep the upper ones, & -0x10000",
        ),
        (
            lambda x: _rounded(x).view(torch.int32).float(),
            ".float() converts the integer: read its bits as a number, .view(torch.float32)",
        ),
        (
            lambda x: _rounded(x).view(torch.int32),
            "these are the bits as an integer: read them as a number, .view(torch.float32)",
        ),
        (
            lambda x: _rounded(x.int().float()),
            ".int() rounds the numbers to whole ones: .view(torch.int32) reads their bits",
        ),
        (
            lambda x: x.half().float(),
            "this is fp16: it has 10 mantissa bits. bf16 is the upper half of fp32's 32 bits",
        ),
    ),
    forbidden={torch.bfloat16: "the cast to bf16 is what you write here: with integers alone"},
)
