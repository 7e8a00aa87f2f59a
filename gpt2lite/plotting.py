"""The house style: colours, sizes, fonts and the few parts that all pictures of the course share.

Knows nothing about models, and of a run only its log. Each picture carries an alt text: `show`
refuses one without.
Figures are made apart from pyplot, so that nothing is shown twice and nothing has to be closed.

Source of the colours, which colour-blind readers can tell apart: Okabe & Ito, "Color Universal
Design" (2008).
"""

import base64
import html
import io

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

COLORS = {
    "ours": "#0072B2",  # also: training
    "validation": "#D55E00",
    "reference": "#009E73",  # GPT-2 itself
    "highlight": "#CC79A7",
    "baseline": "#000000",
}
# Words want more contrast than lines: at least 4.5 to 1 on white.
INKS = {"#D55E00": "#B04E00", "#009E73": "#007A59", "#CC79A7": "#9C3F73"}
INCHES = {"wide": (7, 2.8), "curve": (7, 2.6), "square": (3.6, 3.6)}
DPI = 160  # stored pixels an inch; a page shows 100, so that text is sharp on fine screens

# matplotlib's Blues begin at a light blue; here 0 is white, so that a masked weight is no mark.
BLUES = LinearSegmentedColormap.from_list(
    "blues", ["white", *matplotlib.colormaps["Blues"](np.linspace(0.1, 1, 9))]
)

STYLE = {
    "figure.facecolor": "white",  # not transparent: black text must read in a dark theme too
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",  # travels with matplotlib, so a picture is the same everywhere
    "font.size": 9,
    "text.hinting": "none",  # widths do not depend on the resolution
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.prop_cycle": matplotlib.cycler(
        color=[
            COLORS[name] for name in ("ours", "validation", "reference", "highlight", "baseline")
        ],
        linestyle=["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))],  # told apart without colour too
    ),
    "lines.linewidth": 1.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
}


def use_style():
    """Make the house style the default of every figure made from now on."""
    matplotlib.rcParams.update(STYLE)


def ink(color):
    """Return the colour in which words are written of what is drawn in `color`."""
    return INKS.get(color, color)


def figure(kind="curve", ncols=1, title=None):
    """Return (fig, axes) in the house style: one Axes, or an array of `ncols` side by side.

    `kind` is a size in inches: "wide" 7 x 2.8, "curve" 7 x 2.6 or "square" 3.6 x 3.6. The title
    states the finding.
    """
    use_style()
    fig = Figure(figsize=INCHES[kind], layout="constrained")
    axes = fig.subplots(1, ncols)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return fig, axes


def label_line(ax, x, y, text, color):
    """Write `text` beside a line's end, at data point (x, y), in the line's colour."""
    halo = withStroke(linewidth=2.5, foreground="white")  # to be read across another line
    ax.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        annotation_clip=False,
        path_effects=[halo],
    )


def smooth(values, half_life):
    """Return the running average of `values` in which what lies half_life steps back counts half.

    Each average is divided by the weights so far, so that the first is the first value and not a
    small part of it. What is not finite counts nothing; a half_life of 0 smooths nothing.
    """
    values = np.asarray(values, dtype=float)
    if half_life == 0:
        return values.copy()
    keep, total, weight, smoothed = 0.5 ** (1 / half_life), 0.0, 0.0, []
    for value, finite in zip(values.tolist(), np.isfinite(values), strict=True):
        total = keep * total + (1 - keep) * (value if finite else 0.0)
        weight = keep * weight + (1 - keep) * bool(finite)
        smoothed.append(total / weight if weight else np.nan)
    return np.array(smoothed)


def along(head, records, axis="tokens"):
    """Return where the records of a log stand on an axis: "steps", "tokens" or "minutes" (n,).

    Counted with the record's own step, so that nothing is 0 and every axis may be logarithmic.
    Raises ValueError for another axis.
    """
    steps = np.array([record["step"] + 1 for record in records])
    if axis == "steps":
        return steps
    if axis == "tokens":
        training = head["training"]
        return steps * training["batch_size"] * training["seq_len"] * training["grad_accum_steps"]
    if axis == "minutes":
        return np.cumsum([record["ms"] for record in records]) / 60_000
    raise ValueError(f'axis must be "steps", "tokens" or "minutes", not {axis!r}')


