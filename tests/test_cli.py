"""The command line asks and answers: every option reaches what it promises, errors are one line."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from gpt2lite import (
    GPT,
    SIZES,
    GPTConfig,
    __main__,
    checkpoint,
    corpora,
    cpu,
    data,
    doctor,
    evaluation,
    hellaswag,
    pairs,
    planner,
    run,
    sampling,
    training,
)
from gpt2lite.assets import AssetError
from gpt2lite.checkpoint import ResumeError
from gpt2lite.config import TrainConfig
from gpt2lite.course import untied
from gpt2lite.course.records import recorded
from gpt2lite.log import LogError, read_log
from gpt2lite.precision import Precision
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer
from gpt2lite.training import TrainingError

TINY = GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=8)
TEXT = "To be, or not to be, that is the question. " * 9


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GPT2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nothing answers there


@pytest.fixture
def tiny(tmp_path):
    model = GPT(GPTConfig(block_size=32, n_layer=1, n_head=2, n_embd=8))
    model.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "lite", TINY)
    (tmp_path / "my.txt").write_text(TEXT)
    return str(tmp_path / "my.txt")


@pytest.mark.parametrize(
    "command", [[], ["doctor"], ["sample"], ["fetch"], ["train"], ["prepare"], ["evaluate"]]
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        __main__.main([*command, "--help"])
    assert done.value.code == 0
    assert "usage: python -m gpt2lite" in capsys.readouterr().out


def test_what_nobody_knows_is_refused(capsys):
    for command in ([], ["walk"], ["train", "--log", "x"], ["train", "--init", "zeros"]):
        with pytest.raises(SystemExit) as done:
            __main__.main(command)
        assert done.value.code == 2


@pytest.mark.parametrize("broken", [False, True])
def test_doctor_prints_what_it_finds_and_fails_if_something_is_broken(monkeypatch, capsys, broken):
    found = [(doctor.LATER, "hub", "silent"), (doctor.OK, "disk", "free")]
    if broken:
        found.insert(0, (doctor.BROKEN, "device", "old"))
    monkeypatch.setattr(doctor, "findings", lambda: iter(found))
    assert __main__.main(["doctor"]) == int(broken)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{mark} {name:<16} {words}" for mark, name, words in found]


def test_sample_is_the_same_for_the_same_seed(tiny, capsys):
    command = ["sample", "--model", tiny, "--prompt", "The dog", "--max-new-tokens", "5"]
    assert __main__.main(command) == __main__.main(command) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith("The dog")


SAMPLE = {
    "--temperature": ("0.5", {"temperature": 0.5}),
    "--top-k": ("3", {"top_k": 3}),
    "--top-p": ("0.25", {"top_p": 0.25}),
    "--overflow": ("slide", {"overflow": "slide"}),
    "--max-new-tokens": ("7", {"max_new_tokens": 7}),
    "--prompt": ("The cat", {"prompt": "The cat"}),
    "--seed": ("99", {"seed": 99}),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("option", [None, *SAMPLE])
def test_every_option_of_sample_arrives(tiny, monkeypatch, option, n):
    got = {}

    def stream(model, tokenizer, prompt, max_new_tokens, **options):
        got.update(options, prompt=prompt, max_new_tokens=max_new_tokens, n=1)
        return iter(())

    def generate(model, idx, max_new_tokens, num_samples, **options):
        prompt = get_tokenizer().decode(idx[0].tolist())
        got.update(options, prompt=prompt, max_new_tokens=max_new_tokens, n=num_samples)
        return idx.repeat(num_samples, 1)

    monkeypatch.setattr(sampling, "stream", stream)
    monkeypatch.setattr(sampling, "generate", generate)
    given, expected = SAMPLE.get(option, (None, {}))
    command = ["sample", "--model", tiny, "--num-samples", str(n)]
    assert __main__.main([*command, *([option, given] if option else [])]) == 0
    got["seed"] = got.pop("generator").initial_seed()
    default = {"temperature": 1.0, "top_k": None, "top_p": None, "overflow": "refuse", "seed": 1337}
    default |= {"max_new_tokens": 32, "prompt": __main__.PROMPT, "stop": END_OF_TEXT, "n": n}
    assert got == default | expected


def test_samples_are_told_apart_and_end_where_the_model_ends_them(tiny, monkeypatch, capsys):
    dog, end, cat = get_tokenizer().encode_ordinary(" dog")[0], END_OF_TEXT, 0
    rows = torch.tensor([[64, dog, end, dog], [64, dog, 50300, dog]])  # 50300: a padded row of wte
    monkeypatch.setattr(sampling, "generate", lambda *_, **__: rows + cat)
    assert __main__.main(["sample", "--model", tiny, "--prompt", "a", "--num-samples", "2"]) == 0
    assert capsys.readouterr().out == "--- 1\na dog\n--- 2\na dog dog\n"


def test_a_single_sample_is_printed_piece_by_piece(tiny, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "stream", lambda *_, **__: iter((" dog", " barks")))
    assert __main__.main(["sample", "--model", tiny, "--prompt", "The"]) == 0
    assert capsys.readouterr().out == "The dog barks\n"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max-new-tokens", "99"], "pass the context of 32"),
        (["--max-new-tokens", "-1"], "max_new_tokens must be"),
        (["--max-new-tokens", "5", "--temperature", "-1"], "temperature must be"),
        (["--max-new-tokens", "5", "--temperature", "nan"], "temperature must be"),
        (["--max-new-tokens", "5", "--top-k", "0"], "top_k must be"),
        (["--max-new-tokens", "5", "--top-p", "2"], "top_p must be"),
        (["--num-samples", "0"], "--num-samples must be at least 1"),
        (["--num-samples", "1000000000", "--max-new-tokens", "5"], "num_samples=1000000000 needs"),
        (["--seed", "-1"], "--seed must be"),
        (["--seed", str(2**63)], "--seed must be"),
        (["--prompt", ""], "--prompt is empty: give a text, or <|endoftext|>"),
        (["--model", "nowhere/at-all"], "nowhere/at-all"),
    ],
)
def test_errors_are_one_line(tiny, capsys, options, message):
    assert __main__.main(["sample", "--model", tiny, *options]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("gpt2lite: ") and err.count("\n") == 1
    assert message in err


def test_the_coldest_temperature_is_greedy(tiny, capsys):
    command = ["sample", "--model", tiny, "--max-new-tokens", "5", "--temperature"]
    assert __main__.main([*command, "1e-45"]) == __main__.main([*command, "0"]) == 0
    cold, greedy = capsys.readouterr().out.splitlines()
    assert cold == greedy


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


def test_fetch_fetches_what_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(__main__, "fetch_corpus", lambda name: f"at {name}")
    for names, fetched in (
        ([], ["shakespeare"]),
        (["tinyshakespeare", "shakespeare"], ["tinyshakespeare", "shakespeare"]),
        (["--all"], list(corpora.CORPORA)),
    ):
        assert __main__.main(["fetch", *names]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"{name:<16} at {name}" for name in fetched]


@pytest.mark.parametrize(
    "error, status",
    [
        *((kind("why"), 1) for kind in (AssetError, LogError, ResumeError, TrainingError)),
        *((kind("why"), 1) for kind in (ValueError, OSError)),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_becomes_a_line_and_a_status(capsys, monkeypatch, error, status):
    def fail(name):
        raise error

    monkeypatch.setattr(__main__, "fetch_corpus", fail)
    assert __main__.main(["fetch"]) == status
    assert capsys.readouterr().err == ("\n" if status == 130 else "gpt2lite: why\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE to imitate")
def test_a_reader_that_has_seen_enough_is_no_error():
    code = "from gpt2lite import __main__ as m; import sys; m.fetch = lambda: print('x'); "
    code += "sys.exit(m.main(['fetch']))"
    reader, writer = os.pipe()
    os.close(reader)
    env = os.environ | {"PYTHONUNBUFFERED": ""}  # so that the end of the process writes it out
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 141 and not done.stderr


FLAGS = {
    "--steps": ("7", {"steps": 7}),
    "--batch-size": ("2", {"batch_size": 2}),
    "--seq-len": ("5", {"seq_len": 5}),
    "--grad-accum-steps": ("3", {"grad_accum_steps": 3}),
    "--lr": ("0.25", {"lr": 0.25}),
    "--min-lr": ("1e-5", {"min_lr": 1e-5}),
    "--warmup-steps": ("9", {"warmup_steps": 9}),
    "--cooldown-steps": ("9", {"cooldown_steps": 9}),
    "--betas": ("0.5 0.75", {"betas": (0.5, 0.75)}),
    "--weight-decay": ("0.5", {"weight_decay": 0.5}),
    "--grad-clip": ("0.5", {"grad_clip": 0.5}),
    "--seed": ("5", {"seed": 5}),
    "--order": ("random", {"order": "random"}),
    "--val-fraction": ("0.25", {"val_fraction": 0.25}),
    "--log-file": ("a/b", {"log_file": Path("a/b")}),
    "--tensorboard": ("a/b", {"tensorboard": Path("a/b")}),
    "--save": ("a/b", {"save": Path("a/b")}),
    "--save-every": ("3", {"save_every": 3}),
    "--save-minutes": ("2.5", {"save_minutes": 2.5}),
    "--export": ("a/b", {"export": Path("a/b")}),
    "--compile": ("", {"compile": True}),
    "--shard": ("", {"shard": True}),
    "--dropout": ("0.5", {"dropout": 0.5}),
    "--init": ("linear", {"init": "linear"}),
    "--init=": ("embedding", {"init": "embedding"}),
    "--dtype": ("float16", {"dtype": torch.float16}),
    "--dtype=": ("bfloat16", {"dtype": torch.bfloat16}),
    "--dtype==": ("float32", {"dtype": torch.float32}),
}


@pytest.mark.parametrize("flag", [None, *FLAGS])
def test_every_option_of_train_arrives(text, monkeypatch, capsys, flag):
    made, lasting, picked = [], [], Precision(torch.device("cpu"), torch.float64, False, "here")

    def train(model, tokens, config, precision, **options):
        made.append((model, tokens, config, precision, options))
        return iter(({"step": 0},))

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(cpu, "keep_process_memory", lambda: lasting.append(True))
    monkeypatch.setattr("gpt2lite.precision.pick", lambda device: picked)
    given, expected = FLAGS.get(flag, ("", {}))
    command = ["train", "--model", "lite", "--text", text]
    command += [flag.rstrip("="), *given.split()] if flag else []
    monkeypatch.setattr(sys, "argv", ["gpt2lite", *command])
    assert __main__.main(command) == 0 and lasting == [True]

    ((model, tokens, config, precision, options),) = made
    fields = {k: v for k, v in expected.items() if k in vars(TrainConfig())}
    assert config == TrainConfig(**fields) and type(config.betas) is tuple
    assert capsys.readouterr().out == f"done: {config.steps} steps\n"
    assert tokens.tolist() == data.encode(TEXT).tolist()
    default = {
        "compile": False,
        "shard": False,
        "order": "sequential",
        "val_fraction": 0.0,
        "save_every": 500,
    }
    none = ("init_from", "validation", "log_file", "tensorboard", "save", "save_minutes", "export")
    default |= dict.fromkeys(none)
    default |= {"name": text, "command": "python -m gpt2lite " + " ".join(command)}
    assert options == default | {k: v for k, v in expected.items() if k in default}
    dtype = expected.get("dtype")
    assert precision.dtype == (dtype or torch.float64)
    assert precision.scaler == (dtype == torch.float16) and precision.device == picked.device
    assert precision.reason == ("as asked" if dtype else "here")

    torch.manual_seed(config.seed)
    peer = GPT(GPTConfig(**(vars(TINY) | {"dropout": expected.get("dropout", 0.0)})))
    if "init" in expected:
        from gpt2lite.model import init_default

        init_default(peer, wte=expected["init"])
    assert model.config == peer.config
    assert all(map(torch.equal, model.parameters(), peer.parameters())), "other first weights"


@pytest.fixture
def weights(tmp_path):
    GPT(replace(TINY, block_size=16)).save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def test_what_is_exported_speaks_alike_here_and_in_transformers(tmp_path, capsys):
    (tmp_path / "my.txt").write_text(TEXT)
    folder, command = str(tmp_path / "out"), ["train", "--text", str(tmp_path / "my.txt")]
    GPT(GPTConfig(block_size=16, n_layer=1, n_head=1, n_embd=8)).save_pretrained(tmp_path / "begun")
    command += ["--init-from", str(tmp_path / "begun"), "--seq-len", "8", "--steps", "20"]
    assert __main__.main([*command, "--lr", "1e-1", "--export", folder]) == 0
    capsys.readouterr()
    greedy = ["sample", "--model", folder, "--prompt", "To be", "--temperature", "0"]
    assert __main__.main([*greedy, "--max-new-tokens", "8"]) == 0
    spoken = capsys.readouterr().out.removesuffix("\n")
    theirs = pipeline("text-generation", model=folder, dtype=torch.float32)
    (answer,) = theirs("To be", max_new_tokens=8, do_sample=False)
    assert answer["generated_text"] == spoken != "To be"


def test_train_begins_with_the_weights_that_are_named(text, weights, tmp_path, capsys):
    out, command = str(tmp_path / "out"), ["train", "--text", text, "--seq-len", "16"]
    command += ["--steps", "1", "--lr", "1e-9", "--init-from", weights, "--export", out]
    assert __main__.main(command) == 0, "the sizes are those of the weights"
    before, after = (GPT.from_pretrained(folder) for folder in (weights, out))
    assert after.config == before.config
    for p, q in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-2), "other weights than one tiny step leaves"
    assert __main__.main([*command, "--model", "lite"]) == 1
    assert "have block_size=16, the model has block_size=8" in capsys.readouterr().err
    assert __main__.main([*command, "--init", "linear"]) == 1
    assert "--init linear begins from scratch" in capsys.readouterr().err


def test_train_reads_the_corpus_that_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(corpora, "load_text", lambda name: asked.append(name) or TEXT)
    monkeypatch.setattr(run, "train", lambda *_, **__: iter(()))
    monkeypatch.setitem(SIZES, "gpt2", TINY)
    assert __main__.main(["train"]) == __main__.main(["train", "--text", "shakespeare"]) == 0
    assert asked == ["tinyshakespeare", "shakespeare"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "gpt5"], "gpt5 is none of the sizes: gpt2, gpt2-medium"),
        (["--init-from", "nowhere"], "'nowhere' is neither a directory here nor one of gpt2,"),
        (["--dropout", "1"], "dropout must be in [0, 1)"),
        (["--val-fraction", "2"], "val_fraction is a share"),
        (["--save-every", "0"], "save_every must be at least 1"),
        (["--batch-size", "999"], "too few"),
        (["--text", "nowhere.txt"], "nowhere.txt"),
        (["--seq-len", "9"], "context"),
        (["--log-file", "{text}"], "is there already"),
        (["--save", "{text}"], "cannot write into"),
        (["--export", "{text}"], "File exists"),
    ],
)
def test_train_refuses_in_one_line(text, capsys, options, message):
    command = ["train", "--model", "lite", "--text", text, "--seq-len", "8", "--steps", "1"]
    assert __main__.main([*command, *(o.format(text=text) for o in options)]) == 1
    err = capsys.readouterr().err
    assert message in err and err.startswith("gpt2lite: ") and err.count("\n") == 1
    assert Path(text).read_text() == TEXT, "the text is gone"


@pytest.mark.parametrize("option", ["--lr=-1", "--lr=nan", "--weight-decay=-1", "--seed=-1"])
def test_settings_that_no_run_can_have_are_told_by_their_name(text, capsys, option):
    try:
        status = __main__.main(["train", "--model", "lite", "--text", text, option])
    except SystemExit as done:
        status = done.code
    out, err = capsys.readouterr()
    assert status in (1, 2) and "Traceback" not in err
    assert option.split("=")[0].strip("-").replace("-", "_") in (out + err).replace("-", "_")


def test_train_goes_on_where_it_stopped_and_keeps_its_log(text, tmp_path, capsys):
    options = ["--model", "lite", "--text", text, "--seq-len", "8"]
    options += ["--log-file", str(tmp_path / "run.jsonl"), "--save", str(tmp_path / "run")]
    for steps in ("2", "4", "4"):
        assert __main__.main(["train", *options, "--steps", steps]) == 0
    head, records = read_log(tmp_path / "run.jsonl")
    assert [r["step"] for r in records] == [0, 1, 2, 3]
    assert head["training"]["steps"] == 2, "the header is that of the first start"
    assert {r["lr"] for r in records} == {3e-4}
    assert __main__.main(["train", *options, "--steps", "5", "--lr", "0.5"]) == 1
    assert "made with lr=0.0003, not 0.5" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_same_command_goes_on(text, tmp_path, monkeypatch, capsys):
    options = ["--model", "lite", "--text", text, "--seq-len", "8", "--steps", "4"]
    command = ["train", *options, "--save", str(tmp_path / "run")]
    step = training.Trainer._step

    def pressed(trainer, hold):
        if trainer.done == 2:
            signal.raise_signal(signal.SIGINT)
        return step(trainer, hold)

    monkeypatch.setattr(training.Trainer, "_step", pressed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        assert __main__.main([*command, "--log-file", str(tmp_path / "run.jsonl")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"interrupted after 2 of 4 steps; {tmp_path}" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setitem(SIZES, "lite", TINY)
    assert __main__.main([*command, "--log-file", str(tmp_path / "run.jsonl")]) == 0
    assert __main__.main(["train", *options, "--log-file", str(tmp_path / "whole.jsonl")]) == 0
    runs = (read_log(tmp_path / f"{name}.jsonl")[1] for name in ("run", "whole"))
    assert len({str([(r["step"], r["loss"]) for r in records]) for records in runs}) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is full")
def test_a_full_disk_names_what_could_not_be_written(text, tmp_path, capsys):
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    options = ["--model", "lite", "--text", text, "--seq-len", "8"]
    assert __main__.main(["train", *options, "--log-file", str(tmp_path / "run.jsonl")]) == 1
    err = capsys.readouterr().err
    assert "run.jsonl: No space left" in err and "Traceback" not in err


@contextmanager
def files_end_at(size):
    """Let the system write no file beyond a size, as it would on a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no limit of a file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "size, n_embd, failing, message",
    [
        (1_000, 8, "--log-file", "cannot write into .*run.jsonl: File too large"),
        (2_000_000, 8, "--save", "the checkpoint of step 4 into .*run .*File too large.*make room"),
        (500_000, 8, "--export", "can't save into .*out .*make room there, or save to another"),
        (600_000, 4, "--export", "cannot write the tokenizer into .*out .*make room there, or"),
    ],
)
def test_a_disk_that_fills_up_costs_one_line_and_no_work(
    text, tmp_path, monkeypatch, capsys, size, n_embd, failing, message
):
    monkeypatch.setitem(SIZES, "lite", replace(TINY, n_embd=n_embd))
    whole, folder, out = tmp_path / "whole.jsonl", tmp_path / "run", tmp_path / "out"
    start = ["train", "--model", "lite", "--text", text, "--seq-len", "8"]
    assert __main__.main([*start, "--steps", "4", "--log-file", str(whole)]) == 0
    command = [*start, "--save", str(folder), "--log-file", str(tmp_path / "run.jsonl")]
    assert __main__.main([*command, "--steps", "2"]) == 0
    command += ["--steps", "4", "--export", str(out)]
    if failing == "--export":  # all else is done
        assert __main__.main(command) == 0
        shutil.rmtree(out)
    capsys.readouterr()
    with files_end_at(size):
        assert __main__.main(command) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"gpt2lite: .*{message}", err) and "Traceback" not in err
    assert checkpoint.load(folder)["done"] == (4 if failing == "--export" else 2)
    left = [p.name for place in (folder, out) for p in place.iterdir() if "partial" in p.name]
    assert not left, "half a file was left"
    assert __main__.main(command) == 0, "with room again, the same command doesn't go on"
    assert {"README.md", "config.json", "vocab.json"} <= {p.name for p in out.iterdir()}
    logs = (read_log(path)[1] for path in (whole, tmp_path / "run.jsonl"))
    assert len({str([(r["step"], r["loss"]) for r in records]) for records in logs}) == 1


