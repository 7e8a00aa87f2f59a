"""The sizes of a GPT-2, checked once, so that the rest of the package need not doubt them.

Knows nothing about tensors. Sources: GPT-2 paper (Radford et al. 2019), table 2, and the
configuration files of the released checkpoints. (The paper's parameter counts, 117M to 1542M, were
corrected by its authors to 124M to 1558M.)
"""

import math
from dataclasses import dataclass

# Well above the largest models that were built in this form: GPT-3 has 96 layers and C = 12,288.
LARGEST = {
    "block_size": 1 << 20,
    "vocab_size": 1 << 20,
    "n_layer": 1 << 10,
    "n_head": 1 << 10,
    "n_embd": 1 << 16,
}


@dataclass(frozen=True)
class GPTConfig:
    """Describe a GPT-2; the defaults are the published small one, 124M parameters.

    Raises ValueError, naming the field, for sizes that no GPT-2 can have: a damaged or crafted file
    must not keep a machine busy for hours, or fill its memory.
    """

    block_size: int = 1024  # T at most: the positions that wpe knows
    vocab_size: int = 50257  # V: 256 bytes + 50,000 merges + <|endoftext|>
    n_layer: int = 12
    n_head: int = 12  # H
    n_embd: int = 768  # C
    dropout: float = 0.0  # the released weights were trained with 0.1

    def __post_init__(self):
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
            if value > LARGEST[name]:
                raise ValueError(f"{name}={value} is absurd: at most {LARGEST[name]} will do")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd={self.n_embd} does not divide into n_head={self.n_head} equal heads; "
                f"choose a multiple of {self.n_head}"
            )
        if not isinstance(self.dropout, (int, float)) or not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout!r}")

    @property
    def head_dim(self) -> int:
        """D = C / H, the channels of one head."""
        return self.n_embd // self.n_head


SIZES = {
    "gpt2": GPTConfig(),
    "gpt2-medium": GPTConfig(n_layer=24, n_head=16, n_embd=1024),
    "gpt2-large": GPTConfig(n_layer=36, n_head=20, n_embd=1280),
    "gpt2-xl": GPTConfig(n_layer=48, n_head=25, n_embd=1600),
    # The course's own: small enough to train on two CPU cores, with GPT-2's vocabulary.
    "lite": GPTConfig(block_size=256, n_layer=6, n_head=6, n_embd=192),
}


@dataclass(frozen=True)
class TrainConfig:
    """Describe a training run; the defaults are PyTorch's AdamW at a constant rate.

    Raises ValueError, naming the field, for values that no run can have.
    """

    steps: int = 1000
    batch_size: int = 4  # B, sequences of one forward pass
    seq_len: int = 32  # T, tokens of one sequence
    grad_accum_steps: int = 1  # forward passes whose gradients make one step
    lr: float = 3e-4  # at its highest
    min_lr: float | None = None  # where the rate ends; None: lr, so constant, or 0 with a cooldown
    warmup_steps: int = 0  # linear, from 0
    cooldown_steps: int = 0  # the last ones, linear to min_lr; 0: a cosine instead
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01  # of matrices; biases and gains have none
    grad_clip: float | None = None  # the gradient's norm at most
    seed: int = 1337

    def __post_init__(self):
        for name in ("steps", "batch_size", "seq_len", "grad_accum_steps"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0, such as 3e-4, not {self.lr}")
        if self.min_lr is not None and not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"min_lr={self.min_lr} must lie between 0 and lr={self.lr}")
        if type(self.warmup_steps) is not int or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} must lie in 0 to {self.steps}")
        rest = self.steps - self.warmup_steps
        if type(self.cooldown_steps) is not int or not 0 <= self.cooldown_steps <= rest:
            raise ValueError(
                f"cooldown_steps={self.cooldown_steps} must lie in 0 to {rest}, the steps after "
                "the warm-up"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), not {self.betas}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0, not {self.weight_decay}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1, not {self.seed!r}")
        if self.grad_clip is not None and not self.grad_clip > 0:
            raise ValueError(f"grad_clip must be above 0, not {self.grad_clip}; None clips nothing")
