"""The dials of notebook 06 react; no browser runs here."""

import re

import ipywidgets

from gpt2lite.course.widgets import schedule_explorer


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


def test_only_widgets_that_colab_knows():
    names = "VBox HBox HTML ToggleButtons SelectionSlider"
    core = [getattr(ipywidgets, name) for name in names.split()]
    assert all(type(widget) in core for widget in walk(schedule_explorer()))
