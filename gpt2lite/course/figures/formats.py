"""Notebook 04's charts: number formats, the scale of a loss, and what makes a step faster.

A chart brings its alt text along as `fig.alt`. Knows nothing about how its numbers were measured.
"""

import math

import torch
from matplotlib.ticker import MaxNLocator

from gpt2lite.course.floats import FORMATS
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log
from gpt2lite.plotting import COLORS, figure, label_line, smooth

LINES = {"fp32": ("baseline", "-"), "fp16": ("validation", "--"), "bf16": ("ours", "-.")}


def rounding_errors():
    """Draw what a conversion to each format loses, by the size of the number. 7 x 2.6 inches."""
    sizes = torch.exp2(torch.linspace(-34, 20, 200, dtype=torch.float64))
    samples = sizes[:, None] * torch.linspace(1, 2, 400, dtype=torch.float64)
    middles = math.sqrt(2) * sizes
    fig, ax = figure("curve", title="fp16 is finer than bf16 in the middle, and fails at both ends")
    for name, (dtype, *_) in FORMATS.items():
        error = ((samples.to(dtype).double() - samples) / samples).abs().mean(1).clamp(max=1)
        color, dash = COLORS[LINES[name][0]], LINES[name][1]
        ax.loglog(middles, error, linestyle=dash, color=color)
        label_line(ax, middles[-1], error[-1], f" {name}", color)
    ax.set(xlabel="size of the number", ylabel="relative error", ylim=(1e-9, 3))
    ax.set_yticks([1e-8, 1e-6, 1e-4, 1e-2, 1])
    fig.alt = (
        "Mean relative error of a conversion by the number's size, log axes. fp32 loses about 2e-8 "
        "and bf16 about 1e-3 everywhere. fp16 loses about 2e-4 between 6e-5 and 65,504; below it "
        "loses more and more until 3e-8, where all is lost, and above 65,504 all is lost at once."
    )
    return fig


def sixteen_bits():
    """Draw the recorded losses of mixed precision and of all bf16, beside fp32's. 7 x 2.6."""
    _, records = read_log(recorded("sixteen_bits"))
    fig, ax = figure("curve", title="Mixed precision follows fp32; all bf16 falls behind")
    ends = {}
    for way, (color, dash) in (("mixed", ("ours", "-")), ("all bf16", ("validation", "--"))):
        losses, exact = (torch.tensor([r["loss"][w] for r in records]) for w in (way, "fp32"))
        gaps = smooth((losses - exact).mean(1), 10)
        ax.plot(gaps, linestyle=dash, color=COLORS[color])
        label_line(ax, len(gaps), gaps[-1], way, COLORS[color])
        ends[way] = gaps[-1]
    ax.axhline(0, color=COLORS["baseline"], linewidth=0.9)
    ax.set(xlabel="step", ylabel="loss − fp32's (nats)", xlim=(0, 1.1 * len(records)))
    fig.alt = (
        "Difference in training loss to fp32 by step, the mean of the recorded seeds. It ends at "
        f"{ends['mixed']:+.3f} for mixed precision and at {ends['all bf16']:+.3f} for all bf16."
    )
    return fig


