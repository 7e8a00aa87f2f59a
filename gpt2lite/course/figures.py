"""The course's drawings, made by code: the numbers in them are computed, never typed.

`python -m gpt2lite.course.figures` writes the README's pictures into images/. A drawing is a
matplotlib Figure that carries its alt text as `fig.alt`; show it with gpt2lite.plotting.show(fig).

Knows nothing about trained weights: where a drawing needs values, it takes those that follow from
equal scores, and says so. The curves are drawn from the logs in notebooks/recorded. Coordinates are
inches from the top left corner of the page.
"""

import json
import math
from pathlib import Path

import torch
from matplotlib.colors import to_rgb

from gpt2lite.accounting import T4_BYTES, count_parameters, training_bytes
from gpt2lite.config import SIZES
from gpt2lite.course.page import (
    ATTENTION,
    BLUE,
    FAINT,
    GREY,
    INK,
    LINE,
    PAPER,
    PLAIN,
    POSITION,
    PURPLE,
    THINK,
    TOKEN,
    Page,
)
from gpt2lite.course.setup import recorded
from gpt2lite.model import GPT
from gpt2lite.plotting import (
    COLORS,
    INCHES,
    figure,
    heatmap,
    loss_curve,
    reference_line,
    to_png,
)
from gpt2lite.tokenizer import get_tokenizer

SENTENCE = "Hello World ! I'm LLM"
# The nine notebooks in order, and the place of each on the course map: label, x, y, width.
STATIONS = {
    "architecture": ("architecture", 3.2, 1.58, 2.1),
    "pretrained_weights": ("released weights", 3.8, 0.6, 1.5),
    "initialization": ("initialization", 2.25, 0.6, 1.25),
    "mixed_precision": ("mixed precision", 5.0, 2.3, 1.56),
    "loss_curves": ("loss curves", 6.1, 1.4, 1.2),
    "training_recipe": ("training recipe", 3.2, 2.3, 1.45),
    "evaluation": ("evaluation", 5.28, 0.6, 1.15),
    "scaling_out": ("scaling out", 1.2, 2.3, 1.2),
    "bug_clinic": ("bug clinic", 0.9, 0.26, 1.15),
}

# The losses that the README of the original project prints, by run and step.
ORIGINAL = {
    "step1": dict(
        zip(
            range(0, 1000, 100),
            (11.0011, 4.9416, 4.2336, 5.2082, 4.2915, 4.1871, 6.1562, 5.7454, 4.9037, 6.5263),
            strict=True,
        )
    ),
    "step2": dict(
        zip(
            range(0, 1000, 100),
            (10.9186, 6.5374, 5.8276, 6.2550, 4.6903, 6.2554, 6.1157, 5.1208, 4.7785, 6.2280),
            strict=True,
        )
    ),
    "step3": dict(
        zip(
            range(0, 100, 10),
            (10.9368, 7.5061, 7.0942, 6.7423, 6.6048, 6.5786, 6.5698, 6.4350, 6.7832, 6.2560),
            strict=True,
        )
    ),
}


