"""Charts of notebook 06: schedules, clipped steps, sweeps with their intervals, overfitting.

Each brings its alt text along as `fig.alt`. Knows nothing about how a run was made.
"""

from statistics import mean

import numpy as np

from gpt2lite.course.figures.charts import LOOKS
from gpt2lite.optim import learning_rate
from gpt2lite.plotting import COLORS, figure, label_line, reference_line


def schedules(configs: dict, title="The learning rate, step by step"):
    """Draw the learning rate of TrainConfigs, by name, on one axis. 7 x 2.6."""
    fig, ax = figure("curve")
    last = max(config.steps for config in configs.values())
    for (name, config), (color, line) in zip(configs.items(), LOOKS, strict=False):
        rates = [learning_rate(step, config) for step in range(config.steps)]
        ax.plot(rates, color=color, linestyle=line)
        label_line(ax, config.steps - 1, rates[-1], name, color)
    ax.set_title(title)
    highest = max(config.lr for config in configs.values())
    ax.set(xlabel="step", ylabel="learning rate", xlim=(0, 1.22 * last), ylim=(0, 1.08 * highest))
    ends = (
        f"{name}: {config.warmup_steps} steps up to {config.lr:g}, at the end "
        f"{learning_rate(config.steps - 1, config):.2g}"
        for name, config in configs.items()
    )
    _trim(ax)
    fig.alt = f"Learning rate by step. {'; '.join(ends)}."
    return fig


def clipped(norms, limit: float, warmup: int):
    """Draw a run's gradient norms before clipping, and the limit. 7 x 2.6."""
    norms = np.asarray(norms)
    over = norms > limit
    fig, ax = figure("curve")
    ax.set_title(f"{over.mean():.1%} of the steps were clipped")
    ax.plot(norms, color=COLORS["ours"], linewidth=0.7)
    ax.plot(over.nonzero()[0], norms[over], "o", markersize=3, color=COLORS["validation"])
    reference_line(ax, limit, f"clipped above {limit:g}")
    ax.axvspan(0, warmup, color="#eeeeee", zorder=0)
    ax.text(1.15 * warmup, norms.max(), "← warm-up", va="top", fontsize=8)
    ax.set(xlabel="step", ylabel="gradient norm", yscale="log", xlim=(0, len(norms)))
    ax.set_yticks(ticks := [limit / 2, limit, 2 * limit, 5 * limit], [f"{y:g}" for y in ticks])
    ax.minorticks_off()
    early = over[: len(norms) // 10].sum()
    _trim(ax)
    fig.alt = (
        f"Gradient norm of {len(norms):,} steps, from {norms.min():.2f} to {norms.max():.1f}. "
        f"{over.sum()} steps pass the limit of {limit:g}, {early} of them in the first tenth."
    )
    return fig


def sweep(results: dict):
    """Draw validation losses by learning rate, {rate: one loss a seed}, and their mean. 7 x 2.6."""
    fig, ax = figure("curve")
    results = dict(sorted(results.items()))
    rates, means = list(results), [mean(losses) for losses in results.values()]
    for rate, losses in results.items():
        ax.plot([rate] * len(losses), losses, "o", markersize=3, color="#999999")
    ax.plot(rates, means, color=COLORS["ours"], linestyle="-", marker="o")
    best = min(results, key=lambda rate: mean(results[rate]))
    ax.set(xlabel="learning rate, at its highest", ylabel="loss (nats / token)", xscale="log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.minorticks_off()
    ax.set_title(f"Lowest on average: {best:g}. Each grey dot is a run")
    said = ", ".join(f"{rate:g}: {m:.3f}" for rate, m in zip(rates, means, strict=True))
    _trim(ax)
    fig.alt = f"Validation loss by learning rate, mean of {len(losses)} seeds: {said}."
    return fig


def overfitting(curves: dict, every: int, training, title: str, names=True):
    """Draw validation losses over steps, {name: one curve a seed}, each lowest one as a dot, above
    a training loss; all are measured `every` steps. 7 x 2.6.

    Without `names` the curves are called A, B and so on, for the reader to tell apart.
    """
    fig, ax = figure("curve")
    steps = every * np.arange(1, len(training) + 1)
    ax.plot(steps, training, color=COLORS["baseline"], linestyle=":")
    label_line(ax, steps[-1], training[-1], "training", COLORS["baseline"])
    said = []
    for letter, (name, runs), (color, line) in zip("ABCDE", curves.items(), LOOKS, strict=False):
        name = name if names else letter
        for number, curve in enumerate(runs):
            best, label = int(np.argmin(curve)), "" if number else name
            ax.plot(steps, curve, color=color, linestyle=line, linewidth=1, label=label)
            ax.plot(steps[best], curve[best], "o", color=color, markersize=4)
        lowest, last = mean(map(min, runs)), mean(curve[-1] for curve in runs)
        said.append(f"{name}: lowest {lowest:.2f}, {last:.2f} at the end")
    ax.set(xlabel="step", ylabel="loss (nats / token)", xlim=(0, 1.15 * steps[-1]), title=title)
    ax.legend(loc="upper center", ncols=len(curves), fontsize=8)
    _trim(ax)
    fig.alt = f"Validation loss by step, mean of the runs. {'; '.join(said)}. The training loss "
    fig.alt += f"falls from {training[0]:.2f} to {training[-1]:.2f}."
    return fig


def _trim(ax):
    """Leave out the ticks beyond the axes' ends, whose labels nobody sees."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        labels = {
            at: text.get_text()
            for at, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        }
        inside = [at for at in labels if low <= at <= high]
        axis.set_ticks(inside, [labels[at] for at in inside])
