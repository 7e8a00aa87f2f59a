"""Notebook 01: the parts of GPT-2, the loss, the parameters, and the loop that draws text.

Over 250 lines, for the wrong answers that readers give: each is a line of its own here.
"""

import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.course.exercises import Part
from gpt2lite.model import init_gpt2
from gpt2lite.sampling import probabilities

# Every size differs from every other, so that a mixed-up dimension shows.
TINY = GPTConfig(block_size=9, vocab_size=13, n_layer=2, n_head=3, n_embd=12)
B, T, C, V = 2, 5, TINY.n_embd, TINY.vocab_size


def _random(*shape, seed=0, grad=False):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.requires_grad_(grad)


def _ids(*shape, below=V, seed=0):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


# Embeddings


def embed(idx, wte, wpe):
    T = idx.shape[-1]
    return wte[idx] + wpe[:T]  # (B, T, C) + (T, C)


_EMBED = Part(
    solution=embed,
    cases=(
        (_ids(B, T, below=8), _random(8, C), _random(9, C, seed=1)),
        (_ids(3, 1), _random(V, C), _random(9, C, seed=1)),
        (_ids(B, 9), _random(V, C, grad=True), _random(9, C, seed=1, grad=True)),
    ),
    mistakes=(
        (
            lambda idx, wte, wpe: wte[idx],
            "the positions are missing: add wpe's rows 0 to T-1",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[torch.arange(0, idx.size(1), len(wpe))],
            "every token gets position 0: take rows 0 to T-1 (arange's third argument is the step)",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[1 : idx.size(1) + 1],
            "the positions start at 1: the first token has position 0",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[idx],
            "wpe is looked up by token id: its rows are positions, 0 to T-1",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[: idx.size(0), None],
            "the positions run along B, the sequences: they belong to T, the second dimension",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[: idx.size(1)].flip(0),
            "the positions run backwards: the first token has position 0",
        ),
        (
            lambda idx, wte, wpe: wte[idx] + wpe[-idx.size(1) :],
            "these are wpe's last rows: T tokens have positions 0 to T-1",
        ),
        (
            lambda idx, wte, wpe: wte[idx] * wpe[: idx.size(1)],
            "the two vectors are multiplied: add them",
        ),
        (
            lambda idx, wte, wpe: wte[idx] * wte.size(1) ** 0.5 + wpe[: idx.size(1)],
            "wte is multiplied by √C, as in the first Transformer: GPT-2 adds it as it is",
        ),
        (
            lambda idx, wte, wpe: (wte[idx] + wpe[: idx.size(1)]) / 2,
            "this is the mean of the two vectors: take their sum",
        ),
        (
            lambda idx, wte, wpe: torch.cat(
                [wte[idx], wpe[: idx.size(1)].expand(len(idx), -1, -1)], -1
            ),
            "the two vectors are concatenated, 2C channels: add them",
        ),
    ),
)


# One head of attention, and all heads


def attend(q, k, v):
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / D**0.5  # (..., T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    return weights @ v  # (..., T, T) @ (..., T, E) -> (..., T, E)


def _attend(q, k, v, scale=None, visible=lambda square: square.tril(), dim=-1):
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) * (D**-0.5 if scale is None else scale)
    hidden = ~visible(torch.ones(T, T, dtype=torch.bool))
    return scores.masked_fill(hidden, float("-inf")).softmax(dim)


def _scores(q, k):
    return q @ k.transpose(-2, -1) / q.size(-1) ** 0.5


def _masked(square, value=-torch.inf):
    return square.masked_fill(torch.ones_like(square, dtype=torch.bool).triu(1), value)


def _qkv(*shape, seed, value=None, grad=False):
    q, k = (_random(*shape, seed=seed + i, grad=grad) for i in range(2))
    return q, k, _random(*shape[:-1], value or shape[-1], seed=seed + 2, grad=grad)


