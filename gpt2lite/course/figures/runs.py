"""Curves of runs side by side: named in their own colours, or under a letter, to be judged.

Knows nothing about where a run came from.
"""

import math

import numpy as np

from gpt2lite.course.figures.charts import LOOKS
from gpt2lite.plotting import COLORS, figure, reference_line, smooth

PALE, DARK = "#99C7E0", "#3A6F8F"  # a thin line, and the word for it


def curves(
    title,
    lines,
    xlabel="step",
    ylabel="loss (nats / byte)",
    levels=None,
    reference=None,
    **axes,
):
    """Draw lines {name: (x, y)} with their names beside them, the highest end first.

    A line named "raw" is drawn faintly. levels: {name: loss} to measure the lines by; reference:
    GPT-2's own name and level. `axes` are matplotlib's, such as xscale="log".
    """
    levels = levels or {}
    fig, ax = figure("wide", title=title)
    drawn = {}
    for (name, (x, y)), (color, line) in zip(lines.items(), LOOKS, strict=False):
        marker = "o" if len(x) < 12 else None
        look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4}
        if name == "raw":
            look |= {"color": PALE, "linewidth": 0.6}
        drawn[name] = ax.plot(x, y, **look)[0]
    for name, level in levels.items():
        reference_line(ax, level, name, side="left")
    if reference:  # below its line, for the bigram model's is close above it
        name, level = reference
        ax.axhline(level, color=COLORS["reference"], linewidth=0.9, linestyle="-.")
        place = {"xytext": (0, -3), "textcoords": "offset points", "va": "top", "fontsize": 8}
        across = ax.get_yaxis_transform()
        ax.annotate(name, (0.005, level), xycoords=across, color=COLORS["reference"], **place)
        levels = levels | {name: level}
    ax.set(xlabel=xlabel, ylabel=ylabel, **axes)
    ends = {name: y[-1] for name, (_, y) in lines.items()}
    order = sorted(ends, key=lambda name: ends[name], reverse=True)
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    legend = ax.legend([drawn[name] for name in order], order, labelcolor="linecolor", **place)
    for word in legend.get_texts():
        if word.get_text() == "raw":
            word.set_color(DARK)
    told = "; ".join(f"{name}, from {y[0]:.2f} to {y[-1]:.2f}" for name, (_, y) in lines.items())
    measured = ", ".join(f"{name} {level:.2f}" for name, level in levels.items())
    fig.alt = f"{title}. {ylabel} by {xlabel}: {told}." + (f" Levels: {measured}." * bool(levels))
    return fig


def gallery(runs, levels, half_life=3, top=8):
    """Draw the losses of eight runs in small panels, under a letter each: which are healthy?

    runs: {letter: losses}; levels: {name: loss}, the highest first. A run that broke ends at a
    cross. All panels share their axes; how far a loss climbs above `top` is written there.
    """
    fig, whole = figure("wide")
    whole.remove()
    fig.set_figheight(3.4)
    axes = fig.subplots(2, 4, sharex=True, sharey=True)
    for (letter, losses), ax in zip(runs.items(), axes.flat, strict=True):
        finite = np.array([loss for loss in losses if math.isfinite(loss)])
        ax.plot(finite, color=PALE, linestyle="-", linewidth=0.6)
        ax.plot(smooth(finite, half_life), color=COLORS["ours"], linestyle="-")
        for level, dash in zip(levels.values(), ((0, (5, 3)), (0, (1, 2))), strict=False):
            ax.axhline(level, color=COLORS["baseline"], linewidth=0.7, linestyle=dash)
        if finite.max() > top:
            place = {"ha": "left", "va": "top", "fontsize": 8}
            ax.text(finite.argmax() + 3, top, f"to {finite.max():.0f}", **place)
        if len(finite) < len(losses):
            look = {"color": COLORS["validation"], "marker": "x", "markersize": 7}
            ax.plot(len(finite), min(finite[-1], 0.9 * top), **look)
        ax.set(ylim=(0, top), xlim=(0, max(map(len, runs.values()))))
        ax.set_title(letter, fontsize=9)
    for (name, level), side in zip(levels.items(), ("bottom", "top"), strict=False):
        place = {"ha": "right", "va": side, "fontsize": 7}  # where a run that breaks leaves room
        axes[0, 3].text(0.99, level, name, transform=axes[0, 3].get_yaxis_transform(), **place)
    fig.supxlabel("step", fontsize=9)
    fig.supylabel("loss (nats / byte)", fontsize=9)
    fig.alt = f"Losses of {len(runs)} runs, smoothed, by step. " + " ".join(
        f"{letter}: {_course(losses)}." for letter, losses in runs.items()
    )
    return fig


def _course(losses) -> str:
    finite = [loss for loss in losses if math.isfinite(loss)]
    middle, end = (smooth(finite, 5)[at] for at in (len(finite) // 2, -1))
    shape = f"from {finite[0]:.1f} over {middle:.1f} to {end:.1f}"
    return shape + (f", where it breaks at step {len(finite)}" * (len(finite) < len(losses)))
