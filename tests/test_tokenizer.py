import json
import socket
from pathlib import Path

import pytest
import regex
import transformers
from helpers import corpus_or_skip
from hypothesis import given
from hypothesis import strategies as st

from gpt2lite import tokenizer
from gpt2lite.assets import AssetError

HELLO = "Hello World ! I'm LLM"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the tokenizer went to the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tokenizer.get_tokenizer.cache_clear()


@pytest.mark.parametrize(
    "text, ids",
    [
        (HELLO, [15496, 2159, 5145, 314, 1101, 27140, 44]),
        ("Hello, I'm a language model,", [15496, 11, 314, 1101, 257, 3303, 2746, 11]),
        ("The dog", [464, 3290]),
    ],
)
def test_ids_are_those_of_the_reference_without_a_download(no_network, text, ids):
    assert tokenizer.get_tokenizer().encode_ordinary(text) == ids


def test_vocabulary():
    encoding = tokenizer.get_tokenizer()
    assert encoding.n_vocab == 50257
    assert encoding.decode_single_token_bytes(0) == b"!"
    assert encoding.decode_single_token_bytes(220) == b" "
    assert encoding.decode_single_token_bytes(256) == b" t"
    assert encoding.decode([tokenizer.END_OF_TEXT]) == "<|endoftext|>"
    assert len(tokenizer.read_merges()) == 50000
    assert len(set(tokenizer.byte_to_unicode().values())) == 256


@pytest.mark.parametrize("corpus, n", [("tinyshakespeare", 338_025), ("shakespeare", 1_455_180)])
def test_a_whole_corpus_has_the_reference_number_of_tokens(corpus, n):
    text = corpus_or_skip(corpus)
    assert len(tokenizer.get_tokenizer().encode_ordinary(text)) == n


@given(st.one_of(st.text(), st.text("<|endoftext|> \n\t'sé漢🙂\u0000")))
def test_any_text_survives_a_round_trip(text):
    encoding = tokenizer.get_tokenizer()
    ids = encoding.encode_ordinary(text)
    assert encoding.decode(ids) == text
    assert tokenizer.END_OF_TEXT not in ids


@given(st.one_of(st.text(), st.text("a1 '\n\tlsverd!\u00a0")))
def test_the_pattern_splits_as_the_one_that_gpt2_was_released_with(text):
    released = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    assert regex.findall(tokenizer.PATTERN, text) == regex.findall(released, text)


def test_end_of_text_written_out_is_text():
    ids = tokenizer.get_tokenizer().encode_ordinary("<|endoftext|>")
    assert len(ids) > 1 and tokenizer.END_OF_TEXT not in ids


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b.replace(b"\n", b"\r\n")])
def test_a_damaged_merge_table_is_refused(monkeypatch, tmp_path, damage):
    damaged = tmp_path / "vocab.bpe"
    damaged.write_bytes(damage(tokenizer.VOCAB_FILE.read_bytes()))
    monkeypatch.setattr(tokenizer, "VOCAB_FILE", damaged)
    with pytest.raises(AssetError, match="not GPT-2's merge table.*reinstall"):
        tokenizer.read_merges()


def test_the_saved_merges_are_the_published_table(tmp_path):
    tokenizer.save_tokenizer(tmp_path / "a new folder")
    saved = (tmp_path / "a new folder" / "merges.txt").read_bytes()
    assert saved == tokenizer.VOCAB_FILE.read_bytes()
    vocabulary = json.loads((tmp_path / "a new folder" / "vocab.json").read_text("utf-8"))
    assert sorted(vocabulary.values()) == list(range(50257))
    assert vocabulary["<|endoftext|>"] == 50256 and vocabulary["Ġthe"] == 262


def test_a_full_disk_leaves_the_saved_tokenizer_whole(tmp_path, monkeypatch):
    (tmp_path / "merges.txt").write_text("earlier")
    write = Path.write_bytes

    def full(path, content):
        if path.name == "merges.txt":
            write(path, content[:1000])
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(AssetError, match=f"tokenizer into {tmp_path} .*No space left.*make room"):
        tokenizer.save_tokenizer(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["merges.txt"], "half a tokenizer"
    assert (tmp_path / "merges.txt").read_text() == "earlier"


def test_numbers_and_marks_are_not_cut_into_groups():
    assert regex.findall(tokenizer.PATTERN, "a1234567 ...... it'll") == [
        *("a", "1234567", " ......", " it", "'ll")
    ]


def test_transformers_opens_the_saved_tokenizer(tmp_path):
    tokenizer.save_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Hello World ! I'm LLM", "  two  spaces\n\n", "naïve 漢字 🙂"):
        ids = tokenizer.get_tokenizer().encode_ordinary(text)
        assert theirs(text)["input_ids"] == ids and theirs.decode(ids) == text
    assert theirs.eos_token_id == tokenizer.END_OF_TEXT
