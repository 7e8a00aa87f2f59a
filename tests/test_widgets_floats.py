"""The float explorer shows the bits that lie in memory, and says what each format loses."""

import math
import struct

import ipywidgets
import pytest
import torch
from test_figures import faults, texts

from gpt2lite.course.widgets.floats import (
    EXAMPLES,
    FORMATS,
    bits,
    float_explorer,
    float_layouts,
    floats_report,
    keep,
)


def parts(explorer):
    (text, example), scale, page = explorer.children[0].children, *explorer.children[1:]
    return text, example, scale, page


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


def test_the_explorer_follows_number_example_and_scale():
    text, example, scale, page = parts(float_explorer())
    assert example.value == "a tenth" and "0.1000000015" in page.value
    example.value = "too large for fp16"
    assert text.value == "70000" and "overflow" in page.value
    text.value = EXAMPLES["a gradient of a logit"]
    assert example.value == "a gradient of a logit" and "underflow" in page.value
    scale.value = "65,536"
    assert "underflow" not in page.value and "× 65,536" in page.value
    text.value = "0.30"
    assert example.value == "your own"
    example.value = "a tenth"
    assert text.value == "0.1"


@pytest.mark.parametrize("typed", ["<b>", "", "1,5", "0x10"])
def test_what_is_no_number_is_told(typed):
    text, _, _, page = parts(float_explorer())
    text.value = typed
    assert "is no number" in page.value and "<b>" not in page.value.replace("<b>“", "")
    text.value = "1.5"
    assert "exact" in page.value


def test_every_example_can_be_shown():
    for number in filter(None, EXAMPLES.values()):
        assert floats_report(float(number)).count("<code>") == len(FORMATS)


def test_only_widgets_that_colab_knows():
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    core = [getattr(ipywidgets, n) for n in "VBox HBox HTML Text Dropdown SelectionSlider".split()]
    assert all(type(widget) in core for widget in walk(float_explorer()))


@pytest.mark.parametrize("number", [0.1, -4.9e-9, 70000, 16777217])
def test_the_drawing_can_be_read(number):
    fig = float_layouts(number)
    assert faults(fig) == [] and min(t.get_fontsize() for t in texts(fig)) >= 8
    assert all(name in fig.alt for name in FORMATS)
    drawn = "".join(t.get_text() for t in texts(fig) if t.get_text() in ("0", "1"))
    kept = (keep(number, name) for name in FORMATS)
    assert drawn == "".join(k.sign + k.exponent + k.mantissa for k in kept)
