"""An empty canvas, and the strokes that every drawing of the course is made of.

Knows nothing about what is drawn. Coordinates are inches from the top left corner.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from gpt2lite.plotting import COLORS, use_style

BLUE, PURPLE = COLORS["ours"], COLORS["highlight"]
INK, GREY, LINE, FAINT = "#1a1a1a", "#666666", "#444444", "#aaaaaa"
# Pale forms of the house colours, one for each kind of part.
TOKEN, POSITION, ATTENTION, THINK = "#f3ddea", "#ccebe1", "#cfe4f2", "#fadbc8"
PLAIN, PAPER = "#efefef", "white"
ALIGN = {"l": "left", "c": "center", "r": "right"}


class Canvas:
    """An empty sheet in inches, y downwards, and the strokes that every drawing is made of."""

    def __init__(self, width, height, alt):
        use_style()
        self.fig = Figure(figsize=(width, height))
        self.fig.alt = alt
        self.ax = self.fig.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, width), ylim=(height, 0))
        self.ax.axis("off")

    def text(self, x, y, text, align="l", color=INK, size=8, mono=False, turned=False, **style):
        """Write at x, the capitals centred in height on y; `turned` reads upwards."""
        # By baselines, because what matplotlib takes for a text's height differs between versions.
        down, pitch, lines = 0.36 * size / 72, 1.3 * size / 72, text.split("\n")
        family = "DejaVu Sans Mono" if mono else "DejaVu Sans"
        style = {"color": color, "size": size, "family": family, "zorder": 6} | style
        style |= {"ha": ALIGN[align], "va": "baseline", "rotation_mode": "anchor"}
        if turned:
            self.ax.text(x + down, y, text, rotation=90, **style)
            return
        for i, line in enumerate(lines):
            self.ax.text(x, y + down + (i - (len(lines) - 1) / 2) * pitch, line, **style)

    def title(self, x, y, text, align="l", size=10):
        """Write in bold what the drawing, or a part of it, shows."""
        self.text(x, y, text, align, size=size, weight="bold")

    def rect(self, x, y, width, height, fill, edge=LINE, line=0.7, zorder=3):
        """Draw a rectangle from its top left corner."""
        style = {"facecolor": fill, "edgecolor": edge, "linewidth": line}
        self.ax.add_patch(Rectangle((x, y), width, height, zorder=zorder, **style))

    def box(self, x, y, width, height, text="", fill=PLAIN, edge=LINE, line=0.9, **style):
        """Draw a rounded box around its centre, with a text in it."""
        shape = f"round,pad=0,rounding_size={min(0.06, width / 4)}"
        style = {"facecolor": fill, "edgecolor": edge, "linewidth": line, "zorder": 3} | style
        corner = (x - width / 2, y - height / 2)
        self.ax.add_patch(FancyBboxPatch(corner, width, height, shape, **style))
        self.text(x, y, text, "c")

    def cells(self, x, y, count, fill, height=0.1):
        """Draw a vector: a column of cells whose top is at (x, y)."""
        for i in range(count):
            self.rect(x - 0.05, y + height * i, 0.1, height, fill, line=0.6)

    def line(self, *points, color=LINE, width=1.0, dash="-", head=True, zorder=2, alpha=1):
        """Draw straight lines through the points, with an arrow head at the last."""
        style = {"color": color, "linewidth": width, "zorder": zorder, "alpha": alpha}
        self.ax.plot(*zip(*points, strict=True), linestyle=dash, **style)
        if head:
            tip = {"arrowstyle": "-|>,head_length=0.35,head_width=0.16", "shrinkA": 0, "shrinkB": 0}
            tip |= {"color": color, "linewidth": width}
            (x0, y0), (x, y) = points[-2:]
            near = x + (x0 - x) * 0.01, y + (y0 - y) * 0.01  # the shaft is drawn, with its dashes
            self.ax.annotate("", (x, y), near, arrowprops=tip, zorder=zorder)

    def plus(self, x, y):
        """Draw the sign for: what comes in is added to the stream."""
        circle = Circle((x, y), 0.095, facecolor=PAPER, edgecolor=INK, linewidth=1.2, zorder=5)
        self.ax.add_patch(circle)
        for dx, dy in ((0.055, 0), (0, 0.055)):
            stroke = (x - dx, y - dy), (x + dx, y + dy)
            self.line(*stroke, color=INK, width=1.2, head=False, zorder=6)