def gpt2(config=SIZES["gpt2"]):
    """Draw the architecture: one residual stream, and everything that adds to it. 4.2 x 7.4."""
    with torch.device("meta"):  # the model itself is counted, and nothing is allocated
        sizes = {name: p.numel() for name, p in GPT(config).named_parameters()}
    total, n = sum(sizes.values()), config.n_layer

    def count(part):
        return sum(size for name, size in sizes.items() if name.startswith(part + "."))

    alt = (
        f"Architecture of GPT-2 with {total:,} parameters. Token embedding wte and position "
        "embedding wpe are added and start the residual stream of shape (B, T, C), drawn as one "
        f"straight line. {n} equal blocks each add to it twice: LayerNorm then causal multi-head "
        "self-attention; LayerNorm then an MLP from C to 4C and back. A final LayerNorm, the "
        "output head, which is the token embedding used again, and a softmax give the probability "
        "of each next token."
    )
    page = Page(4.2, 7.4, alt)
    stream, side = 1.05, 2.02  # x of the residual stream, and of the boxes that add to it

    def row(y, name, size):
        page.text(2.6, y, name, mono=True)
        page.text(4.04, y, f"{size:,}", "r", GREY, mono=True)

    page.title(0.1, 0.2, f"GPT-2: {n} blocks add to one stream", size=11)
    page.text(0.1, 0.43, f"{total:,} parameters in {len(sizes)} tensors", color=GREY, size=8.5)
    for x, what, name, part, fill in (
        (stream, "token ids  (B, T)", "token", "wte", TOKEN),
        (3.1, "positions  0 … T−1", "position", "wpe", POSITION),
    ):
        page.text(x, 0.76, what, "c")
        page.line((x, 0.85), (x, 1.0))
        page.box(x, 1.22, 1.46, 0.42, fill=fill)
        page.text(x, 1.14, f"{name} embedding", "c")
        page.text(x, 1.31, f"{part} {count(part):,}", "c", GREY, mono=True)

    # The stream, and what adds to it
    page.line((stream, 1.43), (stream, 7.0), color=BLUE, width=2.6, head=False)
    page.line((3.1, 1.43), (3.1, 1.66), (stream + 0.1, 1.66))
    page.plus(stream, 1.66)
    page.box(2.21, 3.62, 3.82, 3.28, fill="#f8f8f8", edge=FAINT, zorder=1)
    page.title(4.04, 2.15, f"{n} ×  h.0 … h.{n - 1}", "r", size=9)
    page.text(4.04, 2.33, f"{count('h.0'):,} each", "r", GREY)
    heads = f"H = {config.n_head} heads, D = {config.head_dim}"
    attention, mlp = "causal\nmulti-head\nself-attention", "MLP\nC → 4C → C\nGELU"
    for y, norm, first, fill, text, note in (
        (2.6, "ln_1", "attn.c_attn", ATTENTION, attention, heads),
        (4.06, "ln_2", "mlp.c_fc", THINK, mlp, f"4C = {4 * config.n_embd:,}"),
    ):
        second = first.split(".")[0] + ".c_proj"
        page.line((stream, y), (side - 0.5, y))
        page.box(side, y, 1.0, 0.26, "LayerNorm")
        page.line((side, y + 0.13), (side, y + 0.29))
        page.box(side, y + 0.58, 1.0, 0.58, text, fill)
        page.line((side, y + 0.87), (side, y + 1.05), (stream + 0.1, y + 1.05))
        page.plus(stream, y + 1.05)
        for dy, name in ((0, norm), (0.41, first), (0.58, second)):
            row(y + dy, name, count(f"h.0.{name}"))
        page.text(2.6, y + 0.75, note, color=GREY)
    for y in (1.86, 3.86, 5.4):
        page.text(0.97, y, "(B, T, C)", "r", GREY)

    # Out of the stream
    page.box(stream, 5.68, 1.46, 0.26, "LayerNorm")
    page.box(stream, 6.16, 1.46, 0.3, "output head", TOKEN)
    page.text(0.97, 6.46, "(B, T, V)", "r", GREY)
    page.text(1.15, 6.46, "logits", color=GREY)
    page.box(stream, 6.76, 1.46, 0.26, "softmax")
    page.line((stream, 6.89), (stream, 7.09), color=BLUE, width=2.6)
    page.text(stream, 7.21, "probability of each next token", "c")
    tie = (0.32, 1.22), (0.15, 1.22), (0.15, 6.16), (0.32, 6.16)
    page.line(*tie, color=PURPLE, width=1.6, dash=(0, (3, 1.6)))
    paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 2}
    page.text(0.15, 3.62, "one matrix, used twice", "c", "#9c3f73", turned=True, bbox=paper)

    # The sum
    embeddings = count("wte") + count("wpe")
    for y, name, size in (
        (5.68, "ln_f", count("ln_f")),
        (6.16, "wte, again", 0),
        (6.62, "wte + wpe", embeddings),
        (6.79, "blocks", count("h")),
        (6.96, "ln_f", count("ln_f")),
        (7.21, "sum", embeddings + count("h") + count("ln_f")),
    ):
        row(y, name, size)
    page.line((2.6, 7.085), (4.04, 7.085), width=0.8, head=False)
    return page.fig


