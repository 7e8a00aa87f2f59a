"""Checkpoint files: fetched from the Hugging Face hub, opened, and refused by name if damaged.

Knows nothing about GPT-2. Only safetensors are opened, which hold no code. Source: the safetensors
format: 8 bytes of header length, a JSON header, the raw tensors.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from gpt2lite.assets import sha256_of

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


class CheckpointError(ValueError):
    """A checkpoint that can't be had or is no GPT-2; the message says why, and what to do."""


def fetch_repository(repository: str, revision: str) -> Path:
    """Return the folder with a repository's config and weights, fetched if they aren't cached.

    repository: owner/name. Raises CheckpointError, within seconds, if the hub is out of reach.
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


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each name and tensor of a folder's safetensors; the tensors are views of the files.

    Raises CheckpointError for files that are missing, truncated or damaged.
    """
    for file in _weight_files(folder):
        yield from _open(file)


def _cached(repository, file, revision) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, file, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _fetch(repository, file, revision) -> Path | None:
    """Return a file of a repository, cached or fetched, weights verified; None if it has none."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if cached := _cached(repository, file, revision):
        return cached
    url = hf_hub_url(repository, file, revision=revision)
    try:
        # asked once, without retries: a hub that is away fails now
        checksum = get_hf_file_metadata(url, timeout=5).etag
        path = Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError as e:  # the hub went away: the file may well exist
        raise _unreachable(repository, file, e) from e
    except EntryNotFoundError:
        return None
    except RepositoryNotFoundError as e:
        raise CheckpointError(
            f"the hub has no public repository {repository}: check the spelling, or log in with "
            "`hf auth login`"
        ) from e
    except Exception as e:  # no connection, offline mode, full disk: many libraries' classes
        raise _unreachable(repository, file, e) from e
    if re.fullmatch("[0-9a-f]{64}", checksum or "") and sha256_of(path) != checksum:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file} of {repository} arrived damaged (its sha256 differs): call again"
        )
    return path


def _unreachable(repository, file, e) -> CheckpointError:
    return CheckpointError(
        f"can't fetch {file} of {repository} from the hub ({type(e).__name__}: {e}). Check the "
        "network and the disk and call again, or pass a local directory with config.json and "
        "model.safetensors"
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
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise CheckpointError(f"{index} is no index of shards ({type(e).__name__}: {e})") from e
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", str(name)):  # never a path out of the folder
            raise CheckpointError(f"{index} names {name!r}, which is no safetensors file beside it")
    return names


def _open(file):
    """Yield (name, tensor) from a safetensors file; the tensors are views of the mapped file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as f:
            yield from ((name, f.get_tensor(name)) for name in f.keys())
    except SafetensorError as e:
        raise CheckpointError(f"{file} can't be read: {_what_is_cut_off(file) or e}") from e


def _what_is_cut_off(file) -> str | None:
    """Name the tensors whose bytes a truncated file no longer holds."""
    size = file.stat().st_size
    with open(file, "rb") as f:
        start = 8 + int.from_bytes(f.read(8), "little")
        try:
            header = json.loads(f.read(min(start - 8, size)))  # a damaged length can be huge
            tensors = {k: v for k, v in header.items() if k != "__metadata__"}
            ends = {k: start + v["data_offsets"][1] for k, v in tensors.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return f"its header is damaged or cut off ({size:,} bytes); fetch it again"
    if cut := sorted(k for k, end in ends.items() if end > size):
        whole = max(ends.values())
        return f"truncated in {cut[0]} ({size:,} of {whole:,} bytes); fetch it again"
    return None
