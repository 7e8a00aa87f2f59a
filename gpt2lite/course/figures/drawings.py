"""What is drawn: boxes, arrows and cells, with numbers that are computed, never typed.

Knows nothing about trained weights: where a drawing needs values, it takes those that follow from
equal scores, and says so. Coordinates are inches from the top left corner of the canvas. Long
because each drawing is one function, read beside its picture and alone.
"""

from itertools import pairwise

import torch

from gpt2lite.config import SIZES
from gpt2lite.course.canvas import (
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
    Canvas,
)
from gpt2lite.course.floats import FORMATS, keep
from gpt2lite.course.names import token_names
from gpt2lite.model import GPT
from gpt2lite.plotting import INCHES, heatmap
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
    canvas = Canvas(4.2, 7.4, alt)
    stream, side = 1.05, 2.02  # x of the residual stream, and of the boxes that add to it

    def row(y, name, size):
        canvas.text(2.6, y, name, mono=True)
        canvas.text(4.04, y, f"{size:,}", "r", GREY, mono=True)

    canvas.title(0.1, 0.2, f"GPT-2: {n} blocks add to one stream", size=11)
    canvas.text(0.1, 0.43, f"{total:,} parameters in {len(sizes)} tensors", color=GREY, size=8.5)
    for x, what, name, part, fill in (
        (stream, "token ids  (B, T)", "token", "wte", TOKEN),
        (3.1, "positions  0 … T−1", "position", "wpe", POSITION),
    ):
        canvas.text(x, 0.76, what, "c")
        canvas.line((x, 0.85), (x, 1.0))
        canvas.box(x, 1.22, 1.46, 0.42, fill=fill)
        canvas.text(x, 1.14, f"{name} embedding", "c")
        canvas.text(x, 1.31, f"{part} {count(part):,}", "c", GREY, mono=True)

    # The stream, and what adds to it
    canvas.line((stream, 1.43), (stream, 7.0), color=BLUE, width=2.6, head=False)
    canvas.line((3.1, 1.43), (3.1, 1.66), (stream + 0.1, 1.66))
    canvas.plus(stream, 1.66)
    canvas.box(2.21, 3.62, 3.82, 3.28, fill="#f8f8f8", edge=FAINT, zorder=1)
    canvas.title(4.04, 2.15, f"{n} ×  h.0 … h.{n - 1}", "r", size=9)
    canvas.text(4.04, 2.33, f"{count('h.0'):,} each", "r", GREY)
    heads = f"H = {config.n_head} heads, D = {config.head_dim}"
    attention, mlp = "causal\nmulti-head\nself-attention", "MLP\nC → 4C → C\nGELU"
    for y, norm, first, fill, text, note in (
        (2.6, "ln_1", "attn.c_attn", ATTENTION, attention, heads),
        (4.06, "ln_2", "mlp.c_fc", THINK, mlp, f"4C = {4 * config.n_embd:,}"),
    ):
        second = first.split(".")[0] + ".c_proj"
        canvas.line((stream, y), (side - 0.5, y))
        canvas.box(side, y, 1.0, 0.26, "LayerNorm")
        canvas.line((side, y + 0.13), (side, y + 0.29))
        canvas.box(side, y + 0.58, 1.0, 0.58, text, fill)
        canvas.line((side, y + 0.87), (side, y + 1.05), (stream + 0.1, y + 1.05))
        canvas.plus(stream, y + 1.05)
        for dy, name in ((0, norm), (0.41, first), (0.58, second)):
            row(y + dy, name, count(f"h.0.{name}"))
        canvas.text(2.6, y + 0.75, note, color=GREY)
    for y in (1.86, 3.86, 5.4):
        canvas.text(0.97, y, "(B, T, C)", "r", GREY)

    # Out of the stream
    canvas.box(stream, 5.68, 1.46, 0.26, "LayerNorm")
    canvas.box(stream, 6.16, 1.46, 0.3, "output head", TOKEN)
    canvas.text(0.97, 6.46, "(B, T, V)", "r", GREY)
    canvas.text(1.15, 6.46, "logits", color=GREY)
    canvas.box(stream, 6.76, 1.46, 0.26, "softmax")
    canvas.line((stream, 6.89), (stream, 7.09), color=BLUE, width=2.6)
    canvas.text(stream, 7.21, "probability of each next token", "c")
    tie = (0.32, 1.22), (0.15, 1.22), (0.15, 6.16), (0.32, 6.16)
    canvas.line(*tie, color=PURPLE, width=1.6, dash=(0, (3, 1.6)))
    paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 2}
    canvas.text(0.15, 3.62, "one matrix, used twice", "c", "#9c3f73", turned=True, bbox=paper)

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
    canvas.line((2.6, 7.085), (4.04, 7.085), width=0.8, head=False)
    return canvas.fig


