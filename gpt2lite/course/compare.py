"""Compares two values, and says in words in what they differ.

Where plain numbers are expected, any type of number is right: numpy's, a 0-d tensor, a float for an
int, a list or an array for a tuple. A tensor must have the shape and the dtype, or the code that
goes on with it would fail. Knows nothing about who made the values.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import torch
from torch import nn

ROUNDING = 2.0**-22  # how far a few operations round in fp32, near 1


def differs(got, expected, tolerance: float = 1e-5) -> str:
    """Say in what a value differs from the expected one, or return an empty text.

    tolerance: a share of the largest expected number of a tensor, or of a number on its own.
    """
    if isinstance(expected, torch.Tensor):
        return _tensor(got, expected, tolerance)
    if isinstance(expected, nn.Module) and isinstance(got, nn.Module):
        return differs(got.state_dict(), expected.state_dict(), tolerance)
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        if missing := [key for key in expected if key not in got]:
            return f"{brief(missing[0])} is missing"
        if extra := [key for key in got if key not in expected]:
            return f"{brief(extra[0])} is too many"
        return _first((k, got[k], value, tolerance) for k, value in expected.items())
    if isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        items = _items(got)
        if items is not None and len(items) == len(expected):
            return _first((i, items[i], value, tolerance) for i, value in enumerate(expected))
    elif isinstance(expected, Real):
        return _number(got, expected, tolerance)
    elif isinstance(expected, str) and isinstance(got, str):  # numpy's too
        if got == expected:
            return ""
    elif type(got) is type(expected):
        if hasattr(expected, "__dict__") and not callable(expected):
            return differs(vars(got), vars(expected), tolerance)
        if got is expected or got == expected:
            return ""
    return f"it returns {brief(got)}, expected {brief(expected)}"


def _first(pairs) -> str:
    for at, got, expected, tolerance in pairs:
        if apart := differs(got, expected, tolerance):
            return f"at {brief(at)}, {apart}"
    return ""


def _items(value) -> list | None:
    if isinstance(value, torch.Tensor | np.ndarray):
        return list(value) if value.ndim else None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None


def _number(got, expected, tolerance) -> str:
    number = got
    if isinstance(got, torch.Tensor | np.ndarray | np.generic) and got.ndim == 0:
        number = got.item()
    off = ""
    if isinstance(number, Real):
        exact = isinstance(expected, int)
        near = math.isclose(number, expected, rel_tol=tolerance, abs_tol=ROUNDING)
        if number == expected or near and not exact or math.isnan(number) and math.isnan(expected):
            return ""
        off = f" ({number - expected:+,})" if exact and isinstance(number, int) else ""
    return f"it returns {brief(got)}, expected {brief(expected)}{off}"


def _tensor(got, expected, tolerance) -> str:
    if not isinstance(got, torch.Tensor):
        hint = ": torch.from_numpy makes a tensor of it" if isinstance(got, np.ndarray) else ""
        if isinstance(got, tuple | list):
            hint = ": return one tensor alone"
        return f"it returns {brief(got)}, expected {brief(expected)}{hint}"
    if got.shape != expected.shape:
        hint = shape_hint(tuple(got.shape), tuple(expected.shape))
        return f"its shape is {tuple(got.shape)}, expected {tuple(expected.shape)}: {hint}"
    exact = not expected.is_floating_point()
    whole = {torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64}
    if got.dtype != expected.dtype and not {got.dtype, expected.dtype} <= whole:
        return f"its numbers are {got.dtype}, expected {expected.dtype}"
    a, b = (t.detach().cpu().double() for t in (got, expected))  # Apple's GPU has no fp64
    off = _apart(a, b, 0.0 if exact else tolerance)
    if not off.any():
        return ""
    at = tuple(off.nonzero()[0].tolist())
    place = f"at {list(at)} " if at else ""
    hint = relation(a, b)
    shown = [(f"{a[at]:.{n}g}", f"{b[at]:.{n}g}") for n in (5, 9, 17)]
    x, y = next((pair for pair in shown if pair[0] != pair[1]), shown[-1])
    return f"{place}it returns {x}, expected {y}{': ' if hint else ''}{hint}"


def _apart(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Return where two fp64 tensors differ by more than a share of b's largest number."""
    finite = b[b.isfinite()].abs()
    limit = tolerance * finite.max() + ROUNDING if tolerance and finite.numel() else 0.0
    return ~((a == b) | ((a - b).abs() <= limit) | (a.isnan() & b.isnan()))


def relation(a: torch.Tensor, b: torch.Tensor) -> str:
    """Say how a wrong tensor comes from the right one of its shape, where that is easily said."""
    if a.isnan().any() and not b.isnan().any():
        return "there is nan in it"
    if a.numel() < 2 or not b.isfinite().all():
        return ""
    if not _apart(a, -b, 1e-5).any():
        return "the sign is turned round"
    if a.dim() > 1 and a.mT.shape == b.shape and not _apart(a.mT, b, 1e-5).any():
        return "it is the transposed"
    factor, offset = (a * b).sum() / (b * b).sum(), (a - b).mean()
    if factor and ((a - factor * b).abs() <= 1e-4 * (factor * b).abs()).all():
        return f"every number is {factor:.4g} times the expected one"
    if not _apart(a - offset, b, 1e-5).any():
        return f"every number is off by {offset:+.4g}"
    return ""


def shape_hint(got: tuple, expected: tuple) -> str:
    """Name the likely reason for a wrong shape; a None in `expected` fits any size."""
    if len(got) != len(expected):
        return "a dimension was lost or added"
    if sorted(got) == sorted(e or -1 for e in expected):
        return "the same sizes in another order: was a transpose forgotten?"
    return "compare the last operation's sizes on paper"


class _Brief(reprlib.Repr):
    """Python's own short form, with tensors and functions as a reader would say them."""

    def repr_Tensor(self, x, level):
        if x.numel() > 8 or x.dim() > 2:
            return f"a tensor of shape {tuple(x.shape)}"
        return f"tensor({self.repr1(x.tolist(), level)})"

    def repr_ndarray(self, x, level):
        return f"an array of shape {x.shape}" if x.size > 8 else f"array({x.tolist()})"

    def repr_dict(self, x, level):
        pairs = [f"{self.repr1(k, level)}: {self.repr1(v, level)}" for k, v in x.items()]
        return f"{{{', '.join(pairs)}}}"

    def repr_float(self, x, level):
        return f"{x:.7g}"

    def repr_function(self, x, level):
        return f"the function {x.__name__}"


def brief(value) -> str:
    """Return a value as text of at most 80 characters."""
    shortened = _Brief()
    shortened.maxlist = shortened.maxtuple = 8
    shortened.maxstring = shortened.maxother = 76
    text = " ".join(shortened.repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
