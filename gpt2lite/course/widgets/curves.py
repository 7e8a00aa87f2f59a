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


def curve_explorer(runs: dict, half_life: int = 20, axis: str = "tokens") -> widgets.Widget:
    """Return boxes and dials that choose runs, smoothing and axes, above their curves.

    `runs` maps a name to what gpt2lite.training.read_log returns, five runs at most.
    """
    boxes = [
        widgets.Checkbox(True, description=name, indent=False, layout={"width": "150px"})
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
        chosen = {box.description: runs[box.description] for box in boxes if box.value}
        if not chosen:
            page.value = paper("Choose a run.")
            return
        looks = [look for look, box in zip(LOOKS, boxes, strict=False) if box.value]  # each its own
        log_x, log_y = (box.value for box in logs)
        fig = compare(chosen, smoothing.value, across.value, log_x, log_y, looks)
        data, alt = base64.b64encode(to_png(fig)).decode(), html.escape(fig.alt)
        page.value = paper(f'<img alt="{alt}" width="680" src="data:image/png;base64,{data}">')

    for dial in (*boxes, smoothing, across, *logs):
        dial.observe(draw, "value")
    draw()
    return widgets.VBox([*map(widgets.HBox, (boxes, [smoothing, across, *logs])), page])


def compare(runs, half_life=20, axis="tokens", log_x=False, log_y=False, looks=LOOKS, title=None):
    """Draw the losses of several runs on one axis, "steps", "tokens" or "minutes".

    `runs` is as in curve_explorer, `looks` their colours and lines. Unless another is given, the
    title says where each run stands at the last x that all of them reach.
    """
    fig, ax = figure("wide")
    ends, told = {}, []
    for (name, (head, records)), (color, line) in zip(runs.items(), looks, strict=False):
        x = along(head, records, axis)
        losses = [record["loss"] for record in records]
        ends[name] = x, loss_curve(ax, x, losses, half_life, color, line)
    shared = min(x[-1] for x, _ in ends.values())
    for name, (x, average) in ends.items():
        told.append(f"{name} {average[x <= shared][-1] if x[0] <= shared else average[0]:.2f}")
    where = f"{shared:,.1f} minutes" if axis == "minutes" else f"{shared:,.0f} {axis}"
    smoothing = f"half-life {half_life} steps" if half_life else "not smoothed"
    ax.set_title(title or f"After {where}: {', '.join(told)}")
    ax.set(xlabel=AXES[axis], ylabel="loss (nats / token)")
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
    _label_ends(ax, ends, looks)
    fig.alt = (
        f"Loss of {len(ends)} runs by {AXES[axis]}, {smoothing}. After {where}: {', '.join(told)}."
    )
    return fig


def _label_ends(ax, ends, looks):
    """Write each run's name at its curve's end, those that end side by side one above another."""
    taken = []
    colors = {name: color for name, (color, _) in zip(ends, looks, strict=False)}
    for name, (x, average) in sorted(ends.items(), key=lambda end: end[1][1][-1]):
        across, up = ax.transLimits.transform(ax.transScale.transform((x[-1], average[-1])))
        for other_across, other_up in taken:  # from below upwards
            if abs(across - other_across) < 0.25:
                up = max(up, other_up + 0.09)
        taken.append((across, up))
        y = ax.transScale.inverted().transform(ax.transLimits.inverted().transform((across, up)))
        label_line(ax, x[-1], y[1], name, colors[name])
