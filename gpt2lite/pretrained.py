"""GPT-2 weights in and out of Hugging Face's format: a directory or a repository on the hub.

Importing this module gives GPT its `from_pretrained` and `save_pretrained`. It needs no
transformers, and it reads safetensors only: nothing is unpickled, nothing fetched is executed. A
file is compared with its config.json before a model is built, so a damaged one is refused at once.

Source: transformers' GPT2Config and GPT2LMHeadModel, for the names, shapes and settings.
"""

import dataclasses
import json
import os
import re
import warnings
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from gpt2lite.assets import replacing
from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.hub import (
    CONFIG,
    UNREADABLE,
    WEIGHTS,
    CheckpointError,
    fetch_repository,
    read_tensors,
)
from gpt2lite.model import GPT

# OpenAI's weights on the hub, pinned by revision: the files can't change under a reader.
RELEASED = {
    "gpt2": ("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
    "gpt2-medium": ("openai-community/gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "gpt2-large": ("openai-community/gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519"),
    "gpt2-xl": ("openai-community/gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2"),
}

# The course's own small model, trained on Shakespeare's plays, comes with the package.
PLAYS_NAME, PLAYS = "gpt2lite-plays", Path(__file__).parent / "plays"

# What a config.json may not say otherwise if its weights are to mean here what they mean there.
ASSUMED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def from_pretrained(cls, name, dtype: torch.dtype = torch.float32) -> GPT:
    """Return the GPT-2 called `name`, in evaluation mode and without dropout.

    name: "gpt2", "gpt2-medium", "gpt2-large" or "gpt2-xl" for OpenAI's weights, "gpt2lite-plays"
        for the course's small model, which needs no network, a local directory ("./gpt2", if it has
        one of these names), or "owner/repository" for others on the Hugging Face hub.
    dtype: of the returned weights, whatever the file holds. If both agree, the file is mapped into
        memory, not copied.
    Raises CheckpointError, naming what is missing, extra, misshapen, truncated, not finite or out
    of reach.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a float format such as torch.float16, not {dtype!r}")
    folder = _find(name)
    config, raw = _read_config(folder / CONFIG)
    weights = _read_weights(folder, raw)
    with torch.device("meta"), _NoInit():  # shapes without memory: all weights come from the file
        _check_names_and_shapes(cls, config, weights, folder)
        model = cls(config)
    weights = {k: _transpose(k, w).to(dtype) for k, w in weights.items()}
    for name, w in weights.items():  # a sum is finite only if all are, and reads as fast as memory
        if not w.sum(dtype=torch.float32).isfinite():
            raise CheckpointError(f"{folder}: {name} holds NaN or infinity in {dtype}")
    model.load_state_dict(weights, assign=True)
    return model.eval()


def sizes_of(name) -> GPTConfig:
    """Return the sizes of the GPT-2 called `name`, as `from_pretrained` takes it; dropout is 0.

    OpenAI's are known here: a run that resumes on a new machine need not fetch their weights again.
    """
    if name in RELEASED:
        return SIZES[name]
    config, _ = _read_config(_find(name) / CONFIG)
    return config


def save_pretrained(model: GPT, folder) -> None:
    """Write config.json and model.safetensors into `folder`, for transformers to read as well.

    Both files are complete before they take their names, so a full disk leaves what was there
    before. Raises CheckpointError if they can't be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {f"transformer.{k}": _transpose(k, w) for k, w in model.state_dict().items()}
    weights = {k: w.detach().cpu().contiguous() for k, w in weights.items()}
    try:
        with replacing(folder, [WEIGHTS, CONFIG]) as partial:
            save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
            config = json.dumps(_hf_config(model), indent=2) + "\n"
            (partial / CONFIG).write_text(config, encoding="utf-8")
    except (OSError, SafetensorError) as e:  # Windows doesn't replace a file that a model maps
        raise CheckpointError(
            f"can't save into {folder} ({e}): make room there, or save to another folder"
        ) from e


GPT.from_pretrained = classmethod(from_pretrained)
GPT.save_pretrained = save_pretrained


class _NoInit(TorchFunctionMode):
    """Skip torch.nn.init: its first call on the meta device imports for over a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return None
        return func(*args, **(kwargs or {}))


def _transpose(name, w):
    """Swap nn.Linear's (out, in) and the file's (in, out): there, four matrices are Conv1D's."""
    return w.t() if w.dim() == 2 and not name.startswith(("wte", "wpe")) else w


def _read_config(file) -> tuple[GPTConfig, dict]:
    """Return the sizes in a config.json, and all that it says."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        sizes = {k: raw[k] for k in ("vocab_size", "n_layer", "n_head", "n_embd")}
        config = GPTConfig(**sizes, block_size=raw["n_positions"])
    except FileNotFoundError as e:
        raise CheckpointError(
            f"{file} is no GPT-2 configuration, for it isn't there: name a model's folder or, if a "
            "save was interrupted, save again"
        ) from e
    except UNREADABLE as e:
        raise CheckpointError(f"{file} is no GPT-2 configuration ({type(e).__name__}: {e})") from e
    for key, good in ASSUMED.items():
        if raw.get(key, good[0]) not in good:
            raise CheckpointError(f"{file}: {key} is {raw[key]!r}, but GPT-2 has {good[0]!r}")
    if raw.get("n_inner") not in (None, 4 * raw["n_embd"]):
        raise CheckpointError(f"{file}: n_inner is {raw['n_inner']}, but GPT-2's MLP is 4 x n_embd")
    return config, raw


def _hf_config(model) -> dict:
    c = model.config
    end_of_text = 50256 if c.vocab_size > 50256 else None
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{key: good[0] for key, good in ASSUMED.items()},
        "vocab_size": c.vocab_size,
        "n_positions": c.block_size,
        "n_layer": c.n_layer,
        "n_head": c.n_head,
        "n_embd": c.n_embd,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), c.dropout),
        **dict.fromkeys(("bos_token_id", "eos_token_id"), end_of_text),
        "tie_word_embeddings": True,
        "dtype": str(model.wte.weight.dtype).removeprefix("torch."),
    }


def _read_weights(folder, raw) -> dict:
    """Map GPT's names to the tensors in the files: no prefix, no mask buffers, no tied head."""
    weights = {}
    for name, w in read_tensors(folder).items():
        name = name.removeprefix("transformer.")
        if name in weights:
            raise CheckpointError(f"{folder} holds {name} twice")
        if not name.endswith((".attn.bias", ".attn.masked_bias")):  # no parameters: causal masks
            weights[name] = w
    head = weights.pop("lm_head.weight", None)
    if head is None and raw.get("tie_word_embeddings") in (False,):
        raise CheckpointError(
            f"{folder}: {CONFIG} says tie_word_embeddings false, but there is no lm_head.weight; "
            "GPT-2 ties them, so say true if that is what this model does"
        )
    if head is not None and not torch.equal(head, weights.get("wte.weight", head)):
        raise CheckpointError(f"{folder}: lm_head.weight differs from wte.weight; GPT-2 ties them")
    return weights


def _check_names_and_shapes(cls, config, weights, folder):
    """Refuse other tensors than a model of these sizes has, before its many layers are built."""
    one_layer = cls(dataclasses.replace(config, n_layer=1)).state_dict()
    expected = {}
    for name, p in one_layer.items():
        layers = range(config.n_layer) if name.startswith("h.0.") else range(1)
        shape = tuple(_transpose(name, p).shape)
        expected |= {name.replace("h.0.", f"h.{i}.", 1): shape for i in layers}
    found = {k: tuple(w.shape) for k, w in weights.items()}
    for what, names in (
        ("lacks", expected.keys() - found.keys()),
        ("has, beyond a GPT-2,", found.keys() - expected.keys()),
    ):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise CheckpointError(f"{folder} {what} {len(names)} tensors: {some}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointError(
                f"{folder}: {name} is {found[name]}, but {CONFIG} asks for {shape}"
            )
        if not weights[name].is_floating_point():
            raise CheckpointError(f"{folder}: {name} is {weights[name].dtype}, not a float format")


def _find(name) -> Path:
    """Return the folder with a model's files, fetched if `name` is one of the hub's."""
    released = isinstance(name, str) and (name in RELEASED or name == PLAYS_NAME)
    if released and os.path.isdir(name):
        warnings.warn(
            f"{name!r} means the released model: write './{name}' for the folder here", stacklevel=3
        )
    if name == PLAYS_NAME:
        return PLAYS
    text = os.fspath(name)
    if text and not released and os.path.isdir(text):
        return Path(text)
    if os.path.isfile(text):
        raise CheckpointError(f"{text} is a file: name the directory that it is in")
    repository, revision = RELEASED.get(text, (text, "main"))
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        raise CheckpointError(
            f"{text!r} is neither a directory here nor one of {', '.join(RELEASED)} and "
            f"{PLAYS_NAME} nor a repository on the hub, written owner/name"
        )
    return fetch_repository(repository, revision)
