"""GPT-2, whole: attention, MLP, block, model, in the order of the mathematics.

Knows nothing about files, tokens, optimizers or devices. Parameter names are those of the released
checkpoints, in the (out, in) layout of nn.Linear. Shapes: B batch, T time, C channels, H heads,
D = C / H, V vocabulary.

Sources: Radford et al. 2019 (GPT-2), section 2.3; OpenAI's gpt-2/src/model.py for what the paper
leaves out: the tanh form of GELU, LayerNorm's epsilon, and the standard deviations of the
initialization.
"""

import math
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite.config import GPTConfig


class CausalSelfAttention(nn.Module):
    """Let each token gather from itself and the tokens before it, in H heads at once."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)  # q, k and v of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x, cache=None):
        """Map (B, T, C) to (B, T, C); `cache` holds the keys and values of earlier tokens."""
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=-1)  # (B, T, 3C) -> 3 x (B, T, C)
        q, k, v = (t.view(B, T, self.n_head, -1).transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, S, D), S >= T
        S = k.size(2)
        mask = None  # one query sees all; T queries on T keys are SDPA's own causal case
        if 1 < T < S:
            mask = torch.ones(T, S, dtype=torch.bool, device=x.device).tril(S - T)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=1 < T == S)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    """Think about each token on its own: C -> 4C -> C."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        """Map (B, T, C) to (B, T, C)."""
        x = F.gelu(self.c_fc(x), approximate="tanh")  # the form GPT-2 was trained with, not erf
        return self.dropout(self.c_proj(x))


class Block(nn.Module):
    """Add to the residual stream what attention gathers, then what the MLP makes of it."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, cache=None):
        """Map (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A GPT-2 language model: token ids in, a score for each possible next token out."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        init_gpt2(self)

    def forward(self, idx):
        """Return the logits (B, T, V) for token ids `idx` (B, T)."""
        return self.head(self.hidden(idx))

    def hidden(self, idx, cache=None):
        """Return the normalized residual stream (B, T, C) for token ids `idx` (B, T).

        With a `cache` (gpt2lite.sampling.KVCache), `idx` continues the tokens it holds. Raises
        ValueError if the tokens do not fit into block_size positions.
        """
        past = 0 if cache is None else cache.length
        end = past + idx.size(1)
        if end > self.config.block_size:
            raise ValueError(
                f"{end} tokens do not fit into the context of {self.config.block_size}; "
                f"pass at most the last {self.config.block_size}"
            )
        positions = torch.arange(past, end, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(positions))  # (B, T, C) + (T, C)
        for layer, block in enumerate(self.h):
            x = block(x, None if cache is None else cache.layers[layer])
        return self.ln_f(x)

    def head(self, x):
        """Score each token of the vocabulary: (..., C) -> (..., V), with wte itself as matrix."""
        return F.linear(x, self.wte.weight)


@contextmanager
def evaluating(model):
    """Switch dropout off inside the block, and back to what it was after it."""
    if not model.training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def init_gpt2(model: GPT):
    """Initialize in place as GPT-2 was: weights N(0, 0.02²), positions N(0, 0.01²), biases 0.

    The two projections that add to the residual stream are drawn smaller by 1/√(2·n_layer), so that
    the stream's variance does not grow with depth.
    """
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
        elif "ln_" not in name:  # LayerNorm's weight stays 1
            std = 0.01 if name == "wpe.weight" else 0.02
            if name.endswith("c_proj.weight"):
                std /= math.sqrt(2 * model.config.n_layer)
            nn.init.normal_(p, std=std)


def init_default(model: GPT, wte: str = "linear"):
    """Initialize in place as PyTorch's modules do when nobody asks, for notebook 03 to compare.

    wte: the tied matrix is an embedding and a linear layer at once. "linear" draws it as
    nn.Linear does, U(±1/√C); "embedding" as nn.Embedding does, N(0, 1).
    """
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if wte == "linear":
        nn.init.kaiming_uniform_(model.wte.weight, a=math.sqrt(5))
