"""Sizes and settings that nothing can have are refused, naming the field."""

import dataclasses

import pytest

from gpt2lite import SIZES, GPTConfig
from gpt2lite.config import TrainConfig


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_layer": 0}, "n_layer must be a whole number of at least 1, not 0"),
        ({"block_size": -1}, "block_size"),
        ({"n_layer": True}, "n_layer"),
        ({"vocab_size": 50257.0}, "vocab_size"),
        ({"n_embd": "768"}, "n_embd"),
        ({"n_head": 7}, "n_embd=768 does not divide into n_head=7 .* multiple of 7"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_impossible_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"lr": 1e-4, "min_lr": 1e-3}, "min_lr=0.001 must lie between 0 and lr=0.0001"),
        ({"warmup_steps": 1001}, "warmup_steps=1001 must lie in 0 to 1000"),
        ({"grad_clip": float("nan")}, "grad_clip must be above 0"),
    ],
)
def test_impossible_runs_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def test_a_config_cannot_change_under_a_model():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layer = 3


def test_head_dim_is_64_in_every_published_size():
    assert [SIZES[n].head_dim for n in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")] == [64] * 4
