"""Runs to choose, smooth and lay side by side, on axes that may be fair or not."""

import ipywidgets as widgets

from gpt2lite.course.figures import AXES, LOOKS, compare_runs
from gpt2lite.course.html import paper
from gpt2lite.plotting import to_html

HEIGHT = 272  # pixels of the picture
HALF_LIVES = (0, 1, 2, 5, 10, 20, 50, 100, 200)  # steps


def curve_explorer(runs: dict, chosen=None, half_life: int = 20, axis="tokens") -> widgets.Widget:
    """Return boxes and dials that choose runs, smoothing and axes, above their curves.

    `runs` maps a name to what gpt2lite.log.read_log returns, five runs at most; `chosen` names
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
    across = widgets.ToggleButtons(
        options=list(AXES), value=axis, description="x axis", style={"button_width": "auto"}
    )
    logs = [
        widgets.Checkbox(False, description=f"log {name}", indent=False, layout={"width": "70px"})
        for name in "xy"
    ]
    page = widgets.HTML()

    def draw(_change=None):
        shown = {box.description: runs[box.description] for box in boxes if box.value}
        if not shown:
            page.value = paper("Choose a run.", height=HEIGHT)
            return
        looks = [look for look, box in zip(LOOKS, boxes, strict=False) if box.value]  # each its own
        log_x, log_y = (box.value for box in logs)
        fig = compare_runs(shown, smoothing.value, across.value, log_x, log_y, looks)
        page.value = paper(to_html(fig))

    for dial in (*boxes, smoothing, across, *logs):
        dial.observe(draw, "value")
    draw()
    rows = boxes, [smoothing, *logs], [across]
    return widgets.VBox([*map(widgets.HBox, rows), page])
