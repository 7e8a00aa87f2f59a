"""Checkpoint files: what of them opens, what is refused as damaged, and how the hub gives them.

The hub is a small server on this machine (hub_server.py); a process of its own talks to it.
"""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import safetensors.torch
import torch
from helpers import TINY, hf_config, tiny_gpt
from hub_server import CONFIG, INDEX, PUBLISHED, WEIGHTS, Hub
from transformers import GPT2LMHeadModel

from gpt2lite import GPT, CheckpointError
from gpt2lite import hub as files
from gpt2lite.hub import read_tensors

TENSORS = {"b": torch.arange(3.0), "a": torch.ones(2, 5), "c": torch.zeros(4)}


@pytest.fixture
def folder(tmp_path):
    """Three tensors in a file."""
    (tmp_path / "checkpoint").mkdir()
    safetensors.torch.save_file(TENSORS, tmp_path / "checkpoint" / WEIGHTS, {"format": "pt"})
    return tmp_path / "checkpoint"


# Files


def in_two_files(folder):
    a, b = "model-1.safetensors", "model-2.safetensors"
    safetensors.torch.save_file({"a": TENSORS["a"]}, folder / a)
    safetensors.torch.save_file({k: TENSORS[k] for k in "bc"}, folder / b)
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": a, "b": b, "c": b}}))


@pytest.mark.parametrize("change", [lambda folder: None, in_two_files], ids=["one file", "shards"])
def test_tensors_by_name(change, folder):
    change(folder)
    tensors = read_tensors(folder)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], w) for k, w in TENSORS.items())


def test_a_name_in_two_files_is_refused(folder):
    in_two_files(folder)
    safetensors.torch.save_file(TENSORS, folder / "model-1.safetensors")
    with pytest.raises(CheckpointError, match="checkpoint holds b twice"):
        read_tensors(folder)


def cut(size):
    def change(folder):
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])

    return change


def instead_of_weights(data):
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def header(text, data=b""):
    return instead_of_weights(len(text).to_bytes(8, "little") + text.encode() + data)


