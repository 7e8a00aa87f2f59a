"""What passes through a GPT-2: its residual stream at each depth.

Knows nothing about whose model it is: any with GPT-2's names will do, that of transformers too.
"""

import torch


@torch.no_grad()
def hidden_states(model, idx: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run a model on ids (B, T) and return its stream (B, T, C) by depth, in its order.

    "embed" is what enters block 0, "h.0" what leaves it, and so on; "ln_f" is the last.
    """
    seen = {}

    def keep(name):
        def hook(_module, _inputs, output):
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    first = model.h[0].register_forward_pre_hook(lambda _, inputs: seen.update(embed=inputs[0]))
    hooks = [block.register_forward_hook(keep(f"h.{i}")) for i, block in enumerate(model.h)]
    hooks += [first, model.ln_f.register_forward_hook(keep("ln_f"))]
    try:
        model(idx)
    finally:  # interrupted or not, no hook stays on the model
        for hook in hooks:
            hook.remove()
    return seen
