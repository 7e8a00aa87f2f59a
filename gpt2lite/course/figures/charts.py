"""What is plotted: numbers on axes, with a title that says what they show.

A chart brings its alt text along as `fig.alt`. Knows nothing about where a run came from.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

from gpt2lite.accounting import T4_BYTES, count_parameters, training_bytes
from gpt2lite.config import SIZES
from gpt2lite.course.names import token_name
from gpt2lite.course.records import ORIGINAL, recorded
from gpt2lite.log import read_log
from gpt2lite.plotting import COLORS, along, figure, loss_curve, reference_line, smooth
from gpt2lite.sampling import probabilities

AXES = {"steps": "step", "tokens": "tokens read", "minutes": "time (minutes)"}
LOOKS = [
    (COLORS["ours"], "-"),
    (COLORS["validation"], "--"),
    (COLORS["reference"], "-."),
    (COLORS["highlight"], ":"),
    (COLORS["baseline"], (0, (5, 1, 1, 1, 1, 1))),
]


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
            style = {"hatch": hatch, "edgecolor": "white", "linewidth": 0.8}
            left.barh(y, n, 0.6, x, color=color, label=group if y == 0 else None, **style)
            x += n
        totals[name] = parts["total"] / 1e6
        left.text(x + 30, y, f"{totals[name]:,.0f} M", va="center")
        x = 0.0
        for part, shade in shades.items():
            n = memory[part] / 2**30
            face = [1 - shade * (1 - c) for c in to_rgb(COLORS["ours"])]  # paler, opaque
            style = {"edgecolor": "white", "linewidth": 0.8}
            right.barh(y, n, 0.6, x, color=face, label=part if y == 0 else None, **style)
            x += n
        peaks[name] = x
        # A number that the line would run through stands right of the line
        crossed = x < limit < x + 6
        right.text((limit if crossed else x) + 0.9, y, f"{x:.1f}", va="center")
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
    head, records = read_log(recorded(run))
    losses = [record["loss"] for record in records]
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
        _, records = read_log(recorded("step1_untied"))
        marks["ours, head not tied"] = ([record["loss"] for record in records], diamond)
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


def wrong_models():
    """Draw six models that learn, and how far each is from GPT-2. 7 x 2.8 inches."""
    head, records = read_log(recorded("wrong_models"))
    gaps, allowed = head["gaps"], 1e-5
    right_one, *wrong = sorted(gaps, key=gaps.get)
    fig, (left, right) = figure("wide", ncols=2)
    pale, end = "#c9a48c", {}
    for name in (*wrong, right_one):
        look = {"color": pale, "linestyle": "--", "linewidth": 1}
        if name == right_one:
            look = {"color": COLORS["ours"], "linestyle": "-", "linewidth": 2.2}
        losses = smooth([record["loss"][name] for record in records], 10)
        left.plot(losses, **look)
        end[name] = losses[-1]
    left.text(0.95, 0.88, right_one, color=COLORS["ours"], weight="bold", **_inside(left))
    left.text(0.95, 0.78, "and five with a mistake", color="#96694b", **_inside(left))
    left.set(title="Six models learn …", xlabel="step", ylabel="loss (nats / token)")
    right.axvline(allowed, color=COLORS["baseline"], linestyle=(0, (5, 3)), linewidth=0.9)
    right.text(1.4 * allowed, -0.75, "allowed: 1e-5", fontsize=8, va="center")
    for y, name in enumerate((right_one, *wrong)):
        ours = name == right_one
        look = {"color": COLORS["ours" if ours else "validation"], "linestyle": "-"}
        right.plot([1e-8, gaps[name]], [y, y], linewidth=1, **look)
        right.plot(gaps[name], y, marker="o" if ours else "X", markersize=7, **look)
        place = {
            "xytext": (0, 6),
            "textcoords": "offset points",
            "ha": "right" if not ours else "center",
        }
        weight = "bold" if ours else "normal"
        right.annotate(name, (gaps[name], y), color=look["color"], weight=weight, **place)
    right.set(xscale="log", xlim=(1e-8, 5), ylim=(len(gaps) - 0.5, -1.2), yticks=[])
    right.set(title="… one of them is GPT-2", xlabel="difference to GPT-2's logits, relative")
    right.spines["left"].set_visible(False)
    first, last = records[0]["loss"][right_one], sorted(end.values())
    others = ", ".join(f"{gaps[name]:.0e} ({name})" for name in wrong)
    fig.alt = (
        f"Left: the training losses of six models fall together, from {first:.1f} to between "
        f"{last[0]:.1f} and {last[-1]:.1f}. Right: with trained weights, the logits of one of them "
        f"are {gaps[right_one]:.0e} from GPT-2's, relative to the largest; those of the others "
        f"{others}. Allowed is 1e-5."
    )
    return fig


def _inside(ax):
    return {"transform": ax.transAxes, "ha": "right", "fontsize": 8.5}


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
        rows.append((token_name(tokenizer.decode_single_token_bytes(i)), chance, keep))
    return rows, int((after > 0).sum())


def next_tokens(logits, tokenizer, settings: Sequence[dict], n=10):
    """Draw the `n` likeliest next tokens under several settings: kept ones blue, cut ones grey.

    Each of `settings` holds keywords of gpt2lite.sampling.probabilities.
    """
    fig, axes = figure("wide", len(settings))
    told, longest = [], 0
    for ax, cuts in zip(np.atleast_1d(axes), settings, strict=True):
        said = (f"{name.replace('_', '-')} {value}" for name, value in cuts.items())
        title = ", ".join(said) or "as it is"
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


def compare_runs(runs, half_life=20, axis="tokens", log_x=False, log_y=False, looks=LOOKS):
    """Draw the losses of several runs on one axis, "steps", "tokens" or "minutes".

    `runs` is as in curve_explorer, `looks` their colours and lines. Beside the curves stands where
    each run is at the last x that all of them reach, the highest first.
    """
    fig, ax = figure("wide")
    curves = {}
    for (name, (head, records)), (color, line) in zip(runs.items(), looks, strict=False):
        x = along(head, records, axis)
        average = loss_curve(ax, x, [r["loss"] for r in records], half_life, color, line)
        curves[name] = x, average, ax.lines[-1]
    shared = min(x[-1] for x, *_ in curves.values())
    stands = {name: average[x <= shared][-1] for name, (x, average, _) in curves.items()}
    where = f"{shared:,.1f} minutes" if axis == "minutes" else f"{shared:,.0f} {axis}"
    smoothing = f"half-life {half_life} steps" if half_life else "not smoothed"
    word = "lower" if len(runs) == 2 else "lowest"
    others = f", {min(stands, key=stands.get)} is {word}" if len(runs) > 1 else ""
    ax.set_title(f"After {where}{others}")
    ax.set(xlabel=AXES[axis], ylabel="loss (nats / token)")
    if log_x:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    if log_y:
        ax.set_yscale("log")
    order = sorted(stands, key=stands.get, reverse=True)
    ax.legend(  # beside the curves: names at their ends would cross each other's lines
        [curves[name][2] for name in order],
        [f"{name} {stands[name]:.2f}" for name in order],
        labelcolor="linecolor",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    told = ", ".join(f"{name} {loss:.2f}" for name, loss in stands.items())
    fig.alt = f"Loss of {len(curves)} runs by {AXES[axis]}, {smoothing}. After {where}: {told}."
    return fig
