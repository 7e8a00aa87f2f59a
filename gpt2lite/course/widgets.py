"""The things to move in the notebooks: core ipywidgets only, so that Colab shows them too.

Knows nothing about any one notebook. A widget is not stored with its notebook, so a picture stands
beside each.
"""

import html
import warnings

import ipywidgets as widgets
import numpy as np
import torch

from gpt2lite.accounting import (
    PEAKS,
    T4_BYTES,
    count_parameters,
    forward_flops,
    training_bytes,
)
from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.plotting import COLORS, figure
from gpt2lite.sampling import probabilities, stream

# The explorer's sliders: GPTConfig's names (T sets block_size), and B.
RANGES = {
    "n_layer": range(1, 49),
    "n_head": range(1, 33),
    "n_embd": range(64, 2049, 64),
    "vocab_size": (256, 1000, 5000, 10000, 20000, 32000, 50257, 50304, 65536, 100277, 200019),
    "T": (64, 128, 256, 512, 1024, 2048, 4096),
    "B": (1, 2, 4, 8, 16, 32, 64),
}
HUES = {
    **dict.fromkeys(("attention", "projections", "weights"), COLORS["ours"]),
    **dict.fromkeys(("wpe", "T × T", "gradients"), COLORS["reference"]),
    **dict.fromkeys(("MLP", "adamw"), COLORS["validation"]),
    **dict.fromkeys(("wte", "head", "activations"), COLORS["highlight"]),
    "LayerNorm": "#999999",
}

# The playground's dials.
TOP_K = [(str(k), k) for k in (1, 2, 3, 5, 10, 20, 50, 100, 1000)] + [("all", 0)]
NEW_TOKENS = 32


def sizes_explorer(size: str = "gpt2", B: int = 4) -> widgets.Widget:
    """Return sliders for a GPT-2's sizes, and what they cost: parameters, operations, memory.

    `size` is a name in gpt2lite.config.SIZES to begin with, `B` the sequences of a training step.
    """
    presets = widgets.Dropdown(options=[*SIZES, "your own"], value=size, description="preset")
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
    loading = False  # a preset moves several sliders; half-way there is no model to show

    def draw(_change=None):
        if loading:
            return
        at = {name: slider.value for name, slider in sliders.items()}
        presets.value = next((n for n in SIZES if _preset(n).items() <= at.items()), "your own")
        page.value = sizes_report(**at)

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
    """Return, as HTML, what a GPT-2 of these sizes costs, or why there is none."""
    try:
        config = GPTConfig(T, vocab_size, n_layer, n_head, n_embd)
    except ValueError as reason:
        return _paper(f'<b style="color:{COLORS["validation"]}">No such model:</b> {reason}.')
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
    return _paper(
        _bar(f"{n['total']:,} parameters", parameters, 1e6, "M"),
        _bar(f"{flops['total'] / 1e9:,.1f} GFLOP for one forward pass", operations, 1e9, "G"),
        f'<div style="margin-bottom:14px">A training step, forward and backward, B = {B}: '
        f"{step / 1e12:,.2f} TFLOP, at least {1e3 * step / PEAKS['T4']['fp16']:,.0f} ms at a T4's "
        "fp16 peak.</div>",
        _bar(
            f"{total:,.1f} GiB to train in fp32; on a T4, {verdict}", memory, 2**30, "GiB", T4_BYTES
        ),
    )


def _paper(*parts):
    style = "background:white;color:#1a1a1a;padding:10px 14px;max-width:680px;line-height:1.4"
    return f'<div style="{style}">{"".join(parts)}</div>'


