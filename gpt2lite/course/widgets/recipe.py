"""Dials for the learning rate's schedule."""

import ipywidgets as widgets

from gpt2lite.config import TrainConfig
from gpt2lite.course.figures import schedules
from gpt2lite.course.html import paper
from gpt2lite.plotting import to_html

STEPS = 1000  # of the schedule that is drawn
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
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