def test_step_1_is_trained_again_under_its_own_settings(tmp_path, monkeypatch):
    head, _ = read_log(recorded("step1"))
    head["model"] |= {"n_layer": 1, "n_head": 1, "n_embd": 8}
    head["training"] |= {"steps": 2, "seq_len": 4, "cooldown_steps": 0}  # recorded before it was
    (tmp_path / "step1").write_text(json.dumps(head) + "\n")
    monkeypatch.setattr(untied, "recorded", lambda name: tmp_path / name)
    monkeypatch.setattr(untied, "load_text", lambda name: "to be or not " * 99)
    untied.main(tmp_path / "log")
    again, records = read_log(tmp_path / "log")
    same = ("data", "precision", "model", "training")
    assert all(again[part] == head[part] for part in same) and len(records) == 2


def evaluated(capsys, *command) -> dict:
    """Return what `evaluate` prints on the standard output, where nothing but JSON may be."""
    assert __main__.main(["evaluate", *command]) == 0
    printed = capsys.readouterr()
    assert "batch" in printed.err, "no bar shows how far it is"
    return json.loads(printed.out)


def test_evaluate_measures_a_text_as_the_function_does(tiny, text, capsys):
    tokens = data.encode(TEXT)
    for options, measured in (
        ((), tokens),
        (("--val-fraction", "0.25"), data.split(tokens, 0.25)[1]),
    ):
        found = evaluated(capsys, tiny, "--on", text, *options)
        score = evaluation.score_text(GPT.from_pretrained(tiny), measured, 4, 32)
        names = ("loss", "perplexity", "bits_per_byte", "tokens", "bytes")
        expected = {name: pytest.approx(getattr(score, name), rel=1e-5) for name in names}
        assert found == {"model": tiny, "on": text} | expected


