"""What the long tests share: notebooks whose cells are changed, run in a folder of their own."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from test_notebooks import ci

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").rglob("[0-9][0-9]_*.ipynb"))


def run(notebook: nbformat.NotebookNode, folder: Path, name: str) -> str:
    """Run every cell in a new kernel in `folder`; return all printed text. Fails with the cell."""
    course = ci("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT2LITE_PROFILE", "lite")
        patch.setenv("HF_HUB_OFFLINE", "1")  # what the hub would send takes longer than the run
        failure = course.execute(notebook, folder, name)
    assert failure is None, failure
    return course.outputs_text(notebook)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def change(source: str, node: ast.AST, text: str) -> str:
    """Return a source with the lines of one of its statements replaced."""
    lines = source.splitlines()
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join([*lines[: first - 1], text, *lines[node.end_lineno :]])


def fill(notebook: nbformat.NotebookNode, answer: Callable[[str, str, str], str]) -> list[str]:
    """Put answers in place of the stubs; return the names of the parts, in their order.

    answer: gets a part's name, its stub and the markdown below it, and returns the code.
    """
    names = []
    for cell, after in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "build" in cell.metadata.get("tags", []):
            function, name = re.search(
                r'(\w+) = checks\.build\(\1, PARTS\["(\w+)"\]', cell.source
            ).groups()
            for node in ast.parse(cell.source).body:
                if getattr(node, "name", None) == function:
                    stub = ast.get_source_segment(cell.source, node)
                    cell.source = change(cell.source, node, answer(name, stub, after.source))
            names.append(name)
    return names
