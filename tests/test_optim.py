"""Which weights decay, and the learning rate at each step."""

import itertools
import math

import pytest
import torch
from helpers import tiny_gpt

from gpt2lite import GPT, SIZES
from gpt2lite.config import TrainConfig
from gpt2lite.optim import adamw, decay_groups, learning_rate


def test_matrices_decay_and_biases_and_gains_do_not():
    with torch.device("meta"):
        model = GPT(SIZES["gpt2"])
    decayed, kept = (group["params"] for group in decay_groups(model, 0.1))
    assert (len(decayed), len(kept)) == (50, 98)
    assert sum(p.numel() for p in decayed) == 124_318_464
    names = {p: name for name, p in model.named_parameters()}
    assert all("ln_" in names[p] or names[p].endswith("bias") for p in kept)


def test_frozen_weights_are_left_out():
    model = tiny_gpt()
    model.wte.weight.requires_grad = model.ln_f.bias.requires_grad = False
    given = [p for group in decay_groups(model, 0.1) for p in group["params"]]
    assert {*given} == {*model.parameters()} - {model.wte.weight, model.ln_f.bias}


def test_adamw_has_the_settings_and_the_papers_epsilon():
    settings = {"lr": 3e-3, "betas": (0.8, 0.9), "weight_decay": 0.3}
    optimizer = adamw(tiny_gpt(), TrainConfig(**settings))
    matrices, others = optimizer.param_groups
    for group in (matrices, others):
        assert (group["lr"], group["betas"], group["eps"]) == (3e-3, (0.8, 0.9), 1e-8)
        assert group["fused"], "a dozen passes over memory instead of one"
        assert not (group["amsgrad"] or group["maximize"])
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert all(p.dim() == 2 for p in matrices["params"])
    assert isinstance(optimizer, torch.optim.AdamW), "Adam mixes the decay into the gradient"


def test_the_rate_warms_up_and_falls_to_its_end():
    config = TrainConfig(steps=100, lr=1.0, min_lr=0.1, warmup_steps=10)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55), "half way, a cosine is half way down"
    assert rates[100] == pytest.approx(0.1)
    assert rates[5] == pytest.approx(0.6), "the warm-up is linear"
    assert rates[32] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 22 / 90)) / 2)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(200, config) == pytest.approx(0.1), "after its end the cosine rises again"


def test_the_rate_stays_until_the_cooldown_and_falls_linearly():
    config = TrainConfig(steps=100, lr=1.0, warmup_steps=10, cooldown_steps=20)
    rates = [learning_rate(step, config) for step in range(102)]
    assert rates[4] == pytest.approx(0.5) and {*rates[9:81]} == {1.0}, "lr stays until it begins"
    assert rates[80:101] == pytest.approx([1 - n / 20 for n in range(21)]), "linear, to zero"
    assert rates[99] > 0, "the last step does nothing"
    assert rates[101] == 0.0, "after its end the rate is below it"
    tenth = TrainConfig(steps=100, lr=1.0, min_lr=0.1, cooldown_steps=20)
    rates = [learning_rate(step, tenth) for step in (0, 79, 90, 100)]
    assert rates == pytest.approx([1.0, 1.0, 0.55, 0.1])
    whole = TrainConfig(steps=4, lr=1.0, cooldown_steps=4)
    assert [learning_rate(step, whole) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_the_rates_edges():
    assert learning_rate(500, TrainConfig(lr=1e-4)) == 1e-4, "by default the rate is constant"
    to_zero = TrainConfig(steps=10, lr=1.0, min_lr=0.0)
    assert learning_rate(10, to_zero) == 0.0, "a min_lr of 0 is taken for none"
    assert learning_rate(0, to_zero) == 1.0, "without a warm-up the first rate is the highest"
    only = TrainConfig(steps=10, lr=1.0, min_lr=0.5, warmup_steps=10)
    rates = [learning_rate(step, only) for step in range(12)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10:] == [1.0, 0.5]
    constant = TrainConfig(steps=10, lr=1.0, warmup_steps=2)
    assert [learning_rate(step, constant) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]
