"""Checkpoints: one run per folder, nothing lost by a full disk or a kill, nothing trusted."""

import io
import multiprocessing
import os
import pickle
import random
import re
import sys
import time
import zipfile

import pytest
import torch

from gpt2lite import checkpoint
from gpt2lite.assets import sha256_of
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


def test_a_folder_that_cannot_be_locked_says_why(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResumeError, match="cannot write into .*file .*another folder"):
        locked(tmp_path / "file").__enter__()

    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    system = "msvcrt" if sys.platform == "win32" else "fcntl"
    name = "locking" if sys.platform == "win32" else "flock"
    monkeypatch.setattr(f"{system}.{name}", no_locks)
    partial = tmp_path / ".step.1.partial"  # perhaps of a run that is writing it
    partial.write_text("")
    with pytest.warns(UserWarning, match="not supported.*one run at a time"), locked(tmp_path):
        assert partial.exists(), "without a lock nobody knows whose it is"


def test_what_a_killed_save_left_goes_once_the_folder_is_locked(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(checkpoint.os, "replace", lambda partial, _: names.append(partial.name))
    monkeypatch.setattr(checkpoint.Path, "unlink", lambda *_, **__: None)
    for _ in range(2):
        checkpoint.save(tmp_path, 1, {"step": 1})
    monkeypatch.undo()
    assert len({*names}) == 2, "two processes would write one partial file"
    assert {p.name for p in tmp_path.iterdir()} == {*names}
    assert checkpoint.found(tmp_path) == []
    (tmp_path / "notes.partial").write_text("somebody's own")
    with locked(tmp_path):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "notes.partial"]


def damage(path):
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def planted(folder, content: bytes, step=1):
    """Write a file whose name and hash are a checkpoint's, whatever is in it; return its path."""
    (folder / "planted").write_bytes(content)
    name = f"step-{step:08d}-{sha256_of(folder / 'planted')[:16]}.pt"
    return (folder / "planted").rename(folder / name)


