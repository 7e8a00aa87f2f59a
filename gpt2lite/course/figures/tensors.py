"""Pictures of what a notebook has just computed: tensors, losses, differences, times.

Knows nothing about models. A picture's title states what any values would show; the numbers in it
and in its alt text come from the tensors.
"""

import re
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ticker import MaxNLocator

from gpt2lite.plotting import COLORS, figure, heatmap, label_line

CHANNELS = 16  # as many as a picture shows of C
NUMBERED = 8  # a map of up to so many tokens has its weights written into the cells


def embeddings(panels: dict, names: list[str]):
    """Draw matrices (T, C) side by side on one colour scale, named by `panels`. 7 x 2.8 inches.

    `names` are the T tokens; the first channels are shown.
    """
    fig, axes = figure("wide", ncols=len(panels))
    shown = {title: part.detach()[:, :CHANNELS] for title, part in panels.items()}
    top = max(part.abs().max().item() for part in shown.values())
    for ax, (title, part) in zip(axes, shown.items(), strict=True):
        rows = names if ax is axes[0] else [""] * len(names)
        image = heatmap(ax, part, "diverging", rows=rows)
        image.set_clim(-top, top)
        ax.set(title=title, xlabel=f"channel (first {part.size(1)})", aspect="auto")
        ax.set_xticks(range(0, part.size(1), 5))
    bar = fig.colorbar(image, ax=axes, label="value")
    bar.set_ticks([-top, 0, top], labels=[f"{-top:.2g}", "0", f"{top:.2g}"])
    twins = [
        title
        for title, part in shown.items()
        if any(torch.equal(a, b) for i, a in enumerate(part) for b in part[:i])
    ]
    fig.alt = (
        f"Maps of {len(names)} tokens by {CHANNELS} channels on one colour scale: "
        f"{', '.join(panels)}. Rows of the same token look the same in {', '.join(twins) or 'none'}"
        "; in the others all rows differ."
    )
    return fig


def attention_maps(maps: dict, names: list[str]):
    """Draw attention weights (T, T), row t reads column s, on one colour scale. 7 inches wide.

    `maps` names each; below it stands the mean of the rows' largest weights, row 0 left out.
    """
    T = len(names)
    fig, axes = figure("wide", ncols=len(maps))
    said = []
    for ax, (title, weights) in zip(np.atleast_1d(axes), maps.items(), strict=True):
        weights = weights.detach().cpu()
        rows = names if ax is np.atleast_1d(axes)[0] else []
        heatmap(ax, weights, rows=rows, columns=names).set_clim(0, 1)
        ax.tick_params(labelsize=8)
        peak = weights[1:].amax(-1).mean().item() if T > 1 else 1.0
        ax.set_xlabel(f"{title}\nlargest in a row: mean {peak:.2f}", fontsize=9)
        if T <= NUMBERED:
            for t, s in zip(*np.tril_indices(T), strict=True):  # t reads s <= t
                color = "white" if weights[t, s] > 0.5 else "black"
                at = {"ha": "center", "va": "center", "size": 8, "color": color}
                ax.text(s, t, f"{weights[t, s]:.2f}", **at)
        said.append(f"{title}: the largest weight of a row is {peak:.2f} on average")
    fig.alt = (
        f"Lower triangles of attention weights over {T} tokens, {' '.join(names)}; the future is "
        f"white. {'. '.join(said)}."
    )
    return fig