def offsets(value):
    return header(json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": value}}), b"0000")


def only_a_pickle(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def only_an_index(index):
    def change(folder):
        (folder / WEIGHTS).unlink()
        (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))

    return change


def index_of(file):
    return only_an_index({"weight_map": {"wte.weight": file}})


NOTHING = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
DEEP = "[" * 100_000 + "]" * 100_000
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 548105171\n"
REFUSED = {
    "header cut off": (cut(100), "header is damaged or cut off .100 bytes.; .*fetch it again"),
    "half a length": (cut(5), "header is damaged or cut off"),
    "empty": (cut(0), "header is damaged or cut off"),
    "a git-lfs pointer": (instead_of_weights(POINTER), "header is damaged or cut off"),
    "a web page": (instead_of_weights(b"<!DOCTYPE html><html>404</html>"), "header is damaged"),
    "no table": (header("[]"), "header is damaged"),
    "deep": (header(DEEP), "header is damaged"),
    "no offsets": (header('{"wte.weight": {}}'), "header is damaged"),
    "empty offsets": (offsets([]), "header is damaged"),
    "offsets as text": (offsets(["0", "4"]), "header is damaged"),
    "no tensor": (header('{"a": null}'), "header is damaged"),
    "backwards": (offsets([4, 0]), r"can't be read"),
    "an overflow": (offsets([0, 2**64]), r"can't be read"),
    "a crowd": (
        header(json.dumps({str(i): NOTHING for i in range(20_000)})),
        "holds 20,000 tensors: no model has so many",
    ),
    "only a pickle": (only_a_pickle, "pytorch_model.bin is a pickle, .* save_pretrained"),
    "shard missing": (
        index_of("model-1.safetensors"),
        "names model-1.safetensors, which is not there",
    ),
    "shard outside": (
        index_of("../x.safetensors"),
        r"names '\.\./x\.safetensors', which is no safetensors",
    ),
    "absolute shard": (index_of("/etc/x.safetensors"), "which is no safetensors file beside it"),
    "pickled shard": (index_of("pytorch_model.bin"), "which is no safetensors file beside it"),
    "index, no map": (only_an_index({}), "is no index of shards"),
    "index, list": (only_an_index([]), "is no index of shards"),
    "index, no JSON": (only_an_index("{"), "is no index of shards"),
    "index, deep": (only_an_index(DEEP), "is no index of shards"),
    "index, odd map": (
        only_an_index({"weight_map": {"a": 1, "b": "x", "c": []}}),
        "index of shards|names 1",
    ),
}


@pytest.mark.parametrize("damage, message", REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_file_is_refused(damage, message, folder):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(folder)


@pytest.mark.parametrize("missing_bytes", [1, 20, 60])
def test_a_truncated_tensor_is_named(folder, missing_bytes):
    data = (folder / WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:start])
    left = len(data) - missing_bytes
    cut(left)(folder)
    gone = [
        k for k, v in table.items() if k != "__metadata__" and start + v["data_offsets"][1] > left
    ]
    with pytest.raises(CheckpointError, match="truncated in (.*) .*fetch it again") as e:
        read_tensors(folder)
    assert re.search(r"truncated in (\S+) \((\S+) of (\S+) bytes\)", str(e.value)).groups() == (
        min(gone),
        f"{left:,}",
        f"{len(data):,}",
    )


def test_an_unreadable_file_is_named(folder, monkeypatch):
    def refuse(file, framework):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(CheckpointError, match="model.safetensors can't be read: .*Permission"):
        read_tensors(folder)


# Sound or damaged: what a cached file is compared with


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Return a function that lays a file into a cache as the hub's library does: link and blob."""
    monkeypatch.setenv("GPT2LITE_CACHE", str(tmp_path / "notes"))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()

    def lay(data, checksum):
        (tmp_path / "blobs" / checksum).write_bytes(data)
        link = tmp_path / "snapshots" / "file"
        link.symlink_to(Path("..", "blobs", checksum))
        return link

    return lay


DATA = b"weights" * 1000
CHECKSUMS = {
    "sha256": hashlib.sha256(DATA).hexdigest(),
    "git's sha1": git_sha1(DATA),
    "sha1": hashlib.sha1(DATA).hexdigest(),
}


@pytest.mark.parametrize("checksum", CHECKSUMS.values(), ids=CHECKSUMS.keys())
def test_a_flipped_bit_in_the_cache_is_found_and_deleted(cached, checksum, tmp_path):
    link = cached(DATA, checksum)
    assert files._kept_if_sound(link) and link.read_bytes() == DATA
    before = os.stat(link)
    with open(link, "r+b") as file:
        file.seek(5000)
        file.write(b"W")
    os.utime(link, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nobody had written
    assert not files._kept_if_sound(link), "a damaged file counts as sound"
    assert not os.path.lexists(link) and not any((tmp_path / "blobs").iterdir())


def test_a_file_that_was_never_verified_is_verified(cached):
    """As a kill between the download and its check leaves it."""
    link = cached(DATA[:-1], CHECKSUMS["sha256"])
    assert not files._kept_if_sound(link) and not os.path.lexists(link)


def test_a_sound_file_is_read_once(cached, monkeypatch):
    link = cached(DATA, CHECKSUMS["sha256"])
    assert files._kept_if_sound(link)
    monkeypatch.setattr(files, "sha256_of", lambda path: pytest.fail("it was read again"))
    assert files._kept_if_sound(link)


def test_where_notes_cannot_be_written_a_file_is_read_each_time(cached, tmp_path, monkeypatch):
    (tmp_path / "notes").write_text("a file where the folder should be")
    link = cached(DATA, CHECKSUMS["sha256"])
    read = []
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(1) or CHECKSUMS["sha256"])
    assert files._kept_if_sound(link) and files._kept_if_sound(link) and len(read) == 2


def test_without_links_the_checksum_of_the_download_is_remembered(cached, tmp_path):
    """As on Windows, where the cache holds the file itself, under its own name."""
    path = tmp_path / "snapshots" / "file"
    path.write_bytes(DATA)
    assert files._kept_if_sound(path), "a folder filled by hand: there is nothing to compare with"
    assert files._kept_if_sound(path, CHECKSUMS["sha256"])
    assert files._kept_if_sound(path)
    path.write_bytes(DATA[:-1] + b"x")
    assert not files._kept_if_sound(path) and not path.exists()


def test_a_blob_that_is_shared_between_caches_is_checked_by_its_own_name(cached, tmp_path):
    """It is a link once more, to a file that is named after another hash."""
    link = cached(DATA, CHECKSUMS["sha256"])
    shared = tmp_path / ("0" * 64)
    blob = (tmp_path / "blobs" / CHECKSUMS["sha256"]).rename(shared)
    (tmp_path / "blobs" / CHECKSUMS["sha256"]).symlink_to(blob)
    assert files._kept_if_sound(link), "compared with another hash"
    shared.write_bytes(DATA[:-1])
    assert not files._kept_if_sound(link)
    assert not shared.exists() and not any((tmp_path / "blobs").iterdir())


def test_a_download_is_compared_with_what_the_hub_said(cached, tmp_path, monkeypatch):
    """Also where no link names its checksum, as on Windows."""
    path = tmp_path / "snapshots" / CONFIG
    monkeypatch.setattr(files, "_cached", lambda *a: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: path)
    for etag, sound in ((CHECKSUMS["sha256"], True), ("0" * 64, False)):
        path.write_bytes(DATA)
        metadata = SimpleNamespace(etag=etag)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *a, m=metadata, **k: m)
        if sound:
            assert files._fetch("someone/else", CONFIG, "main") == path
        else:
            with pytest.raises(CheckpointError, match="arrived damaged"):
                files._fetch("someone/else", CONFIG, "main")
    assert not path.exists()


