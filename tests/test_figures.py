"""The pictures: all text can be read, each has an alt text, the committed ones are current."""

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from gpt2lite import SIZES, plotting
from gpt2lite.config import TrainConfig
from gpt2lite.course import figures
from gpt2lite.course.canvas import Canvas
from gpt2lite.course.figures.__main__ import PICTURES
from gpt2lite.course.floats import FORMATS, keep
from gpt2lite.course.ladder import KINDS
from gpt2lite.evaluation import TextScore
from gpt2lite.model import GPT
from gpt2lite.optim import learning_rate
from gpt2lite.tokenizer import get_tokenizer

ROOT = Path(__file__).parents[1]
WORDS = ["·to", "·be", "·or", "·not", "·to", "·be"]


def mixed(T):
    """Return attention weights (T, T): each token reads itself and its past alike."""
    return torch.ones(T, T).tril().softmax(-1).tril()


RUNGS = "fp32, explicit", "+ SDPA", "+ fused AdamW", "+ autocast bfloat16"
DEPTHS = ["embed", *(f"h.{i}" for i in range(12)), "ln_f"]
NAMES = "right", "attn.c_proj not transposed", "erf GELU", "all at position 0"
GAPS = {
    name: dict(zip(DEPTHS, [0.0] + [4e-7 * 1000**i] * 13, strict=True))
    for i, name in enumerate(NAMES)
}
HEADER = {  # of a file with two blocks
    "transformer.wte.weight": {"shape": [1500, 1000]},
    "transformer.h.0.mlp.c_fc.weight": {"shape": [500, 1000]},
    "transformer.h.0.ln_1.bias": {"shape": [5000]},
    "transformer.h.1.mlp.c_fc.weight": {"shape": [500, 1000]},
}

STDS = {
    "GPT-2": {"wte": 0.02, "wpe": 0.01, "attn.c_attn": 0.02, "mlp.c_proj": 0.006},
    "PyTorch": {"wte": 1.0, "wpe": 1.0, "attn.c_attn": 0.0208, "mlp.c_proj": 0.0104},
}
THREE = "GPT-2", "GPT-2, no factor", "PyTorch, linear"
FIVE = (*THREE, "GPT-2, wpe at 0.02", "linear, wpe at 0.01")
BELL = np.random.default_rng(0).normal(0, 0.5, 2000)
SIGMAS, LOSSES = (0.01, 0.05, 0.1, 0.5, 1.0), (10.9, 11.8, 25.0, 339.0, 745.0)
RACE = {name: np.full((5, 60), 9.0) + 0.1 * i + BELL[:60] * i for i, name in enumerate(FIVE)}
COSINE = TrainConfig(steps=300, lr=3e-3, min_lr=3e-4, warmup_steps=30)


SCORES = {
    "training": TextScore(389.0, 100, 328),
    "validation": TextScore(459.0, 100, 328),
    "the manual": TextScore(1120.0, 100, 362),
}
ROWS = [("per token", 28.6, 0.45), ("per character", 31.1, None), ("per byte", None, None)]


