import hashlib
import importlib.metadata
import json

import pytest
import torch

from gpt2lite import GPT, SIZES, GPTConfig, __main__, checkpoint, corpora
from gpt2lite.course import untied
from gpt2lite.course.records import recorded
from gpt2lite.training import read_log


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GPT2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nothing answers there


@pytest.fixture
def tiny(tmp_path):
    model = GPT(GPTConfig(block_size=32, n_layer=1, n_head=2, n_embd=8))
    model.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.mark.parametrize("command", [[], ["doctor"], ["sample"], ["fetch"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        __main__.main([*command, "--help"])
    assert done.value.code == 0
    assert "usage: python -m gpt2lite" in capsys.readouterr().out


def test_doctor_says_what_is_here_and_what_can_wait(capsys, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1.26"])
    assert __main__.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marks = {line.split()[1]: line[0] for line in lines}
    assert marks["device"] == marks["numpy"] == marks["tokenizer"] == "✓"
    assert marks["shakespeare"] == marks["hub"] == "○"


@pytest.mark.parametrize(
    "requirement, finding",
    [("no-such-thing>=1", "missing: run `pip install"), ("numpy>=999", "is too old: run `pip ")],
)
def test_doctor_fails_if_something_must_be_mended(capsys, monkeypatch, requirement, finding):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [requirement])
    assert __main__.main(["doctor"]) == 1
    (broken,) = [line for line in capsys.readouterr().out.splitlines() if line[0] == "✗"]
    assert finding in broken


def test_sample_is_the_same_for_the_same_seed(tiny, capsys):
    command = ["sample", "--model", tiny, "--prompt", "The dog", "--max-new-tokens", "5"]
    assert __main__.main(command) == __main__.main(command) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith("The dog")
    assert __main__.main([*command, "--num-samples", "3"]) == 0
    assert capsys.readouterr().out.count("The dog") == 3


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max-new-tokens", "99"], "pass the context of 32"),
        (["--max-new-tokens", "5", "--temperature", "-1"], "temperature must be"),
        (["--num-samples", "0"], "--num-samples must be at least 1"),
    ],
)
def test_errors_are_one_line(tiny, capsys, options, message):
    assert __main__.main(["sample", "--model", tiny, *options]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("gpt2lite: ") and err.count("\n") == 1
    assert message in err


def test_fetch_says_where_the_text_lies(capsys, monkeypatch):
    monkeypatch.setattr(corpora, "_shakespeare", lambda: iter([b"Words, words, words.\n"]))
    assert __main__.main(["fetch"]) == 1  # other words than the pinned ones
    assert "gave other bytes" in capsys.readouterr().err
    digest = hashlib.sha256(b"Words, words, words.\n").hexdigest()
    monkeypatch.setitem(corpora.CORPORA, "shakespeare", digest)
    assert __main__.main(["fetch"]) == 0
    assert str(corpora.corpus_path("shakespeare")) in capsys.readouterr().out
    assert __main__.main(["fetch", "folio"]) == 1
    assert "none of the corpora" in capsys.readouterr().err


def test_ctrl_c_ends_cleanly(capsys, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "fetch_corpus", interrupted)
    assert __main__.main(["fetch"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_train_goes_on_where_it_stopped_and_keeps_its_log(tmp_path, monkeypatch, capsys):
    tiny = GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=8)
    monkeypatch.setitem(SIZES, "lite", tiny)
    (tmp_path / "my.txt").write_text("To be, or not to be, that is the question. " * 9)
    options = ["--model", "lite", "--text", str(tmp_path / "my.txt"), "--seq-len", "8"]
    options += ["--log-file", str(tmp_path / "run.jsonl"), "--save", str(tmp_path / "run")]
    for steps in ("2", "4", "4"):
        assert __main__.main(["train", *options, "--steps", steps]) == 0
    head, records = read_log(tmp_path / "run.jsonl")
    assert [r["step"] for r in records] == [0, 1, 2, 3]
    assert head["training"]["steps"] == 2, "the header is that of the first start"
    assert {r["lr"] for r in records} == {3e-4}
    assert __main__.main(["train", *options, "--steps", "5", "--lr", "0.5"]) == 1
    assert "made with lr=0.0003, not 0.5" in capsys.readouterr().err
    assert __main__.main(["train", *options, "--steps", "5", "--order", "random"]) == 1
    assert "'order': 'sequential'" in capsys.readouterr().err
    assert __main__.main(["train", *options[:-2], "--batch-size", "999"]) == 1
    assert "too few" in capsys.readouterr().err


def test_train_validates_keeps_the_best_and_exports_it(tmp_path, monkeypatch, capsys):
    tiny = GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=8)
    monkeypatch.setitem(SIZES, "lite", tiny)
    (tmp_path / "my.txt").write_text("To be, or not to be, that is the question. " * 40)
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("gpt2lite.evaluation.validation_loss", lambda *_: next(losses))
    options = ["--model", "lite", "--text", str(tmp_path / "my.txt"), "--seq-len", "8"]
    options += ["--steps", "3", "--lr", "1e-4", "--val-fraction", "0.2", "--save-every", "1"]
    options += ["--log-file", str(tmp_path / "run.jsonl"), "--save", str(tmp_path / "run")]
    assert __main__.main(["train", *options, "--export", str(tmp_path / "out")]) == 0
    _, records = read_log(tmp_path / "run.jsonl")
    assert [r["validation"] for r in records] == [3.0, 1.0, 2.0]
    assert {r["lr"] for r in records} == {1e-4}, "by default the rate is constant, whatever it is"
    (best,) = checkpoint.found(tmp_path / "run", best=True)
    weights = checkpoint.load(best)["model"]
    for name, w in GPT.from_pretrained(tmp_path / "out").state_dict().items():
        assert torch.equal(w, weights[name].bfloat16().float()), "not the best, or not in bf16"
    assert __main__.main(["train", *options, "--val-fraction", "2"]) == 1
    assert "--val-fraction is a share" in capsys.readouterr().err


def test_step_1_is_trained_again_under_its_own_settings(tmp_path, monkeypatch):
    head, _ = read_log(recorded("step1"))
    head["model"] |= {"n_layer": 1, "n_head": 1, "n_embd": 8}
    head["training"] |= {"steps": 2, "seq_len": 4}
    (tmp_path / "step1").write_text(json.dumps(head) + "\n")
    monkeypatch.setattr(untied, "recorded", lambda name: tmp_path / name)
    monkeypatch.setattr(untied, "load_text", lambda name: "to be or not " * 99)
    untied.main(tmp_path / "log")
    again, records = read_log(tmp_path / "log")
    same = ("data", "precision", "model", "training")
    assert all(again[part] == head[part] for part in same) and len(records) == 2
