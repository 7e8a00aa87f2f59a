"""The recorded seeds: one recipe, and what differs is the seed alone."""

from dataclasses import replace

import numpy as np

from gpt2lite import GPT, GPTConfig, pairs
from gpt2lite.course import seeds
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log


def test_the_command_writes_a_line_for_each_seed(tmp_path, monkeypatch):
    few = pairs.make_pairs(2)
    monkeypatch.setattr(seeds, "SEEDS", (3, 3, 4))
    monkeypatch.setattr(seeds, "RECIPE", replace(seeds.RECIPE, steps=1, batch_size=1, seq_len=8))
    monkeypatch.setattr(seeds, "WINDOWS", 2)
    monkeypatch.setattr(seeds, "load_text", lambda name: " ".join(map(str, range(9999))))
    monkeypatch.setattr(pairs, "make_pairs", lambda: few)
    seeds.main(tmp_path / "log")
    head, records = read_log(tmp_path / "log")
    assert head["command"].startswith("python -m gpt2lite.course.seeds ")
    assert records[0] == records[1], "the same seed gives another model"
    assert records[2]["losses"] != records[0]["losses"], "another seed gives the same model"
    assert all(len(record["right"]) == len(few) for record in records)


def test_the_windows_come_from_all_over_the_text(monkeypatch):
    model, read = GPT(GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=4)), []
    monkeypatch.setattr(seeds, "validation_loss", lambda _, window, B, T: read.append(window) or 0)
    seeds.losses(model, np.arange(1000))
    assert {len(window) for window in read} == {8 + 1}, "a window predicts T tokens"
    starts = [int(window[0]) for window in read]
    gaps = np.diff(starts)
    assert len(starts) == seeds.WINDOWS and gaps.min() >= 8, "windows overlap"
    assert starts[0] == 0 and starts[-1] + gaps.max() >= 1000 - 8, "a part of the text isn't read"


def test_the_recorded_runs_are_of_this_recipe_and_these_pairs():
    head, records = read_log(recorded("seeds"))
    assert head["training"]["steps"] == seeds.RECIPE.steps
    assert [record["seed"] for record in records] == list(seeds.SEEDS)
    assert {len(record["right"]) for record in records} == {len(pairs.make_pairs())}
    assert {len(record["losses"]) for record in records} == {seeds.WINDOWS}