def _bar(title, parts, unit, suffix, limit=None):
    """Return one stacked bar with its legend; a dashed line marks `limit`, a T4's memory."""
    total = sum(parts.values())
    full = max(total, 1.15 * limit if limit else 0)
    pieces, legend = "", []
    for name, value in parts.items():
        style = f"width:{100 * value / full:.3f}%;background:{HUES[name]};color:white;"
        style += "overflow:hidden;text-align:center;line-height:22px"
        pieces += f'<div style="{style}">{name if value > 0.13 * full else ""}</div>'
        share = f"{name} {value / unit:,.1f} {suffix} ({value / total:.0%})"
        legend.append(f'<span style="color:{HUES[name]}">■</span> {share}')
    if limit:
        style = (
            f"left:{100 * limit / full:.2f}%;top:-4px;bottom:-4px;border-left:2px dashed #1a1a1a"
        )
        pieces += f'<div style="position:absolute;{style}"></div>'
        legend.append(f"┆ a T4: {limit / unit:.2f} {suffix}")
    keys = " ".join(
        f'<span style="white-space:nowrap;margin-right:12px">{k}</span>' for k in legend
    )
    return (
        f'<div style="font-weight:bold">{title}</div>'
        f'<div style="position:relative;display:flex;height:22px;margin:5px 0">{pieces}</div>'
        f'<div style="font-size:90%;margin-bottom:14px">{keys}</div>'
    )


def sampling_playground(model, tokenizer, prompt="Hello World ! I'm LLM", note=""):
    """Return a prompt and the dials of sampling above the next token's distribution, live.

    The model runs when the prompt changes; a slider only cuts its logits anew. A button draws a
    continuation. `note` says whose weights these are.
    """
    named = {"style": {"description_width": "90px"}}
    dial = named | {"layout": {"width": "335px"}}
    text = widgets.Text(
        prompt,
        description="prompt",
        continuous_update=False,
        **named | {"layout": {"width": "675px"}},
    )
    temperature = widgets.FloatSlider(1, min=0, max=2, step=0.1, description="temperature", **dial)
    top_k = widgets.SelectionSlider(options=TOP_K, value=0, description="top-k", **dial)
    top_p = widgets.FloatSlider(1, min=0.05, max=1, step=0.05, description="top-p", **dial)
    seed = widgets.IntText(1337, description="seed", **named | {"layout": {"width": "180px"}})
    button = widgets.Button(description="Generate", button_style="primary")
    page, said = widgets.HTML(), widgets.HTML()
    logits = None

    def cuts():
        return {
            "temperature": temperature.value,
            "top_k": top_k.value or None,
            "top_p": top_p.value,
        }

    def read(_change=None):
        nonlocal logits
        ids = tokenizer.encode_ordinary(text.value)[-model.config.block_size :]
        logits = next_logits(model, ids) if ids else None
        button.disabled = not ids
        said.value = ""
        draw()

    def draw(_change=None):
        if logits is None:
            page.value = _paper("Type a prompt and press Enter: the model needs one token or more.")
        else:
            page.value = _paper(_chances(logits, tokenizer, note, **cuts()))

    def speak(_button):
        button.disabled = True
        try:
            generator = torch.Generator(logits.device).manual_seed(seed.value)
            for continuation in _growing(model, tokenizer, text.value, generator, cuts()):
                said.value = _paper(_speech(text.value, continuation))
        finally:
            button.disabled = False

    text.observe(read, "value")
    for slider in (temperature, top_k, top_p):
        slider.observe(draw, "value")
    button.on_click(speak)
    read()
    rows = [temperature, top_k], [top_p, seed, button]
    return widgets.VBox([text, *map(widgets.HBox, rows), page, said])


@torch.no_grad()
def next_logits(model, ids: list[int]) -> torch.Tensor:
    """Return the logits (V,) of the token that follows `ids`."""
    idx = torch.tensor([ids], device=model.wte.weight.device)
    return model.head(model.hidden(idx)[0, -1])