def loss_curve(ax, x, losses, half_life=0, color=COLORS["ours"], line="-"):
    """Draw losses faintly and their average (see `smooth`) strongly; return the average."""
    smoothed = smooth(losses, half_life)
    if half_life:
        pale = [1 - 0.4 * (1 - c) for c in to_rgb(color)]  # opaque: fewer colours, a smaller file
        ax.plot(x, losses, color=pale, linewidth=0.6, linestyle="-", zorder=1.5)
    ax.plot(x, smoothed, color=color, linestyle=line)
    return smoothed


def reference_line(ax, y, text, color=COLORS["baseline"], side="right"):
    """Draw a level to measure a curve by, with its name above the line's "left" or "right" end."""
    ax.axhline(y, color=color, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
    style = {"ha": side, "va": "bottom", "color": color, "fontsize": 8, "annotation_clip": False}
    halo = withStroke(linewidth=2.5, foreground="white")  # to be read across a curve
    ax.annotate(
        text,
        (0.995 if side == "right" else 0.005, y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, 3),  # points above the line, room for a "y"
        textcoords="offset points",
        path_effects=[halo],
        **style,
    )


def heatmap(ax, matrix, kind="attention", rows=None, columns=None):
    """Draw a matrix (rows, columns) and return the image, from which a colour bar can be made.

    "attention": Blues from 0 (white) to the largest weight. "diverging": PuOr, centred on 0. `rows`
    and `columns` are tick labels, such as tokens; [] is none. Raises ValueError for another kind.
    """
    matrix = np.asarray(matrix)
    top = float(np.abs(matrix).max()) or 1.0
    styles = {"attention": (BLUES, 0.0), "diverging": ("PuOr", -top)}
    if kind not in styles:
        raise ValueError(f'kind must be "attention" or "diverging", not {kind!r}')
    cmap, bottom = styles[kind]
    image = ax.imshow(matrix, cmap=cmap, vmin=bottom, vmax=top, interpolation="nearest")
    ax.spines[:].set_visible(True)
    ax.tick_params(length=0)
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns, rotation=90)
        ax.xaxis.tick_top()
    return image


def to_png(fig, dpi=DPI):
    """Return a figure as a PNG of 64 colours, a third of the size, the same bytes each time."""
    raw, small, about = io.BytesIO(), io.BytesIO(), PngInfo()
    for text in fig.findobj(Text):
        text.set_color(ink(text.get_color()))
    fig.savefig(raw, format="png", dpi=dpi)
    about.add_itxt("Description", getattr(fig, "alt", ""))
    # By coverage a thin pale line keeps its colour, and by k-means a heatmap its shades.
    few = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 5, "dither": Image.Dither.NONE}
    image = Image.open(raw).convert("RGB").quantize(64, **few)
    image.save(small, format="PNG", optimize=True, dpi=(dpi, dpi), pnginfo=about)
    return small.getvalue()


def to_html(fig, alt=None):
    """Return a figure as an <img> with its alt text, at most as wide as the page.

    `alt` says what the picture shows; the drawings of gpt2lite.course.figures bring theirs along as
    `fig.alt`. Raises ValueError without one.
    """
    alt = alt or getattr(fig, "alt", None)
    if not alt:
        raise ValueError('every picture needs an alt text: show(fig, alt="what it shows")')
    data = base64.b64encode(to_png(fig)).decode()
    width = round(fig.get_figwidth() * 100)
    style = f"width:{width}px;max-width:100%;height:auto"
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def show(fig, alt=None, folded=None):
    """Show a figure below the cell, with an alt text for readers who cannot see it.

    `alt` is that of `to_html`. `folded` is what stands in the picture's place until the reader
    opens it: for a question to be answered first.
    """
    from IPython.display import display

    page = to_html(fig, alt)  # because JupyterLab and Colab drop the alt text of an image/png
    if folded:
        page = f"<details><summary>{html.escape(folded)}</summary>{page}</details>"
    display({"text/html": page, "text/plain": alt or fig.alt}, raw=True)
