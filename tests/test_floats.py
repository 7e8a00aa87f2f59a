"""The bits of a number in three formats: those that lie in memory, and what was lost."""

import math
import struct

import pytest
import torch

from gpt2lite.course.floats import FORMATS, bits, keep


def value_of(found, exponent, mantissa):
    """Return what the bits mean, by the definition of IEEE 754."""
    bias, e, m = 2 ** (exponent - 1) - 1, int(found.exponent, 2), int(found.mantissa, 2)
    sign = -1 if found.sign == "1" else 1
    if e == 2**exponent - 1:
        return sign * math.inf if m == 0 else math.nan
    whole, power = (0, 1 - bias) if e == 0 else (1, e - bias)
    return sign * (whole + m / 2**mantissa) * 2.0**power


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("number", [0.1, -3e-4, 50257, 1e-5, 4.9e-9, 70000, -1e39, 0.0, 1e-45])
def test_the_bits_are_those_of_the_number_kept(name, number):
    found, (dtype, exponent, mantissa) = keep(number, name), FORMATS[name]
    assert (len(found.exponent), len(found.mantissa)) == (exponent, mantissa)
    expected = torch.tensor([number], dtype=torch.float64).to(dtype).item()
    assert value_of(found, exponent, mantissa) == found.value == expected


def test_the_bits_are_the_processors():
    for number in (0.1, -2.5e-8, 65504.0):
        for dtype, code, n in ((torch.float32, ">f", 32), (torch.float16, ">e", 16)):
            packed = int.from_bytes(struct.pack(code, number), "big")
            assert bits(torch.tensor(number, dtype=dtype)) == f"{packed:0{n}b}"
    upper_half = bits(torch.tensor(1.5, dtype=torch.float32))[:16]
    assert bits(torch.tensor(1.5, dtype=torch.bfloat16)) == upper_half


@pytest.mark.parametrize(
    "number, name, verdict",
    [
        (1.5, "bf16", "exact"),
        (70000, "fp16", "overflow"),
        (70000, "bf16", "off by"),
        (4.9e-9, "fp16", "underflow"),
        (1e-5, "fp16", "8 bits left"),
        (6e-8, "fp16", "1 bit left"),
        (math.nan, "fp32", "not a number"),
        (math.inf, "fp16", "exact"),
    ],
)
def test_the_verdict(number, name, verdict):
    assert verdict in keep(number, name).verdict


def test_a_scale_saves_a_small_number_and_is_taken_out_again():
    assert keep(4.9e-9, "fp16").value == 0
    assert keep(4.9e-9, "fp16", 2.0**16).value == pytest.approx(4.9e-9, rel=2**-11)
    assert math.isinf(keep(2.0, "fp16", 2.0**16).value), "what is too large once scaled"
