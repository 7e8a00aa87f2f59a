"""Two processes are one: the same tokens, gradients, losses, log and checkpoint; and what they say.

Equality is judged by gradients: AdamW and clipping hide a factor from a loss. Each known mistake is
planted once, and must not pass for equal.
"""

import importlib.util
import json
import multiprocessing
import os
import pickle
import socket
import sys
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_gpt

from gpt2lite import SIZES, GPTConfig, data, distributed, training
from gpt2lite.config import TrainConfig
from gpt2lite.precision import Precision

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed")
ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
FP32 = Precision(CPU, torch.float32, False, "exact, for the tests")
SCALED = Precision(CPU, torch.float32, True, "a scaler, and nothing else of fp16")
TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint16)


def environments(world) -> list[dict]:
    """Return what torchrun tells each process, and that it has no GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"CUDA_VISIBLE_DEVICES": "", "LOCAL_WORLD_SIZE": world}
    ranks = [shared | {"RANK": r, "LOCAL_RANK": r} for r in range(world)]
    return [{name: str(value) for name, value in env.items()} for env in ranks]


def start(world, work, *args):
    """Start processes that do `work(*args)` joined; return them."""
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if os.name != "nt":  # imports torch once, forks from there
        context.set_forkserver_preload(["gpt2lite.run", "torch.distributed.fsdp", "torch._dynamo"])
    given = [(env, work, args) for env in environments(world)]
    processes = [context.Process(target=_process, args=each) for each in given]
    for process in processes:
        process.start()
    return processes


def _process(env, work, args):
    os.environ |= env
    torch.set_num_threads(1)
    try:
        with distributed.joined():
            work(*args)
    except KeyboardInterrupt:
        sys.exit(130)


def together(world, work, folder) -> list:
    """Return what `work(folder)` returns in each of so many processes."""
    processes = start(world, _keep, work, str(folder))
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0] * world, "a process failed: see above"
    results = []
    for r in range(world):
        with open(Path(folder) / f"{work.__name__}.{r}", "rb") as file:
            results.append(pickle.load(file))
    return results


def _keep(work, folder):
    result = work(folder)
    with open(Path(folder) / f"{work.__name__}.{distributed.rank()}", "wb") as file:
        pickle.dump(result, file)


def trainer(shard=False, precision=FP32, order="random", dropout=0.0, model=None, **settings):
    """Return a Trainer that is the same each time, in one process or in several."""
    torch.manual_seed(0)
    settings = {"steps": 8, "batch_size": 6, "seq_len": 6, "lr": 1e-2} | settings
    config = TrainConfig(**settings)
    batches = data.Batches(TOKENS, config.batch_size, config.seq_len, order, vocab_size=61)
    return training.Trainer(
        model or tiny_gpt(dropout=dropout), batches, config, precision, shard=shard
    )


def gradients(trainer) -> dict[str, np.ndarray]:
    """Return the gradients that a step's update would use, each put together."""
    trainer.optimizer.step = lambda *_: None
    trainer.step()
    named = trainer.model.named_parameters()
    return {name: distributed.whole(p.grad).numpy().copy() for name, p in named}


def distance(some, others) -> float:
    """Return how far gradients are from others, in the others' largest."""
    largest = max(np.abs(g).max() for g in others.values())
    return max(np.abs(some[name] - g).max() for name, g in others.items()) / largest


SETTINGS = {
    "rows cut": {"batch_size": 6},
    "batches shared": {"batch_size": 3, "grad_accum_steps": 4},
    "both": {"batch_size": 2, "grad_accum_steps": 3},
    "clipped": {"batch_size": 2, "grad_accum_steps": 3, "grad_clip": 0.01},
    "scaled": {"batch_size": 2, "grad_accum_steps": 3, "grad_clip": 0.01, "precision": SCALED},
}


@contextmanager
def summed(trainer):
    if hasattr(trainer.spread, "set_gradient_divide_factor"):
        for part in (trainer.model, *trainer.model.h):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo can't divide as it sums
    else:

        def add_up(_, bucket):
            work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
            return work.get_future().then(lambda future: future.value()[0])

        trainer.spread.register_comm_hook(None, add_up)
    yield


@contextmanager
def flag_after_the_forward_pass(trainer):
    """As if no_sync held the backward pass only: the forward one has already decided to sync."""
    spread, syncing = trainer.spread, distributed.syncing

    def late(module, now):
        return nullcontext()

    def backward():
        spread.require_backward_grad_sync = trainer.passes.pop() == 0

    trainer.passes = list(range(trainer.part.passes))
    distributed.syncing, before = late, distributed.begin_backward
    distributed.begin_backward = backward
    yield
    distributed.syncing, distributed.begin_backward = syncing, before


