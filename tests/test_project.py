"""The house rules: floors, import hygiene, one list of packages, one address."""

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
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

# A module imports only from lower floors. A name is a module, or a folder and all in it.
FLOORS = [
    "config precision cpu assets log plotting distributed",
    "tokenizer model optim loss",
    "data sampling checkpoint hub corpora accounting",
    "training evaluation completions pretrained card planner",
    "pairs hellaswag",
    "run prepare",
    "course.clinic",
    "course.compare course.exercises course.html course.canvas course.attention course.names "
    "course.bits course.floats course.hidden course.records course.released course.unit_model "
    "course.processes",
    "course.judge course.mine course.figures",
    "course.checks course.widgets",
    "course.setup course.untied course.wrong_models course.ranked course.ladder "
    "course.sixteen_bits course.initializations course.small_runs course.counting course.sweeps "
    "course.examined",
    "course.sick course.recipe course.seeds",
    "doctor",
    "__main__",
]
FLOOR = {room: floor for floor, row in enumerate(FLOORS) for room in row.split()}


def modules() -> dict[str, Path]:
    """Return every module of the package by its name inside it; a folder's name is its __init__."""
    paths = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    parts = {path: path.with_suffix("").parts for path in paths}
    named = {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in parts.items()}
    return {name: PACKAGE / path for name, path in named.items() if name not in ("", "course")}


def room(module: str) -> str:
    """Return the name in FLOORS that a module belongs to: its own, or its folder's."""
    return next((name for name in FLOOR if f"{module}.".startswith(f"{name}.")), module)


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
    return inside & modules().keys()


@pytest.mark.parametrize("name", modules())
def test_module_imports_only_from_lower_floors(name):
    here = room(name)
    assert here in FLOOR, f"gpt2lite.{name} has no floor: give it one in FLOORS"
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    for other in map(room, imported_modules(tree)):
        assert other == here or FLOOR[other] < FLOOR[here], (
            f"{name} (floor {FLOOR[here]}) imports {other} (floor {FLOOR[other]})"
        )


def test_every_floor_names_what_is_there():
    assert not FLOOR.keys() - modules().keys(), "a name in FLOORS that no module has"
    assert len(FLOOR) == len(" ".join(FLOORS).split()), "a module stands on two floors"


def first_sentence(path: Path) -> str:
    """Return what a module's docstring says first, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(re.split(r"(?<=\.)\s", text + " ", maxsplit=1)[0].split())


def test_the_packages_readme_has_each_files_first_sentence():
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", readme, re.M))
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    lines = {name: first_sentence(path) for name, path in paths.items()}
    assert all(lines.values()), "a module without a docstring"
    for name, sentence in lines.items():
        assert listed.get(name) == sentence, f"gpt2lite/README.md wants: | `{name}` | {sentence} |"
    assert not listed.keys() - lines.keys(), "gpt2lite/README.md lists a file that is not there"


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


# What we import that comes with a package of the list, by that package's own list.
COMES_WITH = {
    "fsspec": "huggingface-hub",
    "ipython": "ipywidgets",
    "packaging": "matplotlib",
    "pillow": "matplotlib",
    "regex": "tiktoken",
}


def imported_packages(*trees: ast.AST) -> set[str]:
    """Return the top names that trees import, Python's own and ours left out."""
    names = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"gpt2lite"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    def plain(requirement):
        return re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")

    base = {plain(name) for name in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = base | {plain(name) for extra in extras for name in extra}
    for package, bringer in COMES_WITH.items():
        assert package in {plain(name) for name in metadata.requires(bringer)} and bringer in base
    package = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    cells = (
        re.sub(r"^(\s*)[%!].*$", r"\1pass", "".join(cell["source"]), flags=re.M)
        for path in (ROOT / "notebooks").rglob("[0-9][0-9]_*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    )
    found = {
        plain(metadata.packages_distributions().get(name, [name])[0])
        for name in imported_packages(*package, *map(ast.parse, cells))
    }
    missing, unused = found - declared - COMES_WITH.keys(), base - found
    assert not missing, f"pyproject.toml does not list {missing}, which is imported"
    assert not unused, f"pyproject.toml lists {unused}, which the package doesn't import"


def test_the_wheel_holds_every_folder_of_the_package():
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    listed = set(PROJECT["tool"]["setuptools"]["packages"]) - {"gpt2lite.recorded"}
    assert listed == {".".join(folder.parts) for folder in folders}, "pyproject.toml's packages"


def test_contributing_names_what_is_there():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    unknown = set(re.findall(r"`make ([\w-]+)", text)) - targets
    assert not unknown, f"CONTRIBUTING.md speaks of make {unknown}"
    named = re.findall(r"`((?:tests|gpt2lite|notebooks|\.ci)/[\w./]*)`", text)
    for path in (name for name in named if not re.search(r"NN_|/name\b", name)):
        assert (ROOT / path).exists(), f"CONTRIBUTING.md names {path}, which is not there"


def test_every_listed_package_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [
        *PROJECT["project"]["dependencies"],
        *extras["dev"],
        *extras["train"],
        *extras["lm-eval"],
    ]
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
    assert f"/{ours}/" in texts["README.md"]


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
