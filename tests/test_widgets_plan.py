"""The dials of notebook 08 react, and say what the planner says; no browser runs here."""

import ipywidgets
import pytest

from gpt2lite.course.widgets import plan_explorer
from gpt2lite.course.widgets.plan import duration, plan_report
from gpt2lite.planner import card


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def test_each_dial_changes_the_page_and_every_value_has_a_plan():
    *rows, page = plan_explorer().children
    dials = {w.description: w for row in rows for w in walk(row) if hasattr(w, "value")}
    pages = [page.value]
    changes = {"network": "Ethernet, 1.25 GB/s", "MFU, %": 30, "$ / hour": 2.0, "B": 4}
    for name, value in (changes | {"cards": 64, "card": "H100", "model": "gpt2-xl"}).items():
        dials[name].value = value
        pages.append(page.value)
    assert len(set(pages)) == len(pages), "a dial changes nothing"
    for name in ("cards", "B", "MFU, %"):
        for value in getattr(dials[name], "options", (5, 70)):
            dials[name].value = value
    dials["$ / hour"].value = -1.0
    assert "choose a price" in page.value
    dials["$ / hour"].value = 1e300
    assert len(page.value.split("$")[1].split("<")[0]) < 15, "the page breaks"


def test_a_card_brings_its_mfu_and_its_price():
    *rows, page = plan_explorer().children
    dials = {w.description: w for row in rows for w in walk(row) if hasattr(w, "value")}
    brought = {}
    for kind in dials["card"].options:
        dials["card"].value = kind
        brought[kind] = dials["MFU, %"].value, dials["$ / hour"].value
    assert brought == {"T4": (24, 0), "A100": (50, 1.75), "H100": (40, 3.5), "H200": (42, 0)}
    dials["card"].value = "A100"
    assert "$27" in page.value and brought["A100"] == (dials["MFU, %"].value, 1.75)


def test_the_page_says_what_the_planner_says():
    page = plan_report("gpt2", card("A100", 0.5, 8, bandwidth=300e9, price=1.60), 8)
    for said in ("8", "359 ms", "0% of it", "114.1 minutes", "$24"):
        assert f"<b>{said}</b>" in page, said
    slow = plan_report("gpt2-xl", card("T4", 0.2, 8, bandwidth=1.25e9, price=1.0), 1)
    assert "30.2 of 14.1 GB: too small; sharded 8.4 GB" in slow and "0% of it" not in slow
    alone = plan_report("gpt2-xl", card("T4", 0.2, price=1.0), 1)
    assert "too small" in alone and "sharded" not in alone, "one card has nobody to share with"


@pytest.mark.parametrize(
    "seconds, said",
    [(0.0123, "12 ms"), (119, "119.0 s"), (120, "2.0 minutes"), (1e9, "31.7 years")],
)
def test_a_time_is_said_in_its_unit(seconds, said):
    assert duration(seconds) == said


def test_only_widgets_that_colab_knows():
    names = "VBox HBox HTML SelectionSlider Dropdown IntSlider BoundedFloatText"
    core = [getattr(ipywidgets, name) for name in names.split()]
    assert all(type(widget) in core for widget in walk(plan_explorer()))