def forward_pass(config=SIZES["gpt2"]):
    """Draw one sentence's way through the model, one column a token. 4.2 x 8.2 inches."""
    tokenizer = get_tokenizer()
    ids = tokenizer.encode_ordinary(SENTENCE)
    tokens = [tokenizer.decode([i]).replace(" ", "·") for i in ids]
    T, n, V = len(ids), config.n_layer, config.vocab_size
    alt = (
        f"The sentence {SENTENCE!r} on its way through GPT-2: {T} tokens with the ids "
        f"{', '.join(map(str, ids))} become {T} vectors of {config.n_embd} channels, token "
        f"embedding plus position embedding. In each of {n} blocks attention lets a position read "
        "those to its left, never those to its right, and the MLP works on each alone. A last "
        f"LayerNorm and the head turn each position into {V:,} logits, from which it guesses "
        "its next token. In dashed boxes stand the targets, the tokens that come next; the last "
        "position's is not in the sentence. Below, one head's attention with "
        "equal scores, a triangle whose row t holds weights 1/(t + 1), and the last guess, "
        f"1/{V:,} for each token."
    )
    canvas = Canvas(4.2, 8.2, alt)
    lanes = [0.34 + 0.455 * t for t in range(T)]
    middle, width = (lanes[0] + lanes[-1]) / 2, lanes[-1] - lanes[0] + 0.42

    def name(y, text, shape=""):
        canvas.text(4.12, y, text, "r")
        canvas.text(4.12, y + 0.16, shape, "r", GREY)

    # Text to vectors
    canvas.title(0.1, 0.2, f"{T} tokens in, {T} guesses out", size=11)
    canvas.box(middle, 0.62, width, 0.3, fill=PAPER)
    canvas.text(middle, 0.62, SENTENCE, "c", size=10)
    for x, token, i in zip(lanes, tokens, ids, strict=True):
        canvas.line((x, 0.77), (x, 0.93))
        canvas.box(x, 1.06, 0.42, 0.26, token)
        canvas.text(x, 1.32, str(i), "c", GREY, mono=True)
        canvas.line((x, 1.42), (x, 1.56))
        canvas.cells(x - 0.11, 1.58, 4, TOKEN)
        canvas.text(x, 1.78, "+", "c", size=9)
        canvas.cells(x + 0.11, 1.58, 4, POSITION)
    name(0.62, "text")
    name(1.06, "tokens")
    name(1.32, f"ids (1, {T})")
    name(1.7, "wte + wpe", f"(1, {T}, {config.n_embd})")

    # The first of the equal blocks in front, the others behind it
    for depth in reversed(range(n)):
        x, y, edge = middle + 0.216 / n * depth, 2.95 - 0.216 / n * depth, FAINT if depth else LINE
        canvas.box(x, y, width + 0.06, 1.06, "", PAPER, edge, 0.7, zorder=1 - depth / n)
    for t, x in enumerate(lanes):
        canvas.line((x, 1.99), (x, 3.72), color=BLUE, width=2)
        last = t == T - 1
        for past in lanes[:t]:
            look = {"color": PURPLE, "zorder": 1.6} if last else {"color": "#a9cde4", "zorder": 1.5}
            canvas.line((past, 2.55), (x, 2.86), head=False, **look)
        canvas.box(x, 3.16, 0.26, 0.22, fill=THINK)

        # Each position guesses the next token; the sentence itself holds all targets but the last
        canvas.box(x, 3.81, 0.26, 0.18)
        canvas.line((x, 3.9), (x, 4.03))
        canvas.box(x, 4.14, 0.34, 0.22, fill=TOKEN)
        canvas.line((x, 4.25), (x, 4.38))
        canvas.cells(x, 4.38, 6, TOKEN, 0.09)
        canvas.line((x, 4.92), (x, 5.1))
        guess, fill = ("?", PURPLE) if last else (tokens[t + 1], PAPER)
        canvas.box(x, 5.24, 0.42, 0.26, guess, fill, linestyle="-" if last else (0, (2, 1.5)))
    name(2.3, f"{n} blocks")
    name(2.7, "attention", "looks left")
    name(3.08, "MLP", "per token")
    name(3.81, "ln_f")
    name(4.14, "head", "wte, again")
    name(4.58, "logits", f"(1, {T}, {V})")
    name(5.24, "targets:", "next tokens")

    # Two details, with equal scores
    canvas.title(0.1, 5.8, "one head of attention", size=9)
    canvas.text(0.1, 5.98, "a row reads itself and its past", color=GREY)
    inset = canvas.fig.add_axes((0.64 / 4.2, 0.3 / 8.2, 1.35 / 4.2, 1.35 / 8.2))
    heatmap(inset, torch.ones(T, T).tril().log().softmax(-1), rows=tokens, columns=tokens)
    inset.tick_params(labelsize=8, pad=2)
    for t in range(T):
        canvas.text(2.05, 6.55 + 1.35 / T * (t + 0.5), f"1/{t + 1}" if t else "1", color=GREY)
    canvas.line((lanes[-1], 5.37), (lanes[-1], 5.68))
    canvas.title(4.12, 5.8, "the last guess", "r", size=9)
    canvas.text(4.12, 5.98, f"softmax: 1/{V:,} each", "r", GREY)
    for r, i in enumerate((0, 1, 2, None, ids[0], None, V - 1)):
        y = 6.5 + 0.222 * r
        canvas.text(3.36, y, "…" if i is None else tokenizer.decode([i]), "r", mono=True)
        if i is not None:
            canvas.rect(3.46, y - 0.06, 0.66, 0.12, PURPLE, line=0)
    canvas.text(0.1, 8.06, "Both drawn with equal scores: nothing is learned yet.", color=GREY)
    return canvas.fig


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
    canvas = Canvas(*INCHES["wide"], alt)

    def edge(name):
        return {"edge": INK, "line": 1.6} if name == lit else {"edge": FAINT, "line": 0.8}

    # The bug clinic watches all of it; the GPT-2 inside is embeddings, blocks, head
    canvas.box(
        3.5, 1.48, 6.8, 2.44, "", PAPER, linestyle=(0, (4, 2)), zorder=0, **edge("bug_clinic")
    )
    canvas.box(3.2, 1.4, 2.3, 0.82, "", "#f8f8f8", zorder=1, **edge("architecture"))
    canvas.rect(2.255, 1.07, 0.05, 0.29, TOKEN, line=0.5)
    for i in range(2 * SIZES["gpt2"].n_layer):
        canvas.rect(2.415 + 0.066 * i, 1.07, 0.05, 0.29, THINK if i % 2 else ATTENTION, line=0.5)
    canvas.rect(4.095, 1.07, 0.05, 0.29, TOKEN, line=0.5)

    # Forward along the middle, backward along the bottom
    for x, text in ((0.5, "text"), (1.36, "tokens"), (4.94, "logits")):
        canvas.text(x, 1.4, text, "c", size=9)
    for start, end in ((0.7, 1.06), (1.66, 2.02), (4.38, 4.66), (5.22, 5.47)):
        canvas.line((start, 1.4), (end, 1.4))
    for x, start, end in (
        (2.5, 0.78, 0.97),
        (3.6, 0.78, 0.97),
        (4.94, 1.27, 0.8),
        (3.2, 2.12, 1.83),
    ):
        canvas.line((x, start), (x, end))
    canvas.line((6.1, 1.58), (6.1, 2.3), (5.8, 2.3))
    for start, end in ((4.22, 3.95), (1.81, 2.45)):
        canvas.line((start, 2.3), (end, 2.3))
    canvas.text(6.18, 2.0, "gradients", color=GREY)
    canvas.text(3.28, 1.99, "new weights", color=GREY)
    for number, (name, (label, x, y, width)) in enumerate(STATIONS.items(), 1):
        on = name == lit
        canvas.box(x, y, width, 0.34, "", PURPLE if on else PLAIN, **edge(name))
        canvas.text(x, y, f"{number}  {label}", "c", size=9, weight="bold" if on else "normal")
    return canvas.fig


