"""Validation loss, perplexity, bits per byte, and the errors of a score."""

import math

import numpy as np
import pytest
import torch
from helpers import random_ids, tiny_gpt
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2lite import evaluation
from gpt2lite.data import encode
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer


def test_validation_loss_is_the_mean_over_all_tokens_and_restores_the_mode():
    model = tiny_gpt(dropout=0.5).train()
    tokens = random_ids(model.config, 1, 33)[0].numpy().astype(np.uint16)
    loss = evaluation.validation_loss(model, tokens, B=3, T=8)
    assert model.training, "validation left dropout off"
    x = torch.from_numpy(tokens.astype(np.int64))
    logits = model.eval()(x[:32].view(4, 8))
    by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), x[1:33])
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)
    one_by_one = evaluation.validation_loss(model, tokens, B=1, T=8)
    assert one_by_one == pytest.approx(loss, abs=1e-5), "the last, smaller batch weighs too much"
    assert not model.training, "a model that was not training is made to train"
    with pytest.raises(ValueError, match="smaller T"):
        evaluation.validation_loss(model, tokens[:8], B=1, T=8)


@pytest.mark.parametrize("batches, windows", [(1, 2), (2, 4), (3, 5), (9, 5), (None, 5)])
def test_batches_are_counted_not_windows(batches, windows):
    model, seen = tiny_gpt(), []
    tokens = random_ids(model.config, 1, 5 * 8 + 7)[0].numpy().astype(np.uint16)
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    loss = evaluation.validation_loss(model, tokens, B=2, T=8, batches=batches)
    rows = torch.cat(seen)
    assert torch.equal(rows.flatten(), torch.from_numpy(tokens[: 8 * windows].astype(np.int64)))
    assert loss == pytest.approx(evaluation.validation_loss(model, tokens[: 8 * windows + 1], 5, 8))


@pytest.mark.parametrize("wrong", [{"B": -1}, {"B": 0}, {"T": 0}, {"batches": 0}, {"batches": -2}])
def test_impossible_numbers_are_refused(wrong):
    (name, value), model = *wrong.items(), tiny_gpt()
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        evaluation.validation_loss(model, np.zeros(99, np.uint16), **({"B": 1, "T": 8} | wrong))


def test_validation_keeps_no_gradients_and_restores_the_mode_after_an_error():
    model, needed = tiny_gpt().train(), []
    model.register_forward_hook(lambda *args: needed.append(args[2].requires_grad))
    with pytest.raises(ValueError, match="context"):
        evaluation.validation_loss(model, np.zeros(99, np.uint16), 1, T=13)
    assert model.training, "an error left dropout off"
    evaluation.validation_loss(model, np.zeros(99, np.uint16), 1, T=8, batches=1)
    assert needed == [False], "validation would fill the memory with what a backward pass needs"


def test_units_of_a_loss():
    assert evaluation.perplexity(math.log(50257)) == pytest.approx(50257)
    assert evaluation.perplexity(710.0) == math.inf and math.isnan(evaluation.perplexity(math.nan))
    bits = evaluation.bits_per_byte(math.log(256), 10, 40)
    assert bits == pytest.approx(2), "8 bits a token of 4 bytes: are tokens and bytes swapped?"
    for counts in ((0, 10), (10, 0), (-1, 10)):
        with pytest.raises(
            ValueError, match=f"{counts[0]} tokens of {counts[1]} bytes are no text"
        ):
            evaluation.bits_per_byte(1.0, *counts)


@settings(deadline=None)  # a busy machine is no mistake
@given(st.text())
def test_the_tokens_bytes_are_the_texts_bytes(text):
    assert evaluation.count_bytes(encode(text)) == len(text.encode())


def test_bytes_of_a_cut_character_count_and_separators_do_not():
    tokens = get_tokenizer().encode_ordinary("naïve 東и")
    assert len(tokens) == 6, "東 should be two tokens here"
    parts = [evaluation.count_bytes([t]) for t in tokens]
    through_str = sum(len(get_tokenizer().decode([t]).encode()) for t in tokens)
    assert sum(parts) == len("naïve 東и".encode()) != through_str
    assert evaluation.count_bytes([END_OF_TEXT]) == evaluation.count_bytes([]) == 0
    for foreign in (-1, END_OF_TEXT + 1):
        with pytest.raises(ValueError, match=f"from {foreign} to {foreign} are not all GPT-2's"):
            evaluation.count_bytes([foreign])