DRAWINGS = {
    **{f"gpt2 {size}": lambda size=size: figures.gpt2(SIZES[size]) for size in SIZES},
    **{f"map {name}": lambda name=name: figures.course_map(name) for name in figures.STATIONS},
    "forward pass": figures.forward_pass,
    "forward pass lite": lambda: figures.forward_pass(SIZES["lite"]),
    "conv1d": figures.conv1d_transpose,
    "conv1d xl": lambda: figures.conv1d_transpose(SIZES["gpt2-xl"]),
    "mask": figures.causal_mask,
    "heads": figures.heads_split,
    "heads xl": lambda: figures.heads_split(SIZES["gpt2-xl"]),
    "cache": figures.kv_cache,
    "tokens": lambda: figures.token_strip("Hello World ! I'm LLM", "naïve"),
    "targets": figures.targets,
    "targets long": lambda: figures.targets("architecture is destiny: 東 is three"),
    "embeddings": lambda: figures.embeddings(dict.fromkeys("abc", torch.randn(6, 20)), WORDS),
    "one map": lambda: figures.attention_maps({"a head": mixed(6)}, WORDS),
    "two maps": lambda: figures.attention_maps({"divided": mixed(6), "not": mixed(6)}, WORDS),
    "three maps": lambda: figures.attention_maps(dict.fromkeys("abc", mixed(12)), 2 * WORDS),
    "bits": lambda: figures.bits({"with GELU": [0.5] * 9 + [0.0], "without": [0.5, 0.16] * 5}),
    "file": lambda: figures.file_sizes(HEADER),
    "differences": lambda: figures.differences(GAPS, dict.fromkeys(GAPS, 3.2942)),
    "token losses": lambda: figures.token_losses(WORDS, [15.0, 2.5, 0.04, 0.0, 1.8, 25.1]),
    "text losses": lambda: figures.text_losses(SCORES, 10.82),
    "one text": lambda: figures.text_losses({"the manual": TextScore(300.0, 100, 300)}, 10.82),
    "intervals": lambda: figures.intervals(ROWS, "Four of six ways", "score (%)"),
    "with a line": lambda: figures.intervals(3 * ROWS[:2], "Two", "score (%)", ("chance", 25.0)),
    "decoding": lambda: figures.decoding_times([20, 130], [2.0, 10.0], [4.0, 4.5]),
    "rounding": figures.rounding_errors,
    "sixteen bits": figures.sixteen_bits,
    "gradients": lambda: figures.gradient_sizes(2.0 ** (torch.randn(9000) - 25), 0.9),
    "loss scale": lambda: figures.loss_scale([(5.0, 2.0**30, True), (4.0, 2.0**29, False)] * 40),
    "ladder": lambda: figures.ladder(
        dict(zip(RUNGS, (448.0, 505.0, 1545.0, 346.0), strict=True)),
        dict.fromkeys(RUNGS[1:], 3e-7),
        dict.fromkeys(RUNGS, 1e-5),
        RUNGS[3:],
    ),
    "profiles": lambda: figures.profiles(
        dict.fromkeys(("fp32, explicit", "+ padded V"), dict.fromkeys((*KINDS, "other"), 9.0))
    ),
    "standard deviations": lambda: figures.standard_deviations(STDS),
    "first losses": lambda: figures.first_losses(
        BELL, 0.5, (0, 0.02, 0.04), (10.8, 11, 11.4), 50257, 768
    ),
    "own logits": lambda: figures.own_logits(
        {name: (10**i * BELL, -(0.2**i) * 10**i) for i, name in enumerate(THREE)}
    ),
    "loss by std": lambda: figures.loss_by_std(SIGMAS, LOSSES, (1, 4, 25, 339, 745), 50257, 768),
    "ends by depth": lambda: figures.ends_by_depth(
        (2, 8, 32), {"GPT-2": (0.07, 0.07, 0.07), "GPT-2, no factor": (0.13, 0.28, 0.6)}
    ),
    "by depth": lambda: figures.by_depth(*3 * [dict(zip(THREE, np.eye(3) + 0.1, strict=True))]),
    "paired runs": lambda: figures.paired_runs(RACE, 2.78, half_life=4),
    "schedules": lambda: figures.schedules(
        {"cosine": COSINE, "cooldown": replace(COSINE, min_lr=None, cooldown_steps=60)}
    ),
    "clipped": lambda: figures.clipped([6.0, 2.0, *[0.8] * 90, 1.1, *[0.7] * 20], 1.0, 10),
    "sweep": lambda: figures.sweep({3e-2: [2.7, 2.8], 3e-4: [3.0, 3.0], 3e-3: [2.4, 2.4]}),
    "overfitting": lambda: figures.overfitting(
        {"none": [[6, 5.5, 7]], "some": [[6.2, 6, 6.1]]}, 10, [6, 5, 4], "It rises"
    ),
    "decoding close": lambda: figures.decoding_times([9, 10], [4.0, 4.1], [4.0, 4.0]),
}


