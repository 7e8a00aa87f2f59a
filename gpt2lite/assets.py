"""Files: fetched once, checked against a pinned sha256, cached; and written whole or not at all.

Knows nothing about what is in them, and executes none.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

TIMEOUT = 10  # seconds without an answer
PATIENCE, SLOWEST = 30, 10_000  # seconds, after which so many bytes a second must have come
CHUNK = 1 << 20  # bytes


class AssetError(RuntimeError):
    """A file that can't be had, or isn't what it should be; the message says what to do."""


class NetworkError(AssetError):
    """A file that the network didn't bring; nothing is known to be wrong with it."""


def cache_dir() -> Path:
    """Return the folder of fetched files: $GPT2LITE_CACHE, or gpt2lite in the user's cache."""
    if chosen := os.environ.get("GPT2LITE_CACHE"):
        return Path(os.path.expanduser(chosen))
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpt2lite"


def fetch(url: str, sha256: str, name: str) -> Path:
    """Return the file `name` in the cache, downloaded from `url` if it isn't there.

    Raises NetworkError if `url` doesn't answer or answers too slowly, AssetError if the disk is
    full or the bytes don't have that sha256.
    """
    return cached(cache_dir() / name, sha256, lambda: _download(url), url)


def cached(path: Path, sha256: str, chunks: Callable[[], Iterable[bytes]], origin: str) -> Path:
    """Return `path`, verified; if it isn't there, write what `chunks()` yields, all or nothing.

    Raises AssetError, with `origin` in it, if the bytes don't have that sha256 or can't be written.
    """
    if os.path.exists(path):  # unlike Path.exists, False for a folder that may not be entered
        try:
            got = sha256_of(path)
        except OSError as error:
            raise AssetError(
                f"cannot read {path} ({error.strerror}): mend that, or set GPT2LITE_CACHE to "
                "another folder"
            ) from error
        if got != sha256:
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


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_stamp(path: Path) -> str:
    """Return what tells, without reading a file, that it was not written to since."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


@contextmanager
def replacing(folder: Path, names: list[str]) -> Iterator[Path]:
    """Yield an empty folder to write `names` into; at its end they take their places in `folder`.

    Until then `folder` is as it was, and stays so if the writing fails. The last name is the file
    without which nobody opens the others: the earlier one goes first, so that a process killed in
    between leaves no mixture of two. What such a process left is removed. The files get the rights
    that the user's other new files have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        yield partial
        usual, earlier, last = partial / "usual", partial / "earlier", folder / names[-1]
        usual.touch()
        for name in names:
            shutil.copymode(usual, partial / name)
        with suppress(FileNotFoundError):
            os.replace(last, earlier)
        try:
            os.replace(partial / names[0], folder / names[0])
        except OSError:  # Windows doesn't replace a file that is in use
            with suppress(FileNotFoundError):
                os.replace(earlier, last)
            raise
        for name in names[1:]:
            os.replace(partial / name, folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(url: str) -> Iterator[bytes]:
    start, received = time.monotonic(), 0
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            while chunk := response.read1(CHUNK):  # what has come; read() would wait for a megabyte
                yield chunk
                received += len(chunk)
                seconds = time.monotonic() - start
                if seconds > PATIENCE and received < SLOWEST * seconds:
                    raise TimeoutError(f"{received:,} bytes in {seconds:.0f} seconds: too slow")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NetworkError(
            f"cannot download {url} ({reason}): connect to the network and try again, or work with "
            'a file of your own, load_text("my.txt")'
        ) from error
