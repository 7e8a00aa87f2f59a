"""Five models that learn as well as GPT-2 and are not GPT-2: each has one real mistake.

    python -m gpt2lite.course.wrong_models LOG

trains the right model and the five on the same batches, then gives each the course's trained
weights and compares its logits with those of transformers. The log is the README's first picture.
"""

import sys
from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from gpt2lite import GPT, SIZES
from gpt2lite.config import TrainConfig
from gpt2lite.corpora import load_text
from gpt2lite.course.clinic import ErfMLP, StuckPositions
from gpt2lite.data import Batches, encode
from gpt2lite.log import Log, header
from gpt2lite.model import CausalSelfAttention, init_gpt2
from gpt2lite.precision import Precision
from gpt2lite.pretrained import PLAYS
from gpt2lite.training import Trainer

CONFIG = TrainConfig(steps=400, batch_size=8, seq_len=64, lr=1e-3, warmup_steps=20)


class Attention(CausalSelfAttention):
    """Attention without a cache, whose mask and scale can be wrong."""

    causal, scale = True, None

    def forward(self, x, cache=None):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Unmasked(Attention):
    """Every token sees the next one, which it is asked to predict."""

    causal = False


class Unscaled(Attention):
    """The scores are not divided by √D."""

    scale = 1.0


def build(mistake: str) -> GPT:
    """Return a GPT-2 of size lite with one mistake in it, freshly initialized."""
    model = GPT(c := SIZES["lite"])
    for block in model.h:
        if mistake == "erf GELU":
            block.mlp = ErfMLP(c)
        elif mistake == "no causal mask":
            block.attn = Unmasked(c)
        elif mistake == "scores not divided by √D":
            block.attn = Unscaled(c)
    if mistake == "every token at position 0":
        model.wpe = StuckPositions(c.block_size, c.n_embd)
    elif mistake == "no LayerNorm at the end":
        model.ln_f = nn.Identity()
    torch.manual_seed(CONFIG.seed)
    init_gpt2(model)
    return model


RIGHT = "GPT-2"
MISTAKES = (
    "erf GELU",
    "every token at position 0",
    "scores not divided by √D",
    "no LayerNorm at the end",
    "no causal mask",
)


@torch.no_grad()
def gap(model: GPT, idx) -> float:
    """Return the largest difference between a model's logits for ids (B, T) and transformers'.

    As a share of the largest logit; both models have the weights of the course's small one.
    """
    from transformers import GPT2LMHeadModel

    known = GPT.from_pretrained("gpt2lite-plays").state_dict()
    model.load_state_dict(known, strict=isinstance(model.ln_f, nn.LayerNorm))
    expected = GPT2LMHeadModel.from_pretrained(PLAYS, dtype=torch.float32)(idx).logits
    return ((model.eval()(idx) - expected).abs().max() / expected.abs().max()).item()


def main(log):
    """Train all six and write the log: half an hour on one core."""
    tokens = encode(load_text("shakespeare"))
    idx = torch.from_numpy(tokens[None, :256].astype(int))
    losses, gaps = {}, {}
    for name in (RIGHT, *MISTAKES):
        model = build(name)
        batches = Batches(tokens, CONFIG.batch_size, CONFIG.seq_len, "random", CONFIG.seed)
        fp32 = Precision(torch.device("cpu"), torch.float32, False, "exact and simple")
        run = Trainer(model, batches, CONFIG, fp32)
        losses[name] = [r["loss"] for r in tqdm(run, desc=name, total=CONFIG.steps)]
        gaps[name] = gap(model, idx)
    command = f"python -m gpt2lite.course.wrong_models {log}"
    parts = fp32.dtype, asdict(model.config), asdict(CONFIG)
    head = header(command, "shakespeare", fp32.device, *parts) | {"gaps": gaps}
    lines = Log(log, head)
    for step in range(CONFIG.steps):
        lines.write({"step": step, "loss": {name: round(losses[name][step], 5) for name in losses}})


if __name__ == "__main__":
    main(sys.argv[1])
