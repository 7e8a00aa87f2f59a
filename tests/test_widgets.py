"""The widgets of the notebooks react to being moved; no browser runs here."""

import ipywidgets
import pytest

from gpt2lite.config import SIZES
from gpt2lite.course.widgets import RANGES, sizes_explorer, sizes_report


def parts(explorer):
    preset, *rows, page = explorer.children
    return preset, {s.description: s for row in rows for s in row.children}, page


def test_the_explorer_begins_with_gpt2_and_follows_its_sliders():
    preset, sliders, page = parts(sizes_explorer())
    assert set(sliders) == set(RANGES) and "124,439,808 parameters" in page.value
    sliders["n_layer"].value = 24
    assert preset.value == "your own" and "209,494,272 parameters" in page.value
    sliders["n_layer"].value = 12
    assert preset.value == "gpt2" and "124,439,808 parameters" in page.value


@pytest.mark.parametrize("size", SIZES)
def test_a_preset_moves_all_sliders_to_its_sizes(size):
    preset, sliders, page = parts(sizes_explorer("gpt2-xl" if size == "gpt2" else "gpt2"))
    preset.value = size
    config = SIZES[size]
    assert preset.value == size and sliders["T"].value == config.block_size
    for name in ("n_layer", "n_head", "n_embd", "vocab_size"):
        assert sliders[name].value == getattr(config, name)


def test_a_model_that_cannot_be_says_why():
    _, sliders, page = parts(sizes_explorer())
    sliders["n_head"].value = 7
    assert "No such model" in page.value and "does not divide" in page.value


def test_the_report_says_what_fits_on_a_t4():
    small = dict(n_layer=12, n_head=12, n_embd=768, vocab_size=50257, T=1024)
    assert "fits on a T4" in sizes_report(**small, B=4)
    assert "too much for a T4" in sizes_report(**small, B=32)


def test_only_widgets_that_colab_knows():
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    core = (
        ipywidgets.VBox,
        ipywidgets.HBox,
        ipywidgets.HTML,
        ipywidgets.Dropdown,
        ipywidgets.SelectionSlider,
    )
    assert all(type(widget) in core for widget in walk(sizes_explorer()))
