"""A log says what it must, never destroys a file, and comes back as it was written."""

import json
import math
import os
import sys
import types

import pytest
import torch

from gpt2lite import log

HEAD = {"run": 1, "training": {"steps": 8}}


def test_a_header_says_what_ran_on_what(monkeypatch):
    parts = {"n_embd": 16}, {"steps": 8}
    head = log.header("python", "noise", torch.device("cpu"), torch.bfloat16, *parts)
    assert head["hardware"].endswith(f"CPU, {torch.get_num_threads()} threads")
    assert (head["command"], head["data"], head["precision"]) == ("python", "noise", "bfloat16")
    assert (head["model"], head["training"]) == parts and head["torch"] == torch.__version__
    assert head["python"] == ".".join(map(str, sys.version_info[:3]))
    assert head["started"][:2] == "20" and head["started"].endswith("+00:00")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    head = log.header("", "", torch.device("cuda"), torch.float16, *parts)
    assert head["hardware"] == "Tesla T4"
    head = log.header("", "", torch.device("mps"), torch.float32, *parts)
    assert head["hardware"].endswith(" mps")


def test_a_log_goes_on_at_its_place(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    first = log.Log(path, HEAD)
    first.write({"step": 0})
    place = first.place()
    for step in range(1, 9):  # after the checkpoint: these steps will be done again
        first.write({"step": step})
    assert len(log.read_log(path)[1]) == 9, "a line isn't there at once"
    again = log.Log(path, HEAD | {"run": 2}, place)
    again.write({"step": 1, "again": True})
    assert log.read_log(path) == (HEAD, [{"step": 0}, {"step": 1, "again": True}])
    line = path.read_text().splitlines(keepends=True)[0]
    assert again.place() == {"header": line, "offset": path.stat().st_size}
    moved = log.Log(tmp_path / "other.jsonl", HEAD, place)  # the run goes on in another file
    assert moved.place()["offset"] == (tmp_path / "other.jsonl").stat().st_size


@pytest.mark.parametrize("content", [b"To be, or not to be\n", b'{"run": 1}\n', b"\n"])
def test_a_file_that_is_there_is_never_written_over(tmp_path, content):
    path = tmp_path / "my.txt"
    path.write_bytes(content)
    with pytest.raises(log.LogError, match="my.txt is there already: name another"):
        log.Log(path, HEAD)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kept", [0, 30, None])
def test_what_a_run_left_before_its_first_step_is_replaced(tmp_path, kept):
    path = tmp_path / "run.jsonl"
    head = log.header("python", "noise", torch.device("cpu"), torch.float32, {}, {"steps": 8})
    log.Log(path, head).close()
    path.write_bytes(path.read_bytes()[:kept])
    again = log.Log(path, HEAD)
    assert log.read_log(path) == (HEAD, []), "a run killed so early couldn't be started again"
    again.write({"step": 0})
    with pytest.raises(log.LogError, match="is there already"):
        log.Log(path, HEAD)


@pytest.mark.parametrize("change", ["header", "shorter", "elsewhere", "text"])
def test_another_runs_log_is_refused_and_stays(tmp_path, change):
    path = tmp_path / "run.jsonl"
    mine = log.Log(path, HEAD)
    mine.write({"step": 0})
    place = mine.place()
    if change == "header":  # of the same length, with the same lines
        path.write_bytes(path.read_bytes().replace(b'"run": 1', b'"run": 2'))
    elif change == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "elsewhere":
        place["offset"] -= 1
    else:
        path.write_bytes(b"To be, or not to be\n" * 9)
    content = path.read_bytes()
    with pytest.raises(log.LogError, match="not this run's log"):
        log.Log(path, HEAD, place)
    assert path.read_bytes() == content


def test_a_place_is_on_the_disk_before_it_is_told(tmp_path, monkeypatch):
    mine, synced = log.Log(tmp_path / "run.jsonl", HEAD), []
    mine.write({"step": 0})
    monkeypatch.setattr(
        log.os, "fsync", lambda fd: synced.append((tmp_path / "run.jsonl").stat().st_size)
    )
    assert mine.place()["offset"] == synced[0]


def test_every_line_is_json_and_what_is_not_finite_comes_back_as_nan(tmp_path):
    path = tmp_path / "run.jsonl"
    mine = log.Log(path, HEAD)
    mine.write({"step": 0, "loss": 2.5, "grad_norm": math.inf, "scale": math.nan})

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    line = path.read_text().splitlines()[1]
    assert json.loads(line, parse_constant=refuse)["grad_norm"] is None
    ((record,),) = (log.read_log(path)[1],)
    assert record["loss"] == 2.5 and math.isnan(record["grad_norm"] + record["scale"])


def test_a_log_comes_back_without_its_cut_off_line(tmp_path):
    path = tmp_path / "run.jsonl"
    mine = log.Log(path, HEAD)
    for step in range(8):
        mine.write({"step": step})
    mine.close()
    with open(path, "a") as file:
        file.write('{"step": 8, "lo')
    assert log.read_log(path) == (HEAD, [{"step": step} for step in range(8)])


def test_an_old_header_says_what_it_says_in_todays_words(tmp_path):
    (tmp_path / "old").write_text('{"training": {"accumulation": 3, "lr": 0.1}}\n')
    assert log.read_log(tmp_path / "old")[0]["training"] == {"lr": 0.1, "grad_accum_steps": 3}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is full")
def test_a_full_disk_is_told_by_the_logs_name(tmp_path):
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    with pytest.raises(log.LogError, match="cannot write into .*run.jsonl: No space"):
        log.Log(tmp_path / "run.jsonl", HEAD)


def test_tensorboard_gets_a_point_for_each_number(monkeypatch):
    points, module = [], types.ModuleType("torch.utils.tensorboard")

    class SummaryWriter:
        def __init__(self, folder):
            points.append(folder)

        def add_scalar(self, name, value, step):
            points.append((name, value, step))

        def flush(self):
            points.append("flushed")

        def close(self):
            points.append("closed")

    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board = log.TensorBoard("curves")
    board.write({"step": 7, "loss": 2.5, "lr": 0.1})
    board.close()
    folder, *points, flushed, closed = points
    assert (folder, flushed, closed) == ("curves", "flushed", "closed")
    assert sorted(points) == [("loss", 2.5, 7), ("lr", 0.1, 7)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(log.LogError, match="pip install tensorboard"):
        log.TensorBoard("curves")
