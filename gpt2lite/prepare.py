"""From documents to token shards: jsonl or parquet, on disk or streamed from the hub.

Knows nothing about models. A shard is a token file (gpt2lite.data) of whole documents, each after
an end-of-text token, in an order drawn from the seed; shard 0 is to validate on. Names and form are
those that Karpathy's build-nanogpt reads. A manifest says what is done and where the next document
stands: a run that was killed goes on there. Sources: build-nanogpt's fineweb.py; the documentation
of `datasets` on streams that can be resumed. It is over 250 lines for what it refuses: a source, a
folder or a shard that is not what the last call left would lose documents, or take them twice.
"""

import glob
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt2lite import data
from gpt2lite.assets import sha256_of
from gpt2lite.checkpoint import ResumeError, locked
from gpt2lite.data import MANIFEST, DataError
from gpt2lite.tokenizer import END_OF_TEXT

# Data sets by name. FineWeb-Edu's sample of 10B tokens is 14 files, about 28 GB in all.
SOURCES = {"fineweb-edu": "hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet"}
READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
BATCH = 1024  # documents that are read, then encoded, at a time


class Document(NamedTuple):
    """A document's tokens, its text's length in bytes, and where the one after it stands."""

    tokens: np.ndarray
    bytes: int
    place: dict


def prepare(
    source: str,
    folder,
    *,
    max_tokens: int | None = None,
    shard_tokens: int = 100_000_000,
    column: str = "text",
    seed: int = 1337,
    workers: int | None = None,
) -> Iterator[dict]:
    """Write the documents of a source into `folder` as token shards; yield a record per shard.

    source: a name in SOURCES, a file, a pattern ("texts/*.parquet") or an hf:// address; a row's
    `column` is one document. The files are read in an order drawn from `seed`. A shard ends with
    the document that fills `shard_tokens`, the work with the one that reaches `max_tokens`. Called
    again, with more of them if you like, it goes on where it was. `workers` threads encode, one a
    core if None is given.

    A record has name, split ("val" or "train"), documents, tokens, bytes (of text, UTF-8), sha256,
    and seconds. Raises DataError for a source that can't be read or is too short, or a shard that
    is gone; ResumeError for a folder that another run holds, or that was begun in another way.
    """
    numbers = {"shard_tokens": (shard_tokens, 1), "workers": (workers, 1), "seed": (seed, 0)}
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise DataError(f"{name} must be at least {least}, not {value}")
    if max_tokens is not None and max_tokens <= shard_tokens:
        raise DataError(
            f"max_tokens={max_tokens} leaves nothing to train on, since shard 0, to validate on, "
            f"takes shard_tokens={shard_tokens}: choose smaller shards, or more tokens"
        )
    files = find_files(source)
    np.random.default_rng(seed).shuffle(files)
    begun = {"files": files, "column": column, "shard_tokens": shard_tokens, "seed": seed}
    folder, limit = Path(folder), max_tokens or float("inf")
    with locked(folder):
        manifest = _read_manifest(folder, begun)
        shards = manifest["shards"]
        documents = _documents(_rows(files, column), manifest["place"], column, workers)
        while (done := sum(shard["tokens"] for shard in shards)) < limit:
            start = time.perf_counter()
            held = _take(documents, min(shard_tokens, limit - done))
            if not held:
                break
            if not shards:  # first of all, so that the folder can be told from others
                _write_manifest(folder, manifest)
            shards.append(_write_shard(folder, len(shards), held, seed))
            manifest["place"] = held[-1].place | {"last": data.fingerprint(held[-1].tokens)}
            _write_manifest(folder, manifest)
            yield shards[-1] | {"seconds": time.perf_counter() - start}
    if len(shards) < 2:
        raise DataError(
            f"{source} has {done:,} tokens, which all went into shard 0, to validate on: choose a "
            "smaller shard_tokens, and another folder"
        )


def find_files(source: str) -> list[str]:
    """Return the files that a source names, sorted. Raises DataError if there are none."""
    pattern = SOURCES.get(source, source)
    try:
        if "://" in pattern:
            import fsspec

            system, path = fsspec.core.url_to_fs(pattern)
            files = [system.unstrip_protocol(file) for file in system.glob(path)]
        else:
            files = [pattern] if Path(pattern).is_file() else glob.glob(pattern)
    except Exception as error:  # each kind of address has errors of its own
        raise DataError(
            f"cannot list {pattern} ({error}): connect to the network and try again, or name a "
            "file of your own"
        ) from error
    if not files:
        raise DataError(
            f"{source} names no file: name a .jsonl or .parquet file, a pattern in quotes, or one "
            f"of {', '.join(SOURCES)}"
        )
    if wrong := [file for file in files if _reader(file) != _reader(files[0]) or not _reader(file)]:
        raise DataError(
            f"{wrong[0]} can't be read with the others: .jsonl or .parquet, all of one kind"
        )
    return sorted(files)


