"""A whole run: what can't end well is refused first; the rest resumes, validates and exports."""

import copy
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from helpers import tiny_gpt

from gpt2lite import GPT, GPTConfig, checkpoint, data, evaluation, run, training
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.log import LogError, read_log
from gpt2lite.precision import Precision
from gpt2lite.training import TrainingError

FP32 = Precision(torch.device("cpu"), torch.float32, False, "exact, for the tests")
TOKENS = np.random.default_rng(0).integers(0, 61, 400).astype(np.uint16)


def settings(**changes) -> TrainConfig:
    return TrainConfig(**({"steps": 4, "batch_size": 2, "seq_len": 6, "lr": 1e-2} | changes))


def train(tokens=TOKENS, model=None, config=None, **options) -> list[dict]:
    """Return the records of a run that is the same each time."""
    torch.manual_seed(0)
    model = tiny_gpt(dropout=0.1) if model is None else model
    return list(run.train(model, tokens, config or settings(), FP32, **options))


def losses(records):
    return [(r["step"], r["loss"], r.get("validation")) for r in records]


def test_a_run_trains_on_its_part_of_the_text_in_the_order_asked_for(monkeypatch):
    made, Batches = [], data.Batches
    monkeypatch.setattr(run.data, "Batches", lambda *a: made.append(a) or Batches(*a))
    train(order="random", val_fraction=0.25, config=settings(seed=5))
    ((tokens, *rest),) = made
    assert tokens.tolist() == TOKENS[:300].tolist(), "it trains on what it validates on"
    assert rest == [2, 6, "random", 5, 61, FP32.device]


def test_it_validates_at_each_pause_and_at_the_end_on_the_rest(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation, "validation_loss", lambda *a: asked.append(a) or 2.0)
    model = tiny_gpt()
    records = train(model=model, config=settings(steps=5), val_fraction=0.25, save_every=2)
    assert [r["step"] for r in records if "validation" in r] == [1, 3, 4]
    for on, tokens, *shape in asked:
        assert on is model and tokens.tolist() == TOKENS[300:].tolist() and shape == [2, 6]


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    options = {"val_fraction": 0.25, "save_every": 1, "order": "random"}
    whole = losses(train(**options, log_file=tmp_path / "whole.jsonl"))
    options |= {"save": tmp_path / "run", "log_file": tmp_path / "run.jsonl"}
    torch.manual_seed(0)
    for record in run.train(tiny_gpt(dropout=0.1), TOKENS, settings(), FP32, **options):
        if record["step"] == 1:
            break
    resumed = losses(train(**options))
    assert resumed == whole[2:]
    assert losses(read_log(tmp_path / "run.jsonl")[1]) == whole
    assert losses(read_log(tmp_path / "whole.jsonl")[1]) == whole
    assert losses(train(**options)) == [], "a run that is done has nothing to do"


def test_a_copy_of_the_trunks_checkpoints_cools_down(tmp_path):
    train(config=settings(steps=5, cooldown_steps=2), log_file=tmp_path / "alone.jsonl")
    train(config=settings(steps=3), save=tmp_path / "trunk", log_file=tmp_path / "trunk.jsonl")
    shutil.copytree(tmp_path / "trunk", tmp_path / "cool")
    cool = {"save": tmp_path / "cool", "log_file": tmp_path / "cool.jsonl"}
    train(config=settings(steps=5, cooldown_steps=2), **cool)
    trunk = {"save": tmp_path / "trunk", "log_file": tmp_path / "trunk.jsonl"}
    assert [r["step"] for r in train(config=settings(steps=4), **trunk)] == [3], "the trunk goes on"
    alone, cooled = (losses(read_log(tmp_path / f"{n}.jsonl")[1]) for n in ("alone", "cool"))
    assert cooled == alone[3:]


def test_it_trains_on_from_weights_and_resumes_without_them(tmp_path):
    begun = tmp_path / "begun"
    tiny_gpt(seed=7).save_pretrained(begun)
    whole = losses(train(model=tiny_gpt(seed=7, dropout=0.1)))
    again = train(model=tiny_gpt(dropout=0.1), init_from=begun)
    assert losses(again) == whole, "not from the weights that were named"
    options = {"init_from": begun, "save": tmp_path / "run", "save_every": 1}
    model = tiny_gpt(dropout=0.1)
    torch.manual_seed(0)
    for record in run.train(model, TOKENS, settings(), FP32, **options):
        if record["step"] == 1:
            break
    shutil.rmtree(begun)
    assert losses(train(**options)) == whole[2:], "not as if it had never stopped"
    for other in (None, "gpt2"):
        with pytest.raises(TrainingError, match=f"began with init_from='.*begun', not {other!r}"):
            train(**(options | {"init_from": other}))


