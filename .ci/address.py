"""Write the repository's address everywhere: `make address REPO=owner/name`.

The one place is `[project.urls] Repository` in pyproject.toml; badges, links and the notebooks'
install line repeat it.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r'^Repository = "https://github\.com/([\w.-]+/[\w.-]+)"$', re.M)
# README.md's line for as long as nobody has set it
UNSET = re.compile(r"^\*No owner has set this repository's address yet.*\n\n", re.M)


def repository() -> str:
    """Return owner/name from pyproject.toml."""
    return PLACE.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]


def tracked() -> list[Path]:
    """Return the repository's files, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def main(new: str) -> None:
    # GitHub's rules: an owner has letters, digits and single hyphens; a name also has . and _
    if not re.fullmatch(r"[A-Za-z0-9](?:-?[A-Za-z0-9])*/(?!\.+$)[\w.-]+(?<!\.git)", new, re.ASCII):
        sys.exit(f"not a repository's address: {new!r}. Say: make address REPO=owner/name")
    old, changed = repository(), []
    for path in tracked():
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture
        replaced = re.sub(rf"(?<=/){re.escape(old)}(?![\w-])", new, text)
        replaced = UNSET.sub("", replaced)
        if replaced != text:
            path.write_bytes(replaced.encode())
            changed.append(str(path.relative_to(ROOT)))
    print(f"{old} -> {new} in {len(changed)} files: {', '.join(changed)}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])
