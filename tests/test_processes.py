"""Processes are started, killed and started again; what DDP hands over is noted, whole."""

import os
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gpt2lite.course import processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


class Job:
    """What stands in for torchrun: a process that starts another, which writes a log slowly."""

    CODE = """
import json, subprocess, sys, time
if sys.argv[1] == "start":
    sys.exit(subprocess.run([sys.executable, *sys.argv[2:]]).returncode != 0)
log, steps = sys.argv[1], int(sys.argv[2])
with open(log, "w") as file:
    print("{}", file=file, flush=True)
    for step in range(steps):
        print(json.dumps({"step": step}), file=file, flush=True)
        time.sleep(0.1)
"""


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(Job.CODE)
    return path, tmp_path / "log.jsonl"


def test_a_killed_process_is_started_again_until_it_is_done(job, capsys):
    path, log = job
    assert processes.until_done(1, [path, "start", path, log, 12], log, kill_at=3) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[0] == said[3] == "$ python job.py start job.py log.jsonl 12"
    assert "is killed" in said[1] and said[2].startswith("torchrun ends with 1 after step")
    assert said[-1] == "torchrun ends with 0 after step 11"


def test_what_never_ends_well_is_given_up(job, capsys):
    path, log = job
    with pytest.raises(RuntimeError, match="failed 3 times"):
        processes.until_done(1, [path, "start", path, "--no-such-option"], log, kill_at=3)


def test_a_command_that_fails_says_what_it_said(tmp_path):
    (tmp_path / "bad.py").write_text("raise SystemExit('the reason')")
    with pytest.raises(RuntimeError, match="ended with 1:\nthe reason"):
        processes.torchrun(1, tmp_path / "bad.py")
    (tmp_path / "good.py").write_text("import os; print(os.environ['OMP_NUM_THREADS'])")
    assert processes.torchrun(1, tmp_path / "good.py") == "1\n"


def test_notes_hold_each_gradient_once_and_when_it_left(tmp_path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        ddp = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)))
        for _ in range(2):
            with processes.Notes(ddp) as notes:
                loss = ddp(torch.ones(1, 64)).sum()
                notes.forward_ends()
                loss.backward()
    finally:
        dist.destroy_process_group()
    forward, end = notes.taken["backward"]
    assert sum(bucket["bytes"] for bucket in notes.taken["sent"]) == 4 * 2 * (64 * 64 + 64)
    assert all(forward <= bucket["ms"] <= end for bucket in notes.taken["sent"])
    assert ddp.module[0].weight.grad.abs().sum() > 0, "the hook must still send"
