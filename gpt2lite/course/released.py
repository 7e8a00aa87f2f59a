"""A released GPT-2 to look into: its folder, and a table of the names and shapes in its file.

Knows nothing about loading: that is what the reader writes.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from gpt2lite.hub import CheckpointError, fetch_repository
from gpt2lite.pretrained import PLAYS, PLAYS_NAME, RELEASED


def open_checkpoint(weights: str) -> tuple[Path, str]:
    """Return the folder of a model in Hugging Face's format, and whose weights are in it.

    weights: "gpt2" or a larger one, fetched from the hub; or "gpt2lite-plays", which also steps in,
    with a line that says so, where the hub can't be reached. Raises ValueError for another name.
    """
    known = (*RELEASED, PLAYS_NAME)
    if weights not in known:
        raise ValueError(f"no weights are called {weights!r}: choose one of {', '.join(known)}")
    if weights in RELEASED:
        try:
            return fetch_repository(*RELEASED[weights]), "OpenAI's weights"
        except CheckpointError as reason:
            print(f"○ {str(reason).split(' (')[0]}")
    return Path(_saved_by_transformers().name), "the course's own weights"


@functools.cache
def _saved_by_transformers() -> tempfile.TemporaryDirectory:
    """Save the course's model as GPT-2 was released; the folder is gone when Python ends."""
    from transformers import GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    GPT2LMHeadModel.from_pretrained(PLAYS, dtype="float32").save_pretrained(folder.name)
    return folder


def names_table(header: Mapping, our_name: Callable, shapes: Mapping) -> str:
    """Return a table of a file's tensors beside the model's, by name; block 0 stands for all.

    header: the file's names, each with its "shape"; shapes: the model's names and their shapes.
    """
    lines = [f"{'in the file':<37}{'shape':<20}{'in your model':<25}shape"]
    for name, entry in header.items():
        ours, shape = our_name(name), tuple(entry["shape"])
        note = "  transposed" if shapes.get(ours, shape) != shape else ""
        if ".h." not in f".{name}" or ".h.0." in f".{name}":
            lines.append(f"{name:<37}{shape!s:<20}{ours or '–':<25}{shapes.get(ours, '')}{note}")
    return "\n".join(lines)
