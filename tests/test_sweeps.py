"""The comparisons of notebook 06: paired by seed, honest about 0, and a trunk that goes on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gpt2lite.course import sweeps
from gpt2lite.course.sweeps import interval

TEXT = "KING RICHARD II:\nOur doctors say this is no month to bleed.\n" * 200
SHORT = sweeps.RECIPE.__class__(steps=6, batch_size=2, seq_len=8, lr=1e-2, warmup_steps=1)


@pytest.fixture
def seen():
    return sweeps.bytes_of(TEXT)


@pytest.mark.parametrize("n, t", [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_the_interval_is_students(n, t):
    a, b = np.linspace(3, 4, n) ** 2, np.ones(n)
    middle, low, high = interval(a, b)
    half = t * np.std(a - b, ddof=1) / math.sqrt(n)
    assert (middle, low, high) == pytest.approx(((a - b).mean(), middle - half, middle + half))


def test_one_pair_shows_nothing():
    assert interval([3.0], [1.0]) == (2.0, -math.inf, math.inf)


def test_pairs_of_other_lengths_are_refused():
    with pytest.raises(ValueError):
        interval([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_seed_gives_both_arms_the_same_batches_and_other_weights_only_if_asked(seen):
    one, same, other = (sweeps.start(seen, SHORT, 3, init=init) for init in (None, 3, 4))
    assert torch.equal(one.model.wte.weight, same.model.wte.weight)
    assert not torch.equal(one.model.wte.weight, other.model.wte.weight)
    assert torch.equal(next(one.batches)[0], next(other.batches)[0]), "paired: the same batches"
    assert not torch.equal(
        next(one.batches)[0], next(sweeps.start(seen, SHORT, 4, init=3).batches)[0]
    )


def test_a_cooled_run_is_the_run_that_was_planned_so_and_the_trunk_goes_on(seen):
    constant = sweeps.start(seen, SHORT, SHORT.seed)
    branch = sweeps.cool(constant, 5, 2)
    assert (constant.done, branch.done) == (3, 3)
    rates = [record["lr"] for record in branch]
    assert rates == pytest.approx([1e-2, 5e-3])
    planned = SHORT.__class__(**vars(SHORT) | {"steps": 5, "cooldown_steps": 2})
    whole = sweeps.start(seen, planned, SHORT.seed)
    list(whole)
    assert torch.equal(branch.model.wte.weight, whole.model.wte.weight), "as if planned from 0 on"
    plain = sweeps.start(seen, SHORT, SHORT.seed)
    list(plain), list(constant)
    assert torch.equal(constant.model.wte.weight, plain.model.wte.weight), "the trunk lost nothing"


def test_cooldowns_warm_up_by_their_shortest_length(seen, monkeypatch):
    known, configs = sweeps.start, []

    def noted(tokens, config, *rest):
        configs.append(config)
        return known(tokens, config, *rest)

    monkeypatch.setattr(sweeps, "start", noted)
    short = list(sweeps.cooldowns(seen, seen[:2000], 0, (8, 16)))
    assert len(short) == 2 and configs[0].warmup_steps == 3, "8 steps have no room for 30"
    next(sweeps.cooldowns(seen, seen[:2000], 0, sweeps.LENGTHS))
    assert sweeps.RECIPE.warmup_steps in [c.warmup_steps for c in configs], "not as recorded"


def test_the_cooled_runs_and_the_hot_ones_are_pairs(seen):
    config = SHORT.__class__(**vars(SHORT) | {"steps": 10})
    down, hot = sweeps.cooled(seen, seen[:2000], config, 2)
    for seed in range(2):
        plain = sweeps.finish(sweeps.start(seen, config, seed), seen[:2000])
        assert hot[seed] == plain["validation"], "the cooldown took nothing from the trunk"
        cool = sweeps.start(seen, replace(config, cooldown_steps=2), seed)
        assert down[seed] == sweeps.finish(cool, seen[:2000])["validation"], "as if planned so"
    assert down[0] != hot[0] != hot[1]


def test_curves_are_measured_on_their_own_tokens(seen):
    run = sweeps.start(seen, SHORT, 0)
    found = sweeps.finish(run, seen[:2000], every=3, test=seen[2000:4000])
    last = sweeps.validate(run.model, seen[2000:4000])
    assert len(found["curve"]) == 2 and found["test"][-1] == pytest.approx(last, abs=1e-4)
    assert found["curve"][-1] == pytest.approx(found["validation"], abs=1e-4) != found["test"][-1]


def test_a_run_that_diverges_ends_as_nan(seen, monkeypatch):
    run = sweeps.start(seen, SHORT, 0)
    run.model.wte.weight.data[:] = math.nan
    assert math.isnan(sweeps.finish(run, seen[:2000])["validation"])


def test_own_tokens_are_counted_anew():
    ids, V = sweeps.own_tokens("to be or not to be")
    assert V == len(set(ids.tolist())) == ids.max() + 1 and len(ids) == 6


def test_a_call_adds_one_seed_to_the_log_and_the_last_one_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweeps, "load_text", lambda name: TEXT)
    monkeypatch.setitem(sweeps.SWEEPS, "none", lambda text, seed: [{"arm": "a", "validation": 1.0}])
    log = tmp_path / "log.jsonl"
    for calls in range(1, 6):
        sweeps.main("none", str(log))
        head, *records = map(json.loads, log.read_text().splitlines())
        assert [record["seed"] for record in records] == list(range(calls))
    assert head["command"] == f"python -m gpt2lite.course.sweeps none {log}"
    with pytest.raises(SystemExit, match="complete"):
        sweeps.main("none", str(log))
    with pytest.raises(SystemExit, match="none of the sweeps: warmup"):
        sweeps.main("nowhere", str(log))


def test_what_was_recorded_is_whole_and_paired():
    arms = {
        "warmup": {f"{lr:g}, {n}" for lr in sweeps.WARMED for n in (0, 30)},
        "rates": {f"{lr:g}, 30" for lr in sweeps.RATES},
        "same": {"A again"},
        "overfit": {"dropout 0", "dropout 0.2"},
        "trunk": {f"{kind} {n}" for kind in ("cosine", "cooldown") for n in sweeps.LENGTHS},
    }
    assert arms.keys() == sweeps.SWEEPS.keys()
    for name, expected in arms.items():
        assert sweeps.results(name).keys() == expected
        seeds = sweeps.results(name, "seed")
        assert all(found == list(sweeps.SEEDS) for found in seeds.values()), f"{name} has gaps"
    lengths = {len(c) for runs in sweeps.results("overfit", "test").values() for c in runs}
    assert lengths == {sweeps.OVERFIT // sweeps.EVERY}, "judged wherever it may be stopped"
