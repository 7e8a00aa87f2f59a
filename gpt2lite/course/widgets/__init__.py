"""The things to move in the notebooks: core ipywidgets only, so that Colab shows them too.

Knows nothing about any one notebook. A widget is not stored with its notebook, so a picture stands
beside each.
"""

from gpt2lite.course.widgets.attention import attention_explorer
from gpt2lite.course.widgets.curves import curve_explorer
from gpt2lite.course.widgets.floats import float_explorer
from gpt2lite.course.widgets.initialization import initialization_explorer
from gpt2lite.course.widgets.plan import plan_explorer
from gpt2lite.course.widgets.recipe import schedule_explorer
from gpt2lite.course.widgets.sampling import sampling_playground
from gpt2lite.course.widgets.sizes import sizes_explorer

__all__ = [
    "attention_explorer",
    "curve_explorer",
    "float_explorer",
    "initialization_explorer",
    "plan_explorer",
    "sampling_playground",
    "schedule_explorer",
    "sizes_explorer",
]
