"""Two processes are one: the same tokens, gradients, losses, log and checkpoint; and what they say.

Equality is judged by gradients: AdamW and clipping hide a factor from a loss. Each known mistake is
planted once, and must not pass for equal.
"""

import importlib.util
import inspect
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_gpt
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gpt2lite import GPT, SIZES, GPTConfig, __main__, checkpoint, data, distributed, run, training
from gpt2lite.config import TrainConfig
from gpt2lite.log import read_log
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
    """Start processes that do `work(*args)` in such environments; return them."""
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
    work(*args)


def ends(processes, seconds=120) -> list:
    """Return the exit codes of processes; None for one that had to be killed."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def together(world, work, folder) -> list:
    """Return what `work(folder)` returns in each of so many processes."""
    assert ends(start(world, _keep, work, str(folder))) == [0] * world, "one failed: see above"
    kept = [(Path(folder) / f"{work.__name__}.{r}").read_bytes() for r in range(world)]
    return [pickle.loads(each) for each in kept]


def _keep(work, folder):
    with distributed.joined():
        result = pickle.dumps(work(folder))
        (Path(folder) / f"{work.__name__}.{distributed.rank()}").write_bytes(result)


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


def sent_in_a_step() -> int:
    """Return how many buckets of gradients DDP sends in a step of three passes; all fit in one."""
    counted, sent = trainer(**SETTINGS["both"]), []

    def count(_, bucket):
        sent.append(bucket)
        return allreduce_hook(None, bucket)

    counted.spread.register_comm_hook(None, count)
    counted.step()
    return len(sent)


def all_gradients(folder) -> dict:
    """Return the gradients of each setting, right and with each mistake."""
    found = {
        (name, shard): gradients(trainer(shard, **settings))
        for (name, settings), shard in product(SETTINGS.items(), (False, True))
    }
    for name, (mistake, setting, shard) in MISTAKES.items():
        wrong = trainer(shard, **SETTINGS[setting])
        with mistake(wrong):
            found[name] = gradients(wrong)
    return found | {"sent": sent_in_a_step()}


def test_two_processes_have_the_gradients_of_one_and_no_mistake_has(tmp_path):
    one = {name: gradients(trainer(**settings)) for name, settings in SETTINGS.items()}
    for found in together(2, all_gradients, tmp_path):
        for name, shard in product(SETTINGS, (False, True)):
            away = distance(found[name, shard], one[name])
            assert away < 1e-5, f"{name}, shard={shard}: {away:.1e} from one process's"
        for name, (_, setting, _) in MISTAKES.items():
            assert distance(found[name], one[setting]) > 1e-3, f"{name} passes for equal"
        assert found["sent"] == 1, "each pass of a step sends: only the last one need"


def differing_weights() -> str:
    """Let rank 1 alone skip an update; return what is said of it."""
    wrong = trainer(precision=SCALED)
    wrong.step()
    distributed.check_same(wrong.model)
    if distributed.rank() == 1:
        wrong.optimizer.step = lambda *_: None
    wrong.step()
    try:
        distributed.check_same(wrong.model)
    except distributed.DistributedError as error:
        return str(error)


def differing(folder) -> list[str]:
    """Let rank 1 alone have another text, then another setting; return what is said of each."""
    said, rank = [], distributed.rank()
    for tokens, seed in ((TOKENS[rank:], 1), (TOKENS, 1 + rank)):
        config = TrainConfig(steps=1, batch_size=2, seq_len=6, seed=seed)
        try:
            list(run.train(tiny_gpt(), tokens, config, FP32, save=Path(folder) / "run"))
        except distributed.DistributedError as error:
            said.append(str(error))
    return said


def test_processes_that_were_told_different_things_are_refused_before_any_step(tmp_path):
    for said in together(2, differing, tmp_path):
        assert ["rank 1 has another text or other settings" in each for each in said] == [True] * 2
    assert not (tmp_path / "run").exists()


def skips(folder) -> list:
    """Let rank 1's gradients overflow once; return steps skipped and scales, whole and sharded."""
    found = [differing_weights()]
    for step in (3, 4, 3):
        distributed.begin_step(step, 7)
        found.append(torch.rand(4).tolist())
    for shard in (False, True):
        scaled = trainer(shard, SCALED, grad_clip=1.0)
        if distributed.rank() == 1:
            scaled.model.ln_f.register_full_backward_hook(overflow)
        records = [scaled.step() for _ in range(3)]
        weights = distributed.whole_state(scaled.model.state_dict())
        norms = [r["grad_norm"] for r in records[1:]]
        found.append(([(r["skipped"], r["scale"]) for r in records], norms, weights))
    return found


