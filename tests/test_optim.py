"""Which weights decay, and the learning rate at each step."""

import pytest
import torch

from gpt2lite import GPT, SIZES
from gpt2lite.config import TrainConfig
from gpt2lite.optim import decay_groups, learning_rate


def test_matrices_decay_and_biases_and_gains_do_not():
    with torch.device("meta"):
        model = GPT(SIZES["gpt2"])
    decayed, kept = (group["params"] for group in decay_groups(model, 0.1))
    assert (len(decayed), len(kept)) == (50, 98)
    assert sum(p.numel() for p in decayed) == 124_318_464
    names = {p: name for name, p in model.named_parameters()}
    assert all("ln_" in names[p] or names[p].endswith("bias") for p in kept)


def test_the_rate_warms_up_and_falls_to_its_end():
    config = TrainConfig(steps=100, lr=1.0, min_lr=0.1, warmup_steps=10)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55), "half way, a cosine is half way down"
    assert rates[100] == pytest.approx(0.1)
    assert learning_rate(500, TrainConfig(lr=1e-4)) == 1e-4, "by default the rate is constant"
