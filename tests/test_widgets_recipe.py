"""The dials of notebook 06 react, and a batch's minutes are right; no browser runs here."""

import re

import ipywidgets
import pytest

from gpt2lite.course.widgets import batch_explorer, schedule_explorer
from gpt2lite.course.widgets.recipe import batch_report, duration


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def dials(explorer):
    *rows, page = explorer.children
    return {w.description: w for row in rows for w in walk(row) if hasattr(w, "value")}, page


def alt(page):
    return re.search(r'<img alt="([^"]*)"', page.value)[1]


def test_each_dial_of_the_schedule_draws_another_picture():
    dial, page = dials(schedule_explorer())
    pages = [page.value]
    assert dial["cooldown"].disabled, "a cosine has no cooldown"
    for name, value in {"warm-up": 0.2, "end": 0.0, "form": "cooldown", "cooldown": 0.5}.items():
        dial[name].value = value
        pages.append(page.value)
    assert len(set(pages)) == len(pages) and not dial["cooldown"].disabled
    assert "200 steps up to 1, at the end 0.002" in alt(page)
    dial["cooldown"].value = 0.0
    assert "at the end 1." in alt(page), "without a cooldown the rate stays"


def test_every_schedule_that_the_dials_allow_can_be_drawn():
    dial, _ = dials(schedule_explorer())
    dial["form"].value = "cooldown"
    for name in ("warm-up", "cooldown"):
        dial[name].value = 0.5


def test_a_batch_takes_its_tokens_through_the_speed():
    page = batch_report(2**19, 17_900, 4, 1024)
    for said in ("128", "29.3 s", "1,907", "15.5 hours"):
        assert f"<b>{said}</b>" in page
    dial, page = dials(batch_explorer({"slow": 100.0, "T4": 17_900}))
    assert "87.4 minutes" in page.value
    dial["hardware"].value, dial["a step"].value = "T4", 2**22
    assert "3.9 minutes" in page.value and "<b>1,024</b>" in page.value


@pytest.mark.parametrize(
    "seconds, said", [(5, "5.0 s"), (119, "119.0 s"), (120, "2.0 minutes"), (1e9, "31.7 years")]
)
def test_a_time_is_said_in_its_unit(seconds, said):
    assert duration(seconds) == said


def test_only_widgets_that_colab_knows():
    names = "VBox HBox HTML ToggleButtons SelectionSlider Dropdown"
    core = [getattr(ipywidgets, name) for name in names.split()]
    for explorer in (schedule_explorer(), batch_explorer({"T4": 17_900})):
        assert all(type(widget) in core for widget in walk(explorer))
