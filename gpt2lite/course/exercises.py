"""The notebooks' exercises: solutions, cases, and known wrong answers with what to say to each.

Names are NN_what, NN the notebook. tests/test_exercises.py holds every entry to this: the solution
passes, and each wrong answer is rejected with its own sentence.
"""

from itertools import combinations, pairwise

import torch

from gpt2lite.config import SIZES
from gpt2lite.course.checks import Exercise

EXERCISES: dict[str, Exercise] = {}


# 01 · parameters of a configuration


def _parameters(config, tied=True, positions=True, biases=True, final=True):
    C, V = config.n_embd, config.vocab_size
    layer = 12 * C**2 + (13 if biases else 4) * C  # 9 C biases; 4 C in the two LayerNorms
    embeddings = (1 if tied else 2) * V * C + positions * config.block_size * C
    return embeddings + config.n_layer * layer + final * 2 * C


def _matrix(config):
    return config.n_embd**2 + config.n_embd  # C → C, with its bias


EXERCISES["01_parameters"] = Exercise(
    solution=_parameters,
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


# 01 · one head of attention


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


EXERCISES["01_attend"] = Exercise(
    solution=_attend,
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


# 01 · the first merge that BPE learns


def _best_pair(words, weigh=lambda count: count, pairs=pairwise, best=max):
    seen = {}
    for parts, count in words.items():
        for pair in pairs(parts):
            seen[pair] = seen.get(pair, 0) + weigh(count)
    return best(seen, key=seen.get)


def _across_words(words):
    text = [part for parts, count in words.items() for part in parts * count]
    return _best_pair({tuple(text): 1})


EXERCISES["01_best_pair"] = Exercise(
    solution=_best_pair,
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


def _turned_over(name):
    return ".c_" in name and name.endswith(".weight")


EXERCISES["02_turned_over"] = Exercise(
    _turned_over,
    cases=tuple(
        (prefix + name,)
        for prefix in ("", "transformer.")
        for name in (
            "wte.weight",
            "wpe.weight",
            "h.0.ln_1.weight",
            "h.0.attn.c_attn.weight",
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight",
            "h.11.mlp.c_fc.weight",
            "h.11.mlp.c_proj.weight",
            "h.11.mlp.c_proj.bias",
            "ln_f.bias",
        )
    ),
    mistakes=(
        (
            lambda name: _turned_over(name) and "attn.c_proj" not in name,
            "attn.c_proj is missing: it is square, so its shape looks right either way, but it "
            "is a Conv1D like the other three",
        ),
        (
            lambda name: _turned_over(name) or "wte" in name or "wpe" in name,
            "wte and wpe are tables with one row a token or position, no layers: they stay",
        ),
        (
            lambda name: ".c_" in name,
            "biases have one dimension: there is nothing to turn over, so only .weight counts",
        ),
        (
            lambda name: _turned_over(name) and name.startswith("h."),
            "right for the hub's names, but save_pretrained writes them with transformer. in front",
        ),
    ),
)


def _top_p(p, share):
    down, order = p.sort(descending=True)
    before = down.cumsum(0) - down
    kept = torch.zeros_like(p)
    kept[order] = torch.where(before < share, down, 0.0)
    return kept / kept.sum()


def _top_p_without_crossing(p, share):
    down, order = p.sort(descending=True)
    kept = torch.zeros_like(p)
    kept[order] = torch.where(down.cumsum(0) <= share, down, 0.0)
    return kept / kept.sum()


def _top_p_unsorted(p, share):
    kept = torch.where(p.cumsum(0) - p < share, p, 0.0)
    return kept / kept.sum()


def _top_p_without_places(p, share):
    return _top_p(p, share).sort(descending=True).values


def _top_p_by_threshold(p, share):
    kept = torch.where(p >= share, p, 0.0)
    return kept / kept.sum()


EXERCISES["02_top_p"] = Exercise(
    _top_p,
    cases=tuple(
        (torch.tensor(p), share)
        for p, share in (
            ([0.125, 0.5, 0.25, 0.0625, 0.0625], 0.6),
            ([0.125, 0.5, 0.25, 0.0625, 0.0625], 0.8),
            ([0.1, 0.2, 0.7], 0.75),
            ([0.125, 0.5, 0.375], 0.25),
            ([0.25, 0.25, 0.25, 0.25], 1.0),
        )
    ),
    mistakes=(
        (
            _top_p_without_crossing,
            "the token that crosses the share stays too: without it the others hold less than the "
            "share, and when the first token alone is larger, nothing is left",
        ),
        (
            lambda p, share: _top_p(p, share).sign() * p,
            "the right tokens stay, but their chances no longer sum to 1: divide by their sum",
        ),
        (
            _top_p_without_places,
            "the chances are right but in sorted order: put each back in its token's place, with "
            "the indices that sort returns",
        ),
        (
            _top_p_unsorted,
            "top-p keeps the likeliest tokens: sort downwards before you sum up",
        ),
        (
            _top_p_by_threshold,
            "share is not a threshold for one token: it is what the kept tokens hold together",
        ),
        (
            lambda p, share: _top_p_without_crossing(p, share).sign() * p,
            "two things: the token that crosses the share stays, and the kept ones must sum to 1 "
            "again",
        ),
    ),
)


EXERCISES["02_positions_of"] = Exercise(
    lambda past, T: torch.arange(past, past + T),
    cases=((0, 7), (7, 1), (5, 3), (1000, 24)),
    mistakes=(
        (
            lambda past, T: torch.arange(T),
            "the new tokens start at 0 again, as if nothing stood before them: start at past",
        ),
        (
            lambda past, T: torch.full((T,), past),
            "all new tokens stand at the same position: T tokens need T positions",
        ),
        (
            lambda past, T: torch.arange(past + T),
            "these are the positions of all tokens; those in the cache have theirs, so return T",
        ),
        (
            lambda past, T: torch.arange(past + 1, past + T + 1),
            "one too far: past tokens stand at 0 to past - 1, so the first new one stands at past",
        ),
    ),
)
