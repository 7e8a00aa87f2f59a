"""Any cell may be run twice, any time, and each dial halved or doubled: nothing fails or accuses.

Long (minutes a notebook), so `make test` leaves it out: `make test-reruns`, which CI runs weekly.
"""

import ast
from copy import deepcopy

import pytest
from notebook_runs import PATHS, change, read, run

pytestmark = pytest.mark.long


def dials(notebook):
    """Yield the cell and the keyword of each number in the notebook's dial."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "session.dial(" in cell.source:
            for call in ast.walk(ast.parse(cell.source)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "session.dial":
                    for keyword in call.keywords:
                        lite = ast.literal_eval(keyword.value)[0]
                        if isinstance(lite, int | float):
                            yield cell, keyword, lite


TURNED = [
    pytest.param(path, keyword.arg, factor, id=f"{path.stem[:2]}-{keyword.arg}-{factor}")
    for path in PATHS
    for _, keyword, lite in dials(read(path))
    for factor in ("halved", "doubled")
    if lite != 1 or factor == "doubled"
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_twice_and_once_more_after_the_end(path, tmp_path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [deepcopy(cell) for cell in code for _ in range(2)]
    notebook.cells += [deepcopy(cell) for cell in reversed(code)]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    assert "✗" not in run(notebook, tmp_path, path.stem)


@pytest.mark.parametrize("path, name, factor", TURNED)
def test_each_dial_halved_and_doubled(path, name, factor, tmp_path):
    notebook = read(path)
    cell, keyword, lite = next(found for found in dials(notebook) if found[1].arg == name)
    turned = lite * 2 if factor == "doubled" else lite // 2 if isinstance(lite, int) else lite / 2
    cell.source = change(cell.source, keyword, f"    {name}=({turned}, {turned}),")
    try:
        printed = run(notebook, tmp_path, path.stem)
    except AssertionError as failure:
        if "config.py" in str(failure) and "ValueError" in str(failure):
            pytest.skip(f"GPTConfig refuses {name}={turned}")
        raise
    assert "✗" not in printed