def overflow(module, given, grads):
    module.overflown = getattr(module, "overflown", 0) + 1
    return (given[0] * np.inf,) if module.overflown == 1 else None


def test_a_skipped_step_is_skipped_by_all_and_dropout_is_each_ones_own(tmp_path):
    (said, *drawn, whole, cut), (too, *others, whole_too, cut_too) = together(2, skips, tmp_path)
    assert "parameters differ over the processes" in said == too, "one alone skips unnoticed"
    assert drawn[0] == drawn[2] != drawn[1] != others[0] != drawn[0], "they drop the same units"
    for (mine, norms, weights), (theirs, their_norms, others) in (
        (whole, whole_too),
        (cut, cut_too),
    ):
        assert mine == theirs == [(1, 2**16), (0, 2**15), (0, 2**15)]
        assert norms == their_norms == pytest.approx(whole[1], rel=1e-3), "not the whole norm"
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


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("batch_size, grad_accum_steps", [(6, 1), (3, 2), (1, 6), (2, 3)])
def test_processes_read_what_one_reads_and_nothing_twice(
    monkeypatch, order, batch_size, grad_accum_steps
):
    def read(world, rank):
        """Return where each sequence of three steps begins, as one process reads them."""
        monkeypatch.setattr(distributed, "world_size", lambda: world)
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        batches = data.Batches(np.arange(145, dtype=np.uint16), batch_size, 4, order)
        part = distributed.part_of_step(batch_size, grad_accum_steps)
        batches.take(part.together, part.rows)
        steps = [[next(batches)[0] for _ in range(part.passes)] for _ in range(3)]
        found = [[int(i) for x in step for i in x[:, 0]] for step in steps]
        return found, json.dumps(batches.state_dict())

    whole, position = read(1, 0)
    for world in (2, 3, 6):
        parts = [read(world, rank) for rank in range(world)]
        assert {state for _, state in parts} == {position}, "the position tells their number"
        for step, expected in enumerate(whole):
            found = [i for starts, _ in parts for i in starts[step]]
            assert sorted(found) == sorted(expected), "other tokens than one process reads"
            if order == "sequential":
                assert len({*found}) == len(found) == batch_size * grad_accum_steps


