"""A step, stopping and going on: whole or not at all, the same as never stopped."""

import copy
import math
import signal
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from helpers import tiny_gpt

from gpt2lite import accounting, checkpoint, data, training
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.precision import Precision

CPU = torch.device("cpu")
FP32 = Precision(CPU, torch.float32, False, "exact, for the tests")
SCALED = Precision(CPU, torch.float32, True, "a scaler, and nothing else of fp16")
FP16 = Precision(CPU, torch.float16, True, "as on a T4")
TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint16)


def trainer(order="random", steps=8, dropout=0.1, tokens=TOKENS, precision=FP32, **settings):
    """Return a Trainer that is the same each time it is made."""
    torch.manual_seed(0)
    B, T = settings.pop("batch_size", 4), 6
    config = TrainConfig(
        **{"steps": steps, "batch_size": B, "seq_len": T, "lr": 1e-2, "min_lr": 1e-3} | settings
    )
    model = tiny_gpt(dropout=dropout)
    batches = data.Batches(tokens, B, T, order, vocab_size=61)
    return training.Trainer(model, batches, config, precision)


def same_weights(a, b) -> bool:
    """Say whether two runs' models are equal, bit for bit."""
    return all(map(torch.equal, a.model.parameters(), b.model.parameters()))


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


def test_a_trunk_cools_down_at_several_steps_as_runs_of_their_own_would():
    trunk, ends = trainer(min_lr=None), {}
    for _ in trunk:
        if trunk.done in (2, 5):
            ends[trunk.done] = copy.deepcopy(trunk.state_dict())
    for done, state in ends.items():
        settings = {"steps": done + 3, "min_lr": None, "cooldown_steps": 3}
        alone, branch = trainer(**settings), trainer(**settings)
        expected = list(alone)
        branch.load_state_dict(state)
        records = list(branch)
        for name in ("step", "loss", "lr"):
            assert [r[name] for r in records] == [r[name] for r in expected[done:]]
        assert same_weights(alone, branch)
        assert [r["lr"] for r in records] == pytest.approx([1e-2, 2e-2 / 3, 1e-2 / 3])


def test_two_trainers_that_go_on_from_one_state_share_nothing():
    trunk = trainer(min_lr=None)
    for _ in range(3):
        trunk.step()
    one, other, state = trainer(min_lr=None), trainer(min_lr=None), trunk.state_dict()
    for branch in (one, other):
        branch.load_state_dict(state)
        list(branch)
    assert same_weights(one, other), "the first to go on has moved the moments of the state"


def test_a_cooldown_that_would_have_begun_before_the_checkpoint_is_refused():
    run = trainer(min_lr=None)
    for _ in range(5):
        run.step()
    state = run.state_dict()
    trainer(min_lr=None, cooldown_steps=4).load_state_dict(state)  # begins at step 4, from lr
    with pytest.raises(training.TrainingError, match="step 4 would have had lr=0.008, .* had 0.01"):
        trainer(min_lr=None, cooldown_steps=5).load_state_dict(state)
    cosine = trainer()
    for _ in range(5):
        cosine.step()
    with pytest.raises(training.TrainingError, match="where the rate is constant"):
        trainer(cooldown_steps=2).load_state_dict(cosine.state_dict())
    fresh = trainer().state_dict()
    trainer(cooldown_steps=8).load_state_dict(fresh)
    cooled = trainer(min_lr=None, cooldown_steps=3)
    list(cooled)
    trainer(min_lr=None, cooldown_steps=3).load_state_dict(cooled.state_dict())
    with pytest.raises(training.TrainingError, match="before the cooldown"):
        trainer(min_lr=None, cooldown_steps=3, steps=20).load_state_dict(cooled.state_dict())
    with pytest.raises(training.TrainingError, match="before the cooldown"):
        trainer(min_lr=None).load_state_dict(cooled.state_dict())


def test_train_yields_each_record_and_leaves_a_trained_model():
    run = trainer(dropout=0.0)
    expected = [r["loss"] for r in trainer(dropout=0.0)]
    records = list(training.train(run.model, run.batches, run.config, FP32))
    assert [r["loss"] for r in records] == expected and expected[-1] < expected[0]


