"""Checkpoints that can be trusted: complete or not there, verified when read, never unpickled code.

Knows nothing about what it stores beyond tensors, numbers, strings, lists and dicts. A file's name
carries its step, the beginning of its sha256 and whether it was the best so far, so that one rename
makes it real and one pass proves it whole. Sources: the manual pages of rename(2), fsync(2) and
flock(2); PyTorch's serialization notes for `weights_only`.
"""

import os
import re
import secrets
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from gpt2lite.assets import sha256_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})(-best)?\.pt")
KEEP = 2  # the newest checkpoints to keep: if one is damaged, there is another


class ResumeError(RuntimeError):
    """A checkpoint that can't be written or read; the message says why, and what to do."""


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
        else:
            for partial in folder.glob(".*.partial"):  # of a save that was killed
                with suppress(OSError):
                    partial.unlink()
        yield


def save(folder, step: int, state: dict, best: bool = False) -> Path:
    """Write a state as the checkpoint of a step; keep the newest two, and the best up to here.

    `best` says that none before it was as good. Checkpoints of later steps are deleted: a run that
    saves an earlier step has given them up. A crash or a full disk at any moment leaves the earlier
    checkpoints whole. Raises ResumeError if the file can't be written.
    """
    folder = Path(folder)
    partial = folder / f".step.{secrets.token_hex(4)}.partial"  # nobody else's, locked or not
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        mark = "-best" if best else ""
        path = folder / f"step-{step:08d}-{sha256_of(partial)[:16]}{mark}.pt"
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it
        if isinstance(cause, KeyboardInterrupt):  # an impatient second Ctrl-C
            raise cause from None
        if not isinstance(cause, OSError):
            raise
        raise ResumeError(
            f"cannot write the checkpoint of step {step} into {folder} ({cause.strerror}): make "
            "room or mend that, and go on from the one before it, if there is one"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    past = [*(old for old in found(folder) if _step(old) < step), path]
    bests = [old for old in past if NAME.fullmatch(old.name)[3]]
    for old in {*found(folder)} - {*past[-KEEP:], *bests[-1:]}:
        with suppress(OSError):  # a virus scanner may be reading it: the next save tries again
            old.unlink()
    return path


def found(folder, best: bool = False) -> list[Path]:
    """Return the checkpoints in a folder, or only those once the best, the oldest step first."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    names = ((path, NAME.fullmatch(path.name)) for path in folder.iterdir())
    ours = (path for path, name in names if name and (name[3] or not best) and path.is_file())
    return sorted(ours, key=lambda path: (_step(path), path.name))


def load(path) -> dict:
    """Return the state in a checkpoint, or in the newest whole one of a folder, on the CPU.

    A printed line names a newer one that is damaged. Raises ResumeError if there is none, or if it
    is damaged or not one of ours.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = newest(path)
        elif not (NAME.fullmatch(path.name) and path.is_file()):
            raise ResumeError(f"{path} is no checkpoint of gpt2lite: name one, or its folder")
        elif not _whole(path):
            others = [other for other in found(path.parent) if _whole(other)]
            advice = f"go on from {others[-1]}" if others else "no other is whole: start anew"
            raise ResumeError(f"{path} is damaged or cut off: {advice}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except ResumeError:
        raise
    except OSError as error:
        raise ResumeError(f"cannot read {path} ({error.strerror}): mend that and retry") from error
    except Exception as error:  # a pickle that isn't ours may raise anything
        raise ResumeError(_foreign(path, type(error).__name__)) from error
    if not isinstance(state, dict):
        raise ResumeError(_foreign(path, type(state).__name__))
    return state


def newest(folder) -> Path:
    """Return the newest whole checkpoint of a folder; a printed line names a damaged one.

    Raises ResumeError if there is none.
    """
    folder = Path(folder)
    there = found(folder)
    if not there:
        raise ResumeError(f"{folder} holds no checkpoint: start a new run there")
    damaged = []
    for path in reversed(there):
        if _whole(path):
            break
        damaged.append(path.name)
    else:
        raise ResumeError(
            f"{folder} holds no whole checkpoint, all are damaged or cut off: delete "
            f"{', '.join(damaged)}, and start a new run there"
        )
    if damaged:
        print(f"damaged or cut off: {', '.join(damaged)} in {folder}; reading {path.name} instead")
    return path


def _step(path: Path) -> int:
    return int(NAME.fullmatch(path.name)[1])


def _whole(path: Path) -> bool:
    return sha256_of(path).startswith(NAME.fullmatch(path.name)[2])


def _foreign(path: Path, what: str) -> str:
    return (
        f"{path} is whole, but no checkpoint of this gpt2lite ({what}): use the version that wrote "
        "it, or start a new run in another folder"
    )
