"""One training step, the loop around it, and its log.

Knows nothing about plots or notebooks: it yields a record per step, and the reader draws. Sources:
Micikevicius et al. 2018, for the order of mixed precision: scale, backward, unscale, clip, step.
"""

import json
import math
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from gpt2lite import cpu
from gpt2lite.config import TrainConfig
from gpt2lite.loss import cross_entropy
from gpt2lite.optim import adamw, learning_rate
from gpt2lite.precision import Precision, pick

PATIENCE = 50  # skipped steps in a row: a scaler halves its scale at each, so this is no bad luck


class TrainingError(RuntimeError):
    """A run that can't go on; the message says why, and what to change."""


class OutOfMemory(TrainingError):
    """The step does not fit into the GPU's memory; the message says which knob to turn."""


def train(model, batches, config: TrainConfig, precision: Precision | None = None):
    """Train a model; yield a record per step (see Trainer.step), with a progress bar.

    Interrupt it whenever you like: the loop ends, and the model keeps what it has learned. To save
    a run and go on with it later, make the Trainer yourself.
    """
    trainer = Trainer(model, batches, config, precision)
    try:
        yield from progress(trainer)
    except KeyboardInterrupt:
        print(f"interrupted after {trainer.done} of {config.steps} steps")


def progress(trainer: "Trainer", name: str | None = None) -> Iterator[dict]:
    """Yield a run's records behind a bar that shows its name, steps, time left and loss.

    In a notebook the bar is text and goes when the run ends: a saved widget would be a dead bar.
    """
    notebook = type(sys.stdout).__module__ == "ipykernel.iostream"
    how = {"leave": not notebook, "file": sys.stdout if notebook else sys.stderr, "desc": name}
    with tqdm(total=trainer.config.steps, initial=trainer.done, unit="step", **how) as bar:
        for record in trainer:
            bar.set_postfix(loss=f"{record['loss']:.3f}", refresh=False)
            bar.update()
            yield record