def test_a_step_that_does_not_divide_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "world_size", lambda: 8)
    config = TrainConfig(batch_size=6, grad_accum_steps=2, seq_len=6)
    with pytest.raises(ValueError, match="don't divide among 8 .* multiple of 4 as batch_size"):
        list(run.train(tiny_gpt(), TOKENS, config, FP32, save=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="start it with torchrun"):
        list(run.train(tiny_gpt(), TOKENS, replace(config, steps=1), FP32, shard=True))


def trained(folder, steps, seen=None, **options) -> list[float]:
    """Return the losses of a run of so many steps, and in `seen` what it was made of."""
    torch.manual_seed(0)
    config = TrainConfig(
        steps=steps, batch_size=6, grad_accum_steps=2, seq_len=6, lr=1e-2, grad_clip=0.1
    )
    with pytest.MonkeyPatch.context() as patch:
        if seen is not None:
            patch.setattr(training.Trainer, "_next_batch", noted(seen, "ids", "_next_batch"))
            patch.setattr(training.Trainer, "_clip", noted(seen, "gradients", "_clip"))
        model = tiny_gpt()
        records = run.train(
            model, TOKENS, config, FP32, save=folder, save_every=4, order="random", **options
        )
        losses = [record["loss"] for record in records]
    if seen is not None:
        seen["held"] = distributed.held(model)
    return losses


def noted(seen, name, method):
    known = getattr(training.Trainer, method)
    seen[name] = []

    def call(self):
        result = known(self)
        if method == "_next_batch":
            seen[name].append(result[0].tolist())
        elif not seen[name]:
            named = self.model.named_parameters()
            seen[name] = {n: distributed.whole(p.grad).numpy().copy() for n, p in named}
        return result

    return call


def saving(folder):
    return [trained(Path(folder) / f"{shard}", 4, shard=shard) for shard in (False, True)]


def going_on(folder) -> dict:
    """Go on from both checkpoints of `saving`, in a copy, with the whole model and sharded."""
    found = {}
    ways = [(False, True), (True, False), (True, True)]
    for began, shard in ways if distributed.world_size() > 1 else [(False, False), (True, False)]:
        seen, place = {}, Path(folder) / f"{began}-{shard}-{distributed.world_size()}"
        if distributed.rank() == 0:
            shutil.copytree(Path(folder) / f"{began}", place)
        found[began, shard] = trained(place, 12, seen, shard=shard), seen
    return found


def in_order(parts) -> list:
    """Return the sequences of eight steps, read by several processes, as one would read them."""
    passes = len(parts[0]) // 8
    rounds = [rows for together in zip(*parts, strict=True) for rows in together]
    assert len(rounds) == 8 * passes * len(parts)
    return [row for rows in rounds for row in rows]


def test_saved_on_two_a_run_goes_on_on_one_or_three(tmp_path):
    seen = {}
    first = trained(tmp_path / "whole", 4)
    rest = trained(tmp_path / "whole", 12, seen)
    for losses in (each for both in together(2, saving, tmp_path) for each in both):
        assert losses == pytest.approx(first, abs=1e-5)
    for found in ([going_on(tmp_path)], together(3, going_on, tmp_path)):
        for how, (losses, noted_first) in found[0].items():
            where = f"on {len(found)}, saved and going on sharded: {how}"
            assert losses[0] == pytest.approx(rest[0], abs=1e-6), where
            assert losses == pytest.approx(rest, abs=1e-4), where
            assert distance(noted_first["gradients"], seen["gradients"]) < 1e-5, where
            read = in_order([each[how][1]["ids"] for each in found])
            assert read == in_order([seen["ids"]]), f"{where}: other tokens"
            held = [each[how][1]["held"] for each in found]
            assert sum(held) == seen["held"] * (1 if how[1] else len(found)), f"{where}: {held}"


def failing(folder, who):
    """Fail in both processes alike, or in rank 1 while the other waits or is done; keep it."""
    sys.stderr = open(Path(folder) / f"err.{os.environ['RANK']}", "w")
    try:
        with distributed.joined():
            torch.distributed.barrier()
            if distributed.rank() == 1 or who == "both":
                raise ValueError("this can't be trained on")
            if who == "one":
                torch.distributed.barrier()
    except (ValueError, distributed.DistributedError) as error:
        print(error, file=sys.stderr, flush=True)
        time.sleep(3)  # rank 0 keeps the store here, where no torchrun does
        sys.exit(1)


@pytest.mark.long
@pytest.mark.parametrize("who", ["both", "one", "one at the end"])
def test_what_both_refuse_is_said_once_and_what_one_refuses_too(tmp_path, who):
    assert ends(start(2, failing, str(tmp_path), who)) == [1, 1]
    said = [(tmp_path / f"err.{r}").read_text().split(",")[0].strip() for r in (0, 1)]
    refused = "this can't be trained on"
    assert said == ([refused, ""] if who == "both" else ["another process has ended", refused])


def interrupted(folder, how):
    """Train; rank 1 alone is told to end, while it reads its batch of step 3."""
    step = training.Trainer._next_batch

    def gone():
        raise RuntimeError("no store answers")

    def press(self):
        if self.done == 3 and distributed.rank() == 1:
            if how == "Ctrl-C":
                signal.raise_signal(signal.SIGINT)
            else:
                distributed._watching._tell = gone
                time.sleep(2)  # until it notices
        return step(self)

    training.Trainer._next_batch = press
    try:
        with distributed.joined():
            trained(Path(folder) / "run", 8, log_file=Path(folder) / "run.jsonl")
    except KeyboardInterrupt:
        sys.exit(130)


@pytest.mark.parametrize("how, done", [("Ctrl-C", 4), ("torchrun is gone", 3)])
def test_ctrl_c_stops_all_at_one_step_and_the_run_goes_on(tmp_path, how, done):
    assert ends(start(2, interrupted, str(tmp_path), how)) == [130, 130], "one waits for the other"
    assert checkpoint.load(tmp_path / "run")["done"] == done
    whole = trained(tmp_path / "whole", 8)
    trained(tmp_path / "run", 8, log_file=tmp_path / "run.jsonl")
    records = read_log(tmp_path / "run.jsonl")[1]
    assert [r["step"] for r in records] == list(range(8))
    assert [r["loss"] for r in records] == pytest.approx(whole, abs=1e-5)


def hanging(folder, how):
    """Train; rank 1 stays in step 2 for ever, or rank 0 takes its time to save."""
    sys.stderr = open(Path(folder) / f"err.{os.environ['RANK']}", "w")
    distributed.SILENCE, distributed.PATIENCE = 2, 8
    step, save = training.Trainer._next_batch, checkpoint.save

    def stay(self):
        if self.done == 2 and distributed.rank() == 1:
            time.sleep(60) if how == "sleeps" else signal.raise_signal(signal.SIGSTOP)
        return step(self)

    def slowly(*args, **kwargs):
        time.sleep(12)
        return save(*args, **kwargs)

    if how == "saves":
        checkpoint.save = slowly
    else:
        training.Trainer._next_batch = stay
    with distributed.joined():
        trained(Path(folder) / "run", 5)


@pytest.mark.long
@pytest.mark.parametrize(
    "how, what", [("sleeps", "has not left its batch"), ("stops", "gives no sign of life")]
)
def test_a_rank_that_hangs_is_named_with_its_step_and_the_run_ends(tmp_path, how, what):
    if how == "stops" and sys.platform == "win32":
        pytest.skip("Windows stops no process")
    waiting, stuck = start(2, hanging, str(tmp_path), how)
    assert ends([waiting]) == [1], "rank 0 waits in silence"
    stuck.kill()
    said = (tmp_path / "err.0").read_text()
    assert f"rank 1 {what} in step 2 for " in said
    assert ": 1 of 2 processes wait for it" in said


@pytest.mark.long
def test_a_slow_checkpoint_is_waited_for(tmp_path):
    assert ends(start(2, hanging, str(tmp_path), "saves")) == [0, 0]
    said = (tmp_path / "err.1").read_text()
    assert "rank 0 has not left its update, validation or checkpoint in step 3 for " in said


def test_what_cannot_be_joined_is_said(monkeypatch):
    (alone,) = environments(1)
    for name, value in (alone | {"LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(distributed.DistributedError, match="--nproc-per-node 1, or hide the GPUs"):
        with distributed.joined():
            pass
    monkeypatch.undo()
    with distributed.joined():  # without torchrun there is nothing to join
        assert (distributed.world_size(), distributed.rank()) == (1, 0)
        assert distributed.launcher() == "python" and not torch.distributed.is_initialized()


COMMAND = ["--text", "my.txt", "--init-from", "begun", "--dtype", "float32", "--order", "random"]
COMMAND += ["--seq-len", "8", "--batch-size", "4", "--grad-accum-steps", "1", "--lr", "1e-2"]
COMMAND += ["--val-fraction", "0.2", "--grad-clip", "1"]


def place(folder) -> None:
    """Put a text, and weights that say the sizes of a model, into a folder."""
    (folder / "my.txt").write_text("To be, or not to be, that is the question. " * 40)
    sizes = GPTConfig(block_size=8, n_layer=2, n_head=2, n_embd=8)
    GPT(sizes).save_pretrained(folder / "begun")


def command(folder, *options, processes=1):
    """Return a Popen of `train`, typed in a folder."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    typed = [*(launcher if processes > 1 else ()), "-m", "gpt2lite", "train", *COMMAND, *options]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    env |= {"darwin": {"GLOO_SOCKET_IFNAME": "lo0"}, "win32": {"USE_LIBUV": "0"}}.get(
        sys.platform, {}
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *typed], cwd=folder, env=env, **pipes)


def records_of(path) -> list:
    """Return what a log says of each step but for its times."""
    kept = ("step", "loss", "lr", "grad_norm", "validation")
    return [{name: r.get(name) for name in kept} for r in read_log(path)[1]]


def close(some, others) -> bool:
    """Say whether two logs' records agree."""
    return len(some) == len(others) and all(
        a == pytest.approx(b, abs=1e-4) for a, b in zip(some, others, strict=True)
    )


def test_torchrun_is_the_same_command_log_and_checkpoint(tmp_path):
    place(tmp_path)
    files = ["--steps", "4", "--save-every", "2"]
    one = command(tmp_path, *files, "--log-file", "one.jsonl")
    files += ["--log-file", "two.jsonl", "--save", "run", "--export", "out"]
    two = command(tmp_path, *files, processes=2)
    (_, err), (out, err_of_two) = one.communicate(timeout=120), two.communicate(timeout=120)
    assert (one.returncode, two.returncode) == (0, 0), err + err_of_two
    assert out == "done: 4 steps\n", "rank 0 alone prints"
    assert err_of_two.count(" 0/4 [") == err.count(" 0/4 [") == 1, "one bar shows all"
    assert close(*(records_of(tmp_path / f"{name}.jsonl") for name in ("two", "one")))
    head = read_log(tmp_path / "two.jsonl")[0]
    assert head["command"].startswith("torchrun --nproc-per-node 2 -m gpt2lite train --text my.txt")
    assert head["hardware"].startswith("2 x ")
    assert checkpoint.load(tmp_path / "run")["done"] == 4
    assert GPT.from_pretrained(tmp_path / "out").config.n_embd == 8


def test_torchrun_takes_no_option_of_ours_for_its_own():
    from torch.distributed.run import parse_args

    fields = {*inspect.signature(__main__.train).parameters} - {"config"}
    fields |= vars(TrainConfig()).keys()
    for option in ("--" + name.replace("_", "-") for name in fields):
        ours = ["train", option, "1", "--help"]
        given = parse_args(["--nproc-per-node", "2", "-m", "gpt2lite", *ours])
        assert given.training_script_args == ours and given.nproc_per_node == "2", option


def lines(path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def reached(path, n, process) -> None:
    """Wait until a log has n lines."""
    while lines(path) < n:
        assert process.poll() is None, f"it ended with {lines(path)} lines: {process.communicate()}"
        time.sleep(0.001)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for torchrun's workers")
@pytest.mark.parametrize("load", [0, 2])
def test_a_worker_killed_in_any_step_costs_a_restart_and_nothing_else(tmp_path, load):
    place(tmp_path)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(load)]
    steps, chance, restarts = 60, random.Random(load), []
    options = ["--steps", str(steps), "--save-every", "1", "--dropout", "0.1"]

    def start(name):
        files = ["--log-file", f"{name}.jsonl", "--save", name]
        return command(tmp_path, *options, *files, processes=2)

    try:
        whole = start("whole")
        assert whole.communicate(timeout=300) and whole.returncode == 0
        for number in range(20):
            log, run = tmp_path / f"{number}.jsonl", start(f"{number}")
            reached(log, chance.randint(2, steps // 2), run)
            time.sleep(chance.uniform(0, 0.02))  # anywhere in a step, or while it is being saved
            workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            assert len(workers) == 2
            os.kill(int(chance.choice(workers)), signal.SIGKILL)
            killed, there = time.monotonic(), lines(log)
            run.communicate(timeout=60)
            assert run.returncode != 0 and lines(log) < steps, "it was done before it was killed"
            run = start(f"{number}")  # the outer loop's second round
            reached(log, there + 2, run)  # the last one may be done again
            restarts.append(time.monotonic() - killed)
            assert run.communicate(timeout=300) and run.returncode == 0
            assert records_of(log) == records_of(tmp_path / "whole.jsonl"), f"run {number}"
    finally:
        for burner in burners:
            burner.kill()
        print(f"{len(restarts)} of 20; the slowest restart took {max(restarts, default=0):.0f} s")
    assert max(restarts) < 60
