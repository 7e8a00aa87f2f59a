"""The last stretch of a training step: from the residual stream to one number, and back.

Knows nothing about what computes the stream. Logits are a step's largest tensor: at (4, 1024), V
numbers for each of 4,096 tokens are 823 MB in fp32, and PyTorch's own loss makes three more of it.
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy, in nats / token, of logits (N, V) for targets (N,).

    Equals F.cross_entropy(logits.float(), targets) in value and gradient, computed in fp32, but
    holds the logits once, in their own format: the backward pass writes their gradient over them.
    """
    return _CrossEntropy.apply(logits, targets)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        parts = _parts(logits, targets)
        chosen = [rows.log_softmax(-1, torch.float32).gather(-1, right) for rows, right in parts]
        return -torch.cat(chosen).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        logits, targets = ctx.saved_tensors
        share = grad / len(targets)
        for rows, right in _parts(logits, targets):
            p = rows.softmax(-1, torch.float32).mul_(share)
            rows.copy_(p.scatter_add_(-1, right, -share.expand(right.shape)))
        return logits, None


def _parts(logits, targets):
    """Cut both into parts of few tokens: only one part's logits are in fp32 at a time."""
    n = 16 if logits.device.type == "cpu" else 1024  # a cache holds 16; a GPU wants to be busy
    return zip(logits.split(n), targets[:, None].split(n), strict=True)


@contextmanager
def padded_vocabulary(model, multiple: int = 128):
    """Let a GPT's head multiply by wte and zero rows below it, up to a round V, inside the block.

    Matrix units work on whole tiles, and 50,257 is odd. The logits are the same: the zero rows' own
    are cut off again.
    """
    table = model.wte.weight
    missing = -table.size(0) % multiple

    def head(x):
        return F.linear(x, F.pad(table, (0, 0, 0, missing)))[..., : table.size(0)]

    model.head = head
    try:
        yield
    finally:
        del model.head  # the class' own again