def forward_pass(config=SIZES["gpt2"]):
    """Draw one sentence's way through the model, one lane a token. 4.2 x 7.6 inches."""
    tokenizer = get_tokenizer()
    ids = tokenizer.encode_ordinary(SENTENCE)
    tokens = [tokenizer.decode([i]).replace(" ", "·") for i in ids]
    T, n, V = len(ids), config.n_layer, config.vocab_size
    alt = (
        f"The sentence {SENTENCE!r} on its way through GPT-2: {T} tokens with the ids "
        f"{', '.join(map(str, ids))} become {T} vectors of {config.n_embd} channels, token "
        f"embedding plus position embedding. In each of {n} blocks attention lets a lane read the "
        "lanes to its left, never to its right, and the MLP works on each lane alone. The head "
        f"turns each lane into {V:,} logits: each lane guesses its next token, and only the last "
        "guess is not in the sentence. Below, one head's attention with equal scores, a triangle "
        f"whose row t holds weights 1/(t + 1), and the last guess, 1/{V:,} for each token."
    )
    page = Page(4.2, 7.6, alt)
    lanes = [0.34 + 0.455 * t for t in range(T)]
    middle, width = (lanes[0] + lanes[-1]) / 2, lanes[-1] - lanes[0] + 0.42

    def name(y, text, shape=""):
        page.text(4.12, y, text, "r")
        page.text(4.12, y + 0.16, shape, "r", GREY)

    # Text to vectors
    page.title(0.1, 0.2, f"{T} tokens in, {T} guesses out", size=11)
    page.box(middle, 0.62, width, 0.3, fill=PAPER)
    page.text(middle, 0.62, SENTENCE, "c", size=10)
    for x, token, i in zip(lanes, tokens, ids, strict=True):
        page.line((x, 0.77), (x, 0.93))
        page.box(x, 1.06, 0.42, 0.26, token)
        page.text(x, 1.32, str(i), "c", GREY, mono=True)
        page.line((x, 1.42), (x, 1.56))
        page.cells(x - 0.11, 1.58, 4, TOKEN)
        page.text(x, 1.78, "+", "c", size=9)
        page.cells(x + 0.11, 1.58, 4, POSITION)
    name(0.62, "text")
    name(1.06, "tokens")
    name(1.32, f"ids (1, {T})")
    name(1.7, "wte + wpe", f"(1, {T}, {config.n_embd})")

    # The first of the equal blocks in front, the others behind it
    for depth in reversed(range(n)):
        x, y, edge = middle + 0.216 / n * depth, 2.95 - 0.216 / n * depth, FAINT if depth else LINE
        page.box(x, y, width + 0.06, 1.06, "", PAPER, edge, 0.7, zorder=1 - depth / n)
    for t, x in enumerate(lanes):
        page.line((x, 1.99), (x, 3.72), color=BLUE, width=2)
        last = t == T - 1
        for past in lanes[:t]:
            look = {"color": PURPLE, "zorder": 1.6} if last else {"color": "#a9cde4", "zorder": 1.5}
            page.line((past, 2.55), (x, 2.86), head=False, **look)
        page.box(x, 3.16, 0.26, 0.22, fill=THINK)

        # Each lane guesses the token of the next one
        page.cells(x, 3.76, 6, TOKEN, 0.09)
        page.line((x, 4.3), (x, 4.5))
        guess, fill = ("?", PURPLE) if last else (tokens[t + 1], PAPER)
        page.box(x, 4.64, 0.42, 0.26, guess, fill, linestyle="-" if last else (0, (2, 1.5)))
    name(2.3, f"{n} blocks")
    name(2.7, "attention", "looks left")
    name(3.08, "MLP", "per lane")
    name(3.96, "logits", f"(1, {T}, {V})")
    name(4.64, "next token")

    # Two details, with equal scores
    page.title(0.1, 5.2, "one head of attention", size=9)
    page.text(0.1, 5.38, "a row reads itself and its past", color=GREY)
    inset = page.fig.add_axes((0.64 / 4.2, 0.3 / 7.6, 1.35 / 4.2, 1.35 / 7.6))
    heatmap(inset, torch.ones(T, T).tril().log().softmax(-1), rows=tokens, columns=tokens)
    inset.tick_params(labelsize=8, pad=2)
    for t in range(T):
        page.text(2.05, 5.95 + 1.35 / T * (t + 0.5), f"1/{t + 1}" if t else "1", color=GREY)
    page.line((lanes[-1], 4.77), (lanes[-1], 5.08))
    page.title(4.12, 5.2, "the last guess", "r", size=9)
    page.text(4.12, 5.38, f"softmax: 1/{V:,} each", "r", GREY)
    for r, i in enumerate((0, 1, 2, None, ids[0], None, V - 1)):
        y = 5.9 + 0.222 * r
        page.text(3.36, y, "…" if i is None else tokenizer.decode([i]), "r", mono=True)
        if i is not None:
            page.rect(3.46, y - 0.06, 0.66, 0.12, PURPLE, line=0)
    page.text(0.1, 7.46, "Both drawn with equal scores: nothing is learned yet.", color=GREY)
    return page.fig


