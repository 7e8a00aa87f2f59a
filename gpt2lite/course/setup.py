"""The first cell of every notebook: where are we, what is here, which sizes suit this machine.

Knows nothing about models or data. A notebook calls `start` once and then `Session.dial`.
The two profiles: `lite` (no GPU: a small model, under a minute a notebook on two cores) and `full`
(a GPU: GPT-2 small, under ten minutes a notebook on a T4).
"""

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

import torch

import gpt2lite
from gpt2lite import cpu
from gpt2lite.precision import Precision, pick

# What the package imports beside torch. Colab has all of it; Kaggle and others may not.
NEEDED = ("numpy", "tiktoken", "safetensors", "huggingface_hub", "tqdm", "matplotlib", "ipywidgets")
# The oldest releases that the course supports; a test holds them to pyproject.toml.
OLDEST = {"torch": (2, 5), "transformers": (5,)}
PROFILES = ("lite", "full")
SEED = 1337


@dataclass(frozen=True)
class Session:
    """What a notebook knows about the run it is part of."""

    notebook: str
    profile: str  # "lite" or "full"
    device: torch.device
    precision: Precision
    seed: int

    def dial(self, **sizes: tuple) -> SimpleNamespace:
        """Print every size, given as `name=(lite, full)`, and return this profile's values.

        The table has both columns, the active one marked; the result has an attribute a size.

        Raises ValueError for a size that is not a pair.
        """
        for name, pair in sizes.items():
            if not isinstance(pair, tuple) or len(pair) != len(PROFILES):
                raise ValueError(f"dial({name}=…) takes a pair (lite, full), not {pair!r}")
        active = PROFILES.index(self.profile)
        header = ["● " + p if p == self.profile else p for p in PROFILES]
        rows = [["", *header]] + [[n, *(_show(v) for v in pair)] for n, pair in sizes.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(PROFILES) + 1)]
        for name, *values in rows:
            cells = (value.rjust(width) for value, width in zip(values, widths[1:], strict=True))
            print(name.ljust(widths[0]), *cells, sep="   ")
        return SimpleNamespace(**{name: pair[active] for name, pair in sizes.items()})


def start(notebook: str, needs: Sequence[str] = ()) -> Session:
    """Choose profile and device, seed torch, set the house style, and print all of it in one line.

    In Colab a line before it says how to keep what the reader writes.

    `needs` names further packages that this notebook imports, such as "transformers".
    The environment variable GPT2LITE_PROFILE (lite or full) overrides the choice.
    Raises ModuleNotFoundError for a missing package, ValueError for an unknown profile; both say
    what to do.
    """
    missing = [name for name in (*NEEDED, *needs) if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"this notebook needs {', '.join(missing)}: "
            f"run `%pip install {' '.join(missing)}` in a cell, then this cell again"
        )
    if "google.colab" in sys.modules:
        print("This notebook is a view: File → Save a copy in Drive keeps what you write.")
    from gpt2lite import plotting  # not above: it needs what was just looked for

    precision = pick()
    session = Session(notebook, _profile(precision.device), precision.device, precision, SEED)
    torch.manual_seed(SEED)
    cpu.keep_process_memory()  # each training step then reuses what the one before has freed
    plotting.use_style()
    dtype = str(precision.dtype).removeprefix("torch.")
    mixed = "no autocast" if dtype == "float32" else f"autocast would take {dtype}"
    print(
        f"{notebook}: profile {session.profile}, {_device_name(precision.device)}, {mixed}"
        f" · Python {platform.python_version()}, torch {torch.__version__},"
        f" transformers {_version('transformers') or 'absent'}, gpt2lite {gpt2lite.__version__}"
    )
    _warn_of_old_versions()
    return session


def _profile(device: torch.device) -> str:
    profile = os.environ.get("GPT2LITE_PROFILE") or ("full" if device.type == "cuda" else "lite")
    if profile not in PROFILES:
        raise ValueError(f"GPT2LITE_PROFILE is {profile!r}: set it to lite or full, or unset it")
    return profile


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str | None:
    try:
        return version(package)  # from the installed metadata: importing transformers costs seconds
    except PackageNotFoundError:
        return None


def _warn_of_old_versions() -> None:
    for package, oldest in OLDEST.items():
        here = _version(package)
        if here and tuple(int(n) for n in re.findall(r"\d+", here)[: len(oldest)]) < oldest:
            wanted = ".".join(map(str, oldest))
            print(
                f"! {package} {here} is older than {wanted}, the oldest that this course supports: "
                f"choose a newer runtime, or run `%pip install '{package}>={wanted}'` and restart"
            )


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
