"""Checkpoints that can be trusted: complete or not there, verified when read, never unpickled code.

Knows nothing about what it stores beyond tensors, numbers, strings, lists and dicts. A file's name
carries its step, the beginning of its sha256 and whether it was the best so far, so that one rename
makes it real and one pass proves it whole.
"""

import os
import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch

from gpt2lite.assets import sha256_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})(-best)?\.pt")


class ResumeError(RuntimeError):
    """A checkpoint that can't be read; the message says why, and what to do."""


@contextmanager
def locked(folder):
    """Keep a folder, made if need be, to one run inside the block; the system ends it with a kill.

    Raises ResumeError if another run holds the folder, or if nothing can be written there. Warns
    where the file system has no locks.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "ab")
    except OSError as error:
        raise ResumeError(
            f"cannot write into {folder} ({error.strerror}): mend that, or name another folder"
        ) from error
    with file:  # closing it ends the lock; the file stays, since others may wait for it
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ResumeError(
                f"another run is saving into {folder}: wait until it ends, or name another folder"
            ) from error
        except OSError as error:
            warnings.warn(
                f"cannot lock {folder} ({error.strerror}): one run at a time", stacklevel=3
            )
        yield


def save(folder, step: int, state: dict, keep: int = 2, best: bool = False) -> Path:
    """Write a state as the checkpoint of a step, and delete all but the newest `keep` and the best.

    `best` says that none before it was as good. A crash or a full disk at any moment leaves the
    earlier checkpoints whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "step.partial"
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        mark = "-best" if best else ""
        path = folder / f"step-{step:08d}-{sha256_of(partial)[:16]}{mark}.pt"
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    kept = {*found(folder)[-keep:], *found(folder, best=True)[-1:]}
    for old in {*found(folder)} - kept:
        old.unlink()
    return path


def found(folder, best: bool = False) -> list[Path]:
    """Return the checkpoints in a folder, or only those once the best, the oldest step first."""
    names = ((path, NAME.fullmatch(path.name)) for path in Path(folder).glob("step-*.pt"))
    return sorted(path for path, name in names if name and (name[3] or not best))


def load(path) -> dict:
    """Return the state in a checkpoint, or in the newest one of a folder, on the CPU.

    Raises ResumeError if there is none, or if it is damaged or not one of ours.
    """
    path = Path(path)
    if path.is_dir():
        if not found(path):
            raise ResumeError(f"{path} holds no checkpoint: start a new run there")
        path = found(path)[-1]
    named = NAME.fullmatch(path.name)
    if not named or not path.is_file():
        raise ResumeError(f"{path} is no checkpoint of gpt2lite: name one, or its folder")
    if not sha256_of(path).startswith(named[2]):
        raise ResumeError(
            f"{path} is damaged or cut off: delete it, and the one before it will be read"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise ResumeError(f"{path} is no checkpoint of gpt2lite ({error})") from error