def course_map(lit):
    """Draw the course as one training loop around GPT-2, with one notebook's part lit. 7 x 2.8.

    `lit` is a notebook's name without its number, "initialization" for one. Raises ValueError for a
    name that is not on the map.
    """
    if lit not in STATIONS:
        raise ValueError(f"no notebook is called {lit!r}; choose one of {', '.join(STATIONS)}")
    alt = (
        "Map of the course. Text becomes tokens, GPT-2 turns them into logits, the loss compares "
        "those with the next tokens, gradients flow back, and the optimizer makes new weights. "
        "Each of nine notebooks is one part of this loop; lit is "
        f"part {list(STATIONS).index(lit) + 1}, {STATIONS[lit][0]}."
    )
    page = Page(*INCHES["wide"], alt)

    def edge(name):
        return {"edge": INK, "line": 1.6} if name == lit else {"edge": FAINT, "line": 0.8}

    # The bug clinic watches all of it; the GPT-2 inside is embeddings, blocks, head
    page.box(3.5, 1.48, 6.8, 2.44, "", PAPER, linestyle=(0, (4, 2)), zorder=0, **edge("bug_clinic"))
    page.box(3.2, 1.4, 2.3, 0.82, "", "#f8f8f8", zorder=1, **edge("architecture"))
    page.rect(2.255, 1.07, 0.05, 0.29, TOKEN, line=0.5)
    for i in range(2 * SIZES["gpt2"].n_layer):
        page.rect(2.415 + 0.066 * i, 1.07, 0.05, 0.29, THINK if i % 2 else ATTENTION, line=0.5)
    page.rect(4.095, 1.07, 0.05, 0.29, TOKEN, line=0.5)

    # Forward along the middle, backward along the bottom
    for x, text in ((0.5, "text"), (1.36, "tokens"), (4.94, "logits")):
        page.text(x, 1.4, text, "c", size=9)
    for start, end in ((0.7, 1.06), (1.66, 2.02), (4.38, 4.66), (5.22, 5.47)):
        page.line((start, 1.4), (end, 1.4))
    for x, start, end in (
        (2.5, 0.78, 0.97),
        (3.6, 0.78, 0.97),
        (4.94, 1.27, 0.8),
        (3.2, 2.12, 1.83),
    ):
        page.line((x, start), (x, end))
    page.line((6.1, 1.58), (6.1, 2.3), (5.8, 2.3))
    for start, end in ((4.22, 3.95), (1.81, 2.45)):
        page.line((start, 2.3), (end, 2.3))
    page.text(6.18, 2.0, "gradients", color=GREY)
    page.text(3.28, 1.99, "new weights", color=GREY)
    for number, (name, (label, x, y, width)) in enumerate(STATIONS.items(), 1):
        on = name == lit
        page.box(x, y, width, 0.34, "", PURPLE if on else PLAIN, **edge(name))
        page.text(x, y, f"{number}  {label}", "c", size=9, weight="bold" if on else "normal")
    return page.fig


def conv1d_transpose(config=SIZES["gpt2"]):
    """Draw why GPT-2's stored matrices are turned over on loading. 7 x 2.8 inches."""
    C, out = config.n_embd, 3 * config.n_embd
    alt = (
        f"The weight of attn.c_attn twice: as Hugging Face's Conv1D stores it, {C:,} rows for the "
        f"inputs and {out:,} columns for the outputs, and as nn.Linear keeps it, {out:,} rows and "
        f"{C:,} columns. One is the other's transpose: the weights of input 0, marked in purple, "
        "are the first row in one and the first column in the other."
    )
    page = Page(*INCHES["wide"], alt)
    page.title(1.75, 0.25, "Conv1D, in the file", "c")
    page.rect(0.93, 1.12, 1.65, 0.55, ATTENTION)
    page.rect(0.93, 1.12, 1.65, 0.09, PURPLE)
    page.text(0.83, 1.42, f"in\n{C:,}", "r")
    page.text(1.75, 0.99, f"out {out:,}", "c")
    page.text(1.75, 2.55, "y = x W + b", "c", size=9)
    page.line((3.05, 1.42), (4.15, 1.42), width=1.6)
    page.text(3.6, 1.27, "A = Wᵀ", "c", size=10)
    page.text(3.6, 1.6, "input 0, marked", "c", "#9c3f73")
    page.title(5.4, 0.25, "nn.Linear, in the model", "c")
    page.rect(5.13, 0.62, 0.55, 1.65, ATTENTION)
    page.rect(5.13, 0.62, 0.09, 1.65, PURPLE)
    page.text(5.03, 1.42, f"out\n{out:,}", "r")
    page.text(5.4, 0.49, f"in {C:,}", "c")
    page.text(5.4, 2.55, "y = x Aᵀ + b", "c", size=9)
    return page.fig


