"""Validation loss, perplexity and bits per byte."""

import math

import numpy as np
import pytest
import torch
from helpers import random_ids, tiny_gpt

from gpt2lite import evaluation


def test_validation_loss_is_the_mean_over_all_tokens_and_restores_the_mode():
    model = tiny_gpt().train()
    tokens = random_ids(model.config, 1, 33)[0].numpy().astype(np.uint16)
    loss = evaluation.validation_loss(model, tokens, B=3, T=8)
    assert model.training, "validation left dropout off"
    x = torch.from_numpy(tokens.astype(np.int64))
    logits = model.eval()(x[:32].view(4, 8))
    by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), x[1:33])
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)
    with pytest.raises(ValueError, match="smaller T"):
        evaluation.validation_loss(model, tokens[:8], B=1, T=8)


def test_units_of_a_loss():
    assert evaluation.perplexity(math.log(50257)) == pytest.approx(50257)
    assert evaluation.bits_per_byte(math.log(256), 10, 10) == pytest.approx(8)