_ATTEND = Part(
    solution=attend,
    cases=(
        _qkv(5, 4, seed=0),
        _qkv(1, 4, seed=1),
        _qkv(2, 7, 4, seed=2),
        _qkv(2, 3, 7, 4, seed=3, value=6),
        _qkv(2, 3, 5, 16, seed=4, grad=True),
    ),
    mistakes=(
        (
            lambda q, k, v: _attend(q, k, v, scale=1.0) @ v,
            "the scores are not scaled: divide them by √D before the softmax",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=1 / q.size(-1)) @ v,
            "the scores are divided by D: divide by √D, their standard deviation",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=q.size(-2) ** -0.5) @ v,
            "the scores are divided by √T: √D is the root of the channels of q and k",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=q.size(-1) ** 0.5) @ v,
            "the scores are multiplied by √D: divide by it",
        ),
        (
            lambda q, k, v: _attend(q, k, v, visible=lambda square: square) @ v,
            "a token sees its future: set the scores above the diagonal to -inf "
            "(masked_fill returns a new tensor)",
        ),
        (
            lambda q, k, v: _attend(q, k, v, visible=lambda square: square.tril(1)) @ v,
            "a token sees one step of its future: the mask hides triu(1), not triu(2)",
        ),
        (
            lambda q, k, v: _attend(q, k, v, visible=lambda square: square.tril(-1)) @ v,
            "a token can't see itself, and the first sees nothing: the future starts at triu(1)",
        ),
        (
            lambda q, k, v: _attend(q, k, v, visible=lambda square: square.triu(1)) @ v,
            "the mask is inverted: it hides the past and shows the future",
        ),
        (
            lambda q, k, v: _attend(q, k, v, visible=lambda square: square.triu()) @ v,
            "the mask is inverted: each token sees itself and its future",
        ),
        (
            lambda q, k, v: _scores(q, k).tril().softmax(-1) @ v,
            "the future's scores are 0, and exp(0) is 1: set them to -inf",
        ),
        (
            lambda q, k, v: _scores(q, k).softmax(-1).tril() @ v,
            "the mask comes after the softmax, so that rows no longer sum to 1: mask the scores",
        ),
        (
            lambda q, k, v: _attend(q, k, v, dim=-2) @ v,
            "the softmax runs down the columns: each row must sum to 1, so use dim=-1",
        ),
        (
            lambda q, k, v: _attend(k, q, v) @ v,
            "these are the scores of k with q: a row belongs to a query, so q comes first",
        ),
        (
            lambda q, k, v: _attend(q, k, v),
            "these are the weights: take the values with them, weights @ v",
        ),
        (
            lambda q, k, v: (_attend(q, k, v) @ v, _attend(q, k, v)),
            "it returns the weights too: return y alone",
        ),
        (
            lambda q, k, v: _scores(q, k).tril() @ v,
            "the softmax is missing: the weights of a row must be positive and sum to 1",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=1.0) / q.size(-1) ** 0.5 @ v,
            "the division by √D comes after the softmax: divide the scores",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=v.size(-1) ** -0.5) @ v,
            "the scores are divided by the root of v's channels: √D belongs to q and k",
        ),
        (
            lambda q, k, v: _masked(_scores(q, k)) @ v,
            "the softmax is missing: it turns the masked scores into weights, row by row",
        ),
        (
            lambda q, k, v: _masked(_scores(q, k).softmax(-1)) @ v,
            "the mask comes after the softmax, so weights are -inf: mask the scores",
        ),
        (
            lambda q, k, v: _masked(_scores(q, k), torch.inf).softmax(-1) @ v,
            "the future's scores are +inf, which gives nan: set them to -inf",
        ),
        (
            lambda q, k, v: _attend(q, k, v) * torch.nan @ v,
            "0 times inf is nan: set the scores with masked_fill or torch.where",
        ),
        (
            lambda q, k, v: _attend(q, k, v).transpose(-2, -1) @ v,
            "the weights are transposed: row t holds the weights with which t reads",
        ),
        (
            lambda q, k, v: _attend(q, v, k) @ k,
            "k and v are swapped: q is compared with k, and v is handed over",
        ),
        (
            lambda q, k, v: q @ k.permute(2, 1, 0) if q.dim() > 2 else attend(q, k, v),
            "k.T turns all dimensions around: k.transpose(-2, -1) turns the last two",
        ),
    ),
    forbidden={
        "scaled_dot_product_attention": "scaled_dot_product_attention is this very function: "
        "write it with matmuls, a mask and a softmax",
    },
)


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)  # q, k and v of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attend = attend

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=-1)  # (B, T, 3C) -> 3 x (B, T, C)
        q, k, v = (t.view(B, T, self.n_head, -1).transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        y = self.attend(q, k, v)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        return self.c_proj(y)


def _heads(self, x, order=(0, 1, 2), cut=None, join=None, project=True):
    """Attend as `forward` does, with one step done otherwise."""
    B, T, C = x.shape
    parts = self.c_attn(x).split(C, dim=-1)
    cut = cut or (lambda t: t.view(B, T, self.n_head, -1).transpose(1, 2))
    join = join or (lambda y: y.transpose(1, 2).reshape(B, T, C))
    y = join(self.attend(*(cut(parts[i]) for i in order)))
    return self.c_proj(y) if project else y


def _interleaved(self, x):
    B, T, C = x.shape
    q, k, v = self.c_attn(x).view(B, T, self.n_head, -1).transpose(1, 2).chunk(3, dim=-1)
    return self.c_proj(self.attend(q, k, v).transpose(1, 2).reshape(B, T, C))


_HEADS = Part(
    solution=CausalSelfAttention,
    make=lambda CausalSelfAttention: CausalSelfAttention(TINY),
    cases=((_random(B, T, C),), (_random(3, 1, C),), (_random(1, 9, C, grad=True),)),
    mistakes=(
        (
            lambda self, x: _heads(self, x, join=lambda y: y.reshape(x.shape)),
            "the heads are joined in the wrong order: after attend, transpose(1, 2) comes before "
            "the reshape",
        ),
        (
            lambda self, x: _heads(
                self, x, cut=lambda t: t.reshape(len(x), self.n_head, x.size(1), -1)
            ),
            "view(B, H, T, D) mixes tokens: cut into (B, T, H, D), then transpose(1, 2)",
        ),
        (
            lambda self, x: _heads(
                self,
                x,
                cut=lambda t: t.reshape(len(x), self.n_head, x.size(1), -1),
                join=lambda y: y.reshape(x.shape),
            ),
            "view(B, H, T, D) and back mixes tokens: cut into (B, T, H, D), then transpose(1, 2)",
        ),
        (
            lambda self, x: _heads(
                self,
                x,
                cut=lambda t: t.view(*x.shape[:2], self.n_head, -1),
                join=lambda y: y.flatten(2),
            ),
            "the heads of one token attend to each other: move H before T, transpose(1, 2)",
        ),
        (
            lambda self, x: _heads(
                self, x, cut=lambda t: t.view(*x.shape[:2], -1, self.n_head).permute(0, 3, 1, 2)
            ),
            "the channels are cut as (D, H): a head's D channels are neighbours, view(B, T, H, D)",
        ),
        (
            lambda self, x: _heads(self, x, cut=lambda t: t, join=lambda y: y),
            "this is one head of C channels: cut them into n_head heads",
        ),
        (
            lambda self, x: _heads(self, x, project=False),
            "c_proj is missing: it mixes the concatenated heads",
        ),
        (
            lambda self, x: _heads(self, x, order=(1, 0, 2)),
            "q and k are swapped: c_attn's output is q, k, v in this order",
        ),
        (
            lambda self, x: _heads(self, x, order=(2, 1, 0)),
            "q and v are swapped: c_attn's output is q, k, v in this order",
        ),
        (
            lambda self, x: _heads(self, x, order=(0, 2, 1)),
            "k and v are swapped: c_attn's output is q, k, v in this order",
        ),
        (
            _interleaved,
            "c_attn's output is cut into heads first: its three thirds are q, k and v",
        ),
        (
            lambda self, x: x + _heads(self, x),
            "x is added here: the residual stream is the block's business",
        ),
        (
            lambda self, x: self.c_proj(self.c_attn(x)[..., 2 * C :]),
            "this passes the values on: call self.attend(q, k, v)",
        ),
    ),
    forbidden={
        "scaled_dot_product_attention": "this is PyTorch's attention: call yours, "
        "self.attend(q, k, v)",
    },
)


# MLP and block


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        x = F.gelu(self.c_fc(x), approximate="tanh")  # (B, T, 4C)
        return self.c_proj(x)


def _gelu(x):
    return F.gelu(x, approximate="tanh")


_MLP = Part(
    solution=MLP,
    make=lambda MLP: MLP(TINY),
    cases=((_random(B, T, C),), (_random(1, 1, C),), (_random(3, 2, C, grad=True),)),
    mistakes=(
        (
            lambda self, x: self.c_proj(F.gelu(self.c_fc(x))),
            'this is GELU\'s exact form: GPT-2 needs approximate="tanh"',
        ),
        (
            lambda self, x: self.c_proj(self.c_fc(x)),
            "the activation is missing: GELU stands between c_fc and c_proj",
        ),
        (lambda self, x: self.c_proj(F.relu(self.c_fc(x))), "this is ReLU: GPT-2 has GELU"),
        (
            lambda self, x: self.c_proj(torch.tanh(self.c_fc(x))),
            'this is tanh alone: GELU\'s tanh form is F.gelu(…, approximate="tanh")',
        ),
        (
            lambda self, x: self.c_proj(F.silu(self.c_fc(x))),
            "this is SiLU, x · sigmoid(x): GPT-2 has GELU in its tanh form",
        ),
        (
            lambda self, x: _gelu(self.c_proj(self.c_fc(x))),
            "the activation comes after c_proj: it stands between the two",
        ),
        (
            lambda self, x: _gelu(self.c_proj(_gelu(self.c_fc(x)))),
            "there is a second activation after c_proj: the MLP ends with c_proj",
        ),
        (
            lambda self, x: self.c_proj(self.c_fc(_gelu(x))),
            "the activation comes before c_fc: it stands between c_fc and c_proj",
        ),
        (
            lambda self, x: x + self.c_proj(_gelu(self.c_fc(x))),
            "x is added here: the residual stream is the block's business",
        ),
        (
            lambda self, x: _gelu(self.c_fc(x)),
            "c_proj is missing: it narrows 4C back to C",
        ),
    ),
)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


def _after_attention(self, x):
    return x + self.attn(self.ln_1(x))


def _from_the_normed(self, x):
    x = self.ln_1(x)
    x = self.ln_2(x + self.attn(x))
    return x + self.mlp(x)


def _post_norm(self, x):
    x = self.ln_1(x + self.attn(x))
    return self.ln_2(x + self.mlp(x))


def _mlp_first(self, x):
    x = x + self.mlp(self.ln_2(x))
    return x + self.attn(self.ln_1(x))


def _parts_swapped(self, x):
    x = x + self.mlp(self.ln_1(x))
    return x + self.attn(self.ln_2(x))


def _in_place(self, x):
    x += self.attn(self.ln_1(x))
    x += self.mlp(self.ln_2(x))
    return x


def _norm_of_the_result(self, x):
    x = x + self.ln_1(self.attn(x))
    return x + self.ln_2(self.mlp(x))


def _norms_swapped(self, x):
    x = x + self.attn(self.ln_2(x))
    return x + self.mlp(self.ln_1(x))


_BLOCK = Part(
    solution=Block,
    make=lambda Block: Block(TINY),
    cases=((_random(B, T, C),), (_random(3, 1, C),), (_random(1, 9, C, grad=True),)),
    mistakes=(
        (
            lambda self, x: self.mlp(self.ln_2(_after_attention(self, x))),
            "the MLP's result replaces the stream: add it to x",
        ),
        (
            lambda self, x: (y := self.attn(self.ln_1(x))) + self.mlp(self.ln_2(y)),
            "attention's result replaces the stream: add it to x",
        ),
        (
            lambda self, x: self.mlp(self.ln_2(self.attn(self.ln_1(x)))),
            "nothing is added to the stream: each part's result is added to x",
        ),
        (
            lambda self, x: x + self.mlp(self.ln_2(self.attn(self.ln_1(x)))),
            "the MLP reads attention's result alone: first add that to x, then read x",
        ),
        (
            lambda self, x: _after_attention(self, x) + self.mlp(self.ln_2(x)),
            "the MLP reads the stream from before attention: it comes after it",
        ),
        (
            lambda self, x: x + self.attn(x) + self.mlp(self.ln_2(x + self.attn(x))),
            "ln_1 is missing: attention reads ln_1(x)",
        ),
        (
            lambda self, x: (y := _after_attention(self, x)) + self.mlp(y),
            "ln_2 is missing: the MLP reads ln_2(x)",
        ),
        (
            lambda self, x: (y := x + self.attn(x)) + self.mlp(y),
            "both LayerNorms are missing: attention reads ln_1(x), the MLP ln_2(x)",
        ),
        (
            _post_norm,
            "the LayerNorms come after the sum, as in the first Transformer: GPT-2 normalizes "
            "what a part reads",
        ),
        (
            _from_the_normed,
            "the stream itself is normalized: keep x, and give ln_1(x) to attention alone",
        ),
        (_mlp_first, "the MLP comes first: attention comes before it"),
        (_norms_swapped, "the LayerNorms are swapped: ln_1 is attention's, ln_2 the MLP's"),
        (
            lambda self, x: (y := _after_attention(self, x)) + self.mlp(self.ln_1(y)),
            "ln_1 is used twice: the MLP reads ln_2(x)",
        ),
        (
            _in_place,
            "x += changes the caller's tensor, which the backward pass needs: write x = x + …",
        ),
        (
            lambda self, x: x + self.mlp(self.ln_2(_after_attention(self, x))),
            "the second line adds to the x from before attention: attention's result is lost",
        ),
        (
            _norm_of_the_result,
            "the LayerNorms work on the results: they stand before attention and before the MLP",
        ),
        (
            _parts_swapped,
            "the MLP comes first: attention reads ln_1(x), and after it the MLP reads ln_2(x)",
        ),
        (
            _after_attention,
            "the MLP is missing: the second line adds mlp(ln_2(x))",
        ),
        (
            lambda self, x: x + self.mlp(self.ln_2(x)),
            "attention is missing: the first line adds attn(ln_1(x))",
        ),
    ),
)


# GPT


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.embed = embed
        init_gpt2(self)

    def forward(self, idx):
        x = self.embed(idx, self.wte.weight, self.wpe.weight)  # (B, T) -> (B, T, C)
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)  # (B, T, V)


