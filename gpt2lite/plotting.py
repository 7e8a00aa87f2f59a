"""The house style: colours, sizes, fonts and the few parts that all pictures of the course share.

Knows nothing about models or runs. Each picture carries an alt text: `show` refuses one without.
Figures are made apart from pyplot, so that nothing is shown twice and nothing has to be closed.

Source of the colours, which colour-blind readers can tell apart: Okabe & Ito, "Color Universal
Design" (2008).
"""

import base64
import html
import io

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

COLORS = {
    "ours": "#0072B2",  # also: training
    "validation": "#D55E00",
    "reference": "#009E73",  # GPT-2 itself
    "highlight": "#CC79A7",
    "baseline": "#000000",
}
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
    ax.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        annotation_clip=False,
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
    """Return a figure as a PNG of 256 colours, a third of the size, the same bytes each time."""
    raw, small, about = io.BytesIO(), io.BytesIO(), PngInfo()
    fig.savefig(raw, format="png", dpi=dpi)
    about.add_itxt("Description", getattr(fig, "alt", ""))
    image = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(small, format="PNG", optimize=True, dpi=(dpi, dpi), pnginfo=about)
    return small.getvalue()


def show(fig, alt=None):
    """Show a figure below the cell, with an alt text for readers who cannot see it.

    `alt` says what the picture shows; the drawings of gpt2lite.course.figures bring theirs along as
    `fig.alt`. Raises ValueError without one.
    """
    from IPython.display import display

    alt = alt or getattr(fig, "alt", None)
    if not alt:
        raise ValueError('every picture needs an alt text: show(fig, alt="what it shows")')
    # An <img>, because JupyterLab and Colab drop the alt text of an image/png output.
    data = base64.b64encode(to_png(fig)).decode()
    width = round(fig.get_figwidth() * 100)
    img = f'<img alt="{html.escape(alt)}" width="{width}" src="data:image/png;base64,{data}">'
    display({"text/html": img, "text/plain": alt}, raw=True)
