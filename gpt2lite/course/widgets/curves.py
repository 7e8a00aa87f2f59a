"""Runs to choose, smooth and lay side by side, on axes that may be fair or not."""

import base64
import html

import ipywidgets as widgets

from gpt2lite.course.widgets.page import paper
from gpt2lite.plotting import COLORS, along, figure, label_line, loss_curve, to_png

HALF_LIVES = (0, 1, 2, 5, 10, 20, 50, 100, 200)  # steps
AXES = {"steps": "step", "tokens": "tokens read", "minutes": "time (minutes)"}
LOOKS = [
    (COLORS["ours"], "-"),
    (COLORS["validation"], "--"),
    (COLORS["reference"], "-."),
    (COLORS["highlight"], ":"),
    (COLORS["baseline"], (0, (5, 1, 1, 1, 1, 1))),
]


def curve_explorer(runs: dict, chosen=None, half_life: int = 20, axis="tokens") -> widgets.Widget:
    """Return boxes and dials that choose runs, smoothing and axes, above their curves.

    `runs` maps a name to what gpt2lite.training.read_log returns, five runs at most; `chosen` names
    those to begin with, or all.
    """
    on = runs if chosen is None else chosen
    boxes = [
        widgets.Checkbox(name in on, description=name, indent=False, layout={"width": "130px"})
        for name in runs
    ]
    named = {"style": {"description_width": "75px"}}
    smoothing = widgets.SelectionSlider(
        options=[(f"{n} steps" if n else "none", n) for n in HALF_LIVES],
        value=half_life,
        description="half-life",
        layout={"width": "335px"},
        **named,
    )
    across = widgets.Dropdown(options=list(AXES), value=axis, description="x axis", **named)
    logs = [
        widgets.Checkbox(False, description=f"log {name}", indent=False, layout={"width": "70px"})
        for name in "xy"
    ]
    page = widgets.HTML()

    def draw(_change=None):
        shown = {box.description: runs[box.description] for box in boxes if box.value}
        if not shown:
            page.value = paper("Choose a run.")
            return
        looks = [look for look, box in zip(LOOKS, boxes, strict=False) if box.value]  # each its own
        log_x, log_y = (box.value for box in logs)
        fig = compare_runs(shown, smoothing.value, across.value, log_x, log_y, looks)
        data, alt = base64.b64encode(to_png(fig)).decode(), html.escape(fig.alt)
        page.value = paper(f'<img alt="{alt}" width="680" src="data:image/png;base64,{data}">')

    for dial in (*boxes, smoothing, across, *logs):
        dial.observe(draw, "value")
    draw()
    return widgets.VBox([*map(widgets.HBox, (boxes, [smoothing, across, *logs])), page])


def compare_runs(runs, half_life=20, axis="tokens", log_x=False, log_y=False, looks=LOOKS):
    """Draw the losses of several runs on one axis, "steps", "tokens" or "minutes".

    `runs` is as in curve_explorer, `looks` their colours and lines. The title says where each run
    stands at the last x that all of them reach.
    """
    fig, ax = figure("wide")
    ends = {}
    for (name, (head, records)), (color, line) in zip(runs.items(), looks, strict=False):
        x = along(head, records, axis)
        losses = [record["loss"] for record in records]
        ends[name] = x, loss_curve(ax, x, losses, half_life, color, line)
    shared = min(x[-1] for x, _ in ends.values())
    stands = ", ".join(f"{name} {y[x <= shared][-1]:.2f}" for name, (x, y) in ends.items())
    where = f"{shared:,.1f} minutes" if axis == "minutes" else f"{shared:,.0f} {axis}"
    smoothing = f"half-life {half_life} steps" if half_life else "not smoothed"
    ax.set_title(f"After {where}: {stands}")
    ax.set(xlabel=AXES[axis], ylabel="loss (nats / token)")
    if log_x:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    if log_y:
        ax.set_yscale("log")
    _label_ends(ax, ends, looks)
    fig.alt = f"Loss of {len(ends)} runs by {AXES[axis]}, {smoothing}. After {where}: {stands}."
    return fig


def _label_ends(ax, ends, looks):
    """Write each run's name at its curve's end, those that end side by side one above another."""
    ax.set_ylim(ax.get_ylim())  # the labels must not move what they stand beside
    colors = {name: color for name, (color, _) in zip(ends, looks, strict=False)}
    to_axes, taken = ax.transScale + ax.transLimits, []
    for name, (x, average) in sorted(ends.items(), key=lambda end: end[1][1][-1]):
        across, up = to_axes.transform((x[-1], average[-1]))
        for other_across, other_up in taken:  # from below upwards
            if abs(across - other_across) < 0.25:
                up = max(up, other_up + 0.09)
        taken.append((across, up))
        label_line(ax, x[-1], to_axes.inverted().transform((across, up))[1], name, colors[name])
