"""Notebook 05: a moving average, two models that count, an alarm, the entropy of a text.

Over 250 lines, since each part brings its known mistakes along.
"""

import math
from collections import Counter
from itertools import pairwise
from random import Random

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 05 · the exponential moving average, its bias corrected


def ema(losses, half_life):
    beta = 0.5 ** (1 / half_life)
    average, smoothed = 0.0, []
    for t, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        smoothed.append(average / (1 - beta**t))
    return smoothed


def _average(values, beta, start=0.0, divisor=lambda t: 1.0, carry=False):
    average, smoothed = start, []
    for t, value in enumerate(values, 1):
        average = beta * average + (1 - beta) * value
        smoothed.append(average / divisor(t))
        average = smoothed[-1] if carry else average
    return smoothed


def _with(beta):
    """Return the right average for another β than the half-life's."""
    return lambda values, h: _average(values, beta(h), divisor=lambda t: 1 - beta(h) ** t)


def _half(half_life):
    return 0.5 ** (1 / half_life)


def _exchanged(values, half_life):
    beta = _half(half_life)
    return [a / (1 - beta**t) for t, a in enumerate(_average(values, 1 - beta), 1)]


PARTS["05_ema"] = Part(
    solution=ema,
    cpu=True,
    cases=(
        ([11.0, 9.0, 8.0, 7.5], 3.0),
        ([5.0, 5.0, 5.0, 7.0], 10.0),
        ([0.0, 1.0, 0.0, 0.0, 4.0], 1.0),
        ([3.0], 7.0),
    ),
    mistakes=(
        (
            lambda values, h: _average(values, _half(h)),
            "no bias correction: the average starts at 0 and is too low; divide by 1 - beta**t",
        ),
        (
            lambda values, h: _average(values, _half(h), values[0]),
            "starting at the first loss gives that one too much weight: start at 0 and divide by "
            "1 - beta**t",
        ),
        (
            lambda values, h: [sum(values[: t + 1]) / (t + 1) for t in range(len(values))],
            "this is the mean of all losses so far, in which the first never fades: a loss that is "
            "half_life steps old counts half",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h) ** (t + 1)),
            "one step off: the first average holds one loss, so divide it by 1 - beta**1",
        ),
        (
            lambda values, h: _average(
                values, _half(h), divisor=lambda t: 1 - _half(h) ** max(t - 1, 1)
            ),
            "one step late: the average of t losses is divided by 1 - beta**t, so count from 1",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h) ** (t - 1)),
            "at the first loss this divides by 1 - beta**0, which is 0: count from 1",
        ),
        (
            lambda values, h: _average(
                values, _half(h), divisor=lambda t: 1 - _half(h) ** t, carry=True
            ),
            "the corrected value is carried on: correct what you return, and go on with the "
            "uncorrected average",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h)),
            "divided by the same number each time: 1 - beta**t grows towards 1 with t",
        ),
        (
            _with(lambda h: 1 - _half(h)),
            "the weights are swapped: beta goes with the old average, 1 - beta with the new loss",
        ),
        (
            _exchanged,
            "beta and 1 - beta are exchanged: the old average gets beta, the new loss 1 - beta",
        ),
        (
            _with(lambda h: 1 - 2 / (h + 1)),
            "2 / (h + 1) belongs to a span, as in pandas: a half must be left after half_life "
            "steps, so beta is 0.5 ** (1 / half_life)",
        ),
        (
            _with(lambda h: math.exp(-1 / h)),
            "after half_life steps e⁻¹ is left, not a half: beta is 0.5 ** (1 / half_life)",
        ),
        (
            _with(lambda h: 1 - 1 / h if h > 1 else 0.5),
            "1 - 1/half_life is another average: half must be left after half_life steps",
        ),
        (
            _with(lambda h: 0.5**h),
            "beta is 0.5 ** half_life here: it is 0.5 ** (1 / half_life)",
        ),
        (
            _with(lambda h: 0.5 / h),
            "a power comes before a division: put brackets around 1 / half_life",
        ),
        (
            _with(lambda h: 2 ** (1 / h)),
            "beta is above 1 here, so that old losses gain weight: the exponent is -1 / half_life",
        ),
        (
            lambda values, h: _average(values, _half(h), divisor=lambda t: 1 - _half(h) * t),
            "this divides by 1 - beta * t: it is beta to the power t, beta**t",
        ),
        (
            lambda values, h: [a / (1 - _half(h)) for a in ema(values, h)],
            "the new loss is added whole: it comes with the weight 1 - beta",
        ),
        (
            lambda values, h: ema(values, h)[-1],
            "that is the last average alone: return the list, one for each loss",
        ),
        (
            lambda values, h: ema(values, h)[:1],
            "only the first average comes back: does `return` stand inside the loop?",
        ),
        (
            lambda values, h: [0.0, *ema(values, h)],
            "one value too many: a_0 = 0 is where the average starts, and no part of the list",
        ),
    ),
)


