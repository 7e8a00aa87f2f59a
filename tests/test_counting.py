"""The models that count: their probabilities, and what was recorded of them."""

import math

import numpy as np
import pytest

from gpt2lite.course import counting
from gpt2lite.course.counting import GPT2_LOSS, Reader, levels, read_along
from gpt2lite.course.exercises.loss_curves import bigram, unigram
from gpt2lite.course.records import recorded
from gpt2lite.data import encode
from gpt2lite.log import read_log
from gpt2lite.tokenizer import get_tokenizer

TEXT = [1, 2, 1, 3, 1, 2, 2, 0, 1, 1]


def test_a_reader_is_the_notebooks_two_models():
    reader, held = Reader(6), [1, 2, 4, 3, 0, 1]
    reader.read(TEXT)
    single, both = reader.surprise(held).mean(1)
    # the first token of a text follows nothing, so the reader doesn't count it
    assert single == pytest.approx(unigram(TEXT[1:], held[1:], 6))
    for v in (1, 4):  # one that was seen and one that wasn't
        p = [math.exp(-reader.surprise([v, w])[1, 0]) for w in range(6)]
        assert sum(p) == pytest.approx(1)
    assert both == pytest.approx(bigram(TEXT, held, 6), abs=0.1)  # which counts the first as well


def test_a_batch_is_predicted_before_it_is_counted():
    rows = list(read_along([3, 3, 3, 3, 3], 2, 9, V=8))
    assert len(rows) == 2, "it ends with the text"
    assert rows[0].shape == (2, 2) and np.allclose(rows[0], math.log(8)), "nothing is known yet"
    assert (rows[1] < rows[0]).all()


def test_the_recorded_levels_stand_in_their_order():
    head, rows = read_log(recorded("counting"))
    known = head["levels"]
    assert known["uniform"] > known["unigram"] > known["bigram"] > known["GPT-2"] == GPT2_LOSS
    assert known["tokens"] == 32_768 and 2 < known["bytes"] / known["tokens"] < 4
    for name, row in head["held_out"].items():
        assert row["unigram"] > row["bigram"] > row["bigram, read before"] > 0
        assert "validation" in read_log(recorded(name))[1][-1], "the run has a loss to compare"
    counts = {run: sum(row["run"] == run for row in rows) for run in ("step1", "step2", "step3")}
    assert counts == {"step1": 1000, "step2": 1000, "step3": 82}


def test_levels_and_log_are_made_by_one_command(tmp_path, monkeypatch):
    text = "To be, or not to be.\n\nAy, there is the rub.\n\n" * 60
    monkeypatch.setattr(counting, "load_text", lambda name: text)
    monkeypatch.setattr(counting, "HELD", 300)
    monkeypatch.setattr(counting, "recorded", lambda name: recorded("step3"))
    monkeypatch.setattr(counting, "read_along", lambda *_: iter([np.ones((2, 4))]))
    counting.main(tmp_path / "log")
    head, rows = read_log(tmp_path / "log")
    assert head["levels"] == levels(text) and len(rows) == 3
    tokens = encode(text).tolist()
    for name, parts in (("step3_validated", 10), ("recipe_124m", 20)):
        n = len(tokens) - len(tokens) // parts
        seen, unseen = tokens[:n], tokens[n:]
        expected = bigram(seen, unseen, 50257), bigram(seen, seen, 50257)
        row = head["held_out"][name]
        assert (row["bigram"], row["bigram, read before"]) == pytest.approx(expected)
        assert row["unigram"] == pytest.approx(unigram(seen, unseen, 50257))
    assert head["levels"]["bigram"] < 1 < head["levels"]["unigram"] < head["levels"]["uniform"]
    end = "<|endoftext|>"
    whole = get_tokenizer().encode(end + text.replace("\n\n", f"\n\n{end}"), allowed_special={end})
    spoken = get_tokenizer().decode(whole[:300]).replace(end, "")
    assert head["levels"]["bytes"] == len(spoken), "the mark between speeches is no text"
