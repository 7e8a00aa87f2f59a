"""Notebook 07: bits per byte, scoring and choosing endings, standard errors, paired comparison.

Over 250 lines, for the wrong answers that readers give: each is a line of its own here.
"""

import math
from itertools import accumulate, pairwise

import torch

from gpt2lite.config import GPTConfig
from gpt2lite.course.exercises import Part
from gpt2lite.model import GPT

PARTS: dict[str, Part] = {}


def _numbers(*values):
    return torch.tensor(values)


# 07 · the loss per byte of the text that was scored


def bits_per_byte(losses, pieces):
    n_bytes = sum(len(piece) for piece in pieces)
    return losses.sum().item() / (n_bytes * math.log(2))


def _bits(losses, n_bytes):
    return losses.sum().item() / (n_bytes * math.log(2))


def _bytes(pieces):
    return sum(map(len, pieces))


PARTS["07_bits_per_byte"] = Part(
    solution=bits_per_byte,
    cpu=True,
    cases=(
        (_numbers(2.0, 0.5, 4.0), [b"The", b" dog", b"."]),
        (_numbers(1.0, 3.0), [" café".encode(), b"!"]),
        (_numbers(5.0, 0.25, 1.0, 0.5), [b"\xe4\xbd", b"\xa0", "好".encode(), b"\n"]),
        (_numbers(3.5), ["🎭".encode()]),
        (_numbers(2.0, 1.0, 3.0, 0.5, 0.25), [b"to", b" be", b" or", b" to", b" be"]),
    ),
    mistakes=(
        (
            lambda losses, pieces: _bits(losses, len(pieces)),
            "these are bits per token: divide by the bytes of all pieces, sum(len(piece) ...)",
        ),
        (
            lambda losses, pieces: losses.sum().item() / _bytes(pieces),
            "these are nats per byte: a bit is ln 2 nats, so divide by math.log(2) too",
        ),
        (
            lambda losses, pieces: losses.sum().item() * math.log(2) / _bytes(pieces),
            "ln 2 is on the wrong side: a bit is ln 2 = 0.69 nats, so there are more bits than "
            "nats; divide by math.log(2)",
        ),
        (
            lambda losses, pieces: _bits(losses.mean(), _bytes(pieces)),
            "the mean loss of a token is divided by the bytes of all of them: take the sum",
        ),
        (
            lambda losses, pieces: losses.mean().item() / _bytes(pieces),
            "the mean loss of a token is divided by the bytes of all of them: take the sum, and "
            "divide by math.log(2) too",
        ),
        (
            lambda losses, pieces: (
                (losses / _numbers(*map(len, pieces))).mean().item() / math.log(2)
            ),
            "this is a mean over tokens of bits per byte, in which a short token's bytes count "
            "more: divide the sum of all losses by the sum of all bytes",
        ),
        (
            lambda losses, pieces: _bits(
                losses, sum(len(p.decode(errors="replace")) for p in pieces)
            ),
            "these are characters: é is one of those but two bytes, so take len(piece) as it is, "
            "without decode",
        ),
        (
            lambda losses, pieces: _bits(losses, len(b"".join(pieces).decode(errors="replace"))),
            "these are the characters of the whole text: é is one of those but two bytes",
        ),
        (
            lambda losses, pieces: _bits(
                losses, sum(len(p.decode(errors="replace").encode()) for p in pieces)
            ),
            "half a character is not UTF-8: decode turns it into �, which has 3 bytes; take "
            "len(piece) as it is",
        ),
        (
            lambda losses, pieces: losses.sum().item() / (_bytes(pieces) * math.log10(2)),
            "that is the logarithm to base 10: a bit is ln 2 nats, math.log(2)",
        ),
        (
            lambda losses, pieces: -bits_per_byte(losses, pieces),
            "the sign: losses are -ln p already, so the result isn't negative",
        ),
        (
            lambda losses, pieces: _bits(losses, _bytes(set(pieces))),
            "a token that comes twice is counted once: add up the bytes of all pieces, not of "
            "set(pieces)",
        ),
        (
            lambda losses, pieces: math.exp(losses.mean().item()),
            "this is the perplexity: bits per byte are the sum of the losses over bytes and ln 2",
        ),
    ),
)


# 07 · how likely an ending is


