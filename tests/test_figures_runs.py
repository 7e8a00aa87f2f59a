"""The curves of runs: what is drawn and told, with names and without."""

import math

import numpy as np

from gpt2lite.course import figures
from gpt2lite.course.figures.runs import PALE

FALL = list(np.linspace(5.0, 2.0, 40))
EIGHT = {letter: FALL for letter in "ABCDEFG"} | {"H": [5.0, 9.0, math.nan]}


def words(fig):
    names = [text.get_text() for ax in fig.axes for text in ax.texts]
    return names + [ax.get_title(loc="left") for ax in fig.axes]


def test_lines_are_named_with_the_highest_end_first():
    x = range(40)
    lines = {"low": (x, FALL), "raw": (x, [7.0] * 40)}
    fig = figures.curves("Two runs", lines, levels={"bigram": 2.4}, reference=("GPT-2", 1.5))
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["raw", "low"]
    assert {"bigram", "GPT-2"} <= set(words(fig))
    assert "low, from 5.00 to 2.00" in fig.alt and "bigram 2.40, GPT-2 1.50" in fig.alt
    colors = {line.get_color() for line in fig.axes[0].lines}
    assert PALE in colors, "raw losses are drawn faintly"


def test_a_gallery_names_its_runs_only_when_asked():
    names = {letter: f"sickness {letter}" for letter in EIGHT}
    hidden, shown = (figures.gallery(EIGHT, {"unigram": 3.3}, n) for n in (None, names))
    assert not any("sickness" in word for word in [*words(hidden), hidden.alt])
    assert all(f"{letter} · {name}" in words(shown) for letter, name in names.items())
    assert "H: from 5.0" in hidden.alt and "breaks at step 2" in hidden.alt
    crosses = [sum(line.get_marker() == "x" for line in ax.lines) for ax in hidden.axes]
    assert crosses == [0] * 7 + [1], "a cross where a run broke"


def test_loss_stands_above_norm_and_rate():
    records = [{"step": i, "loss": x, "grad_norm": 2 * x, "lr": 0.1} for i, x in enumerate(FALL)]
    fig = figures.loss_and_norm(records, "It falls")
    assert [ax.get_ylabel() for ax in fig.axes] == ["loss\n(nats / byte)", "grad_norm", "lr"]
    assert "grad_norm from 10 to 4" in fig.alt
