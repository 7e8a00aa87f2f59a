"""Judges what a reader wrote: runs it beside the course's own version, and says what is wrong.

Right means the same value, however it was computed. Knows nothing about any one part, and prints
nothing. `judge` never raises, whatever the reader's code does, so that Run All goes on. Over 250
lines: running an answer, comparing it and saying what is wrong can't be told apart.
"""

import inspect
import io
import re
import traceback
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gpt2lite.course.compare import brief, differs
from gpt2lite.course.exercises import Part


@dataclass(frozen=True)
class Verdict:
    """What `judge` found: ✓ right, ✗ wrong, ○ not written yet."""

    mark: str
    sentence: str = ""
    printed: str = ""  # by the reader's code, in the case that decided
    given: bool = True  # a class's __init__ is as it was given


def judge(answer, part: Part) -> Verdict:
    """Try a reader's function or class on the cases of its part."""
    try:
        return _judge(answer, part)
    except Exception as error:  # from a value that can't even be compared
        return Verdict("✗", f"what it returns can't be compared ({type(error).__name__}: {error})")


def _judge(answer, part: Part) -> Verdict:
    theirs, ours, first = answer, part.solution, ()
    if part.make:
        built = _run(_module, (answer, part))
        wrong = _raised(built.error, answer) or _parameters(built.value, _module(ours, part))
        if wrong:
            sentence = f"{wrong}. Leave `__init__` as it was given, and write forward"
            return Verdict("✗", sentence, given=False)
        theirs, ours, first = answer.forward, ours.forward, (built.value,)
        if _run(ours, (*first, *part.cases[0])).error:
            return Verdict("✗", "leave `__init__` as it was given, and write forward", given=False)
    printed = None
    for device in ["cpu"] if part.cpu else _devices():
        cases = [_to((*first, *case), device) for case in part.cases]
        for number, case in enumerate(cases):
            expected = _run(ours, case)
            if device != "cpu" and expected.error:
                continue  # this part can't be tried there, which is not the reader's fault
            got = _run(theirs, case, part.forbidden)
            printed = got.printed if printed is None else printed
            if got.value is ...:
                return Verdict("○")
            if sentence := _mistake(got, expected, theirs, cases, number, part):
                if device != "cpu":
                    sentence = f"right on the CPU, but on the GPU: {sentence}. Is a tensor made "
                    sentence += "without device=x.device?"
                return Verdict("✗", sentence, got.printed)
    return Verdict("✓", printed=printed)


def _devices() -> list[str]:
    """The GPU comes last: an index out of range there would end the whole session."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _mistake(got, expected, answer, cases, number, part) -> str:
    """Say what is wrong in a case, or return an empty text."""
    case = cases[number]
    if got.refused or not (apart := _apart(got, expected, part)):
        return got.refused
    known = [m for m in part.mistakes if _agree(got, _run(m[0], case), part)]
    if known:  # if several agree here, the one that does so most often
        runs = [(_run(answer, c), c) for c in cases] if len(known) > 1 else []
        shared = [sum(_agree(run, _run(m[0], c), part) for run, c in runs) for m in known]
        return known[shared.index(max(shared))][1]
    if got.error and type(got.error) is not type(expected.error):
        apart = _raised(got.error, answer)
        if expected.error:
            apart += f", where {type(expected.error).__name__} is expected"
    elif got.value is None and expected.value is not None:
        if got.printed:
            return "it prints, and returns nothing: end with `return` and the value"
        apart = "it returns nothing: is `return` missing at its end, or in one branch?"
    shown = ", ".join(brief(x) for x in case if not isinstance(x, nn.Module))
    return f"for {shown}: {apart}" if shown else apart


def _agree(got: "_Outcome", other: "_Outcome", part: Part) -> bool:
    return str(got.error) == str(other.error) and not _apart(got, other, part)


def _apart(got: "_Outcome", expected: "_Outcome", part: Part) -> str:
    """Say in what two outcomes differ, or return an empty text."""
    if got.error or expected.error:
        if type(got.error) is type(expected.error):
            return _unnamed(got.error, expected.error, part)
        wanted = type(expected.error).__name__
        return f"it returns {brief(got.value)}, expected that it raises {wanted}"
    seen = [_seen(outcome.value, part) for outcome in (got, expected)]
    if apart := differs(*seen, part.tolerance):
        return apart
    left = [part.left(outcome.left) for outcome in (got, expected)]
    if apart := differs(*left, part.tolerance):
        return apart if expected.changed else "it changes its input: leave that as it was"
    if apart := differs(got.gradients, expected.gradients, part.tolerance):
        if any(
            e.any() and not g.any() for g, e in zip(got.gradients, expected.gradients, strict=True)
        ):
            return "the value is right, but no gradient comes through: detach, item or no_grad?"
        return f"the value is right, but its gradient isn't: {apart}"
    return ""


def _unnamed(got: Exception, expected: Exception, part: Part) -> str:
    """Say what an error of the right type must name and doesn't, or return an empty text."""
    names = re.findall(part.named, str(expected)) if part.named else []
    missing = [name for name in names if name not in str(got)]
    return f"its {type(got).__name__} doesn't name {missing[0]}" if missing else ""


