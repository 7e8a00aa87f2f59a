"""The things to move in the notebooks: core ipywidgets only, so that Colab shows them too.

Knows nothing about any one notebook. A widget is not stored with its notebook, so a picture stands
beside each.
"""

from gpt2lite.course.widgets.curves import compare_runs, curve_explorer
from gpt2lite.course.widgets.floats import float_explorer, float_layouts
from gpt2lite.course.widgets.initialization import (
    first_stream,
    initialization_explorer,
    unit_model,
)
from gpt2lite.course.widgets.sampling import next_logits, next_tokens, sampling_playground
from gpt2lite.course.widgets.sizes import sizes_explorer

__all__ = [
    "compare_runs",
    "curve_explorer",
    "float_explorer",
    "float_layouts",
    "first_stream",
    "initialization_explorer",
    "next_logits",
    "next_tokens",
    "sampling_playground",
    "sizes_explorer",
    "unit_model",
]
