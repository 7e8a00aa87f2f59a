"""GPTConfig refuses sizes that no GPT-2 can have, naming the field."""

import dataclasses

import pytest

from gpt2lite import SIZES, GPTConfig


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_layer": 0}, "n_layer must be a whole number of at least 1, not 0"),
        ({"block_size": -1}, "block_size"),
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


def test_a_config_cannot_change_under_a_model():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layer = 3


def test_head_dim_is_64_in_every_published_size():
    assert [SIZES[n].head_dim for n in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")] == [64] * 4