class Trainer:
    """A run: the model, its optimizer and scaler, the batches, and how many steps are done.

    Iterate over it for a record per step, until config.steps are done. Leaving the loop loses
    nothing: iterate again to go on. A step that was interrupted is done again. With `compile`,
    steps run the compiled model where that works; `compiled` says so. The model itself stays as it
    is, to sample from and to evaluate.
    """

    def __init__(
        self,
        model,
        batches,
        config: TrainConfig,
        precision: Precision | None = None,
        compile: bool = False,
    ):
        self.model, self.batches, self.config = model, batches, config
        self.precision = precision or pick(model.wte.weight.device)
        self.forward, self.compiled = model, "not compiled: nobody asked"
        self.optimizer = adamw(model, config)
        self.scaler = self._new_scaler()
        self.done = 0  # steps
        self.skipped = 0  # in a row, because a gradient was not finite
        if self.precision.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.precision.device)  # forget earlier runs
        if compile:
            shape = config.batch_size, config.seq_len + 1
            rows = torch.zeros(shape, dtype=torch.long, device=model.wte.weight.device)
            idx = rows[:, :-1]  # laid out as Batches does it, else the first step compiles again
            with cpu.onednn(), self._autocast():  # as in a step: settings are compiled in
                self.forward, self.compiled = maybe_compile(model.train(), idx)

    def _new_scaler(self):
        return torch.amp.GradScaler(self.precision.device.type, enabled=self.precision.scaler)

    def __iter__(self) -> Iterator[dict]:
        while self.done < self.config.steps:
            yield self.step()

    def step(self) -> dict:
        """Make one optimizer step; return its record.

        step, loss (nats / token, before the step), lr, grad_norm (before clipping), scale (of the
        loss, 1 without a scaler), skipped (in a row so far), ms, tokens_per_s, memory (peak bytes
        on a GPU since the run began, else 0). Raises TrainingError if the loss is no number or a
        GPU's memory is too small.
        """
        start = time.perf_counter()
        before = self.batches.state_dict(), self._random()
        c, lr = self.config, learning_rate(self.done, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()  # at each step: a validation in between may have left it off
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = self._gradients()
            self.scaler.unscale_(self.optimizer)  # the norm is meant in the gradients' own units
            scale, norm = self.scaler.get_scale(), self._clip().item()
            self._count_skipped(loss, norm, scale)
            self.scaler.step(self.optimizer)  # leaves the weights alone if the norm isn't finite
            self.scaler.update()
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # a notebook keeps it, and its tensors
            raise OutOfMemory(
                f"out of memory at batch_size={c.batch_size}, seq_len={c.seq_len}: halve "
                "batch_size and double grad_accum_steps, which gives the same gradient"
            ) from error
        except KeyboardInterrupt:  # the step didn't happen: its batches are read again
            self.batches.load_state_dict(before[0])
            self._set_random(before[1])
            scale_so_far = self.scaler.state_dict()
            self.scaler = self._new_scaler()  # the old one remembers that it has unscaled
            self.scaler.load_state_dict(scale_so_far)
            raise
        self.done += 1
        seconds = time.perf_counter() - start
        return {
            "step": self.done - 1,
            "loss": loss,
            "lr": lr,
            "grad_norm": norm,
            "scale": scale,
            "skipped": self.skipped,
            "ms": 1e3 * seconds,
            "tokens_per_s": c.batch_size * c.seq_len * c.grad_accum_steps / seconds,
            "memory": self._memory(),
        }

    @contextmanager
    def _sooner(self):
        """Compute as fast as this device can; the results stay the same up to rounding."""
        if self.precision.device.type != "cpu":
            yield
            return
        attention = cpu.short_attention(self.config.seq_len)
        with cpu.onednn(), attention, cpu.row_gradients(self.forward):
            yield

    def _gradients(self) -> float:
        """Add up the gradients of `grad_accum_steps` batches; return the mean loss."""
        n, total = self.config.grad_accum_steps, 0.0
        for _ in range(n):
            x, y = next(self.batches)
            with self._sooner():
                with self._autocast():
                    logits = self.forward(x)  # (B, T, V)
                loss = cross_entropy(logits.flatten(0, 1), y.flatten()) / n
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total.item()

    def _clip(self) -> torch.Tensor:
        """Limit the gradient's norm if the settings ask for it; return what it was before."""
        if self.config.grad_clip is not None:
            return torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        grads = (p.grad for p in self.model.parameters() if p.grad is not None)
        return torch.stack([grad.norm() for grad in grads]).norm()

    def _autocast(self):
        p = self.precision
        return torch.autocast(p.device.type, p.dtype, enabled=p.dtype != torch.float32)

    def _count_skipped(self, loss, norm, scale):
        if math.isfinite(norm):
            self.skipped = 0
            return
        if not self.precision.scaler:
            raise TrainingError(
                f"step {self.done}: the gradient's norm is {norm}, the loss {loss}. Lower lr, or "
                "add warm-up and grad_clip=1.0"
            )
        self.skipped += 1
        if self.skipped == PATIENCE:
            raise TrainingError(
                f"step {self.done}: {PATIENCE} steps in a row had gradients that are not finite, "
                f"and the scale is down to {scale:g}. The loss itself overflows: lower lr, add "
                "warm-up, or train in fp32 to see where"
            )

    def _memory(self) -> int:
        cuda = self.precision.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.precision.device) if cuda else 0

    def state_dict(self) -> dict:
        """Return all that the next step depends on, the random numbers of dropout included."""
        return {
            "config": self._settings(),
            "done": self.done,
            "skipped": self.skipped,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "batches": self.batches.state_dict(),
            "random": self._random(),
        }

    def _settings(self) -> dict:
        return asdict(self.config) | {"model": asdict(self.model.config)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from where `state_dict` was taken, as if the run had never stopped.

        Raises TrainingError if that run had other settings; only `steps` may differ.
        """
        saved, now = dict(state["config"]), self._settings()
        for name in now.keys() - {"steps"}:
            if saved[name] != now[name]:
                raise TrainingError(
                    f"the checkpoint was made with {name}={saved[name]}, not {now[name]}: go on "
                    "with the same settings, or start a new run in another folder"
                )
        self.done, self.skipped = state["done"], state["skipped"]
        for name in ("model", "optimizer", "batches"):
            getattr(self, name).load_state_dict(state[name])
        if state["scaler"]:  # empty where the run had none: a new one starts here
            self.scaler.load_state_dict(state["scaler"])
        self._set_random(state["random"])

    def _random(self) -> dict[str, torch.Tensor]:
        """Return where the generators stand that dropout may draw from."""
        states, device = {"cpu": torch.get_rng_state()}, self.precision.device.type
        if device != "cpu":
            states[device] = getattr(torch, device).get_rng_state()
        return states

    def _set_random(self, states: dict[str, torch.Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        device = self.precision.device.type
        if device != "cpu" and device in states:
            getattr(torch, device).set_rng_state(states[device])


def maybe_compile(model, idx) -> tuple[Callable, str]:
    """Return a model compiled for token ids `idx` (B, T), or itself if that fails; and which, why.

    Takes half a minute, since the model runs once, forward and backward. Both share their weights.
    """
    start = time.perf_counter()
    try:
        compiled = torch.compile(model)
        compiled(idx).sum().backward()
    except Exception as error:  # no compiler, an old GPU, a new Python: the reader trains anyway
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return model, f"not compiled: {type(error).__name__}: {reason}"
    finally:
        model.zero_grad(set_to_none=True)
    return compiled, f"compiled in {time.perf_counter() - start:.0f} s"


def header(trainer: Trainer, data: str, command: str) -> dict:
    """Return what a log must say to be read later: hardware, versions, settings, command."""
    device = trainer.precision.device
    hardware = f"{platform.machine()} {device.type}"  # Apple's GPU has no name to ask for
    if device.type == "cpu":
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    elif device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    return {
        "command": command,
        "data": data,
        "hardware": hardware,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "precision": str(trainer.precision.dtype).removeprefix("torch."),
        "model": asdict(trainer.model.config),
        "training": asdict(trainer.config),
    }


class Log:
    """A JSONL file: the header, then a line per record.

    `offset` is where the next line goes, in bytes; given on opening, what follows it is cut off, so
    that a run that goes on from a checkpoint writes each step once. Raises TrainingError if no line
    ends there, and leaves the file as it is.
    """

    def __init__(self, path, header: dict, offset: int | None = None):
        resumed = offset is not None and os.path.exists(path)
        self.file = open(path, "r+b" if resumed else "wb")
        if resumed:
            self.file.seek(offset - 1)
            if self.file.read(1) != b"\n":
                raise TrainingError(f"{path} is not this run's log: name another file")
            self.file.truncate()
        else:
            self.write(header)

    @property
    def offset(self) -> int:
        return self.file.tell()

    def write(self, record: dict) -> None:
        """Append one line."""
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()


class TensorBoard:
    """The same records as curves for TensorBoard, in a folder."""

    def __init__(self, folder):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError("TensorBoard is missing: run `pip install tensorboard`") from error
        self.writer = SummaryWriter(folder)

    def write(self, record: dict) -> None:
        """Add one point to each curve."""
        for name in record.keys() - {"step"}:
            self.writer.add_scalar(name, record[name], record["step"])
        self.writer.flush()


def read_log(path) -> tuple[dict, list[dict]]:
    """Return the header and the records of a log; a last line cut off by a crash is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    head, *records = map(json.loads, lines)
    settings = head.get("training", {})
    if "accumulation" in settings:  # as grad_accum_steps was called when our runs were recorded
        settings["grad_accum_steps"] = settings.pop("accumulation")
    return head, records