def test_a_model_that_does_not_compile_runs_as_written(monkeypatch):
    idx = torch.zeros(1, 6, dtype=torch.long)

    def broken(model):
        raise RuntimeError("no compiler here\nand a long trace")

    model = tiny_gpt()
    monkeypatch.setattr(torch, "compile", broken)
    forward, loss, reason = training.maybe_compile(model, idx)
    assert (forward, loss) == (model, training.cross_entropy)
    assert reason == "not compiled: RuntimeError: no compiler here"
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx))
    forward, _, reason = training.maybe_compile(model, idx)
    assert reason.startswith("compiled in") and torch.equal(forward(idx), model(idx))
    assert all(p.grad is None for p in model.parameters())
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx).detach())
    forward, _, reason = training.maybe_compile(model, idx)
    assert forward is model and "does not require grad" in reason, "a step needs both directions"
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx))
    expected, run = [r["loss"] for r in trainer()], trainer()
    assert run.compile().startswith("compiled in") and run.forward is not run.model
    assert [r["loss"] for r in run] == pytest.approx(expected, abs=1e-5), "its trial drew dropout"


def test_what_is_compiled_is_a_step_as_it_will_be(monkeypatch):
    seen = []

    def compiled(model, idx):
        setting = torch.backends.mkldnn.matmul.fp32_precision
        logits = model(idx)
        seen.append((model.training, logits.dtype, idx.shape, idx.stride(), setting))
        return logits

    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: compiled(model, idx))
    run = trainer(precision=Precision(CPU, torch.bfloat16, False, ""))
    run.model.eval()
    run.compile()
    run.step()
    trial, step = seen
    assert trial == step, "the first step would compile again"


def test_accumulated_batches_make_the_big_batchs_step():
    big = trainer("sequential", dropout=0.0, grad_clip=0.1)
    small = trainer("sequential", dropout=0.0, grad_clip=0.1, batch_size=1, grad_accum_steps=4)
    for one, four in zip(big, small, strict=True):
        for name in ("loss", "grad_norm", "lr"):
            assert one[name] == pytest.approx(four[name], abs=1e-4), (
                f"{name}: was each loss divided by their number?"
            )


def test_a_step_is_the_textbooks(monkeypatch):
    config = {"steps": 3, "dropout": 0.0, "grad_clip": 0.05, "warmup_steps": 2}
    run, peer = trainer(**config), trainer(**config)
    for step, rate in enumerate((5e-3, 1e-2, 1e-2)):
        x, y = next(peer.batches)
        loss = torch.nn.functional.cross_entropy(peer.model(x).flatten(0, 1), y.flatten())
        peer.optimizer.zero_grad()
        loss.backward()
        grads = [p.grad for p in peer.model.parameters()]
        norm = torch.cat([g.flatten() for g in grads]).norm().item()
        for g in grads:
            g.mul_(0.05 / norm)
        for group in peer.optimizer.param_groups:
            group["lr"] = rate
        peer.optimizer.step()
        record = run.step()
        assert (record["step"], record["skipped"]) == (step, 0)
        assert record["lr"] == pytest.approx(rate)
        assert record["loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-4), "not the norm before clipping"
    for p, q in zip(run.model.parameters(), peer.model.parameters(), strict=True):
        ours, theirs = run.optimizer.state[p], peer.optimizer.state[q]
        for name in ("exp_avg", "exp_avg_sq"):  # AdamW's step hides a gradient's scale
            assert torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-7), name


def test_the_norm_is_that_of_all_gradients_without_clipping_too():
    record = trainer(dropout=0.0).step()
    assert record["grad_norm"] == pytest.approx(
        trainer(dropout=0.0, grad_clip=1e9).step()["grad_norm"]
    )


def test_a_record_has_milliseconds_tokens_per_second_and_the_share_of_the_peak(monkeypatch):
    monkeypatch.setattr(accounting, "peak_flops", lambda name, dtype: 1e9)
    run, times = trainer(grad_accum_steps=2), iter((10.0, 10.5))
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(times))
    record = run.step()
    assert (record["ms"], record["tokens_per_s"], record["memory"]) == (500, 4 * 6 * 2 / 0.5, 0)
    flops = 3 * accounting.forward_flops(run.model.config, 6)["total"] / 6
    assert record["mfu"] == pytest.approx(flops * 96 / 1e9)
    monkeypatch.undo()
    assert "mfu" not in trainer().step(), "nobody knows the peak of this CPU"


