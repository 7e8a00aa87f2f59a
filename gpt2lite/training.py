"""One training step and the loop around it.

Knows nothing about files, plots or notebooks: it yields a record per step. Sources: Micikevicius et
al. 2018, for the order of mixed precision: scale, backward, unscale, clip, step. It is over 250
lines because a step, what undoes half a step, and what is saved of a run are one subject.
"""

import copy
import math
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace

import torch
from tqdm import tqdm

from gpt2lite import accounting, cpu, distributed
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.loss import cross_entropy, plain_cross_entropy
from gpt2lite.optim import adamw, learning_rate
from gpt2lite.precision import Precision, pick

PATIENCE = 50  # skipped steps in a row: a scaler halves its scale at each, so this is no bad luck


class TrainingError(RuntimeError):
    """A run that can't go on; the message says why, and what to change."""


class OutOfMemory(TrainingError):
    """The step does not fit into the GPU's memory; the message says which knob to turn."""


def train(model, batches, config: TrainConfig, precision: Precision | None = None):
    """Train a model; yield a record per step (see Trainer.step), with a progress bar.

    Interrupt it whenever you like: the cell ends there, and the model keeps the whole steps so far.
    For a run with validation, checkpoints and a log, use gpt2lite.run.
    """
    trainer = Trainer(model, batches, config, precision)
    try:
        yield from progress(trainer)
    except KeyboardInterrupt:
        print(f"interrupted after {trainer.done} of {config.steps} steps")
        raise


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
    nothing: iterate again to go on. Ctrl-C waits for the end of a batch or, after the last, of the
    update and the loop's body; a step that it cuts is done again.

    Under torchrun (gpt2lite.distributed) each process has a Trainer with the same settings, those
    of the whole step, and does its share; `shard` cuts the model up over them.
    """

    def __init__(
        self,
        model,
        batches,
        config: TrainConfig,
        precision: Precision | None = None,
        shard: bool = False,
    ):
        if config.seq_len > model.config.block_size:
            raise ValueError(
                f"seq_len={config.seq_len} passes the model's context of {model.config.block_size}:"
                " choose a smaller one"
            )
        self.model, self.batches, self.config = model, batches, config
        self.precision = precision or pick(model.wte.weight.device)
        self.part = distributed.part_of_step(config.batch_size, config.grad_accum_steps)
        if distributed.world_size() > 1:
            batches.take(self.part.together, self.part.rows)
        self.spread = self.forward = distributed.spread(model, shard)
        self.loss = cross_entropy
        self.optimizer = adamw(model, config)
        self.scaler = self._new_scaler()
        self.done = 0  # steps
        self.skipped = 0  # in a row, because a gradient was not finite
        self.ahead = None  # the next batch, fetched while a GPU works
        self.start = None  # where batches and random numbers stood as an unfinished step began
        device = self.precision.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.peak = accounting.peak_flops(name, self.precision.dtype)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # forget earlier runs

    def compile(self) -> str:
        """Let the steps run the model compiled, where that works; return whether it does.

        The model itself stays as it is, to sample from and to evaluate.
        """
        B = self.config.batch_size * self.part.together // distributed.world_size()
        shape = B, self.config.seq_len + 1
        rows = torch.zeros(shape, dtype=torch.long, device=self.model.wte.weight.device)
        idx = rows[:, :-1]  # laid out as Batches does it, else the first step compiles again
        random = self._random()
        with cpu.onednn(), self._autocast():  # as in a step: settings are compiled in
            forward, self.loss, how = maybe_compile(self.model.train(), idx)
        self.forward = distributed.with_forward(self.spread, forward)
        self._set_random(random)  # the trial has drawn some for dropout
        return how

    def __iter__(self) -> Iterator[dict]:
        while self.done < self.config.steps:
            with HeldInterrupt() as hold:
                yield self._step(hold)

    def step(self) -> dict:
        """Make one optimizer step; return its record.

        step, loss (nats / token, before the step), lr, grad_norm (before clipping), scale (of the
        loss, 1 without a scaler), skipped (in a row so far), ms, tokens_per_s, mfu (where the
        device's peak is known), memory (peak bytes on a GPU since the run began, else 0). Raises
        TrainingError if the loss is no number or a GPU's memory is too small.
        """
        with HeldInterrupt() as hold:
            return self._step(hold)

    def _step(self, hold: "HeldInterrupt") -> dict:
        began, c = time.perf_counter(), self.config
        self._begin()
        distributed.begin_step(self.done, c.seed)
        lr = learning_rate(self.done, c)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()  # at each step: a validation in between may have left it off
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = 0.0  # the gradients of all passes add up to the mean's
            for last in range(1 - self.part.passes, 1):
                hold.raise_if_pressed()
                x, y = self._next_batch()
                with self._sooner(), distributed.syncing(self.spread, now=last == 0):
                    with self._autocast():
                        logits = self.forward(x)  # (B, T, V)
                    share = self.loss(logits.flatten(0, 1), y.flatten()) / self.part.passes
                    distributed.begin_backward()
                    self.scaler.scale(share).backward()
                loss = loss + share.detach()
            self._fetch_ahead()
            self.scaler.unscale_(self.optimizer)  # the norm is meant in the gradients' own units
            loss, stop = distributed.meet(loss)
            scale = self.scaler.scale(torch.ones_like(loss))
            numbers = torch.stack([loss, self._clip(), scale, stop])
            loss, norm, scale, stop = numbers.tolist()  # the step's one wait for a GPU
            if stop:  # in all processes at once: none would wait for another
                raise KeyboardInterrupt
            skipped = self._count_skipped(loss, norm, scale)
            hold.firmly = True  # half an update would be worse than a moment's patience
            self.scaler.step(self.optimizer)  # leaves the weights alone if the norm isn't finite
            self.scaler.update()
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # a notebook keeps it, and its tensors
            raise OutOfMemory(
                f"out of memory at batch_size={c.batch_size}, seq_len={c.seq_len}: halve "
                "batch_size and double grad_accum_steps, which gives the same gradient"
            ) from error
        self.done, self.skipped, self.start = self.done + 1, skipped, None
        seconds = time.perf_counter() - began
        speed = c.batch_size * c.seq_len * c.grad_accum_steps / seconds
        record = {
            "step": self.done - 1,
            "loss": loss,
            "lr": lr,
            "grad_norm": norm,
            "scale": scale,
            "skipped": skipped,
            "ms": 1e3 * seconds,
            "tokens_per_s": speed,
            "memory": self._memory(),
        }
        if self.peak:
            speed = speed / distributed.world_size()  # of one device
            record["mfu"] = accounting.mfu(self.model.config, c.seq_len, speed, self.peak)
        hold.firmly = False
        return record

    def _autocast(self):
        p = self.precision
        return torch.autocast(p.device.type, p.dtype, enabled=p.dtype != torch.float32)

    @contextmanager
    def _sooner(self):
        """Compute as fast as a CPU can; the results stay the same up to rounding."""
        with ExitStack() as contexts:
            if self.precision.device.type == "cpu":
                contexts.enter_context(cpu.onednn())
                contexts.enter_context(cpu.short_attention(self.config.seq_len))
                contexts.enter_context(cpu.row_gradients(self.forward))
            yield

    def _clip(self) -> torch.Tensor:
        """Limit the gradient's norm if the settings ask for it; return what it was before."""
        if self.config.grad_clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        else:
            grads = (p.grad for p in self.model.parameters() if p.grad is not None)
            norm = torch.stack([grad.norm() for grad in grads]).norm()
        return distributed.whole(norm)

    def _count_skipped(self, loss, norm, scale) -> int:
        """Return how many steps in a row will have been skipped, this one included."""
        if math.isfinite(loss) and math.isfinite(norm):
            return 0
        if not self.precision.scaler:
            raise TrainingError(
                f"step {self.done}: the gradient's norm is {norm}, the loss {loss}. Lower lr, or "
                "add warm-up and grad_clip=1.0"
            )
        if not math.isfinite(loss):  # it is computed before it is scaled
            raise TrainingError(
                f"step {self.done}: the loss is {loss}, which no smaller scale can cure. Lower lr, "
                "add warm-up, or train in fp32 to see where it overflows"
            )
        skipped = self.skipped + 1
        if skipped == min(PATIENCE, self.config.steps):
            raise TrainingError(
                f"step {self.done}: {skipped} steps in a row had gradients that are not finite, "
                f"and the scale is down to {scale:g}. Lower lr, add warm-up, or train in fp32 to "
                "see where they overflow"
            )
        return skipped

    def _memory(self) -> int:
        cuda = self.precision.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.precision.device) if cuda else 0

    def _next_batch(self):
        (batch, _), self.ahead = self.ahead or self._fetch(), None
        return batch

    def _fetch(self):
        position = self.batches.state_dict()
        return next(self.batches), position

    def _fetch_ahead(self) -> None:
        """Fetch the next step's first batch; `state_dict` still says that nobody has used it."""
        self.ahead = self._fetch()

    def _position(self) -> dict:
        return self.ahead[1] if self.ahead else self.batches.state_dict()

    def _begin(self) -> None:
        """Undo what an unfinished step has used up, and note where this one begins."""
        if self.start:
            position, random = self.start
            self.batches.load_state_dict(position)
            self.ahead = None
            self._set_random(random)
            scale = self.scaler.state_dict()
            self.scaler = self._new_scaler()  # the old one remembers that it has unscaled
            self.scaler.load_state_dict(scale)
        self.start = self._position(), self._random()

    def _new_scaler(self):
        return torch.amp.GradScaler(self.precision.device.type, enabled=self.precision.scaler)

    def state_dict(self) -> dict:
        """Return all that the next step depends on, the random numbers of dropout included.

        Of a model that is cut up over processes, all of them must ask.
        """
        position, random = self.start or (self._position(), self._random())
        return {
            "config": self._settings(),
            "done": self.done,
            "skipped": self.skipped,
            "model": distributed.whole_state(self.model.state_dict()),
            # config has the rest of the optimizer
            "optimizer": distributed.whole_state(self.optimizer.state_dict()["state"]),
            "scaler": self.scaler.state_dict(),
            "batches": position,
            "random": random,
        }

    def _settings(self) -> dict:
        return asdict(self.config) | {"model": asdict(self.model.config)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from where `state_dict` was taken, as if the run had never stopped.

        Raises TrainingError if that run had other settings. `steps` may differ, and before a
        cooldown `cooldown_steps` too: several Trainers may cool down from one state. Raises
        ResumeError if the state is not one that this Trainer could have made.
        """
        same_form(state, self.state_dict(), free=("config", "optimizer", "scaler", "random"))
        saved, now = state["config"], self._settings()
        may_differ = {"steps", "cooldown_steps"}
        same_form(saved, now, "config", free=now.keys() - may_differ)
        for name in now.keys() - may_differ:
            if saved[name] != now[name]:
                raise TrainingError(
                    f"the checkpoint was made with {name}={saved[name]}, not {now[name]}: go on "
                    "with the same settings, or start a new run in another folder"
                )
        if saved["cooldown_steps"] or now["cooldown_steps"]:
            last = max(0, state["done"] - 1)
            then = replace(self.config, **{name: saved[name] for name in may_differ})
            was, would_be = (learning_rate(last, config) for config in (then, self.config))
            if was != would_be:
                raise TrainingError(
                    f"with steps={now['steps']} and cooldown_steps={now['cooldown_steps']}, step "
                    f"{last} would have had lr={would_be:g}, but the checkpoint's run had {was:g}: "
                    "go on from a checkpoint before the cooldown, where the rate is constant"
                )
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        one = torch.zeros(())
        form = {i: {"step": one, "exp_avg": p, "exp_avg_sq": p} for i, p in enumerate(params)}
        if state["optimizer"] != {}:  # before the first step
            same_form(state["optimizer"], form, "optimizer")
        if state["scaler"] and self.precision.scaler:
            same_form(state["scaler"], self.scaler.state_dict(), "scaler")
        if min(state["done"], state["skipped"]) < 0:
            raise ResumeError("the checkpoint counts fewer than 0 steps: it is none of gpt2lite's")
        groups = self.optimizer.state_dict()["param_groups"]
        try:
            self.batches.load_state_dict(state["batches"])
            self._set_random(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ResumeError(
                f"the checkpoint's place in the text or its random numbers can't be used ({error}):"
                " delete it, and the one before it will be read"
            ) from error
        self.done, self.skipped = state["done"], state["skipped"]
        self.ahead = self.start = None
        self.model.load_state_dict(distributed.cut_as(state["model"], self.model.state_dict()))
        own = copy.deepcopy(state["optimizer"])  # others may go on from the same state
        own = distributed.cut_as(own, form)
        self.optimizer.load_state_dict({"state": own, "param_groups": groups})
        if state["scaler"]:  # empty where the run had none: a new one starts here
            self.scaler.load_state_dict(state["scaler"])

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


class HeldInterrupt:
    """A context that holds Ctrl-C back to its end; a second one goes through, unless held `firmly`.

    Python's own handler raises between any two lines, in the middle of an optimizer's update or of
    a context that is being left. Outside the main thread, where no signal arrives, this does
    nothing. Two may overlap, as when two runs are read in turn: each hands on to the one before.
    """

    def __enter__(self):
        self.pressed = self.firmly = False
        here = threading.current_thread() is threading.main_thread()
        self.before = signal.getsignal(signal.SIGINT) if here else None
        if callable(self.before):
            signal.signal(signal.SIGINT, self._press)
        return self

    def _press(self, number, frame):
        again, self.pressed = self.pressed, True
        if again and not self.firmly:
            self.before(number, frame)

    def raise_if_pressed(self) -> None:
        """Be interrupted here, if that is due."""
        if self.pressed:
            self.pressed = False
            self.before(signal.SIGINT, None)

    def __exit__(self, kind, *_):
        if callable(self.before):
            later = signal.getsignal(signal.SIGINT)
            if later == self._press:
                signal.signal(signal.SIGINT, self.before)
            while isinstance(hold := getattr(later, "__self__", None), HeldInterrupt):
                later = hold.before
                if later == self._press:
                    hold.before = self.before  # not back to this one, which is over
            if kind is None:
                self.raise_if_pressed()


def same_form(saved, expected, name: str = "state", free=()) -> None:
    """Raise ResumeError unless `saved` has the names, shapes and number types of `expected`.

    Below the names in `free`, and in what the optimizer or numpy keep as plain numbers, any value
    will do.
    """
    if type(saved) is not type(expected) and not isinstance(expected, torch.Tensor):
        problem = f"is {type(saved).__name__}, not {type(expected).__name__}"
    elif isinstance(expected, dict):
        if missing := expected.keys() - saved.keys():
            problem = f"has no {', '.join(sorted(map(str, missing)))}"
        elif unknown := saved.keys() - expected.keys():
            problem = f"has a foreign {', '.join(sorted(map(str, unknown)))}"
        else:
            for key in expected.keys() - set(free):
                same_form(saved[key], expected[key], f"{name}.{key}")
            return
    elif isinstance(expected, torch.Tensor):
        if not isinstance(saved, torch.Tensor):
            problem = f"is {type(saved).__name__}, no tensor"
        elif (saved.shape, saved.dtype) != (expected.shape, expected.dtype):
            shapes = f"{tuple(saved.shape)}, not {tuple(expected.shape)}"
            problem = f"is {saved.dtype} {shapes} of {expected.dtype}"
        else:
            return
    else:
        return
    raise ResumeError(
        f"the checkpoint's {name} {problem}: it is another version's or damaged. Start a new run "
        "in another folder"
    )


def maybe_compile(model, idx) -> tuple[Callable, Callable, str]:
    """Return model and loss, compiled for token ids `idx` (B, T) if that works; and whether, why.

    Takes half a minute, since both run once, forward and backward. The model shares its weights. On
    a CPU the loss stays as it is.
    """
    start = time.perf_counter()
    try:
        forward, loss = torch.compile(model), cross_entropy
        if idx.device.type == "cuda":
            loss = torch.compile(plain_cross_entropy)
        loss(forward(idx).flatten(0, 1), idx.flatten()).backward()
    except Exception as error:  # no compiler, an old GPU, a new Python: the reader trains anyway
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return model, cross_entropy, f"not compiled: {type(error).__name__}: {reason}"
    finally:
        model.zero_grad(set_to_none=True)
    return forward, loss, f"compiled in {time.perf_counter() - start:.0f} s"
