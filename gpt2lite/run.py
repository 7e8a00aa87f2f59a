"""A whole run: refuse what can't end well, resume, validate, keep the best, log, export.

The command line and notebooks train with it alike. Knows nothing about how a step is made
(training) or where a text and a model come from.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

import torch

from gpt2lite import checkpoint, data, distributed, evaluation, log
from gpt2lite.card import model_card, save_card
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.precision import Precision, pick
from gpt2lite.pretrained import GPT
from gpt2lite.tokenizer import save_tokenizer
from gpt2lite.training import Trainer, TrainingError, progress, same_form

# What a run remembers of its best and its last step, and in what form.
LOSSES = {"step": 0, "loss": 0.0, "validation": 0.0}


def train(
    model,
    tokens,
    config: TrainConfig,
    precision: Precision | None = None,
    *,
    init_from=None,
    compile: bool = False,
    shard: bool = False,
    order: str = "sequential",
    val_fraction: float = 0.0,
    validation=None,
    name: str = "tokens",
    command: str = "gpt2lite.run.train",
    log_file=None,
    tensorboard=None,
    save=None,
    save_every: int = 500,
    save_minutes: float | None = None,
    export=None,
) -> Iterator[dict]:
    """Train a model on token ids (n,); yield a record per step (see Trainer.step).

    Every `save_every` steps and at the end, the record also has the "validation" loss on the last
    `val_fraction` of the tokens, or on those of `validation`, and `save`, a folder, gets a
    checkpoint; it gets one more after each `save_minutes`, and on Ctrl-C. A run that finds one
    there goes on from it. At the end `export` gets the model, the best if `save` kept one, the
    tokenizer and a model card, as transformers opens them, in bf16. `name` (of the text) and
    `command` are for the log's header and the card.

    `init_from` names released or exported weights (see GPT.from_pretrained) to train on from: the
    model takes them before the first step, and must have their sizes (pretrained.sizes_of).

    Started by torchrun (gpt2lite.distributed), each process calls it alike, and rank 0 alone
    writes; `shard` cuts the model up over them. A run may go on with another number of processes,
    sharded or not.

    One run at a constant rate, the trunk, serves several cooldowns: copy its `save` when k steps
    are done, and train with the copy, steps=k + n and cooldown_steps=n.

    Whatever can be known to fail is refused before the first step, with a ValueError, DataError,
    LogError, ResumeError or OSError; TrainingError is what a step may raise.
    """
    if save_every < 1:
        raise ValueError(f"save_every must be at least 1, not {save_every}")
    if save_minutes is not None and not save_minutes > 0:
        raise ValueError(f"save_minutes must be above 0, such as 10, not {save_minutes}")
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is a share of the text, such as 0.1, not {val_fraction}")
    distributed.part_of_step(
        config.batch_size, config.grad_accum_steps
    )  # raises if they don't divide
    first, logs = distributed.rank() == 0, log_file is not None
    if not first:
        log_file = tensorboard = export = None
    precision = precision or pick(model.wte.weight.device)
    shape = config.batch_size, config.seq_len
    if validation is not None and (val_fraction or len(validation) <= config.seq_len):
        raise ValueError(
            "these tokens have others to validate on: leave val_fraction out"
            if val_fraction
            else f"{len(validation)} tokens to validate on hold no window of {config.seq_len} + 1"
        )
    seen, unseen = data.split(tokens, val_fraction) if validation is None else (tokens, validation)
    if val_fraction and len(unseen) <= config.seq_len:
        raise ValueError(
            f"val_fraction={val_fraction} keeps {len(unseen)} tokens, too few to validate on: "
            f"seq_len={config.seq_len} needs {(config.seq_len + 1) / len(tokens):.1g} at least"
        )
    vocabulary, device = model.config.vocab_size, precision.device
    if len(unseen):
        data.check_ids(unseen, vocabulary)
    batches = data.Batches(seen, *shape, order, config.seed, vocabulary, device)
    begun = {
        "tokens": data.fingerprint(tokens),
        "n_tokens": len(tokens),
        "order": order,
        "val_fraction": val_fraction,
        "init_from": init_from and str(init_from),
    }
    distributed.check_alike((begun, config, compile, shard))
    parts = precision.dtype, asdict(model.config), asdict(config)
    head = log.header(command, name, device, *parts)
    if distributed.world_size() > 1:
        head["hardware"] = f"{distributed.world_size()} x {head['hardware']}"
    with ExitStack() as until_end:
        if save and first:
            until_end.enter_context(checkpoint.locked(save))
        state = _load(save) if save else None
        n = sum(p.numel() for p in model.parameters())
        if save and first and not state:
            _check_room(save, 12 * n)  # the weights and AdamW's two moments in fp32
        if export:
            _check_room(export, 2 * n + 1_500_000)  # bf16, and the tokenizer
        if init_from and not state:  # a run that goes on has its own weights
            with distributed.first_ahead():
                _take_weights(model, init_from)
        trainer = Trainer(model, batches, config, precision, shard)
        best, last, place = _resume(trainer, state, begun, save) if state else (None, None, None)
        if state:
            print(f"the run goes on with step {trainer.done} of {config.steps}")
        if shard:
            print(f"sharded: this process holds {distributed.held(model):,} of {n:,} parameters")
        lines = log_file and until_end.enter_context(closing(log.Log(log_file, head, place)))
        curves = tensorboard and until_end.enter_context(closing(log.TensorBoard(tensorboard)))
        logged, saved_at = trainer.done, time.monotonic()
        try:
            if save and logs and not state:  # a log without a checkpoint can't be gone on with
                _save(save, trainer, best, last, lines, begun)
            if compile:
                print(trainer.compile())
            for record in progress(trainer):
                pause = trainer.done % save_every == 0 or trainer.done == config.steps
                if pause and len(unseen):
                    record["validation"] = evaluation.validation_loss(model, unseen, *shape)
                for sink in filter(None, (lines, curves)):
                    sink.write(record)
                logged = trainer.done
                last = {name: record.get(name, math.nan) for name in LOSSES}
                if last["validation"] < (best["validation"] if best else math.inf):
                    best = last
                due = save_minutes and time.monotonic() - saved_at >= 60 * save_minutes
                due = save_minutes and distributed.from_first(due)  # by one clock
                if save and (pause or due):
                    _save(save, trainer, best, last, lines, begun)
                    saved_at = time.monotonic()
                yield record
        except KeyboardInterrupt:
            how = f"interrupted after {trainer.done} of {config.steps} steps"
            if save and logged == trainer.done:  # else the log lacks the last one: do it again
                _save(save, trainer, best, last, lines, begun)
                how += f"; {save} holds them, and the same run goes on from there"
            print(how)
            raise
        weights = distributed.whole_state(model.state_dict())
        if export:
            kept = checkpoint.found(save, best=True) if save else []
            _export(model.config, checkpoint.load(kept[-1])["model"] if kept else weights, export)
            title = Path(export).resolve().name
            save_card(export, model_card(title, head, begun, best if kept else last, last))


def _take_weights(model, init_from) -> None:
    """Fill a model with released or exported weights. Raises ValueError for other sizes."""
    weights = GPT.from_pretrained(init_from)
    theirs, ours = asdict(weights.config), asdict(model.config)
    if differ := [name for name in theirs if name != "dropout" and theirs[name] != ours[name]]:
        there, here = (", ".join(f"{n}={c[n]}" for n in differ) for c in (theirs, ours))
        raise ValueError(
            f"the weights of {init_from} have {there}, the model has {here}: give it their sizes "
            "(on the command line, leave out --model)"
        )
    model.load_state_dict(weights.state_dict())


def _save(folder, trainer: Trainer, best, last, lines, begun: dict) -> None:
    """Save a checkpoint with all that the run itself must know to go on."""
    distributed.check_same(trainer.model)
    place = lines.place() if lines else None
    state = trainer.state_dict() | {"best": best, "last": last, "log": place, "begun": begun}
    is_best = best is not None and best == last
    if distributed.rank() == 0:
        checkpoint.save(folder, trainer.done, state, best=is_best)


def _load(folder) -> dict | None:
    """Return the newest whole checkpoint's state, the same one in all processes; None without."""
    path = None
    if distributed.rank() == 0 and checkpoint.found(folder):
        path = checkpoint.newest(folder)
    path = distributed.from_first(path)
    return path and checkpoint.load(path)