# 05 · what a model loses that only knows how often each token occurs


def unigram(train, held, V):
    counts, n = Counter(train), len(train)
    return -sum(math.log((counts[w] + 1) / (n + V)) for w in held) / len(held)


def _nats(train, held, V, add=1, n=None):
    """Return the surprise at each token of held, with another count or sum than the right one."""
    counts = Counter(train)
    n = len(train) + add * V if n is None else n
    return [-math.log((counts[w] + add) / n) for w in held]


def _or_inf(wrong):
    """Return a function that gives infinity where `wrong` takes the logarithm of 0."""

    def numpy_like(*arguments):
        try:
            return wrong(*arguments)
        except ValueError:
            return math.inf

    return numpy_like


def _plain_unigram(train, held, V):
    return sum(_nats(train, held, V, add=0)) / len(held)


PARTS["05_unigram"] = Part(
    solution=unigram,
    cpu=True,
    cases=(  # train, held, V
        ([5, 5, 5, 1, 2, 5, 1], [5, 1, 5, 2], 8),
        ([1, 2, 1, 3], [1, 2, 0, 1], 4),
        ([0, 1, 0, 1, 2, 0, 1], [2, 0, 1, 1, 3], 50257),
        ([4, 4, 4, 4], [4, 4, 4], 5),
    ),
    mistakes=(
        (
            _plain_unigram,
            "a token that train lacks gets probability 0, and ln 0 fails: add 1 to each count, and "
            "V to n",
        ),
        (
            _or_inf(_plain_unigram),
            "a token that train lacks gets probability 0, and an infinite loss: add 1 to each "
            "count, and V to n",
        ),
        (
            lambda train, held, V: sum(_nats(train, held, V, n=len(train))) / len(held),
            "the probabilities sum to more than 1: V counts grew by 1 each, so divide by n + V",
        ),
        (
            lambda train, held, V: (
                sum(_nats(train, held, V, n=len(train) + len(set(train)))) / len(held)
            ),
            "tokens that never occur in train have a probability too: divide by n + V",
        ),
        (
            lambda train, held, V: (
                -sum(math.log(Counter(train)[w] + 1 / (len(train) + V)) for w in held) / len(held)
            ),
            "a division comes before a sum: put brackets around the count + 1",
        ),
        (
            lambda train, held, V: (
                -sum(math.log((Counter(train)[w] + 1) / len(train) + V) for w in held) / len(held)
            ),
            "a division comes before a sum: put brackets around n + V",
        ),
        (
            lambda train, held, V: unigram(train, held, 1),
            "only one of V counts is added to n: all V grew by 1, so divide by n + V",
        ),
        (
            lambda train, held, V: unigram(train, train, V),
            "this is the loss on train itself: count train, and take the loss on held",
        ),
        (
            lambda train, held, V: unigram(held, held, V),
            "train is never counted: a model must not have seen the text that it is judged on",
        ),
        (
            lambda train, held, V: unigram(held, train, V),
            "train and held are swapped: count train, and take the loss on held",
        ),
        (
            lambda train, held, V: unigram([*train, *held], held, V),
            "held is counted as well: a model must not have seen the text that it is judged on",
        ),
        (
            lambda train, held, V: -unigram(train, held, V),
            "the sign: ln p is negative, and the loss is -ln p",
        ),
        (
            lambda train, held, V: unigram(train, held, V) * len(held),
            "this is the loss of all of held together: divide by its number of tokens",
        ),
        (
            lambda train, held, V: unigram(train, held, V) * len(held) / len(train),
            "divided by the number of tokens in train: the mean is over held",
        ),
        (
            lambda train, held, V: unigram(train, held, V) / math.log(2),
            "these are bits: the losses here are in nats, so take the natural logarithm",
        ),
        (
            lambda train, held, V: unigram(train, sorted(set(held)), V),
            "each kind of token counts once: take the mean over all tokens of held",
        ),
        (
            lambda train, held, V: math.log(V),
            "this is the uniform guess, ln V: count how often each token occurs in train",
        ),
        (
            lambda train, held, V: (
                -math.log(sum(math.exp(-nats) for nats in _nats(train, held, V)) / len(held))
            ),
            "this is the logarithm of the mean probability: take the mean of the logarithms",
        ),
        (
            lambda train, held, V: math.exp(unigram(train, held, V)),
            "this is the perplexity, e to the loss: return the loss",
        ),
    ),
)