def completion_logprobs(model, context, completion):
    idx = torch.tensor([context + completion], device=model.wte.weight.device)
    logits = model(idx)[0, len(context) - 1 : -1]  # (n, V): each guesses the token after it
    return logits.log_softmax(-1).gather(-1, idx[0, len(context) :, None])[:, 0]


_TINY = GPTConfig(block_size=9, vocab_size=13, n_layer=1, n_head=2, n_embd=8)


def _model():
    model = GPT(_TINY).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.normal_(0, 0.5, generator=generator)
    return model


def _logits(model, context, completion, first, last):
    """Return the rows first to last of the logits for the whole text, and the completion."""
    idx = torch.tensor([context + completion], device=model.wte.weight.device)
    return model(idx)[0, first:last], idx[0, len(context) :, None]


def _rows(model, context, completion):
    """Return the logits (n, V) that guess the completion, and the completion (n, 1)."""
    return _logits(model, context, completion, len(context) - 1, -1)


def _own_places(model, context, completion):
    logits, right = _logits(model, context, completion, len(context), None)
    return logits.log_softmax(-1).gather(-1, right)[:, 0]


def _two_back(model, context, completion):
    logits, right = _logits(model, context, completion, len(context) - 2, -2)
    return logits.log_softmax(-1).gather(-1, right)[:, 0]


def _over_time(model, context, completion):
    idx = torch.tensor([context + completion], device=model.wte.weight.device)
    logits = model(idx).log_softmax(1)[0, len(context) - 1 : -1]
    return logits.gather(-1, idx[0, len(context) :, None])[:, 0]


def _everything(model, context, completion):
    logits, _ = _logits(model, context, completion, 0, -1)
    after = torch.tensor([context + completion], device=logits.device)[0, 1:, None]
    return logits.log_softmax(-1).gather(-1, after)[:, 0]


def _alone(model, context, completion):
    idx = torch.tensor([completion], device=model.wte.weight.device)
    return model(idx)[0].log_softmax(-1).gather(-1, idx[0, :, None])[:, 0]


def _from_context(model, context, completion):
    logits, right = _logits(model, context, completion, len(context) - 1, len(context))
    return logits.log_softmax(-1)[0, right[:, 0]]


PARTS["07_completion_logprobs"] = Part(
    solution=completion_logprobs,
    seen=lambda value: value.float(),  # computed in fp64 it is right, too
    cases=(
        (_model(), [5, 2, 11], [7, 1]),
        (_model(), [4], [12, 0, 3, 3]),
        (_model(), [6, 6, 1, 9, 0, 2], [8]),
        (_model(), [1, 2], [3, 4, 5, 6, 7, 8, 9]),
    ),
    mistakes=(
        (
            _own_places,
            "off by one: the logits at a token's own position guess the token after it, so begin "
            "at the context's last position and leave out the text's last",
        ),
        (
            lambda *case: _rows(*case)[0].gather(-1, _rows(*case)[1])[:, 0],
            "these are logits: take log_softmax(-1) over the vocabulary first",
        ),
        (
            lambda *case: completion_logprobs(*case).exp(),
            "these are probabilities: return their logarithms, log_softmax(-1)",
        ),
        (
            lambda *case: -completion_logprobs(*case),
            "these are losses: a log-probability is ln p, 0 at most, without the minus",
        ),
        (
            lambda *case: completion_logprobs(*case) / math.log(2),
            "these are bits: the course's log-probabilities are natural logarithms",
        ),
        (
            _everything,
            "the context is scored too: only the tokens of the completion count, so begin at the "
            "context's last position",
        ),
        (
            _alone,
            "the model reads the completion alone: give it context + completion",
        ),
        (
            _from_context,
            "all tokens are scored from the context alone: each token may also see those of the "
            "completion before it",
        ),
        (
            _two_back,
            "one position too early: the logits at a position guess the token after it, so the "
            "first token of the completion is guessed at the context's last position",
        ),
        (
            lambda *case: completion_logprobs(*case)[1:],
            "the completion's first token is lost: it is guessed at the context's last position, "
            "len(context) - 1",
        ),
        (
            _over_time,
            "the softmax runs over the positions, dimension 1 of (B, T, V): it belongs over the "
            "vocabulary, log_softmax(-1)",
        ),
        (
            lambda *case: completion_logprobs(*case).sum(),
            "this is the sum: return one log-probability for each token, (n,)",
        ),
        (
            lambda *case: completion_logprobs(*case).mean(),
            "this is the mean: return one log-probability for each token, (n,)",
        ),
        (
            lambda *case: _rows(*case)[0].log_softmax(-1).amax(-1),
            "these belong to the likeliest tokens: gather those of the completion's tokens",
        ),
        (
            lambda *case: _rows(*case)[0].log_softmax(-1),
            "this holds all tokens of the vocabulary, (n, V): gather those of the completion, (n,)",
        ),
        (
            lambda *case: _rows(*case)[0].log_softmax(0).gather(-1, _rows(*case)[1])[:, 0],
            "the softmax runs over positions: it belongs over the vocabulary, log_softmax(-1)",
        ),
        (
            lambda *case: _rows(*case)[0].log_softmax(-1).gather(-1, _rows(*case)[1]),
            "the right numbers with shape (n, 1): take [:, 0] for (n,)",
        ),
    ),
)