def _stream(self, idx, blocks=None):
    x = self.embed(idx, self.wte.weight, self.wpe.weight)
    for block in self.h if blocks is None else blocks:
        x = block(x)
    return x


def _head(self, x):
    return F.linear(self.ln_f(x), self.wte.weight)


def _twice(block):
    return lambda x: x + block(x)


def _parallel(self, idx):
    x = _stream(self, idx, ())
    return _head(self, x + sum(block(x) for block in self.h))


_GPT = Part(
    solution=GPT,
    make=lambda GPT: GPT(TINY),
    cases=((_ids(B, T),), (_ids(3, 1),), (_ids(1, 9),)),
    mistakes=(
        (
            lambda self, idx: F.linear(_stream(self, idx), self.wte.weight),
            "ln_f is missing: the last LayerNorm stands before the output",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx)).softmax(-1),
            "these are probabilities: return the logits, the loss takes the softmax itself",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx)).log_softmax(-1),
            "these are log-probabilities: return the logits, the loss takes the softmax itself",
        ),
        (
            lambda self, idx: self.ln_f(_stream(self, idx)),
            "this is the residual stream: multiply it by wte to score the tokens",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx))[:, -1],
            "these are the last position's logits: return those of all T positions",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx, self.h[:1])),
            "one block has run: the stream goes through all of self.h",
        ),
        (
            lambda self, idx: _head(self, self.h[-1](_stream(self, idx, ()))),
            "each block reads the embeddings: it must read what the block before it returned",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx, ())),
            "the blocks are missing, or what they return is thrown away: x = block(x)",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx, [_twice(b) for b in self.h])),
            "x is added again: the block already adds to it, so x = block(x)",
        ),
        (
            lambda self, idx: F.linear(
                _stream(self, idx, [nn.Sequential(b, self.ln_f) for b in self.h]), self.wte.weight
            ),
            "ln_f stands inside the loop: it comes once, after the last block",
        ),
        (
            _parallel,
            "the blocks run beside each other: each reads what the one before it returned",
        ),
        (
            lambda self, idx: _head(self, _stream(self, idx, reversed(self.h))),
            "the blocks run from the last to the first",
        ),
        (
            lambda self, idx: F.linear(
                self.ln_f(_from(self, self.wte.weight[idx])), self.wte.weight
            ),
            "the positions are missing: self.embed adds them",
        ),
        (
            lambda self, idx: F.linear(
                _from(self, self.ln_f(_stream(self, idx, ()))), self.wte.weight
            ),
            "ln_f stands before the blocks: it comes after the last one",
        ),
    ),
)