def texts(fig):
    """Return all texts that are seen: matplotlib has labels of ticks beyond an axis' end too."""
    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [
        (tick, sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()
    ]
    beyond = {tick.label1 for tick, (low, high) in ticks if not low <= tick.get_loc() <= high}
    found = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in found if t not in beyond]
    """Return the texts that are drawn: matplotlib keeps labels of ticks outside the axes too."""
    unseen = {
        tick.label1
        for ax in fig.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found = fig.findobj(Text)
    return [t for t in found if t not in unseen and t.get_visible() and t.get_text().strip()]


def faults(fig):
    """List the texts that leave the page or touch another text."""
    fig.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(fig)]
    page = fig.bbox.padded(1)
    corners = [(a, corner) for a, box in boxes for corner in (box.min, box.max)]
    found = [f"{a!r} leaves the page" for a, corner in corners if not page.contains(*corner)]
    pairs = combinations(boxes, 2)
    return found + [f"{a!r} touches {b!r}" for (a, x), (b, y) in pairs if x.overlaps(y)]


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_every_text_can_be_read(draw):
    fig = draw()
    assert faults(fig) == []
    assert min(t.get_fontsize() for t in texts(fig)) >= 8
    assert len(fig.alt) > 60


def test_the_fault_finder_finds_faults():
    page = Canvas(2, 2, "three texts")
    page.text(0.5, 1, "left")
    page.text(0.6, 1.05, "over it")
    page.text(1.8, 1.5, "too long for the page")
    assert faults(page.fig) == [
        "'too long for the page' leaves the page",
        "'left' touches 'over it'",
    ]


def picture(fig, dpi=100):
    return Image.open(io.BytesIO(plotting.to_png(fig, dpi=dpi)))


def difference(a, b):
    """Return how far two pictures are apart at their worst spot, 0 to 255, seen from a distance.

    Another matplotlib draws letters a pixel aside (up to 17); a missing word makes 29 or more.
    """
    sizes = {(63, round(63 * image.height / image.width)) for image in (a, b)}
    if len(sizes) > 1:
        return 255
    a, b = (np.asarray(image.convert("L").resize(*sizes), float) for image in (a, b))
    return np.abs(a - b).max()


COMMITTED = PICTURES


@pytest.mark.parametrize("name, draw", COMMITTED.items(), ids=COMMITTED)
def test_committed_picture_is_what_the_code_draws(name, draw):
    committed, now = Image.open(ROOT / "images" / f"{name}.png"), picture(draw(), dpi=300)
    advice = f"images/{name}.png is out of date: run `python -m gpt2lite.course.figures`"
    assert committed.text["Description"] == now.text["Description"], advice
    assert difference(committed, now) < 24, advice
    assert plotting.to_png(draw()) == plotting.to_png(draw())


def test_a_missing_word_is_a_different_picture():
    before, after = figures.gpt2(), figures.gpt2()
    next(t for t in texts(after) if t.get_text() == "ln_1").set_visible(False)
    assert difference(picture(before), picture(after)) > 24
    assert difference(picture(before), picture(figures.gpt2(SIZES["lite"]))) > 24


def test_numbers_are_those_of_the_model_and_the_tokenizer():
    config = SIZES["lite"]
    drawn = {t.get_text() for t in texts(figures.gpt2(config))}
    sizes = [p.numel() for p in GPT(config).parameters()]
    assert f"{sum(sizes):,} parameters in {len(sizes)} tensors" in drawn
    assert f"{sum(sizes):,}" in drawn
    drawn = {t.get_text() for t in texts(figures.forward_pass())}
    assert {"15496", "2159", "5145", "314", "1101", "27140", "44"} <= drawn