# 07 · which ending is best, by three measures


def choose(logprobs, endings, by):
    lengths = {
        "sum": [1 for _ in endings],
        "token": [len(p) for p in logprobs],
        "character": [len(ending) for ending in endings],
    }[by]
    scores = [p.sum().item() / n for p, n in zip(logprobs, lengths, strict=True)]
    return scores.index(max(scores))


def _scores(logprobs, endings, by, **lengths):
    """Return each ending's score, with some of the lengths replaced by another function."""
    length = {
        "sum": lambda p, text: 1,
        "token": lambda p, text: len(p),
        "character": lambda p, text: len(text),
        **lengths,
    }[by]
    pairs = zip(logprobs, endings, strict=True)
    return [p.sum().item() / length(p, text) for p, text in pairs]


def _choose(logprobs, endings, by, **lengths):
    scores = _scores(logprobs, endings, by, **lengths)
    return scores.index(max(scores))


def _lowest(logprobs, endings, by):
    scores = _scores(logprobs, endings, by)
    return scores.index(min(scores))


# Fourteen endings of which each measure prefers another one, and so does each mistake below: an
# index alone tells little, but from so many it is no accident that two functions choose the same.
_LOGPROBS, _ENDINGS = zip(
    (_numbers(-5.25, -3.0, -3.5, -5.5, -2.75, -1.25, -4.25), "sits down and waits"),
    (_numbers(-4.5, -3.5, -1.75, -1.5, -2.25, -1.75), "unquestioningly unperturbed"),
    (_numbers(-5.5, -4.25), "to the café at eight"),
    (_numbers(-4.25, -0.75, -1.0), "no"),
    (_numbers(-0.5, -5.25), "never again"),
    (_numbers(-4.25, -0.75), "goes"),
    (_numbers(-2.25, -0.5, -5.0, -1.25), "eats it all up now"),
    (_numbers(-5.75, -4.0), "a b c d e f"),
    (_numbers(-5.75), "I do"),
    (_numbers(-6.0, -3.0, -3.75, -4.5, -2.5, -0.75, -2.25), "out"),
    (_numbers(-2.25, -3.75), "é"),
    (_numbers(-2.0, -2.0, -0.5, -1.0, -0.75, -4.5), "déjà vu"),
    (_numbers(-4.0, -3.75, -1.75, -0.25, -0.75, -0.5), "in Århus"),
    (_numbers(-6.0), "naïveté"),
    strict=True,
)

