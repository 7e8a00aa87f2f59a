"""Every exercise accepts its solution, and rejects each known wrong answer with its own sentence.

A notebook asks with `checks.exercise(answer, EXERCISES["NN_name"])` in a cell tagged `exercise`;
the next markdown cell shows the solution in a <details> block whose summary says so.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from gpt2lite.course.checks import exercise
from gpt2lite.course.exercises import EXERCISES

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MISTAKES = [
    pytest.param(name, wrong, sentence, id=f"{name}-{number}")
    for name, task in EXERCISES.items()
    for number, (wrong, sentence) in enumerate(task.mistakes)
]


def asked():
    """Yield notebook, stub cell, the names of answer and exercise, and the next cell's text."""
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        for cell, after in zip(cells, [*cells[1:], None], strict=True):
            if "exercise" not in cell.metadata.get("tags", []):
                continue
            call = re.search(r'checks\.exercise\((\w+), EXERCISES\["(\w+)"\]\)', cell.source)
            assert call, f"{path.name}: an exercise cell that asks for nothing:\n{cell.source}"
            assert after is not None and after.cell_type == "markdown", f"{call[2]}: no solution"
            yield path, cell, call[1], call[2], after.source


ASKED = [pytest.param(*found, id=found[3]) for found in asked()]


def verdict(answer, name, capsys):
    exercise(answer, EXERCISES[name])
    return capsys.readouterr().out.strip()


def test_exercises_and_notebooks_name_the_same():
    assert sorted(param.values[3] for param in ASKED) == sorted(EXERCISES)
    for path, _, _, name, _ in (param.values for param in ASKED):
        assert name[:2] == path.name[:2], f"{name} is asked in {path.name}"


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    assert verdict(EXERCISES[name].solution, name, capsys).startswith("✓")


@pytest.mark.parametrize("name", EXERCISES)
def test_nothing_returned_is_not_attempted(name, capsys):
    assert verdict(lambda *_: None, name, capsys) == "○ not attempted"


@pytest.mark.parametrize("name", EXERCISES)
def test_an_unknown_wrong_answer_is_shown_its_first_difference(name, capsys):
    printed = verdict(lambda *_: "something else", name, capsys)
    assert printed.startswith("✗ not yet: ") and "something else" in printed


@pytest.mark.parametrize("name", EXERCISES)
def test_there_are_mistakes_to_tell_apart(name):
    sentences = [sentence for _, sentence in EXERCISES[name].mistakes]
    assert len(sentences) == len(set(sentences)) >= 3


@pytest.mark.parametrize("name, wrong, sentence", MISTAKES)
def test_a_known_mistake_is_named(name, wrong, sentence, capsys):
    assert verdict(wrong, name, capsys) == f"✗ {sentence}"


def run(source, answer):
    """Return the function `answer` that a cell defines, where the usual is imported."""
    found = {}
    exec("import math\nimport torch\nimport torch.nn.functional as F\n" + source, found)
    return found[answer]


@pytest.mark.parametrize("path, cell, answer, name, after", ASKED)
def test_the_stub_is_not_attempted(path, cell, answer, name, after, capsys):
    definitions = [n for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef)]
    stub = "\n".join(ast.unparse(node) for node in definitions)
    assert verdict(run(stub, answer), name, capsys) == "○ not attempted"


@pytest.mark.parametrize("path, cell, answer, name, after", ASKED)
def test_the_solution_shown_in_the_notebook_passes(path, cell, answer, name, after, capsys):
    blocks = re.findall(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", after, re.S)
    solutions = [body for summary, body in blocks if "solution" in summary.lower()]
    assert len(solutions) == 1, f"{name}: one <details> block with a summary that says solution"
    code = re.findall(r"```python\n(.*?)```", solutions[0], re.S)
    assert len(code) == 1, f"{name}: the solution is one ```python block"
    assert verdict(run(code[0], answer), name, capsys).startswith("✓")
