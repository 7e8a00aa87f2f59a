"""The notebooks' checks: wrong answers fail with their hint, right ones print one line with ✓."""

import pytest
import torch
from helpers import TINY, random_ids

from gpt2lite import GPT
from gpt2lite.course import checks
from gpt2lite.course.checks import Exercise
from gpt2lite.model import MLP, CausalSelfAttention

A = torch.arange(6.0).view(2, 3)

RIGHT = {
    "ok": (lambda: checks.ok("done"), "✓ done"),
    "true": (lambda: checks.true(1 < 2, "one is less"), "✓ one is less"),
    "shape": (lambda: checks.shape(A, (2, 3), "A"), "✓ A has shape (2, 3)"),
    "shape, any size": (lambda: checks.shape(A, (None, 3), "A"), "✓ A has shape (2, 3)"),
    "close": (lambda: checks.close(A, A + 5e-6, "same"), "✓ same (largest difference 5e-06)"),
    "close, own gap": (lambda: checks.close(A, A + 0.1, "same", atol=0.2), "✓ same"),
    "equal": (lambda: checks.equal(A, A.clone(), "same"), "✓ same"),
    "equal, lists": (lambda: checks.equal([1, 2], [1, 2], "same"), "✓ same"),
}


@pytest.mark.parametrize("check, line", RIGHT.values(), ids=RIGHT.keys())
def test_right_prints_one_line(check, line, capsys):
    check()
    out = capsys.readouterr().out
    assert out.startswith(line) and out.count("\n") == 1


NAN = torch.full((2, 3), torch.nan)
WRONG = {
    "true": (lambda: checks.true(2 < 1, "two is less", "Count again"), "two is less. Count again"),
    "transposed": (lambda: checks.shape(A.T, (2, 3), "A"), "was a transpose forgotten"),
    "dimension lost": (lambda: checks.shape(A[0], (2, 3), "A"), "a dimension was lost or added"),
    "dimension added": (
        lambda: checks.shape(A[None], (2, 3), "A"),
        "a dimension was lost or added",
    ),
    "other size": (lambda: checks.shape(A[:, 1:], (2, 3), "A"), r"(2, 2), expected (2, 3)"),
    "just too far": (
        lambda: checks.close(A, A + 2e-5, "same"),
        "is 2.0e-05, rounding explains 1e-05",
    ),
    "one element": (lambda: checks.close(A, A + (A == 5) * 1e-3, "same"), "is 1.0e-03"),
    "nan": (lambda: checks.close(A, NAN, "same"), "is nan"),
    "nan in both": (lambda: checks.close(NAN, NAN, "same"), "is nan"),
    "broadcast": (lambda: checks.close(A, A[:1], "same"), "shapes (2, 3) and (1, 3)"),
    "not bit for bit": (lambda: checks.equal(A, A + 1e-6, "same"), "not so: same. Got tensor("),
    "other list": (lambda: checks.equal([1, 2], [1, 3], "same"), "Got [1, 2], expected [1, 3]"),
    "long values": (lambda: checks.equal("x" * 999, "y", "same"), "xxx..., expected 'y'"),
}


@pytest.mark.parametrize("check, hint", WRONG.values(), ids=WRONG.keys())
def test_wrong_is_refused_with_its_hint(check, hint, capsys):
    with pytest.raises(AssertionError) as failure:
        check()
    assert hint in str(failure.value) and capsys.readouterr().out == ""


# same_module


class ErfMLP(MLP):
    def forward(self, x):
        return self.c_proj(torch.nn.functional.gelu(self.c_fc(x)))


class NoBiasMLP(MLP):
    def __init__(self, config):
        super().__init__(config)
        self.c_fc.bias = None


class RenamedMLP(MLP):
    def __init__(self, config):
        super().__init__(config)
        self.fc = self.c_fc
        del self.c_fc


class LosesADimension(MLP):
    def forward(self, x):
        return super().forward(x)[:, :-1]


class NoMask(CausalSelfAttention):
    def forward(self, x, cache=None):
        flipped = super().forward(x.flip(1))
        return flipped.flip(1)


class NoFinalNorm(GPT):
    def hidden(self, idx, cache=None):
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(idx.size(1))))
        for block in self.h:
            x = block(x)
        return x