def likeliest(logits, tokenizer, temperature=1.0, top_k=None, top_p=None, n=12):
    """Return [(text, chance, kept)] of the `n` likeliest tokens, and how many of all are kept.

    A kept token's chance is that of being drawn, a cut one's what it had before top-k and top-p.
    """
    before = probabilities(logits, temperature)
    after = probabilities(logits, temperature, top_k, top_p)
    rows = []
    for i in logits.topk(n).indices.tolist():
        keep = bool(after[i] > 0)
        chance = (after if keep else before)[i].item()
        rows.append((_visible(tokenizer.decode_single_token_bytes(i)), chance, keep))
    return rows, int((after > 0).sum())


def next_tokens(logits, tokenizer, choices: dict[str, dict], n=10):
    """Draw the `n` likeliest next tokens under several settings: kept ones blue, cut ones grey.

    `choices` maps a panel's title to the keywords of gpt2lite.sampling.probabilities.
    """
    fig, axes = figure("wide", len(choices))
    told, longest = [], 0
    for ax, (title, cuts) in zip(np.atleast_1d(axes), choices.items(), strict=True):
        rows, kept = likeliest(logits, tokenizer, n=n, **cuts)
        for y, (_, chance, keep) in enumerate(rows):
            ax.barh(y, chance, 0.7, color=COLORS["ours"] if keep else "#C9C9C9")
        longest = max(longest, rows[0][1])
        ax.set(ylim=(n - 0.5, -0.5), xlabel="probability", yticks=[])
        ax.set_title(f"{title}\n{kept:,} kept", fontsize=9)
        ax.locator_params(axis="x", nbins=3)
        if not told:  # the tokens and their order are the same in every panel
            for y, (token, *_) in enumerate(rows):
                at = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
                ax.text(-0.04, y, token, fontsize=8, parse_math=False, **at)
        told.append(f"{title}: {kept:,} tokens kept, the likeliest has {rows[0][1]:.1%}.")
    for ax in np.atleast_1d(axes):  # one scale, or the panels could not be compared
        ax.set_xlim(0, 1.05 * longest)
    fig.alt = f"Bars: the {n} likeliest next tokens, cut ones grey. " + " ".join(told)
    return fig


def _visible(token: bytes) -> str:
    """Return a token as text that any font shows: a space is "·", what isn't Latin is escaped."""
    text = token.decode("utf-8", "backslashreplace").replace(" ", "·")
    plain = (c.isprintable() and c < "\u0250" for c in text)
    escaped = (c.encode("unicode_escape").decode() for c in text)
    return "".join(c if fine else e for c, fine, e in zip(text, plain, escaped, strict=True))


def _chances(logits, tokenizer, note, **cuts):
    rows, kept = likeliest(logits, tokenizer, **cuts)
    full = max(chance for _, chance, _ in rows)
    lines = [f"<b>Next token: {kept:,} of {len(logits):,} kept.</b> {html.escape(note)}"]
    for token, chance, keep in rows:
        ink, fill = ("#1a1a1a", COLORS["ours"]) if keep else ("#6e6e6e", "#C9C9C9")
        name = f'<code style="width:120px;text-align:right;background:none;color:{ink}">'
        bar = f'<div style="width:{340 * chance / full:.0f}px;height:12px;margin:0 8px;'
        lines.append(
            f'<div style="display:flex;align-items:center;color:{ink}">'
            f"{name}{html.escape(token)}</code>"
            f'{bar}background:{fill}"></div>{chance:.1%}{"" if keep else ", cut"}</div>'
        )
    return "".join(lines)


def _growing(model, tokenizer, prompt, generator, cuts):
    """Yield the continuation of `prompt` as it grows."""
    said = ""
    options = {"generator": generator, "stop": tokenizer.eot_token, "overflow": "slide", **cuts}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a long prompt loses its beginning: no news here
        for piece in stream(model, tokenizer, prompt, NEW_TOKENS, **options):
            said += piece
            yield said


def _speech(prompt, continuation):
    """Return, as HTML, what was given in grey and what was drawn in black."""
    given = f'<span style="color:#6e6e6e">{html.escape(prompt)}</span>'
    style = "white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<div style="{style}">{given}{html.escape(continuation)}</div>'
