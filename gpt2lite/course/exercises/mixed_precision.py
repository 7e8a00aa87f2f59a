"""Notebook 04: the format for a GPU, what lies between backward and step, bf16 by its bits."""

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 04 · the format for a GPU


def _pick_dtype(capability, bf16=lambda c: c >= (8, 0), fp16=lambda c: c >= (7, 0)):
    if capability is None:
        return "fp32"
    return "bf16" if bf16(capability) else "fp16" if fp16(capability) else "fp32"


def _pick_by_text(capability):
    if capability is None:
        return "fp32"
    version = "{}.{}".format(*capability)
    return "bf16" if version >= "8.0" else "fp16" if version >= "7.0" else "fp32"


def pick_dtype(capability):
    if capability is None or capability < (7, 0):
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16"


PARTS["04_pick_dtype"] = Part(
    solution=pick_dtype,
    exercise=True,
    cases=tuple(
        (capability,)
        for capability in (
            None,
            *((6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)),
        )
    ),
    mistakes=(
        (
            lambda capability: _pick_dtype(capability, bf16=lambda c: c >= (7, 0)),
            "a T4 (7.5) and a V100 (7.0) have no bf16 units: they emulate it, as slow as fp32",
        ),
        (
            lambda capability: _pick_dtype(capability, bf16=lambda c: True),
            "every GPU gets bf16, as is_bf16_supported() would say: below 8.0 it is emulated",
        ),
        (
            lambda capability: _pick_dtype(capability, bf16=lambda c: c > (8, 0)),
            "8.0 is the A100, the first with bf16 units: it belongs to them, so >= and not >",
        ),
        (
            lambda capability: _pick_dtype(capability, bf16=lambda c: c[0] == 8),
            "9.0 and later have bf16 units too: compare with >=, not with ==",
        ),
        (
            _pick_by_text,
            "these are numbers, not words: as text, '10.0' stands before '8.0'. Compare tuples",
        ),
        (
            lambda capability: _pick_dtype(capability, bf16=lambda c: False),
            "from 8.0 on bf16 is as fast as fp16 and has fp32's range: no scaler is needed",
        ),
        (
            lambda capability: _pick_dtype(capability, fp16=lambda c: True),
            "below 7.0 there are no matrix units for fp16: the risk without the speed, so fp32",
        ),
    ),
)


# 04 · between backward and step


def _for_the_step(grad, scale, max_norm):
    grad = grad / scale
    norm = grad.norm().item()
    if not grad.isfinite().all():
        return None
    return grad * min(1.0, max_norm / norm)


def _clipped_first(grad, scale, max_norm):
    if not grad.isfinite().all():
        return None
    return grad * min(1.0, max_norm / grad.norm().item()) / scale


def _clipped_by_value(grad, scale, max_norm):
    if not grad.isfinite().all():
        return None
    return (grad / scale).clamp(-max_norm, max_norm)


def _never_skipped(grad, scale, max_norm):
    grad = grad / scale
    return grad * min(1.0, max_norm / grad.norm().item())


def for_the_step(grad, scale, max_norm):
    grad = grad / scale
    if not grad.isfinite().all():
        return None
    return grad * min(1.0, max_norm / grad.norm().item())


PARTS["04_for_the_step"] = Part(
    solution=for_the_step,
    exercise=True,
    cases=tuple(
        (torch.tensor(grad) * scale, scale, max_norm)
        for grad, scale, max_norm in (
            ([3.0, 4.0], 65536.0, 1.0),
            ([0.3, -0.4], 65536.0, 1.0),
            ([-6.0, 8.0, 0.0], 1024.0, 5.0),
            ([float("inf"), 1.0], 65536.0, 1.0),
            ([float("nan"), 1.0], 65536.0, 1.0),
        )
    ),
    mistakes=(
        (
            _clipped_first,
            "clipped before it was unscaled: it is then 65,536 times too large for any limit, and "
            "what is left after the division is next to nothing",
        ),
        (
            lambda grad, scale, max_norm: _for_the_step(grad, 1.0, max_norm),
            "a gradient shorter than max_norm must stay as it is: is the scale still in it when "
            "you take its norm, or do you lengthen short ones too?",
        ),
        (
            lambda grad, scale, max_norm: _for_the_step(grad, scale, float("inf")),
            "nothing was clipped: where the norm is above max_norm, multiply by max_norm / norm",
        ),
        (
            _clipped_by_value,
            "each number was clipped alone, which turns the gradient's direction: shorten it as a "
            "whole, by its norm",
        ),
        (
            _never_skipped,
            "a gradient that is not finite must not reach the weights: return None, skip the step",
        ),
    ),
)


# 04 · bf16 by its bits


def _to_bf16(x, added=lambda whole: 0x7FFF + (whole >> 16 & 1), kept=-0x10000):
    whole = x.view(torch.int32)
    return (whole + added(whole) & kept).view(torch.float32)


def to_bf16(x):
    whole = x.view(torch.int32)
    last = whole >> 16 & 1  # of the bits that stay
    return (whole + 0x7FFF + last & -0x10000).view(torch.float32)


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
            lambda x: _to_bf16(x, added=lambda whole: 0),
            "the lower half is cut off, which always rounds towards 0: go to the nearest",
        ),
        (
            lambda x: _to_bf16(x, added=lambda whole: 0x8000),
            "right but for ties: exactly half way, go to the even neighbour, or sums drift upwards",
        ),
        (
            lambda x: _to_bf16(x, added=lambda whole: 0x7FFF),
            "half way between two, this always goes towards 0: to the even neighbour, so add 1 "
            "more where the last bit that stays is 1",
        ),
        (
            lambda x: _to_bf16(x, kept=-1),
            "the lower 16 bits are still there: set them to 0 after the addition",
        ),
        (
            lambda x: x.half().float(),
            "this is fp16: it has 10 mantissa bits. bf16 is the upper half of fp32's 32 bits",
        ),
    ),
)