PARTS["07_choose"] = Part(
    solution=choose,
    cpu=True,
    cases=(
        *((list(_LOGPROBS), list(_ENDINGS), by) for by in ("sum", "token", "character")),
        ([_numbers(-3.0), _numbers(-2.0, -3.0)], ["ééé", "bbbbbb"], "character"),
        ([_numbers(-3.0), _numbers(-2.5, -3.0)], ["aa", "bbbb"], "character"),
    ),
    mistakes=(
        (
            lambda logprobs, endings, by: _choose(logprobs, endings, "sum"),
            "it always takes the sum: divide it by the ending's length as `by` says",
        ),
        (
            lambda logprobs, endings, by: _choose(logprobs, endings, "token"),
            'it always divides by the tokens: by "sum" divides by nothing',
        ),
        (
            lambda logprobs, endings, by: _choose(logprobs, endings, "character"),
            'it always divides by the characters: by "sum" divides by nothing',
        ),
        (
            lambda logprobs, endings, by: _lowest(logprobs, endings, by),
            "it takes the lowest: log-probabilities are negative, and the best is nearest to 0",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs,
                endings,
                {"token": "character", "character": "token"}.get(by, by),
            ),
            "tokens and characters are swapped: len(p) counts tokens, len(ending) characters",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs, endings, by, token=lambda p, text: len(text.split())
            ),
            "these are words, not tokens: an ending's tokens are as many as its log-probabilities, "
            "len(p)",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs, endings, by, character=lambda p, text: len(text.split())
            ),
            "these are words: divide by the characters, len(ending)",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs, endings, by, character=lambda p, text: len(p) * len(text)
            ),
            "it divides by the tokens and by the characters: take the sum over the characters, "
            "not the mean",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs,
                endings,
                by,
                token=lambda p, text: 1 / len(p),
                character=lambda p, text: 1 / len(text),
            ),
            "the sum is multiplied by the length: divide it",
        ),
        (
            lambda logprobs, endings, by: choose(logprobs, endings, by) + 1,
            "indices begin at 0",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs, endings, by, character=lambda p, text: len(text.encode())
            ),
            "these are bytes: divide by the characters, len(ending)",
        ),
        (
            lambda logprobs, endings, by: _choose(
                logprobs, endings, by, character=lambda p, text: len(text) + 1
            ),
            "the space before the ending is counted: its characters are len(ending)",
        ),
        (
            lambda logprobs, endings, by: max(_scores(logprobs, endings, by)),
            "this is the best score: return its index",
        ),
        (
            lambda logprobs, endings, by: endings[choose(logprobs, endings, by)],
            "this is the best ending: return its index",
        ),
        (
            lambda logprobs, endings, by: _scores(logprobs, endings, by),
            "these are all scores: return the index of the largest",
        ),
    ),
)


# 07 · the standard error of a mean


def standard_error(scores):
    return (scores.std() / math.sqrt(len(scores))).item()


def _binary(scores, n):
    p = scores.mean().item()
    return math.sqrt(p * (1 - p) / n)


_SCORES = (
    _numbers(1.0, 0.0, 1.0, 1.0),
    _numbers(0.5, 0.75, 0.0, 0.25, 1.0, 0.125),
    _numbers(0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0),
    _numbers(1.0, 1.0, 1.0),
)

PARTS["07_standard_error"] = Part(
    solution=standard_error,
    cpu=True,
    cases=tuple((scores,) for scores in _SCORES),
    mistakes=(
        (
            lambda scores: scores.std().item(),
            "this is the standard deviation of one item: that of the mean of n is smaller by √n",
        ),
        (
            lambda scores: (scores.std() / len(scores)).item(),
            "divide by √n, not by n",
        ),
        (
            lambda scores: (scores.var() / len(scores)).item(),
            "this is the variance of the mean: take its square root",
        ),
        (
            lambda scores: (scores.var() / math.sqrt(len(scores))).item(),
            "this divides the variance by √n: take the standard deviation",
        ),
        (
            lambda scores: (scores.std(correction=0) / math.sqrt(len(scores))).item(),
            "the deviation is divided by n: the mean came from the same items, so divide by n - 1, "
            "as std() does of itself",
        ),
        (
            lambda scores: _binary(scores, len(scores)),
            "√(p(1 − p)/n) fits scores of 0 and 1 alone, and divides by n: scores.std() fits all "
            "and divides by n - 1",
        ),
        (
            lambda scores: _binary(scores, len(scores) - 1),
            "right for scores of 0 and 1, but an item may score anything, such as 0.25: "
            "scores.std() fits all",
        ),
        (
            lambda scores: 1.96 * standard_error(scores),
            "this is half of the 95 % interval: the standard error is without the 1.96",
        ),
        (
            lambda scores: scores.mean().item(),
            "this is the mean itself: return how far it may be off",
        ),
        (
            lambda scores: (scores.std() / math.sqrt(len(scores) - 1)).item(),
            "n - 1 belongs into the deviation alone, where std() has it already: divide by √n",
        ),
    ),
)


# 07 · … if items come in groups