def test_all_panels_share_one_colour_scale():
    low, high = torch.randn(6, 20), 5 * torch.randn(6, 20)
    maps = figures.embeddings({"low": low, "high": high}, WORDS).axes[:2]
    top = high[:, :16].abs().max().item()
    assert [ax.images[0].get_clim() for ax in maps] == [pytest.approx((-top, top))] * 2
    maps = figures.attention_maps({"a": mixed(6), "b": torch.eye(6)}, WORDS).axes
    assert [ax.images[0].get_clim() for ax in maps] == [(0, 1)] * 2


def test_alt_texts_say_what_the_tensors_hold():
    apart = torch.randn(6, 20)
    twins = apart[[0, 1, 2, 3, 0, 1]]  # as in " to be or not to be"
    fig = figures.embeddings({"twins": twins, "apart": apart}, WORDS)
    assert "the same in twins; in the others" in fig.alt
    fig = figures.attention_maps({"sure": torch.eye(6), "even": mixed(6)}, WORDS)
    assert "sure: the largest weight of a row is 1.00" in fig.alt
    assert "with to 0.000" in figures.bits({"with": [1.0, 0.0], "without": [1.0, 0.2]}).alt
    sizes = "wte.weight 6.00 MB, mlp.c_fc.weight 4.00 MB, biases, LayerNorms 0.02 MB"
    assert sizes in figures.file_sizes(HEADER).alt
    fig = figures.differences({"wrong": {"embed": 0.0, "ln_f": 0.5}}, {"wrong": 3.25})
    assert "wrong: from 0e+00 to 5e-01, loss 3.2500" in fig.alt
    fig = figures.decoding_times([1, 8], [2.0, 9.0], [2.0, 3.0])
    assert "3.0 × as fast" in fig.get_suptitle() and "9.0 ms without a cache and 3.0" in fig.alt
    assert "·I → 'm" in figures.targets().alt and "7 tokens" in figures.targets().alt


def test_scores_say_what_is_drawn():
    assert "On the manual: worse" in figures.text_losses(SCORES, 10.82).get_suptitle()
    assert "On the manual: better" in figures.text_losses(SCORES, 11.3).get_suptitle()
    alt = figures.intervals(ROWS, "Six ways", "score (%)").alt
    assert "per token 28.6 ± 0.9, per character 31.1, per byte not published" in alt
    ends = figures.intervals([("a", 99.0, 2.0), ("b", 1.0, 2.0)], "", "").axes[0].lines[::2]
    drawn = [tuple(line.get_xdata()) for line in ends]
    assert drawn == [pytest.approx((95.08, 100)), pytest.approx((0, 4.92))], "no score is beyond"
    for error, label in ((2.0, "; the line is the 95 % interval"), (None, "")):
        fig = figures.intervals([("a", 50.0, error)], "", "score (%)")
        assert fig.axes[0].get_xlabel() == f"score (%){label}"
    fig = figures.token_losses(WORDS, [15.0, 2.5, 0.04, 0.0, 1.8, 25.1])
    assert fig.get_suptitle() == "·be costs 25 of 44 bits"


def test_course_map_knows_every_notebook():
    names = list(figures.STATIONS)
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        number, name = path.stem.split("_", 1)
        assert names[int(number) - 1] == name
    with pytest.raises(ValueError, match="no notebook is called 'attention'.*architecture"):
        figures.course_map("attention")


def test_heatmap_is_white_at_zero():
    fig, (left, right) = plotting.figure("wide", ncols=2)
    attention = plotting.heatmap(left, [[1, 0], [0.5, 0.5]])
    diverging = plotting.heatmap(right, [[-2, 0], [0.5, 1]], kind="diverging")
    assert attention.to_rgba([0.0])[0].tolist() == [1, 1, 1, 1]
    assert diverging.get_clim() == (-2, 2)
    with pytest.raises(ValueError, match="attention"):
        plotting.heatmap(left, [[1]], kind="heat")


