"""An interrupted cell ends there, and leaves models, hooks and names as they were.

The notebooks take minutes each, so `make test` leaves them out: `make test-reruns` has them. What
finds the mistakes is tried on planted ones each time.
"""

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from notebook_runs import PATHS, read, run

LAY = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
LAY += "from interrupting import interrupted, lay; lay()"

GIVEN = """\
from unittest import mock
import torch
from torch import nn
model, x = nn.Sequential(nn.Linear(2, 2), nn.GELU()), torch.ones(1, 2)
models = [nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2, device="meta")]
weight = model[0].weight
GIVEN = {"get_device_name": lambda: "T4", "get_device_capability": lambda: (7, 5)}
patched = mock.patch.object(torch.cuda, "get_device_capability", lambda: (7, 5))
def card():
    return torch.cuda.get_device_capability()
def train():
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
"""
RIGHT = {
    "no model": "print(1 + 1)",
    "a pass": "y = model(x)",
    "a hook, removed": """\
hook = model[1].register_forward_hook(print)
try:
    model(x)
finally:
    hook.remove()
""",
    "weights, put back": """\
model(x)
with torch.no_grad():
    kept = weight.clone()
    try:
        weight.mul_(2)
        hook = model.register_forward_pre_hook(lambda *_: None)
        model(x)
    finally:
        hook.remove()
        weight.copy_(kept)
""",
    "a name, put back": "with patched: card()",
    "two names, put back": "with mock.patch.multiple(torch.cuda, **GIVEN): card()",
    "training": "train()",
    "initializing": "nn.init.zeros_(weight); y = model(x)",
    "loading": "model.load_state_dict({k: 2 * v for k, v in model.state_dict().items()}); model(x)",
    "another model of that name": "model = nn.Sequential(nn.Linear(2, 2)); train()",
}
WRONG = {
    "a hook": (
        "hook = model[0].register_forward_hook(print); model(x); hook.remove()",
        "interrupted in moment 0, the cell leaves the hooks on model changed",
    ),
    "the second hook": (
        "model(x); hook = model.register_forward_hook(print); model(x); hook.remove()",
        "interrupted in moment 1, the cell leaves the hooks on model changed",
    ),
    "weights": (
        "weight.data.mul_(2); model(x); weight.data.div_(2)",
        "interrupted in moment 0, the cell leaves 0.weight of model changed",
    ),
    "a model in a list": (
        "w = models[0][0].weight.data; w.mul_(2); models[0](x); w.div_(2)",
        "interrupted in moment 0, the cell leaves 0.weight of models 0 changed",
    ),
    "a name": (
        "patched.start(); card(); patched.stop()",
        "interrupted in moment 0, the cell leaves torch.cuda.get_device_capability changed",
    ),
    "gradients": (
        "torch.set_grad_enabled(False); model(x); torch.set_grad_enabled(True)",
        "the cell leaves gradients, on or off changed",
    ),
    "an interrupt that is swallowed": (
        "try:\n    train()\nexcept KeyboardInterrupt:\n    pass\nlosses = [1.0]",
        "interrupted in moment 0, the cell goes on",
    ),
    "an error of its own": ("model(x)\n1 / 0", "division by zero"),
}


def test_what_an_interrupt_leaves_behind_is_found(tmp_path):
    cells = [LAY, GIVEN, *(f"interrupted({source!r})" for source in RIGHT.values())]
    for source, _ in WRONG.values():
        tried = f"try:\n    interrupted({source!r})\nexcept Exception as found:\n    print(found)"
        cells += [GIVEN, f"{tried}\nelse:\n    print('nothing is found')\nprint('---')"]
    printed = run(new_notebook(cells=[new_code_cell(cell) for cell in cells]), tmp_path, "planted")
    told = dict(zip(WRONG, printed.split("---\n"), strict=False))
    for name, (_, sentence) in WRONG.items():
        assert sentence in told[name], f"{name}: {told[name]}"


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_interrupted_cell_leaves_all_as_it_was(path, tmp_path):
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = f"interrupted({cell.source!r})"
    notebook.cells.insert(0, new_code_cell(LAY))
    run(notebook, tmp_path, path.stem)
