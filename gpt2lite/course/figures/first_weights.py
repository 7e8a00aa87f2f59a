"""Pictures of notebook 03: first weights, first losses, the stream by depth, runs in pairs.

Knows nothing about models. The numbers in a picture, its title and its alt text come from what it
is given.
"""

import math

import numpy as np

from gpt2lite.plotting import COLORS, figure, label_line, smooth

LOOKS = {  # the colour and line of each initialization
    "GPT-2": ("ours", "-"),
    "GPT-2, no factor": ("baseline", ":"),
    "GPT-2, wpe at 0.02": ("highlight", "-."),
    "PyTorch, linear": ("validation", "--"),
    "linear, wpe at 0.01": ("reference", (0, (5, 1, 1, 1))),
    "PyTorch, embedding": ("highlight", "-."),
}


def _look(name, **more):
    color, line = LOOKS[name]
    return {"color": COLORS[color], "linestyle": line} | more


def standard_deviations(stds: dict):
    """Draw the standard deviation of each matrix under two initializations. 7 x 2.6 inches.

    stds: an initialization's name to {a matrix's name: its standard deviation}.
    """
    (one, ours), (two, theirs) = stds.items()
    ratios = {kind: theirs[kind] / ours[kind] for kind in ours}
    widest = max(ratios, key=ratios.get)
    title = f"{widest}: {two} draws it {ratios[widest]:.0f} × as large as {one}"
    fig, ax = figure("curve", title=title)
    for y, kind in enumerate(ours):
        ax.plot([ours[kind], theirs[kind]], [y, y], "-", color="#BBBBBB", linewidth=1, zorder=1)
        ax.plot(ours[kind], y, "o", color=COLORS["ours"])
        ax.plot(theirs[kind], y, "s", color=COLORS["validation"], markersize=5)
    ax.set(xscale="log", xlabel="standard deviation", ylim=(len(ours) - 0.5, -1.2))
    ax.set_yticks(range(len(ours)), ours)
    ax.text(ours[widest], -0.75, one, color=COLORS["ours"], ha="center", va="center")
    ax.text(theirs[widest], -0.75, two, color=COLORS["validation"], ha="center", va="center")
    told = "; ".join(f"{kind} {ours[kind]:.4f} and {theirs[kind]:.4f}" for kind in ours)
    fig.alt = f"The standard deviation of each matrix, {one} and {two}: {told}."
    return fig


