"""The doctor finds what is missing, says what to do, and lets wait what can wait."""

import importlib.metadata
import shutil
import sys
import types
import urllib.request

import pytest

from gpt2lite import corpora, doctor, precision
from gpt2lite.assets import AssetError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GPT2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nothing answers there
    return tmp_path / "cache"


def test_each_thing_is_looked_at_in_order(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1.26"])
    found = list(doctor.findings())
    names = ["python", "numpy", "device", "tokenizer", "shakespeare", "tinyshakespeare", "hub"]
    assert [name for _, name, _ in found] == [*names, "disk"]
    marks = {name: mark for mark, name, _ in found}
    assert {marks[n] for n in ("python", "numpy", "device", "tokenizer")} == {doctor.OK}
    assert {marks[n] for n in ("shakespeare", "tinyshakespeare", "hub")} == {doctor.LATER}


@pytest.mark.parametrize(
    "requirement, mark, finding",
    [
        ("numpy>=1.26", doctor.OK, "numpy "),
        ("no-such-thing>=1", doctor.BROKEN, "missing: run `pip install 'no-such-thing>=1'`"),
        ("numpy>=999", doctor.BROKEN, "is too old: run `pip install 'numpy>=999'`"),
        ("transformers>=5; extra == 'dev'", doctor.OK, ""),
        ("jupyterlab>=999; extra == 'dev'", doctor.LATER, "is too old"),
    ],
)
def test_packages_are_compared_with_what_is_declared(monkeypatch, requirement, mark, finding):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [requirement])
    ((found, name, words),) = doctor._packages()
    assert found == mark and finding.strip() in f"{name} {words}"


def test_extras_that_only_tests_need_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["nbval>=99; extra == 'dev'"])
    assert list(doctor._packages()) == []


def test_a_checkout_that_is_not_installed_is_said_so(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    ((mark, name, words),) = doctor._packages()
    assert (mark, name) == (doctor.BROKEN, "gpt2lite") and "pip install -e ." in words


def test_a_device_that_does_not_answer_is_broken(monkeypatch):
    def broken():
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(precision, "pick", broken)
    ((mark, _, words),) = doctor._device()
    assert mark == doctor.BROKEN and "RuntimeError: the driver is too old" in words


def test_a_tokenizer_that_cannot_be_built_is_broken(monkeypatch):
    def broken():
        raise AssetError("vocab.bpe is damaged")

    monkeypatch.setattr("gpt2lite.tokenizer.get_tokenizer", broken)
    assert list(doctor._tokenizer()) == [(doctor.BROKEN, "tokenizer", "vocab.bpe is damaged")]


def test_a_corpus_is_here_or_can_wait_or_is_damaged(monkeypatch):
    monkeypatch.setattr(doctor, "CORPORA", ("shakespeare",))
    ((mark, _, words),) = doctor._corpora()
    assert mark == doctor.LATER and "fetch shakespeare" in words
    path = corpora.corpus_path("shakespeare")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"Words")
    monkeypatch.setattr(doctor, "fetch_corpus", lambda name: path)
    assert list(doctor._corpora()) == [(doctor.OK, "shakespeare", str(path))]

    def damaged(name):
        raise AssetError("other bytes")

    monkeypatch.setattr(doctor, "fetch_corpus", damaged)
    assert list(doctor._corpora()) == [(doctor.BROKEN, "shakespeare", "other bytes")]


def test_the_hub_is_asked_where_the_environment_says(monkeypatch):
    asked = []

    class Answer:
        __enter__ = __exit__ = lambda *_: None

    def urlopen(request, timeout):
        asked.append((request.full_url, request.get_method(), timeout))
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    ((mark, _, words),) = doctor._hub()
    assert mark == doctor.OK and words == "http://127.0.0.1:1 answers"
    monkeypatch.delenv("HF_ENDPOINT")
    list(doctor._hub())
    path = "openai-community/gpt2/resolve/main/config.json"
    hosts = ("http://127.0.0.1:1", "https://huggingface.co")
    assert asked == [(f"{host}/{path}", "HEAD", 2) for host in hosts]


def test_a_hub_that_is_silent_is_not_waited_for(monkeypatch):
    waits = []

    class Thread:
        def __init__(self, target, daemon):
            assert daemon, "the process would wait for it at its end"

        def start(self):
            pass

        def join(self, timeout=None):
            waits.append(timeout)

    monkeypatch.setattr(doctor.threading, "Thread", Thread)
    ((mark, _, words),) = doctor._hub()
    assert mark == doctor.LATER and "does not answer" in words and waits == [2]


def test_a_full_disk_is_broken(monkeypatch, cache):
    asked = []

    def usage(folder):
        asked.append(folder)
        return types.SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for free, mark in ((0.99e9, doctor.BROKEN), (1e9, doctor.OK)):
        ((found, _, words),) = doctor._disk()
        assert found == mark and str(cache) in words and f"{free / 1e9:.1f} GB" in words
    assert asked[0] == cache.parent, "a cache that isn't there yet will lie on its parent's disk"


def test_nothing_heavy_is_imported_to_look():
    assert not {"transformers", "matplotlib"} & set(vars(sys.modules["gpt2lite.doctor"]))