def _from(self, x):
    for block in self.h:
        x = block(x)
    return x


# The loss


def next_token_loss(logits, idx):
    predicted, targets = logits[:, :-1], idx[:, 1:]  # position t, and token t + 1
    return F.cross_entropy(predicted.flatten(0, 1), targets.flatten())


def _loss(logits, targets, **how):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **how)


_LOSS = Part(
    solution=next_token_loss,
    cases=(
        (_random(B, T, V), _ids(B, T)),
        (_random(1, 2, V), _ids(1, 2)),
        (_random(3, 4, V, grad=True), _ids(3, 4)),
    ),
    mistakes=(
        (
            lambda logits, idx: _loss(logits, idx),
            "nothing is shifted: the logits at position t are compared with the token that the "
            "model just read. The target at t is token t + 1",
        ),
        (
            lambda logits, idx: _loss(logits[:, 1:], idx[:, :-1]),
            "the shift goes the wrong way: the logits at t belong to the token at t + 1",
        ),
        (
            lambda logits, idx: _loss(logits, idx.roll(-1, 1)),
            "the last position is asked for the first token: it has no target, leave it out",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:], reduction="sum"),
            "this is the sum: take the mean over the targets",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:], reduction="none"),
            "this is one loss a target: take their mean",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1].softmax(-1), idx[:, 1:]),
            "F.cross_entropy takes logits: it computes the softmax itself",
        ),
        (
            lambda logits, idx: -_loss(logits[:, :-1], idx[:, 1:]),
            "the sign is wrong: the loss is the mean of -log p",
        ),
        (
            lambda logits, idx: (-_loss(logits[:, :-1], idx[:, 1:], reduction="none")).exp().mean(),
            "this is the mean probability: the loss is the mean of -log p",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:]) / torch.tensor(2.0).log(),
            "this is in bits: nats use the natural logarithm",
        ),
        (
            lambda logits, idx: _loss(logits[:, -2:-1], idx[:, -1:]),
            "this is the last target alone: every position but the last has one",
        ),
        (
            lambda logits, idx: F.cross_entropy(logits.flatten(0, 1)[:-1], idx.flatten()[1:]),
            "the end of one sequence is asked for the start of the next: shift first, then join B "
            "and T",
        ),
        (
            lambda logits, idx: F.nll_loss(logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten()),
            "F.nll_loss takes log-probabilities: F.cross_entropy takes logits",
        ),
        (
            lambda logits, idx: (
                -(-_loss(logits[:, :-1], idx[:, 1:], reduction="none")).exp().mean().log()
            ),
            "this is -log of the mean probability: take the mean of -log p",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:], reduction="sum") / idx.numel(),
            "the sum is divided by B · T: there are B · (T - 1) targets",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:]).item(),
            "this is a plain number, from which no gradient comes: return the tensor, without item",
        ),
        (
            lambda logits, idx: _loss(logits[:, :-1], idx[:, 1:]).exp(),
            "this is the perplexity, exp of the loss: return the loss",
        ),
        (
            lambda logits, idx: F.cross_entropy(logits[:, :-1], idx[:, 1:]),
            "F.cross_entropy wants the classes in dimension 1: join B and T with flatten(0, 1)",
        ),
    ),
)


