"""Interrupts a notebook's cells where it hurts most, in the notebook's own kernel.

`interrupted(source)` runs a cell and stops it, as the stop button does: in its first forward pass,
in the first pass after it has put hooks on a module, and where it has replaced a name. Each time
the cell must end there, and leave hooks, weights and names as they were. At last the cell may run.
Knows nothing about any one cell.
"""

import sys
from functools import wraps
from types import ModuleType
from unittest import mock

import torch
import torch._dynamo  # noqa: F401 (it replaces names of torch when it is first needed)
from IPython import get_ipython
from torch import nn

MOMENTS = 3  # so many of a cell's moments are tried
LIBRARIES = torch, torch.cuda, torch.nn, torch.nn.functional, torch.nn.init


class Trap:
    """Counts what a cell does to modules and names, and interrupts it in the chosen moment."""

    def __init__(self):
        self.moment = None  # no cell is to be interrupted now
        self.passed, self.armed, self.fired, self.meant = 0, True, False, {}
        self.depth = 0  # of mocks that are being entered, one within another

    def set(self, moment):
        self.__init__()
        self.moment = moment

    def reached(self) -> bool:
        """Count a moment, and say whether it is the one to interrupt in."""
        here = self.passed == self.moment
        self.passed, self.armed = self.passed + 1, False
        self.fired |= here
        return here

    def forward(self, *_):
        if self.armed and self.reached():
            raise KeyboardInterrupt

    def hook(self, *_):
        self.armed = True  # in the next forward pass

    def replacing(self, *_):
        self.depth += 1

    def replaced(self, *_):
        """Interrupt at the next call of a function: a replaced name needs no forward pass."""
        self.depth -= 1

        def call(_frame, event, _argument):
            if event == "call":
                sys.setprofile(None)
                raise KeyboardInterrupt

        if not self.depth and self.reached():
            sys.setprofile(call)

    def change(self, tensors):
        """Remember tensors that a cell changes as it should: by training, loading, initializing."""
        self.meant |= {id(t): t for t in tensors if isinstance(t, torch.Tensor)}


TRAP = Trap()


def spy(place, name, before=lambda *_: None, after=lambda *_: None):
    """Call something before and after a function of a library, which stays what it is."""
    known = getattr(place, name)

    @wraps(known)
    def spied(*args, **kwargs):
        before(*args, *kwargs.values())
        result = known(*args, **kwargs)
        after(*args, *kwargs.values())
        return result

    setattr(place, name, spied)


def lay() -> None:
    """Lay the trap: once in a kernel."""
    spy(nn.Module, "__call__", before=TRAP.forward)
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre"):
        spy(nn.Module, f"register_{kind}_hook", before=TRAP.hook)
    spy(mock._patch, "__enter__", before=TRAP.replacing, after=TRAP.replaced)
    spy(
        torch.optim.Optimizer,
        "zero_grad",
        before=lambda optimizer, *_: TRAP.change(
            p for group in optimizer.param_groups for p in group["params"]
        ),
    )
    spy(nn.Module, "load_state_dict", before=lambda module, *_: TRAP.change(module.parameters()))
    for name in [name for name in vars(nn.init) if name.endswith("_") and name[0] != "_"]:
        spy(nn.init, name, before=lambda *given: TRAP.change(given))


def modules(namespace: dict) -> dict[str, nn.Module]:
    """Return the modules that a notebook holds, also those in lists, dictionaries and objects."""
    found = {}
    for name, value in namespace.items():
        inside = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        inside = dict(enumerate(value)) if isinstance(value, list | tuple) else inside
        if isinstance(value, ModuleType | type) or name.startswith("_"):
            continue
        for key, each in {"": value, **inside}.items():
            if isinstance(each, nn.Module):
                found[f"{name} {key}".strip()] = each
    return found


def hooks(module: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)


def state(namespace: dict) -> dict:
    """Return what an interrupted cell must leave as it was: key -> (what tells it, its owner)."""
    found = {"gradients, on or off": (torch.is_grad_enabled(), None)}
    for name, module in modules(namespace).items():
        found[f"the hooks on {name}", id(module)] = hooks(module), module
        for part, p in module.named_parameters():
            if not p.is_meta:  # which has no numbers
                numbers = p.detach().cpu().contiguous().view(-1).view(torch.uint8)
                found[f"{part} of {name}", id(p)] = hash(numbers.numpy().tobytes()), p
    course = [m for name, m in [*sys.modules.items()] if name.split(".")[0] == "gpt2lite"]
    for library in (*LIBRARIES, *course):
        for name, value in vars(library).items():
            if callable(value):
                found[f"{library.__name__}.{name}"] = id(value), None
    return found


def interrupted(source: str) -> None:
    """Run a cell: interrupted in each of its moments, then to its end. Raises what it must not."""
    shell = get_ipython()
    source = shell.transform_cell(source)
    file = shell.compile.cache(source)  # where a part's source is looked up
    for moment in [*range(MOMENTS), None]:
        before = state(shell.user_ns)
        TRAP.set(moment)
        went_on = True
        try:
            exec(shell.compile(source, file, "exec"), shell.user_ns)
        except KeyboardInterrupt:
            went_on = False
        finally:
            sys.setprofile(None)
            fired, meant = TRAP.fired, TRAP.meant
            TRAP.set(None)
        if not fired:
            return
        where = f"interrupted in moment {moment}"
        assert not went_on, f"{where}, the cell goes on"
        after = state(shell.user_ns)
        for key, (told, owner) in before.items():
            if key in after and id(owner) not in meant:
                name = key if isinstance(key, str) else key[0]
                assert after[key][0] == told, f"{where}, the cell leaves {name} changed"
