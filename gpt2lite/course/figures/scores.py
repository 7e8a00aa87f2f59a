"""Pictures of scores: the loss token by token and text by text, means with their 95 % intervals.

Knows nothing about models. The numbers in a title and an alt text come from what is drawn.
"""

from gpt2lite.plotting import COLORS, INCHES, figure

INTERVAL = 1.96  # standard errors to each side hold 95 % of a normal distribution


def token_losses(names: list[str], bits):
    """Draw a bar a token, as high as its loss in bits, (n,). 7 x 2.6 inches."""
    bits = [float(b) for b in bits]
    most = bits.index(max(bits))
    fig, ax = figure("curve", title=f"{names[most]} costs {bits[most]:.0f} of {sum(bits):.0f} bits")
    colors = [COLORS["highlight" if i == most else "ours"] for i in range(len(bits))]
    ax.bar(range(len(bits)), bits, color=colors)
    for i, b in enumerate(bits):
        ax.annotate(f"{b:.0f}", (i, b), (0, 2), textcoords="offset points", ha="center", size=8)
    ax.set_xticks(range(len(bits)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel="loss (bits)", ylim=(0, 1.15 * max(bits)))
    ax.set_yticks(range(0, int(max(bits)) + 1, 5))
    told = ", ".join(f"{name} {b:.1f}" for name, b in zip(names, bits, strict=True))
    fig.alt = f"Bars: the loss of each token in bits. {told}."
    return fig


def text_losses(scores: dict, level: float):
    """Draw the loss on each text, and the level of a model that knows nothing. 7 inches wide.

    `scores` maps a text's name to its gpt2lite.evaluation.TextScore.
    """
    worst = max(scores, key=lambda name: scores[name].loss)
    side = "worse" if scores[worst].loss > level else "better"
    fig, ax = figure("curve", title=f"On {worst}: {side} than a model that knows nothing")
    for y, score in enumerate(scores.values()):
        ax.barh(y, score.loss, color=COLORS["ours"], height=0.6)
        said = f"{score.loss:.2f}; perplexity {score.perplexity:,.0f}; "
        long = score.loss > 0.6 * scores[worst].loss  # then there is no room beside the bar
        x, color = (0.1, "white") if long else (score.loss + 0.1, "black")
        ax.text(x, y, f"{said}{score.bits_per_byte:.2f} bits / byte", va="center", color=color)
    ax.axvline(level, color=COLORS["baseline"], linestyle="--")
    ax.text(level, -0.55, f"ln V = {level:.2f} ", ha="right", va="bottom")
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set(xlabel="loss (nats / token)", ylim=(len(scores) - 0.5, -0.9))
    ax.set_xticks(range(0, int(max(level, scores[worst].loss)) + 1, 2))
    told = ", ".join(f"{name} {score.loss:.2f}" for name, score in scores.items())
    fig.alt = f"Bars: the loss on each text in nats per token, {told}. A line marks {level:.2f}."
    return fig


def intervals(rows: list[tuple], title: str, xlabel: str, line: tuple[str, float] | None = None):
    """Draw means as dots with their 95 % intervals. 7 inches wide, higher for more rows.

    rows: (name, mean, standard error), in percent; an error of None, or 0, draws the dot alone, a
    mean of None says "not published". An interval ends at 0 and at 100. line: the name and place of
    a level, such as chance.
    """
    fig, ax = figure("curve", title=title)
    fig.set_figheight(max(INCHES["curve"][1] - 0.6, 0.9 + 0.24 * len(rows)))
    told = []
    for y, (name, mean, error) in enumerate(rows):
        if mean is None:
            ax.text(0.4, y, "not published", va="center", transform=ax.get_yaxis_transform())
            told.append(f"{name} not published")
            continue
        half = INTERVAL * (error or 0.0)
        ends = max(mean - half, 0), min(mean + half, 100)
        ax.plot(ends, [y, y], "-", color=COLORS["ours"], linewidth=1.4)
        ax.plot(mean, y, "o", color=COLORS["ours"], markersize=5)
        told.append(f"{name} {mean:.1f}" + (f" ± {half:.1f}" if error else ""))
    if line:
        ax.axvline(line[1], color=COLORS["baseline"], linestyle="--", linewidth=0.9, zorder=1)
        ax.text(line[1], -0.75, f" {line[0]}", va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    means = "; the line is the 95 % interval" if any(error for _, _, error in rows) else ""
    ax.set(xlabel=xlabel + means, ylim=(len(rows) - 0.5, -1.1 if line else -0.5))
    ax.margins(x=0.08)
    low, high = ax.get_xlim()
    ax.set_xticks([tick for tick in ax.get_xticks() if low <= tick <= high])
    kind = "Dots with 95 % intervals" if means else "Dots"
    fig.alt = f"{kind}, {xlabel}: {', '.join(told)}."
    return fig