# 05 · what a model loses that only knows which token follows which


def bigram(train, held, V):
    counts, pairs = Counter(train), Counter(pairwise(train))
    before, kinds = Counter(train[:-1]), Counter(v for v, w in pairs)
    total = 0.0
    for v, w in pairwise(held):
        p = (counts[w] + 1) / (len(train) + V)
        if kinds[v]:  # else nothing ever followed v, and the unigram model has to do
            p = (pairs[v, w] + kinds[v] * p) / (before[v] + kinds[v])
        total -= math.log(p)
    return total / (len(held) - 1)


def _changed(change):
    """Return bigram with another probability: change(c_vw, c_v, K_v, p_w, counts and so on)."""

    def wrong(train, held, V):
        counts, pairs = Counter(train), Counter(pairwise(train))
        before, kinds = Counter(train[:-1]), Counter(v for v, w in pairs)
        total = 0.0
        for v, w in pairwise(held):
            p = (counts[w] + 1) / (len(train) + V)
            seen = {"c_w": counts[w], "n": len(train), "V": V, "all_v": counts[v]}
            seen |= {"c_wv": pairs[w, v], "K": len(pairs), "K_w": kinds[w]}
            seen |= {"K_before": sum(b == v for _, b in pairs)}
            total -= math.log(change(pairs[v, w], before[v], kinds[v], p, **seen))
        return total / (len(held) - 1)

    return wrong


def _witten_bell(c_vw, c_v, K_v, p, **_):
    return (c_vw + K_v * p) / (c_v + K_v) if K_v else p


_plain_bigram = _changed(lambda c_vw, c_v, K_v, p, **_: c_vw / c_v)


def _of_seen(train, held, V):
    """Return the loss over the tokens of held whose v was followed in train, and their number."""
    followed = set(train[:-1])
    some = [bigram(train, list(pair), V) for pair in pairwise(held) if pair[0] in followed]
    return sum(some), len(some)


def _pairs_of_both(train, held, V):
    both, counts, total = [*train, *held], Counter(train), 0.0
    pairs, before = Counter(pairwise(both)), Counter(both[:-1])
    kinds = Counter(v for v, w in pairs)
    for v, w in pairwise(held):
        p = (counts[w] + 1) / (len(train) + V)
        total -= math.log(_witten_bell(pairs[v, w], before[v], kinds[v], p))
    return total / (len(held) - 1)


def _backwards(train, held, V):
    counts, pairs = Counter(train), Counter(pairwise(train))
    before, kinds = Counter(train[:-1]), Counter(v for v, w in pairs)
    total = 0.0
    for w, v in pairwise(held):
        total -= math.log(
            _witten_bell(pairs[v, w], before[v], kinds[v], (counts[w] + 1) / (len(train) + V))
        )
    return total / (len(held) - 1)


