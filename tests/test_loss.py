"""The loss equals PyTorch's own in value and gradient, and keeps the logits once."""

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, random_ids, tiny_gpt

from gpt2lite.loss import cross_entropy, padded_vocabulary


def logits_and_targets(dtype=torch.float32, N=35, V=61):
    torch.manual_seed(0)
    return (3 * torch.randn(N, V)).to(dtype).requires_grad_(), torch.randint(V, (N,))


@pytest.mark.parametrize("dtype, rounding", [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_value_and_gradient_are_those_of_pytorch(dtype, rounding):
    logits, targets = logits_and_targets(dtype)
    reference = logits.detach().float().requires_grad_()
    expected = F.cross_entropy(reference, targets)
    (2 * expected).backward()
    loss = cross_entropy(logits * 1, targets)  # * 1: the gradient is written over what it is given
    (2 * loss).backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    error = (logits.grad.float() - reference.grad).abs() / reference.grad.abs()
    assert error.max() < rounding + 1e-5, "the gradient is off by more than its format rounds"


def test_the_gradient_takes_the_logits_place():
    logits, targets = logits_and_targets()
    once, places = logits * 1, []
    once.register_hook(lambda grad: places.append(grad.data_ptr()))
    cross_entropy(once, targets).backward()
    assert places == [once.data_ptr()], "a second copy of the logits was made"


def test_a_second_backward_pass_is_refused():
    logits, targets = logits_and_targets()
    loss = cross_entropy(logits * 1, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("ignored", [1, 20, 34])
def test_ignored_targets_count_for_nothing_as_in_pytorch(ignored):
    logits, targets = logits_and_targets()
    targets[torch.randperm(35)[:ignored]] = -100
    reference = logits.detach().clone().requires_grad_()
    expected = F.cross_entropy(reference, targets)
    expected.backward()
    loss = cross_entropy(logits * 1, targets)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (logits.grad - reference.grad).abs().max() < 1e-6
    assert not logits.grad[targets == -100].any(), "an ignored target has a gradient"


@pytest.mark.parametrize("wrong", [-1, -101, 61])
def test_a_target_outside_the_vocabulary_is_an_error(wrong):
    logits, targets = logits_and_targets()
    targets[3] = wrong
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        cross_entropy(logits, targets)


def test_a_padded_vocabulary_changes_no_logit_and_no_gradient():
    model = tiny_gpt()
    x, y = random_ids(model.config, 2, 9), random_ids(model.config, 2, 8).flatten()[:16]
    found = []
    for pad in (False, True):
        model.zero_grad()
        with padded_vocabulary(model) if pad else torch.enable_grad():
            logits = model(x)[:, :-1]
        F.cross_entropy(logits.flatten(0, 1), y).backward()
        found.append((logits.detach(), [p.grad for p in model.parameters()]))
    (plain, grads), (padded, padded_grads) = found
    assert plain.shape == padded.shape and torch.allclose(plain, padded, atol=1e-6)
    for p, q in zip(grads, padded_grads, strict=True):
        assert torch.allclose(p, q, atol=1e-6)
    assert "head" not in vars(model), "the head stays padded"


def test_the_padded_head_goes_also_after_an_error():
    model = tiny_gpt()
    with pytest.raises(KeyError), padded_vocabulary(model):
        assert "head" in vars(model)
        raise KeyError
    assert "head" not in vars(model)
    mine = model.head = lambda x: F.linear(x, model.wte.weight)
    with padded_vocabulary(model):
        assert model.head is not mine
    assert model.head is mine, "the reader's own head is gone"


def test_the_head_is_padded_to_whole_tiles(monkeypatch):
    model, linear, rows = tiny_gpt(), F.linear, []
    monkeypatch.setattr(F, "linear", lambda x, w, *b: rows.append(len(w)) or linear(x, w, *b))
    with padded_vocabulary(model), padded_vocabulary(model, 16):
        model.head(torch.ones(TINY.n_embd))
    assert rows[-1] == 64, f"V = 61 became {rows[-1]}, no multiple of 16"
    with padded_vocabulary(model):
        model.head(torch.ones(TINY.n_embd))
    assert rows[-1] == 128


@pytest.mark.parametrize("rows", [61, 64])
def test_a_head_with_a_matrix_of_its_own_is_refused(rows):
    model, matrix = tiny_gpt(), torch.ones(rows, TINY.n_embd)
    model.head = lambda x: x @ matrix.t()
    mine = model.head
    with pytest.raises(ValueError, match="head isn't wte"), padded_vocabulary(model):
        pass
    assert model.head is mine


def test_padding_draws_no_random_number():
    model, before = tiny_gpt(), torch.get_rng_state()
    with padded_vocabulary(model):
        pass
    assert torch.equal(torch.get_rng_state(), before)