# The count


def parameters(config):
    C = config.n_embd
    attn = C * 3 * C + 3 * C + C * C + C  # c_attn, c_proj
    mlp = C * 4 * C + 4 * C + 4 * C * C + C  # c_fc, c_proj
    norms = 2 * 2 * C  # ln_1, ln_2
    embeddings = (config.vocab_size + config.block_size) * C  # wte, wpe
    return embeddings + config.n_layer * (attn + mlp + norms) + 2 * C  # ln_f


def _less(what):
    """Return a count that lacks `what(config)`."""
    return lambda config: parameters(config) - what(config)


_PARAMETERS = Part(
    solution=parameters,
    cases=tuple((config,) for config in SIZES.values()),
    mistakes=(
        (
            _less(lambda c: -c.vocab_size * c.n_embd),
            "the output is counted on its own: it is wte again and adds nothing (weight tying)",
        ),
        (
            _less(lambda c: c.block_size * c.n_embd),
            "wpe is missing: one row of C for each of block_size positions",
        ),
        (
            _less(lambda c: c.vocab_size * c.n_embd),
            "wte is missing: one row of C for each of vocab_size tokens",
        ),
        (
            _less(lambda c: (c.vocab_size + c.block_size) * c.n_embd),
            "the embeddings are missing: wte has V rows of C, wpe has block_size rows of C",
        ),
        (
            _less(lambda c: 9 * c.n_layer * c.n_embd),
            "the biases are missing: 3C in c_attn, C in attn.c_proj, 4C in c_fc, C in mlp.c_proj",
        ),
        (
            _less(lambda c: 2 * c.n_embd),
            "ln_f is missing: one more LayerNorm after the last block, 2C",
        ),
        (
            _less(lambda c: 4 * c.n_layer * c.n_embd),
            "the blocks' LayerNorms are missing: each block has two, 2C each",
        ),
        (
            _less(lambda c: 4 * c.n_layer * c.n_embd + 2 * c.n_embd),
            "the LayerNorms are missing: two a block and ln_f, 2C each",
        ),
        (
            _less(lambda c: (2 * c.n_layer + 1) * c.n_embd),
            "a LayerNorm has a weight and a bias: 2C, not C",
        ),
        (
            _less(lambda c: c.n_embd),
            "ln_f has a weight and a bias: 2C, not C",
        ),
        (
            _less(lambda c: 2 * c.n_layer * c.n_embd),
            "2C a block are missing: it has two LayerNorms, 2C each",
        ),
        (
            _less(lambda c: c.n_layer * (4 * c.n_embd**2 + 4 * c.n_embd)),
            "attention is missing: c_attn goes from C to 3C, attn.c_proj from C to C",
        ),
        (
            _less(lambda c: c.n_layer * (8 * c.n_embd**2 + 5 * c.n_embd)),
            "the MLP is missing: c_fc goes from C to 4C, mlp.c_proj back to C",
        ),
        (
            _less(lambda c: c.n_layer * (c.n_embd**2 + c.n_embd)),
            "one C → C matrix with its bias is missing in attention: c_proj",
        ),
        (
            _less(lambda c: 2 * c.n_layer * (c.n_embd**2 + c.n_embd)),
            "c_attn makes q, k and v: it goes from C to 3C",
        ),
        (
            _less(lambda c: (c.n_layer - 1) * (12 * c.n_embd**2 + 13 * c.n_embd)),
            "one block is counted: there are n_layer of them",
        ),
        (
            lambda c: 12 * c.n_layer * c.n_embd**2,
            "this counts the blocks' matrices alone: embeddings, biases and LayerNorms are missing",
        ),
        (
            lambda c: (c.vocab_size + c.block_size) * c.n_embd + 12 * c.n_layer * c.n_embd**2,
            "biases and LayerNorms are missing: 13C a block, and ln_f's 2C",
        ),
    ),
)


