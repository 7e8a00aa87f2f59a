"""The notebooks' checks: wrong answers fail with their hint, right ones print one line with ✓."""

import pytest
import torch
from helpers import TINY, random_ids
from torch import nn

from gpt2lite import GPT
from gpt2lite.course import checks
from gpt2lite.course.exercises import Part
from gpt2lite.model import MLP, Block, CausalSelfAttention

A = torch.arange(6.0).view(2, 3)
Q = torch.arange(4.0).view(2, 2)

RIGHT = {
    "ok": (lambda: checks.ok("done"), "✓ done"),
    "true": (lambda: checks.true(1 < 2, "one is less"), "✓ one is less"),
    "shape": (lambda: checks.shape(A, (2, 3), "A"), "✓ A has shape (2, 3)"),
    "shape, any size": (lambda: checks.shape(A, (None, 3), "A"), "✓ A has shape (2, 3)"),
    "close": (lambda: checks.close(A, A + 5e-6, "same"), "✓ same (largest difference 5e-06)"),
    "close, own gap": (lambda: checks.close(A, A + 0.1, "same", atol=0.2), "✓ same"),
    "equal": (lambda: checks.equal(A, A.clone(), "same"), "✓ same"),
    "close, layers": (lambda: checks.close({"h": A}, {"h": A + 5e-6}, "same"), "✓ same (largest"),
    "close, the largest of two": (
        lambda: checks.close({"h": A + 5e-6, "i": A}, {"h": A, "i": A}, "same"),
        "✓ same (largest difference 5e-06)",
    ),
    "equal, state dicts": (lambda: checks.equal({"h": A}, {"h": A.clone()}, "same"), "✓ same"),
    "equal, lists": (lambda: checks.equal([1, 2], [1, 2], "same"), "✓ same"),
    "refused": (
        lambda: checks.refused(KeyError, "wte", "no wte", {}.pop, "wte"),
        "✓ no wte: 'wte'",
    ),
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
    "first layer": (
        lambda: checks.close({"h.0": A, "h.1": A}, {"h.0": A, "h.1": A - 1}, "same"),
        "h.1: the largest difference is 1.0e+00, rounding explains 1e-05: every number is off by",
    ),
    "layers missing": (lambda: checks.close({}, {"h.0": A}, "same"), "'h.0' is missing"),
    "first tensor": (
        lambda: checks.equal({"wte": A, "c_proj": Q.T}, {"wte": A, "c_proj": Q}, "same"),
        "not so: same. at 'c_proj', at [0, 1] it returns 2, expected 1: it is the transposed",
    ),
    "not bit for bit, in a dict": (
        lambda: checks.equal({"wte": A}, {"wte": A + 1e-7 * (A == 1)}, "same"),
        "at 'wte'",
    ),
    "sign": (lambda: checks.close(A, -A, "same"), "the sign is turned round"),
    "not bit for bit": (lambda: checks.equal(A, A + 1e-6, "same"), "not so: same. Got tensor("),
    "other list": (lambda: checks.equal([1, 2], [1, 3], "same"), "Got [1, 2], expected [1, 3]"),
    "not refused": (
        lambda: checks.refused(KeyError, "wte", "no wte", {"wte": A}.pop, "wte"),
        "Nothing was raised, KeyError was expected",
    ),
    "refused without its name": (
        lambda: checks.refused(ValueError, "wte", "no wte", int, "x"),
        "It says \"invalid literal for int() with base 10: 'x'\", not wte",
    ),
    "long values": (lambda: checks.equal("x" * 999, "y", "same"), "xxx', expected 'y'"),
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


class NoResidual(Block):
    def forward(self, x, cache=None):
        x = self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class OtherEpsilon(Block):
    def __init__(self, config):
        super().__init__(config)
        self.ln_2.eps = 0.1


class DoublesFirst(GPT):
    def __init__(self, config):
        super().__init__(config)
        self.h[0].forward = lambda x, cache=None: Block.forward(self.h[0], 2 * x)


class NoLastResidual(Block):
    def forward(self, x, cache=None):
        x = x + self.attn(self.ln_1(x), cache)
        return self.mlp(self.ln_2(x))


class NoPositions(GPT):
    def hidden(self, idx, cache=None):
        x = self.drop(self.wte(idx))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class OnePosition(GPT):
    def hidden(self, idx, cache=None):
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(0, idx.size(1), 1024)))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


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
        (ErfMLP, MLP, X, "something else .*after c_fc and before c_proj: .*the form of GELU"),
        (NoResidual, Block, X, r"after attn and before ln_2: the residual, x \+ attn"),
        (OtherEpsilon, Block, X, "ln_2 is the first part whose output differs"),
        (DoublesFirst, GPT, random_ids(TINY, 2, 5), "after wpe and before h.0.ln_1: "),
        (NoLastResidual, Block, X, "lies after mlp: a residual"),
        (NoPositions, GPT, random_ids(TINY, 2, 5), "wpe is never called"),
        (OnePosition, GPT, random_ids(TINY, 2, 5), "before wpe: the positions"),
        (NoBiasMLP, MLP, X, "differ in their parameters: .*c_fc.bias"),
        (RenamedMLP, MLP, X, "differ in their parameters: .*c_fc"),
        (LosesADimension, MLP, X, "computes something else"),
        (NoMask, CausalSelfAttention, X, "before c_attn: the order of what is called"),
        (NoFinalNorm, GPT, random_ids(TINY, 2, 5), "ln_f is never called"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_a_different_module_is_not_the_same(mine, theirs, x, hint):
    with pytest.raises(AssertionError, match=f"(?s){mine.__name__}.*{hint}"):
        checks.same_module(mine, theirs, TINY, x)


# build


def double(x):
    """Return twice x."""
    return 2 * x


def build(answer, part, capsys):
    """Return what goes on, and the printed lines."""
    goes_on = checks.build(answer, part)
    return goes_on, capsys.readouterr().out.splitlines()


def part_of(**changes) -> Part:
    mistakes = ((lambda x: x**2, "that is the square"),)
    return Part(**(dict(solution=double, cases=((1,), (3,)), mistakes=mistakes) | changes))


def test_the_readers_own_goes_on_if_it_is_right(capsys):
    def mine(x):
        return x + x

    goes_on, lines = build(mine, part_of(), capsys)
    assert goes_on is mine
    assert lines == ["✓ double: yours, right in all 2 cases; it is used from here on"]


@pytest.mark.parametrize(
    "answer, line",
    [
        (lambda x: ..., "○ double: not written yet, the course's own stands in"),
        (lambda x: x * x, "✗ double: that is the square. The course's own stands in"),
        (
            lambda x: None,
            "✗ double: for 1: it returns nothing: is `return` missing at its end, or in one "
            "branch? The course's own stands in",
        ),
        (double, "○ double: not written yet, the course's own stands in"),  # the line run again
    ],
)
def test_else_the_courses_own_stands_in(answer, line, capsys):
    goes_on, lines = build(answer, part_of(), capsys)
    assert goes_on is double and lines == [line]


@pytest.mark.parametrize(
    "answer, line",
    [
        (lambda x: x + x, "✓ double: yours, right in all 2 cases"),
        (lambda x: ..., "○ double: not written yet"),
        (lambda x: x * x, "✗ double: that is the square"),
    ],
)
def test_nothing_goes_on_with_an_exercise(answer, line, capsys, monkeypatch):
    monkeypatch.setattr(checks, "_built", {})
    assert build(answer, part_of(exercise=True), capsys)[1] == [line]
    checks.summary()
    assert "0 of 0 parts" in capsys.readouterr().out


def test_what_the_reader_prints_is_shown_and_ends(capsys):
    def talkative(x):
        print("line 0", "x" * 200)
        for _ in range(10**6):
            print()
        return 2 * x

    goes_on, lines = build(talkative, part_of(), capsys)
    assert goes_on is talkative and len(lines) < 12
    assert lines[1].startswith("  │ line 0 xx") and max(map(len, lines)) < 110


def test_a_right_part_is_kept_and_an_exercise_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parts = {"01_double": part_of(), "01_puzzle": part_of(exercise=True)}
    monkeypatch.setattr(checks, "PARTS", parts)
    own = checks.mine.FILE
    build(lambda x: x * x, parts["01_double"], capsys)
    build(lambda x: x + x, parts["01_puzzle"], capsys)
    assert not own.exists()
    build(mine, parts["01_double"], capsys)
    assert "def mine(x)" in own.read_text() and "# part 01_double" in own.read_text()
    own.write_bytes(b"\xff not a text")
    goes_on, lines = build(mine, parts["01_double"], capsys)
    assert goes_on is mine and lines[1].startswith("○ my_gpt2.py can't hold it (UnicodeDecodeError")


def mine(x):
    return x + x


class Inner(nn.Module):
    def forward(self, x):
        return x + 1


class Outer(nn.Module):
    """The course's."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(self.inner(x))


OUTER = Part(Outer, ((torch.ones(1, 2),),), (), make=lambda kind: kind())


def test_of_a_class_only_forward_is_the_courses(capsys):
    class ReadersInner(Inner):
        pass

    class Mine(Outer):
        def __init__(self):
            super().__init__()
            self.inner = ReadersInner()

        def forward(self, x):
            return ...

    goes_on, lines = build(Mine, OUTER, capsys)
    assert lines == ["○ Outer: not written yet, the course's own stands in"]
    assert issubclass(goes_on, Mine) and goes_on.forward is Outer.forward
    assert isinstance(goes_on().inner, ReadersInner), "the reader's part was thrown out"
    assert build(goes_on, OUTER, capsys)[1][0].startswith("○"), "a stand-in became the reader's"


def test_a_class_with_another_init_is_replaced_as_a_whole(capsys):
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(2, 2)

        def forward(self, x):
            return self.other(x + 1)

    goes_on, lines = build(Renamed, OUTER, capsys)
    assert goes_on is Outer
    assert (
        "Leave `__init__` as it was given" in lines[0] and "'linear.weight' is missing" in lines[0]
    )


def test_the_last_line_counts_the_readers_parts(capsys, monkeypatch):
    monkeypatch.setattr(checks, "_built", {})
    named = {name: part_of(solution=type(double)(double.__code__, {}, name)) for name in "abc"}
    checks.build(lambda x: ..., named["b"])
    capsys.readouterr()
    checks.summary()
    assert capsys.readouterr().out == "○ 0 of 1 parts are yours; the course's own: b\n"
    monkeypatch.setattr(checks, "_built", {})
    for name, answer in (("a", lambda x: x + x), ("b", lambda x: ...), ("c", lambda x: x + x)):
        checks.build(answer, named[name])
    capsys.readouterr()
    checks.summary()
    assert capsys.readouterr().out == "✓ 2 of 3 parts are yours: a, c; the course's own: b\n"
    checks.build(lambda x: x + x, named["b"])  # a cell run again counts once
    capsys.readouterr()
    checks.summary()
    assert capsys.readouterr().out == "✓ 3 of 3 parts are yours: a, b, c\n"


def test_what_is_folded_is_shown_only_when_opened(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    with checks.folded("Open: 1 < 2?"):
        checks.true(1 < 2, "1 < 2")
    page = shown[0]["text/html"]
    assert page.startswith("<details><summary>Open: 1 &lt; 2?</summary>")
    assert page.endswith("<pre>✓ 1 &lt; 2\n</pre></details>")
    assert shown[0]["text/plain"] == "✓ 1 < 2\n"
    with pytest.raises(AssertionError, match="not so"), checks.folded("Open"):
        checks.true(2 < 1, "2 < 1")
