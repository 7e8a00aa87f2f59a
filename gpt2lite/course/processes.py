"""Starts several processes from a notebook as torchrun does, kills one, and starts again.

Knows nothing about what they compute.
"""

import math
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
from torch import distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gpt2lite.log import read_log

CORES = 2  # that a run computes on, shared out among its processes


def environment() -> dict[str, str]:
    """Return what programs that are started from a notebook need, to find this Python's packages.

    And what torchrun needs on a Mac and on Windows.
    """
    before = {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    found = os.environ | {"OMP_NUM_THREADS": "1"}
    for name, folder in before.items():
        rest = [
            other for other in found.get(name, "").split(os.pathsep) if other not in ("", folder)
        ]
        found[name] = os.pathsep.join([folder, *rest])
    if sys.platform == "darwin":
        found.setdefault("GLOO_SOCKET_IFNAME", "lo0")
    if sys.platform == "win32":
        found.setdefault("USE_LIBUV", "0")
    return found


def torchrun(count: int, *arguments) -> str:
    """Run a command in `count` processes on this machine's CPU; return what it has printed.

    The command that one would type is printed first. Raises RuntimeError if it fails.
    """
    with _running(count, arguments) as run:
        said, _ = run.communicate()
    if run.returncode:
        raise RuntimeError(f"torchrun ended with {run.returncode}:\n{said[-2000:]}")
    return said


def until_done(count: int, arguments, log, kill_at: int) -> tuple[int, str]:
    """Run a command until it ends well, and kill one of its processes once `log` has a step.

    Returns how often it was started, and what it has printed the last time. Raises RuntimeError if
    it fails three times.
    """
    for starts in range(1, 4):
        with _running(count, arguments) as run:
            if starts == 1:
                _kill_one(run, log, kill_at)
            said, _ = run.communicate()
        print(f"torchrun ends with {run.returncode} after step {_last_step(log)}")
        if not run.returncode:
            return starts, said
    raise RuntimeError(f"it has failed {starts} times:\n{said[-2000:]}")


def _kill_one(run: subprocess.Popen, log, kill_at: int) -> None:
    """Wait for a step in the log, then kill one of the processes that a run has started."""
    if sys.platform == "win32":
        print("○ nobody is killed: Windows has no SIGKILL")
        return
    while run.poll() is None and _last_step(log) < kill_at:
        time.sleep(0.02)
    if workers := psutil.Process(run.pid).children() if run.poll() is None else []:
        victim = random.choice(workers)
        victim.kill()  # SIGKILL
        print(f"step {_last_step(log)} is done: process {victim.pid} is killed")


def command(count: int, arguments) -> str:
    """Return what one types to run the arguments in `count` processes, a Path by its last name."""
    start = "python" if count == 1 else f"torchrun --nproc-per-node {count}"
    return " ".join([start, *(a.name if isinstance(a, Path) else str(a) for a in arguments)])


@contextmanager
def _running(count: int, arguments):
    """Start processes; if the block is left before they end, such as by ■, end them."""
    run = _start(count, arguments)
    try:
        yield run
    finally:
        if run.poll() is None:
            run.terminate()  # torchrun then ends the others
            run.wait()


def _start(count: int, arguments) -> subprocess.Popen:
    print("$", command(count, arguments), flush=True)
    launcher = [] if count == 1 else ["-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # processes outnumber the GPUs of most readers
    threads = {"OMP_NUM_THREADS": str(max(1, CORES // count))}
    return subprocess.Popen(
        [sys.executable, *launcher, *map(str, arguments)],
        env=environment() | hidden | threads,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _last_step(log) -> int:
    """Return the newest step in a log, -1 if there is none yet."""
    if not Path(log).exists() or not (records := read_log(log)[1]):
        return -1
    return records[-1]["step"]


def bytes_sent() -> int:
    """Return how many bytes the programs of this machine have sent to each other so far.

    That is all that its loopback network has carried; 0 where the system doesn't count.
    """
    networks = psutil.net_io_counters(pernic=True)
    return sum(n.bytes_sent for name, n in networks.items() if name.lower().startswith("lo"))


class Notes:
    """What DistributedDataParallel hands over for sending in one pass, and when.

    Use it as a context around forward and backward, and call `forward_ends` in between. `taken` has
    "sent", a list of {"bytes", "ms", "there"}, when a bucket was handed over and when its sum was
    there; "backward", when it began and ended; and "wire", the bytes that all processes together
    have sent. Times are ms since the beginning. The sending stays PyTorch's own.
    """

    def __init__(self, ddp):
        self.ddp, self.marks, self.taken = ddp, [], {}
        if not hasattr(ddp, "noted"):  # a module takes one hook only
            ddp.noted = []
            ddp.register_comm_hook(ddp.noted, _note)

    def __enter__(self):
        self.ddp.zero_grad()
        self.ddp.noted.clear()
        dist.barrier()
        self.before = bytes_sent()
        self.marks = [time.perf_counter()]
        return self

    def forward_ends(self) -> None:
        """Mark the end of the forward pass."""
        self.marks.append(time.perf_counter())

    def __exit__(self, *_):
        began, *ends = [*self.marks, time.perf_counter()]
        sent = [
            {"bytes": n, "ms": 1e3 * (at - began), "there": 1e3 * (there - began)}
            for n, at, there in self.ddp.noted
        ]
        dist.barrier()  # the others have ended, too
        self.taken = {
            "sent": sent,
            "backward": [1e3 * (end - began) for end in ends],
            "wire": bytes_sent() - self.before,
        }


def _note(noted: list, bucket):
    note = [bucket.buffer().nbytes, time.perf_counter(), math.nan]
    noted.append(note)

    def arrive(future):
        note[2] = time.perf_counter()
        return future.value()

    return allreduce_hook(None, bucket).then(arrive)
