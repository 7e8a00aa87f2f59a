"""Completions are scored as one by one, each context once, and odd items are refused by name."""

import random

import pytest
import torch
from helpers import tiny_gpt

from gpt2lite.completions import Completion, encode_pair, log_probabilities, score_completions
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

encode = get_tokenizer().encode_ordinary


def one_by_one(model, items):
    """Score each completion by a forward pass of its own."""
    found = []
    for context, completions in items:
        found.append([])
        for ids in completions:
            logits = model(torch.tensor([[*context, *ids[:-1]]]))[0, len(context) - 1 :]
            found[-1].append(logits.log_softmax(-1)[range(len(ids)), ids].sum().item())
    return found


def random_items(vocab_size, n=40, size=12, seed=0):
    """Return items of all shapes that fit: 1 to 5 completions of 1 to 6 tokens."""
    r, items = random.Random(seed), []
    for _ in range(n):
        context = r.choices(range(vocab_size), k=r.randint(1, size - 5))
        lengths = [r.randint(1, 6) for _ in range(r.randint(1, 5))]
        items.append((context, [r.choices(range(vocab_size), k=k) for k in lengths]))
    return items


@pytest.mark.parametrize("rows", [1, 5, 64])
@torch.no_grad()
def test_batches_with_a_shared_context_equal_one_by_one(rows):
    model = tiny_gpt(dropout=0.5)
    items = random_items(model.config.vocab_size)
    expected = one_by_one(model, items)
    found = log_probabilities(model.train(), items, rows)
    assert model.training, "scoring left dropout off"
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours == pytest.approx(theirs, abs=1e-5), f"item {number} of {items[number]}"


def test_each_context_is_read_once_and_batches_hold_rows():
    model, read, bar = tiny_gpt(), [], []
    items = [([1, 2, 3, i], [[4, 5], [6], [7, 8]]) for i in range(6)] + [([9], [[1, 2]] * 9)]
    hidden = model.hidden
    model.hidden = lambda idx, cache=None: read.append(tuple(idx.shape)) or hidden(idx, cache)
    log_probabilities(model, items, 8, lambda batches: bar.append(batches) or batches)
    assert bar == [[[6], [0, 1], [2, 3], [4, 5]]], "equal contexts together, 8 completions at most"
    assert read == [(1, 1), (9, 1), *[(2, 4), (6, 1)] * 3], "a context was read more than once"


def test_scoring_keeps_no_gradients():
    model, needed = tiny_gpt(), []
    model.register_forward_hook(lambda *args: needed.append(args))
    head = model.head
    model.head = lambda x: needed.append(x.requires_grad) or head(x)
    log_probabilities(model, [([1], [[2, 3]])])
    assert needed == [False]


@pytest.mark.parametrize(
    "item, message",
    [
        (([], [[1]]), "item 1: context and completions need a token"),
        (([1], []), "item 1: context and completions need a token"),
        (([1], [[2], []]), "item 1: context and completions need a token"),
        (([1] * 10, [[2], [3] * 4]), "item 1 has 13 tokens to read, but the model's context is 12"),
        (([61], [[1]]), "item 1 holds ids that the vocabulary of 61 lacks"),
        (([1], [[1], [-1]]), "item 1 holds ids that the vocabulary of 61 lacks"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_work(item, message):
    model = tiny_gpt()
    model.hidden = lambda *_: pytest.fail("work was begun")
    with pytest.raises(ValueError, match=message):
        log_probabilities(model, [([1], [[2]]), item])
    with pytest.raises(ValueError, match="rows must be at least 1, not 0"):
        log_probabilities(model, [([1], [[2]])], rows=0)


@torch.no_grad()
def test_probabilities_of_a_bf16_model_are_computed_in_fp32():
    model = tiny_gpt(vocab_size=5000).bfloat16()
    logits = model(torch.tensor([[1, 2, 3]]))[0, -1].float()
    expected = logits.log_softmax(-1)[4].item()
    assert log_probabilities(model, [([1, 2, 3], [[4]])]) == [[pytest.approx(expected, abs=1e-4)]]


def test_a_completion_may_fill_the_context():
    model = tiny_gpt()
    items = [([1] * 9, [[2, 3, 4, 5]])]  # the last of 13 tokens is predicted, never read
    x = model(torch.tensor([[1] * 9 + [2, 3, 4]])).log_softmax(-1)[0, 8:]
    expected = x[range(4), [2, 3, 4, 5]].sum().item()
    assert log_probabilities(model, items) == [[pytest.approx(expected, abs=1e-5)]]


def test_a_pair_is_encoded_as_one_text():
    assert encode_pair("To be", " or not") == (encode("To be"), encode(" or not"))
    assert encode_pair("To be ", "or not") == (encode("To be"), encode(" or not")), (
        "the space at the context's end belongs to the completion's first token"
    )
    context, completion = encode_pair("To be or", "dinary")
    assert (context, completion) == (encode("To be or"), encode("To be ordinary")[3:])
    assert encode_pair("", "To be") == ([END_OF_TEXT], encode("To be"))


def test_texts_get_their_log_probability_and_their_lengths():
    model = tiny_gpt(vocab_size=END_OF_TEXT + 1)
    items = [("To be", [" or naïve", " 東"]), ("", ["To"])]
    found = score_completions(model, items, rows=2)
    coded = [
        (encode("To be"), [encode(" or naïve"), encode(" 東")]),
        ([END_OF_TEXT], [encode("To")]),
    ]
    logprobs = log_probabilities(model, coded)
    assert found == [
        [Completion(logprobs[0][0], 2, 9, 10), Completion(logprobs[0][1], 3, 2, 4)],
        [Completion(logprobs[1][0], 1, 2, 2)],
    ]
    shouted = score_completions(model, items, lambda a, b: encode_pair(a.upper(), b))
    assert shouted[0][0].logprob != found[0][0].logprob, "encode= is ignored"
    with pytest.raises(ValueError, match="item 0: context and completions need a token"):
        score_completions(model, [("To be", [])])
