"""The canvas: what its strokes look like, where a picture would hide a mistake."""

import io

import numpy as np
from PIL import Image

from gpt2lite.course.canvas import Canvas
from gpt2lite.plotting import to_png


def test_an_arrow_keeps_its_dashes():
    canvas = Canvas(2, 1, "an arrow")
    canvas.line((0.2, 0.5), (1.8, 0.5), color="black", width=2, dash=(0, (3, 3)))
    page = Image.open(io.BytesIO(to_png(canvas.fig, dpi=100))).convert("L")
    dark = np.asarray(page) < 128  # rows of pixels
    shaft, head = dark[48:52, 20:165].any(0), dark[:, 165:185].any(1)
    assert 0.3 < shaft.mean() < 0.7, "no gaps: the arrow's own shaft is drawn over the dashes"
    assert head.sum() > 3, "no arrow head"
