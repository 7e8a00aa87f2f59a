"""Pictures of notebook 08: ranks, what they send and when, what each holds, how long steps take.

Knows nothing about how a number was measured.
"""

from gpt2lite.course.canvas import ATTENTION, BLUE, GREY, PLAIN, POSITION, PURPLE, TOKEN, Canvas
from gpt2lite.course.figures.charts import LOOKS
from gpt2lite.planner import step_seconds
from gpt2lite.plotting import COLORS, INCHES, figure, ink, reference_line

KINDS = {"weights": "#0072B2", "gradients": "#D55E00", "adamw": "#009E73", "activations": "#999999"}


def data_parallel(rows=4):
    """Draw one step of two ranks: their rows, their gradients, the mean that both get. 7 x 2.8."""
    alt = (
        f"One step on two ranks. A batch of {rows} rows is cut in two: rank 0 takes the upper rows,"
        " rank 1 the lower ones. Each puts its rows through its own copy of the same model, which "
        "gives its own gradient. All-reduce makes one mean of the two gradients and hands it to "
        "both, so both make the same AdamW step and hold the same weights again."
    )
    canvas = Canvas(*INCHES["wide"], alt)
    canvas.text(0.62, 0.3, "one batch", "c")
    side = 1.9 / rows
    for row in range(rows):
        fill = TOKEN if row < rows / 2 else POSITION
        canvas.rect(0.2, 0.5 + side * row, 0.84, 0.85 * side, fill)
        canvas.text(0.62, 0.5 + side * (row + 0.42), f"row {row}", "c")
    for rank, y in enumerate((0.95, 1.95)):
        canvas.line((1.1, y), (1.5, y))
        canvas.box(2.2, y, 1.3, 0.6, f"rank {rank}: GPT\nthe same weights", ATTENTION)
        canvas.line((2.9, y), (3.3, y))
        canvas.box(3.8, y, 0.9, 0.4, f"gradient {rank}", (TOKEN, POSITION)[rank])
        near = 1.45 + (rank - 0.5) * 0.28
        canvas.line((4.28, y), (4.53, near))
        canvas.line((5.09, near), (5.48, y))
        canvas.box(6.2, y, 1.35, 0.6, "AdamW with the\nmean gradient", PLAIN)
    canvas.box(4.81, 1.45, 0.5, 0.56, "mean", PURPLE)
    canvas.text(4.81, 0.95, "all-reduce", "c", "#9c3f73")
    canvas.text(2.2, 2.55, "no word is exchanged here", "c", GREY)
    canvas.text(6.2, 2.55, "the weights stay equal", "c", GREY)
    return canvas.fig


def buckets(sent: list[dict], backward: tuple[float, float]):
    """Draw how DDP's buckets travel while the backward pass computes. 7 x 2.6.

    sent: of each bucket its "bytes", and in ms since the step began when it was handed over, "ms",
    and when its sum was "there"; backward: when it began, and when it returned, with all sums
    there. Its last gradient is ready as the last bucket leaves.
    """
    (began, ended), last = backward, sent[-1]["ms"]
    title = f"After the last of {len(sent)} buckets the step waits {ended - last:.0f} ms"
    fig, ax = figure("curve", title=title)
    spans = {"forward": (0, began, "#dddddd"), "backward": (began, last, ATTENTION)}
    for name, (left, right, color) in (spans | {"waiting": (last, ended, POSITION)}).items():
        ax.barh(0, right - left, left=left, color=color, height=0.8)
        ax.text((left + right) / 2, 0, name, ha="center", va="center")
    for row, bucket in enumerate(sent, 1):
        ax.plot(
            [bucket["ms"], bucket["there"]], [row, row], "o-", color=COLORS["ours"], linewidth=3
        )
    labels = [f"bucket of {bucket['bytes'] / 1e6:.1f} MB" for bucket in sent]
    ax.axvline(last, color="#bbbbbb", linewidth=0.8, zorder=0)
    ax.set(xlabel="ms since the step began", ylim=(len(sent) + 0.6, -0.6))
    ax.set_yticks(range(len(sent) + 1), ["computation", *labels])
    told = ", ".join(
        f"{b['bytes'] / 1e6:.1f} MB from {b['ms']:.1f} to {b['there']:.1f} ms" for b in sent
    )
    fig.alt = (
        f"Forward takes {began:.1f} ms, backward ends at {last:.1f} ms, and all sums are there at "
        f"{ended:.1f} ms. Buckets of gradients are on their way: {told}."
    )
    return fig