def conv1d_transpose(config=SIZES["gpt2"]):
    """Draw why GPT-2's stored matrices are transposed on loading. 7 x 2.8 inches."""
    C, out = config.n_embd, 3 * config.n_embd
    alt = (
        f"The weight of attn.c_attn twice: as Hugging Face's Conv1D stores it, {C:,} rows for the "
        f"inputs and {out:,} columns for the outputs, and as nn.Linear keeps it, {out:,} rows and "
        f"{C:,} columns. One is the other's transpose: the weights of input 0, marked in purple, "
        "are the first row in one and the first column in the other."
    )
    canvas = Canvas(*INCHES["wide"], alt)
    canvas.title(1.75, 0.25, "Conv1D, in the file", "c")
    canvas.rect(0.93, 1.12, 1.65, 0.55, ATTENTION)
    canvas.rect(0.93, 1.12, 1.65, 0.09, PURPLE)
    canvas.text(0.83, 1.42, f"in\n{C:,}", "r")
    canvas.text(1.75, 0.99, f"out {out:,}", "c")
    canvas.text(1.75, 2.55, "y = x W + b", "c", size=9)
    canvas.line((3.05, 1.42), (4.15, 1.42), width=1.6)
    canvas.text(3.6, 1.27, "A = Wᵀ", "c", size=10)
    canvas.text(3.6, 1.6, "input 0, marked", "c", "#9c3f73")
    canvas.title(5.4, 0.25, "nn.Linear, in the model", "c")
    canvas.rect(5.13, 0.62, 0.55, 1.65, ATTENTION)
    canvas.rect(5.13, 0.62, 0.09, 1.65, PURPLE)
    canvas.text(5.03, 1.42, f"out\n{out:,}", "r")
    canvas.text(5.4, 0.49, f"in {C:,}", "c")
    canvas.text(5.4, 2.55, "y = x Aᵀ + b", "c", size=9)
    return canvas.fig


