"""XOR and AND: an MLP learns both, a linear map ends where least squares does."""

import pytest
import torch
from torch import nn

from gpt2lite import GPTConfig
from gpt2lite.course.bits import ANSWERS, BITS, losses_on_bits
from gpt2lite.model import MLP


def test_an_mlp_learns_both_and_a_linear_map_ends_at_least_squares():
    torch.manual_seed(0)
    mlp = MLP(GPTConfig(n_head=1, n_embd=2))
    assert losses_on_bits(mlp)[-1] < 1e-6
    inputs = torch.cat([BITS, torch.ones(4, 1)], dim=1)
    best = inputs @ torch.linalg.lstsq(inputs, ANSWERS).solution
    least = (best - ANSWERS).square().mean().item()
    linear = losses_on_bits(nn.Sequential(mlp.c_fc, mlp.c_proj))
    assert linear[-1] == pytest.approx(least, abs=1e-5) == pytest.approx(5 / 32)
    assert len(linear) == 200 and linear[0] > linear[-1]


def test_the_module_is_left_as_it_was():
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    losses_on_bits(module, steps=2)
    assert torch.equal(module.weight, before) and module.weight.grad is None
