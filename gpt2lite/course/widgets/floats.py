"""A field for a number, above the bits that fp32, fp16 and bf16 keep of it."""

import html

import ipywidgets as widgets

from gpt2lite.course.canvas import ATTENTION, GREY, POSITION, TOKEN
from gpt2lite.course.floats import FORMATS, keep
from gpt2lite.course.html import paper

EXAMPLES = {
    "a tenth": "0.1",
    "a learning rate": "3e-4",
    "just above 1": "1.0003",
    "GPT-2's V": "50257",
    "a gradient of a logit": "4.9e-9",
    "a small gradient": "1e-5",
    "fp16's largest": "65504",
    "too large for fp16": "70000",
    "an odd integer": "16777217",
    "your own": "",
}
HEIGHT = 250  # pixels of the three formats
SCALES = {"1": 1.0, "256": 2.0**8, "65,536": 2.0**16, "16,777,216": 2.0**24}
FILLS = TOKEN, POSITION, ATTENTION  # sign, exponent, mantissa


def read_number(text: str) -> float:
    """Return the number that is written as 0.1, 3e-4 or 2**-25; raise ValueError for another."""
    base, power, exponent = text.partition("**")
    try:
        return float(base) ** float(exponent) if power else float(text)
    except (OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"{text} is too large") from error


def floats_report(number: float, scale: float = 1.0) -> str:
    """Return, as HTML, the bits that fp32, fp16 and bf16 keep of a number."""
    rows = []
    for name, (_, *widths) in FORMATS.items():
        found = keep(number, name, scale)
        fields = zip((found.sign, found.exponent, found.mantissa), FILLS, strict=True)
        row = "".join(_cells(field, fill) for field, fill in fields)
        legend = "sign 1, exponent {}, mantissa {} bits".format(*widths)
        rows.append(
            f'<div style="margin-bottom:12px"><b>{name}</b> '
            f'<span style="color:{GREY}">{legend}</span>'
            f'<div style="display:flex;margin:4px 0">{row}</div>'
            f"<code>{found.value:.10g}</code>&ensp;{found.verdict}</div>"
        )
    into = f"{number:.10g}" + (f" × {scale:,.0f}, stored, divided again" if scale != 1 else "")
    return paper(f'<div style="margin-bottom:12px"><b>{into}</b></div>', *rows, height=HEIGHT)


def _cells(field, fill):
    style = f"background:{fill};border:1px solid #999;width:15px;text-align:center;font-size:12px"
    cell = f'<span style="{style};font-family:monospace;color:#1a1a1a">{{}}</span>'
    return "".join(map(cell.format, field))


def float_explorer(number: str = "0.1") -> widgets.Widget:
    """Return a field for a number, and a scale, above the bits that each format keeps of it."""
    wide = {"style": {"description_width": "75px"}, "layout": {"width": "335px"}}
    text = widgets.Text(number, description="number", **wide)
    example = widgets.SelectionSlider(options=list(EXAMPLES), description="or take", **wide)
    scale = widgets.SelectionSlider(options=list(SCALES), value="1", description="scale ×", **wide)
    page = widgets.HTML()

    def draw(_change=None):
        known = (name for name, example in EXAMPLES.items() if example == text.value)
        example.value = next(known, "your own")
        try:
            page.value = floats_report(read_number(text.value), SCALES[scale.value])
        except ValueError:
            said = html.escape(text.value)
            hint = f"“{said}” is no number: write 0.1, 3e-4, 2**-25, -65504 or inf."
            page.value = paper(hint, height=HEIGHT)

    def take(change):
        if EXAMPLES[change["new"]]:
            text.value = EXAMPLES[change["new"]]

    text.observe(draw, "value")
    scale.observe(draw, "value")
    example.observe(take, "value")
    draw()
    return widgets.VBox([widgets.HBox([text, example]), scale, page])