def _resume(trainer: Trainer, state: dict, begun: dict, folder):
    """Go on from a checkpoint's state; return its best and last losses and its place in the log."""
    best, last, place, saved = (state.pop(name, None) for name in ("best", "last", "log", "begun"))
    if not isinstance(saved, dict):
        raise ResumeError(
            f"{folder} holds another version's checkpoints: start a new run in another folder"
        )
    for name, losses in {"best": best, "last": last}.items():
        if losses is not None:
            same_form(losses, LOSSES, name)
    if place is not None:
        same_form(place, {"header": "", "offset": 0}, "log")
        if place["offset"] < 1:
            raise ResumeError(f"{folder} doesn't say where its log ends: start a new run elsewhere")
    for name, now in begun.items():
        if saved.get(name) != now:
            was = "other tokens" if name == "tokens" else f"{name}={saved.get(name)!r}, not {now!r}"
            raise TrainingError(
                f"the run in {folder} began with {was}: go on with the same text in the same way, "
                "or start a new run in another folder"
            )
    trainer.load_state_dict(state)
    return best, last, place


def _check_room(folder, n_bytes: int) -> None:
    """Make a folder and try to write there. Raises OSError if that fails or too little is free."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} has {free / 1e6:,.0f} MB free, and {n_bytes / 1e6:,.0f} MB are to be "
            "written: make room there, or name another folder"
        )


def _export(config, weights: dict, folder) -> None:
    """Write a model of these sizes and weights, and the tokenizer."""
    model = GPT(config)
    model.load_state_dict(weights)
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(folder)