def test_autocast_computes_in_the_format_asked_for():
    seen = []
    for precision in (FP32, FP16, Precision(CPU, torch.bfloat16, False, "")):
        run = trainer(dropout=0.0, precision=precision)
        run.model.h[0].mlp.c_fc.register_forward_hook(lambda *a: seen.append(a[-1].dtype))
        run.step()
    assert seen == [torch.float32, torch.float16, torch.bfloat16]


def test_a_step_fetches_the_next_batch_while_it_works_and_saves_what_it_has_used():
    run, plain = trainer("sequential"), data.Batches(TOKENS, 4, 6)
    run.step()
    next(plain)
    assert run.batches.position == 48, "the next batch was not fetched ahead"
    assert run.state_dict()["batches"]["position"] == plain.position == 24


@pytest.mark.parametrize("precision", [FP32, SCALED])
def test_a_run_goes_on_under_a_scaler_or_without(precision):
    exact, other = trainer(dropout=0.0, precision=precision), trainer(dropout=0.0, precision=SCALED)
    exact.step()
    other.load_state_dict(exact.state_dict())
    assert other.step()["loss"] == pytest.approx(exact.step()["loss"], abs=1e-5)
    plain = trainer(dropout=0.0)
    plain.load_state_dict(other.state_dict())
    assert plain.step()["scale"] == 1


def test_skipped_steps_and_the_scale_are_restored():
    run, again = trainer(precision=SCALED), trainer(precision=SCALED)
    run.step()
    run.scaler.update(2.0**10)
    run.skipped = 7
    again.load_state_dict(run.state_dict())
    assert again.skipped == 7 and again.step()["scale"] == 2**10


def test_a_gpus_random_numbers_are_kept_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a stand-in")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    given = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", given.append)
    run = trainer(precision=Precision(torch.device("cuda"), torch.float32, False, "a stand-in"))
    run.load_state_dict(run.state_dict())
    assert given == [torch.tensor([7])]


@pytest.mark.parametrize("precision", [FP32, SCALED])
def test_an_interrupted_step_did_not_happen(precision):
    expected, run = list(trainer(precision=precision)), trainer(precision=precision)
    losses = [run.step()["loss"] for _ in range(2)]  # with dropout: its random numbers count too

    def interrupt(*_):
        handle.remove()
        raise KeyboardInterrupt

    handle = run.model.ln_f.register_full_backward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    saved = copy.deepcopy(run.state_dict())
    losses += [r["loss"] for r in run]
    assert losses == [r["loss"] for r in expected]
    other = trainer(precision=precision)
    other.load_state_dict(saved)
    assert [r["loss"] for r in other] == losses[2:], "saved in the middle of a step"


