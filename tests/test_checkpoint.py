"""Checkpoints: one run per folder, nothing lost by a full disk or a kill, nothing trusted."""

import multiprocessing
import sys
import time

import pytest

from gpt2lite.checkpoint import ResumeError, locked


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
