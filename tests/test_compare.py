"""Values that mean the same agree, whatever their type; what differs is said in words."""

import math
import re
import types

import numpy as np
import pytest
import torch
from torch import nn

from gpt2lite.course.compare import brief, differs

A = torch.arange(1.0, 7.0).view(2, 3)
NEAR = torch.tensor([1.23456, 1.0], dtype=torch.float64)  # two numbers must not look equal
HUGE = torch.tensor([1e6, 1.0])


class Kept:
    def __init__(self, k):
        self.k = k


def named(value):
    """Return a test's id: what is compared, without its place in memory."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    "got, expected",
    [
        (np.float64(0.3), 0.3),
        (np.float32(0.3), 0.3),
        (torch.tensor(0.3), 0.3),
        (np.array(0.3), 0.3),
        (0.1 + 0.2, 0.3),
        (3.0, 3),
        (np.int64(3), 3),
        (torch.tensor(124439808), 124439808),
        (np.bool_(True), True),
        (math.nan, math.nan),
        (math.inf, math.inf),
        ([1, 2.0], (1, 2)),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        ([np.float64(1.0), torch.tensor(2.0)], (1.0, 2.0)),
        (range(3), [0, 1, 2]),
        ("bf16", "bf16"),
        (np.str_("bf16"), "bf16"),
        (torch.tensor(1.2e-7), -0.0),
        (None, None),
        (A + 1e-6, A),
        (HUGE + 5, HUGE),  # 1e-5 of the largest
        (torch.tensor([1, 2], dtype=torch.int32), torch.tensor([1, 2])),
        (torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf])),
        ({"b": 2, "a": 1}, {"a": 1, "b": 2}),
        (Kept(A), Kept(A.clone())),
        (math.sqrt, math.sqrt),
    ],
    ids=named,
)
def test_the_same_value_agrees(got, expected):
    assert differs(got, expected) == ""


@pytest.mark.parametrize(
    "got, expected, said",
    [
        (0.3001, 0.3, "it returns 0.3001, expected 0.3"),
        (4, 3, "it returns 4, expected 3 (+1)"),
        (124439808 - 1000, 124439808, "(-1,000)"),
        (2.999999999, 3, "expected 3"),  # a count is exact
        ("3", 3, "it returns '3', expected 3"),
        (None, 3, "it returns None, expected 3"),
        (torch.tensor([3.0]), 3.0, "it returns tensor([3]), expected 3"),
        (math.nan, 1.0, "it returns nan"),
        ("fp16", "bf16", "it returns 'fp16', expected 'bf16'"),
        (False, "bf16", "it returns False"),
        (None, True, "it returns None, expected True"),
        ((1, 2, 3), (1, 2), "it returns (1, 2, 3), expected (1, 2)"),
        (NEAR + 2e-5, NEAR, "at [0] it returns 1.23458, expected 1.23456"),
        ((1, 3), (1, 2), "at 1, it returns 3, expected 2 (+1)"),
        ("ab", ("a", "b"), "it returns 'ab', expected ('a', 'b')"),
        (torch.tensor(1), (1,), "it returns tensor(1)"),
        ({"a": 1}, {"a": 1, "b": 2}, "'b' is missing"),
        ({"a": 1, "c": 2}, {"a": 1}, "'c' is too many"),
        ({"a": 2}, {"a": 1}, "at 'a', it returns 2, expected 1"),
        ([("a", 1)], {"a": 1}, "it returns [('a', 1)], expected {'a': 1}"),
        (A.numpy(), A, "from_numpy"),
        ((A, A), A, "return one tensor alone"),
        (1.0, torch.tensor(1.0), "it returns 1, expected tensor(1)"),
        (A[:1], A, "its shape is (1, 3), expected (2, 3): compare the last"),
        (A[0], A, "a dimension was lost or added"),
        (A.T, A, "was a transpose forgotten?"),
        (A.double(), A, "its numbers are torch.float64, expected torch.float32"),
        (A, A.long(), "its numbers are torch.float32, expected torch.int64"),
        (A.bool(), A.long(), "its numbers are torch.bool"),
        (A.long() + (A == 4), A.long(), "at [1, 0] it returns 5, expected 4"),
        (A + 1e-3 * (A == 6), A, "at [1, 2] it returns 6.001, expected 6"),
        (HUGE + torch.tensor([0.0, 20.0]), HUGE, "at [1]"),
        (
            HUGE.long() + 1,
            HUGE.long(),
            "at [0] it returns 1000001, expected 1000000",
        ),  # a count is exact
        (torch.tensor([math.inf, 2.0]), torch.tensor([math.inf, 1.0]), "at [1]"),
        (A.where(A < 6, math.nan), A, "there is nan in it"),
        (A.where(A < 6, math.inf), A, "at [1, 2] it returns inf"),
        (A, A.where(A < 6, math.nan), "at [1, 2] it returns 6, expected nan"),
        (-A, A, "the sign is turned round"),
        (A[:, :2].T.contiguous(), A[:, :2], "it is the transposed"),
        (A / 2, A, "every number is 0.5 times the expected one"),
        (HUGE * torch.tensor([1.01, 1]), HUGE, "it returns 1.01e+06, expected 1e+06"),
        (A + 0.25, A, "every number is off by +0.25"),
        (Kept(A), Kept(-A), "at 'k'"),
        (types.SimpleNamespace(k=A), Kept(A), "it returns"),
        (math.sin, math.sqrt, "it returns"),
        ((x for x in [1]), [1], "expected [1]"),
    ],
    ids=named,
)
def test_what_differs_is_said(got, expected, said):
    assert said in differs(got, expected)


def test_numbers_that_are_not_one_multiple_are_not_called_so():
    assert "times" not in differs(HUGE * torch.tensor([1.01, 1]), HUGE)


def test_modules_are_compared_by_their_tensors():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert "at 'weight'" in differs(one, other)
    other.load_state_dict(one.state_dict())
    assert differs(one, other) == ""
    assert differs("a module?", one)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, ["x" * 70] * 8, list(range(10**6)), A.expand(9, 2, 3), {1: A}]
)
def test_a_huge_value_is_shown_in_a_line(value):
    assert len(brief(value)) <= 80 and "\n" not in brief(value)


@pytest.mark.parametrize(
    "value, text",
    [
        ({("n", "e"): 1, ("a", "b"): 2}, "{('n', 'e'): 1, ('a', 'b'): 2}"),
        (A, "tensor([[1, 2, 3], [4, 5, 6]])"),
        (A.expand(9, 2, 3), "a tensor of shape (9, 2, 3)"),
        (np.zeros((3, 3)), "an array of shape (3, 3)"),
        (10.824905, "10.8249"),
        (differs, "the function differs"),
    ],
)
def test_a_value_is_shown_as_it_would_be_typed(value, text):
    assert brief(value).startswith(text)
