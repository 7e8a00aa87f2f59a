"""Processes are started, killed and started again; what DDP hands over is noted, whole."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gpt2lite
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
print(steps, "steps")
"""


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(Job.CODE)
    return path, tmp_path / "log.jsonl"


def test_a_killed_process_is_started_again_until_it_is_done(job, capsys):
    path, log = job
    starts, said = processes.until_done(1, [path, "start", path, log, 12], log, kill_at=3)
    assert (starts, said) == (2, "12 steps\n"), "the last start's words are handed on"
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


@pytest.mark.parametrize("count, threads", [(1, "2"), (2, "1"), (3, "1")])
def test_the_cores_are_shared_out_among_the_processes(tmp_path, monkeypatch, count, threads):
    given = []
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *_, env, **__: given.append(env))
    processes._start(count, ["good.py"])
    assert given[0]["OMP_NUM_THREADS"] == threads and given[0]["CUDA_VISIBLE_DEVICES"] == ""


def test_a_program_started_here_finds_this_python_and_its_packages(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    env = processes.environment()
    assert env["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)
    assert env["PYTHONPATH"].split(os.pathsep) == [str(Path(gpt2lite.__file__).parents[1]), "mine"]
    monkeypatch.setattr(os, "environ", env)
    assert processes.environment() == env, "a cell run twice grows the path"


@pytest.mark.skipif(sys.platform != "linux", reason="not every system counts there")
def test_bytes_sent_over_this_machine_are_counted():
    listener = socket.create_server(("127.0.0.1", 0))
    before = processes.bytes_sent()
    with socket.create_connection(listener.getsockname()) as sender:
        taker, _ = listener.accept()
        sender.sendall(bytes(100_000))
        sender.shutdown(socket.SHUT_WR)
        while taker.recv(100_000):
            pass
        assert processes.bytes_sent() - before >= 100_000
    taker.close()
    listener.close()


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
    assert notes.taken["wire"] < 4 * 64 * 64, "one process has nobody to send to"
    assert sum(bucket["bytes"] for bucket in notes.taken["sent"]) == 4 * 2 * (64 * 64 + 64)
    for bucket in notes.taken["sent"]:
        assert forward <= bucket["ms"] < bucket["there"] <= end, "it arrives before it leaves"
    assert ddp.module[0].weight.grad.abs().sum() > 0, "the hook must still send"
