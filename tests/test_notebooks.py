"""What every stored notebook must be, checked on the file alone (nbval runs the cells).

Holds the anatomy, what GitHub and Colab need to show a notebook, and two of the three locks that
keep notebook and package the same (source and import; the visible one is `checks.same_module`
inside the notebooks).
"""

import ast
import importlib.util
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import ModuleType

import nbformat
import pytest
from test_project import PACKAGE, PROJECT, modules

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
ADDRESS = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
SETUP = f"""\
# Setup: finds the course's package, or installs it (Colab, Kaggle); never touches torch.
import sys
from glob import glob
from importlib.util import find_spec

sys.path[:0] = glob("../gpt2lite/..")  # a checkout beside this notebook comes first
if find_spec("gpt2lite") is None:
    source = (glob("gpt2lite-*.whl") or ["git+https://github.com/{ADDRESS}"])[0]
    assert "/OWNER/" not in source, "no address yet: upload the wheel of `make wheel`, run again"
    %pip install -q --no-deps "{{source}}"
assert find_spec("gpt2lite"), "gpt2lite did not install: see pip's message above"
from gpt2lite.course import setup

session = setup.start("""

Notebook = nbformat.NotebookNode


def ci(name: str) -> ModuleType:
    """Import a script of .ci/ as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / ".ci")  # they import each other
        spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def place(path: Path) -> Path:
    """Return where a notebook lies in notebooks/."""
    return path.relative_to(ROOT / "notebooks")


def test_there_are_notebooks():
    assert PATHS, "no notebook in notebooks/"
    for path in PATHS:
        assert re.fullmatch(r"\d\d_[a-z_]+\.ipynb", path.name), f"{path.name} is not NN_name.ipynb"
        assert place(path).parent.as_posix() in (".", "deep"), f"{path} lies where nothing runs it"


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> Notebook:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Notebook) -> list[Notebook]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tags(cell: Notebook) -> list[str]:
    return cell.metadata.get("tags", [])


def tree(cell: Notebook) -> ast.Module:
    """Parse a cell as Python, its magics and shell commands taken out."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.M))


def test_comes_from_one_clean_run(notebook, path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]  # nbformat mends ids in silence
    ids = Counter(cell.get("id") for cell in cells)
    assert None not in ids and max(ids.values()) == 1, f"cell ids missing or repeated: {ids}"
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "not one top-to-bottom run: `make notebooks`"
    for cell in cells:
        errors = [o.ename for o in cell.outputs if o.output_type == "error"]
        assert not errors or "raises-exception" in tags(cell), (
            f"stored error {errors}: {cell.source}"
        )
    size = path.stat().st_size
    assert size < 500_000, f"{size:,} bytes: store smaller pictures"


def test_can_be_shown_anywhere(notebook):
    meta = notebook.metadata
    assert "widgets" not in meta, "metadata.widgets breaks GitHub's rendering: `make notebooks`"
    assert meta.kernelspec.name == "python3"
    assert meta.accelerator == "GPU" and meta.colab.gpuType == "T4", (
        "Colab would open without a GPU"
    )
    kinds = {k for c in code_cells(notebook) for o in c.outputs for k in o.get("data", {})}
    assert "image/svg+xml" not in kinds, "SVG output: GitHub and nbval need PNG"


def test_proves_something(notebook):
    outputs = [o for c in code_cells(notebook) for o in c.outputs]
    text = "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)
    assert "✗" not in text, "a stored check failed"
    assert text.count("✓") >= 5, f"only {text.count('✓')} checks passed in the stored outputs"


def test_no_picture_is_compared_byte_by_byte(notebook):
    for cell in code_cells(notebook):
        pages = [o.get("data", {}).get("text/html", "") for o in cell.outputs]
        assert "nbval-check-output" not in tags(cell) or "<img" not in "".join(pages), (
            f"another matplotlib draws other bytes: untag {cell.source.splitlines()[0]}"
        )


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        has_class = any(isinstance(node, ast.ClassDef) for node in tree(cell).body)
        lines, most = len(cell.source.splitlines()), 40 if has_class else 25
        assert lines <= most, f"{lines} lines, at most {most}: {cell.source.splitlines()[0]}"


