"""The small runs of notebook 05, its sicknesses, and the sweep that is recorded."""

import math
import string

import numpy as np
import pytest
import torch

from gpt2lite.course import sick, small_runs
from gpt2lite.course.small_runs import losses_of, small_run, validated
from gpt2lite.log import read_log

LETTERS = np.frombuffer((string.ascii_lowercase * 40).encode(), np.uint8)
SIZES = {"n_layer": 1, "n_head": 2, "n_embd": 16, "batch_size": 4, "seq_len": 8, "steps": 6}


def run(**settings):
    return small_run(LETTERS, **SIZES | settings)


def test_a_seed_decides_weights_and_batches_whatever_the_rate():
    one, two, other = run(seed=1), run(seed=1, lr=1e-4), run(seed=2)
    assert torch.equal(one.model.wte.weight, two.model.wte.weight)
    assert torch.equal(next(one.batches)[0], next(two.batches)[0])
    assert not torch.equal(one.model.wte.weight, other.model.wte.weight)


def test_a_rate_warms_up_and_ends_at_a_tenth():
    rates = [record["lr"] for record in run(lr=1e-2, steps=12)]
    assert rates[0] == 5e-3 and max(rates) == pytest.approx(rates[1]) == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-3, rel=0.3)


def test_a_run_that_breaks_ends_in_nan():
    assert all(map(math.isfinite, losses_of(run())))
    broken = run(lr=30.0, steps=200)
    losses = losses_of(sick.log_by_hand(broken))
    assert math.isnan(losses[-1]) and len(losses) < 200 and all(map(math.isfinite, losses[:-1]))


def test_training_and_validation_loss_are_taken_at_the_same_steps():
    steps, training, validation = validated(run(), LETTERS[:100], 3)
    losses = losses_of(run())
    assert steps.tolist() == [3, 6] and training.tolist() == [
        pytest.approx(np.mean(losses[:3])),
        pytest.approx(np.mean(losses[3:])),
    ]
    assert validation[1] < validation[0] < math.log(256) + 1


def moved(model):
    """Say at which positions the logits change with the last token."""
    idx = torch.arange(8)[None]
    other = idx.clone()
    other[0, -1] = 99
    with torch.no_grad():
        return (model(idx) - model(other)).abs().amax(-1)[0] > 1e-6


def test_each_sickness_is_the_mistake_that_it_names():
    assert moved(run().model).tolist() == [False] * 7 + [True]
    assert moved(sick.no_causal_mask(run()).model).all()
    alone = sick.no_attention(run()).model
    with torch.no_grad():
        logits = alone(torch.tensor([[5, 7, 5, 5]]))
    assert torch.equal(logits[0, 0], logits[0, 3]), "no position, no context"
    x, y = next(sick.targets_are_inputs(run()).batches)
    assert torch.equal(x, y) and torch.equal(x, next(run().batches)[0])
    assert len(set(losses_of(sick.optimizer_of_a_copy(sick.one_batch(run()))))) == 1
    same = sick.one_batch(run())
    assert next(same.batches)[0] is next(same.batches)[0]


def test_eight_runs_are_what_their_names_say():
    eight = sick.eight_runs(run)
    assert list(eight) == list(sick.VERDICTS) == list("ABCDEFGH")
    runs = {name: trainer for name, trainer in eight.values()}
    assert runs["no warm-up"].config.warmup_steps == 0 < runs["healthy"].config.warmup_steps
    x, y = next(runs["y = x"].batches)
    assert torch.equal(x, y) and moved(runs["no causal mask"].model).all()
    assert runs["healthy, B = 4"].config.batch_size == 4
    rates = [runs[name].config.lr for name in ("healthy", "rate too high", "diverged")]
    assert rates == sorted(rates) and rates[0] < 0.01 < rates[1]
    assert runs["log by hand"].forward is not runs["log by hand"].model


def test_log_by_hand_is_the_same_while_no_probability_is_0():
    assert losses_of(sick.log_by_hand(run())) == pytest.approx(losses_of(run()), abs=1e-4)


def test_the_sweep_writes_a_line_for_each_run(tmp_path, monkeypatch):
    monkeypatch.setattr(small_runs, "load_text", lambda name: string.ascii_lowercase * 99)
    monkeypatch.setattr(small_runs, "RECORDED", SIZES)
    small_runs.main(tmp_path / "log")
    head, runs = read_log(tmp_path / "log")
    assert head["training"]["steps"] == 6 and len(runs) == 30
    assert {(run["lr"], run["seed"]) for run in runs} == {
        (lr, seed) for lr in small_runs.RATES for seed in range(5)
    }
    found = small_runs.validations(runs[::-1], 0.01)  # in the order of the seeds
    assert found.tolist() == [run["validation"] for run in runs if run["lr"] == 0.01]
