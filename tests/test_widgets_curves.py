"""The explorer of runs reacts to each of its dials; no browser runs here."""

import re

import ipywidgets
import numpy as np
import pytest

from gpt2lite.course.figures import LOOKS, compare_runs
from gpt2lite.course.widgets import curve_explorer


def run(B, T, steps=60, end=3.0):
    losses = np.linspace(11, end, steps) + 0.3 * np.sin(np.arange(steps))
    head = {"training": {"batch_size": B, "seq_len": T, "grad_accum_steps": 1}}
    records = [{"step": i, "loss": loss, "ms": 600.0} for i, loss in enumerate(losses)]
    return head, records


RUNS = {"one": run(32, 8), "two": run(4, 32, end=4.0)}


def dials(explorer):
    *rows, page = explorer.children
    named = {w.description: w for row in rows for w in row.children}
    return named, page


def alt(page):
    return re.search(r'<img alt="([^"]*)"', page.value)[1]


def test_each_dial_draws_another_picture():
    dial, page = dials(curve_explorer(RUNS))
    assert {"one", "two", "half-life", "x axis", "log x", "log y"} == set(dial)
    pages = [page.value]
    moves = {"half-life": 100, "x axis": "steps", "log x": True, "log y": True, "one": False}
    for name, value in moves.items():
        dial[name].value = value
        pages.append(page.value)
    assert len(set(pages)) == len(pages)
    assert "1 runs" in alt(page) and "two" in alt(page) and "one" not in alt(page)
    dial["two"].value = False
    assert "Choose a run" in page.value


def test_only_widgets_that_colab_knows():
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    core = [
        getattr(ipywidgets, n)
        for n in "VBox HBox HTML Checkbox ToggleButtons SelectionSlider".split()
    ]
    assert all(type(widget) in core for widget in walk(curve_explorer(RUNS)))


def test_a_run_keeps_its_colour_whatever_else_is_chosen():
    dial, page = dials(curve_explorer(RUNS))
    assert (
        compare_runs({"two": RUNS["two"]}, looks=[LOOKS[1]]).axes[0].lines[-1].get_color()
        == (LOOKS[1][0])
    )


def test_runs_are_compared_where_all_have_been():
    fig = compare_runs(RUNS, half_life=0, axis="tokens")
    shared = 60 * 4 * 32  # where the second ends; the first has read that after 30 of its steps
    losses = [r["loss"] for r in RUNS["one"][1]]
    assert (
        f"After {shared:,} tokens: one {losses[29]:.2f}, two {RUNS['two'][1][-1]['loss']:.2f}"
        in (fig.alt)
    )
    assert "After 60 steps" in compare_runs(RUNS, axis="steps").alt
    assert "After 0.6 minutes" in compare_runs(RUNS, axis="minutes").alt


def test_five_runs_are_named_in_the_order_of_their_losses_and_all_can_be_read():
    same = {f"a long name {i}": run(4, 32, end=3.0 + i / 1000) for i in range(5)}
    fig = compare_runs(same)
    fig.draw_without_rendering()
    names, ax = fig.axes[0].get_legend().get_window_extent(), fig.axes[0].get_window_extent()
    assert ax.x1 < names.x0 and fig.bbox.x1 > names.x1, "a name on the curves, or cut off"
    said = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert len(said) == 5 and said == sorted(said, reverse=True)
    assert fig.axes[0].get_title(loc="left") == "After 7,680 tokens, a long name 0 is lowest"
    two = compare_runs(dict(list(same.items())[:2]))
    assert two.axes[0].get_title(loc="left") == "After 7,680 tokens, a long name 0 is lower"


@pytest.mark.parametrize("log_x, log_y", [(True, False), (False, True), (True, True)])
def test_logarithmic_axes(log_x, log_y):
    ax = compare_runs(RUNS, log_x=log_x, log_y=log_y).axes[0]
    assert (ax.get_xscale() == "log", ax.get_yscale() == "log") == (log_x, log_y)