PARTS["05_bigram"] = Part(
    solution=bigram,
    cpu=True,
    cases=(  # train, held, V
        ([1, 2, 1, 3, 1, 2, 2, 0], [1, 2, 1, 3, 1], 4),
        ([1, 2, 1, 3, 1, 2, 2, 0], [1, 1, 2, 2, 3, 3], 6),
        ([5, 6, 5, 6, 6, 7, 2], [5, 4, 5, 6, 7], 8),
        ([1, 2, 1, 3, 1, 2, 2, 0, 1], [1, 0, 1, 2, 1, 4], 1000),  # a table of V × V would still fit
    ),
    mistakes=(
        (
            _plain_bigram,
            "a pair that train lacks gets probability 0: give the part K_v of the sum to p(w)",
        ),
        (
            _or_inf(_plain_bigram),
            "a pair that train lacks gets an infinite loss: give the part K_v of the sum to p(w)",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + K_v * p) / (c_v + K_v)),
            "a token v that nothing ever followed has K_v = 0 and c_v = 0: take p(w) there",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, V, **_: (c_vw + 1) / (c_v + V)),
            "1 is added to each pair here: V unseen pairs then outweigh what was seen; add "
            "K_v · p(w), and K_v below",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + p) / (c_v + 1)),
            "p(w) has the weight 1 here: its weight is K_v, above and below",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + K_v) / (c_v + K_v) if K_v else p),
            "p(w) is missing above the line: its share is K_v · p(w)",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + c_v * p) / (2 * c_v) if c_v else p),
            "p(w) has the weight c_v, how often v was read: it is K_v, how many different tokens "
            "followed v",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, V, **_: (c_vw + V * p) / (c_v + V)),
            "p(w) has the weight V here, and drowns what was seen: its weight is K_v",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + p) / (c_v + K_v)),
            "the probabilities sum to less than 1: p(w) needs the weight K_v above, too",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: (c_vw + K_v * p) / c_v if c_v else p),
            "the probabilities sum to more than 1: divide by c_v + K_v",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, K, **_: (c_vw + K * p) / (c_v + K)),
            "K counts all kinds of pairs here: K_v counts those that begin with v",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, K_w, **_: (
                    (c_vw + K_w * p) / (c_v + K_w) if c_v + K_w else p
                )
            ),
            "K is taken for w, the token that follows: K_v counts the kinds that follow v",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, K_before, **_: (
                    (c_vw + K_before * p) / (c_v + K_before) if c_v + K_before else p
                )
            ),
            "K counts the different tokens that come before v: K_v counts those that follow it",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, all_v, n, V, **_: _witten_bell(
                    c_vw, c_v, K_v, (all_v + 1) / (n + V)
                )
            ),
            "p(v) stands where p(w) belongs: the unigram model guesses the token that follows",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, c_w, n, **_: _witten_bell(c_vw, c_v, K_v, (c_w + 1) / n)
            ),
            "p(w) is divided by n alone: it is (c_w + 1) / (n + V), as in the unigram model",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, V, **_: (c_vw + K_v * p) / (c_v + K_v) if K_v else 1 / V
            ),
            "where nothing ever followed v, p(w) is a better guess than 1 / V: take that",
        ),
        (
            lambda train, held, V: _of_seen(train, held, V)[0] / (len(held) - 1),
            "a v that nothing ever followed is left out: what comes after it costs -ln p(w) too",
        ),
        (
            lambda train, held, V: math.prod(
                x if i == 0 else 1 / x for i, x in enumerate(_of_seen(train, held, V))
            ),
            "a v that nothing ever followed is left out of sum and mean: what comes after it "
            "costs -ln p(w) too",
        ),
        (
            _pairs_of_both,
            "the pairs of held are counted as well: a model must not have seen the text that it is "
            "judged on",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, c_w, n, **_: (
                    (c_vw + K_v * c_w / n) / (c_v + K_v) if K_v else p
                )
            ),
            "p(w) is not smoothed here: it is (c_w + 1) / (n + V), as in the unigram model",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, all_v, **_: (c_vw + K_v * p) / (all_v + K_v) if K_v else p
            ),
            "the last token of train has no token after it: count v in train[:-1]",
        ),
        (
            _changed(
                lambda c_vw, c_v, K_v, p, c_wv, **_: _witten_bell(c_wv, c_v, K_v, p),
            ),
            "the pair is swapped: it is (v, w), first what was read, then what follows",
        ),
        (
            _backwards,
            "this predicts v from w, backwards: v is what was read, w is what follows",
        ),
        (
            _changed(lambda c_vw, c_v, K_v, p, **_: p),
            "this is the unigram model: count the pairs of train",
        ),
        (
            lambda train, held, V: bigram(train, train, V),
            "this is the loss on train itself: count train, and take the loss on held",
        ),
        (
            lambda train, held, V: bigram(held, held, V),
            "train is never counted: a model must not have seen the text that it is judged on",
        ),
        (
            lambda train, held, V: bigram([*train, *held], held, V),
            "held is counted as well: a model must not have seen the text that it is judged on",
        ),
        (
            lambda train, held, V: bigram(held, train, V),
            "train and held are swapped: count train, and take the loss on held",
        ),
        (
            lambda train, held, V: bigram(train, held, V) * (len(held) - 1) / len(held),
            "the first token of held is not predicted: the mean is over len(held) - 1 tokens",
        ),
        (
            lambda train, held, V: (
                (bigram(train, held, V) * (len(held) - 1) + unigram(train, held[:1], V)) / len(held)
            ),
            "the first token of held has nothing before it: leave it out of sum and mean",
        ),
        (
            lambda train, held, V: -bigram(train, held, V),
            "the sign: ln p is negative, and the loss is -ln p",
        ),
        (
            lambda train, held, V: bigram(train, held, V) * (len(held) - 1),
            "this is the loss of all of held together: divide by its number of predicted tokens",
        ),
        (
            lambda train, held, V: bigram(train, held, V) / math.log(2),
            "these are bits: the losses here are in nats, so take the natural logarithm",
        ),
    ),
)


