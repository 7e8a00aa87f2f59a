"""The recorded seeds: one recipe, and what differs is the seed alone."""

from dataclasses import replace

from gpt2lite import pairs
from gpt2lite.course import seeds
from gpt2lite.course.records import recorded
from gpt2lite.log import read_log


def test_the_command_writes_a_line_for_each_seed(tmp_path, monkeypatch):
    few = pairs.make_pairs(2)
    monkeypatch.setattr(seeds, "SEEDS", (3, 3, 4))
    monkeypatch.setattr(seeds, "RECIPE", replace(seeds.RECIPE, steps=1, batch_size=1, seq_len=8))
    monkeypatch.setattr(seeds, "READ", 1)
    monkeypatch.setattr(seeds, "load_text", lambda name: " ".join(map(str, range(999))))
    monkeypatch.setattr(pairs, "make_pairs", lambda: few)
    seeds.main(tmp_path / "log")
    head, records = read_log(tmp_path / "log")
    assert head["command"].startswith("python -m gpt2lite.course.seeds ")
    assert records[0] == records[1], "the same seed gives another model"
    assert records[2]["margins"] != records[0]["margins"], "another seed gives the same model"
    assert all(len(record["margins"]) == len(few) for record in records)


def test_the_recorded_runs_are_of_this_recipe_and_these_pairs():
    head, records = read_log(recorded("seeds"))
    assert head["training"]["steps"] == seeds.RECIPE.steps
    assert [record["seed"] for record in records] == list(seeds.SEEDS)
    assert {len(record["margins"]) for record in records} == {len(pairs.make_pairs())}