def causal_mask(T=6):
    """Draw what each of `T` tokens may read. 3.6 x 3.6 inches."""
    alt = (
        f"A square of {T} by {T} cells: row t, the reading token, may read the columns 0 to t, "
        "which are blue. The cells above the diagonal are its future: their score is minus "
        "infinity, so their weight is exactly 0."
    )
    page = Page(*INCHES["square"], alt)
    page.title(0.1, 0.18, "No token reads its future")
    page.text(2.05, 0.47, "token s, being read", "c")
    page.text(0.3, 2.15, "token t, reading", "c", turned=True)
    side = 2.6 / T
    for t in range(T):
        page.text(0.63, 0.85 + side * (t + 0.5), str(t), "r")
        page.text(0.75 + side * (t + 0.5), 0.71, str(t), "c")
        for s in range(T):
            x, y = 0.75 + side * s, 0.85 + side * t
            page.rect(x, y, side, side, ATTENTION if s <= t else PAPER)
            page.text(x + side / 2, y + side / 2, "" if s <= t else "−∞", "c", GREY)
    return page.fig


def heads_split(config=SIZES["gpt2"]):
    """Draw how (B, T, 3C) becomes the queries, keys and values of H heads. 7 x 2.8 inches."""
    H, D, C = config.n_head, config.head_dim, config.n_embd
    alt = (
        f"Left, the output of c_attn, T rows by 3C = {3 * C:,} columns, in three thirds q, k and "
        f"v. Middle, q alone, its C = {C:,} columns cut into H = {H} heads of D = {D}. Right, the "
        "heads one behind the other, (B, H, T, D), so that each attends on its own."
    )
    page = Page(*INCHES["wide"], alt)
    for x, title, note, shape in (
        (1.3, "one matrix product", f"3C = {3 * C:,}", "(B, T, 3C)"),
        (3.6, "q, cut into heads", f"C = {H} × {D}", "(B, T, H, D)"),
        (5.85, "each head apart", f"D = {D}", "(B, H, T, D)"),
    ):
        page.title(x, 0.35, title, "c", size=9)
        page.text(x, 0.61, note, "c")
        page.text(x, 2.45, shape, "c", size=9)
    for i, (part, fill) in enumerate({"q": ATTENTION, "k": POSITION, "v": THINK}.items()):
        page.rect(0.4 + 0.6 * i, 1.0, 0.6, 1.0, fill)
        page.text(0.7 + 0.6 * i, 1.5, part, "c", size=11)
    page.text(0.3, 1.5, "T", "r")
    page.line((2.3, 1.5), (2.9, 1.5), width=1.4)
    page.line((4.3, 1.5), (5.15, 1.5), width=1.4)
    for h in range(H):
        fill, behind = ATTENTION if h else BLUE, 0.6 / H * h
        page.rect(3.0 + 1.2 / H * h, 1.0, 1.2 / H, 1.0, fill)
        page.rect(5.3 + behind, 1.14 - behind / 2, 0.5, 1.0, fill, zorder=3 - h / H)
    return page.fig


