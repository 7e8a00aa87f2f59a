"""A number in three formats: the bits that each keeps of it, read from the tensor's own memory."""

import html
import math
from dataclasses import dataclass

import ipywidgets as widgets
import torch

from gpt2lite.course.page import ATTENTION, GREY, POSITION, TOKEN, Page
from gpt2lite.course.widgets.page import paper
from gpt2lite.plotting import INCHES

# Each format with its bits: one for the sign, the exponent's, the mantissa's.
FORMATS = {
    "fp32": (torch.float32, 8, 23),
    "fp16": (torch.float16, 5, 10),
    "bf16": (torch.bfloat16, 8, 7),
}
EXAMPLES = {
    "a tenth": "0.1",
    "a learning rate": "3e-4",
    "just above 1": "1.0003",
    "GPT-2's V": "50257",
    "a gradient of a logit": "4.9e-9",
    "a small gradient": "1e-5",
    "fp16's largest": "65504",
    "too large for fp16": "70000",
    "an odd whole number": "16777217",
    "your own": "",
}
SCALES = {"1": 1.0, "256": 2.0**8, "65,536": 2.0**16, "16,777,216": 2.0**24}
FILLS = TOKEN, POSITION, ATTENTION  # sign, exponent, mantissa


@dataclass(frozen=True)
class Kept:
    """What a format keeps of a number: its bits in three fields, the value, and what was lost."""

    sign: str
    exponent: str
    mantissa: str
    value: float  # with the scale taken out again
    verdict: str


def bits(x: torch.Tensor) -> str:
    """Return the bits of a tensor of one number as they lie in memory, the sign first."""
    n = 8 * x.element_size()
    whole = x.view({16: torch.int16, 32: torch.int32}[n]).item()
    return f"{whole % 2**n:0{n}b}"


def keep(number: float, name: str, scale: float = 1.0) -> Kept:
    """Round number · scale to the format `name`, then divide by scale again, as a GradScaler does.

    The division happens in fp64 here, so that all that is lost is lost in the format.
    """
    dtype, exponent, _ = FORMATS[name]
    x = torch.tensor(number * scale, dtype=torch.float64).to(dtype)
    value, all_bits = x.double().item() / scale, bits(x)
    fields = all_bits[0], all_bits[1 : 1 + exponent], all_bits[1 + exponent :]
    return Kept(*fields, value, _verdict(number, value, *fields[1:]))


def _verdict(number, value, exponent, mantissa):
    if math.isnan(number):
        return "not a number: all exponent bits 1, and a mantissa"
    if value == number:
        return "exact"
    if math.isinf(value):
        return "overflow: too large, so infinite"
    if value == 0:
        return "underflow: too small, so 0"
    error = f"off by {abs(value - number) / abs(number):.1g} of it"
    if "1" not in exponent:
        left = len(mantissa.lstrip("0"))
        return f"{error}; almost underflow: {left} bit{'s' * (left > 1)} left"
    return error


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
    return paper(f'<div style="margin-bottom:12px"><b>{into}</b></div>', *rows)


def _cells(field, fill):
    style = f"background:{fill};border:1px solid #999;width:15px;text-align:center;font-size:12px"
    cell = f'<span style="{style};font-family:monospace;color:#1a1a1a">{{}}</span>'
    return "".join(map(cell.format, field))


def float_explorer(number: str = "0.1") -> widgets.Widget:
    """Return a field for a number, and a scale, above the bits that each format keeps of it."""
    wide = {"style": {"description_width": "75px"}, "layout": {"width": "335px"}}
    text = widgets.Text(number, description="number", **wide)
    example = widgets.Dropdown(options=list(EXAMPLES), description="or take", **wide)
    scale = widgets.SelectionSlider(options=list(SCALES), value="1", description="scale ×", **wide)
    page = widgets.HTML()

    def draw(_change=None):
        known = (name for name, example in EXAMPLES.items() if example == text.value)
        example.value = next(known, "your own")
        try:
            page.value = floats_report(float(text.value), SCALES[scale.value])
        except ValueError:
            said = html.escape(text.value)
            page.value = paper(f"“{said}” is no number: write 0.1, 3e-4, -65504 or inf.")

    def take(change):
        if EXAMPLES[change["new"]]:
            text.value = EXAMPLES[change["new"]]

    text.observe(draw, "value")
    scale.observe(draw, "value")
    example.observe(take, "value")
    draw()
    return widgets.VBox([widgets.HBox([text, example]), scale, page])


def float_layouts(number: float = 0.1):
    """Draw the bits that three formats keep of a number. 7 x 2.8 inches."""
    page = Page(*INCHES["wide"], "")
    page.title(0.1, 0.18, "bf16 has fp32's exponent, fp16 has more mantissa")
    told, side = [], 0.18
    for row, (name, (dtype, *widths)) in enumerate(FORMATS.items()):
        found, y = keep(number, name), 0.62 + 0.78 * row
        page.title(0.1, y, name, size=9)
        x = 0.72
        parts = zip(("sign", "exponent", "mantissa"), (1, *widths), FILLS, strict=True)
        for part, width, fill in parts:
            for i, bit in enumerate(getattr(found, part)):
                page.rect(x + side * i, y - 0.1, side, 0.2, fill)
                page.text(x + side * (i + 0.5), y, bit, "c", mono=True)
            label = "±" if part == "sign" else f"{part} {width}"
            page.text(x + side * width / 2, y - 0.21, label, "c", GREY)
            x += side * width
        largest, smallest = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
        note = f"{number:g} becomes {found.value:.12g}  ·  from {smallest:.1e} to {largest:.1e}"
        page.text(0.72, y + 0.25, note, color=GREY)
        told.append(
            f"{name}: 1 sign, {widths[0]} exponent and {widths[1]} mantissa bits, {found.sign} "
            f"{found.exponent} {found.mantissa}; {note.replace('  ·  ', ', in full precision ')}"
        )
    page.fig.alt = f"The bits of {number:g} in three formats. {'. '.join(told)}."
    return page.fig