def test_weights_of_other_sizes_are_refused_by_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(training.Trainer, "_step", lambda *_: pytest.fail("a step was made"))
    tiny_gpt(n_layer=3, block_size=24).save_pretrained(tmp_path)
    both = "have block_size=24, n_layer=3, the model has block_size=12, n_layer=2: give it their"
    with pytest.raises(ValueError, match=both):
        train(init_from=tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        train(init_from="nowhere")


def test_the_best_is_marked_kept_and_remembered(tmp_path, monkeypatch):
    given = iter([3.0, 1.0, 1.0, 2.0, 1.5, 0.5])
    monkeypatch.setattr(evaluation, "validation_loss", lambda *_: next(given))
    marks, save = [], checkpoint.save
    monkeypatch.setattr(
        run.checkpoint,
        "save",
        lambda *a, best: marks.append((a[1], best)) or save(*a, best=best),
    )
    options = {"val_fraction": 0.25, "save_every": 1, "save": tmp_path / "run"}
    train(**options)
    assert marks == [(1, True), (2, True), (3, False), (4, False)], "a tie is no better"
    train(**options, config=settings(steps=6))
    assert marks[4:] == [(5, False), (6, True)], "the best so far was forgotten on resuming"


def test_the_best_is_exported_in_bf16_and_the_model_stays(tmp_path, monkeypatch):
    given = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(evaluation, "validation_loss", lambda *_: next(given))
    model = tiny_gpt()
    options = {"val_fraction": 0.25, "save_every": 1, "save": tmp_path / "run"}
    train(model=model, export=tmp_path / "new" / "out", **options)
    (best,) = checkpoint.found(tmp_path / "run", best=True)
    state = checkpoint.load(best)
    assert state["done"] == 2
    exported = GPT.from_pretrained(tmp_path / "new" / "out").state_dict()
    for name, w in exported.items():
        assert torch.equal(w, state["model"][name].bfloat16().float()), "not the best, or not bf16"
    last = checkpoint.load(tmp_path / "run")["model"]
    assert all(torch.equal(w, last[name]) for name, w in model.state_dict().items())
    assert (tmp_path / "new" / "out" / "merges.txt").exists()
    text = (tmp_path / "new" / "out" / "README.md").read_text()
    assert "# out\n" in text
    assert "validation loss 1.000, " in text and "after 2 steps; at the end validation" in text
    assert "validation loss 2.500, " in text and "after 4 steps" in text, "the run's end"


def test_without_checkpoints_the_last_is_exported(tmp_path):
    model = tiny_gpt()
    train(model=model, export=tmp_path / "out")
    exported = GPT.from_pretrained(tmp_path / "out").state_dict()
    for name, w in model.state_dict().items():
        assert torch.equal(exported[name], w.bfloat16().float())
    text = (tmp_path / "out" / "README.md").read_text()
    assert "after 4 steps" in text and "validation loss" not in text and "at the end" not in text


def test_the_card_tells_of_the_weights_that_are_exported(tmp_path, monkeypatch):
    given = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(evaluation, "validation_loss", lambda *_: next(given))
    train(val_fraction=0.25, save_every=1, export=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "validation loss 2.500, " in text, "without checkpoints the best is not kept"
    assert "at the end" not in text


def test_checkpoints_come_at_each_pause_and_at_the_end(tmp_path):
    train(save=tmp_path / "run", save_every=3)
    steps = [checkpoint.load(path)["done"] for path in checkpoint.found(tmp_path / "run")]
    assert steps == [3, 4]


def test_checkpoints_come_by_minutes_too_and_validations_do_not(tmp_path, monkeypatch):
    now, saved, save = [0.0], [], checkpoint.save
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "save", lambda *a, **how: saved.append(a[1]) or save(*a, **how))
    options = {"save": tmp_path / "run", "save_minutes": 2, "val_fraction": 0.25}
    validated = []
    for record in run.train(tiny_gpt(), TOKENS, settings(steps=8), FP32, **options):
        now[0] += 60
        validated += [record["step"]] * ("validation" in record)
    assert saved == [3, 5, 7, 8], "not each two minutes, counted from the last checkpoint"
    assert validated == [7], "what is logged depends on the machine's speed"


def press(times=1):
    """Press Ctrl-C."""
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


def interrupted(step, place, monkeypatch, **options):
    """Train until Ctrl-C is pressed at a place of a step; return what was printed."""
    made, validate = training.Trainer._step, evaluation.validation_loss
    pressed = []

    def stepping(trainer, hold):
        if trainer.done == step and place == "step":
            press()
        return made(trainer, hold)

    def validating(*args):
        pressed.append(1)
        if len(pressed) == step + 1 and place == "validation":
            press(2)
        return validate(*args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training.Trainer, "_step", stepping)
        patched.setattr(evaluation, "validation_loss", validating)
        torch.manual_seed(0)
        for record in run.train(tiny_gpt(dropout=0.1), TOKENS, settings(), FP32, **options):
            if record["step"] == step and place == "body":
                press()


@pytest.mark.parametrize(
    "step, place, save_every, kept",
    [
        (0, "step", 500, 0),  # cut, and saved as it began
        (2, "step", 500, 2),
        (2, "body", 500, 3),
        (2, "body", 1, 3),
        (2, "validation", 1, 2),  # pressed twice: step 2 is done but not in the log
    ],
)
def test_ctrl_c_saves_what_is_done_and_the_same_run_goes_on(
    tmp_path, monkeypatch, capsys, step, place, save_every, kept
):
    options = {"val_fraction": 0.25, "save_every": save_every}
    whole = losses(train(**options, log_file=tmp_path / "whole.jsonl"))
    options |= {"save": tmp_path / "run", "log_file": tmp_path / "run.jsonl"}
    interrupted(step, place, monkeypatch, **options)
    assert checkpoint.load(tmp_path / "run")["done"] == kept
    assert kept or not checkpoint.found(tmp_path / "run", best=True), "best before any step"
    done = step + (place != "step")
    out = capsys.readouterr().out
    assert out.startswith(f"interrupted after {done} of 4 steps")
    assert ("goes on from there" in out) == (kept == done), "it promises what is not saved"
    assert losses(train(**options)) == whole[kept:]
    assert f"run goes on with step {kept} of 4\n" in capsys.readouterr().out
    assert losses(read_log(tmp_path / "run.jsonl")[1]) == whole
    bests = checkpoint.found(tmp_path / "run", best=True)
    lowest = min(validation for *_, validation in whole if validation)
    assert [checkpoint.load(bests[-1])["best"]["validation"]] == [lowest]
    assert checkpoint.load(bests[-1])["best"] == checkpoint.load(bests[-1])["last"]


def test_without_a_folder_ctrl_c_saves_nothing(tmp_path, monkeypatch, capsys):
    interrupted(1, "body", monkeypatch)
    assert capsys.readouterr().out == "interrupted after 2 of 4 steps\n"


def unwritable(tmp_path):
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file" / "run"


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"save_every": 0}, ValueError, "save_every must be at least 1"),
        ({"save_minutes": 0}, ValueError, "save_minutes must be above 0, such as 10, not 0"),
        ({"save_minutes": float("nan")}, ValueError, "save_minutes must be above 0"),
        ({"val_fraction": 1.0}, ValueError, "a share of the text"),
        ({"val_fraction": -0.1}, ValueError, "a share of the text"),
        ({"val_fraction": float("nan")}, ValueError, "a share of the text"),
        ({"val_fraction": 0.016}, ValueError, "keeps 6 tokens, .* needs 0.02 at least"),
        ({"val_fraction": 1e-6}, ValueError, "keeps 0 tokens"),
        ({"order": "shuffled"}, ValueError, "order must be"),
        ({"config": settings(seq_len=13)}, ValueError, "seq_len=13 passes the .* context of 12"),
        ({"config": settings(batch_size=99)}, data.DataError, "too few"),
        ({"tokens": TOKENS + 61}, data.DataError, "outside the vocabulary of 61"),
        ({"validation": TOKENS + 61}, data.DataError, "outside the vocabulary of 61"),
        ({"save": unwritable}, ResumeError, "cannot write"),
        ({"export": unwritable}, OSError, "file"),
        ({"log_file": unwritable}, OSError, "file"),
        ({"log_file": lambda tmp_path: tmp_path}, LogError, "is there already"),
        ({"tensorboard": lambda tmp_path: tmp_path / "tb"}, LogError, "pip install tensorboard"),
    ],
)
def test_what_cannot_end_well_is_refused_before_the_first_step(
    tmp_path, monkeypatch, options, error, message
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(training.Trainer, "step", None)
    monkeypatch.setattr(training.Trainer, "_step", lambda *_: pytest.fail("a step was made"))
    monkeypatch.setattr(torch, "compile", lambda _: pytest.fail("half a minute of compiling lost"))
    options = {k: v(tmp_path) if callable(v) else v for k, v in options.items()}
    with pytest.raises(error, match=message):
        train(compile=True, **options)


@pytest.mark.parametrize("option, needed", [("save", 12), ("export", 2)])
def test_a_disk_too_full_for_one_file_is_refused_before_the_first_step(
    tmp_path, monkeypatch, option, needed
):
    model = tiny_gpt()
    needed = needed * sum(p.numel() for p in model.parameters()) + 1_500_000 * (option == "export")
    free = [needed]
    usage = run.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    train(model=model, **{option: tmp_path / "enough"})
    monkeypatch.setattr(training.Trainer, "_step", lambda *_: pytest.fail("a step was made"))
    free[0] -= 1
    with pytest.raises(OSError, match="out has .* MB free, and .* MB are to be written: make room"):
        train(model=model, **{option: tmp_path / "out"})
    if option == "save":  # a run that is done, or has a whole checkpoint, may go on
        assert train(model=model, save=tmp_path / "enough") == []


def test_a_log_without_a_checkpoint_is_not_written_over(tmp_path):
    path = tmp_path / "run.jsonl"
    train(log_file=path)
    before = path.read_bytes()
    for options in ({}, {"save": tmp_path / "run"}):
        with pytest.raises(LogError, match="is there already"):
            train(log_file=path, **options)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tokens": np.roll(TOKENS, 1)}, "began with other tokens"),
        ({"order": "random"}, "order='sequential', not 'random'"),
        ({"val_fraction": 0.2}, "val_fraction=0.25, not 0.2"),
        ({"config": settings(lr=0.5)}, "made with lr=0.01, not 0.5"),
        ({"config": settings(seed=1)}, "made with seed"),
        ({"model": tiny_gpt(dropout=0.2)}, "made with model"),
    ],
)
def test_a_run_goes_on_with_the_same_text_and_settings_only(tmp_path, change, message):
    options = {"save": tmp_path / "run", "val_fraction": 0.25}
    train(**options)
    with pytest.raises(TrainingError, match=message):
        train(**(options | change))