def test_an_unreadable_cached_file_is_named(cached, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    link = cached(DATA, CHECKSUMS["sha256"])
    monkeypatch.setattr(files, "sha256_of", refuse)
    with pytest.raises(CheckpointError, match="can't read or delete .*file .Permission denied.:"):
        files._kept_if_sound(link)
    assert link.exists()


# The hub

LOADER = """
import json, sys, time
from gpt2lite import GPT, CheckpointError, hub
hub.TIMEOUT = 1
for line in sys.stdin:
    start = time.perf_counter()
    try:
        model = GPT.from_pretrained(json.loads(line))
        answer = {"n_layer": model.config.n_layer, "wpe": model.wpe.weight[0, 0].item()}
    except CheckpointError as error:
        answer = {"error": str(error)}
    answer["seconds"] = time.perf_counter() - start
    answer["transformers"] = "transformers" in sys.modules
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory):
    """A hub, a cache of its own, and `hub.load(name)`: from_pretrained(name) in another process."""
    hub = Hub()
    home = tmp_path_factory.mktemp("hub")
    with subprocess.Popen(
        [sys.executable, "-c", LOADER],
        env=hub.environment(home),
        cwd=Path(__file__).parent.parent,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as loader:

        def load(name):
            loader.stdin.write(json.dumps(name) + "\n")
            loader.stdin.flush()
            return json.loads(loader.stdout.readline())

        hub.load, hub.cache = load, home / "hub"
        yield hub
        loader.stdin.close()
    hub.stop()


@pytest.fixture
def hub(running_hub):
    yield running_hub
    running_hub.silent.clear()
    running_hub.requests.clear()


@pytest.fixture(scope="module")
def model():
    return tiny_gpt()


def wpe(model):
    return model.wpe.weight[0, 0].item()


@pytest.mark.parametrize("repository", PUBLISHED)
def test_gpt2_is_fetched_by_its_pinned_revision_once(hub, model, repository):
    hub.offer_gpt2(repository, model)
    name = repository.removeprefix("openai-community/")
    first = hub.load(name)
    assert first.get("wpe") == wpe(model), first
    assert not first["transformers"], "transformers was imported"
    assert {path for _, path in hub.requests} == {
        f"/{repository}/resolve/{PUBLISHED[repository]}/{file}" for file in (CONFIG, WEIGHTS)
    }
    with hub.away():
        second = hub.load(name)
    assert second.get("wpe") == wpe(model), second


def test_a_sharded_repository_is_fetched_once(hub, tmp_path):
    theirs = GPT2LMHeadModel(hf_config(TINY))
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    hub.offer("someone/sharded", tmp_path)
    first = hub.load("someone/sharded")
    assert first.get("wpe") == wpe(theirs.transformer), first
    with hub.away():
        second = hub.load("someone/sharded")
    assert second.get("wpe") == wpe(theirs.transformer), second


def test_a_file_that_arrives_damaged_is_refused_and_not_kept(hub, model):
    hub.offer_gpt2("someone/damaged", model)
    good = hub.files["someone/damaged", WEIGHTS]
    hub.checksums["someone/damaged", WEIGHTS] = hashlib.sha256(good).hexdigest()
    hub.files["someone/damaged", WEIGHTS] = good[:-1] + bytes([good[-1] ^ 1])
    first = hub.load("someone/damaged")
    assert "model.safetensors of someone/damaged arrived damaged" in first["error"]
    kept = hub.cache / "models--someone--damaged"
    assert max(f.stat().st_size for f in kept.rglob("*") if f.is_file()) < 5000, "it was kept"
    hub.files["someone/damaged", WEIGHTS] = good
    assert "wpe" in hub.load("someone/damaged"), "a second call does not heal it"


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, halve])
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_file_damaged_in_the_cache_is_fetched_again(hub, model, file, damage):
    repository = f"someone/{damage.__name__}-{file[:5]}"
    hub.offer_gpt2(repository, model)
    sound = hub.load(repository)
    (path,) = (hub.cache / f"models--{repository.replace('/', '--')}").glob(f"snapshots/*/{file}")
    damage(path)
    again = hub.load(repository)
    assert again.get("wpe") == sound["wpe"], again
    damage(path)
    with hub.away():
        answer = hub.load(repository)
    assert f"can't fetch {file}" in answer["error"], "damaged weights were loaded"
    assert "The cached one was damaged and is deleted" in answer["error"]


def test_config_and_weights_are_of_one_commit_also_when_main_moves(hub, model):
    hub.offer_gpt2("someone/moving", model)
    assert "wpe" in hub.load("someone/moving")
    (snapshot,) = (hub.cache / "models--someone--moving" / "snapshots").iterdir()
    (snapshot / WEIGHTS).unlink()  # as if only the config had been fetched before main moved on
    hub.requests.clear()
    hub.load("someone/moving")
    asked = [r for r in hub.requests if WEIGHTS in str(r)]
    assert asked and all(snapshot.name in str(r) for r in asked), "the weights of another commit"


def test_an_unknown_repository_is_named(hub):
    assert "no public repository no/body: check the spelling" in hub.load("no/body")["error"]


@pytest.mark.parametrize(
    "left, message",
    [
        (WEIGHTS, "has no config.json"),
        (CONFIG, "holds neither model.safetensors nor model.safetensors.index.json"),
    ],
)
def test_a_repository_without_a_needed_file(hub, model, left, message):
    repository = f"someone/only-{len(message)}"
    hub.offer_gpt2(repository, model)
    hub.files = {k: v for k, v in hub.files.items() if k[0] != repository or k[1] == left}
    assert message in hub.load(repository)["error"]


def test_an_unreachable_hub_fails_at_once_and_says_what_to_do(hub):
    with hub.away():
        answer = hub.load("someone/away")
    assert re.search(
        "can't fetch config.json of someone/away .*Check the network and the disk of "
        f"{hub.cache} .*local directory",
        answer["error"],
    )
    assert "damaged" not in answer["error"]
    assert answer["seconds"] < 6


def test_a_hub_that_never_answers_is_asked_once(hub):
    hub.silent.set()
    answer = hub.load("someone/silent")
    assert "can't fetch config.json of someone/silent" in answer["error"]
    assert len(hub.requests) == 1, "each retry costs seconds more"
    assert answer["seconds"] < 16  # 1, on a machine that has nothing else to do


def test_a_hub_that_goes_away_in_between_is_not_a_missing_file(monkeypatch):
    """huggingface_hub's error for that is also one of its errors for a file that does not exist."""

    def gone(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("the connection was lost")

    monkeypatch.setattr("gpt2lite.hub._cached", lambda *a: None)
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *a, **k: SimpleNamespace(etag="x")
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gone)
    with pytest.raises(CheckpointError, match="can't fetch config.json .*connection was lost"):
        GPT.from_pretrained("someone/flaky")
