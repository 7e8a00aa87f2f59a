"""Each notebook with all its parts written: right in all of them, and wrong in all of them.

Long, so `make test` leaves it out: `make test-parts`.
"""

import re
import subprocess
import sys

import pytest
from notebook_runs import PATHS, fill, read, run

from gpt2lite.course.exercises import PARTS

pytestmark = [pytest.mark.long, pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)]


def shown(name, stub, below):
    """Answer with the course's own version, as the notebook shows it."""
    return re.findall(r"```python\n(.*?)```", below, re.S)[-1]


def mistaken(name, stub, below):
    """Answer with the first known mistake."""
    wrong = f'PARTS["{name}"].mistakes[0][0]'
    own = PARTS[name].solution.__name__
    imported = "from gpt2lite.course.exercises import PARTS\n\n"
    if PARTS[name].make:
        return f"{imported}{stub}\n\n\n{own}.forward = {wrong}"
    return f"{imported}{own} = {wrong}"


def used(names: list[str]) -> list[str]:
    """Return the names of the functions and classes that the notebook goes on with."""
    return [PARTS[name].solution.__name__ for name in names if not PARTS[name].exercise]


def test_filled_with_every_solution(path, tmp_path):
    notebook = read(path)
    names = fill(notebook, shown)
    printed = run(notebook, tmp_path, path.stem)
    assert "✗" not in printed
    for name in names:
        assert f"✓ {PARTS[name].solution.__name__}: yours, right in all" in printed, name
    own = used(names)
    if own:
        assert f"✓ {len(own)} of {len(own)} parts are yours: {', '.join(own)}\n" in printed
        code = f"import my_gpt2; print(*[hasattr(my_gpt2, name) for name in {own}])"
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.stdout.split() == ["True"] * len(own), ran.stderr
    else:
        assert not (tmp_path / "my_gpt2.py").exists(), "an exercise is no part of GPT-2"


def test_filled_with_a_mistake_in_every_part(path, tmp_path):
    notebook = read(path)
    names = fill(notebook, mistaken)
    printed = run(notebook, tmp_path, path.stem)
    for name in names:
        own, sentence = PARTS[name].solution.__name__, PARTS[name].mistakes[0][1]
        assert f"✗ {own}: {sentence}" in printed, f"{own}: its mistake isn't named"
    assert printed.count("✗") == len(names), "a check accuses what stands in"
    if own := used(names):
        assert f"○ 0 of {len(own)} parts are yours; the course's own: " in printed
    assert not (tmp_path / "my_gpt2.py").exists(), "what is wrong is not kept"
