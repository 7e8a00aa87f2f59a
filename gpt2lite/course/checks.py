"""The notebooks' checks: one printed line if a claim holds, an error naming the mistake if not.

`build` tries a part that the reader writes, and never raises. Knows nothing about any one notebook.
A check that can't fail is worth nothing, so each is itself tested with wrong answers
(tests/test_checks.py).
"""

import html
from collections.abc import Callable, Mapping
from contextlib import contextmanager

import torch

from gpt2lite.course import mine
from gpt2lite.course.compare import brief, differs, relation, shape_hint
from gpt2lite.course.exercises import PARTS, Part
from gpt2lite.course.judge import Verdict, judge


def ok(claim: str) -> None:
    """Print the one line of a check that has passed."""
    print(f"✓ {claim}")


def true(condition, claim: str, hint: str = "") -> None:
    """Check a claim given as a condition; `hint` names the likely mistake."""
    if not condition:
        raise AssertionError(f"not so: {claim}" + (f". {hint}" if hint else ""))
    ok(claim)


@contextmanager
def folded(summary: str):
    """Fold away what is shown and printed inside: for a question to be answered first."""
    from IPython.display import display
    from IPython.utils.capture import capture_output

    with capture_output(stderr=False) as seen:
        yield
    pages, texts = ([o.data[kind] for o in seen.outputs] for kind in ("text/html", "text/plain"))
    page = f"<details><summary>{html.escape(summary)}</summary>{''.join(pages)}"
    page += f"<pre>{html.escape(seen.stdout)}</pre></details>"
    display({"text/html": page, "text/plain": "\n".join([*texts, seen.stdout])}, raw=True)


def shape(x: torch.Tensor, expected: tuple, name: str = "x") -> None:
    """Check a tensor's shape; a None in `expected` fits any size."""
    fits = x.dim() == len(expected) and all(
        e in (None, s) for s, e in zip(x.shape, expected, strict=True)
    )
    if not fits:
        hint = shape_hint(tuple(x.shape), expected)
        raise AssertionError(f"{name} has shape {tuple(x.shape)}, expected {expected}: {hint}")
    ok(f"{name} has shape {tuple(x.shape)}")


def close(a, b, claim: str, atol: float = 1e-5) -> None:
    """Check that two tensors agree to `atol`, the gap of rounding; print the largest difference.

    Of two dictionaries of tensors, such as a model's layers, the first that differs is named.
    """
    named = isinstance(b, Mapping)
    if named and a.keys() != b.keys():
        raise AssertionError(f"not comparable: {differs(a, b)}")
    gaps = [0.0]
    for name, x, y in [(f"{k}: ", a[k], b[k]) for k in b] if named else [("", a, b)]:
        if x.shape != y.shape:
            raise AssertionError(
                f"not comparable: {name}shapes {tuple(x.shape)} and {tuple(y.shape)}"
            )
        x, y = x.detach().cpu().double(), y.detach().cpu().double()  # Apple's GPU has no fp64
        apart = torch.where(x == y, 0.0, (x - y).abs())  # so that two infinities agree
        gaps.append(apart.max().item() if apart.numel() else 0.0)
        if not gaps[-1] <= atol:  # so that nan fails too
            hint = relation(x, y)
            raise AssertionError(
                f"not so: {claim}. {name}{'t' if name else 'T'}he largest difference is "
                f"{gaps[-1]:.1e}, rounding explains {atol:.0e}" + (f": {hint}" if hint else "")
            )
    ok(f"{claim} (largest difference {max(gaps):.0e})")


