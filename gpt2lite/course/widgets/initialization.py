"""Dials for a GPT-2's first random numbers: what they do to the stream and to the first loss."""

import math

import ipywidgets as widgets

from gpt2lite.course.html import bars, paper
from gpt2lite.course.unit_model import N_LAYER, first_stream, unit_model
from gpt2lite.plotting import COLORS

SPREADS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
DEPTHS = (1, 2, 4, 6, 8, 12, 16, N_LAYER)
HEIGHT = 350  # pixels of thirteen bars; deeper models show every second


def initialization_explorer() -> widgets.Widget:
    """Return dials for the spreads and the depth above the stream and the first loss, live."""
    model = unit_model()
    wide = {"style": {"description_width": "75px"}, "layout": {"width": "335px"}}
    dials = {
        name: widgets.SelectionSlider(
            options=[(f"{value:g}", value) for value in values],
            value=value,
            description=name,
            **wide,
        )
        for name, values, value in (
            ("wte", SPREADS, 0.02),
            ("wpe", SPREADS, 0.01),
            ("blocks", SPREADS, 0.02),
            ("n_layer", DEPTHS, 12),
        )
    }
    smaller = widgets.Checkbox(True, description="both c_proj / √(2·n_layer)", indent=False)
    page = widgets.HTML()

    def draw(_change=None):
        at = {name: dial.value for name, dial in dials.items()}
        page.value = start_report(model, smaller=smaller.value, **at)

    for dial in (*dials.values(), smaller):
        dial.observe(draw, "value")
    draw()
    wte, wpe, blocks, n_layer = dials.values()
    rows = [wte, wpe], [blocks, n_layer], [smaller]
    return widgets.VBox([*map(widgets.HBox, rows), page])


def start_report(model, n_layer, wte, wpe, blocks, smaller) -> str:
    """Return, as HTML, the first loss beside its two predictions, and the stream by depth."""
    rms, loss = first_stream(model, n_layer, wte, wpe, blocks, smaller)
    V, C = model.wte.weight.shape
    random, own = math.log(V) + C * wte**2 / 2, C * wte**2 / rms[-1]
    claims = {"ln V + C·σ²/2": random, "a token's own logit, C·σ²/rms": own}
    lines = [f'<div style="font-weight:bold">First loss {loss:,.2f} nats / token</div>']
    for claim, value in claims.items():
        mark = "✓" if abs(value / loss - 1) < 0.05 else "&nbsp;"
        mono = 'style="display:inline-block;width:18px;text-align:center"'
        lines.append(f"<div><span {mono}>{mark}</span>{claim} = {value:,.2f}</div>")
    lines.append(
        f'<div style="margin:8px 0 2px"><b>The stream ends at rms {rms[-1]:.3g}</b> '
        f"(C = {C}, n_layer = {n_layer})</div>"
    )
    rows = [
        (
            f"into h.{layer}" if layer < n_layer else "into ln_f",
            size / max(rms),
            f"{size:.3g}",
            True,
        )
        for layer, size in list(enumerate(rms))[:: math.ceil(n_layer / 12)]
    ]
    return paper(*lines, bars(rows, COLORS["ours"]), height=HEIGHT)
