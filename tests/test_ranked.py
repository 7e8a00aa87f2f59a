"""The record of one training run: its models stand in their order, by the pairs as they are now."""

import json

import numpy as np
import pytest

from gpt2lite import GPT, GPTConfig, evaluation, pairs
from gpt2lite.course import ranked
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log


def test_the_margins_rank_the_checkpoints_of_one_run():
    """Accuracy is blunt so early: most squares are still one right, one wrong."""
    head, records = read_log(recorded("pairs"))
    sizes, config, text = ranked.settings()
    assert (head["model"], head["data"]) == (vars(sizes), text)
    assert head["training"] == json.loads(json.dumps(vars(config)))
    benchmark = pairs.make_pairs()
    for record in records:
        share, error, _ = pairs.accuracies(benchmark, np.array(record["margins"]))["all"]
        assert (round(share, 4), round(error, 4)) == (record["accuracy"], record["error"]), (
            "the pairs were changed: record anew"
        )
    assert [record["step"] for record in records] == list(ranked.MARKS)
    losses = [record["validation"] for record in records]
    assert losses == sorted(losses, reverse=True)
    clusters = [pair.cluster for pair in benchmark]
    for earlier, later in zip(records, records[1:], strict=False):
        both = (np.array(record["margins"]) for record in (later, earlier))
        gain, error = evaluation.paired_difference(*both, clusters)
        assert gain > 2 * error, (
            f"step {later['step']}: {gain:.3f} ± {error:.3f} nats may be chance"
        )


@pytest.fixture
def small(tmp_path, monkeypatch):
    head, _ = read_log(recorded("plays"))
    tiny = vars(GPTConfig(block_size=64, n_layer=1, n_head=1, n_embd=8))
    shorter = {"batch_size": 2, "warmup_steps": 1}
    head = head | {"model": tiny, "training": head["training"] | shorter}
    (tmp_path / "plays.jsonl").write_text(json.dumps(head) + "\n")
    monkeypatch.setattr(ranked, "recorded", lambda run: tmp_path / f"{run}.jsonl")
    monkeypatch.setattr(ranked, "load_text", lambda name: "To be, or not to be. " * 500)
    monkeypatch.setattr(ranked, "MARKS", (0, 1, 4))
    monkeypatch.setattr(ranked, "KEPT", tmp_path / "kept")
    some = pairs.make_pairs(12)
    monkeypatch.setattr(ranked.pairs, "make_pairs", lambda: some)
    return tmp_path


def test_a_second_call_only_answers(small, monkeypatch, capsys):
    ranked.main(small / "first.jsonl")
    losses = []
    for record in read_log(small / "first.jsonl")[1]:
        model = GPT.from_pretrained(small / "kept" / str(record["step"]))
        expected = pairs.margins(model, ranked.pairs.make_pairs())
        assert record["margins"] == pytest.approx(expected.tolist(), rel=1e-3)
        losses.append(record["validation"])
    assert losses == sorted(losses, reverse=True), "the marks are not taken where they say"
    assert "4 steps: loss" in capsys.readouterr().out
    monkeypatch.setattr(ranked, "train", lambda _: pytest.fail("trained again"))
    ranked.main(small / "second.jsonl")
    assert read_log(small / "second.jsonl")[1] == read_log(small / "first.jsonl")[1]
