"""The loss equals PyTorch's own in value and gradient, and keeps the logits once."""

import pytest
import torch
import torch.nn.functional as F
from helpers import random_ids, tiny_gpt

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
