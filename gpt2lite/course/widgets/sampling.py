"""A prompt, the dials of sampling, and the next token's distribution, live."""

import html
import warnings

import ipywidgets as widgets
import torch

from gpt2lite.course.figures import likeliest
from gpt2lite.course.html import bars, pale, paper
from gpt2lite.plotting import COLORS
from gpt2lite.sampling import next_logits, stream

# The playground's dials.
TOP_K = [(str(k), k) for k in (1, 2, 3, 5, 10, 20, 50, 100, 1000)] + [("all", 0)]
NEW_TOKENS = 32
HEIGHT = 235  # pixels of the twelve bars


def sampling_playground(model, tokenizer, prompts=("Hello World ! I'm LLM",), note=""):
    """Return a prompt and the dials of sampling above the next token's distribution, live.

    The model runs when the prompt changes; a slider only cuts its logits anew. A button draws a
    continuation, which turns pale when a dial moves. Each of `prompts` has a button of its own; in
    the field, which has one line, a new line is written as \\n. `note` says whose weights it has.
    """
    named = {"style": {"description_width": "90px"}}
    wide = named | {"layout": {"width": "335px"}}
    text = widgets.Text(
        _one_line(prompts[0]),
        description="prompt",
        continuous_update=False,
        **named | {"layout": {"width": "675px"}},
    )
    temperature = widgets.FloatSlider(1, min=0, max=2, step=0.1, description="temperature", **wide)
    top_k = widgets.SelectionSlider(options=TOP_K, value=0, description="top-k", **wide)
    top_p = widgets.FloatSlider(1, min=0.05, max=1, step=0.05, description="top-p", **wide)
    seed = widgets.IntText(1337, description="seed", **named | {"layout": {"width": "180px"}})
    button = widgets.Button(description="Generate", button_style="primary")
    suggested = [widgets.Button(description=_one_line(given)) for given in prompts]
    page, said = widgets.HTML(), widgets.HTML()
    logits, spoken = None, ""

    def prompt():
        return text.value.replace("\\n", "\n")

    def suggest(chosen):
        text.value = chosen.description

    def cuts():
        return {
            "temperature": temperature.value,
            "top_k": top_k.value or None,
            "top_p": top_p.value,
        }

    def read(_change=None):
        nonlocal logits
        ids = tokenizer.encode(prompt(), allowed_special="all")[-model.config.block_size :]
        logits = next_logits(model, ids) if ids else None
        draw()

    def draw(_change=None):
        if logits is None:
            ask = "Type a prompt and press Enter: the model needs one token or more."
            page.value = paper(ask, height=HEIGHT)
        else:
            page.value = paper(_chances(logits, tokenizer, note, **cuts()), height=HEIGHT)
        said.value = paper(pale(spoken)) if spoken else ""

    def speak(_button):  # the button stays enabled: a disabled one would lose the keyboard's focus
        nonlocal spoken
        if logits is None:
            return  # the page says already what is missing
        try:
            generator = torch.Generator(logits.device).manual_seed(seed.value)
        except (RuntimeError, ValueError):  # which of them differs between releases of torch
            said.value = paper(f"{seed.value} is no seed: take a whole number of up to 18 digits.")
            return
        for continuation in _growing(model, tokenizer, prompt(), generator, cuts()):
            spoken = _speech(prompt(), continuation)
            said.value = paper(spoken)

    text.observe(read, "value")
    for dial in (temperature, top_k, top_p, seed):
        dial.observe(draw, "value")
    for choice in suggested:
        choice.on_click(suggest)
    button.on_click(speak)
    read()
    rows = suggested, [temperature, top_k], [top_p, seed, button]
    return widgets.VBox([text, *map(widgets.HBox, rows), page, said])


def _one_line(prompt):
    return prompt.replace("\n", "\\n")


def _chances(logits, tokenizer, note, **cuts):
    rows, kept = likeliest(logits, tokenizer, **cuts)
    mono = "<code style='background:none;color:inherit'>{}</code>"
    lines = [
        (
            mono.format(html.escape(token)),
            chance,
            f"{chance:.1%}{'' if keep else ', cut'}",
            keep,
        )
        for token, chance, keep in rows
    ]
    title = f"<b>Next token: {kept:,} of {len(logits):,} kept.</b> {html.escape(note)}"
    return title + bars(lines, COLORS["ours"])


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
