"""The notebooks' first cell as IPython runs it: package installed, bare checkout, nothing there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from test_project import PROJECT

from gpt2lite.course import setup
from gpt2lite.precision import Precision

ROOT = Path(__file__).parent.parent
ADDRESS = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
NOTEBOOK = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))[0]

# IPython runs the cell; its %pip only says what it was asked, and google.colab is a stand-in.
HARNESS = """
import sys, types
from IPython.core.interactiveshell import InteractiveShell
sys.modules["google.colab"] = types.ModuleType("google.colab")
shell = InteractiveShell.instance()
shell.register_magic_function(lambda line: print("PIP", line), "line", "pip")
{before}
shell.run_cell({cell!r}).raise_error()
{after}
"""
# An editable install is a finder on sys.meta_path or a folder on sys.path: take both away.
UNINSTALL = """
from pathlib import Path
sys.path[:] = [p for p in sys.path if p and not (Path(p) / "gpt2lite").is_dir()]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
"""


def setup_cell() -> str:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return next(c.source for c in cells if c.cell_type == "code" and "setup.start(" in c.source)


def run_cell(folder, before="", after="", address="someone/a-course", **environment):
    cell = setup_cell().replace(f"{ADDRESS}", address)
    code = HARNESS.format(before=before, cell=cell, after=after)
    env = {"GPT2LITE_PROFILE": "lite", "HOME": str(folder), "USERPROFILE": str(folder)}
    env |= {k: v for k, v in os.environ.items() if k not in env} | environment
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
    )


def test_prints_one_line_and_installs_nothing_where_the_package_is(tmp_path):
    run = run_cell(tmp_path)
    assert run.returncode == 0, run.stderr
    first, line = run.stdout.splitlines()
    assert "Save a copy in Drive" in first, "Colab's readers would lose what they write"
    said = r": profile lite, \w+.*, (no autocast|autocast would take \w+) · Python 3\S+ torch "
    assert re.match(NOTEBOOK.stem + said + r"\S+ transformers \S+ gpt2lite \S+$", line)


def test_a_checkout_is_enough(tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gpt2lite", tmp_path / "gpt2lite", ignore=ignore)
    (tmp_path / "notebooks").mkdir()
    for before in (UNINSTALL, ""):  # and it comes before an installed package, of any age
        run = run_cell(
            tmp_path / "notebooks",
            before,
            after="import gpt2lite; print('from', gpt2lite.__file__)",
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "PIP" not in run.stdout
        assert f"from {tmp_path}" in run.stdout.replace("/private", "")


def test_an_install_that_fails_says_so(tmp_path):
    run = run_cell(tmp_path, UNINSTALL)
    assert run.returncode != 0 and "gpt2lite did not install" in run.stderr
    source = "git+https://github.com/" + "someone/a-course"
    assert f'PIP install -q --no-deps "{source}"' in run.stdout.splitlines()


def test_nothing_is_installed_from_an_account_that_is_not_ours(tmp_path):
    run = run_cell(tmp_path, UNINSTALL, address="OWNER/gpt2-lite")
    assert run.returncode != 0 and "PIP" not in run.stdout, "whoever has that name would be trusted"
    assert "no address yet: upload the wheel of `make wheel`, run again" in run.stderr
    (tmp_path / "gpt2lite-0.1.0-py3-none-any.whl").touch()
    run = run_cell(tmp_path, UNINSTALL, address="OWNER/gpt2-lite")
    assert 'PIP install -q --no-deps "gpt2lite-0.1.0-py3-none-any.whl"' in run.stdout.splitlines()


def test_an_unknown_profile_is_refused(tmp_path):
    run = run_cell(tmp_path, GPT2LITE_PROFILE="huge")
    assert "GPT2LITE_PROFILE is 'huge': set it to lite or full" in run.stderr + run.stdout


@pytest.mark.parametrize("device, profile", [("cpu", "lite"), ("mps", "lite"), ("cuda", "full")])
def test_the_device_decides_the_profile(monkeypatch, device, profile):
    monkeypatch.delenv("GPT2LITE_PROFILE")
    assert setup._profile(torch.device(device)) == profile


def test_a_missing_package_is_named(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="%pip install nonesuch"):
        setup.start("x", needs=["nonesuch"])


@pytest.mark.parametrize("version, warned", [("2.4.1", 1), ("2.5.0+cu121", 0), ("2.11.0", 0)])
def test_an_old_version_gets_one_warning(monkeypatch, capsys, version, warned):
    monkeypatch.setattr(setup, "_version", {"torch": version}.get)
    setup.start("x")
    assert capsys.readouterr().out.count("! torch") == warned


def test_dial_marks_the_active_column_and_returns_it(capsys):
    precision = Precision(torch.device("cpu"), torch.float32, False, "")
    for profile, expected in (("lite", 4), ("full", 32000)):
        session = setup.Session("x", profile, precision.device, precision, 1)
        assert session.dial(batch_size=(4, 32000)).batch_size == expected
        head, row = capsys.readouterr().out.splitlines()
        assert f"● {profile}" in head and row.split() == ["batch_size", "4", "32,000"]
        assert len(head) == len(row)
    with pytest.raises(ValueError, match=r"dial\(n_layer=…\)"):
        session.dial(n_layer=6)


def test_needed_and_oldest_agree_with_pyproject():
    listed = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    floors = {re.match(r"\w+", name)[0]: re.findall(r"\d+", name) for name in listed}
    base = {re.match(r"\w+", name)[0] for name in PROJECT["project"]["dependencies"]}
    assert {*setup.NEEDED, "torch", "tyro"} == base  # Colab may lack tyro; notebooks don't need it
    for package, oldest in setup.OLDEST.items():
        assert oldest == tuple(map(int, floors[package]))