def clustered_error(scores, clusters):
    mean, sums = scores.mean().item(), {}
    for score, cluster in zip(scores.tolist(), clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + score - mean
    G = len(sums)
    return math.sqrt(G / (G - 1) * sum(s * s for s in sums.values())) / len(scores)


def _sums(scores, clusters, center=None, power=1):
    """Return the sum in each cluster of how far its scores lie from the mean."""
    center = scores.mean().item() if center is None else center
    names = list(dict.fromkeys(clusters))
    pairs = list(zip(scores.tolist(), clusters, strict=True))
    return [sum((s - center) ** power for s, c in pairs if c == name) for name in names]


def _root(values):
    return math.sqrt(sum(value * value for value in values))


def _corrected(clusters):
    G = len(set(clusters))
    return math.sqrt(G / (G - 1))


def _means(scores, clusters):
    sizes = [clusters.count(name) for name in dict.fromkeys(clusters)]
    return _numbers(*(s / n for s, n in zip(_sums(scores, clusters, 0.0), sizes, strict=True)))


def _from_sums(sums, clusters):
    return _corrected(clusters) * _root(sums) / len(clusters)


def _means_apart(scores, clusters):
    """Return each cluster's mean deviation from the mean of all items."""
    return (_means(scores, clusters) - scores.mean()).tolist()


def _one_of_each(scores, clusters):
    """Return how far the last score of each cluster lies from the mean of all."""
    center = scores.mean().item()
    return [s - center for s in dict(zip(clusters, scores.tolist(), strict=True)).values()]


def _sizes_apart(scores, clusters):
    """Return the sum in each cluster of its absolute deviations, over n."""
    apart = (scores - scores.mean()).abs()
    return [total / len(scores) for total in _sums(apart, clusters, 0.0)]


def _stretches(clusters):
    """Number the stretches of equal neighbours."""
    changes = [0, *(a != b for a, b in pairwise(clusters))]
    return list(accumulate(changes))


PARTS["07_clustered_error"] = Part(
    solution=clustered_error,
    cpu=True,
    cases=(
        (
            _numbers(1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0),
            ["a", "a", "b", "b", "a", "c", "c", "c"],
        ),
        (_numbers(0.5, 2.0, -1.0, 0.25, 4.0), ["x", "y", "x", "x", "y"]),
        (_numbers(1.0, 0.0, 1.0, 1.0), ["p", "q", "r", "s"]),
        (_numbers(0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0), [3, 1, 3, 2, 1, 3, 2]),
    ),
    mistakes=(
        (
            lambda scores, clusters: standard_error(scores),
            "each item counts as independent: add up the deviations of a cluster before squaring",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters)
                * math.sqrt(sum(_sums(scores, clusters, power=2)))
                / len(scores)
            ),
            "the deviations are squared one by one: add up those of a cluster first, then square",
        ),
        (
            lambda scores, clusters: standard_error(_means(scores, clusters)),
            "this takes each cluster's mean as one item, so a small cluster counts as much as a "
            "large one: add up its deviations from the mean of all items",
        ),
        (
            lambda scores, clusters: _root(_sums(scores, clusters)) / len(scores),
            "the factor G / (G - 1) is missing: it makes up for few clusters",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) ** 2 * _root(_sums(scores, clusters)) / len(scores)
            ),
            "the factor G / (G - 1) stands outside the root: it belongs under it",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) * _root(_sums(scores, clusters)) / len(set(clusters))
            ),
            "this divides by the number of clusters: the mean is over n items, so divide by n",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) * _root(_sums(scores, clusters, 0.0)) / len(scores)
            ),
            "the scores themselves are added up: take the mean of all items from each first",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) ** 2 * _root(_sums(scores, clusters)) ** 2 / len(scores) ** 2
            ),
            "this is the variance of the mean: take its square root",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) * _root(_sums(scores, clusters)) / math.sqrt(len(scores))
            ),
            "the sum of the squares is under the root, n is not: divide by n, not by √n",
        ),
        (
            lambda scores, clusters: _corrected(clusters) * _root(_sizes_apart(scores, clusters)),
            "the deviations lose their sign: in a cluster one item above the mean makes up for one "
            "below it, so add them without abs()",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) * _root(_means_apart(scores, clusters)) / len(set(clusters))
            ),
            "each cluster's deviations are averaged: add them up, so that a large cluster counts "
            "more, and divide by n",
        ),
        (
            lambda scores, clusters: (
                _corrected(clusters) * _root(_means_apart(scores, clusters)) / len(scores)
            ),
            "each cluster's deviations are averaged: add them up, and only then square",
        ),
        (
            lambda scores, clusters: _from_sums(_one_of_each(scores, clusters), clusters),
            "a cluster keeps its last item alone: add to what is there, with +=",
        ),
        (
            lambda scores, clusters: _from_sums(
                _one_of_each(scores.flip(0), clusters[::-1]), clusters
            ),
            "a cluster keeps its first item alone: add to what is there, with +=",
        ),
        (
            lambda scores, clusters: 0.0,
            "taken from its cluster's own mean, the deviations add up to 0: take the mean of all "
            "items",
        ),
        (
            lambda scores, clusters: (
                math.sqrt(len(scores) / (len(scores) - 1))
                * _root(_sums(scores, clusters))
                / len(scores)
            ),
            "the factor counts items, n / (n - 1): the independent ones are the clusters, "
            "G / (G - 1)",
        ),
        (
            lambda scores, clusters: (
                _root(_sums(scores, clusters)) / _corrected(clusters) / len(scores)
            ),
            "the factor is upside down: G / (G - 1) makes the error larger",
        ),
        (
            lambda scores, clusters: clustered_error(scores, _stretches(clusters)),
            "a cluster is cut where another one stands in between, as groupby does: items of a "
            "cluster need not be neighbours, so collect the sums in a dictionary",
        ),
        (
            lambda scores, clusters: 1.96 * clustered_error(scores, clusters),
            "this is half of the 95 % interval: the standard error is without the 1.96",
        ),
    ),
)


