"""The notebooks' exercises: solutions, cases, and known wrong answers with what to say to each.

One module a notebook. Names are NN_what, NN the notebook. tests/test_exercises.py holds every entry
to this: the solution passes, and each wrong answer is rejected with its own sentence.
"""

from gpt2lite.course.exercises import (
    architecture,
    initialization,
    loss_curves,
    mixed_precision,
    pretrained_weights,
)

EXERCISES = (
    architecture.EXERCISES
    | pretrained_weights.EXERCISES
    | initialization.EXERCISES
    | mixed_precision.EXERCISES
    | loss_curves.EXERCISES
)