def _seen(value, part: Part):
    try:
        return part.seen(value)
    except Exception:  # not of the kind that it looks at: then the kind is what differs
        return value


def _raised(error: BaseException | None, answer) -> str:
    """Say what the reader's code raised, and in which of its lines."""
    if error is None:
        return ""
    function = inspect.unwrap(getattr(answer, "forward", answer))
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f", in line {lines[-1].lineno}: `{lines[-1].line}`" if lines else ""
    return f"it raises {type(error).__name__}: {' '.join(str(error).split())[:200]}{where}"


# Running


@dataclass
class _Outcome:
    value: object = None
    error: BaseException | None = None
    left: tuple = ()  # the arguments afterwards
    changed: bool = False  # an argument is no longer what it was
    gradients: list = field(default_factory=list)
    printed: str = ""
    refused: str = ""


class _Watch(TorchFunctionMode):
    """Refuse calls by their name, and results by their dtype."""

    def __init__(self, forbidden: Mapping):
        super().__init__()
        self.forbidden, self.reason = forbidden, ""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self._refuse(getattr(func, "__name__", None))
        result = func(*args, **(kwargs or {}))
        self._refuse(getattr(result, "dtype", None))
        return result

    def _refuse(self, what):
        if what in self.forbidden:
            self.reason = self.forbidden[what]  # counts even if the reader's code catches this
            raise RuntimeError(self.reason)


class _Page(io.StringIO):
    """A page that is full some time, for code that prints without end."""

    def write(self, text):
        return super().write(text[:1000]) if self.tell() < 1000 else len(text)


def _run(function, case: tuple, forbidden: Mapping = {}) -> _Outcome:  # noqa: B006
    """Call a function with copies of a case's arguments, from the same seed each time."""
    outcome, page, watch = _Outcome(), _Page(), _Watch(forbidden)
    try:
        outcome.left = deepcopy(case)
        with torch.random.fork_rng(), torch.enable_grad(), redirect_stdout(page):
            torch.manual_seed(0)
            with watch, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it would point into this file, not the reader's
                outcome.value = function(*outcome.left)
            outcome.gradients = _gradients(outcome.value, outcome.left)
    except (Exception, SystemExit) as error:
        outcome.error = error
    outcome.changed = bool(differs(outcome.left, case))
    outcome.printed, outcome.refused = page.getvalue(), watch.reason
    return outcome


def _module(kind: type, part: Part) -> nn.Module:
    """Build a module for the cases, its biases and gains random, or a forgotten one would hide."""
    module = part.make(kind).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.normal_(generator=generator).mul_(0.3 if p.dim() == 1 else p.size(-1) ** -0.5)
            p.add_(1.0 if p.dim() == 1 and name.endswith("weight") else 0.0)  # LayerNorm's gain
    return module


def _parameters(mine: nn.Module, theirs: nn.Module) -> str:
    shapes = [{n: tuple(p.shape) for n, p in m.named_parameters()} for m in (mine, theirs)]
    return "" if shapes[0] == shapes[1] else f"its parameters: {differs(*shapes)}"


def _gradients(value, arguments: tuple) -> list[torch.Tensor]:
    """Return the gradient of a weighted sum of the value, in each argument that requires grad."""
    leaves = [t for t in _tensors(arguments) if t.requires_grad]
    ends = [t for t in _tensors(value) if t.requires_grad]
    found = [None] * len(leaves)
    if leaves and ends:
        joined = torch.cat([t.flatten() for t in ends])  # several tensors, or a stack of them
        weights = torch.linspace(1, 2, joined.numel(), device=joined.device)
        found = torch.autograd.grad((joined * weights).sum(), leaves, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _to(case: tuple, device: str) -> tuple:
    """Return a case's arguments on a device: its tensors, and its modules as copies."""

    def move(x):
        if isinstance(x, torch.Tensor):
            return x.detach().to(device).requires_grad_(x.requires_grad)
        return deepcopy(x).to(device) if isinstance(x, nn.Module) else x

    return tuple(map(move, case))
