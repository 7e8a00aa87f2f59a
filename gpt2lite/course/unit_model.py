"""A GPT-2 of unit weights, scaled as it runs: what the first random numbers do to the stream."""

import math

import torch
from torch.func import functional_call

from gpt2lite.config import GPTConfig
from gpt2lite.model import GPT

N_LAYER = 24  # blocks that may run
T = 32  # tokens that run through them


def unit_model(C: int = 192, seed: int = 1337) -> GPT:
    """Return a GPT-2 with its real vocabulary, C wide, whose matrices are from N(0, 1)."""
    config = GPTConfig(block_size=T, n_layer=N_LAYER, n_head=C // 32, n_embd=C)
    with torch.random.fork_rng(devices=[]):  # the notebook's own random numbers go on untouched
        torch.manual_seed(seed)
        model = GPT(config)
        for p in model.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p)
    return model.eval()


@torch.no_grad()
def first_stream(model, n_layer, wte, wpe, blocks, smaller):
    """Return the stream's rms before each of n_layer blocks and after the last, and the first loss.

    `model` is a unit_model, whose matrices count times the standard deviation of their kind: `wte`,
    `wpe` or `blocks`; `smaller` divides both c_proj by √(2·n_layer). The loss is the mean over all
    V tokens that could come next.
    """
    idx = torch.randint(len(model.wte.weight), (1, T), generator=torch.Generator().manual_seed(0))
    x = wte * model.wte(idx) + wpe * model.wpe.weight  # (1, T, C)
    c_proj = blocks / (math.sqrt(2 * n_layer) if smaller else 1)
    rms = [x.square().mean().sqrt().item()]
    for block in model.h[:n_layer]:
        weights = {
            name: p * (c_proj if "c_proj" in name else blocks) if p.dim() == 2 else p
            for name, p in block.named_parameters()
        }
        x = functional_call(block, weights, (x,))
        rms.append(x.square().mean().sqrt().item())
    logits = wte * model.head(model.ln_f(x))  # (1, T, V)
    return rms, (logits.logsumexp(-1) - logits.mean(-1)).mean().item()
