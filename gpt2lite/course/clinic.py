"""Notebook 09's patients: parts of a training program, healthy ones and ones with a silent bug.

The notebook's ten bugs were shipped once; none raises an error, and most leave the loss falling.
Knows nothing about the checks that find them. Over 250 lines, since each patient is a few of them.
Sources: the notebook, beside each bug.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite import GPT, GPTConfig
from gpt2lite.model import MLP, CausalSelfAttention

SMALL = GPTConfig(block_size=32, vocab_size=256, n_layer=2, n_head=2, n_embd=32)
ODD = replace(SMALL, vocab_size=61)  # no multiple of 64
SHARDS = tuple(range(start, start + 10) for start in range(0, 3000, 100))


class Patient:
    """A program to examine: it is called as that program is, and shown by what it does."""

    def __init__(self, does: str, program: Callable):
        self.does, self.program = does, program

    def __call__(self, *args, **named):
        return self.program(*args, **named)

    def __getattr__(self, name):
        if name.startswith("__") or name == "program":  # a copy in the making has none yet
            raise AttributeError(name)
        return getattr(self.program, name)

    def __repr__(self):
        return self.does


# The model


class ErfMLP(MLP):
    """GELU in its exact form; GPT-2 was trained with the approximation by tanh."""

    def forward(self, x):
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x))))


class StuckPositions(nn.Embedding):
    """Every token gets the vector of position 0."""

    def forward(self, positions):
        return super().forward(torch.zeros_like(positions))


class MaskedByTenThousand(CausalSelfAttention):
    """The mask sets the scores of later tokens to -10,000, where it should exclude them."""

    def forward(self, x, cache=None):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(C // self.n_head)
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -1e4)
        y = F.dropout(scores.softmax(-1), self.dropout, self.training) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class OpenMask(CausalSelfAttention):
    """Each token sees the next one too, in the given modes: training, evaluation."""

    modes = True, False

    def forward(self, x, cache=None):
        if self.training not in self.modes:
            return super().forward(x, cache)
        B, T, C = x.shape
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        mask = torch.ones(T, T, dtype=torch.bool, device=x.device).tril(1)
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class OpenInTraining(OpenMask):
    """The same in training alone, while dropout is on."""

    modes = (True,)


class OpenInEvaluation(OpenMask):
    """The same in evaluation alone."""

    modes = (False,)


def small(does: str, change: Callable = lambda model: None, **sizes) -> Patient:
    """Return a small GPT, changed, that was switched to training, as a patient."""
    with torch.random.fork_rng(devices=[]):  # whoever imports the parts keeps their random numbers
        torch.manual_seed(0)
        model = GPT(replace(SMALL, **sizes))
    change(model)
    return Patient(does, model.train())


def stuck_positions(model) -> None:
    """Give every token the vector of position 0."""
    model.wpe.__class__ = StuckPositions


def no_positions(model) -> None:
    """Add no positions."""
    nn.init.zeros_(model.wpe.weight)


def faint_positions(model) -> None:
    """Make positions so small that the logits differ by no more than rounding does."""
    with torch.no_grad():
        model.wpe.weight *= 1e-5


def erf_gelu(model) -> None:
    """Use the exact form of GELU."""
    for block in model.h:
        block.mlp.__class__ = ErfMLP


def attention_of(kind: type) -> Callable:
    """Return a change that makes all attention of one kind."""

    def change(model):
        for block in model.h:
            block.attn.__class__ = kind

    return change


def large_scores(model) -> None:
    """Make queries and keys so large that their scores pass 10,000."""
    for block in model.h:
        with torch.no_grad():
            block.attn.c_attn.weight[: 2 * model.config.n_embd] *= 2000


def both(*changes: Callable) -> Callable:
    """Return one change made of several."""

    def change(model):
        for each in changes:
            each(model)

    return change


# The data


def rows_of(tokens, starts, T: int):
    """Return the rows of T tokens that begin at `starts`, (B, T)."""
    return torch.stack([tokens[start : start + T] for start in starts])


def next_tokens(tokens):
    """Return x and y (4, 8), y one token later."""
    starts = range(0, 32, 8)
    return rows_of(tokens, starts, 8), rows_of(tokens[1:], starts, 8)


def random_rows(tokens):
    """Return x and y (4, 8), from anywhere in the text."""
    starts = torch.randint(len(tokens) - 8, (4,)).tolist()
    return rows_of(tokens, starts, 8), rows_of(tokens[1:], starts, 8)


def shift_again(x, y):
    """Shift the targets by one token, as if they weren't yet."""
    return x[:, :-1], y[:, 1:]


def shifted_twice(tokens):
    """Shift the targets in the data, and once more in the loss."""
    return shift_again(*next_tokens(tokens))


def rolled(tokens):
    """Roll each row by one: its last target is its own first token."""
    x, _ = next_tokens(tokens)
    return x, x.roll(-1, dims=1)


def last_column_alone(tokens):
    """Shift the last target of each row, and forget the others."""
    x, y = next_tokens(tokens)
    return x, torch.cat([x[:, :-1], y[:, -1:]], dim=1)


def last_row_is_first(tokens):
    """Take the last row's targets from the first row."""
    x, y = next_tokens(tokens)
    return x, torch.cat([y[:-1], y[:1]])