# The loop that draws tokens


def draw(model, idx, n, top_p):
    for _ in range(n):
        with torch.no_grad():
            logits = model(idx[:, -model.config.block_size :])[:, -1]  # (B, V)
        p = probabilities(logits, top_p=top_p)
        token = torch.multinomial(p, num_samples=1)  # (B, 1)
        idx = torch.cat([idx, token], dim=1)
    return idx


class _Counting(nn.Module):
    """A model that is certain: after any tokens comes their sum, modulo V."""

    config = TINY

    def forward(self, idx):
        _refuse_too_long(idx)
        return 100.0 * F.one_hot(idx.cumsum(1) % V, V)


class _Undecided(nn.Module):
    """A model that gives three tokens the probabilities 1/2, 1/4 and 1/4, at every position."""

    config = TINY

    def forward(self, idx):
        _refuse_too_long(idx)
        logits = torch.full((*idx.shape, V), -torch.inf, device=idx.device)
        logits[..., 3], logits[..., 7], logits[..., 8] = 0.5, 0.25, 0.25
        logits[..., [3, 7, 8]] = logits[..., [3, 7, 8]].log()
        return logits


def _refuse_too_long(idx):
    if idx.size(1) > TINY.block_size:
        raise ValueError(f"{idx.size(1)} tokens do not fit into {TINY.block_size} positions")