def saved(content) -> bytes:
    """Return what torch.save writes, a GPT-2's settings and all else that is no plain data."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_a_checkpoint_comes_back_as_it_was_and_says_its_step_and_hash(tmp_path):
    state = {"w": torch.arange(3.0), "n": [1, {"a": "b"}], "x": 0.5, "none": None}
    path = checkpoint.save(tmp_path / "new", 1234, state)
    assert path.name == f"step-00001234-{sha256_of(path)[:16]}.pt"
    back = checkpoint.load(path)
    assert torch.equal(back.pop("w"), state.pop("w")) and back == state
    assert [p.name for p in path.parent.iterdir()] == [path.name], "something else was left there"
    paths = [checkpoint.save(tmp_path, step, {"step": step}) for step in (99_999_999, 10**8)]
    assert checkpoint.found(tmp_path) == paths, "a step of nine digits is lost, or comes first"


def test_a_gpus_checkpoint_can_be_read_without_one(tmp_path, monkeypatch):
    asked, load = {}, torch.load
    monkeypatch.setattr(torch, "load", lambda path, **how: asked.update(how) or load(path, **how))
    checkpoint.load(checkpoint.save(tmp_path, 1, {}))
    assert asked == {"map_location": "cpu", "weights_only": True}


def test_a_damaged_checkpoint_is_refused_by_name_and_a_whole_one_is_named(tmp_path):
    for step in (1, 2, 3):  # 1 is kept as the best
        last = checkpoint.save(tmp_path, step, {"step": step}, best=step == 1)
    first, second, _ = checkpoint.found(tmp_path)
    bytes_of_first = first.read_bytes()
    damage(first)
    with pytest.raises(ResumeError, match=f"{first.name} is damaged.* go on from .*{last.name}"):
        checkpoint.load(first)
    first.write_bytes(bytes_of_first)
    damage(last)
    with pytest.raises(ResumeError, match=f"{last.name} is damaged.* go on from .*{second.name}"):
        checkpoint.load(last)
    damage(second)
    with pytest.raises(ResumeError, match=f"{last.name} is damaged.* go on from .*{first.name}"):
        checkpoint.load(last)
    with pytest.raises(ResumeError, match=f"{second.name} is damaged"):
        checkpoint.load(second)
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(ResumeError, match=f"{first.name} is damaged or cut off: no other is whole"):
        checkpoint.load(first)


def test_a_folder_with_a_damaged_checkpoint_heals(tmp_path, capsys):
    for step in (1, 2, 3):
        last = checkpoint.save(tmp_path, step, {"step": step})
    assert checkpoint.load(tmp_path) == {"step": 3} and capsys.readouterr().out == ""
    damage(last)
    assert checkpoint.load(tmp_path) == {"step": 2}
    (line,) = capsys.readouterr().out.splitlines()
    assert last.name in line and f"reading {checkpoint.found(tmp_path)[0].name} instead" in line
    checkpoint.save(tmp_path, 3, {"step": 3, "again": True})  # the run goes on
    assert last not in checkpoint.found(tmp_path), "the damaged one would be read again, or kept"
    assert checkpoint.load(tmp_path) == {"step": 3, "again": True}
    assert capsys.readouterr().out == ""
    for path in checkpoint.found(tmp_path):
        damage(path)
    names = "(?=.*{.name})(?=.*{.name})".format(*checkpoint.found(tmp_path))
    with pytest.raises(ResumeError, match=f"no whole checkpoint{names}.*delete"):
        checkpoint.load(tmp_path)


def test_a_run_that_goes_back_gives_up_its_later_steps(tmp_path):
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, {"step": step}, best=step == 15)
    again = checkpoint.save(tmp_path, 6, {"step": 6})
    assert again.exists(), "what was just saved is deleted"
    assert [checkpoint.load(p)["step"] for p in checkpoint.found(tmp_path)] == [6]


def test_the_newest_two_and_the_best_stay(tmp_path):
    for step, best in ((1, True), (2, True), (3, False), (4, False), (5, False)):
        checkpoint.save(tmp_path, step, {"step": step}, best=best)
    assert [checkpoint.load(p)["step"] for p in checkpoint.found(tmp_path)] == [2, 4, 5]
    (best,) = checkpoint.found(tmp_path, best=True)
    assert checkpoint.load(best) == {"step": 2} and checkpoint.load(tmp_path) == {"step": 5}
    checkpoint.save(tmp_path, 100, {"step": 100}, best=True)
    assert [checkpoint.load(p)["step"] for p in checkpoint.found(tmp_path)] == [5, 100]


def test_what_is_no_checkpoint_is_neither_read_nor_deleted(tmp_path):
    others = ["model.pt", "step-1.pt", "step-00000001-0123456789abcdef.pt.txt", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
        with pytest.raises(ResumeError, match=f"{name} is no checkpoint of gpt2lite: name one"):
            checkpoint.load(tmp_path / name)
    folder = tmp_path / "step-00000001-0123456789abcdef-best.pt"
    folder.mkdir()
    for nothing in (folder, tmp_path):
        with pytest.raises(ResumeError, match="holds no checkpoint: start a new run there"):
            checkpoint.load(nothing)
    with pytest.raises(ResumeError, match="nowhere is no checkpoint"):
        checkpoint.load(tmp_path / "nowhere")
    assert checkpoint.found(tmp_path / "nowhere") == []
    for step in range(2, 6):
        checkpoint.save(tmp_path, step, {})
    assert {*others, folder.name} <= {p.name for p in tmp_path.iterdir()}


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_planted_ends_in_more_than_a_resume_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = saved({"w": torch.arange(4.0), "n": 1 << 70, "s": "text"})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, protocol=2))
    foreign = [b"", b"PK", b"text", file.getvalue(), saved([1]), saved(torch.ones(2)), saved(None)]
    foreign += [saved(TrainConfig()), saved({"a": Trap()}), pickle.dumps({"a": Trap()})]
    foreign += [pickle.dumps([]), pickle.dumps({"a": 1})[:-1], b"\x80\x02\x8a\xff" + b"\xff" * 255]
    for content in foreign:
        path = planted(tmp_path, content)
        with pytest.raises(ResumeError, match=f"{path.name} is whole, but no checkpoint") as caught:
            checkpoint.load(path)
        assert "weights_only" not in str(caught.value), "it advises to run a stranger's code"
    assert not (tmp_path / "trapped").exists(), "code in a checkpoint was run"
    dice, refused = random.Random(0), 0
    for _ in range(200):  # a hash that fits proves nothing: whoever planted the file wrote it too
        content = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        try:
            checkpoint.load(planted(tmp_path, content[: dice.choice([len(content), 100, 700])]))
        except ResumeError:
            refused += 1
    assert refused > 100, "were these files changed at all?"


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = checkpoint.save(tmp_path, 1, {})

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint, "sha256_of", refused)
    for asked in (path, tmp_path):
        with pytest.raises(
            ResumeError, match=f"cannot read {re.escape(str(asked))} .Permission denied.: mend"
        ):
            checkpoint.load(asked)


@pytest.mark.parametrize("where", ["fsync", "write", "replace"])
def test_a_full_disk_leaves_the_earlier_checkpoints_and_says_where(tmp_path, monkeypatch, where):
    checkpoint.save(tmp_path, 1, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    if where == "write":  # PyTorch's writer turns it into a RuntimeError, after half a file
        resource = pytest.importorskip("resource", reason="Windows has no limit of a file's size")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    else:
        monkeypatch.setattr(checkpoint.os, where, full)
    try:
        with pytest.raises(ResumeError, match="step 2 into .*(No space|too large).*one before it"):
            checkpoint.save(tmp_path, 2, {"step": torch.zeros(100_000)})
    finally:
        if where == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1, "half a file was left"


def test_ctrl_c_while_saving_is_ctrl_c_and_leaves_nothing_half(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"step": 1})

    class Pressed(io.FileIO):
        def write(self, part):
            if self.tell() > 100_000:
                raise KeyboardInterrupt  # PyTorch's writer turns it into a RuntimeError
            return super().write(part)

    monkeypatch.setattr(checkpoint, "open", Pressed, raising=False)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, {"step": [torch.zeros(100_000)] * 3})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1, "half a file was left"


def test_another_error_while_saving_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(checkpoint.torch, "save", broken)
    with pytest.raises(RuntimeError, match="CUDA error") as caught:
        checkpoint.save(tmp_path, 1, {})
    assert not isinstance(caught.value, ResumeError) and not list(tmp_path.iterdir())


def test_the_whole_file_is_on_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        done.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    def renamed(old, new):
        done.append(os.stat(old).st_size)
        replace(old, new)

    monkeypatch.setattr(checkpoint.os, "fsync", synced)
    monkeypatch.setattr(checkpoint.os, "replace", renamed)
    size = checkpoint.save(tmp_path, 1, {"w": torch.zeros(9999)}).stat().st_size
    assert done == [size, size], "a power cut would leave a name without its content"
