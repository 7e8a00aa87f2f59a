"""A run that is killed again and again ends as if it had never stopped."""

import contextlib
import multiprocessing
import os
import random
import sys
import time

import pytest
import torch

from gpt2lite import SIZES, GPTConfig, checkpoint
from gpt2lite.log import read_log

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
KILLS, STEPS = 20, 120


def run(folder, begun=None):
    """Train in a process of its own, a checkpoint each step, as the command line does."""
    from gpt2lite import __main__, training

    torch.set_num_threads(1)
    SIZES["lite"] = GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=8)
    text = os.path.join(os.path.dirname(folder), "my.txt")
    options = ["--model", "lite", "--dropout", "0.1", "--text", text, "--order", "random"]
    options += ["--seq-len", "8", "--steps", str(STEPS), "--save-every", "1"]
    options += ["--val-fraction", "0.2", "--log-file", folder + ".jsonl", "--save", folder]
    step = training.Trainer._step

    def counted(trainer, hold):
        begun.value += 1
        return step(trainer, hold)

    if begun:
        training.Trainer._step = counted
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        assert __main__.main(["train", *options]) == 0


def test_killed_twenty_times_is_never_stopped(tmp_path):
    (tmp_path / "my.txt").write_text("To be, or not to be, that is the question. " * 20)
    context = multiprocessing.get_context("forkserver")  # imports torch once, forks from there
    context.set_forkserver_preload(
        ["gpt2lite.training", "tyro", "torch._dynamo"]
    )  # AdamW asks for it
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    process = context.Process(target=run, args=(whole,))
    process.start()
    process.join()
    assert process.exitcode == 0

    moments, reached = random.Random(0), []
    for _ in range(KILLS):
        begun, steps = context.Value("i", 0), moments.randint(2, 6)
        process = context.Process(target=run, args=(parts, begun))
        process.start()
        while begun.value < steps and process.is_alive():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.01))  # anywhere in a step, or while it is being saved
        process.kill()
        process.join()
        assert process.exitcode == -9, "the run was over before it was killed: make it longer"
        for path in checkpoint.found(parts):
            checkpoint.load(path)  # raises if it is damaged
        reached.append(checkpoint.load(parts)["done"])
    assert reached == sorted(set(reached)), f"a run lost more than its last step: {reached}"
    process = context.Process(target=run, args=(parts,))
    process.start()
    process.join()
    assert process.exitcode == 0

    timings = {"ms", "tokens_per_s", "mfu", "memory"}
    expected, records = (
        [{k: r[k] for k in r.keys() - timings} for r in read_log(path + ".jsonl")[1]]
        for path in (whole, parts)
    )
    assert records == expected, "the log has lost, repeated or changed a step"
    ends = (checkpoint.load(folder)["model"] for folder in (whole, parts))
    for p, q in zip(*(end.values() for end in ends), strict=True):
        assert torch.equal(p, q)