def _shares(ids):
    """Return few rows as they are, and of many how often each token is last, in eighths."""
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or len(ids) < 100:
        return ids
    return (8 * torch.bincount(ids[:, -1], minlength=V) / len(ids)).round()


def _draw(model, idx, n, top_p, at=-1, read=None, pick=None, join=None, crop=True):
    """Draw as `draw` does, with one step done otherwise."""
    size, prompt = model.config.block_size, idx
    for _ in range(n):
        seen = read(idx, prompt) if read else idx[:, -size:] if crop else idx
        p = probabilities(model(seen)[:, at], top_p=top_p)
        token = pick(p) if pick else torch.multinomial(p, num_samples=1)
        idx = torch.cat(join(idx, token) if join else [idx, token], dim=1)
    return idx


def _sharpened(p, temperature):
    return probabilities(p.log(), temperature)


_MANY = torch.full((4000, 1), 2)

_DRAW = Part(
    solution=draw,
    cases=(
        (_Counting(), torch.tensor([[1, 2, 4], [3, 3, 5]]), 4, 1.0),
        (_Counting(), torch.tensor([[5]]), 1, 0.5),
        (_Counting(), torch.tensor([[1, 2, 4, 5, 6, 7, 8]]), 6, 1.0),
        (_Undecided(), _MANY, 1, 1.0),
        (_Undecided(), _MANY, 2, 0.4),
        (_Counting(), torch.tensor([[6, 1]]), 0, 1.0),
    ),
    seen=_shares,
    mistakes=(
        (
            lambda *a: _draw(*a, at=0),
            "the next token comes from the first position's logits: take the last's, [:, -1]",
        ),
        (
            lambda *a: _draw(*a, read=lambda idx, prompt: idx[:, -1:]),
            "the model reads the newest token alone: give it all tokens so far",
        ),
        (
            lambda *a: _draw(*a, read=lambda idx, prompt: prompt),
            "the model reads the prompt each time: give it the drawn tokens too",
        ),
        (
            lambda *a: _draw(*a, join=lambda idx, token: [token, idx]),
            "a drawn token is put before the others: append it",
        ),
        (
            lambda model, idx, n, top_p: _draw(model, idx, n, top_p)[:, idx.size(1) :],
            "the prompt is missing: return prompt and continuation, (B, T + n)",
        ),
        (
            lambda model, idx, n, top_p: _draw(model, idx, n + 1, top_p),
            "that is one token too many: draw n",
        ),
        (
            lambda model, idx, n, top_p: _draw(model, idx, max(n - 1, 0), top_p),
            "that is one token too few: draw n",
        ),
        (
            lambda model, idx, n, top_p: _draw(model, idx, min(n, 1), top_p),
            "one token is drawn, then it returns: is `return` inside the loop?",
        ),
        (
            lambda *a: _draw(*a, crop=False),
            "the text grows longer than the model's positions: give it at most the last "
            "block_size tokens",
        ),
        (
            lambda *a: _draw(*a, join=lambda idx, token: [idx[:, -TINY.block_size :], token]),
            "the text itself is cut: cut only what the model reads, and append to all of idx",
        ),
        (
            lambda model, idx, n, top_p: idx,
            "nothing is appended: torch.cat returns a new tensor, so idx = torch.cat(…)",
        ),
        (
            lambda model, idx, n, top_p: _draw(
                model, idx, n, 1.0, pick=lambda p: torch.multinomial(_sharpened(p, top_p), 1)
            ),
            "probabilities' second argument is the temperature: write top_p=top_p",
        ),
        (
            lambda *a: _draw(*a, read=lambda idx, prompt: idx[:, : TINY.block_size]),
            "of a long text the model reads the beginning: give it the last block_size tokens",
        ),
        (
            lambda *a: _draw(*a, pick=lambda p: p.argmax(-1, keepdim=True)),
            "it takes the likeliest token each time: draw one with torch.multinomial",
        ),
        (
            lambda *a: _draw(*a, pick=lambda p: torch.multinomial(p[0], 1).expand(len(p), 1)),
            "one token is drawn for all sequences: each has its own",
        ),
        (
            lambda *a: _draw(*a, pick=lambda p: torch.multinomial((p > 0).float(), 1)),
            "all kept tokens are equally likely: draw by their probabilities",
        ),
        (
            lambda model, idx, n, top_p: _draw(model, idx, n, 1.0),
            "top_p is ignored: pass it on to probabilities",
        ),
    ),
)