def kv_cache(steps=6):
    """Draw which tokens each of `steps` steps computes, without and with a cache. 7 x 2.8."""
    without, cached = sum(range(1, steps + 1)), steps
    alt = (
        f"Two triangles of {steps} rows, one row a generated token. Without a cache each step "
        f"computes all tokens so far, {without} in all. With a cache it computes one, {cached} in "
        "all, and reads the keys and values that were kept of the others."
    )
    page = Page(*INCHES["wide"], alt)
    side = 1.75 / steps
    for left, name, total in ((0.95, "without", without), (4.4, "with", cached)):
        page.title(left, 0.28, f"{name} a cache: {total} computed")
        page.text(left, 2.58, "token 0, 1, 2, …", color=GREY)
        for t in range(steps):
            page.text(left - 0.1, 0.62 + side * (t + 0.45), f"step {t + 1}", "r")
            for s in range(t + 1):
                fill = BLUE if s == t or name == "without" else PAPER
                x, y = left + side * s, 0.62 + side * t
                page.rect(x, y, side * 0.88, side * 0.88, fill, BLUE)
    for y, fill, text in ((0.85, BLUE, "computed"), (1.1, PAPER, "kept")):
        page.rect(6.15, y - 0.06, 0.12, 0.12, fill, BLUE)
        page.text(6.33, y, text)
    return page.fig


def token_strip(*texts):
    """Draw texts cut into tokens, each with its id. 7 inches wide.

    A space is shown as "·", bytes that are no whole character in hexadecimal.
    """
    tokenizer = get_tokenizer()
    page = Page(7, 0.68 * len(texts), alt="")
    fills, rows = (ATTENTION, THINK, POSITION, TOKEN), []
    for row, text in enumerate(texts):
        ids, x, y = tokenizer.encode_ordinary(text), 0.1, 0.24 + 0.68 * row
        names = []
        for n, i in enumerate(ids):
            piece = tokenizer.decode_single_token_bytes(i)
            try:
                name = piece.decode().replace(" ", "·")
            except UnicodeDecodeError:
                name = piece.hex(" ").upper()
            width = 0.13 + max(0.0753 * len(name), 0.067 * len(str(i)))
            page.box(x + width / 2, y, width, 0.3, fill=fills[n % len(fills)])
            page.text(x + width / 2, y, name, "c", size=9, mono=True)
            page.text(x + width / 2, y + 0.26, str(i), "c", GREY, mono=True)
            x += width + 0.05
            names.append(f"{name} {i}")
        rows.append(f"{len(ids)} tokens: {', '.join(names)}")
    page.fig.alt = f"{len(texts)} texts cut into tokens, each with its id. {'; '.join(rows)}."
    return page.fig


def sizes(B, T):
    """Draw what the four published sizes cost. 7 x 2.8 inches.

    Left the parameters, right the bytes of an fp32 training step with B sequences of T tokens.
    """
    published = {name: config for name, config in SIZES.items() if name != "lite"}
    groups = {
        "embeddings": (("wte", "wpe"), COLORS["highlight"], ""),
        "attention": (("attn.c_attn", "attn.c_proj"), COLORS["ours"], "//"),
        "MLP": (("mlp.c_fc", "mlp.c_proj"), COLORS["validation"], ".."),
    }
    shades = {"weights": 1, "gradients": 0.72, "adamw": 0.46, "activations": 0.2}
    fig, (left, right) = figure("wide", ncols=2)
    totals, peaks, limit = {}, {}, T4_BYTES / 2**30
    right.axvline(limit, color=COLORS["validation"], linestyle="--", zorder=0.5)
    right.text(limit + 0.7, -0.65, f"a T4's {limit:.2f}", color=COLORS["validation"], va="center")
    for y, (name, config) in enumerate(published.items()):
        parts, memory, x = count_parameters(config), training_bytes(config, B, T), 0.0
        for group, (names, color, hatch) in groups.items():
            n = sum(parts[part] for part in names) / 1e6
            style = {"hatch": hatch, "edgecolor": "white", "linewidth": 0}
            left.barh(y, n, 0.6, x, color=color, label=group if y == 0 else None, **style)
            x += n
        totals[name] = parts["total"] / 1e6
        left.text(x + 30, y, f"{totals[name]:,.0f} M", va="center")
        x = 0.0
        for part, shade in shades.items():
            n = memory[part] / 2**30
            face = [1 - shade * (1 - c) for c in to_rgb(COLORS["ours"])]  # paler, opaque
            right.barh(y, n, 0.6, x, color=face, label=part if y == 0 else None)
            x += n
        peaks[name] = x
        # Right of the line too, or it would run through the number
        right.text(max(x, limit) + 0.9, y, f"{x:.1f} GiB", va="center")
    inside = sum(peak <= limit for peak in peaks.values())
    left.set(title="The MLPs are the largest part", xlabel="parameters (millions)", xlim=(0, 2000))
    right.set(title=f"Counted: {inside} of {len(peaks)} stay below a T4", xlim=(0, 1.25 * x))
    right.set_xlabel(f"memory (GiB), fp32, B = {B}, T = {T:,}")
    for ax in (left, right):
        ax.set_yticks(range(len(published)), published if ax is left else [""] * len(published))
        ax.set_ylim(len(published) - 0.5, -0.95)
        style = {"handlelength": 1.1, "columnspacing": 0.9, "handletextpad": 0.4}
        ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=4, fontsize=8, **style)
    fig.alt = (
        "Two bar charts of the four published sizes. Parameters, in millions, by embeddings, "
        f"attention and MLP: {', '.join(f'{k} {v:,.0f}' for k, v in totals.items())}. Memory of "
        f"an fp32 training step with {B} sequences of {T:,} tokens, in GiB, by weights, "
        f"gradients, AdamW and activations: {', '.join(f'{k} {v:.1f}' for k, v in peaks.items())}. "
        f"A dashed line marks the {limit:.2f} GiB of a T4."
    )
    return fig


