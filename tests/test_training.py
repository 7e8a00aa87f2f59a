"""The training rooms: batches, decay, schedule, one step, stopping and going on."""

import math
import sys
import types
import weakref

import numpy as np
import pytest
import torch
from helpers import tiny_gpt

from gpt2lite import checkpoint, data, training
from gpt2lite.config import TrainConfig
from gpt2lite.precision import Precision

FP32 = Precision(torch.device("cpu"), torch.float32, False, "exact, for the tests")
TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint16)


def trainer(order="random", steps=8, dropout=0.1, tokens=TOKENS, **settings) -> training.Trainer:
    """Return a run that is the same each time it is made."""
    torch.manual_seed(0)
    B, T = settings.pop("batch_size", 4), 6
    config = TrainConfig(
        **{"steps": steps, "batch_size": B, "seq_len": T, "lr": 1e-2, "min_lr": 1e-3} | settings
    )
    model = tiny_gpt(dropout=dropout)
    batches = data.Batches(tokens, B, T, order, vocab_size=61)
    return training.Trainer(model, batches, config, FP32)


def test_training_learns_one_batch_by_heart_and_its_record_says_so():
    records = list(trainer("sequential", steps=60, dropout=0.0, tokens=TOKENS[:25]))
    assert [r["step"] for r in records] == list(range(60))
    assert records[-1]["loss"] < 0.1 * records[0]["loss"]
    assert all(r["grad_norm"] > 0 and r["scale"] == 1 and r["ms"] > 0 for r in records)


def test_every_step_is_in_training_mode_whatever_came_between():
    run, seen = trainer(), []
    run.model.register_forward_hook(lambda module, *_: seen.append(module.training))
    for _ in run:
        run.model.eval()
    assert seen == [True] * 8, "a step ran with dropout off"


def test_accumulated_batches_have_the_big_batchs_gradient():
    big = trainer("sequential", dropout=0.0)
    small = trainer("sequential", dropout=0.0, batch_size=1, grad_accum_steps=4)
    assert big._gradients() == pytest.approx(small._gradients(), abs=1e-5)
    for p, q in zip(big.model.parameters(), small.model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-5), "was each loss divided by their number?"


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    whole = trainer()
    expected = list(whole)
    first = trainer()
    for _ in first:
        if first.done == 3:
            break
    checkpoint.save(tmp_path, first.done, first.state_dict())
    second = trainer()
    torch.manual_seed(99)  # whatever happened before must not matter
    second.load_state_dict(checkpoint.load(tmp_path))
    assert [r["loss"] for r in second] == [r["loss"] for r in expected[3:]]
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_run_goes_on_with_its_own_settings_only():
    state = trainer().state_dict()
    trainer(steps=99).load_state_dict(state)
    with pytest.raises(training.TrainingError, match="weight_decay=0.01, not 0.5"):
        trainer(weight_decay=0.5).load_state_dict(state)
    with pytest.raises(training.TrainingError, match="dropout"):
        trainer(dropout=0.5).load_state_dict(state)


def test_a_run_without_a_scaler_goes_on_where_one_is_needed():
    exact, scaled = trainer(dropout=0.0), trainer(dropout=0.0)
    exact.step()
    scaled.precision = Precision(torch.device("cpu"), torch.float32, True, "as on a T4")
    scaled.scaler = scaled._new_scaler()
    scaled.load_state_dict(exact.state_dict())
    assert scaled.step()["loss"] == pytest.approx(exact.step()["loss"], abs=1e-5)
    exact.load_state_dict(scaled.state_dict())
    assert exact.step()["scale"] == 1


def test_a_gpus_random_numbers_are_kept_too(monkeypatch):
    run, given = trainer(), []
    run.precision = Precision(torch.device("cuda"), torch.float32, False, "a stand-in")
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", given.append)
    run.load_state_dict(run.state_dict())
    assert given == [torch.tensor([7])]


def test_an_interrupted_step_did_not_happen():
    expected, run = list(trainer()), trainer()  # with dropout: its random numbers count too
    iterator, losses = iter(run), []
    losses += [next(iterator)["loss"] for _ in range(2)]

    def interrupt(*_):
        handle.remove()
        raise KeyboardInterrupt

    handle = run.model.ln_f.register_full_backward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    losses += [r["loss"] for r in run]
    assert losses == [r["loss"] for r in expected]


def test_gradients_that_are_not_finite_stop_a_run_with_advice(monkeypatch):
    run = trainer()
    with torch.no_grad():
        run.model.wte.weight[:] = math.inf
    with pytest.raises(training.TrainingError, match="Lower lr"):
        run.step()
    run = trainer(steps=99)
    run.precision = Precision(torch.device("cpu"), torch.float32, True, "a scaler, for the test")
    run.scaler = run._new_scaler()
    with torch.no_grad():
        run.model.wte.weight[:] = math.inf
    with pytest.raises(training.TrainingError, match="50 steps in a row"):
        list(run)
    assert run.scaler.get_scale() < 2.0**16


