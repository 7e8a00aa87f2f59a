"""From text to batches: token files on disk, mapped into memory, cut into (x, y).

Knows nothing about models. A token file is a .npy of uint16, half the size of the text it came
from: GPT-2's 50,257 ids fit. y is x moved by one token: what comes next at each place.
"""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

CHUNK = 1 << 20  # tokens read at a time: a file on disk may be larger than memory
MANIFEST = "manifest.json"  # what a folder of shards holds, as gpt2lite.prepare writes it


class DataError(ValueError):
    """Tokens that can't be trained on; the message says why, and what to do."""


def encode(text: str) -> np.ndarray:
    """Return the token ids of a text as uint16 (n,)."""
    return np.array(get_tokenizer().encode_ordinary(text), dtype=np.uint16)


def save_tokens(path, tokens: np.ndarray) -> None:
    """Write a token file, complete before it takes its name.

    Raises DataError for tokens that `load_tokens` would refuse, or if the file can't be written.
    """
    _check_tokens(tokens, "these tokens", "encode them with data.encode")
    path = Path(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "wb") as file:
            np.save(file, tokens)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror or error}): make room, or name another file"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def load_tokens(path) -> np.ndarray:
    """Map a token file into memory, (n,) of uint16. Raises DataError if it is none."""
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no token file ({error}): write it with save_tokens") from error
    _check_tokens(tokens, path, "write it with save_tokens")
    return tokens


class Shards:
    """One split ("train" or "val") of a folder of shards, read as one sequence of tokens, (n,).

    Raises DataError if the folder has no manifest, or a shard is not as long as it says.
    """

    ndim = 1

    def __init__(self, folder, split="train"):
        folder = Path(folder)
        try:
            shards = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["shards"]
            found = [shard for shard in shards if shard["split"] == split]
            lengths = [shard["tokens"] for shard in found]
            names = "".join(shard["sha256"] for shard in found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder} holds no shards to read ({error}): write them with `python -m gpt2lite "
                "prepare`"
            ) from error
        advice = f"{folder} lacks tokens to {split} on: prepare it once more, elsewhere"
        try:
            self.parts = [load_tokens(folder / shard["name"]) for shard in found]
        except DataError as error:
            raise DataError(advice) from error
        if not found or lengths != [len(part) for part in self.parts]:
            raise DataError(advice)
        self.ends = np.cumsum(lengths)
        self.sha256 = hashlib.sha256(names.encode()).hexdigest()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, where: slice) -> np.ndarray:
        start, stop, _ = where.indices(len(self))
        if start >= stop:
            return self.parts[0][:0]
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right")
        pieces = []
        for number in range(first, last + 1):
            part = self.parts[number]
            before = self.ends[number] - len(part)
            pieces.append(part[max(0, start - before) : stop - before])
        return np.concatenate(pieces)

    def max(self) -> int:
        """Return the largest id, which every document begins with."""
        return END_OF_TEXT


def _check_tokens(tokens, what, advice):
    if tokens.ndim != 1 or tokens.dtype != np.uint16:
        raise DataError(
            f"{what}: {tokens.dtype} of shape {tokens.shape}, not uint16 of shape (n,); {advice}"
        )


def check_ids(tokens, vocab_size: int) -> None:
    """Raise DataError for token ids that a model of `vocab_size` doesn't know."""
    if (largest := int(tokens.max())) >= vocab_size:
        raise DataError(
            f"token id {largest} is outside the vocabulary of {vocab_size}: were these tokens made "
            "with another tokenizer?"
        )


def fingerprint(tokens: np.ndarray) -> str:
    """Return the sha256 of token ids (n,): the same in any integer type, in memory or on disk.

    Of shards, which may be larger than is read in a minute, it is that of their own sha256.
    """
    if isinstance(tokens, Shards):
        return tokens.sha256
    digest = hashlib.sha256()
    for first in range(0, len(tokens), CHUNK):
        digest.update(np.asarray(tokens[first : first + CHUNK]).astype("<u4").tobytes())
    return digest.hexdigest()


def split(tokens: np.ndarray, val_fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens to train on, and the last `val_fraction` of them, to validate on.

    Raises DataError for a share outside [0, 1).
    """
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction={val_fraction} is no share of a text: choose 0.1, say")
    n = len(tokens) - int(len(tokens) * val_fraction)
    return tokens[:n], tokens[n:]


class Batches:
    """Endless batches (x, y), each (B, T) int64, from a token file; the position can be saved.

    order: "sequential" reads on from batch to batch and starts over at the end; "random" draws
    each sequence's start, from `seed` on. Raises DataError for too few tokens, or ids that a model
    of `vocab_size` doesn't know.
    """

    def __init__(self, tokens, B, T, order="sequential", seed=0, vocab_size=50257, device="cpu"):
        if order not in ("sequential", "random"):
            raise ValueError(f'order must be "sequential" or "random", not {order!r}')
        if B < 1 or T < 1:
            raise ValueError(f"B={B} and T={T} must be at least 1")
        if tokens.ndim != 1:
            raise DataError(f"tokens of shape {tokens.shape}, not (n,): join the texts to one")
        if len(tokens) <= B * T:
            raise DataError(
                f"{len(tokens):,} tokens are too few for one batch of {B} x {T} + 1: choose a "
                "smaller batch or context, or a longer text"
            )
        check_ids(tokens, vocab_size)
        self.tokens, self.B, self.T, self.order = tokens, B, T, order
        self.vocab_size = vocab_size
        self.device = torch.device(device)
        self.position = 0
        self.generator = np.random.default_rng(seed)
        self.take(1, slice(None))

    def __iter__(self):
        return self

    def take(self, together: int, rows: slice) -> None:
        """Yield these `rows` of each `together` batches from here on: one process's part of them.

        All processes go through the same batches, so the position does not tell how many they are.
        """
        self.together, self.rows = together, rows

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        starts = np.concatenate([self._starts() for _ in range(self.together)])[self.rows]
        rows = np.stack([self.tokens[s : s + self.T + 1] for s in starts]).astype(np.int64)
        check_ids(rows, self.vocab_size)  # again: of shards, nobody has read all
        rows = torch.from_numpy(rows)  # (B, T + 1)
        if self.device.type == "cuda":  # pinned memory lets the copy run beside the computation
            rows = rows.pin_memory()
        rows = rows.to(self.device, non_blocking=rows.is_pinned())
        return rows[:, :-1], rows[:, 1:]

    def _starts(self) -> np.ndarray:
        """Return where the sequences of the next batch begin, (B,)."""
        B, T = self.B, self.T
        if self.order == "random":
            return self.generator.integers(0, len(self.tokens) - T, B)
        if self.position + B * T + 1 > len(self.tokens):
            self.position = 0
        self.position += B * T
        return self.position - B * T + T * np.arange(B)

    def state_dict(self) -> dict:
        """Return where the reading stands."""
        return {"position": self.position, "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict) -> None:
        """Go on from where `state_dict` was taken. Raises DataError if that is not in the text."""
        if not 0 <= state["position"] <= len(self.tokens):
            raise DataError(
                f"position {state['position']} is outside the {len(self.tokens):,} tokens: go on "
                "with the text that the run began with"
            )
        self.position = state["position"]
        self.generator.bit_generator.state = state["generator"]
