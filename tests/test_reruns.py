"""Any cell may be run twice, any time, and each dial halved or doubled: nothing fails or accuses.

Long (minutes a notebook), so `make test` leaves it out. `make test-reruns` runs it, which CI does
weekly; `make test-reruns ONLY=01_architecture` takes one notebook, `ONLY=n_embd` one dial.
"""

import ast
from copy import deepcopy

import pytest
from notebook_runs import PATHS, change, read, run

pytestmark = pytest.mark.long


def dials(notebook):
    """Yield the cell and the keyword of each number in the notebook's dial, and the number."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "session.dial(" in cell.source:
            for call in ast.walk(ast.parse(cell.source)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "session.dial":
                    for keyword in call.keywords:
                        lite = ast.literal_eval(keyword.value)[0]
                        if isinstance(lite, int | float):
                            yield cell, keyword, lite


def halved_and_doubled(number):
    return [number // 2 if isinstance(number, int) else number / 2, number * 2][number == 1 :]


TURNED = [
    pytest.param(path, keyword.arg, turned, id=f"{path.stem}-{keyword.arg}={turned}")
    for path in PATHS
    for _, keyword, lite in dials(read(path))
    for turned in halved_and_doubled(lite)
]


def holds(notebook, folder, path, what) -> None:
    """Run a notebook; fail with what was done to it, and its cell or the line that accuses."""
    try:
        printed = run(notebook, folder, path.stem)
    except AssertionError as failure:
        if "config.py" in str(failure) and "ValueError" in str(failure):
            pytest.skip(f"GPTConfig refuses {what}")
        pytest.fail(f"{path.name}, {what}: {failure}", pytrace=False)
    accused = [line for line in printed.splitlines() if "✗" in line]
    assert not accused, f"{path.name}, {what}: nobody wrote anything, and it says {accused[0]}"


@pytest.mark.parametrize("path, name, turned", TURNED)
def test_each_dial_halved_and_doubled(path, name, turned, tmp_path):
    notebook = read(path)
    cell, keyword, _ = next(found for found in dials(notebook) if found[1].arg == name)
    cell.source = change(cell.source, keyword, f"    {name}=({turned}, {turned}),")
    holds(notebook, tmp_path, path, f"{name} = {turned}")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_twice_and_once_more_after_the_end(path, tmp_path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [deepcopy(cell) for cell in code for _ in range(2)]
    notebook.cells += [deepcopy(cell) for cell in reversed(code)]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    holds(notebook, tmp_path, path, "every cell twice, then all from the last to the first")
