"""Notebook 01, the tokenizer in depth: one round of learning merges, and merging by them."""

from itertools import combinations, pairwise

from gpt2lite.course.exercises import Part

# The pair to merge next


def best_pair(words):
    counts = {}
    for parts, n in words.items():
        for i in range(len(parts) - 1):
            pair = parts[i], parts[i + 1]
            counts[pair] = counts.get(pair, 0) + n
    return max(counts, key=counts.get)


def _best_pair(words, weigh=lambda count: count, pairs=pairwise, best=max):
    counts = {}
    for parts, n in words.items():
        for pair in pairs(parts):
            counts[pair] = counts.get(pair, 0) + weigh(n)
    return best(counts, key=counts.get)


def _across_words(words):
    text = [part for parts, n in words.items() for part in parts * n]
    return _best_pair({tuple(text): 1})


_BEST_PAIR = Part(
    solution=best_pair,
    exercise=True,
    cases=(  # each has one best pair
        ({("l", "o", "w"): 5, ("l", "o"): 2, ("n", "e", "w"): 3, ("e", "w", "e"): 1},),
        ({("a", "b"): 9, ("x", "y"): 1, ("x", "y", "z"): 1, ("w", "x", "y"): 1},),
        ({("a", "b", "c"): 5, ("a", "d", "c"): 4, ("a", "b"): 1},),
        ({(" a",): 9, (" t", "h", "e"): 4, (" t", "h"): 1},),
        ({("a", "b", "a", "b", "a", "b"): 2, ("x", "y"): 3},),
        ({("n", "e", "w"): 3, ("p", "e", "w"): 3, ("n", "e"): 1},),
        ({("o", "n"): 3, ("n", "o"): 3, ("i", "t"): 5},),
    ),
    mistakes=(
        (
            lambda words: _best_pair(words, weigh=lambda n: 1),
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
            lambda words: _best_pair(
                words, best=lambda counts, key: max(counts.items(), key=lambda item: item[1])
            ),
            "that is the pair together with its count: return the pair alone",
        ),
        (
            lambda words: _best_pair(words, best=min),
            "that is the rarest pair: BPE merges the most frequent one first",
        ),
        (
            lambda words: _best_pair(words, pairs=lambda parts: pairwise(parts[:-1])),
            "the last pair of each word is missing: a word of n parts has n - 1 pairs",
        ),
        (
            lambda words: _best_pair(words, pairs=lambda parts: set(pairwise(parts))),
            "a pair counts once in each word: in ('a', 'b', 'a', 'b') it stands twice",
        ),
        (
            lambda words: _best_pair(words, pairs=lambda parts: list(pairwise(parts))[::2]),
            "every second pair is left out: pairs overlap, (a, b) and (b, c)",
        ),
        (
            lambda words: _best_pair(
                words, pairs=lambda parts: map(tuple, map(sorted, pairwise(parts)))
            ),
            "a pair and its mirror image are counted as one: ('o', 'n') is not ('n', 'o')",
        ),
    ),
)


# A word's tokens


def merge(word, rank):
    parts = [bytes([byte]) for byte in word]
    while len(parts) > 1:
        pairs = [(parts[i], parts[i + 1]) for i in range(len(parts) - 1)]
        i = min(range(len(pairs)), key=lambda i: rank.get(pairs[i], len(rank)))
        if pairs[i] not in rank:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _merge(word, rank, choose=min, once=False):
    parts = [bytes([byte]) for byte in word]
    while known := [i for i, pair in enumerate(pairwise(parts)) if pair in rank]:
        i = choose(known, key=lambda i: rank[parts[i], parts[i + 1]])
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if once:
            break
    return parts


def _from_the_left(word, rank):
    return _merge(word, rank, choose=lambda known, key: known[0])


def _longest(word, rank):
    tokens, parts = {a + b for a, b in rank}, []
    while word:
        n = next(n for n in range(len(word), 0, -1) if n == 1 or word[:n] in tokens)
        parts.append(word[:n])
        word = word[n:]
    return parts


# As the lists of known merges are read: "h e", then "t he", then "t h", then "e r"
_RANK = {(b"h", b"e"): 0, (b"t", b"he"): 1, (b"t", b"h"): 2, (b"e", b"r"): 3, (b"th", b"er"): 4}

_MERGE = Part(
    solution=merge,
    exercise=True,
    cases=(
        (b"her", _RANK),
        (b"the", _RANK),
        (b"ther", _RANK),
        (b"thth", _RANK),
        (b"x", _RANK),
        (b"", _RANK),
        (b"hehehe", _RANK),
        (b"xyz", {}),
    ),
    mistakes=(
        (
            lambda word, rank: [part.decode() for part in merge(word, rank)],
            "these are strings: a token is bytes, and need not be whole characters",
        ),
        (
            _from_the_left,
            "the first known pair from the left is merged: merge the one learned first",
        ),
        (
            lambda word, rank: _merge(word, rank, choose=max),
            "the pair learned last is merged first: the smallest rank comes first",
        ),
        (
            lambda word, rank: _merge(word, rank, once=True),
            "one merge is done: go on while a known pair is left",
        ),
        (
            lambda word, rank: [bytes([byte]) for byte in word],
            "nothing is merged: these are the bytes",
        ),
        (
            _longest,
            "this takes the longest known token from the left: BPE merges in the order of learning",
        ),
        (
            lambda word, rank: b"".join(_merge(word, rank)),
            "the parts are joined again: return the list of tokens",
        ),
    ),
)

PARTS: dict[str, Part] = {"01_best_pair": _BEST_PAIR, "01_merge": _MERGE}