@pytest.mark.parametrize(
    "plant, message",
    [
        (lambda s: s.pop("begun"), "another version's"),
        (lambda s: s.update(best=1.0), "best is float"),
        (lambda s: s["best"].pop("step"), "best has no step"),
        (lambda s: s.update(last={"step": 3, "loss": 0.5}), "last has no validation"),
        (lambda s: s.update(begun=[1]), "another version's"),
        (lambda s: s.update(log=[1]), "log is list"),
        (lambda s: s["log"].pop("offset"), "log has no offset"),
        (lambda s: s["log"].update(offset="9"), "log.offset is str"),
        (lambda s: s["log"].update(offset=0), "where its log ends"),
        (lambda s: s["log"].update(header={}), "log.header is dict"),
        (lambda s: s.pop("model"), "has no model"),
    ],
)
def test_a_planted_checkpoint_is_refused(tmp_path, plant, message):
    options = {"save": tmp_path / "run", "log_file": tmp_path / "run.jsonl", "val_fraction": 0.25}
    train(**options)
    state = copy.deepcopy(checkpoint.load(tmp_path / "run"))
    plant(state)
    checkpoint.save(tmp_path / "run", 5, state)
    with pytest.raises(ResumeError, match=message):
        train(**options, config=settings(steps=6))


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    with checkpoint.locked(tmp_path / "run"), pytest.raises(ResumeError, match="another run"):
        train(save=tmp_path / "run")