def causal_mask(T=6):
    """Draw what each of `T` tokens may read. 3.6 x 3.6 inches."""
    alt = (
        f"A square of {T} by {T} cells: row t, the reading token, may read the columns 0 to t, "
        "which are blue. The cells above the diagonal are its future: their score is minus "
        "infinity, so their weight is exactly 0."
    )
    canvas = Canvas(*INCHES["square"], alt)
    canvas.title(0.1, 0.18, "No token reads its future")
    canvas.text(2.05, 0.47, "token s, being read", "c")
    canvas.text(0.3, 2.15, "token t, reading", "c", turned=True)
    side = 2.6 / T
    for t in range(T):
        canvas.text(0.63, 0.85 + side * (t + 0.5), str(t), "r")
        canvas.text(0.75 + side * (t + 0.5), 0.71, str(t), "c")
        for s in range(T):
            x, y = 0.75 + side * s, 0.85 + side * t
            canvas.rect(x, y, side, side, ATTENTION if s <= t else PAPER)
            canvas.text(x + side / 2, y + side / 2, "" if s <= t else "−∞", "c", GREY)
    return canvas.fig


def heads_split(config=SIZES["gpt2"]):
    """Draw how (B, T, 3C) becomes the queries, keys and values of H heads. 7 x 2.8 inches."""
    H, D, C = config.n_head, config.head_dim, config.n_embd
    alt = (
        f"Left, the output of c_attn, T rows by 3C = {3 * C:,} columns, in three thirds q, k and "
        f"v. Middle, q alone, its C = {C:,} columns cut into H = {H} heads of D = {D}. Right, the "
        "heads one behind the other, (B, H, T, D), so that each attends on its own."
    )
    canvas = Canvas(*INCHES["wide"], alt)
    for x, title, note, shape in (
        (1.3, "one matrix product", f"3C = {3 * C:,}", "(B, T, 3C)"),
        (3.6, "q, cut into heads", f"C = {H} × {D}", "(B, T, H, D)"),
        (5.85, "each head apart", f"D = {D}", "(B, H, T, D)"),
    ):
        canvas.title(x, 0.35, title, "c", size=9)
        canvas.text(x, 0.61, note, "c")
        canvas.text(x, 2.45, shape, "c", size=9)
    for i, (part, fill) in enumerate({"q": ATTENTION, "k": POSITION, "v": THINK}.items()):
        canvas.rect(0.4 + 0.6 * i, 1.0, 0.6, 1.0, fill)
        canvas.text(0.7 + 0.6 * i, 1.5, part, "c", size=11)
    canvas.text(0.3, 1.5, "T", "r")
    canvas.line((2.3, 1.5), (2.9, 1.5), width=1.4)
    canvas.line((4.3, 1.5), (5.15, 1.5), width=1.4)
    for h in range(H):
        fill, behind = ATTENTION if h else BLUE, 0.6 / H * h
        canvas.rect(3.0 + 1.2 / H * h, 1.0, 1.2 / H, 1.0, fill)
        canvas.rect(5.3 + behind, 1.14 - behind / 2, 0.5, 1.0, fill, zorder=3 - h / H)
    return canvas.fig


