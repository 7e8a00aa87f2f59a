"""Validation loss, perplexity and bits per byte."""

import math

import numpy as np
import pytest
import torch
from helpers import random_ids, tiny_gpt

from gpt2lite import evaluation


def test_validation_loss_is_the_mean_over_all_tokens_and_restores_the_mode():
    model = tiny_gpt(dropout=0.5).train()
    tokens = random_ids(model.config, 1, 33)[0].numpy().astype(np.uint16)
    loss = evaluation.validation_loss(model, tokens, B=3, T=8)
    assert model.training, "validation left dropout off"
    x = torch.from_numpy(tokens.astype(np.int64))
    logits = model.eval()(x[:32].view(4, 8))
    by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), x[1:33])
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)
    one_by_one = evaluation.validation_loss(model, tokens, B=1, T=8)
    assert one_by_one == pytest.approx(loss, abs=1e-5), "the last, smaller batch weighs too much"
    assert not model.training, "a model that was not training is made to train"
    with pytest.raises(ValueError, match="smaller T"):
        evaluation.validation_loss(model, tokens[:8], B=1, T=8)


@pytest.mark.parametrize("batches, windows", [(1, 2), (2, 4), (3, 5), (9, 5), (None, 5)])
def test_batches_are_counted_not_windows(batches, windows):
    model, seen = tiny_gpt(), []
    tokens = random_ids(model.config, 1, 5 * 8 + 7)[0].numpy().astype(np.uint16)
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    loss = evaluation.validation_loss(model, tokens, B=2, T=8, batches=batches)
    rows = torch.cat(seen)
    assert torch.equal(rows.flatten(), torch.from_numpy(tokens[: 8 * windows].astype(np.int64)))
    assert loss == pytest.approx(evaluation.validation_loss(model, tokens[: 8 * windows + 1], 5, 8))


@pytest.mark.parametrize("wrong", [{"B": -1}, {"B": 0}, {"T": 0}, {"batches": 0}, {"batches": -2}])
def test_impossible_numbers_are_refused(wrong):
    (name, value), model = *wrong.items(), tiny_gpt()
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        evaluation.validation_loss(model, np.zeros(99, np.uint16), **({"B": 1, "T": 8} | wrong))


def test_validation_keeps_no_gradients_and_restores_the_mode_after_an_error():
    model, needed = tiny_gpt().train(), []
    model.register_forward_hook(lambda *args: needed.append(args[2].requires_grad))
    with pytest.raises(ValueError, match="context"):
        evaluation.validation_loss(model, np.zeros(99, np.uint16), 1, T=13)
    assert model.training, "an error left dropout off"
    evaluation.validation_loss(model, np.zeros(99, np.uint16), 1, T=8, batches=1)
    assert needed == [False], "validation would fill the memory with what a backward pass needs"


def test_units_of_a_loss():
    assert evaluation.perplexity(math.log(50257)) == pytest.approx(50257)
    assert evaluation.perplexity(710.0) == math.inf and math.isnan(evaluation.perplexity(math.nan))
    bits = evaluation.bits_per_byte(math.log(256), 10, 40)
    assert bits == pytest.approx(2), "8 bits a token of 4 bytes: are tokens and bytes swapped?"
    for counts in ((0, 10), (10, 0), (-1, 10)):
        with pytest.raises(
            ValueError, match=f"{counts[0]} tokens of {counts[1]} bytes are no text"
        ):
            evaluation.bits_per_byte(1.0, *counts)
