"""Several processes that train one model together, started by torchrun; one alone needs nothing.

Knows nothing about models, batches or files. A run's settings are those of the whole step, so that
it may go on with another number of processes: each takes its rows of the batch, and gradients are
averaged before they are clipped. All communication is PyTorch's own. Every function here does the
right thing for one process, which is most often nothing. The file is over 250 lines, so that what
goes on between processes, and what can go wrong there, is out of the way of a training step.

Checkpoints are those of one process, put together by rank 0, sharded or not:
torch.distributed.checkpoint would write a folder of pieces, and describe them in a pickle that
nothing verifies.

torchrun ends all processes when one has failed. Its `--max-restarts` would start them again beside
what the dead ones left in its store, which fails or hangs (PyTorch's issues 135712 and 167288). A
loop around torchrun starts from nothing each time, and the run goes on from its last checkpoint:
`until torchrun … -m gpt2lite train … --save run; do sleep 1; done`.

Sources: PyTorch's notes on DistributedDataParallel and fully_shard; llm.c's scripts, for the loop.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

SILENCE = 60  # seconds without progress after which it is said who is waited for
PATIENCE = 600  # seconds after which such a run is ended
BETWEEN = "its update, validation or checkpoint"  # which may take longer than that


class DistributedError(RuntimeError):
    """Processes that can't train together; the message says why, and what to do."""


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if _together() else 0


def device() -> torch.device | None:
    """Return the device that torchrun means this process to use; None: the best one here."""
    if not _together() or torch.cuda.is_available():
        return None  # `joined` has made this process's GPU the current one
    return torch.device("cpu")  # gloo knows no Apple GPU


def launcher() -> str:
    """Return what has started this process, as one types it."""
    if not _together():
        return "python"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    nodes = f"--nnodes {world_size() // here} " if world_size() > here else ""
    return f"torchrun {nodes}--nproc-per-node {here}"


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def joined():
    """Join torchrun's other processes inside the block, if it has started this one.

    Only rank 0 can be heard there. Ctrl-C does not raise: `meet` says it to all processes, so that
    they stop at the same step. Raises DistributedError if there are more processes than GPUs, or
    if one of them is gone.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        yield
        return
    if not dist.is_available():
        raise DistributedError("this PyTorch has no torch.distributed: start without torchrun")
    if sys.platform == "darwin":  # gloo would look up the machine's own name, often in vain
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0")
    backend, gpu = _backend()
    dist.init_process_group(backend, timeout=timedelta(seconds=2 * PATIENCE), device_id=gpu)
    with ExitStack() as until_end:
        until_end.enter_context(_deferred_interrupt())
        until_end.enter_context(_watch())
        if rank():
            nowhere = until_end.enter_context(open(os.devnull, "w"))
            until_end.enter_context(redirect_stdout(nowhere))
            until_end.enter_context(redirect_stderr(nowhere))
        try:
            with _in_our_words():
                yield
                dist.barrier()  # without it one process in eight aborts as it leaves
        except KeyboardInterrupt:
            dist.barrier()  # rank 0 may be saving
            dist.destroy_process_group()
            raise
        except Exception as error:
            if _watching and _watching.said_by_first(f"{error}"):
                sys.exit(1)
            raise
        dist.destroy_process_group()


@contextmanager
def _in_our_words():
    """Say what PyTorch means when a connection breaks."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in f"{error}":
            raise
        raise DistributedError(
            "another process has ended, or can't be reached: if it said why, that stands nearby; "
            "else type the same again, and the run goes on from what --save has kept"
        ) from error


