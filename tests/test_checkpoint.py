"""Checkpoints: one run per folder, nothing lost by a full disk or a kill, nothing trusted."""

import multiprocessing
import sys
import time

import pytest
import torch

from gpt2lite import checkpoint
from gpt2lite.checkpoint import ResumeError, locked
from gpt2lite.config import TrainConfig


def hold(folder, held):
    """Hold a folder, in a process of its own, until it is killed."""
    with locked(folder):
        held.set()
        time.sleep(60)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't fork")
def test_one_run_per_folder_until_it_ends_or_is_killed(tmp_path):
    context = multiprocessing.get_context("fork")  # at once: the child needs no torch
    folder, held = tmp_path / "new" / "run", context.Event()
    process = context.Process(target=hold, args=(folder, held))
    process.start()
    assert held.wait(30), "a folder that isn't there yet is made"
    with pytest.raises(ResumeError, match="another run is saving into .*run: wait"), locked(folder):
        pass
    process.kill()
    process.join()
    with locked(folder):  # the system has freed it
        with pytest.raises(ResumeError, match="another run"), locked(folder):
            pass
    with locked(folder):
        pass


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "code"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, damage):
    path = checkpoint.save(tmp_path, 3, {"model": {"weight": torch.zeros(99)}})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "foreign":
        path = path.rename(tmp_path / "model.pt")
    else:
        path.unlink()
        path = checkpoint.save(tmp_path, 3, {"model": TrainConfig()})
    with pytest.raises(checkpoint.ResumeError, match=path.name):
        checkpoint.load(path)


def test_the_newest_checkpoints_stay(tmp_path):
    for step in (5, 10, 100):
        checkpoint.save(tmp_path, step, {"step": step})
    assert len(checkpoint.found(tmp_path)) == 2
    assert checkpoint.load(tmp_path) == {"step": 100}
    (tmp_path / "empty").mkdir()
    with pytest.raises(checkpoint.ResumeError, match="no checkpoint"):
        checkpoint.load(tmp_path / "empty")


def test_the_best_checkpoint_stays_among_the_newest(tmp_path):
    for step, best in ((1, True), (2, True), (3, False), (4, False), (5, False)):
        checkpoint.save(tmp_path, step, {"step": step}, best=best)
    assert [checkpoint.load(p)["step"] for p in checkpoint.found(tmp_path)] == [2, 4, 5]
    (best,) = checkpoint.found(tmp_path, best=True)
    assert checkpoint.load(best) == {"step": 2} and checkpoint.load(tmp_path) == {"step": 5}


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"step": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, {"step": 2})
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1