def memory(rows: dict, limit: float | None = None, name: str = ""):
    """Draw what one card holds, a bar a way to train: {way: {kind: bytes}}. 7 x 2.6."""
    fig, ax = figure("curve", title="Sharding shares out all but the activations")
    for y, parts in enumerate(rows.values()):
        left = 0.0
        for kind, color in KINDS.items():
            ax.barh(y, parts[kind] / 1e9, left=left, color=color, height=0.6, edgecolor="white")
            left += parts[kind] / 1e9
        ax.text(left, y, f" {left:.1f} GB", va="center")
    totals = [sum(parts.values()) / 1e9 for parts in rows.values()]
    for number, (kind, color) in enumerate(KINDS.items()):
        title = f"■ {kind.replace('adamw', 'AdamW')}"
        ax.text(0.02 + 0.19 * number, 1.03, title, color=ink(color), transform=ax.transAxes)
    if limit:
        ax.axvline(limit / 1e9, color=COLORS["baseline"], linestyle="--", linewidth=0.9)
        ax.text(limit / 1e9, 0.5, f" {name}", va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="GB on each card", xlim=(0, 1.2 * max(totals)), ylim=(len(rows) - 0.4, -0.6))
    told = ", ".join(f"{way} {total:.1f}" for way, total in zip(rows, totals, strict=True))
    fig.alt = f"Bars: GB on each card, {told}." + (f" A line marks {name}." if limit else "")
    return fig


def step_by_bandwidth(flops, machine, sent: float, passes=(1, 4, 16), seconds=step_seconds):
    """Draw a step's time over what the network carries, a curve a number of passes. 7 x 2.6."""
    compute = flops / (machine.count * machine.peak * machine.mfu)
    enough = sent / (2 / 3 * compute / passes[1]) / 1e9
    fig, ax = figure(
        "curve", title=f"{passes[1]} passes hide all sending from {enough:.1f} GB / s on"
    )
    carried = [10 ** (8.7 + i / 40) for i in range(93)]  # 0.5 to 100 GB / s
    told = []
    for n, (color, line) in zip(passes, LOOKS, strict=False):
        times = [
            seconds(flops, machine.count, machine.peak, machine.mfu, sent / c, n) for c in carried
        ]
        name = f"{n} pass{'es' if n > 1 else ''} a step"
        ax.plot([c / 1e9 for c in carried], times, color=color, linestyle=line, label=name)
        at_1 = seconds(flops, machine.count, machine.peak, machine.mfu, sent / 1e9, n)
        told.append(f"{name} {at_1:.2f} s at 1 GB/s")
    reference_line(ax, compute, f"computation alone, {compute:.2f} s")
    for name, speed in {"Ethernet, 10 Gbit/s": 1.25, "PCIe 4": 25}.items():
        ax.axvline(speed, color="#bbbbbb", linewidth=0.8, zorder=0)
        ax.annotate(name, (speed, 0.03), (3, 0), ax.get_xaxis_transform(), "offset points", size=8)
    ax.set(xlabel="GB / s from card to card", ylabel="seconds a step", xscale="log", yscale="log")
    ax.set_xticks([0.5, 1, 10, 100], ["0.5", "1", "10", "100"])
    ax.set_yticks(ticks := [0.2, 0.5, 1, 2], [f"{tick:g}" for tick in ticks])
    ax.legend(loc="upper right")
    ax.set_ylim(0.5 * compute, 1.1 * (compute + sent / carried[0]))
    ax.minorticks_off()
    fig.alt = (
        f"Seconds of a step by bandwidth, falling to the computation's {compute:.2f}: "
        f"{'; '.join(told)}."
    )
    return fig


def extrapolated(lengths, losses, predicted: float):
    """Draw losses over run lengths, the line through all but the last, and its guess. 7 x 2.6."""
    fig, ax = figure("curve")
    off = predicted - losses[-1]
    ax.set_title(f"The line misses the longest run by {abs(off):.3f} nats")
    ax.plot(lengths[:-1], losses[:-1], "o", color=BLUE)
    ax.plot(lengths, [*losses[:-1], predicted], "--", color=BLUE)
    ax.plot(lengths[-1], losses[-1], "D", color=COLORS["validation"])
    beside = {"textcoords": "offset points", "annotation_clip": False}
    above, below = ((8, 7), (8, -7)) if off > 0 else ((8, -7), (8, 7))
    red = ink(COLORS["validation"])
    for y, shift, word, color in (
        (predicted, above, "predicted", BLUE),
        (losses[-1], below, "measured", red),
    ):
        ax.annotate(f"{word} {y:.3f}", (lengths[-1], y), shift, va="center", color=color, **beside)
    ax.margins(y=0.2)
    ax.set(xlabel="steps of the run (logarithmic)", ylabel="loss (nats / token)", xscale="log")
    ax.set_xlim(lengths[0] * 0.93, lengths[-1] * (lengths[-1] / lengths[0]) ** 0.25)
    ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
    ax.minorticks_off()
    said = ", ".join(f"{n} steps {loss:.3f}" for n, loss in zip(lengths, losses, strict=True))
    fig.alt = f"Validation losses after cooldowns: {said}; predicted for the last {predicted:.3f}."
    return fig