# 05 · an alarm that tells a sick run from a healthy one


def alarm(losses, stuck, best):
    if not all(map(math.isfinite, losses)):
        return "not finite"
    average = ema(losses, 10)
    if average[-1] > min(average) + 0.5:
        return "rising"
    if average[-1] > stuck:
        return "stuck"
    return "too good" if average[-1] < best else "healthy"


def _curve(end, seed, noise=0.1, half_life=8, start=5.6, **bumps):
    """Return 120 losses that fall from start to end; `bumps` add to single steps: step_119=2.0."""
    random = Random(seed)
    losses = [
        end + (start - end) * 0.5 ** (t / half_life) + random.gauss(0, noise) for t in range(120)
    ]
    for name, height in bumps.items():
        losses[int(name.removeprefix("step_"))] += height
    return losses


def _then(losses, end, seed, steps=60):
    """Return losses that move on to another level over `steps` more steps."""
    random, last = Random(seed), losses[-1]
    rise = (last + (end - last) * t / steps + random.gauss(0, 0.1) for t in range(1, steps + 1))
    return [*losses, *rise]


def _path(*corners):
    """Return losses on straight lines from corner to corner, each a (step, loss)."""
    losses = []
    for (start, a), (end, b) in pairwise(corners):
        losses += [a + (b - a) * (t - start) / (end - start) for t in range(start, end)]
    return losses


def _fall_and(*corners):
    """Return a path that falls to 2.2, stays there until step 120, and goes on."""
    return _path((0, 5.6), (40, 2.2), (120, 2.2), *corners)


def _rules(losses, stuck, best, end=None, low=None, broken=None, rise=0.5, high=None, least=None):
    """The alarm with one of its numbers, or what it takes for broken, changed.

    high and least: what is compared with stuck and best, if not the end.
    """
    broken = (lambda: not all(map(math.isfinite, losses))) if broken is None else broken
    if broken():
        return "not finite"
    average = ema(losses, 10)
    end = average[-1] if end is None else end
    if end > (min(average) if low is None else low) + rise:
        return "rising"
    if (end if high is None else high) > stuck:
        return "stuck"
    return "too good" if (end if least is None else least) < best else "healthy"


def _on(average, losses, stuck, best):
    """The alarm on another average."""
    return _rules(losses, stuck, best, end=average[-1], low=min(average))


def _windows(losses, n):
    return [sum(losses[i : i + n]) / n for i in range(len(losses) - n + 1)]


def _stuck_first(losses, stuck, best):
    found = _rules(losses, stuck, best)
    return "stuck" if found == "rising" and ema(losses, 10)[-1] > stuck else found


def _too_good_first(losses, stuck, best):
    found = _rules(losses, stuck, best)
    return "too good" if found == "rising" and ema(losses, 10)[-1] < best else found