def gradient_sizes(gradients, lost):
    """Draw how large the gradients of logits are, plain and times 65,536. 7 x 2.8 inches.

    lost: the share of them that fp16 rounds to 0.
    """
    fig, axes = figure("wide", ncols=2)
    titles = f"{lost:.2%} become 0", "× 65,536: all of them fit"
    some = gradients.flatten()[:: max(1, gradients.numel() // 2_000_000)].float().abs()
    for ax, scale, title in zip(axes, (1, 2**16), titles, strict=True):
        powers = (some[some > 0] * scale).log2().cpu()
        count = torch.histogram(powers, torch.arange(-45.0, 21), density=True)
        ax.stairs(count.hist, count.bin_edges, color=COLORS["ours"], fill=True, alpha=0.5)
        for low, high, shade in ((-46, -25, "#cccccc"), (-25, -14, "#eeeeee"), (16, 21, "#cccccc")):
            ax.axvspan(low, high, color=shade, lw=0, zorder=0)
        ax.set(title=title, xlim=(-46, 21), ylim=(0, None), yticks=[], xlabel="size of a gradient")
        ticks = ["$2^{-40}$", "$2^{-25}$", "$2^{-14}$", "1", "$2^{16}$"]
        ax.set_xticks([-40, -25, -14, 0, 16], ticks)
    axes[0].set_ylabel("how many of the logits' gradients")
    axes[0].text(-45, 0.9 * axes[0].get_ylim()[1], "becomes 0")
    axes[1].text(-24.3, 0.5 * axes[1].get_ylim()[1], "loses\nbits")
    axes[1].text(16.4, 0.5 * axes[1].get_ylim()[1], "inf")
    fig.alt = (
        f"Two histograms of the sizes of the logits' gradients. Left, as they are: {lost:.2%} lie "
        "where fp16 has only 0. Right, times 65,536: nearly all lie where fp16 has all its bits, "
        "and below its largest number."
    )
    return fig


def loss_scale(history):
    """Draw a scaler's scale by step, with the skipped ones. 7 x 2.6 inches.

    history: for each step its loss, its scale, and whether it was skipped.
    """
    fig, ax = figure(
        "curve", title="The scale halves until the gradients fit; ten good steps double it"
    )
    powers = [math.log2(scale) for _, scale, _ in history]
    skipped = [step for step, (*_, skipped) in enumerate(history) if skipped]
    ax.step(range(len(powers)), powers, where="post", color=COLORS["ours"])
    crosses = {"color": COLORS["validation"], "linestyle": "none", "marker": "x"}
    ax.plot(skipped, [powers[step] for step in skipped], label="a skipped step", **crosses)
    ax.legend(loc="upper right")
    ax.set(xlabel="step", ylabel="loss scale (powers of 2)")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    fig.alt = (
        f"The loss scale by step, in powers of two: from {powers[0]:.0f} it halves with each "
        f"skipped step to {min(powers):.0f}, then doubles after ten good steps and halves at the "
        f"next overflow. {len(skipped)} of {len(powers)} steps are skipped."
    )
    return fig


def ladder(ms, off, allowed, half):
    """Draw the ms of each rung, and how far its gradient is from the lowest's. 7 x 2.8 inches.

    ms, off, allowed: numbers by the rung's name. half: the names of those in 16 bits.
    """
    fig, (left, right) = figure("wide", ncols=2)
    for row, name in enumerate(ms):
        look = {"color": COLORS["highlight" if name in half else "ours"]}
        left.barh(row, ms[name], 0.65, **look)
        left.text(ms[name], row, f" {ms[name]:,.0f}", va="center")
        if row:
            at = max(off[name], 1e-8)
            right.plot([1e-8, at], [row, row], linestyle="-", linewidth=1, **look)
            right.plot(at, row, marker="o", **look)
            right.plot(allowed[name], row, marker="|", markersize=11, color=COLORS["baseline"])
    first, fastest = next(iter(ms.values())), min(ms.values())
    left.set(xlim=(0, 1.2 * max(ms.values())), xlabel="time (ms / step)")
    left.set_yticks(range(len(ms)), ms)
    left.set_title(f"From {first:,.0f} to {fastest:,.0f} ms a step …")
    right.set(xscale="log", xlim=(1e-8, 1), xlabel="first gradient, relative difference", yticks=[])
    right.set_title("… and the gradient agrees")
    bound = list(allowed.values())[1]
    right.text(1.6 * bound, 0.55, "allowed", fontsize=8, va="center")
    for ax in (left, right):
        ax.set_ylim(len(ms) - 0.5, -0.5)
    told = ", ".join(f"{name} {t:,.0f} ms" for name, t in ms.items())
    apart = ", ".join(f"{name} {off[name]:.0e} of {allowed[name]:.0e}" for name in off)
    fig.alt = f"Time a step: {told}. Relative difference of the gradient, and allowed: {apart}."
    return fig


def profiles(spent):
    """Draw where the time of a step goes: a bar for each rung. 7 x 2.6 inches.

    spent: by the rung's name, the ms by kind of operation.
    """
    c = COLORS
    looks = [(c["highlight"], ""), (c["reference"], "//"), (c["validation"], ".."), (c["ours"], "")]
    looks += [("#666666", "xx"), ("#bbbbbb", "")]
    fig, ax = figure("curve", title=_matmuls(spent))
    for row, kinds in enumerate(spent.values()):
        x = 0.0
        for (kind, ms), (color, hatch) in zip(kinds.items(), looks, strict=True):
            look = {"color": color, "hatch": hatch, "edgecolor": "white"}
            ax.barh(row, ms, 0.5, x, label=kind if row == 0 else None, **look)
            x += ms
    ax.set(ylim=(len(spent) - 0.5, -0.5), xlabel="time (ms)")
    ax.set_yticks(range(len(spent)), spent)
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.25), ncols=6, fontsize=8)
    told = (
        f"{name}: " + ", ".join(f"{k} {v:.0f}" for k, v in s.items()) for name, s in spent.items()
    )
    fig.alt = f"Milliseconds of one step by kind of operation. {'; '.join(told)}."
    return fig


def _matmuls(spent) -> str:
    shares = [f"{kinds['matmuls']:.0f} of {sum(kinds.values()):.0f} ms" for kinds in spent.values()]
    return f"Matmuls take {', then '.join(shares)}"
