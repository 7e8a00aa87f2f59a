"""A number in three formats: the bits that each keeps of it, read from the tensor's own memory."""

import math
from dataclasses import dataclass

import torch

# Each format with its bits: one for the sign, the exponent's, the mantissa's.
FORMATS = {
    "fp32": (torch.float32, 8, 23),
    "fp16": (torch.float16, 5, 10),
    "bf16": (torch.bfloat16, 8, 7),
}


@dataclass(frozen=True)
class Kept:
    """What a format keeps of a number: its bits in three fields, the value, and what was lost."""

    sign: str
    exponent: str
    mantissa: str
    value: float  # with the scale taken out again
    verdict: str


def bits(x: torch.Tensor) -> str:
    """Return the bits of a tensor of one number as they lie in memory, the sign first."""
    n = 8 * x.element_size()
    whole = x.view({16: torch.int16, 32: torch.int32}[n]).item()
    return f"{whole % 2**n:0{n}b}"


def keep(number: float, name: str, scale: float = 1.0) -> Kept:
    """Round number · scale to the format `name`, then divide by scale again, as a GradScaler does.

    The division happens in fp64 here, so that all that is lost is lost in the format.
    """
    dtype, exponent, _ = FORMATS[name]
    x = torch.tensor(number * scale, dtype=torch.float64).to(dtype)
    value, all_bits = x.double().item() / scale, bits(x)
    fields = all_bits[0], all_bits[1 : 1 + exponent], all_bits[1 + exponent :]
    return Kept(*fields, value, _verdict(number, value, *fields[1:]))


def _verdict(number, value, exponent, mantissa):
    if math.isnan(number):
        return "not a number: all exponent bits 1, and a mantissa"
    if value == number:
        return "exact"
    if math.isinf(value):
        return "overflow: too large, so infinite"
    if value == 0:
        return "underflow: too small, so 0"
    error = f"off by {abs(value - number) / abs(number):.1g} of it"
    if "1" not in exponent:
        left = len(mantissa.lstrip("0"))
        return f"{error}; almost underflow: {left} bit{'s' * (left > 1)} left"
    return error