def _half_of(losses):
    """Return the average in the middle of a run."""
    return ema(losses, 10)[len(losses) // 2]


def _not_finite_last(losses, stuck, best):
    found = _rules(losses, stuck, best, broken=lambda: False)
    return "not finite" if found == "healthy" and math.isnan(losses[-1]) else found


PARTS["05_alarm"] = Part(
    solution=alarm,
    cpu=True,
    cases=tuple(
        (losses, 2.9, 1.4)
        for losses in (
            _curve(2.5, 1),
            _curve(3.3, 2),
            _curve(0.1, 3),
            _then(_curve(2.4, 4), 6.0, 4),
            [*_curve(2.5, 5), math.nan],
            [*_curve(2.5, 6), math.inf],
            _curve(2.5, 7, step_119=2.5),  # one hard batch, at the very end
            _curve(2.5, 8, step_60=-1.3, step_100=3.0),
            _curve(2.55, 9, noise=0.25),
            _curve(3.3, 10, step_119=-0.8),  # one easy batch, at the very end
            _then(_curve(1.8, 11), 2.7, 11, 90),  # still below `stuck`, and rising
            _curve(2.5, 12, step_50=math.nan),  # and on it goes
            _curve(0.05, 13, noise=0.02, step_90=2.0),
            _curve(3.4, 14, half_life=1, start=9.0),
            _then(_curve(2.4, 15), 9.0, 15),  # above where it began
            _path((0, 5.6), (40, 1.2), (80, 1.2), (160, 1.7)),  # was below `best`, and isn't
            _path((0, 5.6), (40, 2.6), (80, 2.6), (140, 3.1), (180, 3.1)),  # was below `stuck`
            _curve(1.6, 16, noise=0.05, step_119=-0.9),  # one easy batch, below `best`
            _path((0, 5.6), (40, 0.2), (80, 0.2), (140, 1.1), (180, 1.1)),  # rising below `best`
            _fall_and((180, 2.65), (240, 2.65)),  # by less than 0.5
            _fall_and((180, 2.8), (240, 2.8)),  # by more
            _path((0, 5.6), (40, 2.2), (240, 2.2), (241, 3.4), (250, 3.4)),  # ten steps high
            _fall_and((121, 3.4), (126, 3.4)),  # too few for an average with half-life 10
            _fall_and((121, 2.92), (129, 2.92)),
            _fall_and((121, 4.2), (130, 4.2), (131, 2.2), (143, 2.2)),  # over, but not forgotten
            _path((0, 5.6), (120, 2.1), (150, 2.1), (190, 2.8), (220, 2.8)),
        )
    )
    + tuple((_curve(end, int(10 * end), start=10.9), 5.8, 4.5) for end in (5.2, 6.6, 3.9)),
    mistakes=(
        (
            lambda losses, stuck, best: alarm(losses, stuck, best) != "healthy",
            "that is True or False: return what is wrong, as text",
        ),
        (
            lambda losses, stuck, best: alarm(losses, stuck, best) == "healthy",
            'that is True or False: return "healthy", or what is wrong, as text',
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, broken=lambda: False),
            "every comparison with NaN is false, so NaN looks healthy: ask math.isfinite first",
        ),
        (
            _not_finite_last,
            "the comparisons come before the question whether all losses are finite: ask that "
            "first",
        ),
        (
            lambda losses, stuck, best: _rules(
                losses, stuck, best, broken=lambda: any(map(math.isnan, losses))
            ),
            "infinity is no NaN: ask math.isfinite",
        ),
        (
            lambda losses, stuck, best: _rules(
                losses, stuck, best, broken=lambda: not math.isfinite(losses[-1])
            ),
            "only the last loss is asked whether it is finite: ask all of them",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, end=losses[-1]),
            "the last loss is that of one batch, which may be hard or easy: take the end of the "
            "average",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=min(losses)),
            "the lowest loss is that of one easy batch: compare with the lowest average",
        ),
        (
            lambda losses, stuck, best: _rules(
                losses, stuck, best, end=losses[-1], low=min(losses)
            ),
            "single losses rise and fall with their batch: smooth them with ema first",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=losses[0]),
            "a run that falls and rises again may still be below its first loss: compare with the "
            "lowest average",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=math.inf),
            "a run that has fallen and rises again is not noticed: compare the end of the average "
            "with its lowest value",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=ema(losses, 10)[-2] - 0.5),
            "an average that is a little higher than a step ago is no alarm: it must have risen by "
            "more than 0.5",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=min(ema(losses, 10)) - 0.5),
            "no average is quite flat: it must end more than 0.5 above its lowest value",
        ),
        *(
            (
                lambda losses, stuck, best, rise=rise: _rules(losses, stuck, best, rise=rise),
                f"rising begins here {rise} above the lowest average: it must be more than 0.5",
            )
            for rise in (0.3, 0.4, 1.0)
        ),
        (
            lambda losses, stuck, best: _rules(
                losses, stuck, best, low=1.5 * min(ema(losses, 10)), rise=0
            ),
            "0.5 is a number of nats, no share: add it to the lowest average",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, low=_half_of(losses)),
            "the lowest average needn't be in the middle of the run: take min(average)",
        ),
        *(
            (
                lambda losses, stuck, best, h=h: _on(ema(losses, h), losses, stuck, best),
                f"the average has a half-life of {h} steps here: it should be 10",
            )
            for h in (5, 20, 100)
        ),
        *(
            (
                lambda losses, stuck, best, n=n: _on(_windows(losses, n), losses, stuck, best),
                f"the mean of the last {n} losses forgets at once what came before: take "
                "ema(losses, 10)",
            )
            for n in (10, 20)
        ),
        (
            lambda losses, stuck, best: _on(_average(losses, _half(10)), losses, stuck, best),
            "the average is not corrected: it starts near 0, so its lowest value is its first; "
            "take ema, which corrects it",
        ),
        (
            lambda losses, stuck, best: losses.sort() or alarm(losses, stuck, best),
            "losses.sort() puts the run's own losses into another order: min(average) is enough",
        ),
        (
            lambda losses, stuck, best: _rules(losses, math.inf, best),
            'a run that ends above stuck has learned too little: return "stuck"',
        ),
        (
            _stuck_first,
            "a run that rises is called rising, even if it is above stuck: ask for that first",
        ),
        (
            _too_good_first,
            "a run that rises is called rising, even if it is below best: ask for that first",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, high=min(ema(losses, 10))),
            "stuck is compared with the lowest average: compare it with the end",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, high=max(ema(losses, 10))),
            "every run begins above stuck, so its highest average says nothing: compare the end",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, high=losses[-1]),
            "stuck is compared with the last loss, which is that of one batch: take the end of the "
            "average",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, least=min(ema(losses, 10))),
            "best is compared with the lowest average: compare it with the end",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, best, least=losses[-1]),
            "best is compared with the last loss, which is that of one batch: take the end of the "
            "average",
        ),
        (
            lambda losses, stuck, best: alarm(losses, 2.9, 1.4),
            "2.9 and 1.4 are the levels of one case: compare with stuck and best",
        ),
        (
            lambda losses, stuck, best: _rules(losses, best, stuck),
            "stuck and best are swapped: stuck is above stuck, too good below best",
        ),
        (
            lambda losses, stuck, best: _rules(losses, stuck, -math.inf),
            'a loss below the best that is known is no success but a leak: return "too good"',
        ),
    ),
)


