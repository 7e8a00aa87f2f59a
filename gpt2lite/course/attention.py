"""What the heads of a GPT look at: their attention weights.

Knows nothing about pictures or sliders. The package's attention never stores its weights, so they
are computed once more from the queries and keys that pass by.
"""

import torch


@torch.no_grad()
def attention_weights(model, ids: list[int]) -> torch.Tensor:
    """Return the weights (L, H, T, T) of all heads for one sequence; row t reads column s."""
    queries_keys_values = []

    def remember(_module, _inputs, output):
        queries_keys_values.append(output[0])  # (T, 3C)

    hooks = [block.attn.c_attn.register_forward_hook(remember) for block in model.h]
    try:
        model(torch.tensor([ids], device=model.wte.weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    T, H = len(ids), model.config.n_head
    qkv = torch.stack(queries_keys_values).view(model.config.n_layer, T, 3, H, -1)
    q, k = qkv[:, :, 0].transpose(1, 2), qkv[:, :, 1].transpose(1, 2)  # (L, H, T, D)
    scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)
