"""What notebook 06 takes from course.recipe says what is so."""

import re

import pytest
import torch

from gpt2lite import GPT
from gpt2lite.course import figures, recipe, sweeps
from gpt2lite.data import Batches
from gpt2lite.optim import adamw


@pytest.mark.parametrize(
    "b, says",
    [([2.0, 2.1, 2.2], "lower"), ([0.0, 0.1, 0.1], "higher"), ([1.0, 1.2, 1.0], "no difference")],
)
def test_a_verdict_needs_an_interval_without_0(b, says, capsys):
    assert recipe.verdict("a − b", [1.0, 1.1, 1.1], b) == says
    assert re.search(rf"a − b +[+-]\d\.\d+ nats \[.*, .*\]: {says}$", capsys.readouterr().out)


@pytest.mark.parametrize("true, mark", [(True, "✓ it falls"), (False, "○ it falls: doesn't show")])
def test_what_depends_on_the_dial_never_fails(true, mark, capsys):
    recipe.shows(true, "it falls", "the run is too short")
    assert capsys.readouterr().out.startswith(mark)


def test_what_is_folded_shows_only_when_opened(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    with recipe.folded("Open: 1 < 2", figures.schedules({"cosine": sweeps.RECIPE})):
        print("a < b")
    page = shown[0]["text/html"]
    assert re.fullmatch(r"<details><summary>Open: 1 &lt; 2</summary><img .*</details>", page, re.S)
    assert "<pre>a &lt; b\n</pre>" in page and capsys.readouterr().out == ""
    with pytest.raises(AssertionError), recipe.folded("Open"):
        raise AssertionError("a check that fails is no secret")
    assert len(shown) == 1


def test_a_long_run_is_read_between_its_validations_and_timed(capsys):
    records = [{"step": i, "loss": float(i), "ms": 500.0} for i in range(4)]
    records[1]["validation"], records[3]["validation"] = 9.0, 8.0
    assert recipe.validations(records) == ([9.0, 8.0], [0.5, 2.5], 2)
    training = {"batch_size": 5, "seq_len": 100, "grad_accum_steps": 6}
    recipe.how_long({"hardware": "H200", "training": training}, records, {"T4": 100})
    said = capsys.readouterr().out
    assert "0.0M tokens took 2 s on an H200" in said
    assert "predicted for a T4, at 100 tokens/s: 2 minutes" in said


def test_what_a_state_lacks_is_left_as_it_is():
    model = GPT(sweeps.MODEL)
    optimizer, batches = adamw(model, sweeps.RECIPE), Batches(sweeps.bytes_of("to be " * 200), 2, 8)
    next(batches)
    there, place = model.wte.weight.clone(), batches.state_dict()
    assert recipe.restore({}, model, optimizer, batches) == 0
    assert torch.equal(model.wte.weight, there) and batches.state_dict() == place
    other = GPT(sweeps.MODEL).state_dict()
    state = {"model": other, "step": 7, "random": torch.Generator().manual_seed(5).get_state()}
    with torch.random.fork_rng():
        assert recipe.restore(state, model, optimizer, batches) == 7
        assert torch.initial_seed() == 5
    assert torch.equal(model.wte.weight, other["wte.weight"])


def test_a_gradient_is_that_of_one_fresh_model():
    ids = torch.arange(64).view(4, 16)

    def gather(model, parts):
        for part in parts:
            model(part).sum().backward()

    first, again, other = (recipe.gradient(gather, ids.split(2), seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first) == sum(p.numel() for p in GPT(sweeps.MODEL).parameters())