# An exercise


def looks_back(weights):
    back = weights.diagonal(-1, 2, 3).mean(-1)  # (L, H)
    return divmod(back.argmax().item(), back.shape[1])


def _maps(L, H, T, seed):
    scores = 2 * _random(L, H, T, T, seed=seed)
    return scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)


def _where(values):
    return divmod(values.argmax().item(), values.shape[1])


_LOOKS_BACK = Part(
    solution=looks_back,
    cases=((_maps(3, 4, 6, 6),), (_maps(2, 5, 9, 10),), (_maps(1, 3, 2, 3),)),
    mistakes=(
        (
            lambda weights: _where(weights.diagonal(0, 2, 3).mean(-1)),
            "this is the head that reads itself most: take the diagonal below, offset -1",
        ),
        (
            lambda weights: _where(weights.diagonal(1, 2, 3).mean(-1)),
            "the diagonal above the main one is the future, all 0: take offset -1",
        ),
        (
            lambda weights: _where(weights.tril(-1).mean((2, 3))),
            "this counts all that lies before t: take t - 1 alone, diagonal(-1, 2, 3)",
        ),
        (
            lambda weights: divmod(
                weights.diagonal(-1, 2, 3).mean(-1).argmax().item(), len(weights)
            ),
            "the division is by L: divmod by H, the heads of a layer",
        ),
        (
            lambda weights: _where(weights[..., 1:, 0].mean(-1)),
            "this is the head that reads the first token most: t reads t - 1",
        ),
        (
            lambda weights: looks_back(weights)[::-1],
            "this is (head, layer): the layer comes first",
        ),
        (
            lambda weights: weights.diagonal(-1, 2, 3).mean(-1).argmax().item(),
            "this counts through all heads: divmod by H gives layer and head",
        ),
        (
            lambda weights: _where(-weights.diagonal(-1, 2, 3).mean(-1)),
            "this is the head that looks back least",
        ),
        (
            lambda weights: _where(weights.diagonal(-1, 2, 3).amax(-1)),
            "this is the head with the largest single weight: take the mean over t",
        ),
    ),
    exercise=True,
)

PARTS: dict[str, Part] = {
    "01_embed": _EMBED,
    "01_attend": _ATTEND,
    "01_heads": _HEADS,
    "01_mlp": _MLP,
    "01_block": _BLOCK,
    "01_gpt": _GPT,
    "01_loss": _LOSS,
    "01_parameters": _PARAMETERS,
    "01_draw": _DRAW,
    "01_looks_back": _LOOKS_BACK,
}