X = torch.randn(2, 5, TINY.n_embd, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "theirs, x", [(MLP, X), (CausalSelfAttention, X), (GPT, random_ids(TINY, 2, 5))]
)
def test_a_copy_is_the_same_module(theirs, x, capsys):
    checks.same_module(type("Mine", (theirs,), {}), theirs, TINY, x)
    name = theirs.__name__
    assert capsys.readouterr().out == (
        f"✓ Mine is gpt2lite.{name}: same parameters, same output bit for bit\n"
    )


@pytest.mark.parametrize(
    "mine, theirs, x, hint",
    [
        (ErfMLP, MLP, X, "computes something else .* the form of GELU"),
        (NoBiasMLP, MLP, X, "differ in their parameters: .*c_fc.bias"),
        (RenamedMLP, MLP, X, "differ in their parameters: .*c_fc"),
        (LosesADimension, MLP, X, "computes something else"),
        (NoMask, CausalSelfAttention, X, "the mask"),
        (NoFinalNorm, GPT, random_ids(TINY, 2, 5), "computes something else"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_a_different_module_is_not_the_same(mine, theirs, x, hint):
    with pytest.raises(AssertionError, match=f"(?s){mine.__name__}.*{hint}"):
        checks.same_module(mine, theirs, TINY, x)


# exercise

DOUBLE = Exercise(
    solution=lambda x: 2 * x,
    cases=((1,), (3,), (0,)),
    mistakes=((lambda x: x + x + x, "three is too many"), (lambda x: x * x, "that is the square")),
)


def verdict(answer, task, capsys):
    checks.exercise(answer, task)
    (line,) = capsys.readouterr().out.splitlines()
    return line


def double(x):
    return x + x


@pytest.mark.parametrize(
    "answer, line",
    [
        (double, "✓ double: right in all 3 cases"),
        (lambda x: None, "○ not attempted"),
        (lambda x: 3 * x, "✗ three is too many"),
        (lambda x: x**2, "✗ that is the square"),
        (lambda x: 2 * x + 1, "✗ not yet: for 1 you return 3, expected 2 (+1)"),
        (lambda x: 2 * x - 1000, "✗ not yet: for 1 you return -998, expected 2 (-1,000)"),
        (lambda x: None if x == 0 else 2 * x, "✗ not yet: for 0 you return None, expected 0"),
        (lambda x: x // 0, "✗ your function raised ZeroDivisionError"),
        (lambda: 2, "✗ your function raised TypeError"),
    ],
)
def test_an_exercise_gives_its_verdict_in_one_line(answer, line, capsys):
    assert verdict(answer, DOUBLE, capsys).startswith(line)


def test_a_case_is_shown_as_it_would_be_typed(capsys):
    task = Exercise(lambda a, b: [a, b], ((1, "x"),), ())
    line = verdict(lambda a, b: [b, a], task, capsys)
    assert line == "✗ not yet: for 1, 'x' you return ['x', 1], expected [1, 'x']"


def mask_in_place(scores):
    return scores.masked_fill_(torch.ones_like(scores).triu(1).bool(), -torch.inf)


def test_an_answer_that_changes_its_input_spoils_no_case(capsys):
    """Each try must see the cases as they were, or the solution agrees with the damage."""
    task = Exercise(lambda x: x.cumsum(-1), ((torch.ones(4),),), ())
    assert verdict(lambda x: x.zero_(), task, capsys).startswith("✗ not yet")
    masking = Exercise(
        lambda s: s + torch.full_like(s, -torch.inf).triu(1), ((torch.randn(3, 3),),), ()
    )
    assert verdict(mask_in_place, masking, capsys).startswith("✓")
    assert torch.isfinite(masking.cases[0][0]).all()


@pytest.mark.parametrize(
    "right, same, different",
    [
        (0.3, 0.1 + 0.2, 0.3001),
        (A, A + 1e-6, A + 1e-3),
        (A, A.double(), A[:1]),
        ((A, 2), (A + 1e-6, 2), (A + 1e-3, 2)),
        ([A, A], [A, A], [A]),
        ("yes", "yes", "no"),
        ({"C": 3}, {"C": 3}, {"C": 4}),
        (3, 3, 4),
    ],
    ids=str,
)
def test_answers_agree_up_to_rounding(right, same, different, capsys):
    task = Exercise(lambda: right, ((),), ())
    assert verdict(lambda: same, task, capsys).startswith("✓")
    assert verdict(lambda: different, task, capsys).startswith("✗ not yet")
