"""The float explorer follows its field, its examples and its scale."""

import ipywidgets
import pytest

from gpt2lite.course.floats import FORMATS
from gpt2lite.course.widgets.floats import EXAMPLES, float_explorer, floats_report


def parts(explorer):
    (text, example), scale, page = explorer.children[0].children, *explorer.children[1:]
    return text, example, scale, page


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


@pytest.mark.parametrize("typed", ["<b>", "", "1,5", "0x10", "2**", "2**1e9", "0**-1"])
def test_what_is_no_number_is_told(typed):
    text, _, _, page = parts(float_explorer())
    text.value = typed
    assert "is no number" in page.value and "<b>" not in page.value.replace("<b>“", "")
    text.value = "1.5"
    assert "exact" in page.value


def test_a_power_is_a_number():
    text, _, _, page = parts(float_explorer())
    text.value = "2**-25"
    assert f"{2**-25:.10g}" in page.value and "underflow" in page.value


def test_every_example_can_be_shown():
    for number in filter(None, EXAMPLES.values()):
        assert floats_report(float(number)).count("<code>") == len(FORMATS)


def test_only_widgets_that_colab_knows():
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    core = [getattr(ipywidgets, n) for n in "VBox HBox HTML Text SelectionSlider".split()]
    assert all(type(widget) in core for widget in walk(float_explorer()))
