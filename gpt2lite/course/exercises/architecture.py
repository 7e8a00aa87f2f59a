"""Notebook 01: parameters of a configuration, one head of attention, the best pair of BPE."""

from itertools import combinations, pairwise

import torch

from gpt2lite.config import SIZES
from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# Parameters of a configuration


def _parameters(config, tied=True, positions=True, biases=True, final=True):
    C, V = config.n_embd, config.vocab_size
    layer = 12 * C**2 + (13 if biases else 4) * C  # 9 C biases; 4 C in the two LayerNorms
    embeddings = (1 if tied else 2) * V * C + positions * config.block_size * C
    return embeddings + config.n_layer * layer + final * 2 * C


def _matrix(config):
    return config.n_embd**2 + config.n_embd  # C → C, with its bias


def parameters(config):
    C = config.n_embd
    attn = C * 3 * C + 3 * C + C * C + C  # c_attn, c_proj
    mlp = C * 4 * C + 4 * C + 4 * C * C + C  # c_fc, c_proj
    norms = 2 * 2 * C  # ln_1, ln_2
    embeddings = (config.vocab_size + config.block_size) * C  # the head is wte again
    return embeddings + config.n_layer * (attn + mlp + norms) + 2 * C  # ln_f


PARTS["01_parameters"] = Part(
    solution=parameters,
    exercise=True,
    cases=tuple((config,) for config in SIZES.values()),
    mistakes=(
        (
            lambda config: _parameters(config, tied=False),
            "the output head is counted on its own: it is wte again, and adds nothing",
        ),
        (
            lambda config: _parameters(config, positions=False),
            "wpe is missing: one row of C for each of block_size positions",
        ),
        (
            lambda config: _parameters(config, biases=False),
            "the biases are missing: 3C in c_attn, C in attn.c_proj, 4C in c_fc, C in mlp.c_proj",
        ),
        (
            lambda config: _parameters(config, final=False),
            "ln_f is missing: one more LayerNorm after the last block, a gain and a bias of C each",
        ),
        (
            lambda config: _parameters(config) - config.n_layer * _matrix(config),
            "one C → C matrix with its bias is missing in attention: c_proj",
        ),
        (
            lambda config: _parameters(config) - 2 * config.n_layer * _matrix(config),
            "c_attn makes q, k and v: it is C → 3C",
        ),
        (
            lambda config: _parameters(config) - (2 * config.n_layer + 1) * config.n_embd,
            "a LayerNorm has a gain and a bias: 2C, not C",
        ),
    ),
)


# One head of attention


def _attend(q, k, v, scale=lambda D: D**-0.5, mask=True, ahead=0, dim=-1):
    T, D = q.shape
    scores = q @ k.T * scale(D)
    if mask:
        visible = torch.ones(T, T, dtype=torch.bool).tril(ahead)
        scores = scores.masked_fill(~visible, float("-inf"))
    return scores.softmax(dim) @ v


def _masked_too_late(q, k, v):
    T, D = q.shape
    return (q @ k.T / D**0.5).softmax(-1).tril() @ v


def _zero_for_the_future(q, k, v):
    T, D = q.shape
    return (q @ k.T / D**0.5).tril().softmax(-1) @ v


def _qkv(T, D, seed):
    return tuple(torch.randn(3, T, D, generator=torch.Generator().manual_seed(seed)))


def attend(q, k, v):
    T, D = q.shape
    scores = q @ k.T / D**0.5  # (T, T)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    return weights @ v


PARTS["01_attend"] = Part(
    solution=attend,
    exercise=True,
    cases=(_qkv(1, 4, 0), _qkv(5, 4, 1), _qkv(7, 16, 2)),
    mistakes=(
        (
            lambda q, k, v: _attend(q, k, v, scale=lambda D: 1.0),
            "the scores are not scaled: divide them by √D before the softmax",
        ),
        (
            lambda q, k, v: _attend(q, k, v, scale=lambda D: 1 / D),
            "the scores are divided by D: the scale is √D, the spread of a sum of D products",
        ),
        (
            lambda q, k, v: _attend(q, k, v, mask=False),
            "a token sees its future: set the scores above the diagonal to -inf",
        ),
        (
            lambda q, k, v: _attend(q, k, v, ahead=1),
            "a token sees one step of its future: the mask is tril(), not tril(1)",
        ),
        (
            lambda q, k, v: _attend(q, k, v, ahead=-1),
            "a token may read itself too: the future starts above the diagonal, triu(1)",
        ),
        (
            _zero_for_the_future,
            "the future's scores are 0, and exp(0) is 1: set them to -inf",
        ),
        (
            _masked_too_late,
            "the mask comes after the softmax, so the rows no longer sum to 1: mask the scores",
        ),
        (
            lambda q, k, v: _attend(q, k, v, dim=0),
            "the softmax runs over the readers: each row must sum to 1, so use dim=-1",
        ),
        (
            lambda q, k, v: _attend(q, k, torch.eye(len(q))),
            "these are the weights: gather with them, weights @ v",
        ),
    ),
)


# The first merge that BPE learns


def _best_pair(words, weigh=lambda count: count, pairs=pairwise, best=max):
    seen = {}
    for parts, count in words.items():
        for pair in pairs(parts):
            seen[pair] = seen.get(pair, 0) + weigh(count)
    return best(seen, key=seen.get)


def _across_words(words):
    text = [part for parts, count in words.items() for part in parts * count]
    return _best_pair({tuple(text): 1})


def best_pair(words):
    counts = {}
    for parts, n in words.items():
        for pair in zip(parts, parts[1:]):  # noqa: B905
            counts[pair] = counts.get(pair, 0) + n
    return max(counts, key=counts.get)


PARTS["01_best_pair"] = Part(
    solution=best_pair,
    exercise=True,
    cases=(  # each has one best pair
        ({("l", "o", "w"): 5, ("l", "o"): 2, ("n", "e", "w"): 3, ("e", "w", "e"): 1},),
        ({("a", "b"): 9, ("x", "y"): 1, ("x", "y", "z"): 1, ("w", "x", "y"): 1},),
        ({("a", "b", "c"): 5, ("a", "d", "c"): 4, ("a", "b"): 1},),
        ({(" a",): 9, (" t", "h", "e"): 4, (" t", "h"): 1},),
    ),
    mistakes=(
        (
            lambda words: _best_pair(words, weigh=lambda count: 1),
            "each word counts once: a pair counts as often as its word occurs",
        ),
        (
            lambda words: _best_pair(words, pairs=lambda parts: combinations(parts, 2)),
            "the parts of a pair must be neighbours: parts[i] and parts[i + 1]",
        ),
        (
            _across_words,
            "a pair joins the end of one word to the beginning of the next: merges stay in a word",
        ),
        (
            lambda words: _best_pair(words, best=min),
            "that is the rarest pair: BPE merges the most frequent one first",
        ),
    ),
)
