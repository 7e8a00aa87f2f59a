"""The parts that readers write: for each its solution, the cases it is tried on, known mistakes.

To add a part, add it to PARTS in this folder's module of its notebook (or add a module that has a
PARTS); nothing else needs an edit. Its key is NN_name, NN the notebook, and parts stand in the
order of the mathematics, in which my_gpt2.py keeps them. A function:

    def scale(x, gain):
        return x * gain

    PARTS = {
        "01_scale": Part(
            solution=scale,
            cases=((torch.ones(1, 1, 4), 2.0), (torch.randn(2, 3, 4, requires_grad=True), 0.5)),
            mistakes=((lambda x, gain: x + gain, "the gain is added: multiply by it"),),
            forbidden={"mul": "write the product with *"},
        ),
    }

In the notebook stands the stub in a cell tagged `build`, and below it one markdown cell with two
<details>: the hint, and the course's own version, which is `solution` word for word:

    def scale(x, gain):
        \"\"\"Multiply each channel by its gain: (B, T, C) -> (B, T, C). ●○○ 3 minutes\"\"\"
        return ...  # your part


    scale = checks.build(scale, PARTS["01_scale"])

A class names in `make` how to build it for the cases. Its `__init__` is given; the reader writes
`forward`, and only `forward` is judged and replaced. A case holds forward's arguments, a mistake is
a wrong `forward(self, x)`:

        "01_block": Part(solution=Block, make=lambda Block: Block(TINY), cases=((x,),), mistakes=…)

A stand-in sees the globals of its own module, not the notebook's: what a forward should take from
the reader (a function such as attend), the given `__init__` puts on `self`.

Order the cases from simple to complete, so that the first that a mistake fails shows that mistake
alone; if several mistakes agree there, the one that agrees in most of the cases is told. What a
function leaves in its arguments is part of its answer: it may change an input only as the solution
does. Where a tensor requires grad, and in a class, the gradients are compared too. Before each case
the seed is set.

tests/test_exercises.py holds every part to all of this.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, eq=False)
class Part:
    """A function or class that the reader writes, and what is known about right and wrong ones.

    mistakes: pairs of a wrong function and the sentence for the reader whose answer agrees with it.
    forbidden: names of torch functions ("softmax" is all its forms) or dtypes, each with the
    sentence that refuses it while the cases run.
    make: for a class, builds a module from it. exercise: an exercise, whose answer isn't used.
    cpu: its arguments lie on the CPU in the notebook too, so that an answer may be in numpy.
    named: a pattern; what it finds in the solution's error message must be in the reader's too.
    seen: what of a returned value counts, such as the frequencies of random draws.
    left: what of the arguments counts afterwards, such as the size of weights that it draws.
    tolerance: the largest difference from the solution, as a share of its largest number.
    """

    solution: Callable
    cases: tuple[tuple, ...]
    mistakes: tuple[tuple[Callable, str], ...]
    forbidden: Mapping[str | torch.dtype, str] = field(default_factory=dict)
    make: Callable | None = None
    exercise: bool = False
    cpu: bool = False
    named: str = ""
    seen: Callable = lambda value: value
    left: Callable = lambda arguments: arguments
    tolerance: float = 1e-5


def _discover() -> dict[str, Part]:
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = {key: part for module in modules for key, part in module.PARTS.items()}
    return {key: found[key] for key in sorted(found, key=lambda key: key[:2])}


PARTS: dict[str, Part] = _discover()
