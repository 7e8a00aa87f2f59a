"""Files from the network, and files that are written whole or not at all."""

import errno
import hashlib
import os
import shutil
import stat
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gpt2lite import assets
from gpt2lite.assets import AssetError, NetworkError

DATA = b"To be, or not to be\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPT2LITE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def server():
    """Serve DATA at /whole, other bytes at /tampered, half at /cut, else 404.

    /hang says nothing; /drip sends a byte every 20 ms.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/hang":
                time.sleep(1)
                return
            if self.path == "/drip":
                self.send_response(200)
                self.send_header("Content-Length", str(len(DATA)))
                self.end_headers()
                with suppress(OSError):  # the reader has given up
                    for byte in DATA[:500]:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.02)
                self.close_connection = True
                return
            body = {"/whole": DATA, "/tampered": b"x" + DATA[1:], "/cut": DATA[: len(DATA) // 2]}
            self.send_response(200 if self.path in body else 404)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(body.get(self.path, b""))
            self.close_connection = True

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once(server, cache, monkeypatch):
    path = assets.fetch(f"{server}/whole", SHA256, "speech.txt")
    assert path.read_bytes() == DATA
    assert files(cache) == ["speech.txt"]
    monkeypatch.setattr(assets, "_download", lambda url: pytest.fail("downloaded again"))
    assert assets.fetch(f"{server}/whole", SHA256, "speech.txt") == path


@pytest.mark.parametrize("path", ["/tampered", "/cut"])
def test_other_bytes_or_too_few_are_refused_and_not_kept(server, cache, path):
    with pytest.raises(AssetError) as error:
        assets.fetch(server + path, SHA256, "speech.txt")
    assert files(cache) == []
    message = str(error.value)
    assert "\n" not in message
    assert path == "/cut" or ("speech.txt" in message and SHA256 in message)


def test_a_missing_page_is_an_error_that_names_it(server, cache):
    with pytest.raises(AssetError, match="cannot download .*/nowhere .*Not Found"):
        assets.fetch(f"{server}/nowhere", SHA256, "speech.txt")
    assert files(cache) == []


def test_a_server_that_hangs_is_given_up(server, cache, monkeypatch):
    assert 0 < assets.TIMEOUT <= 30
    monkeypatch.setattr(assets, "TIMEOUT", 0.1)
    with pytest.raises(AssetError, match="cannot download .*/hang .*timed out"):
        assets.fetch(f"{server}/hang", SHA256, "speech.txt")
    assert files(cache) == []


def test_a_server_that_drips_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr(assets, "PATIENCE", 0.2)
    start = time.perf_counter()
    with pytest.raises(NetworkError, match="cannot download .*/drip .*bytes in .*: too slow"):
        assets.fetch(f"{server}/drip", SHA256, "speech.txt")
    assert time.perf_counter() - start < 3, "it waited for the whole file"
    assert files(cache) == []


def test_a_slow_server_has_time_to_begin(server, monkeypatch):
    monkeypatch.setattr(assets, "SLOWEST", 1e12)
    assert assets.fetch(f"{server}/whole", SHA256, "speech.txt").read_bytes() == DATA


@pytest.mark.parametrize("chunk", [1, 100, len(DATA), 10**6])
def test_a_file_is_hashed_to_its_end_whatever_the_chunks(chunk, tmp_path, server, monkeypatch):
    monkeypatch.setattr(assets, "CHUNK", chunk)
    (tmp_path / "data").write_bytes(DATA)
    assert assets.sha256_of(tmp_path / "data") == SHA256
    assert assets.fetch(f"{server}/whole", SHA256, "speech.txt").read_bytes() == DATA


def test_a_cached_file_is_verified_at_each_use_and_never_deleted(server, cache):
    path = assets.fetch(f"{server}/whole", SHA256, "speech.txt")
    path.write_bytes(b"the reader's own notes")
    with pytest.raises(AssetError, match="speech.txt was changed or damaged.*expected " + SHA256):
        assets.fetch(f"{server}/whole", SHA256, "speech.txt")
    assert path.read_bytes() == b"the reader's own notes"


def test_a_full_disk_leaves_nothing_half_written(server, cache, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AssetError, match="cannot write .*speech.txt.*space.*make room"):
        assets.fetch(f"{server}/whole", SHA256, "speech.txt")
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_names_the_way_out(server, cache):
    cache.write_text("a file where the folder should be")  # root may write anywhere, but not here
    with pytest.raises(AssetError, match="cannot write .*GPT2LITE_CACHE"):
        assets.fetch(f"{server}/whole", SHA256, "speech.txt")


def test_a_cached_file_that_cannot_be_read_is_named(server, cache):
    (cache / "speech.txt").mkdir(parents=True)
    with pytest.raises(AssetError, match="cannot read .*speech.txt .*: mend that, or set GPT2LITE"):
        assets.fetch(f"{server}/whole", SHA256, "speech.txt")


def test_two_downloads_at_a_time_do_not_share_a_file(server, cache, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.extend(files(cache)))
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        assets.fetch(f"{server}/whole", SHA256, f"{process}.txt")
    assert "1.txt.1.part" in seen and "2.txt.2.part" in seen


def test_an_interrupt_leaves_nothing_half_written(cache, monkeypatch):
    def interrupted(url):
        yield DATA
        raise KeyboardInterrupt

    monkeypatch.setattr(assets, "_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assets.fetch("http://unused", SHA256, "speech.txt")
    assert files(cache) == []


@pytest.mark.parametrize(
    "platform, variable, value, folder",
    [
        ("linux", "XDG_CACHE_HOME", "base", Path("base/gpt2lite")),
        ("linux", "XDG_CACHE_HOME", "", Path.home() / ".cache/gpt2lite"),
        ("darwin", "XDG_CACHE_HOME", "base", Path.home() / "Library/Caches/gpt2lite"),
        ("win32", "LOCALAPPDATA", "base", Path("base/gpt2lite")),
        ("win32", "LOCALAPPDATA", "", Path.home() / "AppData/Local/gpt2lite"),
        ("linux", "GPT2LITE_CACHE", "chosen", Path("chosen")),
        ("darwin", "GPT2LITE_CACHE", "~/chosen", Path.home() / "chosen"),
    ],
)
def test_cache_dir_follows_the_platform(monkeypatch, platform, variable, value, folder):
    monkeypatch.delenv("GPT2LITE_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert assets.cache_dir() == folder


# Files that are written whole or not at all


def write(partial, **texts):
    for name, text in texts.items():
        (partial / name).write_text(text)


def texts(folder):
    return {p.name: p.read_text() for p in folder.iterdir()}


def test_files_are_replaced_together_and_others_stay(tmp_path):
    folder = tmp_path / "new" / "folder"
    for text in ("first", "second"):
        with assets.replacing(folder, ["a", "b"]) as partial:
            write(partial, a=text, b=text)
            assert not (folder / "a").exists() or (folder / "a").read_text() == "first"
        (folder / "mine").write_text("stays")
    assert texts(folder) == {"a": "second", "b": "second", "mine": "stays"}


def test_a_failure_while_writing_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path, a="first", b="first")
    for fault in (OSError, KeyboardInterrupt):
        with pytest.raises(fault):
            with assets.replacing(tmp_path, ["a", "b"]) as partial:
                write(partial, a="second")
                raise fault
        assert texts(tmp_path) == {"a": "first", "b": "first"}


@pytest.mark.parametrize("there", [True, False])
def test_a_file_in_use_leaves_the_folder_as_it_was(tmp_path, monkeypatch, there):
    """As on Windows, which refuses to replace it."""
    write(tmp_path, **({"a": "first", "b": "first"} if there else {}))
    before, replace = texts(tmp_path), os.replace

    def refuse(source, target):
        if target == tmp_path / "a":
            raise PermissionError("in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="in use"):
        with assets.replacing(tmp_path, ["a", "b"]) as partial:
            write(partial, a="second", b="second")
    assert texts(tmp_path) == before


@pytest.mark.parametrize("at", range(4))
def test_a_kill_leaves_no_mixture_and_its_remains_go(tmp_path, monkeypatch, at):
    write(tmp_path, a="first", b="first", c="first")
    replace, calls = os.replace, []

    class Killed(BaseException):
        pass

    def kill(source, target):
        if len(calls) == at:
            raise Killed
        calls.append(replace(source, target))

    monkeypatch.setattr(os, "replace", kill)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a killed process cleans nothing
    with pytest.raises(Killed):
        with assets.replacing(tmp_path, ["a", "b", "c"]) as partial:
            write(partial, a="second", b="second", c="second")
    monkeypatch.undo()
    left = {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()}
    assert len(set(left.values())) == 1 or "c" not in left, f"a mixture: {left}"
    assert any(p.is_dir() for p in tmp_path.iterdir())
    with assets.replacing(tmp_path, ["a", "b", "c"]) as partial:
        write(partial, a="third", b="third", c="third")
    assert texts(tmp_path) == dict.fromkeys("abc", "third"), "what the kill left is still there"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_replaced_files_have_the_users_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        with assets.replacing(tmp_path, ["a"]) as partial:
            write(partial, a="text")
            (partial / "a").chmod(0o600)  # as safetensors leaves it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
