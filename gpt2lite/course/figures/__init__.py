"""The course's pictures, made by code: drawings and charts.

`python -m gpt2lite.course.figures` writes the README's into images/. Each is a matplotlib Figure
that carries its alt text as `fig.alt`; show it with gpt2lite.plotting.show(fig).
"""

from gpt2lite.course.figures.charts import (
    AXES,
    LOOKS,
    compare_runs,
    likeliest,
    next_tokens,
    sizes,
    step_curve,
    wrong_models,
)
from gpt2lite.course.figures.drawings import (
    STATIONS,
    causal_mask,
    conv1d_transpose,
    course_map,
    float_layouts,
    forward_pass,
    gpt2,
    heads_split,
    kv_cache,
    targets,
    token_strip,
)
from gpt2lite.course.figures.first_weights import (
    by_depth,
    ends_by_depth,
    first_losses,
    loss_by_std,
    own_logits,
    paired_runs,
    standard_deviations,
)
from gpt2lite.course.figures.formats import (
    gradient_sizes,
    ladder,
    loss_scale,
    profiles,
    rounding_errors,
    sixteen_bits,
)
from gpt2lite.course.figures.recipe import clipped, overfitting, schedules, sweep
from gpt2lite.course.figures.runs import curves, gallery
from gpt2lite.course.figures.scaling import (
    buckets,
    data_parallel,
    extrapolated,
    memory,
    step_by_bandwidth,
)
from gpt2lite.course.figures.scores import intervals, text_losses, token_losses
from gpt2lite.course.figures.tensors import (
    attention_maps,
    bits,
    decoding_times,
    differences,
    embeddings,
    file_sizes,
)

__all__ = [
    "AXES",
    "LOOKS",
    "STATIONS",
    "attention_maps",
    "bits",
    "buckets",
    "by_depth",
    "causal_mask",
    "clipped",
    "compare_runs",
    "conv1d_transpose",
    "course_map",
    "curves",
    "data_parallel",
    "decoding_times",
    "differences",
    "embeddings",
    "ends_by_depth",
    "extrapolated",
    "file_sizes",
    "first_losses",
    "float_layouts",
    "forward_pass",
    "gallery",
    "gpt2",
    "gradient_sizes",
    "heads_split",
    "intervals",
    "kv_cache",
    "ladder",
    "likeliest",
    "loss_by_std",
    "loss_scale",
    "memory",
    "next_tokens",
    "own_logits",
    "paired_runs",
    "profiles",
    "rounding_errors",
    "sixteen_bits",
    "overfitting",
    "schedules",
    "sizes",
    "standard_deviations",
    "step_by_bandwidth",
    "step_curve",
    "sweep",
    "targets",
    "text_losses",
    "token_losses",
    "token_strip",
    "wrong_models",
]