def test_fits_one_sitting(notebook, path):
    if path.parent.name == "deep":
        pytest.skip("a notebook in deep/ is read on its own, and short")
    pages = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    prose = re.sub(r"<details>.*?</details>|\$\$.*?\$\$|^\|.*?$", "", pages, flags=re.M | re.S)
    words = len(re.sub(r"\]\(.*?\)", "]", prose).split())
    lines = [sum(map(bool, c.source.split("\n"))) for c in code_cells(notebook)]
    sections = len(re.findall(r"^## \d · ", pages, re.M))
    assert sections <= 6 and len(notebook.cells) <= 70, (
        f"{sections} sections, {len(notebook.cells)} cells"
    )
    assert words <= 2500, f"{words} words outside of details, equations and tables, 2,500 at most"
    assert sum(lines) <= 350, f"{sum(lines)} lines of code without blank ones, 350 at most"
    assert median(lines) <= 8, f"half of the code cells have more than {median(lines) - 1} lines"


def test_an_interrupt_would_leave_no_hook_and_no_replaced_name(notebook):
    for cell in code_cells(notebook):
        page = tree(cell)
        functions = [node for node in ast.walk(page) if isinstance(node, ast.FunctionDef)]
        entered = {i.context_expr for node in ast.walk(page) for i in getattr(node, "items", ())}
        for call in [node for node in ast.walk(page) if isinstance(node, ast.Call)]:
            called, line = ast.unparse(call.func), ast.unparse(call)
            if re.search(r"\.register_\w*hook$", called):
                owner = [f for f in functions if call in ast.walk(f)][-1:] or [page]
                ends = [n.finalbody for n in ast.walk(owner[0]) if isinstance(n, ast.Try)]
                assert ".remove()" in "".join(ast.unparse(line) for end in ends for line in end), (
                    f"a stopped cell leaves a hook: remove it in a `finally:`: {line}"
                )
            if re.fullmatch(r"(mock\.)?patch(\.\w+)*", called):
                assert call in entered, f"a stopped cell leaves it replaced: `with {line}:`"


def test_pictures_have_alt_text(notebook):
    pages = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    pages += [
        o.data["text/html"]
        for c in code_cells(notebook)
        for o in c.outputs
        if "text/html" in o.get("data", {})
    ]
    for page in pages:
        for image in re.findall(r"!\[\s*\]\([^)]*\)", page):
            pytest.fail(f"no alt text: {image[:100]}")
        for image in re.findall(r"<img\b[^>]*>", page):
            assert re.search(r"""\balt=(["'])\s*[^"'\s]""", image), f"no alt text: {image[:100]}"
    bare = [
        k
        for c in code_cells(notebook)
        for o in c.outputs
        for k in o.get("data", {})
        if k == "image/png"
    ]
    assert not bare, "a figure without alt text: show it with gpt2lite.plotting.show(fig, alt=…)"


def test_a_dollar_sign_makes_no_equation_of_prose(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$", "", cell.source, flags=re.S)
            for equation in re.findall(r"(?<!\\)\$([^$]*)\$", text):
                words = re.sub(r"\\\w+(\{[\w .,/()-]*\})?", "", equation)
                assert not re.search(r"\]\(|[a-z]{2,} [a-z]{2,}", words), (
                    f"shown as an equation: {equation[:80]}"
                )


def test_opens_from_its_badges(notebook, path):
    first = notebook.cells[0].source
    for target in ("colab.research.google.com/github", "github.com"):
        link = f"(https://{target}/{ADDRESS}/blob/main/notebooks/{place(path).as_posix()})"
        assert link in first, f"the first cell does not link {link}"
    starts = [c.source for c in code_cells(notebook) if "setup.start(" in c.source]
    assert len(starts) == 1 and starts[0] == code_cells(notebook)[0].source, (
        "set-up comes first, once"
    )
    name = f'"{path.stem}"'
    up = "../" * len(place(path).parts)
    expected = SETUP.replace('glob("../gpt2lite', f'glob("{up}gpt2lite') + name
    assert re.fullmatch(re.escape(expected) + r'(, needs=\[[\w", ]+\])?\)', starts[0]), (
        "the set-up cell is not the course's"
    )


def test_headings_skip_no_level(notebook):
    pages = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    text = re.sub(r"^```.*?^```", "", pages, flags=re.M | re.S)
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text, re.M)]
    assert levels.count(1) == 1 and levels[0] == 1, "one title, first"
    for above, below in pairwise(levels):
        assert below <= above + 1, f"a heading of level {below} under one of level {above}"