# 07 · two models on the same items


def paired_difference(a, b, clusters):
    difference = a - b
    return difference.mean().item(), clustered_error(difference, clusters)


def _apart(a, b):
    return (a.mean() - b.mean()).item()


def _interval(a, b, clusters, errors):
    difference, error = paired_difference(a, b, clusters)
    return difference - errors * error, difference + errors * error


PARTS["07_paired_difference"] = Part(
    solution=paired_difference,
    cpu=True,
    cases=(
        (
            _numbers(1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0),
            _numbers(1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0),
            ["a", "a", "b", "b", "b", "c", "c"],
        ),
        (_numbers(0.5, 2.0, -1.0, 0.25), _numbers(1.5, 2.5, 0.0, 0.0), ["x", "y", "x", "y"]),
        (_numbers(0.0, 1.0, 1.0, 0.0), _numbers(0.0, 0.0, 0.0, 0.0), ["p", "q", "r", "s"]),
    ),
    mistakes=(
        (
            lambda a, b, clusters: paired_difference(b, a, clusters),
            "the sign: a minus b, so that a positive difference speaks for a",
        ),
        (
            lambda a, b, clusters: (
                _apart(a, b),
                math.hypot(clustered_error(a, clusters), clustered_error(b, clusters)),
            ),
            "this is the error of two models on different items: subtract item by item first, "
            "then take the clustered error of the differences",
        ),
        (
            lambda a, b, clusters: (
                _apart(a, b),
                math.hypot(standard_error(a), standard_error(b)),
            ),
            "two things: subtract item by item first, and mind the clusters",
        ),
        (
            lambda a, b, clusters: (_apart(a, b), standard_error(a - b)),
            "the differences count as independent: take clustered_error of them",
        ),
        (
            lambda a, b, clusters: (
                _apart(a, b),
                clustered_error(a, clusters) + clustered_error(b, clusters),
            ),
            "the two errors are added up: subtract item by item first, then take one error",
        ),
        (
            lambda a, b, clusters: (
                _apart(a, b),
                clustered_error(a, clusters) - clustered_error(b, clusters),
            ),
            "one error is taken from the other: subtract the scores item by item, then take the "
            "error of the differences",
        ),
        (
            lambda a, b, clusters: (_apart(a, b), clustered_error(a, clusters)),
            "this is the error of a alone: take the clustered error of the differences, a - b",
        ),
        (
            lambda a, b, clusters: (_apart(a, b), clustered_error(b, clusters)),
            "this is the error of b alone: take the clustered error of the differences, a - b",
        ),
        (
            lambda a, b, clusters: paired_difference(a, b, clusters)[::-1],
            "the two are swapped: the difference comes first, then its error",
        ),
        (
            lambda a, b, clusters: _interval(a, b, clusters, 1.96),
            "these are the ends of the 95 % interval: return the difference and its error",
        ),
        (
            lambda a, b, clusters: _interval(a, b, clusters, 1.0),
            "these are the difference minus and plus its error: return the two as they are",
        ),
        (
            lambda a, b, clusters: (_apart(a, b), clustered_error((a - b).abs(), clusters)),
            "abs() in the error loses which model was right: take the error of a - b as it is",
        ),
        (
            lambda a, b, clusters: (_apart(a, b), 1.96 * clustered_error(a - b, clusters)),
            "this is half of the 95 % interval: return the error without the 1.96",
        ),
        (
            lambda a, b, clusters: _apart(a, b),
            "the error is missing: return both, the mean difference and its clustered error",
        ),
        (
            lambda a, b, clusters: (a - b, clustered_error(a - b, clusters)),
            "these are the differences: return their mean, and the error of it",
        ),
        (
            lambda a, b, clusters: ((a - b).abs().mean().item(), clustered_error(a - b, clusters)),
            "abs() loses which model was right: take the mean of a - b as it is",
        ),
        (
            lambda a, b, clusters: (
                _apart(a, b) / clustered_error(a - b, clusters),
                clustered_error(a - b, clusters),
            ),
            "the difference is divided by its error: return the two as they are",
        ),
    ),
)


