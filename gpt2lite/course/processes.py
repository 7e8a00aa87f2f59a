"""Starts several processes from a notebook as torchrun does, kills one, and starts again.

Knows nothing about what they compute.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gpt2lite.log import read_log


def torchrun(count: int, *arguments) -> str:
    """Run a command in `count` processes on this machine's CPU; return what it has printed.

    The command that one would type is printed first. Raises RuntimeError if it fails.
    """
    with _running(count, arguments) as run:
        said, _ = run.communicate()
    if run.returncode:
        raise RuntimeError(f"torchrun ended with {run.returncode}:\n{said[-2000:]}")
    return said


def until_done(count: int, arguments, log, kill_at: int) -> int:
    """Run a command until it ends well, and kill one of its processes once `log` has a step.

    Returns how often it was started. Raises RuntimeError if it fails three times.
    """
    for starts in range(1, 4):
        with _running(count, arguments) as run:
            if starts == 1:
                _kill_one(run, log, kill_at)
            said, _ = run.communicate()
        print(f"torchrun ends with {run.returncode} after step {_last_step(log)}")
        if not run.returncode:
            return starts
    raise RuntimeError(f"it has failed {starts} times:\n{said[-2000:]}")


def _kill_one(run: subprocess.Popen, log, kill_at: int) -> None:
    """Wait for a step in the log, then kill one of the processes that a run has started."""
    if sys.platform == "win32":
        print("○ nobody is killed: Windows has no SIGKILL")
        return
    while run.poll() is None and _last_step(log) < kill_at:
        time.sleep(0.02)
    if workers := _children(run.pid):
        victim = random.choice(workers)
        os.kill(victim, signal.SIGKILL)
        print(f"step {_last_step(log)} is done: process {victim} is killed")


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
    package = str(Path(__file__).parents[2])
    surroundings = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",  # processes outnumber the GPUs of most readers
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
    }
    if sys.platform == "darwin":
        surroundings.setdefault("GLOO_SOCKET_IFNAME", "lo0")
    if sys.platform == "win32":
        surroundings.setdefault("USE_LIBUV", "0")
    return subprocess.Popen(
        [sys.executable, *launcher, *map(str, arguments)],
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _last_step(log) -> int:
    """Return the newest step in a log, -1 if there is none yet."""
    if not Path(log).exists() or not (records := read_log(log)[1]):
        return -1
    return records[-1]["step"]


def _children(parent: int) -> list[int]:
    """Return the processes that another one has started."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    pairs = (map(int, line.split()) for line in table.splitlines())
    return [pid for pid, above in pairs if above == parent]


class Notes:
    """What DistributedDataParallel hands over for sending in one pass, and when.

    Use it as a context around forward and backward, and call `forward_ends` in between. `taken` has
    "sent", a list of {"ms", "bytes"}, and "backward", where it began and ended, in ms. The sending
    stays PyTorch's own.
    """

    def __init__(self, ddp):
        self.ddp, self.marks, self.taken = ddp, [], {}
        if not hasattr(ddp, "noted"):  # a module takes one hook only
            ddp.noted = []
            ddp.register_comm_hook(ddp.noted, _note)

    def __enter__(self):
        self.ddp.zero_grad()
        self.ddp.noted.clear()
        self.marks = [time.perf_counter()]
        return self

    def forward_ends(self) -> None:
        """Mark the end of the forward pass."""
        self.marks.append(time.perf_counter())

    def __exit__(self, *_):
        began, *ends = [*self.marks, time.perf_counter()]
        sent = [{"ms": 1e3 * (at - began), "bytes": n} for at, n in self.ddp.noted]
        self.taken = {"sent": sent, "backward": [1e3 * (end - began) for end in ends]}


def _note(noted: list, bucket):
    noted.append((time.perf_counter(), bucket.buffer().nbytes))
    return allreduce_hook(None, bucket)