def _backend() -> tuple[str, torch.device | None]:
    """Return what carries the messages, and this process's GPU, which becomes the current one."""
    if not torch.cuda.is_available():
        return "gloo", None
    local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= gpus:
        raise DistributedError(
            f"more processes than GPUs: choose --nproc-per-node {gpus}, or hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    torch.cuda.set_device(local)
    return ("nccl", torch.device("cuda", local)) if dist.is_nccl_available() else ("gloo", None)


class Part(NamedTuple):
    """What one process does of a step."""

    passes: int  # forward and backward
    together: int  # the run's batches that all processes make of in one pass
    rows: slice  # of those batches, this process's


def part_of_step(batch_size: int, grad_accum_steps: int) -> Part:
    """Return what this process does of a step of `grad_accum_steps` batches of `batch_size` rows.

    As far as it goes, processes do different batches; beyond, they cut each batch. Raises
    ValueError for sequences that don't divide.
    """
    together = math.gcd(grad_accum_steps, world_size())
    rows, rest = divmod(batch_size * together, world_size())
    if rest:
        raise ValueError(
            f"batch_size={batch_size} x grad_accum_steps={grad_accum_steps} sequences don't divide "
            f"among {world_size()} processes: choose a multiple of {world_size() // together} as "
            "batch_size"
        )
    first = rank() * rows
    return Part(grad_accum_steps // together, together, slice(first, first + rows))


def spread(model, shard: bool = False):
    """Return the module to run forward, so that backward averages gradients over all processes.

    By default each process has the whole model; with `shard` it is cut up in place, parameters,
    gradients and moments, and each block is put together while it computes. Raises ValueError for
    `shard` without torchrun.
    """
    if shard and not _together():
        raise ValueError("--shard spreads a model over processes: start it with torchrun")
    if not _together():
        return model
    if not shard:
        return DistributedDataParallel(model, gradient_as_bucket_view=True)
    try:
        from torch.distributed.fsdp import fully_shard  # takes a while to import
    except ImportError as error:
        raise ValueError("--shard needs PyTorch 2.6 or newer") from error
    for block in model.h:
        fully_shard(block)
    return fully_shard(model)


def with_forward(module, forward):
    """Return what `spread` gave, running another forward function of the same parameters."""
    if not isinstance(module, DistributedDataParallel):
        return forward
    module.module = forward  # its hooks are on the parameters
    return module


@contextmanager
def syncing(module, now: bool):
    """Average gradients in this block's backward pass, or leave that to a later one.

    The block must hold the forward pass too: DistributedDataParallel decides there.
    """
    _at("the forward pass")
    if hasattr(module, "set_requires_gradient_sync"):  # sharded
        module.set_requires_gradient_sync(now)
    later = isinstance(module, DistributedDataParallel) and not now
    with module.no_sync() if later else nullcontext():
        yield


def begin_step(step: int, seed: int) -> None:
    """Begin a step: seed this process's dropout, so that no two processes drop the same.

    It then depends on nothing but step, seed and rank, and no checkpoint need keep it.
    """
    _at("its batch", step)
    if world_size() > 1:
        torch.manual_seed((seed + 1_000_003 * step + rank()) % 2**63)


def begin_backward() -> None:
    """Note that the backward pass begins."""
    _at("the backward pass")


def meet(loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of all processes, and above 0 if Ctrl-C has reached one of them."""
    _at("the end of its step")
    numbers = torch.stack([loss, torch.full_like(loss, _pressed.is_set())])
    if _together():
        dist.all_reduce(numbers)  # a sum: the mean is not right everywhere (PyTorch's 162338)
        numbers /= world_size()
    _at(BETWEEN)
    return numbers[0], numbers[1]


def held(model) -> int:
    """Return how many of a model's parameters this process holds."""
    own = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters())
    return sum(p.numel() for p in own)


def whole(tensor):
    """Return a tensor, put together if it is cut up over processes. All of them must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def whole_state(state):
    """Return a dict with its tensors put together, one after the other on the CPU."""
    if isinstance(state, dict):
        return type(state)((name, whole_state(value)) for name, value in state.items())
    return whole(state).cpu() if hasattr(state, "full_tensor") else state


def cut_as(state, other):
    """Return a whole tensor, or a dict of them, cut up as `other` is; rank 0's counts."""
    if isinstance(other, dict):
        return type(state)((name, cut_as(value, other[name])) for name, value in state.items())
    if not hasattr(other, "full_tensor"):
        return state
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(state.to(other.device), other.device_mesh, other.placements)


def from_first(value):
    """Return rank 0's value in all processes."""
    values = [value]
    if _together():
        dist.broadcast_object_list(values)
    return values[0]


def check_alike(told) -> None:
    """Raise DistributedError, in all processes, if they were not told the same to do."""
    if not _together():
        return
    others = [None] * world_size()
    dist.all_gather_object(others, told)
    if differ := [r for r, other in enumerate(others) if other != others[0]]:
        raise DistributedError(
            f"rank {differ[0]} has another text or other settings than rank 0: start all with the "
            "same command and the same files"
        )


@contextmanager
def first_ahead():
    """Let rank 0 go through the block before the others: what it fetches, they find."""
    if world_size() > 1 and rank():
        dist.barrier()
    yield
    if world_size() > 1 and not rank():
        dist.barrier()


def check_same(model) -> None:
    """Raise DistributedError if processes that each hold the whole model hold different ones."""
    mine = [p for p in model.parameters() if not hasattr(p, "full_tensor")]
    if world_size() == 1 or not mine:
        return
    sums = [p.detach().contiguous().view(torch.int32).sum(dtype=torch.int64) for p in mine]
    least, most = torch.stack(sums), torch.stack(sums)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    if not torch.equal(least, most):
        raise DistributedError(
            f"{(least != most).sum()} of {len(mine)} parameters differ over the processes: one of "
            "them made an update that others did not. Go on from the last checkpoint"
        )


_pressed = threading.Event()  # Ctrl-C has reached this process, or torchrun is gone


@contextmanager
def _deferred_interrupt():
    before = signal.signal(signal.SIGINT, lambda *_: _pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _pressed.clear()


class _Watch(threading.Thread):
    """Tells all processes' places to each other, and says which one the others wait for.

    A thread goes on while its process waits for the others. If the process was stopped, so is the
    thread: its count of beats then stands still.
    """

    def __init__(self):
        super().__init__(daemon=True)
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        uv = sys.platform != "win32"  # PyTorch is built without it there
        store = dist.TCPStore(host, port, is_master=False, use_libuv=uv)
        self.store = dist.PrefixStore(f"watch {start}", store)
        self.rank, self.others = rank(), range(world_size())
        self.err = sys.stderr
        self.ended = threading.Event()
        self.marks, self.beats, self.step, self.place = 0, 0, 0, "its start"
        self.since = time.monotonic()
        self._tell()

    def at(self, place: str, step: int | None) -> None:
        self.marks, self.since, self.place = self.marks + 1, time.monotonic(), place
        self.step = self.step if step is None else step

    def said_by_first(self, error: str) -> bool:
        """Say whether rank 0 has failed alike, and tells of it: what all refuse is said once."""
        if self.rank == 0:
            self.store.set("failed", error)
            return False
        time.sleep(1)
        return self.store.check(["failed"]) and self.store.get("failed").decode() == error

    def run(self):
        told = []  # what each process told, four times at most
        while not self.ended.wait(min(1, SILENCE / 4)):
            try:
                self._tell()
                silent = time.monotonic() - self.since
                if silent < SILENCE or not self.marks:
                    told, said = [], False
                    continue
                now = [json.loads(self.store.get(f"{r}")) for r in self.others]
            except (RuntimeError, OSError):  # the store is gone, and so is torchrun, or soon
                _pressed.set()  # nobody else would end a run whose torchrun was killed
                return
            told = [*told[-3:], now]
            if len(told) < 4:
                continue
            stopped = [r for r in self.others if told[0][r][1] == now[r][1]]
            least = min(marks for marks, *_ in now)
            late = stopped or [r for r in self.others if now[r][0] == least]
            waiting = [r for r in self.others if r not in late]
            at_work = not stopped and all(now[r][3] == BETWEEN for r in late)
            if not said and (waiting or not at_work) and self.rank == (waiting or late)[0]:
                long = f"for {silent:.0f} s"
                long += f": {len(waiting)} of {len(now)} processes wait for it" if waiting else ""
                self._say(late, stopped, now, long)
            said = True
            if silent > PATIENCE and not at_work:
                os._exit(1)

    def _tell(self):
        self.beats += 1
        self.store.set(f"{self.rank}", json.dumps([self.marks, self.beats, self.step, self.place]))

    def _say(self, late, stopped, now, long):
        for r in late:
            _, _, step, place = now[r]
            what = f"has not left {place} in step {step}"
            if r in stopped:  # in lockstep it is where we are, whatever it told last
                what = f"gives no sign of life in step {self.step}"
            print(f"rank {r} {what} {long}", file=self.err, flush=True)


_watching: _Watch | None = None


@contextmanager
def _watch():
    global _watching
    if world_size() == 1:
        yield
        return
    _watching = _Watch()
    _watching.start()
    try:
        yield
    finally:
        _watching.ended.set()
        _watching.join(5)
        _watching = None


def _at(place: str, step: int | None = None) -> None:
    if _watching:
        _watching.at(place, step)