# 07 · exercise: how many items


def items_needed(difference, deviation):
    return math.ceil(((1.96 + 0.84) * deviation / difference) ** 2)


PARTS["07_items_needed"] = Part(
    solution=items_needed,
    exercise=True,
    cases=((0.01, 0.41), (0.02, 0.63), (0.25, 1.0), (0.003, 0.31)),
    mistakes=(
        (
            lambda difference, deviation: math.ceil((1.96 * deviation / difference) ** 2),
            "with so many items the difference lies just on the edge of the interval, and half of "
            "the tests miss it: it should lie 1.96 + 0.84 standard errors away from 0",
        ),
        (
            lambda difference, deviation: math.ceil(2 * (2.8 * deviation / difference) ** 2),
            "there is no factor 2: `deviation` is that of the difference, in which both models are",
        ),
        (
            lambda difference, deviation: math.ceil((1.12 * deviation / difference) ** 2),
            "0.84 is subtracted: the difference must lie 1.96 + 0.84 standard errors away from 0",
        ),
        (
            lambda difference, deviation: math.ceil((1.96 * deviation / difference) ** 2 / 0.8),
            "80 % more often is not 1 / 0.8 as many items: add 0.84 standard errors to the 1.96",
        ),
        (
            lambda difference, deviation: math.ceil((2.48 * deviation / difference) ** 2),
            "1.64 asks in one direction only: the 95 % interval reaches 1.96 standard errors to "
            "each side",
        ),
        (
            lambda difference, deviation: math.ceil((2.8015852 * deviation / difference) ** 2),
            "right but for rounding: take 1.96 and 0.84 as they are written here",
        ),
        (
            lambda difference, deviation: math.ceil(2.8 * deviation / difference),
            "the square is missing: the error falls with √n, so n grows with the square",
        ),
        (
            lambda difference, deviation: int((2.8 * deviation / difference) ** 2),
            "round up: a part of an item can't be asked",
        ),
        (
            lambda difference, deviation: (2.8 * deviation / difference) ** 2,
            "return a whole number of items, rounded up: math.ceil",
        ),
        (
            lambda difference, deviation: math.ceil((0.84 * deviation / difference) ** 2),
            "1.96 is missing: add both, 1.96 + 0.84",
        ),
        (
            lambda difference, deviation: math.ceil(
                (1.96**2 + 0.84**2) * (deviation / difference) ** 2
            ),
            "add 1.96 and 0.84 first, then square",
        ),
        (
            lambda difference, deviation: math.ceil((2.8 * difference / deviation) ** 2),
            "upside down: the smaller the difference, the more items it needs",
        ),
        (
            lambda difference, deviation: math.ceil(2.8**2 * deviation / difference**2),
            "the deviation is not squared: it is the standard deviation of an item, not a variance",
        ),
    ),
)