def kv_cache(steps=6):
    """Draw which tokens each of `steps` steps computes, without and with a cache. 7 x 2.8."""
    without, cached = sum(range(1, steps + 1)), steps
    alt = (
        f"Two triangles of {steps} rows, one row a generated token. Without a cache each step "
        f"computes all tokens so far, {without} in all. With a cache it computes one, {cached} in "
        "all, and reads the keys and values that were kept of the others."
    )
    canvas = Canvas(*INCHES["wide"], alt)
    side = 1.75 / steps
    for left, name, total in ((0.95, "without", without), (4.4, "with", cached)):
        canvas.title(left, 0.28, f"{name} a cache: {total} computed")
        canvas.text(left, 2.58, "token 0, 1, 2, …", color=GREY)
        for t in range(steps):
            canvas.text(left - 0.1, 0.62 + side * (t + 0.45), f"step {t + 1}", "r")
            for s in range(t + 1):
                fill = BLUE if s == t or name == "without" else PAPER
                x, y = left + side * s, 0.62 + side * t
                canvas.rect(x, y, side * 0.88, side * 0.88, fill, BLUE)
    for y, fill, text in ((0.85, BLUE, "computed"), (1.1, PAPER, "kept")):
        canvas.rect(6.15, y - 0.06, 0.12, 0.12, fill, BLUE)
        canvas.text(6.33, y, text)
    return canvas.fig