@contextmanager
def clipped_before_the_exchange(trainer):
    """Clip each process's own gradients, and average them then."""
    trainer.spread.require_backward_grad_sync = False
    clip, syncing = trainer._clip, distributed.syncing

    def early():
        norm = clip()
        for p in trainer.model.parameters():
            torch.distributed.all_reduce(p.grad)
            p.grad /= distributed.world_size()
        return norm

    trainer._clip = early
    distributed.syncing = lambda module, now: syncing(module, False)
    yield
    distributed.syncing = syncing


@contextmanager
def the_same_data(trainer):
    rows = trainer.batches.rows
    trainer.batches.take(trainer.part.together, slice(0, rows.stop - rows.start))
    yield


MISTAKES = {
    "summed": (summed, "both", False),
    "summed, sharded": (summed, "both", True),
    "late flag": (flag_after_the_forward_pass, "both", False),
    "clipped early": (clipped_before_the_exchange, "clipped", False),
    "same data": (the_same_data, "rows cut", False),
}


def all_gradients(folder) -> dict:
    """Return the gradients of each setting, right and with each mistake."""
    found = {
        (name, shard): gradients(trainer(shard, **settings))
        for (name, settings), shard in product(SETTINGS.items(), (False, True))
    }
    for name, (mistake, setting, shard) in MISTAKES.items():
        run = trainer(shard, **SETTINGS[setting])
        with mistake(run):
            found[name] = gradients(run)
    return found


def test_two_processes_have_the_gradients_of_one_and_no_mistake_has(tmp_path):
    one = {name: gradients(trainer(**settings)) for name, settings in SETTINGS.items()}
    for found in together(2, all_gradients, tmp_path):
        for name, shard in product(SETTINGS, (False, True)):
            away = distance(found[name, shard], one[name])
            assert away < 1e-5, f"{name}, shard={shard}: {away:.1e} from one process's"
        for name, (_, setting, _) in MISTAKES.items():
            assert distance(found[name], one[setting]) > 1e-3, f"{name} passes for equal"


def differing_weights(folder) -> str:
    """Let rank 1 alone skip an update; return what is said of it."""
    run = trainer(precision=SCALED)
    run.step()
    distributed.check_same(run.model)
    if distributed.rank() == 1:
        run.optimizer.step = lambda *_: None
    run.step()
    try:
        distributed.check_same(run.model)
    except distributed.DistributedError as error:
        return str(error)


def skips(folder) -> list:
    """Let rank 1's gradients overflow once; return steps skipped and scales, whole and sharded."""
    found = []
    for shard in (False, True):
        run = trainer(shard, SCALED, grad_clip=1.0)
        if distributed.rank() == 1:
            run.model.ln_f.register_full_backward_hook(overflow)
        records = [run.step() for _ in range(3)]
        weights = distributed.whole_state(run.model.state_dict())
        found.append(([(r["skipped"], r["scale"]) for r in records], weights))
    return found


def overflow(module, given, grads):
    module.overflown = getattr(module, "overflown", 0) + 1
    return (given[0] * np.inf,) if module.overflown == 1 else None


def test_a_skipped_step_is_skipped_by_all(tmp_path):
    for said in together(2, differing_weights, tmp_path):
        assert "parameters differ over the processes" in said, "one alone skips, and none notices"
    one, other = together(2, skips, tmp_path)
    for (mine, weights), (theirs, others) in zip(one, other, strict=True):
        assert mine == theirs == [(1, 2**16), (0, 2**15), (0, 2**15)]
        assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_benchmark_of_one_process_compares_two_ways_of_one_step(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("ddp", ROOT / "benchmarks" / "ddp.py")
    ddp = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ddp)
    monkeypatch.setitem(SIZES, "lite", GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=8))
    (alone,) = environments(1)
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    made, spread = [], distributed.spread
    monkeypatch.setattr(distributed, "spread", lambda *a: made.append(spread(*a)) or made[-1])
    ddp.main(
        ["--model", "lite", "--batch-size", "2", "--seq-len", "8", "--steps=3", "--no-compile"]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["ms"] > 0 and found["ratio"] == found["ddp_ms"] / found["ms"]
    kinds = [type(module).__name__ for module in made]
    assert kinds == ["GPT", "DistributedDataParallel"] * 2
