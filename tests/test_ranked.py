"""The plays run once more: it begins as that run did; the pairs rank its models in order."""

import json

import numpy as np
import pytest
import torch
from helpers import corpus_or_skip

from gpt2lite import GPT, GPTConfig, evaluation, pairs
from gpt2lite.course import ranked
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log
from gpt2lite.precision import pick


def test_the_pairs_rank_the_checkpoints_of_one_run_in_their_order():
    head, records = read_log(recorded("ranked"))
    sizes, config, text = ranked.settings()
    assert (head["model"], head["data"]) == (vars(sizes), text)
    assert head["training"] == json.loads(json.dumps(vars(config)))
    assert [record["step"] for record in records] == list(ranked.MARKS)
    benchmark = pairs.make_pairs()
    clusters = [pair.cluster for pair in benchmark]
    answers = [np.array(record["margins"]) > 0 for record in records]
    for record, right in zip(records, answers, strict=True):
        assert round(right.mean(), 4) == record["accuracy"], "the pairs were changed: record anew"
    for record, earlier, later in zip(records[1:], answers, answers[1:], strict=False):
        gain, error = evaluation.paired_difference(later, earlier, clusters)
        assert gain > 1.96 * error, f"step {record['step']}: {gain:.3f} ± {error:.3f} may be chance"
    *_, released = read_log(recorded("plays"))[1]
    assert records[-1]["validation"] == pytest.approx(released["validation"], abs=0.05), (
        "the run ends far from the released model"
    )


def test_it_begins_as_the_plays_run_did():
    corpus_or_skip("shakespeare")
    _, steps, _ = ranked.start(pick("cpu"))
    first, (_, then) = next(steps), read_log(recorded("plays"))
    assert first["loss"] == pytest.approx(then[0]["loss"], abs=2e-3), (
        "other weights, another batch or other dropout masks"
    )


def test_the_model_answers_at_each_mark(tmp_path, monkeypatch, capsys):
    head, _ = read_log(recorded("plays"))
    tiny = vars(GPTConfig(block_size=64, n_layer=1, n_head=1, n_embd=8))
    settings = head["training"] | {"batch_size": 2, "seq_len": 32, "warmup_steps": 1, "steps": 3}
    head = head | {"model": tiny, "training": settings}
    (tmp_path / "plays.jsonl").write_text(json.dumps(head) + "\n")
    few = pairs.make_pairs(6)
    monkeypatch.setattr(ranked, "recorded", lambda run: tmp_path / f"{run}.jsonl")
    monkeypatch.setattr(ranked, "load_text", lambda name: "To be, or not to be. " * 500)
    monkeypatch.setattr(ranked, "MARKS", (0, 1, 3))
    monkeypatch.setattr(ranked.pairs, "make_pairs", lambda: few)
    ranked.main(tmp_path / "log.jsonl")
    head, records = read_log(tmp_path / "log.jsonl")
    assert head["command"].startswith("python -m gpt2lite.course.ranked ")
    assert [record["step"] for record in records] == [0, 1, 3]
    losses = [record["validation"] for record in records]
    assert losses == sorted(losses, reverse=True), "the marks are not taken where they say"
    torch.manual_seed(settings["seed"])
    fresh = pairs.margins(GPT(GPTConfig(**tiny)), few)
    assert records[0]["margins"] == pytest.approx(fresh.tolist(), rel=1e-3)
    assert records[1]["margins"] != records[0]["margins"] != records[2]["margins"]
    assert "3 steps: loss" in capsys.readouterr().out
