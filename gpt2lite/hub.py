"""Checkpoint files: fetched from the Hugging Face hub, opened, and refused by name if damaged.

Knows nothing about GPT-2. Only safetensors are opened, which hold no code. Sources: the safetensors
format: 8 bytes of header length, a JSON header, the raw tensors; and the layout of the hub's cache:
a file is a link to a blob, which is named after the checksum that the hub gave for it.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from gpt2lite.assets import cache_dir, file_stamp, sha256_of

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST = 10_000  # tensors of a file, which take half a second; a crafted header holds millions
TIMEOUT = 5  # seconds that the hub has to answer

# What reading a file that somebody else wrote can raise; json's own error is a ValueError.
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class CheckpointError(ValueError):
    """A checkpoint that can't be had or is no GPT-2; the message says why, and what to do."""


def fetch_repository(repository: str, revision: str) -> Path:
    """Return the folder with a repository's config and weights, fetched if they aren't cached.

    repository: owner/name. A cached file that is damaged is deleted and fetched again. Raises
    CheckpointError, within seconds, if the hub is out of reach.
    """
    config = _fetch(repository, CONFIG, revision)
    if config is None:
        raise CheckpointError(f"{repository} on the hub has no {CONFIG}")
    revision = config.parent.name  # its commit: the weights must be of the same, if main moves on
    index = _cached(repository, INDEX, revision)  # there: known to be sharded, also without the hub
    if index is None and _fetch(repository, WEIGHTS, revision) is None:
        index = _fetch(repository, INDEX, revision)  # a large model: an index and its shards
    for shard in _shard_names(index) if index else ():
        _fetch(repository, shard, revision)
    return config.parent


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return a folder's tensors by name: views of its safetensors, mapped and not yet read.

    Raises CheckpointError for files that are missing, truncated or damaged, and for a name that is
    there twice.
    """
    tensors = {}
    for file in _weight_files(folder):
        for name, tensor in _open(file):
            if name in tensors:
                raise CheckpointError(f"{folder} holds {name} twice")
            tensors[name] = tensor
    return tensors


def _cached(repository, file, revision) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, file, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _fetch(repository, file, revision) -> Path | None:
    """Return a file of a repository, cached or fetched, and verified; None if it has none."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    cached = _cached(repository, file, revision)
    if cached and _kept_if_sound(cached):
        return cached
    url = hf_hub_url(repository, file, revision=revision)
    try:
        # asked once, without retries: a hub that is away fails now
        checksum = get_hf_file_metadata(url, timeout=TIMEOUT).etag
        path = Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError as e:  # the hub went away: the file may well exist
        raise _unreachable(repository, file, e, cached) from e
    except EntryNotFoundError:
        return None
    except RepositoryNotFoundError as e:
        raise CheckpointError(
            f"the hub has no public repository {repository}: check the spelling, or log in with "
            "`hf auth login`"
        ) from e
    except Exception as e:  # no connection, offline mode, full disk: many libraries' classes
        raise _unreachable(repository, file, e, cached) from e
    if not _kept_if_sound(path, checksum):
        raise CheckpointError(
            f"{file} of {repository} arrived damaged (its checksum differs) and was deleted: call "
            "again"
        )
    return path


def _kept_if_sound(path: Path, checksum: str | None = None) -> bool:
    """Say whether a cached file has its checksum; delete it, its blob too, if it has not.

    checksum: as the hub gave it; otherwise the blob's name, or what was noted at the last time. A
    file is read whole once, and again when its size or times have changed since: what a disk loses
    without a write goes unseen. Where nothing says a checksum, as in a folder that somebody filled
    by hand, a file counts as sound.
    """
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    note = cache_dir() / "verified" / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    try:
        noted = note.read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, ValueError):
        noted = []
    checksum = checksum or (blob.name if blob != path else "".join(noted[:1]))
    try:
        stamp = file_stamp(path)
        if noted == [checksum, stamp] or not _differs(path, checksum):
            with suppress(OSError):  # a cache that can't be written: verified each time
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(f"{checksum} {stamp}", encoding="utf-8")
            return True
        for damaged in (path.resolve(), blob, path):
            damaged.unlink(missing_ok=True)
    except OSError as e:
        raise CheckpointError(f"can't read or delete {path} ({e.strerror}): mend that") from e
    return False


def _differs(path, checksum) -> bool:
    """Compare a file with a checksum: sha256 of a large file, otherwise git's sha1 or a plain one.

    The hub gives git's; what mirrors it may give the sha1 of the bytes. Others aren't known here.
    """
    if re.fullmatch("[0-9a-f]{64}", checksum):
        return sha256_of(path) != checksum
    if re.fullmatch("[0-9a-f]{40}", checksum):
        data = path.read_bytes()
        forms = data, b"blob %d\0" % len(data) + data
        return checksum not in {hashlib.sha1(form).hexdigest() for form in forms}
    return False


def _unreachable(repository, file, e, damaged) -> CheckpointError:
    from huggingface_hub.constants import HF_HUB_CACHE

    lost = "The cached one was damaged and is deleted. " if damaged else ""
    return CheckpointError(
        f"can't fetch {file} of {repository} from the hub ({type(e).__name__}: {e}). {lost}Check "
        f"the network and the disk of {HF_HUB_CACHE} and call again, or pass a local directory "
        "with config.json and model.safetensors"
    )


def _weight_files(folder) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise CheckpointError(
            f"{folder} holds neither {WEIGHTS} nor {INDEX}. A pytorch_model.bin is a pickle, which "
            "is not opened here: convert it with transformers' save_pretrained"
        )
    files = [folder / name for name in _shard_names(folder / INDEX)]
    if missing := [f.name for f in files if not f.is_file()]:
        raise CheckpointError(f"{folder}: {INDEX} names {missing[0]}, which is not there")
    return files


def _shard_names(index) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except UNREADABLE as e:
        raise CheckpointError(f"{index} is no index of shards ({type(e).__name__}: {e})") from e
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", str(name)):  # never a path out of the folder
            raise CheckpointError(f"{index} names {name!r}, which is no safetensors file beside it")
    return names


def _open(file) -> list[tuple[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as f:
            if len(names := f.keys()) > MOST:
                raise CheckpointError(f"{file} holds {len(names):,} tensors: no model has so many")
            return [(name, f.get_tensor(name)) for name in names]
    except CheckpointError:
        raise
    except (SafetensorError, *UNREADABLE) as e:
        raise CheckpointError(f"{file} can't be read: {_what_is_cut_off(file) or e}") from e


def _what_is_cut_off(file) -> str | None:
    """Name the tensors whose bytes a truncated file no longer holds."""
    try:
        size = file.stat().st_size
        with open(file, "rb") as f:
            start = 8 + int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(min(start - 8, size)))  # a damaged length can be huge
        tensors = {k: v for k, v in header.items() if k != "__metadata__"}
        ends = {k: start + v["data_offsets"][1] for k, v in tensors.items()}
        cut = sorted(k for k, end in ends.items() if end > size)
        whole = max(ends.values(), default=start)
    except OSError:
        return None
    except UNREADABLE:
        return f"its header is damaged or cut off ({size:,} bytes); delete it and fetch it again"
    if not cut:
        return None
    return f"truncated in {cut[0]} ({size:,} of {whole:,} bytes); delete it and fetch it again"
