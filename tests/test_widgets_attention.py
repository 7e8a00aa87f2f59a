"""The explorer of heads reacts to each of its dials; no browser runs here."""

import re

from helpers import tiny_gpt

from gpt2lite.course.attention import attention_weights
from gpt2lite.course.widgets import attention_explorer
from gpt2lite.tokenizer import get_tokenizer

MODEL = tiny_gpt(vocab_size=50257, n_layer=3, block_size=12)


def explorer(text="To be, or not"):
    sentence, row, page = attention_explorer(MODEL, text, layer=2, head=1).children
    layer, head = row.children
    return sentence, layer, head, page


def alt(page):
    return re.search(r'<img alt="([^"]*)"', page.value)[1]


def test_each_dial_draws_another_head():
    sentence, layer, head, page = explorer()
    assert "layer 2, head 1" in alt(page) and "5 tokens, To ·be , ·or ·not" in alt(page)
    assert (layer.max, head.max) == (2, 1)
    pages = [page.value]
    for dial, value in ((layer, 0), (head, 0), (sentence, "What news?")):
        dial.value = value
        pages.append(page.value)
    assert len(set(pages)) == len(pages), "a dial changes nothing"
    ids = get_tokenizer().encode_ordinary("What news?")
    peak = attention_weights(MODEL, ids)[0, 0, 1:].amax(-1).mean().item()
    assert f"layer 0, head 0: the largest weight of a row is {peak:.2f}" in alt(page)
    assert "What ·news ?" in alt(page)


def test_no_sentence_is_too_short_or_too_long():
    sentence, layer, _, page = explorer()
    sentence.value = ""
    assert "Type a sentence" in page.value
    layer.value = 1
    assert "Type a sentence" in page.value
    sentence.value = "word " * 100
    assert "over 12 tokens" in alt(page), "a model reads at most its block_size"