def test_ctrl_c_waits_for_the_end_of_an_update_and_of_the_loops_body():
    whole = trainer()
    list(whole)
    run, records = trainer(), []
    update = run.optimizer.step

    def pressed(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # impatient: even so the update is finished
        return update(*args, **kwargs)

    run.optimizer.step = pressed
    before = signal.getsignal(signal.SIGINT)
    while run.done < 8:
        with pytest.raises(KeyboardInterrupt):
            for record in run:
                records.append(record["step"])
        assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C has another meaning afterwards"
    assert records == list(range(8)) and same_weights(run, whole)


def test_a_second_ctrl_c_ends_the_loops_body():
    run, seen = trainer(), []
    with pytest.raises(KeyboardInterrupt):
        for record in run:
            for press in range(3):
                seen.append((record["step"], press))
                signal.raise_signal(signal.SIGINT)
    assert seen == [(0, 0), (0, 1)] and run.done == 1


def test_ctrl_c_does_not_wait_for_all_batches_of_a_step():
    whole = trainer(grad_accum_steps=4)
    expected = [record["loss"] for record in whole]
    run, passes = trainer(grad_accum_steps=4), []

    def press(*_):
        passes.append(run.done)
        if len(passes) == 2:
            signal.raise_signal(signal.SIGINT)

    run.model.register_forward_hook(press)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    assert len(passes) == 2 and run.done == 0
    assert [record["loss"] for record in run] == expected and same_weights(run, whole)


def test_two_runs_read_in_turn_hold_ctrl_c_and_give_it_back():
    before, pairs = signal.getsignal(signal.SIGINT), []
    assert len(list(zip(trainer(), trainer(), strict=True))) == 8
    assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C is dead after it"
    one, other = trainer(), trainer()
    with pytest.raises(KeyboardInterrupt):
        for pair in zip(one, other, strict=True):
            pairs.append(pair)
            signal.raise_signal(signal.SIGINT)
    assert len(pairs) == 1 and other.done == 1, "it waited longer than for the next of each"
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_can_train_and_a_broken_loop_gives_ctrl_c_back():
    records, before = [], signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: records.extend(trainer()))
    thread.start()
    thread.join()
    assert len(records) == 8
    for _ in trainer():
        break
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
def test_two_hundred_interrupts_change_nothing():
    pace = np.median([record["ms"] for record in trainer(steps=30)]) / 1e3
    moments, run, records, interrupts = np.random.default_rng(0), trainer(steps=10**4), [], 0
    alarm = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while interrupts < 200:
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-4, 3 * pace))
                for record in run:
                    records.append(record)
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
    whole = trainer(steps=10**4)
    expected = [whole.step() for _ in records]
    assert run.done == len(records) > 50, "a record is lost or there twice"
    for name in ("step", "loss", "grad_norm", "lr"):
        assert [r[name] for r in records] == [r[name] for r in expected], f"another {name}"
    assert same_weights(run, whole), "an update was cut, lost or made twice"