def test_evaluate_answers_pairs_and_questions_as_the_functions_do(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    GPT(GPTConfig(block_size=128, n_layer=1, n_head=2, n_embd=8)).save_pretrained(tmp_path / "m")
    folder, some, three = str(tmp_path / "m"), pairs.make_pairs(12), hellaswag.own_questions()[:3]
    model = GPT.from_pretrained(folder)
    monkeypatch.setattr(pairs, "make_pairs", lambda: some)
    monkeypatch.setattr(hellaswag, "load", lambda: three)
    shares = pairs.accuracies(some, pairs.margins(model, some))
    expected = {kind: share._asdict() for kind, share in shares.items()}
    assert evaluated(capsys, folder) == {"model": folder, "on": "pairs"} | expected
    shares = hellaswag.accuracies(model, three)
    expected = {p: {d: share._asdict() for d, share in s.items()} for p, s in shares.items()}
    found = evaluated(capsys, folder, "--on", "hellaswag")
    assert found == {"model": folder, "on": "hellaswag"} | expected


def test_evaluate_refuses_before_it_loads_the_model(monkeypatch, capsys):
    monkeypatch.setattr(GPT, "from_pretrained", lambda *_: pytest.fail("the model was loaded"))
    for command, message in (
        (["--on", "nowhere.txt"], "neither a file nor one of the corpora"),
        (["--val-fraction", "0.1"], "--val-fraction is a share of a text: pairs is measured whole"),
    ):
        assert __main__.main(["evaluate", "gpt2", *command]) == 1
        assert message in capsys.readouterr().err


def test_prepare_writes_shards_and_goes_on(tmp_path, capsys):
    rows = ({"body": f"{i} to be or not to be"} for i in range(90))
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["prepare", str(tmp_path / "my.jsonl"), str(tmp_path / "shards")]
    command += ["--column", "body", "--shard-tokens", "200", "--workers", "2", "--seed", "3"]
    assert __main__.main([*command, "--max-tokens", "300"]) == 0
    assert re.search(r"^train_000001.npy +\d+ documents +\d+ tokens", capsys.readouterr().out, re.M)
    assert __main__.main(command) == 0
    out = capsys.readouterr().out
    assert "train_000002.npy" in out and "val" not in out, "it begins anew"
    assert __main__.main([*command[:-1], "4"]) == 1
    assert "begun with seed=3, not 4" in capsys.readouterr().err


def test_train_reads_shards_and_validates_on_the_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SIZES, "lite", TINY)
    rows = ({"text": f"{i} to be or not to be"} for i in range(90))
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shards, log = tmp_path / "shards", tmp_path / "log.jsonl"
    assert (
        __main__.main(["prepare", str(tmp_path / "my.jsonl"), str(shards), "--shard-tokens", "200"])
        == 0
    )
    command = ["train", "--model", "lite", "--text", str(shards), "--seq-len", "8", "--steps", "3"]
    assert __main__.main([*command, "--log-file", str(log), "--save", str(tmp_path / "run")]) == 0
    model = GPT(TINY)
    model.load_state_dict(checkpoint.load(tmp_path / "run")["model"])
    expected = evaluation.validation_loss(model, data.Shards(shards, "val")[0:], 4, 8)
    assert read_log(log)[1][-1]["validation"] == pytest.approx(expected, abs=1e-6)
    assert __main__.main([*command, "--val-fraction", "0.1"]) == 1
    assert "leave val_fraction out" in capsys.readouterr().err
    assert __main__.main([*command[:-4], "--seq-len", "8", "--text", str(tmp_path)]) == 1
    assert "python -m gpt2lite prepare" in capsys.readouterr().err


def test_the_run_cards_commands_are_accepted_and_train_on_10b_tokens(tmp_path, monkeypatch):
    book = Path(__file__).parent.parent / "notebooks" / "08_scaling_out.ipynb"
    pages = ["".join(cell["source"]) for cell in json.loads(book.read_text())["cells"]]
    (card,) = [page for page in pages if "### The run card" in page]
    first, loop = re.findall(r"```\n(.*?)```", card, re.S)
    assert first.startswith("python -m gpt2lite prepare fineweb-edu ")
    command = loop.replace("\\\n", " ").split("-m gpt2lite ")[1].split("&&")[0].split()
    monkeypatch.setattr(data, "Shards", lambda folder, split="train": np.zeros(9, np.uint16))
    monkeypatch.setitem(SIZES, "gpt2", TINY)
    given = []
    monkeypatch.setattr(run, "train", lambda *args, **options: given.append(args) or [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / command[command.index("--text") + 1]).mkdir()
    assert __main__.main(command) == 0
    config = given[0][2]
    per_step = config.batch_size * config.seq_len * config.grad_accum_steps
    assert per_step == planner.BATCH and config.grad_accum_steps % 8 == 0
    assert 10e9 - per_step < config.steps * per_step <= 10e9 + per_step