def _reader(file: str) -> str | None:
    """Return which reader of `datasets` a file wants, by its name, such as a.jsonl.gz."""
    return next((READERS[s] for s in reversed(Path(file).suffixes) if s in READERS), None)


def _rows(files: list[str], column: str):
    """Return the rows of all files as a stream of `datasets`, a text in each one's `column`."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError("prepare needs datasets: run `pip install datasets`") from error
    kind, names = _reader(files[0]), [glob.escape(file) for file in files]
    how = {"data_files": names, "split": "train", "streaming": True}
    with _readable():
        first = next(iter(load_dataset(kind, **how)), {})
        if column in first:  # of parquet, the other columns are not even read
            options = {"columns": [column]} if kind == "parquet" else {}
            return load_dataset(kind, **how, **options)
    raise DataError(
        f"{files[0]} has no column {column!r}, but {', '.join(first) or 'none'}: name the one that "
        "holds the documents"
    )


@contextmanager
def _readable():
    """Say what to do about a damaged file, or a network that is gone."""
    try:
        yield
    except Exception as error:
        reason = str(error.__cause__ or error) or "an empty file"
        raise DataError(
            f"cannot read on ({reason}): mend the file or the network, and run the same again, "
            "which goes on from the last whole shard"
        ) from error


def _documents(rows, place: dict | None, column: str, workers: int | None) -> Iterator[Document]:
    """Yield the documents from a place on, encoded by several threads, in the rows' order."""
    if place:
        rows.load_state_dict(place["rows"])
    before, skip = (place["rows"], place["skip"]) if place else (rows.state_dict(), 0)
    stream, texts = iter(rows), [None]
    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        while texts:
            with _readable():
                texts = [row[column] for row in islice(stream, BATCH)]
            last = [data.fingerprint(_encode(text)[0]) for text in texts[skip - 1 : skip]]
            if skip and last != [place["last"]]:
                raise ResumeError(
                    "another document stands where the last one stood: the source has changed. Go "
                    "on with what it was, or begin in another folder"
                )
            for number, (tokens, length) in enumerate(threads.map(_encode, texts[skip:]), skip + 1):
                yield Document(tokens, length, {"rows": before, "skip": number})
            before, skip = rows.state_dict(), 0


def _encode(text) -> tuple[np.ndarray, int]:
    """Return a document's tokens, end-of-text first, and its length in bytes."""
    if not isinstance(text, str):
        raise DataError(f"a document is {text!r}, no text: leave it out, or name another column")
    return np.append(np.uint16(END_OF_TEXT), data.encode(text)), len(text.encode())


def _take(documents: Iterator[Document], n_tokens: int) -> list[Document]:
    """Take documents until they hold so many tokens, or no more are there."""
    held, n = [], 0
    while n < n_tokens and (document := next(documents, None)):
        held.append(document)
        n += len(document.tokens)
    return held


def _write_shard(folder: Path, number: int, held: list[Document], seed: int) -> dict:
    """Write documents as a shard, in an order drawn from the seed; return its record."""
    order = np.random.default_rng([seed, number]).permutation(len(held))
    split = "train" if number else "val"
    path = folder / f"{split}_{number:06d}.npy"
    data.save_tokens(path, np.concatenate([held[i].tokens for i in order]))
    return {
        "name": path.name,
        "split": split,
        "documents": len(held),
        "tokens": sum(len(document.tokens) for document in held),
        "bytes": sum(document.bytes for document in held),
        "sha256": sha256_of(path),
    }


def _read_manifest(folder: Path, begun: dict) -> dict:
    """Return what is done. Raises ResumeError if the folder was begun in another way."""
    path, new = folder / MANIFEST, {"begun": begun, "shards": [], "place": None}
    if not path.exists() and any(folder.glob("*.npy")):
        raise ResumeError(f"{folder} holds other token files: name another folder")
    if not path.exists():
        return new
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        was, shards, _ = (manifest[name] for name in new)
        splits = {shard["split"] for shard in shards}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"{path} can't be read ({error}): begin in another folder") from error
    if not shards:
        return new
    if differ := [name for name in begun if was.get(name) != begun[name]]:
        name = differ[0]
        how = "other files" if name == "files" else f"{name}={was.get(name)}, not {begun[name]}"
        raise ResumeError(
            f"{folder} was begun with {how}: go on with the same, or begin in another folder"
        )
    for split in splits:
        data.Shards(folder, split)  # refuses a shard that is gone or cut off
    return manifest


def _write_manifest(folder: Path, manifest: dict) -> None:
    partial = folder / f".{MANIFEST}.partial"  # what a kill leaves of it, `locked` removes
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / MANIFEST)
    except OSError as error:
        raise DataError(f"cannot write into {folder} ({error.strerror}): make room") from error