def test_interrupting_train_ends_the_cell_and_keeps_the_model(monkeypatch, capsys):
    run, records = trainer(), []
    step = training.Trainer._step

    def interrupted(self, hold):
        if self.done == 3:
            raise KeyboardInterrupt
        return step(self, hold)

    monkeypatch.setattr(training.Trainer, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        for record in training.train(run.model, run.batches, run.config, FP32):
            records.append(record)
    assert len(records) == 3
    assert capsys.readouterr().out == "interrupted after 3 of 8 steps\n"


def overflow(run, times):
    """Let the gradients of a run's first `times` backward passes overflow."""
    run.model.wpe.weight.register_hook(
        lambda grad: grad * math.inf if next(count) < times else grad
    )
    count = iter(range(10**6))


def test_gradients_that_are_not_finite_stop_a_run_with_advice():
    run = trainer()
    overflow(run, 1)
    before = [p.clone() for p in run.model.parameters()]
    with pytest.raises(training.TrainingError, match="Lower lr"):
        run.step()
    assert all(map(torch.equal, before, run.model.parameters())), "judged after the update"


def test_a_scaler_skips_such_steps_and_gives_up_after_fifty():
    run = trainer(steps=99, precision=SCALED)
    overflow(run, 2)
    before = [p.clone() for p in run.model.parameters()]
    assert [run.step()["skipped"] for _ in range(2)] == [1, 2]
    assert all(map(torch.equal, before, run.model.parameters()))
    record = run.step()
    assert record["skipped"] == 0 and record["scale"] == 2**14, "each halves the scale"
    run = trainer(steps=99, precision=SCALED)
    overflow(run, 50)
    with pytest.raises(training.TrainingError, match="step 49: 50 steps in a row"):
        list(run)
    assert run.done == 49
    assert math.isfinite(run.step()["grad_norm"]), "the same Trainer can't go on"


def test_a_run_that_never_made_an_update_is_not_done():
    run = trainer(steps=5, precision=SCALED)
    overflow(run, 5)
    with pytest.raises(training.TrainingError, match="5 steps in a row"):
        list(run)


def test_a_loss_that_is_no_number_is_not_the_scales_fault():
    run = trainer(precision=FP16)
    with torch.no_grad():
        run.model.ln_f.weight[:] = math.nan
    with pytest.raises(training.TrainingError, match="no smaller scale"):
        run.step()


def test_a_scaler_does_not_change_the_norm():
    for scaled, plain in zip(
        trainer(dropout=0.0, precision=SCALED), trainer(dropout=0.0), strict=True
    ):
        assert scaled["scale"] == 2**16
        assert scaled["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-5), (
            "was the norm taken before unscale_?"
        )


def test_fp16_with_a_scaler_has_the_norm_of_fp32():
    runs = trainer(dropout=0.0, precision=FP16), trainer(dropout=0.0)
    for half, plain in zip(*runs, strict=True):
        assert half["scale"] == 2**16 and half["skipped"] == 0
        assert half["grad_norm"] == pytest.approx(plain["grad_norm"], rel=2e-3)
        assert half["loss"] == pytest.approx(plain["loss"], rel=1e-3)


def test_out_of_memory_says_which_knob_to_turn_and_frees_what_the_step_held(monkeypatch):
    run, held = trainer(), []

    def full(x):
        logits = torch.zeros(3)
        held.append(weakref.ref(logits))
        raise torch.OutOfMemoryError("CUDA out of memory")

    run.forward = full
    with pytest.raises(training.OutOfMemory, match="double grad_accum_steps") as kept:
        run.step()
    assert held[0]() is None, f"a notebook that keeps {kept.type} keeps the logits too"
    run.forward = run.model
    assert run.step()["loss"] == trainer().step()["loss"], "its batch was lost"


@pytest.mark.parametrize(
    "plant, message",
    [
        (lambda s: s.pop("done"), "state has no done"),
        (lambda s: s.update(extra=1), "foreign extra"),
        (lambda s: s.update(done=-1), "fewer than 0"),
        (lambda s: s.update(skipped=-1), "fewer than 0"),
        (lambda s: s.update(done="3"), "state.done is str"),
        (lambda s: s.update(model=None), "state.model is NoneType"),
        (lambda s: s["config"].pop("betas"), "config has no betas"),
        (lambda s: s["config"].update(steps="8"), "config.steps is str"),
        (lambda s: s["config"].update(cooldown_steps=None), "config.cooldown_steps is NoneType"),
        (lambda s: s["model"].pop("wte.weight"), "has no wte.weight"),
        (lambda s: s["model"].update({"ln_f.bias": torch.ones(15)}), r"\(15,\), not \(16,\)"),
        (lambda s: s["model"].update({"ln_f.bias": torch.ones(16).int()}), "torch.int32"),
        (lambda s: s["model"].update({"ln_f.bias": [0.0] * 16}), "is list, no tensor"),
        (lambda s: s["optimizer"].pop(3), "optimizer has no 3"),
        (lambda s: s["optimizer"][0].pop("exp_avg"), "optimizer.0 has no exp_avg"),
        (lambda s: s["optimizer"][0].update(exp_avg=torch.ones(1)), r"exp_avg is .* \(1,\)"),
        (lambda s: s["optimizer"][0].update(exp_avg_sq=torch.ones(61, 16).half()), "float16"),
        (lambda s: s["optimizer"][0].update(step=torch.ones(2)), r"step is .* \(2,\)"),
        (lambda s: s["scaler"].pop("scale"), "scaler has no scale"),
        (lambda s: s["scaler"].update(scale="big"), "scaler.scale is str"),
        (lambda s: s["batches"].update(position=None), "position is NoneType"),
        (lambda s: s["batches"].update(position=10**9), "place in the text"),
        (lambda s: s["batches"]["generator"].update(bit_generator="MT"), "place in the text"),
        (lambda s: s["random"].update(cpu=torch.zeros(3)), "random numbers"),
        (lambda s: s["random"].pop("cpu"), "random numbers"),
        (lambda s: s.update(random=None), "random numbers"),
    ],
)
def test_nothing_planted_in_a_checkpoint_gets_further_than_its_name(plant, message):
    run, other = (trainer(dropout=0.0, precision=SCALED) for _ in range(2))
    run.step()
    state = copy.deepcopy(run.state_dict())
    plant(state)
    with pytest.raises(ResumeError, match=message):
        other.load_state_dict(state)
    other.load_state_dict(run.state_dict())
    assert other.step()["loss"] == run.step()["loss"]
