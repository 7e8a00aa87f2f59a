"""Execute the course's notebooks: in a copy under build/, or in place with clean outputs.

    python .ci/notebooks.py course                             what `make course` runs
    python .ci/notebooks.py store                              what `make notebooks` runs
    python .ci/notebooks.py store notebooks/01_architecture.ipynb

Prints a line for each notebook as it finishes; exits 1 if one failed. Knows nothing about what the
notebooks teach.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from address import repository
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build"
CELL_SECONDS = 1800  # a hung cell ends some day; a slow machine is no failure
MAX_BYTES = 500_000
WIDGET = "application/vnd.jupyter.widget-view+json"
SIGNPOSTS = re.compile(r"^(?:previous|next|back): .*$", re.M)
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


class Refused(Exception):
    """A notebook that must not be stored, with the reason."""


def execute(notebook: nbformat.NotebookNode, folder: Path, name: str) -> str | None:
    """Run every cell in `folder`, outputs into `notebook`; return None, or what failed."""
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    at, began = 0, time.perf_counter()

    def show_progress(cell, cell_index):
        nonlocal at
        at = cell_index
        if sys.stdout.isatty():
            seconds = time.perf_counter() - began
            line = f"{name}  cell {code.index(cell_index) + 1} of {len(code)}, {seconds:.0f} s"
            print(f"\r\033[K{line}", end="", flush=True)

    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # its warning about local TCP would alarm readers
        on_cell_execute=show_progress,
    )
    try:
        client.execute()
    except CellExecutionError:
        errors = (o for o in notebook.cells[at].outputs if o.output_type == "error")
        reason = "\n".join(next(errors).traceback)
    except CellTimeoutError:
        reason = f"the cell ran longer than {CELL_SECONDS} s and was stopped"
    except DeadKernelError:
        reason = "the kernel died: most often the machine ran out of memory"
    else:
        return None
    finally:
        if sys.stdout.isatty():
            print("\r\033[K", end="")
    source = notebook.cells[at].source.splitlines()
    shown = "\n".join("    " + line for line in source[:4] + ["…"] * (len(source) > 4))
    reason = re.sub(r"\x1b\[[0-9;]*m", "", reason).strip()
    return f"cell {code.index(at) + 1} of {len(code)}:\n{shown}\n{reason}"


def outputs_text(notebook: nbformat.NotebookNode) -> str:
    """Return everything readable in the outputs, pictures left out."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parts.append(output.get("text", ""))
            parts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return re.sub(r"data:image/[^\"')]*", "", "\n".join(map("".join, parts)))


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Keep cells, tags and outputs alone, so that `git diff` shows what changed."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # cell ids came with 4.5
    seen, count = set(), 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "id" not in cell or cell.id in seen:
            digest = hashlib.sha256(cell.source.encode()).hexdigest()
            cell.id = next(d for i in range(50) if (d := digest[i : i + 8]) not in seen)
        seen.add(cell.id)
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        # A widget without its state shows as an error; on GitHub the picture beside it speaks.
        cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count


def course_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the course's notebooks in their order, those that go deeper after them."""
    return [p for part in ("", "deep") for p in sorted((folder / part).glob("[0-9][0-9]_*.ipynb"))]


def signposts(path: Path) -> str:
    """Return the line that leads to the notebooks before and after this one, by the files' order.

    One in deep/ leads back to the notebook of its number.

    A relative link opens the file beside in JupyterLab, on GitHub and in a Colab that reads from
    GitHub; a copy in Drive has no file beside it, hence the second link.
    """
    colab = f"https://colab.research.google.com/github/{repository()}"
    if path.parent.name == "deep":
        up, near = "../", {"back": next(path.parent.parent.glob(f"{path.name[:2]}_*.ipynb"))}
    else:
        paths = [None, *sorted(path.parent.glob("[0-9][0-9]_*.ipynb")), None]
        at = paths.index(path)
        up, near = "", {"previous": paths[at - 1], "next": paths[at + 1]}
    ways = []
    for word, to in near.items():
        if to:
            first = nbformat.read(to, as_version=4).cells[0].source
            title = re.search(r"^# \d+ · (.+)$", first, re.M)[1]
            there = f"{colab}/blob/main/notebooks/{to.name}"
            ways.append(f"{word}: [{to.name[:2]} · {title}]({up}{to.name}) ([Colab]({there}))")
    return " · ".join(ways)


def refuse_bad_outputs(notebook: nbformat.NotebookNode) -> None:
    """Raise Refused if an output names this machine, an object's address or a failed check."""
    text = outputs_text(notebook)
    for place in {str(ROOT), str(Path.home()), sys.prefix, tempfile.gettempdir()} - {"/"}:
        if place in text:
            line = next(line for line in text.splitlines() if place in line)
            raise Refused(f"an output names a place on this machine: {line.strip()[:200]}")
    if address := re.search(r".* at 0x[0-9a-f]{6,}.*", text):
        raise Refused(f"an output holds an address that changes each run: {address[0][:200]}")
    if "✗" in text:
        raise Refused("an output holds ✗: " + next(x for x in text.splitlines() if "✗" in x))


def run(path: Path, store: bool) -> bool:
    """Execute one notebook, print its line, write it back; return whether all went well."""
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    failure = execute(notebook, path.parent, path.stem)
    seconds, checks = time.perf_counter() - began, outputs_text(notebook).count("✓")
    if failure is None and store:
        try:
            normalise(notebook)
            first = notebook.cells[0]
            first.source = SIGNPOSTS.sub(lambda _: signposts(path), first.source)
            refuse_bad_outputs(notebook)
            text = nbformat.writes(notebook) + "\n"
            if len(text.encode()) >= MAX_BYTES:
                raise Refused(
                    f"the file would be {len(text.encode()):,} bytes, {MAX_BYTES:,} at most"
                )
            path.write_text(text, encoding="utf-8", newline="\n")
        except Refused as reason:
            failure = f"not stored: {reason}"
    elif not store:
        nbformat.write(notebook, path)
    mark = "✓" if failure is None else "✗ " + failure
    print(f"{path.stem:<28}{seconds:6.0f} s {checks:4} checks passed  {mark}", flush=True)
    return failure is None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["course", "store"])
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all, in their order")
    parser.add_argument("--build", type=Path, default=BUILD / "course", help="where course copies")
    args = parser.parse_args()
    paths = args.notebook or course_notebooks()
    if not paths:
        print("no notebooks found in notebooks/")
        return 1
    if args.mode == "store":
        os.environ["GPT2LITE_PROFILE"] = "lite"
        files = [str(path) for path in paths]
        subprocess.run([sys.executable, "-m", "ruff", "format", "-q", *files], check=True)
    else:
        shutil.rmtree(args.build, ignore_errors=True)
        skip = shutil.ignore_patterns(".ipynb_checkpoints")
        shutil.copytree(NOTEBOOKS, args.build / "notebooks", ignore=skip)
        copies = args.build.resolve() / "notebooks"
        paths = [copies / path.resolve().relative_to(NOTEBOOKS) for path in paths]
    failed = [path.name for path in paths if not run(path.resolve(), args.mode == "store")]
    if failed:
        print(f"failed: {', '.join(failed)}")
    elif args.mode == "course":
        print(
            f"all {len(paths)} notebooks ran; their copies are in {_relative(args.build)}/notebooks"
        )
    return bool(failed)


def _relative(path: Path) -> Path:
    return path.resolve().relative_to(ROOT) if path.resolve().is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