def rows_exchanged(tokens):
    """Shuffle the rows of the targets alone."""
    x, y = next_tokens(tokens)
    return x, y.flip(0)


class Reader:
    """Reads shards of tokens, 4 at a time, over and over, and can go on where it was."""

    def __init__(self, shards=SHARDS):
        self.shards = [torch.tensor(list(shard)) for shard in shards]
        self.shard = self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.position + 4 > len(self.shards[self.shard]):
            self.shard, self.position = (self.shard + 1) % len(self.shards), 0
        self.position += 4
        return self.shards[self.shard][self.position - 4 : self.position]

    def state_dict(self):
        return {"shard": self.shard, "position": self.position}

    def load_state_dict(self, state):
        self.shard, self.position = state["shard"], state["position"]


class OfOtherShards(Reader):
    """Reads other tokens."""

    def __init__(self):
        super().__init__([range(start + 50, start + 61) for start in range(0, 3000, 100)])


class ForgetsTheShard(Reader):
    """Goes on at the right position, of shard 0."""

    def load_state_dict(self, state):
        self.position = state["position"]


class StartsOver(Reader):
    """Goes on from the beginning."""

    def load_state_dict(self, state):
        pass


class SavesWhatIsFetched(Reader):
    """Fetches a row ahead, and saves the place behind it: that row is never read."""

    def __init__(self):
        super().__init__()
        self.ahead = super().__next__()

    def __next__(self):
        row, self.ahead = self.ahead, super().__next__()
        return row

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.ahead = super().__next__()


class DrawsANewOrder(Reader):
    """Each reader takes the shards in another order, which nobody saves."""

    draws = itertools.count()

    def __init__(self):
        super().__init__()
        first = next(self.draws) % len(self.shards)  # no two in a row agree anywhere
        self.shards = self.shards[first:] + self.shards[:first]


# The step


def clipped_step(order: str) -> Callable:
    """Return a step with a scaled loss: scale -> the gradient that the optimizer would use.

    order: what is done after backward, of "unscale", "clip" and "clip, then unscale" and so on.
    """

    def step(scale: float):
        torch.manual_seed(0)
        layer = nn.Linear(8, 8)
        loss = 10 * layer(torch.randn(4, 8)).square().mean()
        (scale * loss).backward()
        for what in order.split(", "):
            if what == "unscale":
                for p in layer.parameters():
                    p.grad /= scale
            elif what == "clip":
                nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        return torch.cat([p.grad.flatten() for p in layer.parameters()])

    return step


def validation(after: Callable) -> Callable:
    """Return a validation that leaves the model as `after(model, before)` does."""

    def validate(model):
        before = model.training
        model.eval()
        with torch.no_grad():
            loss = model(torch.arange(8)[None]).logsumexp(-1).mean().item()
        after(model, before)
        return loss

    return validate


def flag_alone(model, before):
    """Set the model's own flag, which its parts don't look at."""
    model.training = before


def gradient_of(combine: Callable) -> Callable:
    """Return what a step of several micro-batches makes: [(x, y), ...] -> one gradient.

    combine: the losses of the micro-batches, each a sum, and their numbers of tokens and of rows
    -> a loss. A target of -100 is not counted.
    """

    def gradient(batches):
        torch.manual_seed(0)
        table = nn.Embedding(256, 256)
        sums, counts, rows = [], [], []
        for x, y in batches:
            sums.append(F.cross_entropy(table(x).flatten(0, 1), y.flatten(), reduction="sum"))
            counts.append((y != -100).sum())
            rows.append(torch.tensor(len(x)))
        combine(*map(torch.stack, (sums, counts, rows))).backward()
        return table.weight.grad.flatten()

    return gradient


def mean_of_means(sums, counts, rows):
    """Average the micro-batches' means."""
    return (sums / counts.clamp(min=1)).mean()


def mean_of_all(sums, counts, rows):
    """Return the mean over all tokens."""
    return sums.sum() / counts.sum()


# The numbers


def by_capability(capability, says_bf16):
    """Take bf16 from compute capability 8.0 on."""
    return torch.bfloat16 if capability >= (8, 0) else torch.float16


def by_asking(capability, says_bf16):
    """Ask torch.cuda.is_bf16_supported()."""
    return torch.bfloat16 if says_bf16 else torch.float16


def parameters(model):
    """Count the parameters."""
    return sum(p.numel() for p in model.parameters())


def padded(model):
    """Count them with a vocabulary that is padded to a multiple of 64."""
    rows = -model.config.vocab_size % 64
    return parameters(model) + rows * model.config.n_embd


def tanh_gelu(x):
    """Return GELU in GPT-2's form."""
    return F.gelu(x, approximate="tanh")


# Whole programs


def clips_before_unscaling(run):
    """Let a Trainer clip the scaled gradient: `unscale_` does nothing until the update calls it."""
    unscale, now = run.scaler.unscale_, itertools.cycle((False, True))
    run.scaler.unscale_ = lambda optimizer: unscale(optimizer) if next(now) else None
    return run


# What each bug of the notebook does, by its number.
BUGS = {
    1: stuck_positions,
    2: attention_of(OpenInTraining),
    3: erf_gelu,
    4: shift_again,
    5: ForgetsTheShard,
    6: clips_before_unscaling,
    7: validation(lambda model, before: None),
    8: gradient_of(mean_of_means),
    9: by_asking,
    10: padded,
}