def first_losses(logits, s, stds, losses, V, C):
    """Draw logits over N(0, s²), and first losses over ln V + C·σ²/2. 7 x 2.8 inches."""
    fig, (left, right) = figure("wide", ncols=2)
    z, line = np.linspace(-4 * s, 4 * s, 200), np.linspace(0, 1.05 * max(stds), 100)
    left.hist(logits, bins=120, density=True, color=COLORS["ours"], alpha=0.45)
    left.plot(z, np.exp(-((z / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi)), "--", color="black")
    left.set(title=f"{len(logits):,} logits and N(0, {s:.2f}²)", xlabel="logit", ylabel="density")
    right.plot(line, math.log(V) + C * line**2 / 2, "--", color="black")
    right.plot(stds, losses, "o", color=COLORS["ours"])
    right.axhline(math.log(V), color=COLORS["baseline"], linewidth=0.8, linestyle=":")
    top = losses[-1] - math.log(V)
    right.text(1.05 * max(stds), math.log(V) + 0.03 * top, "ln V", ha="right", va="bottom")
    right.text(0.7 * max(stds), math.log(V) + 0.62 * top, "ln V + C·σ²/2", ha="right")
    right.set(title="Dots: measured first losses", xlabel="σ, standard deviation of wte")
    right.set_ylabel("first loss (nats / token)")
    points = ", ".join(f"{y:.2f} at {x}" for x, y in zip(stds, losses, strict=True))
    fig.alt = (
        f"Left, the histogram of {len(logits):,} logits lies under the dashed curve of a normal "
        f"distribution with standard deviation {s:.2f}. Right, the measured first loss by the "
        f"standard deviation of wte: {points}. The dashed curve is ln V + C times sigma squared "
        "over 2."
    )
    return fig


def own_logits(panels: dict):
    """Draw each initialization's logits at one position, that of the read token marked. 7 x 2.8.

    panels: a name to (logits of all tokens, that of the token just read).
    """
    fig, axes = figure(
        "wide", ncols=len(panels), title="All logits, and a line at that of the token just read"
    )
    for ax, (name, (logits, own)) in zip(axes, panels.items(), strict=True):
        color = COLORS[LOOKS[name][0]]
        counts, _, _ = ax.hist(logits, bins=80, color=color, alpha=0.5)
        ax.axvline(own, color=color)
        ax.set_xlabel(f"logit\n{name}", color=color)
        far = own > np.mean(ax.get_xlim())
        ax.annotate(
            f"{own:.1f}".replace("-", "−"),
            (own, 0.93),
            (-4 if far else 4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if far else "left",
        )
        ax.set(yticks=[], ylim=(0, 1.25 * counts.max()))
    axes[0].set_ylabel(f"how many of {len(logits):,}")
    told = "; ".join(
        f"{name}: standard deviation {np.std(logits):.2f}, the token just read {own:.1f}"
        for name, (logits, own) in panels.items()
    )
    fig.alt = f"Histograms of all logits after one token, with that token's marked. {told}."
    return fig


def loss_by_std(stds, losses, repeat, V, C):
    """Draw first losses by wte's standard deviation beside their two limits. 7 x 2.6 inches.

    repeat: the logit of the token just read, for each of `stds`.
    """
    line = np.geomspace(stds[0], stds[-1], 100)
    random = math.log(V) + C * line**2 / 2
    limits = zip(stds, repeat, math.log(V) + C * np.square(stds) / 2, strict=True)
    crossed = next((s for s, a, b in limits if a > b), None)
    where = f"from σ = {crossed:g} on" if crossed else "nowhere yet"
    fig, ax = figure("curve", title=f"The token just read decides the loss {where}")
    ax.loglog(line, random, "--", color=COLORS["baseline"])
    ax.loglog(stds, repeat, ":", color=COLORS["highlight"], linewidth=2.2)
    ax.loglog(stds, losses, "o", color=COLORS["ours"])
    ax.text(stds[0], 1.25 * random[0], "ln V + C·σ²/2", va="bottom")
    ax.text(
        0.8 * stds[-3], repeat[-3], "repeat, C·σ² / rms(x)", color=COLORS["highlight"], ha="right"
    )
    over = {"xytext": (-8, 4), "textcoords": "offset points", "ha": "right", "va": "bottom"}
    ax.annotate("measured", (stds[-1], losses[-1]), **over)
    ax.set(xlabel="σ, standard deviation of wte", ylabel="first loss (nats / token)")
    ax.set(ylim=(random[0] / 2, 2 * max(*losses, *random)))
    ax.set_xticks(stds, [f"{s:g}" for s in stds])
    ax.minorticks_off()
    points = ", ".join(f"{loss:.1f} at {s:g}" for s, loss in zip(stds, losses, strict=True))
    fig.alt = (
        f"The first loss by the standard deviation of wte, both axes logarithmic: {points}. Small "
        "ones follow ln V + C times sigma squared over 2, large ones the token just read."
    )
    return fig


def ends_by_depth(depths, ends: dict):
    """Draw the stream's rms after the last layer, by the number of layers. 7 x 2.6 inches."""
    grown = {name: end[-1] / end[0] for name, end in ends.items()}
    most = max(grown, key=grown.get)
    title = f"{depths[-1] // depths[0]} times as deep: {most} ends {grown[most]:.1f} × as large"
    fig, ax = figure("curve", title=title)
    for name, end in ends.items():
        ax.loglog(depths, end, **_look(name, marker="o", markersize=5))
        label_line(ax, depths[-1], end[-1], f"{name}: {grown[name]:.2f} ×", COLORS[LOOKS[name][0]])
    ax.set(xlabel="n_layer", ylabel="rms of the stream's end", xlim=(0.9 * depths[0], 90))
    ax.set_xticks(depths, depths)
    low, high = ax.get_ylim()
    ticks = [t for t in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6) if low <= t <= high]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    told = "; ".join(f"{name} {', '.join(f'{e:.3f}' for e in end)}" for name, end in ends.items())
    fig.alt = f"The stream's rms after the last of {', '.join(map(str, depths))} layers: {told}."
    return fig


def by_depth(streams: dict, gradients: dict, likeness: dict):
    """Draw by depth the stream's rms, its gradient's, and how alike two texts are. 7 x 2.8 inches.

    Each maps an initialization to a number for each place in the stream.
    """
    fig, axes = figure("wide", ncols=3)
    what = (
        ("rms of the stream", streams, True),
        ("rms of the loss's gradient", gradients, True),
        ("cosine of two texts", likeness, False),
    )
    told = []
    for ax, (title, values, log) in zip(axes, what, strict=True):
        for name, line in values.items():
            ax.plot(line, **_look(name, label=name))
            told.append(f"{title}, {name}: {line[0]:.2g} to {line[-1]:.2g}")
        ax.set(title=title, xlabel="after layer", yscale="log" if log else "linear")
    axes[2].set_ylim(-0.05, 1.05)
    names = {"loc": "outside lower center", "ncols": len(streams), "labelcolor": "linecolor"}
    fig.legend(*axes[0].get_legend_handles_labels(), handlelength=2.5, **names)
    fig.alt = f"Three charts by depth. {'; '.join(told)}."
    return fig


def paired_runs(losses: dict, t: float, half_life=0):
    """Draw runs minus GPT-2's by step, a panel for each initialization. 7 x 2.8 inches.

    losses: an initialization to its losses (seeds, steps), "GPT-2" among them; t: Student's factor
    for a band of 95 %. `half_life` smooths each difference, in steps.
    """
    others = [name for name in losses if name != "GPT-2"]
    fig, axes = figure(
        "wide", ncols=len(others), title="Loss minus GPT-2's, which is the line at 0"
    )
    axes, told = np.atleast_1d(axes), []
    for ax, name in zip(axes, others, strict=True):
        d = np.asarray(losses[name]) - np.asarray(losses["GPT-2"])  # (seeds, steps)
        slow = np.array([smooth(one, half_life) for one in d])
        middle, half = slow.mean(0), t * slow.std(0, ddof=1) / math.sqrt(len(d))
        steps, look = range(1, 1 + len(middle)), _look(name)
        ax.axhline(0, color=COLORS["ours"], linewidth=1)
        ax.fill_between(steps, middle - half, middle + half, color=look["color"], alpha=0.25, lw=0)
        ax.plot(steps, middle, **look)
        ax.set_title(f"{name}\nends at {middle[-1]:+.2f}".replace("-0", "−0"), fontsize=8)
        ax.set(xscale="log", xlabel="step" + ", smoothed" * bool(half_life))
        ax.set_xticks([n for n in (1, 10, 100, 1000) if n <= len(middle)])
        ax.xaxis.set_major_formatter("{x:g}")
        first, last = middle[:10].mean(), middle[-1]
        told.append(f"{name}: {first:+.2f} over the first ten steps, {last:+.2f} at the end")
    lows, highs = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(lows), max(highs))
        ax.tick_params(labelleft=ax is axes[0])
    axes[0].set_ylabel("nats / token")
    fig.alt = (
        f"Losses minus GPT-2's on the same batches, the mean of {len(d)} seeds and its 95 % "
        f"interval, a panel each: {'; '.join(told)}. The line at 0 is GPT-2 itself."
    )
    return fig