def step_curve(run):
    """Draw the loss of a recorded step, "step1" to "step3", with the original's points. 3.6 x 3.6.

    Raises ValueError for a run that the original hasn't.
    """
    if run not in ORIGINAL:
        raise ValueError(f"the original has no {run!r}; choose one of {', '.join(ORIGINAL)}")
    head, losses = _log(run)
    printed, tenth = ORIGINAL[run], len(losses) // 10
    half_life, end = (20 if len(losses) > 100 else 0), sum(losses[-tenth:]) / tenth
    fig, ax = figure("square")
    loss_curve(ax, range(len(losses)), losses, half_life)
    reference_line(ax, math.log(head["model"]["vocab_size"]), "ln V: all tokens equally likely")
    ring = {"color": COLORS["baseline"], "marker": "o", "markersize": 7, "fillstyle": "none"}
    marks = {
        "ours at the same steps": (losses, {"color": COLORS["ours"], "marker": "o"}),
        "the original": (printed, ring),
    }
    if run == "step1":
        diamond = {"color": COLORS["highlight"], "marker": "D"}
        marks["ours, head not tied"] = (_log("step1_untied")[1], diamond)
    for row, (text, (values, look)) in enumerate(marks.items()):
        y, look = 0.84 - 0.07 * row, {"linestyle": "none", "markersize": 3.4} | look
        ax.plot(list(printed), [values[step] for step in printed], **look)
        ax.plot(0.96, y + 0.012, transform=ax.transAxes, **look)
        ax.text(0.92, y, text, color=look["color"], transform=ax.transAxes, ha="right")
    ax.set(xlabel="step", ylabel="loss (nats / token)", xlim=(-0.03 * len(losses), len(losses)))
    ax.set_title(f"Step {run[-1]}: from {losses[0]:.2f} to {end:.2f}")

    def apart(values):
        return [abs(values[step] - loss) for step, loss in printed.items()]

    fig.alt = (
        f"Loss of step {run[-1]} by step, from {losses[0]:.2f} to {end:.2f}, the mean of the last "
        f"{tenth} steps; single steps lie between {min(losses):.2f} and {max(losses):.2f}. Ten "
        f"steps are marked: there ours and the original's are {sum(apart(losses)) / 10:.2f} apart "
        f"on average, at most {max(apart(losses)):.2f}."
    )
    if run == "step1":
        untied = max(apart(marks["ours, head not tied"][0]))
        fig.alt += f" With a head that is not tied to the embedding, at most {untied:.2f}."
    return fig


def _log(run):
    """Return the header and the losses of a recorded run."""
    head, *records = map(json.loads, recorded(run).read_text(encoding="utf-8").splitlines())
    return head, [record["loss"] for record in records]


# The README's pictures.
PICTURES = {
    "gpt2": gpt2,
    "gpt2_ff": forward_pass,
    "s1": lambda: step_curve("step1"),
    "s2": lambda: step_curve("step2"),
    "s3": lambda: step_curve("step3"),
}


def main(folder="images"):
    """Write the README's pictures into `folder`, the same bytes each time."""
    for name, draw in PICTURES.items():
        path = Path(folder) / f"{name}.png"
        path.write_bytes(to_png(draw(), dpi=300))
        print(path)


if __name__ == "__main__":
    main()