def bits(curves: dict):
    """Draw GELU beside ReLU, and the losses of tiny MLPs that learn XOR and AND. 7 x 2.8 inches.

    `curves` maps two names, "with" and "without" the activation, to a loss a step.
    """
    fig, (left, right) = figure("wide", ncols=2)
    z = torch.linspace(-4, 4, 401)
    left.plot(z, F.gelu(z, approximate="tanh"), color=COLORS["ours"])
    left.plot(z, F.relu(z), color=COLORS["baseline"], linestyle=":")
    label_line(left, -3.8, 1.5, "GELU: line", COLORS["ours"])
    label_line(left, -3.8, 2.0, "ReLU: dots", COLORS["baseline"])
    left.set(title="GELU is a smooth ReLU", xlabel="z", xlim=(-4, 2.5), ylim=(-0.5, 2.5))
    for (name, losses), color, line in zip(
        curves.items(), ("ours", "validation"), ("-", "--"), strict=True
    ):
        right.plot(losses, color=COLORS[color], linestyle=line)
        label_line(right, len(losses), losses[-1], f"{name}: {losses[-1]:.2f}", COLORS[color])
    steps = len(losses)
    right.set(title="A linear map can't learn XOR", xlabel="step", ylabel="mean squared error")
    right.set(xlim=(0, 1.65 * steps), xticks=(0, steps // 2, steps), ylim=(-0.02, 0.6))
    ends = ", ".join(f"{name} to {losses[-1]:.3f}" for name, losses in curves.items())
    fig.alt = (
        "Left, GELU and ReLU: GELU is smooth and dips below 0 near z = -0.75. Right, the loss of "
        f"two tiny MLPs over {steps} steps: {ends}."
    )
    return fig


def file_sizes(header: dict):
    """Draw how much of a file each kind of tensor takes, the largest first. 7 x 2.6 inches.

    `header` maps a tensor's name to its "shape", as a safetensors file of fp32 numbers does.
    """
    megabytes = {}
    for name, entry in header.items():
        kind = re.sub(r"^(transformer\.)?(h\.\d+\.)?", "", name)
        kind = kind if len(entry["shape"]) > 1 else "biases, LayerNorms"
        megabytes[kind] = megabytes.get(kind, 0) + 4e-6 * prod(entry["shape"])
    megabytes = dict(sorted(megabytes.items(), key=lambda item: -item[1]))
    largest = next(iter(megabytes))
    share = megabytes[largest] / sum(megabytes.values())
    fig, ax = figure("curve", title=f"{largest} is {share:.0%} of the file")
    for y, (kind, size) in enumerate(megabytes.items()):
        ax.barh(y, size, color=COLORS["highlight" if kind == largest else "ours"])
        ax.text(size, y, f" {size:.2f} MB", va="center")
    ax.set(xlabel="size (MB)", xticks=[], ylim=(len(megabytes) - 0.5, -0.5))
    ax.set_xlim(0, 1.12 * megabytes[largest])
    ax.set_yticks(range(len(megabytes)), megabytes)
    said = ", ".join(f"{kind} {size:.2f} MB" for kind, size in megabytes.items())
    fig.alt = f"Bars: megabytes in the file by kind of tensor: {said}."
    return fig


def differences(gaps: dict, losses: dict, allowed=1e-5):
    """Draw by depth how far models are from a reference, on a log axis. 7 x 2.8 inches.

    gaps: a model's name to its relative difference by depth; losses: to its loss.
    """
    depths = list(next(iter(gaps.values())))
    looks = (("ours", "o", "-"), ("validation", "s", "--"), ("highlight", "D", "-."))
    looks = (*looks, ("baseline", "^", ":"))
    fig, ax = figure("wide", title="Each mistake leaves the line where it sits")
    for (name, gap), (color, marker, line) in zip(gaps.items(), looks, strict=False):
        look = {"color": COLORS[color], "marker": marker, "linestyle": line, "markersize": 4}
        shown = [max(value, 1e-8) for value in gap.values()]  # a log axis has no 0
        ax.semilogy(shown, label=f"{name}:\nloss {losses[name]:.4f}", **look)
    ax.axhline(allowed, color=COLORS["reference"], linewidth=1, linestyle=(0, (5, 3)))
    ax.text(
        len(depths) - 1, allowed * 0.7, "allowed", color=COLORS["reference"], ha="right", va="top"
    )
    ax.set(xlabel="depth", ylabel="relative difference δ", ylim=(5e-9, 20))
    ax.set_yticks([1e-8, 1e-5, 1e-2, 1], ["0", "$10^{-5}$", "$10^{-2}$", "1"])
    ax.set_xticks(range(len(depths)), depths, rotation=90 if len(depths) > 8 else 0)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    said = ". ".join(
        f"{name}: from {gap[depths[0]]:.0e} to {gap[depths[-1]]:.0e}, loss {losses[name]:.4f}"
        for name, gap in gaps.items()
    )
    fig.alt = f"Relative difference to the reference by depth, on a log axis. {said}."
    return fig


def decoding_times(lengths: list[int], without: list[float], cached: list[float]):
    """Draw the milliseconds for one more token, by the length of the text. 7 x 2.6 inches."""
    title = f"After {lengths[-1]} tokens: {without[-1] / cached[-1]:.1f} × as fast with a cache"
    fig, ax = figure("curve", title=title)
    top = 1.1 * max(*without, *cached)
    ends = {"with a cache": cached[-1], "without a cache": without[-1]}
    low, high = sorted(ends, key=ends.get)
    ends[high] = max(ends[high], ends[low] + 0.1 * top)  # or the two names touch
    for ms, name, color, line in (
        (without, "without a cache", "validation", "--s"),
        (cached, "with a cache", "ours", "-o"),
    ):
        ax.plot(lengths, ms, line, markersize=4, color=COLORS[color])
        label_line(ax, lengths[-1], ends[name], name, COLORS[color])
    ax.set(xlabel="length of the text (tokens)", ylabel="time (ms / token)", ylim=(0, top))
    ax.set_xticks(lengths)
    ax.set_yticks([y for y in MaxNLocator(5).tick_values(0, top) if y <= top])
    fig.alt = (
        f"Time for the next token by length of the text: after {lengths[-1]} tokens it takes "
        f"{without[-1]:.1f} ms without a cache and {cached[-1]:.1f} ms with one."
    )
    return fig