def token_strip(*texts):
    """Draw texts cut into tokens, each with its id. 7 inches wide.

    A space is shown as "·", bytes that are no whole character in hexadecimal.
    """
    tokenizer = get_tokenizer()
    canvas = Canvas(7, 0.68 * len(texts), alt="")
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
            canvas.box(x + width / 2, y, width, 0.3, fill=fills[n % len(fills)])
            canvas.text(x + width / 2, y, name, "c", size=9, mono=True)
            canvas.text(x + width / 2, y + 0.26, str(i), "c", GREY, mono=True)
            x += width + 0.05
            names.append(f"{name} {i}")
        rows.append(f"{len(ids)} tokens: {', '.join(names)}")
    canvas.fig.alt = f"{len(texts)} texts cut into tokens, each with its id. {'; '.join(rows)}."
    return canvas.fig


def targets(text=SENTENCE):
    """Draw what the model learns: at each position, the token after it. 7 x 1.7 inches."""
    names = token_names(get_tokenizer().encode_ordinary(text))
    T = len(names)
    pairs = ", ".join(f"{a} → {b}" for a, b in pairwise(names))
    alt = (
        f"The {T} tokens of {text!r} in two rows. Above, the inputs: all but the last. Below, the "
        f"targets: all but the first, so that under each input stands the token after it: {pairs}."
    )
    canvas = Canvas(7, 1.7, alt)
    canvas.title(0.1, 0.2, f"{T} tokens make {T - 1} inputs and {T - 1} targets")
    canvas.text(6.85, 0.2, "grey arrow: the same token", "r", GREY)
    step = 5.9 / (T - 1)
    for t, (name, after) in enumerate(pairwise(names)):
        x = 1.0 + step * (t + 0.5)
        canvas.text(x, 0.5, str(t), "c", GREY)
        canvas.box(x, 0.75, step - 0.12, 0.28, name)
        canvas.line((x, 0.91), (x, 1.19))
        canvas.box(x, 1.35, step - 0.12, 0.28, after, TOKEN)
        if t:  # the same token, one position earlier
            canvas.line((x - 0.12, 0.91), (x - step + 0.12, 1.19), color=FAINT)
    for y, name in ((0.5, "position t"), (0.75, "input"), (1.35, "target")):
        canvas.text(0.85, y, name, "r", GREY if y == 0.5 else INK)
    return canvas.fig


def float_layouts(number: float = 0.1):
    """Draw the bits that three formats keep of a number. 7 x 2.8 inches."""
    canvas = Canvas(*INCHES["wide"], "")
    canvas.title(0.1, 0.18, "bf16 has fp32's exponent, fp16 has more mantissa")
    told, side = [], 0.18
    for row, (name, (dtype, *widths)) in enumerate(FORMATS.items()):
        found, y = keep(number, name), 0.62 + 0.78 * row
        canvas.title(0.1, y, name, size=9)
        x = 0.72
        parts = zip(
            ("sign", "exponent", "mantissa"),
            (1, *widths),
            (TOKEN, POSITION, ATTENTION),
            strict=True,
        )
        for part, width, fill in parts:
            for i, bit in enumerate(getattr(found, part)):
                canvas.rect(x + side * i, y - 0.1, side, 0.2, fill)
                canvas.text(x + side * (i + 0.5), y, bit, "c", mono=True)
            label = "±" if part == "sign" else f"{part} {width}"
            canvas.text(x + side * width / 2, y - 0.21, label, "c", GREY)
            x += side * width
        largest, smallest = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
        full = f"in full precision from {smallest:.1e} to {largest:.1e}"
        note = f"{number:g} becomes {found.value:.12g}  ·  {full}"
        canvas.text(0.72, y + 0.25, note, color=GREY)
        told.append(
            f"{name}: 1 sign, {widths[0]} exponent and {widths[1]} mantissa bits, {found.sign} "
            f"{found.exponent} {found.mantissa}; {note.replace('  ·  ', ', ')}"
        )
    canvas.fig.alt = f"The bits of {number:g} in three formats. {'. '.join(told)}."
    return canvas.fig
