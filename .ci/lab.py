"""Copy the notebooks to my_notebooks/, for the reader to write in: what `make lab` opens.

A copy that the reader has changed is never overwritten; one that is as it was copied follows the
course. Knows nothing about what a notebook holds.
"""

import hashlib
import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COURSE, MINE = ROOT / "notebooks", ROOT / "my_notebooks"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy(course: Path = COURSE, mine: Path = MINE) -> list[str]:
    """Copy what is new or untouched; return the notebooks that differ but are the reader's now."""
    mine.mkdir(exist_ok=True)
    log = mine / ".copied.json"  # each file's hash when it was copied
    copied = json.loads(log.read_text(encoding="utf-8")) if log.exists() else {}
    kept = []
    for path in sorted(course.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        name = path.relative_to(course).as_posix()
        here, now = mine / name, digest(path)
        if not here.exists() or digest(here) == copied.get(name):
            here.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, here)
            copied[name] = now
            log.write_text(json.dumps(copied, indent=1), encoding="utf-8")
        elif copied.get(name) != now:
            kept.append(name)
    return kept


if __name__ == "__main__":
    for name in copy():
        print(f"my_notebooks/{name} is yours and stays; the course's newer one is notebooks/{name}")
