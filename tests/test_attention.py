"""The weights that are shown are those that attention uses."""

import torch
from helpers import tiny_gpt

from gpt2lite.course.attention import attention_weights


def test_weights_are_those_that_attention_uses():
    model, ids = tiny_gpt(), [3, 1, 4, 1, 5]
    weights = attention_weights(model, ids)
    config, T = model.config, len(ids)
    assert weights.shape == (config.n_layer, config.n_head, T, T)
    given, taken = [], []
    for block in model.h:
        block.attn.c_attn.register_forward_hook(lambda *args: given.append(args[2]))
        block.attn.c_proj.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    with torch.no_grad():
        model(torch.tensor([ids]))
    for layer, (qkv, y) in enumerate(zip(given, taken, strict=True)):
        values = qkv[0, :, 2 * config.n_embd :].view(T, config.n_head, -1).transpose(0, 1)
        again = (weights[layer] @ values).transpose(0, 1).reshape(T, -1)
        assert torch.allclose(again, y[0], atol=1e-5), "not the weights of this layer's values"


def test_leaves_no_hook_behind():
    model = tiny_gpt()
    attention_weights(model, [1, 2])
    assert not any(block.attn.c_attn._forward_hooks for block in model.h)