def test_has_its_row_in_the_readme(notebook, path):
    if path.parent.name == "deep":
        pytest.skip("its row is the link in the notebook that it deepens")
    title = re.search(r"^# \d+ · (.+)$", notebook.cells[0].source, re.M)[1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = rf"^\| \[{path.name[:2]} · {re.escape(title)}\]\(notebooks/{path.name}\) \|.*$"
    found = re.search(row, readme, re.M)
    assert found, f"README.md has no row | [{path.name[:2]} · {title}](notebooks/{path.name}) | …"
    colab = f"colab.research.google.com/github/{ADDRESS}/blob/main/notebooks/{path.name}"
    assert colab in found[0], f"README.md's row of {title} doesn't open it in Colab"


def test_leads_to_its_neighbours(notebook, path):
    line = ci("notebooks").signposts(path)
    assert not line or line in notebook.cells[0].source.splitlines(), (
        f"the first cell wants: {line}"
    )
    pages = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([\w./-]+\.ipynb)\)", pages):
        assert (path.parent / link).is_file(), f"a link leads to {link}, which is not there"
    if path.parent.name == "deep":
        main = next(path.parent.parent.glob(f"{path.name[:2]}_*.ipynb"))
        assert f"](deep/{path.name})" in main.read_text(encoding="utf-8"), (
            f"{main.name} has no link to it"
        )
    badge = f"github.com/{ADDRESS}/blob/main/notebooks/{place(path).as_posix()})"
    others = re.findall(rf"\(https://(github\.com/{ADDRESS}/blob/[^)]*\.ipynb\))", pages)
    assert set(others) <= {badge}, "a link to GitHub where the file lies beside: write it relative"


def without_docstrings(node: ast.AST) -> str:
    """Return a tree as text, comments (which no tree has) and docstrings left out."""
    for part in ast.walk(node):
        if isinstance(part, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(part, clean=False) is not None:
                part.body = part.body[1:] or [ast.Pass()]
    return ast.dump(node, indent=1)


def definitions(module: ast.Module) -> dict[str, ast.AST]:
    """Return the classes, functions and constants that a module or cell defines, by name."""
    found = {}
    for node in module.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def package_tree(name: str) -> ast.Module:
    assert name in modules(), f"mirror:gpt2lite.{name} names no module"
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def test_mirror_cells_are_the_packages_source(notebook):
    for cell in code_cells(notebook):
        for tag in tags(cell):
            if not tag.startswith("mirror"):
                continue
            assert re.fullmatch(r"mirror:gpt2lite\.[\w.]+", tag), (
                f"tag {tag!r}: mirror:gpt2lite.module"
            )
            theirs = definitions(package_tree(tag.removeprefix("mirror:gpt2lite.")))
            ours = definitions(tree(cell))
            assert ours, f"a cell tagged {tag} defines nothing: {cell.source}"
            for name, node in ours.items():
                assert name in theirs, f"{tag} has no {name}"
                assert without_docstrings(node) == without_docstrings(theirs[name]), (
                    f"{name} differs from {tag.removeprefix('mirror:')}, which is the truth"
                )


def exported() -> dict[str, str]:
    """Return each public class and function of the core with its module; what is in course/ is
    called by its module's name, or is a part that the reader defines."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {
        name: module
        for module in modules()
        if not module.startswith("course.")
        for name, node in definitions(package_tree(module)).items()
        if isinstance(node, kinds) and not name.startswith("_")
    }


def test_nothing_of_the_package_is_defined_again(notebook):
    names = exported()
    for cell in code_cells(notebook):
        if any(tag in ("teaching", "build") or tag.startswith("mirror:") for tag in tags(cell)):
            continue
        for name, node in definitions(tree(cell)).items():
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                assert name not in names, (
                    f"{name} is in {PACKAGE.name}.{names[name]}: import it, or tag it"
                )
