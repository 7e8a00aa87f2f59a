"""The benchmark of pairs: fair squares, words of the plays, chance for who guesses."""

import hashlib
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from helpers import corpus_or_skip

from gpt2lite import GPT, GPTConfig, evaluation
from gpt2lite.completions import log_probabilities
from gpt2lite.pairs import KINDS, Pair, accuracies, encode, make_pairs, margins

PAIRS = make_pairs()
SQUARES = [pair for pair in PAIRS if pair.kind != "order"]


def test_the_same_seed_makes_the_same_pairs_everywhere():
    assert Counter(pair.kind for pair in PAIRS) == dict.fromkeys(KINDS, 60)
    assert len(set(PAIRS)) == len(PAIRS) >= 500, "a pair is there twice"
    told = repr([(p.kind, p.cluster, p.good, p.bad) for p in PAIRS])
    digest = hashlib.sha256(told.encode()).hexdigest()
    assert digest.startswith("e7ad58758f30"), (
        "other pairs: every accuracy measured so far is of the old ones"
    )
    assert make_pairs(per_kind=10, seed=2) != make_pairs(per_kind=10) == make_pairs(per_kind=10)
    assert len(make_pairs(per_kind=10)) == 10 * len(KINDS)
    for wrong in (0, 7, 1000):
        with pytest.raises(ValueError, match=f"per_kind must be even, 2 to .* not {wrong}"):
            make_pairs(per_kind=wrong)


def test_every_word_is_the_plays():
    known = set(re.findall(r"[a-z]+", corpus_or_skip("shakespeare").lower()))
    used = {word for p in PAIRS for word in re.findall(r"[a-z]+", (p.good + p.bad).lower())}
    assert not used - known, "words that no play has"


def test_in_a_square_each_ending_is_right_once():
    for one, other in zip(SQUARES[::2], SQUARES[1::2], strict=True):
        (_, endings), (_, exchanged) = encode(one), encode(other)
        assert endings == exchanged[::-1], f"{one} and {other} do not exchange their endings"
        assert (one.kind, one.cluster) == (other.kind, other.cluster)
        assert one.good != other.bad, "both contexts are the same"


def test_order_exchanges_two_words_and_nothing_else():
    for pair in (p for p in PAIRS if p.kind == "order"):
        good, bad = pair.good.split(), pair.bad.split()
        places = [
            i
            for i, (a, b) in enumerate(zip(good, bad, strict=True))
            if a.strip(",?!") != b.strip(",?!")
        ]
        assert len(places) == 2 and places[1] == places[0] + 1, pair


def test_clusters_share_no_ending():
    """Else their errors go together, and the standard error promises too much."""
    clusters = defaultdict(set)
    for kind, (make, _) in KINDS.items():
        if kind in ("number", "number far", "order", "reply", "names", "recall", "meaning"):
            for cluster, both in make():
                for good, bad in both:
                    _, endings = encode(Pair(kind, cluster, good, bad))
                    clusters[kind, tuple(endings[0])].add(cluster)
                    assert all(endings), f"{good!r} is the beginning of {bad!r}"
    shared = {ending: found for ending, found in clusters.items() if len(found) > 1}
    assert not shared, "two clusters have an ending in common"
    assert all(len({p.cluster for p in PAIRS if p.kind == kind}) >= 6 for kind in KINDS)


def test_a_model_that_has_learned_nothing_is_at_chance():
    distances = []
    for seed in range(5):
        torch.manual_seed(seed)
        fresh = GPT(GPTConfig(block_size=128, n_layer=2, n_head=2, n_embd=64)).eval()
        share, error, n = accuracies(PAIRS, margins(fresh, PAIRS, rows=256))["all"]
        assert n == len(PAIRS) and error < 0.02
        distances.append(abs(share - 0.5) / error)
    told = f"standard errors from chance: {distances}"
    assert sum(d < 2 for d in distances) >= 4 and max(distances) < 3, told  # 95 % of them, and all


def test_the_small_model_is_good_at_the_easy_and_middling_at_the_hard():
    pairs = make_pairs(per_kind=20)
    model = GPT.from_pretrained("gpt2lite-plays")
    found = accuracies(pairs, margins(model, pairs))
    assert 0.65 < found["all"][0] < 0.90, "the benchmark is saturated, or nothing is measured"
    for kind in ("person", "order", "metre", "address"):
        assert found[kind][0] >= 0.9, f"{kind} was easy"
    for kind in ("recall", "meaning", "number far", "names"):
        assert 0.4 < found[kind][0] < 0.8, f"{kind} was hard"


def test_a_margin_is_the_whole_texts_difference():
    model = GPT(GPTConfig(block_size=64, n_layer=1, n_head=2, n_embd=16)).eval()
    pairs, found = PAIRS[::97], margins(model, PAIRS[::97], rows=4)
    for pair, margin in zip(pairs, found, strict=True):
        (context, (good, bad)) = encode(pair)
        whole = [([context[0]], [context[1:] + good, context[1:] + bad])]
        ((a, b),) = log_probabilities(model, whole)
        assert margin == pytest.approx(a - b, abs=1e-4), pair


def test_accuracies_are_shares_with_clustered_errors():
    pairs = [Pair(kind, cluster, "", "") for kind in "xy" for cluster in "aab"]
    found = accuracies(pairs, np.array([1.0, 2.0, -1.0, 0.0, 1.0, -9.0]))
    assert list(found) == ["x", "y", "all"]
    x, y = [1.0, 1.0, 0.0], [0.5, 1.0, 0.0]
    assert found["x"] == pytest.approx((2 / 3, evaluation.standard_error(x, list("aab")), 3))
    assert found["y"] == pytest.approx((1 / 2, evaluation.standard_error(y, list("aab")), 3))
    both = evaluation.standard_error(x + y, list("aabaab"))
    assert found["all"] == pytest.approx((3.5 / 6, both, 6)), "a margin of 0 counts half"
