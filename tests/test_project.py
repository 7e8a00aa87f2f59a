"""The house rules: floors, import hygiene, one list of packages, one address."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gpt2lite"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# A module imports only from lower floors.
FLOORS = [
    "config precision cpu assets plotting",
    "tokenizer corpora hub model loss optim accounting course.checks course.setup course.page "
    "course.widgets.page",
    "data pretrained sampling checkpoint distributed course.exercises.architecture "
    "course.exercises.pretrained_weights course.exercises.initialization "
    "course.exercises.mixed_precision course.exercises.loss_curves",
    "training evaluation course.figures course.widgets.sizes course.widgets.sampling "
    "course.widgets.initialization course.widgets.floats course.widgets.curves",
    "__main__ course.untied",
]
FLOOR = {module: floor for floor, row in enumerate(FLOORS) for module in row.split()}


def modules() -> dict[str, Path]:
    """Return every module of the package by its name inside it, packages' own files left out."""
    paths = sorted(PACKAGE.rglob("*.py"))
    named = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in paths}
    return {name: path for name, path in named.items() if not name.endswith("__init__")}


def imported_modules(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a tree imports, by their names inside it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import: write gpt2lite.module"
            # what comes from a package may be a module (course.setup) or a thing inside one (GPT)
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    inside = {name.removeprefix("gpt2lite.") for name in found if name.startswith("gpt2lite.")}
    return {name for name in inside if name in FLOOR or name in modules()}


@pytest.mark.parametrize("name", modules())
def test_module_imports_only_from_lower_floors(name):
    assert name in FLOOR, f"gpt2lite/{name}.py has no floor: give it one in FLOORS"
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    for other in imported_modules(tree):
        assert FLOOR[other] < FLOOR[name], (
            f"{name} (floor {FLOOR[name]}) imports {other} (floor {FLOOR[other]})"
        )


def test_import_stays_light():
    heavy = "transformers matplotlib ipywidgets huggingface_hub IPython tyro"
    code = f"import gpt2lite, sys; print(*[m for m in '{heavy}'.split() if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "", f"import gpt2lite also imports {run.stdout.strip()}"


def test_environment_has_the_packages_of_pyproject():
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    wanted = {name.replace(" ", "") for name in wanted if ";" not in name}
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python, *listed = [name for name in listed if isinstance(name, str) and name != "pip"]
    listed = {re.sub(r"^pytorch\b", "torch", name) for name in listed}
    assert python == "python" + PROJECT["project"]["requires-python"]
    assert listed == wanted, "environment.yml and pyproject.toml list different packages"


def test_readme_has_a_line_for_each_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:gpt2lite/)?([\w/]+\.py)`", readme))
    here = {path.relative_to(PACKAGE).as_posix() for path in modules().values()}
    here = {name.removeprefix("course/") for name in here}
    assert here <= named, f"README.md has no line for {here - named}"


def test_every_listed_package_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["train"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    missing = {re.match(r"[\w-]+", name)[0] for name in wanted} - pinned
    assert not missing, f"constraints.txt does not pin {missing}"


def tracked_texts() -> dict[str, str]:
    """Return the text of each file in the repository, by its path, notebooks' strings unescaped."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {}
    for name in filter(None, names.split("\0")):
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture, or a file deleted but not yet committed
    return texts


def test_one_address_everywhere():
    home = PROJECT["project"]["urls"]["Repository"]
    ours = home.removeprefix("https://github.com/")
    name = ours.split("/")[1]
    mention = re.compile(
        r"(?:colab\.research\.google\.com/github|git\+https://github\.com)/([\w.-]+/[\w-]+)"
        rf"|github(?:usercontent)?\.com/([\w.-]+/(?:{re.escape(name)}|gpt2-lite))(?![\w-])"
    )
    texts = tracked_texts()
    for path, text in texts.items():
        for match in mention.finditer(text):
            found = match[1] or match[2]
            assert found == ours, f"{path} says {found}: run `make address REPO={ours}`"
    assert f"github.com/{ours}" in texts["README.md"]


def test_address_refuses_what_is_none():
    for wrong in (
        "",
        "name",
        "a/b/c",
        "https://github.com/a/b",
        "a b/c",
        "-a/b",
        "a/..",
        "a/b.git",
    ):
        command = [sys.executable, ROOT / ".ci" / "address.py", wrong]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 1 and "make address REPO=owner/name" in run.stderr, wrong


def test_address_rewrites_every_mention(tmp_path):
    (tmp_path / ".ci").mkdir()
    script = (ROOT / ".ci" / "address.py").read_text(encoding="utf-8")
    (tmp_path / ".ci" / "address.py").write_text(script, encoding="utf-8")
    link = "https://github.com/{}"
    old, new = "old-owner/gpt2-lite", "new/course"
    unset = "*No owner has set this repository's address yet: …*\n\n"
    page = "[x]({}) colab/github/{}/blob git+https://github.com/{}.git /old-owner/gpt2-lite-2"
    pyproject = '[project.urls]\nRepository = "{}"\n'
    for address in (old, new):
        expected = {
            "pyproject.toml": pyproject.format(link.format(address)),
            "page.ipynb": json.dumps(page.format(link.format(address), address, address)),
            "README.md": f"# Title\n\n{unset if address == old else ''}## Next\n",
        }
        if address == old:
            for path, text in expected.items():
                (tmp_path / path).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, tmp_path / ".ci" / "address.py", new], check=True)
    assert {p: (tmp_path / p).read_text(encoding="utf-8") for p in expected} == expected


def test_no_file_names_somebodys_machine():
    place = re.compile(r"/(?:home|Users)/\w+/|/root/|/tmp/\w|[A-Z]:\\+Users\\")
    for path, text in tracked_texts().items():
        match = place.search(text)
        assert not match or path == "tests/test_project.py", f"{path} names {match[0]!r}"