# 05, deep · the entropy of a text's tokens: the unigram model's loss on its own text


def entropy(tokens):
    p = tokens.unique(return_counts=True)[1] / len(tokens)
    return -(p * p.log()).sum().item()


def _shares(tokens):
    return tokens.unique(return_counts=True)[1] / len(tokens)


PARTS["05_entropy"] = Part(
    solution=entropy,
    exercise=True,
    cases=tuple(
        (torch.tensor(tokens),)
        for tokens in (
            [3, 3, 3, 9],
            [50256, 0, 0, 11, 11, 11, 11, 7],
            [1, 2, 3, 4, 5, 5],
            [7, 7],
        )
    ),
    mistakes=(
        (
            lambda tokens: entropy(tokens) / math.log(2),
            "these are bits: the losses here are in nats, so take the natural logarithm",
        ),
        (
            lambda tokens: entropy(tokens) / math.log(10),
            "this is the logarithm to base 10: the losses here are in nats, so take log",
        ),
        (
            lambda tokens: math.log(len(tokens.unique())),
            "this takes all tokens that occur for equally likely: weigh each by how often it does",
        ),
        (
            lambda tokens: math.log(len(tokens)),
            "every token counts as a kind of its own: two tensors in a Counter or a dict are two "
            "keys even if they are equal, so count tokens.tolist()",
        ),
        (
            lambda tokens: -_shares(tokens).log().mean().item(),
            "each kind of token counts once: weigh the surprise -log p of each by its share p",
        ),
        (
            lambda tokens: -_shares(tokens).log().sum().item(),
            "the surprises are only added up: weigh each -log p by its share p",
        ),
        (
            lambda tokens: -entropy(tokens),
            "the sign: log p is negative, and a loss isn't, so the surprise is -log p",
        ),
        (
            lambda tokens: entropy(tokens) * len(tokens),
            "this is the loss of the whole text: divide by its tokens, as a mean loss does",
        ),
        (
            lambda tokens: entropy(tokens) / len(_shares(tokens)),
            "this is a mean over the kinds: p is the weight already, so add p · -log p up",
        ),
        (
            lambda tokens: math.exp(entropy(tokens)),
            "this is the perplexity, e to the loss: return the loss itself",
        ),
        (
            lambda tokens: math.nan,
            "a token that never occurs gives 0 · log 0, which is nan: leave out the empty bins",
        ),
    ),
)
