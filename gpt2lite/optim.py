"""AdamW as GPT-2 and GPT-3 need it: which weights decay, and the learning rate at each step.

Knows nothing about data or loops. Sources: Loshchilov & Hutter 2019 (AdamW); Brown et al. 2020
(GPT-3), appendix B: betas 0.9 and 0.95, weight decay 0.1, warm-up, cosine to a tenth. Hägele et al.
2024 (arXiv:2405.18392): a constant rate with a cooldown does as well as a cosine, whatever the
length; Bergsma et al. 2025 (arXiv:2502.15938): linear to zero.
"""

import math

import torch
from torch import nn

from gpt2lite.config import TrainConfig


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the parameters into AdamW's groups: matrices decay, biases and LayerNorms do not.

    A matrix shrinks without harm, since LayerNorm restores the scale of what it computes; a bias or
    a gain is that scale.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW for the model, in its fused form: one pass over memory instead of a dozen."""
    groups = decay_groups(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step, counted from 0: linear warm-up to lr, then a cosine to min_lr.

    With cooldown_steps there is no cosine: lr stays until they begin, and falls linearly to min_lr,
    or to 0.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.cooldown_steps:
        end = config.min_lr or 0.0
        left = min(max(0, config.steps - step) / config.cooldown_steps, 1)
    else:
        end = config.lr if config.min_lr is None else config.min_lr
        done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        left = (1 + math.cos(math.pi * min(done, 1))) / 2
    return end + (config.lr - end) * left  # from 1 to 0