def test_show_gives_a_picture_with_its_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    fig, ax = plotting.figure("curve", title="A loss falls")
    line = ax.plot([3, 2, 1])[0]
    plotting.label_line(ax, 2, 1, "train", line.get_color())
    with pytest.raises(ValueError, match="alt text"):
        plotting.show(fig)
    plotting.show(fig, alt='from "3" to 1')
    assert shown[0]["text/html"].startswith(
        '<img alt="from &quot;3&quot; to 1" style="width:700px;'
    )
    plotting.show(fig, alt="a fall", folded="Open: how it falls")
    assert shown[1]["text/html"].startswith(
        "<details><summary>Open: how it falls</summary><img alt"
    )
    assert shown[0]["text/plain"] == 'from "3" to 1'
    assert len(shown[0]["text/html"]) < 40_000  # a notebook of ten pictures stays under 500 KB


def test_the_likeliest_tokens_say_what_is_cut():
    logits = torch.full((50257,), -10.0)
    logits[[262, 257, 198]] = torch.tensor([3.0, 2.0, 1.0])  # " the", " a", "\\n"
    rows, kept = figures.likeliest(logits, get_tokenizer(), top_k=2, n=3)
    assert kept == 2 and [row[0] for row in rows] == ["·the", "·a", r"\n"]
    assert [row[2] for row in rows] == [True, True, False]
    assert rows[0][1] + rows[1][1] == pytest.approx(1) and 0 < rows[2][1] < 0.1


def test_the_picture_beside_the_playground():
    logits = torch.linspace(5, -5, 50257)
    fig = figures.next_tokens(logits, get_tokenizer(), ({}, {"temperature": 0.5, "top_k": 3}))
    assert len(fig.axes) == 2 and "as it is: 50,257 tokens kept" in fig.alt
    assert "temperature 0.5, top-k 3: 3 tokens kept" in fig.alt
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim()


@pytest.mark.parametrize("number", [0.1, -4.9e-9, 70000, 16777217])
def test_the_drawing_can_be_read(number):
    fig = figures.float_layouts(number)
    assert faults(fig) == [] and min(t.get_fontsize() for t in texts(fig)) >= 8
    assert all(name in fig.alt for name in FORMATS)
    drawn = "".join(t.get_text() for t in texts(fig) if t.get_text() in ("0", "1"))
    kept = (keep(number, name) for name in FORMATS)
    assert drawn == "".join(k.sign + k.exponent + k.mantissa for k in kept)


def test_the_charts_of_notebook_06_say_what_they_show():
    cold = figures.sweep({3e-2: [2.7, 2.8], 3e-4: [3.0, 3.0], 3e-3: [2.4, 2.4]})
    assert "0.0003: 3.000, 0.003: 2.400, 0.03: 2.750" in cold.alt, "in the order of the rates"
    assert cold.axes[0].get_title(loc="left").startswith("Lowest on average: 0.003")
    norms = figures.clipped([6.0, 2.0, *[0.8] * 98], 1.0, 10)
    assert "2 steps pass the limit of 1, 2 of them in the first tenth" in norms.alt
    runs = {"none": [[6, 5.5, 7], [6, 6.5, 8]], "some": [[6.2, 6, 6.1], [6.2, 6, 6.1]]}
    named, unnamed = (
        figures.overfitting(runs, 10, [6, 5, 4], "It rises", names) for names in (True, False)
    )
    assert "none: lowest 5.75, 7.50 at the end" in named.alt, "the mean of each run's own"
    assert "from 6.00 to 4.00" in named.alt
    dots = [line.get_xdata()[0] for line in named.axes[0].lines if line.get_marker() == "o"]
    assert dots == [20, 10, 20, 20], "a dot where each run is lowest"
    assert "A: lowest 5.75" in unnamed.alt and "none" not in unnamed.alt, "the reader is to guess"
    assert [t.get_text() for t in unnamed.axes[0].get_legend().get_texts()] == ["A", "B"]
    rates = figures.schedules({"cosine": COSINE}).axes[0].lines[0].get_ydata()
    assert list(rates) == [learning_rate(step, COSINE) for step in range(300)]
