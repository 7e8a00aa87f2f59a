"""The notebooks' checks: one printed line if a claim holds, an error naming the mistake if not.

Knows nothing about any one notebook. A check that can't fail is worth nothing, so each is itself
tested with wrong answers (tests/test_checks.py).
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch


def ok(claim: str) -> None:
    """Print the one line of a check that has passed."""
    print(f"✓ {claim}")


def true(condition, claim: str, hint: str = "") -> None:
    """Check a claim given as a condition; `hint` names the likely mistake."""
    if not condition:
        raise AssertionError(f"not so: {claim}" + (f". {hint}" if hint else ""))
    ok(claim)


def shape(x: torch.Tensor, expected: tuple, name: str = "x") -> None:
    """Check a tensor's shape; a None in `expected` fits any size."""
    fits = x.dim() == len(expected) and all(
        e in (None, s) for s, e in zip(x.shape, expected, strict=True)
    )
    if not fits:
        raise AssertionError(
            f"{name} has shape {tuple(x.shape)}, expected {expected}: {_shape_hint(x, expected)}"
        )
    ok(f"{name} has shape {tuple(x.shape)}")


def _shape_hint(x, expected):
    if x.dim() != len(expected):
        return "a dimension was lost or added"
    if sorted(x.shape) == sorted(e or -1 for e in expected):
        return "the same sizes in another order: was a transpose forgotten?"
    return "compare the last operation's sizes on paper"


def close(a: torch.Tensor, b: torch.Tensor, claim: str, atol: float = 1e-5) -> None:
    """Check that two tensors agree to `atol`, the gap of rounding; print the largest difference."""
    if a.shape != b.shape:
        raise AssertionError(f"not comparable: shapes {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.detach().cpu().double(), b.detach().cpu().double()  # Apple's GPU has no fp64
    gaps = torch.where(a == b, 0.0, (a - b).abs())  # so that two infinities agree
    gap = gaps.max().item() if gaps.numel() else 0.0
    if not gap <= atol:  # so that nan fails too
        raise AssertionError(
            f"not so: {claim}. The largest difference is {gap:.1e}, rounding explains {atol:.0e}"
        )
    ok(f"{claim} (largest difference {gap:.0e})")


def equal(a, b, claim: str) -> None:
    """Check that two values (tensors: bit for bit) are the same."""
    tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    same = torch.equal(a, b) if tensors else type(a) is type(b) and a == b
    if not same:
        raise AssertionError(f"not so: {claim}. Got {_brief(a)}, expected {_brief(b)}")
    ok(claim)


def _brief(*values):
    text = " ".join(", ".join(map(repr, values)).split())
    return text if len(text) < 80 else text[:77] + "..."


def same_module(mine: type, theirs: type, config, *inputs: torch.Tensor) -> None:
    """Check that the class built in a notebook is the package's: same parameters, same output bit
    for bit."""
    with torch.random.fork_rng():  # the reader's own random numbers go on as if nothing was
        torch.manual_seed(0)
        reference = theirs(config).eval()
        for p in reference.parameters():  # biases and gains too, or a forgotten one would not show
            torch.nn.init.normal_(p, std=0.5 if p.dim() == 1 else 0.02)
        built = mine(config).eval()
    try:
        built.load_state_dict(reference.state_dict())
    except RuntimeError as e:
        raise AssertionError(
            f"{mine.__name__} and gpt2lite's differ in their parameters: {e}"
        ) from e
    with torch.no_grad():
        a, b = built(*inputs), reference(*inputs)
    if not torch.equal(a, b):
        gap = (a - b).abs().max().item() if a.shape == b.shape else float("nan")
        raise AssertionError(
            f"{mine.__name__} has gpt2lite's parameters, but computes something else (difference "
            f"{gap:.1e}): compare the order of operations, the mask and the form of GELU"
        )
    ok(f"{mine.__name__} is gpt2lite.{theirs.__name__}: same parameters, same output bit for bit")


@dataclass(frozen=True)
class Exercise:
    """An exercise: its solution, the cases it is tried on, and the wrong answers that readers give.

    mistakes: pairs of a wrong function and the sentence that a reader whose answer agrees with it
    should read.
    """

    solution: Callable
    cases: tuple[tuple, ...]
    mistakes: tuple[tuple[Callable, str], ...]


def exercise(answer: Callable, task: Exercise) -> None:
    """Try a reader's function on every case; print ✓, ○ (returns None), or ✗ and the mistake."""
    try:
        if _agrees(answer, lambda *_: None, task.cases):
            print("○ not attempted")
        elif _agrees(answer, task.solution, task.cases):
            ok(f"{answer.__name__}: right in all {len(task.cases)} cases")
        else:
            known = (why for wrong, why in task.mistakes if _agrees(answer, wrong, task.cases))
            print(f"✗ {next(known, 'not yet: ' + _first_difference(answer, task))}")
    except Exception as e:  # the reader's code: say what it raised, and let Run All go on
        print(f"✗ your function raised {type(e).__name__}: {e}")


def _agrees(answer, other, cases) -> bool:
    return all(_same(_try(answer, case), _try(other, case)) for case in cases)


def _try(function, case):
    return function(*deepcopy(case))  # a function that changes its input must not spoil the case


def _same(a, b) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        a, b = a.double(), b.double()
        return a.shape == b.shape and torch.allclose(a, b, atol=1e-5, equal_nan=True)
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-8)
    return a == b


def _first_difference(answer, task) -> str:
    tries = ((case, _try(answer, case), _try(task.solution, case)) for case in task.cases)
    case, got, expected = next(t for t in tries if not _same(*t[1:]))
    off = f" ({got - expected:+,})" if type(got) is type(expected) is int else ""
    return f"for {_brief(*case)} you return {_brief(got)}, expected {_brief(expected)}{off}"
