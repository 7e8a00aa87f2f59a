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
        ({"dropout": "0.1"}, r"dropout must be in \[0, 1\), not '0.1'"),
        ({"dropout": float("nan")}, "dropout"),
        # as a damaged or crafted file may have them
        ({"n_layer": 100_000}, "n_layer=100000 is absurd: at most 1024"),
        ({"n_embd": 10**9}, "n_embd=1000000000 is absurd: at most 65536"),
        ({"vocab_size": 1 << 40}, "vocab_size=.* is absurd"),
        ({"block_size": 1 << 40}, "block_size=.* is absurd"),
        ({"n_head": 2048, "n_embd": 2048}, "n_head=2048 is absurd"),
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
        ({"grad_clip": 0.0}, "grad_clip must be above 0"),
        ({"seq_len": 0}, "seq_len must be a whole number"),
        ({"grad_accum_steps": 0}, "grad_accum_steps must be a whole number"),
        ({"warmup_steps": -1}, "warmup_steps=-1 must lie in 0 to 1000"),
        ({"warmup_steps": 1.0}, "warmup_steps=1.0"),
        ({"cooldown_steps": 1001}, "cooldown_steps=1001 must lie in 0 to 1000"),
        ({"cooldown_steps": 901, "warmup_steps": 100}, "0 to 900, the steps after the warm-up"),
        ({"cooldown_steps": -1}, "cooldown_steps=-1 must lie in"),
        ({"cooldown_steps": 1.0}, "cooldown_steps=1.0"),
        ({"min_lr": -1e-9}, "min_lr=-1e-09 must lie between"),
        ({"min_lr": float("nan")}, "min_lr=nan must lie between"),
        *(({"lr": lr}, "lr must be above 0") for lr in (0.0, -1.0, float("nan"), float("inf"))),
        *(({"betas": betas}, "betas must be two") for betas in ((0.9, 1.0), (-0.1, 0.9), (0.9,))),
        *(({"weight_decay": w}, "weight_decay must") for w in (-1.0, float("nan"), float("inf"))),
        *(({"seed": seed}, "seed must be") for seed in (-1, 2**63, 1.0)),
    ],
)
def test_impossible_runs_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def test_the_largest_models_of_this_form_are_possible():
    gpt3 = GPTConfig(block_size=2048, n_layer=96, n_head=96, n_embd=12288, dropout=0)
    assert gpt3.head_dim == 128 and GPTConfig(1, 1, 1, 1, 1).head_dim == 1


def test_the_defaults_are_the_published_small_one():
    assert dataclasses.astuple(GPTConfig()) == (1024, 50257, 12, 12, 768, 0.0)


def test_the_sizes_are_the_published_ones():
    sizes = {n: (c.n_layer, c.n_head, c.n_embd) for n, c in SIZES.items()}
    published = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024)}
    published |= {"gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600)}
    assert sizes == published | {"lite": (6, 6, 192)}
    assert {n: c.block_size for n, c in SIZES.items()} == dict.fromkeys(published, 1024) | {
        "lite": 256
    }
    assert {(c.vocab_size, c.dropout) for c in SIZES.values()} == {(50257, 0.0)}


def test_a_config_cannot_change_under_a_model():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layer = 3


def test_head_dim_is_64_in_every_published_size():
    assert [SIZES[n].head_dim for n in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")] == [64] * 4
