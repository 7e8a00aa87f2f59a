"""Two models' scores on a benchmark, and how many items it takes to tell the two apart."""

import math

import ipywidgets as widgets

from gpt2lite.course.html import bars, paper
from gpt2lite.plotting import COLORS

ITEMS = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_042, 20_000, 50_000)  # 10,042 is HellaSwag
HEIGHT = 190  # pixels of the page


def items_explorer(items=500, score=75, difference=2, disagreement=8) -> widgets.Widget:
    """Return dials for items, scores and disagreement above the error of both ways to compare.

    score, difference and disagreement begin at so many points, hundredths of the items.
    """
    named = {"style": {"description_width": "110px"}, "layout": {"width": "400px"}}
    sizes = widgets.SelectionSlider(
        options=[(f"{n:,}", n) for n in ITEMS], value=items, description="items", **named
    )
    points = {
        name: widgets.FloatSlider(
            value=value,
            min=low,
            max=high,
            step=step,
            description=name,
            readout_format=".1f",
            **named,
        )
        for name, value, low, high, step in (
            ("score", score, 50, 95, 1),
            ("difference", difference, 0.5, 10, 0.5),
            ("disagreement", disagreement, 1, 50, 1),
        )
    }
    page = widgets.HTML()

    def draw(_change=None):
        page.value = comparison(sizes.value, *(dial.value / 100 for dial in points.values()))

    for dial in (sizes, *points.values()):
        dial.observe(draw, "value")
    draw()
    return widgets.VBox([sizes, *points.values(), page])


def deviations(score: float, difference: float, disagreement: float) -> dict[str, float]:
    """Return the standard deviation of one item's part in the difference of two scores.

    On different items each model brings its own variance p(1 - p). On the same items only those
    count on which exactly one model is right, which is at least the difference.
    """
    p, q = score, min(score + difference, 1.0)
    apart = max(disagreement, difference)
    return {
        "different items": math.sqrt(p * (1 - p) + q * (1 - q)),
        "the same items": math.sqrt(apart - difference**2),
    }


def comparison(n: int, score: float, difference: float, disagreement: float) -> str:
    """Return, as HTML, each way's 95 % interval, and the items at which it would not reach 0."""
    rows, lines = [], []
    for way, deviation in deviations(score, difference, disagreement).items():
        half = 1.96 * deviation / math.sqrt(n)
        needed = math.ceil((1.96 * deviation / difference) ** 2)
        verdict = "told apart" if half < difference else "not told apart"
        rows.append((way, min(half / 0.2, 1), f"± {100 * half:.1f} points", half < difference))
        lines.append(f"<div>{way}: {verdict} with {n:,} items; needs {needed:,}</div>")
    title = f"{100 * score:.0f} % against {100 * (score + difference):.1f} %: "
    title += f"{100 * difference:.1f} points on {n:,} items"
    note = ""
    if disagreement < difference:
        note = "<div>(The models disagree on at least as many items as their scores differ.)</div>"
    head = f'<div style="font-weight:bold">{title}</div><div>95 % intervals:</div>'
    return paper(head, bars(rows, COLORS["ours"]), *lines, note, height=HEIGHT)
