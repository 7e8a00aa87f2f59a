"""The parts of a curve: smoothing, axes, raw and average, levels; the curves of steps 1 to 3."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from gpt2lite.course.figures import step_curve
from gpt2lite.course.records import ORIGINAL, recorded
from gpt2lite.log import read_log
from gpt2lite.plotting import (
    COLORS,
    along,
    figure,
    label_line,
    loss_curve,
    reference_line,
    smooth,
    to_png,
)

HEAD = {"training": {"batch_size": 4, "seq_len": 32, "grad_accum_steps": 2}}
RECORDS = [{"step": step, "loss": 5.0 - step, "ms": 30_000.0} for step in range(3)]


def test_an_average_of_equal_values_is_that_value_from_the_first_on():
    assert smooth([5.0] * 40, 10) == pytest.approx([5.0] * 40)


def test_what_lies_a_half_life_back_counts_half():
    after = smooth([0.0] * 500 + [1.0] * 20, 20)
    assert after[-1] == pytest.approx(0.5, abs=1e-6)
    assert smooth([1.0, 0.0], 1)[-1] == pytest.approx(1 / 3)  # weights 1/2 and 1


def test_nothing_is_smoothed_by_a_half_life_of_0():
    values = [3.0, 1.0, 2.0]
    assert smooth(values, 0).tolist() == values


def test_what_is_not_finite_counts_nothing():
    smoothed = smooth([np.inf, 4.0, np.nan, 4.0], 2)
    assert np.isnan(smoothed[0]) and smoothed[1:].tolist() == pytest.approx([4.0] * 3)


def test_the_axes_count_the_records_own_step():
    assert along(HEAD, RECORDS, "steps").tolist() == [1, 2, 3]
    assert along(HEAD, RECORDS, "tokens").tolist() == [256, 512, 768]
    assert along(HEAD, RECORDS, "minutes").tolist() == [0.5, 1.0, 1.5]
    with pytest.raises(ValueError, match='"steps", "tokens" or "minutes", not \'epochs\''):
        along(HEAD, RECORDS, "epochs")


def test_a_curve_shows_raw_and_average():
    _, ax = figure()
    average = loss_curve(ax, [1, 2, 3], [5.0, 4.0, 3.0], half_life=1)
    raw, strong = ax.lines
    assert raw.get_ydata().tolist() == [5, 4, 3]
    assert raw.get_linewidth() < strong.get_linewidth() and raw.get_zorder() < strong.get_zorder()
    assert strong.get_ydata().tolist() == average.tolist()
    _, ax = figure()
    loss_curve(ax, [1, 2], [5.0, 4.0])
    assert len(ax.lines) == 1, "unsmoothed, raw and average are the same line"


def test_a_level_has_its_name():
    _, ax = figure()
    reference_line(ax, 10.8, "ln V")
    assert set(ax.lines[0].get_ydata()) == {10.8} and ax.texts[0].get_text() == "ln V"


def contrast(color):
    """Return a colour's contrast on white, by WCAG 2."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
    return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05)


@pytest.mark.parametrize("name", COLORS)
def test_words_have_contrast_whatever_is_drawn(name):
    fig, ax = figure()
    words = ax.text(0, 0, "a word", color=COLORS[name])
    label_line(ax, 0, 0, "a name", COLORS[name])
    to_png(fig)
    for text in (words, ax.texts[-1]):
        assert contrast(text.get_color()) >= 4.5, "too pale to read"


def test_a_picture_keeps_the_colours_of_thin_lines():
    fig, ax = figure()
    pale = [(c + 1) / 2 for c in to_rgb(COLORS["reference"])]
    for x, color in enumerate((*COLORS.values(), pale)):
        ax.plot([x, x], [0, 1], color=color, linewidth=4)
    pixels = np.asarray(Image.open(io.BytesIO(to_png(fig))).convert("RGB")).reshape(-1, 3) / 255
    for color in (*COLORS.values(), pale):
        assert np.abs(pixels - to_rgb(color)).max(1).min() < 0.03, f"{color} became another"


@pytest.mark.parametrize("run", ORIGINAL)
def test_a_recorded_step_is_drawn_with_the_originals_points(run):
    records = read_log(recorded(run))[1]
    fig = step_curve(run)
    drawn = [line.get_ydata() for line in fig.axes[0].lines]
    losses = [record["loss"] for record in records]
    assert any(list(y) == losses for y in drawn), "every step, not the average alone"
    assert any(list(y) == list(ORIGINAL[run].values()) for y in drawn)
    assert f"{losses[0]:.2f}" in fig.alt and len(ORIGINAL[run]) == 10


def test_only_the_originals_steps_have_its_points():
    with pytest.raises(ValueError, match="no 'step4'; choose one of step1"):
        step_curve("step4")
