"""Sliders for a GPT-2's sizes, and what they cost."""

import ipywidgets as widgets

from gpt2lite.accounting import (
    PEAKS,
    T4_BYTES,
    count_parameters,
    forward_flops,
    training_bytes,
)
from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.course.html import pale, paper, stacked
from gpt2lite.plotting import COLORS, ink

HUES = {
    **dict.fromkeys(("attention", "projections", "weights"), COLORS["ours"]),
    **dict.fromkeys(("wpe", "T × T", "gradients"), COLORS["reference"]),
    **dict.fromkeys(("MLP", "adamw"), COLORS["validation"]),
    **dict.fromkeys(("wte", "head", "activations"), COLORS["highlight"]),
    "LayerNorm": "#999999",
}
HEIGHT = 330  # pixels of the three bars with their legends, and a message above
# The explorer's sliders: GPTConfig's names (T sets block_size), and B.
RANGES = {
    "n_layer": range(1, 49),
    "n_head": range(1, 33),
    "n_embd": range(64, 2049, 64),
    "vocab_size": (256, 1000, 5000, 10000, 20000, 32000, 50257, 50304, 65536, 100277, 200019),
    "T": (64, 128, 256, 512, 1024, 2048, 4096),
    "B": (1, 2, 4, 8, 16, 32, 64),
}


def sizes_explorer(size: str = "gpt2", B: int = 4) -> widgets.Widget:
    """Return sliders for a GPT-2's sizes, and what they cost: parameters, operations, memory.

    `size` is a name in gpt2lite.config.SIZES to begin with, `B` the sequences of a training step.
    """
    presets = widgets.ToggleButtons(
        options=[*SIZES, "your own"],
        value=size,
        style={"button_width": "auto"},
    )
    wide = {"style": {"description_width": "75px"}, "layout": widgets.Layout(width="335px")}
    sliders = {
        name: widgets.SelectionSlider(
            options=[(f"{n:,}", n) for n in values],
            value=_preset(size)[name] if name != "B" else B,
            description=name,
            **wide,
        )
        for name, values in RANGES.items()
    }
    page = widgets.HTML()
    shown = ""
    loading = False  # a preset moves several sliders; half-way there is no model to show

    def draw(_change=None):
        nonlocal shown
        if loading:
            return
        at = {name: slider.value for name, slider in sliders.items()}
        presets.value = next((n for n in SIZES if _preset(n).items() <= at.items()), "your own")
        try:
            shown = sizes_report(**at)
            page.value = paper(shown, height=HEIGHT)
        except ValueError as reason:
            no = f'<b style="color:{ink(COLORS["validation"])}">No such model:</b> {reason}.'
            page.value = paper(no, pale(shown), height=HEIGHT)

    def load(change):
        nonlocal loading
        if change["new"] == "your own":
            return
        loading = True
        for name, value in _preset(change["new"]).items():
            sliders[name].value = value
        loading = False
        draw()

    presets.observe(load, "value")
    for slider in sliders.values():
        slider.observe(draw, "value")
    draw()
    columns = list(sliders.values())
    rows = [widgets.HBox(columns[i : i + 2]) for i in range(0, len(columns), 2)]
    return widgets.VBox([presets, *rows, page])


def _preset(name):
    config = SIZES[name]
    names = ("n_layer", "n_head", "n_embd", "vocab_size")
    return {n: getattr(config, n) for n in names} | {"T": config.block_size}


def sizes_report(n_layer, n_head, n_embd, vocab_size, T, B) -> str:
    """Return, as HTML, what a GPT-2 of these sizes costs; raise ValueError where there is none."""
    config = GPTConfig(T, vocab_size, n_layer, n_head, n_embd)
    n, flops, memory = (
        count_parameters(config),
        forward_flops(config, T),
        training_bytes(config, B, T),
    )
    parameters = {
        "wte": n["wte"],
        "wpe": n["wpe"],
        "attention": n["attn.c_attn"] + n["attn.c_proj"],
        "MLP": n["mlp.c_fc"] + n["mlp.c_proj"],
        "LayerNorm": n["ln_1"] + n["ln_2"] + n["ln_f"],
    }
    operations = {
        "projections": flops["attn.c_attn"] + flops["attn.c_proj"],
        "T × T": flops["attention"],
        "MLP": flops["mlp"],
        "head": flops["head"],
    }
    total, step = memory.pop("total") / 2**30, 3 * B * flops["total"]
    spare = T4_BYTES / 2**30 - total
    verdict = f"{spare:.1f} GiB to spare" if spare >= 0 else f"{-spare:.1f} GiB too much"
    least = 1e3 * step / PEAKS["T4"]["fp16"]
    parts = (
        _bar(f"{n['total']:,} parameters", parameters, 1e6, "M"),
        _bar(f"{flops['total'] / 1e9:,.1f} GFLOP for one forward pass", operations, 1e9, "G"),
        f'<div style="margin-bottom:14px">A training step, forward and backward, B = {B}: '
        f"{step / 1e12:,.2f} TFLOP, at least {least:,.0f} ms at a T4's fp16 peak.</div>",
        _bar(
            f"{total:,.1f} GiB to train in fp32; on a T4, {verdict}",
            memory,
            2**30,
            "GiB",
            ("a T4", T4_BYTES / 2**30),
        ),
    )
    return "".join(parts)


def _bar(title, parts, size, unit, limit=None):
    """Return a stacked bar of parts counted in units of `size`."""
    return stacked(title, {k: (v / size, HUES[k]) for k, v in parts.items()}, unit, limit)
