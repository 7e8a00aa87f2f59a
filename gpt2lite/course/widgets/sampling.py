"""A prompt, the dials of sampling, and the next token's distribution, live."""

import html
import warnings

import ipywidgets as widgets
import numpy as np
import torch

from gpt2lite.course.widgets.page import paper
from gpt2lite.plotting import COLORS, figure
from gpt2lite.sampling import probabilities, stream

# The playground's dials.
TOP_K = [(str(k), k) for k in (1, 2, 3, 5, 10, 20, 50, 100, 1000)] + [("all", 0)]
NEW_TOKENS = 32


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
            page.value = paper("Type a prompt and press Enter: the model needs one token or more.")
        else:
            page.value = paper(_chances(logits, tokenizer, note, **cuts()))

    def speak(_button):
        button.disabled = True
        try:
            generator = torch.Generator(logits.device).manual_seed(seed.value)
            for continuation in _growing(model, tokenizer, text.value, generator, cuts()):
                said.value = paper(_speech(text.value, continuation))
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