def equal(a, b, claim: str) -> None:
    """Check that two values (tensors: bit for bit) are the same.

    Of two dictionaries of tensors, such as state dicts, the first that differs is named.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = differs(a, b, tolerance=0.0)
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        found = "" if torch.equal(a, b) else f"Got {brief(a)}, expected {brief(b)}"
    else:
        same = type(a) is type(b) and a == b
        found = "" if same else f"Got {brief(a)}, expected {brief(b)}"
    if found:
        raise AssertionError(f"not so: {claim}. {found}")
    ok(claim)


def refused(error: type[Exception], says: str, claim: str, call: Callable, *args) -> None:
    """Check that a call raises `error`, with `says` in its message; print what it says."""
    try:
        call(*args)
    except error as reason:
        said = str(reason)
    else:
        raise AssertionError(f"not so: {claim}. Nothing was raised, {error.__name__} was expected")
    if says not in said:
        raise AssertionError(f"not so: {claim}. It says {said!r}, not {says}")
    ok(f"{claim}: {said}")


# What most often is wrong in what lies between two parts of a module, by the second.
BEFORE = {
    "attn.c_proj": "the scale, the mask, the softmax, the order of the heads",
    "mlp.c_proj": "the form of GELU",
    "c_proj": "the scale, the mask and the heads, or the form of GELU",
    "wpe": "the positions",
    "ln_2": "the residual, x + attn(ln_1(x))",
    "ln_1": "wpe's positions, or the residual of the block before",
    "ln_f": "the residual, x + mlp(ln_2(x))",
}


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
    (a, steps), (b, expected) = (_watched(module, inputs) for module in (built, reference))
    if not torch.equal(a, b):
        gap = (a - b).abs().max().item() if a.shape == b.shape else float("nan")
        raise AssertionError(
            f"{mine.__name__} has gpt2lite's parameters, but computes something else (difference "
            f"{gap:.1e}): {_first_step(steps, expected)}"
        )
    ok(f"{mine.__name__} is gpt2lite.{theirs.__name__}: same parameters, same output bit for bit")


def _watched(module, inputs) -> tuple[torch.Tensor, dict]:
    """Return a module's output, and what reaches and leaves each of its parts, in their order."""
    steps = {}
    for name, part in module.named_modules():
        if name and any(True for _ in part.parameters()):  # a dropout that sleeps may be left out
            part.register_forward_pre_hook(
                lambda _, args, name=name: steps.setdefault((name, "input"), args[0].clone())
            )
            part.register_forward_hook(
                lambda *args, name=name: steps.setdefault((name, "output"), args[2].clone())
            )
    with torch.no_grad():
        return module(*inputs), steps


def _first_step(steps: dict, expected: dict) -> str:
    """Name the first part of a module in which it leaves the expected way."""
    if never := [name for name, _ in expected if (name, "input") not in steps]:
        return f"{never[0]} is never called"
    last = ""
    for (name, side), x in expected.items():
        if not torch.equal(steps[name, side], x):
            if side == "output":
                return f"{name} is the first part whose output differs"
            hint = next(
                (h for end, h in BEFORE.items() if name.endswith(end)),
                "the order of what is called",
            )
            where = f"after {last} and before {name}" if last else f"before {name}"
            return f"the difference lies {where}: {hint}?"
        last = name if side == "output" else last
    return f"the difference lies after {last}: a residual, or what is returned?"


_built: dict[str, bool] = {}  # the parts tried in this session: is it the reader's that goes on?


def build(answer: Callable, part: Part) -> Callable:
    """Try the reader's function or class; print ✓, ✗ and its mistake, or ○ for one not written.

    Returns what the notebook goes on with: the reader's own if it is right, else the course's. Of a
    class only `forward` is the course's then: its parts, and so the reader's, stay inside. Never
    raises. A part that is right is kept in my_gpt2.py.
    """
    own = part.solution
    again = answer is own or getattr(answer, "forward", None) is getattr(own, "forward", 0)
    verdict = Verdict("○") if again else judge(answer, part)
    asks = verdict.sentence.endswith("?")
    found, then = {
        "✓": (f"yours, right in all {len(part.cases)} cases", "; it is used from here on"),
        "✗": (verdict.sentence, f"{'' if asks else '.'} The course's own stands in"),
        "○": ("not written yet", ", the course's own stands in"),
    }[verdict.mark]
    print(f"{verdict.mark} {own.__name__}: {found}{'' if part.exercise else then}")
    for line in verdict.printed.splitlines()[:10]:
        print(f"  │ {line[:100]}")
    if not part.exercise:
        _built[own.__name__] = verdict.mark == "✓"
    if verdict.mark == "✓":
        _keep(answer, part)
        return answer
    return _stand_in(answer, own) if part.make and verdict.given and not again else own


def _stand_in(answer: type, own: type) -> type:
    forward = {"forward": own.forward, "__doc__": own.__doc__, "__module__": own.__module__}
    return type(own.__name__, (answer,), forward)


def _keep(answer, part: Part) -> None:
    name = next((key for key, known in PARTS.items() if known is part), None)
    if name is None or part.exercise:
        return
    try:
        mine.keep(name, answer)
    except Exception as error:  # folder and file are the reader's: no reason to stop
        print(f"○ my_gpt2.py can't hold it ({type(error).__name__}: {error})")


def summary() -> None:
    """Print which of the parts tried so far are the reader's own, and which are the course's."""
    names = {
        own: [name for name, is_own in _built.items() if is_own is own] for own in (True, False)
    }
    line = f"{len(names[True])} of {len(_built)} parts are yours"
    line += f": {', '.join(names[True])}" if names[True] else ""
    line += f"; the course's own: {', '.join(names[False])}" if names[False] else ""
    print(f"{'✓' if names[True] else '○'} {line}")