def test_the_log_says_what_ran(tmp_path):
    config = settings()
    train(log_file=tmp_path / "a", name="plays", command="python -m x", config=config)
    head = read_log(tmp_path / "a")[0]
    said = [head[name] for name in ("data", "command", "precision")]
    assert said == ["plays", "python -m x", "float32"]
    assert head["training"] == vars(config) | {"betas": list(config.betas)}
    assert GPTConfig(**head["model"]) == tiny_gpt(dropout=0.1).config


def test_log_and_tensorboard_get_the_same_records(tmp_path, monkeypatch):
    points, closed = [], []

    class Board:
        def __init__(self, folder):
            self.write = lambda record: points.append(dict(record))
            self.close = lambda: closed.append(folder)

    monkeypatch.setattr(run.log, "TensorBoard", Board)
    options = {"log_file": tmp_path / "log", "tensorboard": tmp_path / "tb"}
    train(**options, save=tmp_path / "run", val_fraction=0.25)
    assert points == read_log(tmp_path / "log")[1] and "validation" in points[-1]
    assert closed == [tmp_path / "tb"]
    place = checkpoint.load(tmp_path / "run")["log"]
    assert place["offset"] == (tmp_path / "log").stat().st_size


def test_it_compiles_if_asked_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda model: lambda idx: model(idx))
    train(compile=True)
    assert "compiled in" in capsys.readouterr().out
    train()
    assert "compiled" not in capsys.readouterr().out


def test_a_run_killed_before_its_first_checkpoint_can_be_started_again(tmp_path):
    log = tmp_path / "log.jsonl"
    files = {"log_file": log, "save": tmp_path / "run", "save_every": 10}
    for record in run.train(tiny_gpt(dropout=0.1), TOKENS, settings(), FP32, **files):
        if record["step"] == 1:
            break  # as a kill would: nothing is saved
    again = train(**files)
    assert [r["step"] for r in again] == [0, 1, 2, 3], "it goes on with steps nobody has saved"
    assert losses(read_log(log)[1]) == losses(again)
