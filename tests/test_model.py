"""GPT by itself: what each token may see, when dropout acts, how it starts.

That it equals GPT-2 is test_parity's.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, random_ids, tiny_gpt

from gpt2lite import GPT, GPTConfig


@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit():
    model, idx = tiny_gpt(), random_ids(TINY, 1, TINY.block_size)
    before = model(idx)
    for t in range(1, idx.size(1)):
        changed = idx.clone()
        changed[0, t] = (idx[0, t] + 1) % TINY.vocab_size
        after = model(changed)
        assert torch.equal(after[:, :t], before[:, :t]), f"token {t} is seen by an earlier one"
        assert ((after - before)[0, t:].abs().amax(-1) > 1e-3).all(), f"token {t} is not seen"


@torch.no_grad()
def test_the_same_token_scores_differently_at_each_position():
    logits = tiny_gpt()(torch.full((1, TINY.block_size), 3))
    assert (logits[0].diff(dim=0).abs().amax(-1) > 1e-2).all(), "positions do not reach the logits"


@torch.no_grad()
def test_the_order_of_earlier_tokens_matters():
    model = tiny_gpt()
    a, b = (model(torch.tensor([ids]))[0, -1] for ids in ([1, 2, 3], [2, 1, 3]))
    assert (a - b).abs().max() > 1e-2


@torch.no_grad()
def test_the_rows_of_a_batch_do_not_mix():
    model, idx = tiny_gpt(), random_ids(TINY, 3, 6)
    alone = torch.cat([model(row[None]) for row in idx])
    assert torch.allclose(model(idx), alone, atol=1e-5)


@torch.no_grad()
def test_logits_are_the_head_of_hidden_and_the_head_is_wte():
    model, idx = tiny_gpt(), random_ids(TINY, 2, 5)
    x = model.hidden(idx)
    assert x.shape == (2, 5, TINY.n_embd)
    assert torch.equal(model(idx), model.head(x))
    assert torch.allclose(model.head(x), x @ model.wte.weight.T, atol=1e-5)
    assert not any("lm_head" in name for name in model.state_dict())


def test_tying_sends_the_heads_gradient_into_wte():
    model, idx = tiny_gpt(), torch.tensor([[1, 2]])
    model(idx).sum().backward()
    unread = model.wte.weight.grad[5:]  # tokens that the input does not hold
    assert (unread.abs().amax(-1) > 0).all(), "wte is not the head"


@torch.no_grad()
def test_dropout_acts_in_training_only():
    model, idx = tiny_gpt(dropout=0.5), random_ids(TINY, 1, 8)
    assert torch.equal(model(idx), tiny_gpt()(idx)), "dropout acts in evaluation mode"
    model.train()
    assert not torch.equal(model(idx), model(idx)), "dropout never acts"


@torch.no_grad()
@pytest.mark.parametrize("place", ["drop", "h.0.attn.resid_dropout", "h.0.attn", "h.0.mlp.dropout"])
def test_dropout_acts_in_each_of_its_four_places(place):
    model, idx = tiny_gpt(dropout=0.5), random_ids(TINY, 1, 8)
    for name, module in model.named_modules():  # attention weights' dropout is attn's own flag
        module.training = name == place
    torch.manual_seed(0)
    assert not torch.equal(model(idx), model(idx))


def test_more_tokens_than_positions_are_refused():
    model = tiny_gpt()
    assert model(random_ids(TINY, 1, 12)).shape == (1, 12, 61)
    with pytest.raises(ValueError, match="13 tokens do not fit into the context of 12; .* last 12"):
        model(random_ids(TINY, 1, 13))


def test_initialization_is_gpt2s():
    torch.manual_seed(0)
    config = GPTConfig(block_size=256, vocab_size=2000, n_layer=8, n_head=4, n_embd=128)
    model = GPT(config)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.any(), f"{name} does not start at 0"
        elif "ln_" in name:
            assert (p == 1).all(), f"{name} does not start at 1"
        else:
            expected = 0.01 if name == "wpe.weight" else 0.02
            if name.endswith("c_proj.weight"):  # two additions a layer to the residual stream
                expected = 0.02 / math.sqrt(2 * 8)
            assert p.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(p.mean().item()) < expected / 20, name


def test_layer_norm_is_gpt2s():
    norms = [m for m in tiny_gpt().modules() if isinstance(m, torch.nn.LayerNorm)]
    assert [m.eps for m in norms] == [1e-5] * (2 * TINY.n_layer + 1)


@torch.no_grad()
def test_the_first_loss_is_that_of_a_guess():
    """ln V for a uniform guess, and Cσ²/2 for the logits' spread, σ = 0.02 being the head's."""
    torch.manual_seed(0)
    config = GPTConfig(block_size=64, vocab_size=5000, n_layer=6, n_head=4, n_embd=256)
    idx, targets = random_ids(config, 16, 64, seed=1), random_ids(config, 16, 64, seed=2)
    loss = F.cross_entropy(GPT(config)(idx).flatten(0, 1), targets.flatten()).item()
    assert loss == pytest.approx(math.log(5000) + 256 * 0.02**2 / 2, abs=0.03)
