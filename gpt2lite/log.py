"""A run's log: a header that says what was run on what, then a line per step; and TensorBoard.

Knows nothing about what is trained. A log is JSON, one object per line; a number that is not
finite, which JSON does not know, is written as null and read as NaN.
"""

import json
import math
import os
import platform
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import torch


class LogError(RuntimeError):
    """A log that can't be written; the message says why, and what to do."""


def header(command: str, data: str, device: torch.device, dtype, model: dict, training: dict):
    """Return what a log must say to be read later: start, hardware, versions, settings, command."""
    hardware = f"{platform.machine()} {device.type}"  # Apple's GPU has no name to ask for
    if device.type == "cpu":
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    elif device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    return {
        "command": command,
        "started": datetime.now(timezone.utc).isoformat(),
        "data": data,
        "hardware": hardware,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "precision": str(dtype).removeprefix("torch."),
        "model": model,
        "training": training,
    }


class Log:
    """A JSONL file that is never written over: the header, then a line per record.

    A run that goes on from a checkpoint gives the `place` that it has saved there: what follows it
    is cut off, so that each step is written once. Raises LogError for a file that is there already,
    or that is not the log which the place belongs to, and leaves it as it is; but a header alone,
    of a run that was killed before its first step, is replaced.
    """

    def __init__(self, path, header: dict, place: dict | None = None):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if place and self.path.exists():
            self.header = place["header"].encode()
            self.file = open(self.path, "r+b")
            self.file.seek(place["offset"] - 1)
            ends_here = self.file.read(1) == b"\n"
            self.file.seek(0)
            if not ends_here or self.file.readline() != self.header:
                self.file.close()
                raise LogError(f"{path} is not this run's log: name another file")
            self.file.seek(place["offset"])
            self.file.truncate()
            return
        if self.path.exists() and not _header_alone(self.path):
            raise LogError(f"{path} is there already: name another file, or delete it")
        self.header = _line(header)
        self.file = open(self.path, "wb")
        self._append(self.header)

    def write(self, record: dict) -> None:
        """Append one line; it is in the system's hands at once."""
        self._append(_line(record))

    def _append(self, line: bytes) -> None:
        with self._named_errors():
            self.file.write(line)
            self.file.flush()

    @contextmanager
    def _named_errors(self):
        try:
            yield
        except OSError as error:
            raise LogError(f"cannot write into {self.path}: {error.strerror}") from error

    def place(self) -> dict:
        """Return where the next line goes, once all before it are on the disk."""
        with self._named_errors():
            os.fsync(self.file.fileno())
        return {"header": self.header.decode(), "offset": self.file.tell()}

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # a line that a full disk didn't take, which `write` has told
            self.file.close()


def _header_alone(path: Path) -> bool:
    """Say whether a file holds nothing, or the header of a log and nothing after it."""
    if path.is_dir() or not path.stat().st_size:
        return not path.is_dir()
    with open(path, "rb") as file:
        line, rest = file.readline(100_000), file.read(1)
    return not rest and line.startswith(b'{"command": ')


def _line(record: dict) -> bytes:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
    return json.dumps(finite, allow_nan=False).encode() + b"\n"


class TensorBoard:
    """The same records as curves for TensorBoard, in a folder."""

    def __init__(self, folder):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise LogError("TensorBoard is missing: run `pip install tensorboard`") from error
        self.writer = SummaryWriter(folder)

    def write(self, record: dict) -> None:
        """Add one point to each curve."""
        for name in record.keys() - {"step"}:
            self.writer.add_scalar(name, record[name], record["step"])
        self.writer.flush()

    def close(self) -> None:
        """Close the files."""
        self.writer.close()


def read_log(path) -> tuple[dict, list[dict]]:
    """Return the header and the records of a log; a last line cut off by a crash is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    head, *records = map(json.loads, lines)
    settings = head.get("training", {})
    if "accumulation" in settings:  # as grad_accum_steps was called when our runs were recorded
        settings["grad_accum_steps"] = settings.pop("accumulation")
    return head, [{k: math.nan if v is None else v for k, v in r.items()} for r in records]
