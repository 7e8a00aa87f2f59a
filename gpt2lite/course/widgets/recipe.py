"""Dials for the learning rate's schedule, and for a batch of half a million tokens."""

import ipywidgets as widgets

from gpt2lite.config import TrainConfig
from gpt2lite.course.figures import schedules
from gpt2lite.course.html import paper
from gpt2lite.plotting import to_html

STEPS = 1000  # of the schedule that is drawn
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
BATCHES = tuple(2**n for n in range(11, 23))  # tokens of a step
PAPERS = 2**19  # tokens: the batch of GPT-2 and of the smallest GPT-3
WIDE = {"style": {"description_width": "85px"}, "layout": {"width": "335px"}}


def schedule_explorer() -> widgets.Widget:
    """Return dials for warm-up, form and end of a schedule, above the rate that each step gets."""
    form = widgets.ToggleButtons(
        options=["cosine", "cooldown"], description="form", style={"button_width": "auto"}
    )
    dials = {
        name: widgets.SelectionSlider(
            options=[(f"{share:.0%}", share) for share in SHARES],
            value=value,
            description=name,
            **WIDE,
        )
        for name, value in {"warm-up": 0.1, "cooldown": 0.2, "end": 0.1}.items()
    }
    page = widgets.HTML()

    def draw(_change=None):
        warmup, down, end = (round(dial.value * STEPS) for dial in dials.values())
        settings = {"lr": 1.0, "warmup_steps": warmup, "min_lr": end / STEPS}
        if form.value == "cooldown":  # without one the rate stays at its highest
            settings |= {"cooldown_steps": down} if down else {"min_lr": None}
        config = TrainConfig(steps=STEPS, **settings)
        dials["cooldown"].disabled = form.value == "cosine"
        page.value = paper(to_html(schedules({form.value: config}, title="1 is the highest rate")))

    for dial in (form, *dials.values()):
        dial.observe(draw, "value")
    draw()
    warmup, down, end = dials.values()
    return widgets.VBox([form, widgets.HBox([warmup, end]), down, page])


def batch_explorer(speeds: dict, B: int = 4, T: int = 1024) -> widgets.Widget:
    """Return dials for a step's tokens and the hardware, above what a step and a run then take.

    `speeds` maps a name to tokens / s; B and T are those of one forward pass.
    """
    batch = widgets.SelectionSlider(
        options=[(f"{n:,} tokens", n) for n in BATCHES], value=PAPERS, description="a step", **WIDE
    )
    hardware = widgets.Dropdown(options=list(speeds), description="hardware", **WIDE)
    page = widgets.HTML()

    def draw(_change=None):
        page.value = paper(batch_report(batch.value, speeds[hardware.value], B, T), height=100)

    for dial in (batch, hardware):
        dial.observe(draw, "value")
    draw()
    return widgets.VBox([widgets.HBox([batch, hardware]), page])


def batch_report(tokens: int, speed: float, B: int, T: int) -> str:
    """Return, as HTML, what steps of so many tokens mean at a speed in tokens / s."""
    passes = -(-tokens // (B * T))
    rows = {
        f"forward passes of {B} x {T:,} tokens a step": f"{passes:,}",
        "one step takes": duration(tokens / speed),
        "steps for 1 billion tokens": f"{1e9 / tokens:,.0f}",
        "1 billion tokens take": duration(1e9 / speed),
    }
    cell = '<div style="display:flex"><span style="width:300px">{}</span><b>{}</b></div>'
    return "".join(cell.format(name, value) for name, value in rows.items())


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