def test_a_scaler_does_not_change_the_norm():
    run = trainer(dropout=0.0)
    run.precision = Precision(torch.device("cpu"), torch.float32, True, "a scaler, for the test")
    run.scaler = run._new_scaler()
    for scaled, plain in zip(run, trainer(dropout=0.0), strict=True):
        assert scaled["scale"] == 2**16
        assert scaled["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-5), (
            "was the norm taken before unscale_?"
        )


def test_fp16_with_a_scaler_has_the_norm_of_fp32():
    fp16 = Precision(torch.device("cpu"), torch.float16, True, "as on a T4")
    base = trainer(dropout=0.0)
    run = training.Trainer(base.model, base.batches, base.config, fp16)
    for half, plain in zip(run, trainer(dropout=0.0), strict=True):
        assert half["scale"] == 2**16 and half["skipped"] == 0
        assert half["grad_norm"] == pytest.approx(plain["grad_norm"], rel=2e-3)
        assert half["loss"] == pytest.approx(plain["loss"], rel=1e-3)


def test_train_yields_each_record_and_leaves_a_trained_model():
    run = trainer(dropout=0.0)
    expected = [r["loss"] for r in trainer(dropout=0.0)]
    records = list(training.train(run.model, run.batches, run.config, FP32))
    assert [r["loss"] for r in records] == expected and expected[-1] < expected[0]


def test_interrupting_train_ends_its_loop_with_all_records_so_far(monkeypatch, capsys):
    run, step = trainer(), training.Trainer.step

    def interrupted(trainer):
        if trainer.done == 3:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(training.Trainer, "step", interrupted)
    assert len(list(training.train(run.model, run.batches, run.config, FP32))) == 3
    assert capsys.readouterr().out == "interrupted after 3 of 8 steps\n"


def test_a_model_that_does_not_compile_runs_as_written(monkeypatch):
    idx = torch.zeros(1, 6, dtype=torch.long)

    def broken(model):
        raise RuntimeError("no compiler here\nand a long trace")

    model = tiny_gpt()
    monkeypatch.setattr(torch, "compile", broken)
    forward, reason = training.maybe_compile(model, idx)
    assert forward is model and reason == "not compiled: RuntimeError: no compiler here"
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx))
    forward, reason = training.maybe_compile(model, idx)
    assert reason.startswith("compiled in") and torch.equal(forward(idx), model(idx))
    assert all(p.grad is None for p in model.parameters())
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx).detach())
    forward, reason = training.maybe_compile(model, idx)
    assert forward is model and "does not require grad" in reason, "a step needs both directions"
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx))
    base = trainer(dropout=0.0)
    run = training.Trainer(base.model, base.batches, base.config, FP32, compile=True)
    assert run.compiled.startswith("compiled") and run.forward is not run.model
    expected = [r["loss"] for r in trainer(dropout=0.0)]
    assert [r["loss"] for r in run] == pytest.approx(expected, abs=1e-5)


def test_out_of_memory_says_which_knob_to_turn_and_frees_what_the_step_held(monkeypatch):
    run, held = trainer(), []

    def full():
        logits = torch.zeros(3)
        held.append(weakref.ref(logits))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "_gradients", full)
    with pytest.raises(
        training.OutOfMemory, match="halve batch_size and double grad_accum_steps"
    ) as kept:
        run.step()
    assert held[0]() is None, f"a notebook that keeps {kept.type} keeps the logits too"


def test_tensorboard_gets_a_point_for_each_number(monkeypatch):
    points, module = [], types.ModuleType("torch.utils.tensorboard")

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            points.append((name, value, step))

        def flush(self):
            pass

    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    training.TensorBoard("curves").write({"step": 7, "loss": 2.5, "lr": 0.1})
    assert sorted(points) == [("loss", 2.5, 7), ("lr", 0.1, 7)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(training.TrainingError, match="pip install tensorboard"):
        training.TensorBoard("curves")


def test_a_log_goes_on_at_its_offset(tmp_path):
    path = tmp_path / "run.jsonl"
    first = training.Log(path, {"run": 1})
    first.write({"step": 0})
    offset = first.offset
    first.write({"step": 1})  # after the checkpoint: this step will be done again
    again = training.Log(path, {"run": 1}, offset)
    again.write({"step": 1, "again": True})
    assert training.read_log(path) == ({"run": 1}, [{"step": 0}, {"step": 1, "again": True}])


def test_another_runs_log_is_refused_and_stays(tmp_path):
    path = tmp_path / "run.jsonl"
    for content in (b'{"run": 1}\n', b'{"run": 1}\n{"step": 0, "loss": 1}\n{"step": 1}\n'):
        path.write_bytes(content)
        with pytest.raises(training.TrainingError, match="not this run's log"):
            training.Log(path, {"run": 2}, offset=20)
        assert path.read_bytes() == content


def test_a_log_comes_back_without_its_cut_off_line(tmp_path):
    run = trainer()
    log = training.Log(tmp_path / "run.jsonl", training.header(run, "noise", "python"))
    for record in run:
        log.write(record)
    with open(tmp_path / "run.jsonl", "a") as file:
        file.write('{"step": 8, "lo')
    head, records = training.read_log(tmp_path / "run.jsonl")
    assert head["model"]["n_embd"] == 16 and [r["step"] for r in records] == list(range(8))
