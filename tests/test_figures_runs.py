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


def test_a_gallery_shows_where_runs_break_and_how_far_they_climb():
    fig = figures.gallery(EIGHT | {"G": [5.0, 31.4, 5.0]}, {"unigram": 3.3, "bigram": 2.4})
    assert {*"ABCDEFGH", "unigram", "bigram", "to 31"} <= set(words(fig))
    assert "to 9" in words(fig), "also of a run that broke"
    assert "H: from 5.0" in fig.alt and "breaks at step 2" in fig.alt
    crosses = [sum(line.get_marker() == "x" for line in ax.lines) for ax in fig.axes]
    assert crosses == [0] * 7 + [1], "a cross where a run broke"