@pytest.mark.parametrize("T", [1, 4, 6, 8, 12])
def test_a_texts_score_has_every_token_once(T):
    model, bar = tiny_gpt(vocab_size=END_OF_TEXT + 1, dropout=0.5).train(), []
    tokens = encode("To be, or not to be: naïve 東.")
    score = evaluation.score_text(
        model, tokens, 2, T, lambda batches: bar.append(batches) or batches
    )
    assert model.training, "scoring left dropout off"
    model.eval()
    line, nats = [END_OF_TEXT, *tokens.tolist()], 0.0
    for i in range(len(tokens)):  # token i has its window's earlier inputs as context
        seen = line[i // T * T : i + 1]
        nats -= model(torch.tensor([seen]))[0, -1].log_softmax(-1)[line[i + 1]].item()
    assert score.nats == pytest.approx(nats, abs=1e-4)
    assert (score.tokens, score.bytes) == (
        len(tokens),
        len("To be, or not to be: naïve 東.".encode()),
    )
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / score.bytes)
    assert score.loss == pytest.approx(nats / len(tokens))
    assert score.perplexity == pytest.approx(math.exp(score.loss))
    (batches,) = bar
    assert sum(map(len, batches)) == -(-len(tokens) // T), "the bar does not get all the windows"
    assert max(map(len, batches)) <= 2, "a batch of more than B windows"


def test_an_empty_text_has_no_score():
    for tokens in ([], [END_OF_TEXT]):
        with pytest.raises(ValueError, match="the text is empty"):
            evaluation.score_text(tiny_gpt(), np.array(tokens, np.uint16), 1, 8)
    with pytest.raises(ValueError, match="T must be at least 1, not 0"):
        evaluation.score_text(tiny_gpt(), np.zeros(9, np.uint16), 1, 0)


def test_standard_error_is_the_deviation_over_the_root():
    values = np.random.default_rng(0).normal(size=50)
    plain = evaluation.standard_error(values)
    assert plain == pytest.approx(values.std(ddof=1) / math.sqrt(50)), "n - 1, and n below the root"
    assert evaluation.standard_error(values, [f"item {i}" for i in range(50)]) == plain
    with pytest.raises(ValueError, match="1 independent observations"):
        evaluation.standard_error(values, ["one"] * 50)
    with pytest.raises(ValueError, match="labels of clusters for"):
        evaluation.standard_error(values, ["one", "two"])


def test_copies_of_an_item_tell_nothing_new():
    values = np.random.default_rng(0).normal(size=50)
    copied, labels = np.repeat(values, 4), np.repeat(np.arange(50), 4)
    once = evaluation.standard_error(values)
    assert evaluation.standard_error(copied, labels) == pytest.approx(once)
    assert evaluation.standard_error(copied) < 0.6 * once, "counted as independent, it looks surer"
    order = np.random.default_rng(1).permutation(200)
    assert evaluation.standard_error(copied[order], labels[order]) == pytest.approx(once)


def test_clustered_error_covers_the_truth():
    """Of 95 % intervals around means of clustered values, about 95 % hold the true mean, 0."""
    generator, labels = np.random.default_rng(0), np.repeat(np.arange(30), 10)
    inside = {"clustered": 0, "independent": 0}
    for _ in range(400):
        values = np.repeat(generator.normal(size=30), 10) + generator.normal(size=300)
        for name, clusters in (("clustered", labels), ("independent", None)):
            error = evaluation.standard_error(values, clusters)
            inside[name] += abs(values.mean()) < 1.96 * error
    assert 0.91 < inside["clustered"] / 400 < 0.97 and inside["independent"] / 400 < 0.7


def test_a_paired_difference_is_surer_than_two_scores():
    generator, hard = np.random.default_rng(0), np.random.default_rng(1).normal(size=300)
    a, b = (hard + shift + 0.1 * generator.normal(size=300) for shift in (0.1, 0.0))
    difference, error = evaluation.paired_difference(a, b)
    assert difference == pytest.approx(a.mean() - b.mean()), "the sign: the first minus the second"
    assert error == pytest.approx((a - b).std(ddof=1) / math.sqrt(300))
    apart = math.hypot(evaluation.standard_error(a), evaluation.standard_error(b))
    assert difference > 5 * error and difference < 2 * apart
    labels = np.repeat(np.arange(30), 10)
    clustered = evaluation.standard_error(a - b, labels)
    assert evaluation.paired_difference(a, b, labels)[1] == clustered != error


def test_an_accuracy_is_a_share_with_its_error():
    right, labels = np.array([1.0, 1.0, 0.0, 1.0, 0.0]), list("aabbc")
    found = evaluation.accuracy(right, labels)
    assert found == (0.6, evaluation.standard_error(right, labels), 5)
    assert found.error != evaluation.accuracy(right).error == evaluation.standard_error(right)
