"""From documents to shards: none lost, none twice, killed or not, and read as one text."""

import importlib
import json
import multiprocessing
import random
import sys
import time

import numpy as np
import pytest

from gpt2lite import data
from gpt2lite.assets import sha256_of
from gpt2lite.checkpoint import ResumeError, locked
from gpt2lite.data import DataError, Shards
from gpt2lite.prepare import SOURCES, find_files, prepare
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

WORDS = "to be or not that is the question whether nobler mind suffer naïve 漢".split()


def texts(n, seed=0):
    """Return n different documents; some are long, one is empty."""
    draw = random.Random(seed)
    lines = [f"{i}. " + " ".join(draw.choices(WORDS, k=draw.randint(3, 60))) for i in range(n)]
    return ["", *lines[1:]]


def write(path, documents):
    """Write documents as rows of a .jsonl or .parquet file, beside another column."""
    rows = [{"id": i, "text": text} for i, text in enumerate(documents)]
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=50)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def documents(folder, names="*.npy"):
    """Return what shards hold, document by document, read as build-nanogpt reads them."""
    found = []
    for path in sorted(folder.glob(names)):
        tokens = np.load(path)
        assert tokens.dtype == np.uint16 and tokens.ndim == 1
        assert tokens[0] == END_OF_TEXT, "a shard begins within a document"
        starts = [*np.flatnonzero(tokens == END_OF_TEXT), len(tokens)]
        pieces = (tokens[a + 1 : b] for a, b in zip(starts, starts[1:], strict=False))
        found += [get_tokenizer().decode(piece.tolist()) for piece in pieces]
    return found


def contents(folder):
    """Return all that a folder holds but the place to go on from, which can be said in two ways."""
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json", ""}, "something is left"
    shards = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    return shards | {"manifest": json.loads((folder / "manifest.json").read_text())["shards"]}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_every_document_is_in_one_shard_after_an_end_of_text(tmp_path, suffix):
    written = texts(3000)  # more than are read at a time
    for number in range(3):
        write(tmp_path / f"part{number}.{suffix}", written[number::3])
    folder = tmp_path / "shards"
    records = list(prepare(f"{tmp_path}/part*.{suffix}", folder, shard_tokens=20_000))
    assert sorted(documents(folder)) == sorted(written), "a document is lost, cut or there twice"
    assert [r["split"] for r in records] == ["val"] + ["train"] * (len(records) - 1)
    assert all(r["tokens"] >= 20_000 for r in records[:-1])
    assert sum(r["documents"] for r in records) == 3000
    assert sum(r["bytes"] for r in records) == sum(len(text.encode()) for text in written)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [s["sha256"] for s in manifest["shards"]] == [
        sha256_of(folder / r["name"]) for r in records
    ]


def test_files_and_documents_come_in_an_order_that_the_seed_decides(tmp_path):
    written = texts(200)
    for number in range(4):
        write(tmp_path / f"part{number}.jsonl", written[number * 50 :][:50])
    orders = []
    for place, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(place)
        list(prepare(f"{tmp_path}/*.jsonl", folder, shard_tokens=4_000, seed=seed))
        orders.append(documents(folder))
    assert orders[0] == orders[1] != orders[2]
    first, _, other = ({*documents(tmp_path / f"{i}", "val*.npy")} for i in range(3))
    assert first != other, "the files come in one order, whatever the seed"
    for seed in (1, 2):
        list(
            prepare(
                str(tmp_path / "part0.jsonl"), tmp_path / f"a{seed}", shard_tokens=800, seed=seed
            )
        )
    one, two = (documents(tmp_path / f"a{seed}", "val*.npy") for seed in (1, 2))
    assert sorted(one) == sorted(two) and one != two, "its documents do, whatever the seed"
    first = [written.index(text) for text in orders[0][:30]]
    assert first != sorted(first), "a shard's documents stand in the files' order"


def test_threads_change_nothing(tmp_path):
    source = write(tmp_path / "my.jsonl", texts(500))
    for workers in (1, 4):
        list(prepare(source, tmp_path / str(workers), shard_tokens=5_000, workers=workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "4")


def test_a_budget_ends_the_work_and_a_larger_one_goes_on(tmp_path):
    source, folder = write(tmp_path / "my.jsonl", texts(2000)), tmp_path / "shards"
    records = list(prepare(source, folder, shard_tokens=5_000, max_tokens=12_000))
    done = sum(r["tokens"] for r in records)
    assert 12_000 <= done < 12_100, "it ends with the document that reaches the budget"
    assert list(prepare(source, folder, shard_tokens=5_000, max_tokens=12_000)) == []
    list(prepare(source, folder, shard_tokens=5_000))
    assert sorted(documents(folder)) == sorted(texts(2000))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_left_after_any_shard_it_goes_on_as_if_it_had_not_stopped(tmp_path, suffix):
    source = write(tmp_path / f"my.{suffix}", texts(2500))
    list(prepare(source, tmp_path / "whole", shard_tokens=9_000))
    for _ in range(50):
        steps = prepare(source, tmp_path / "parts", shard_tokens=9_000)
        if next(steps, None) is None:
            break
        steps.close()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def work(source, folder):
    list(prepare(source, folder, shard_tokens=4_000))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.long)])
def test_killed_again_and_again_it_loses_and_repeats_no_document(tmp_path, times):
    source = write(tmp_path / "my.parquet", texts(2000 + 600 * times))
    context = multiprocessing.get_context("forkserver")  # imports once, forks from there
    context.set_forkserver_preload(["gpt2lite.prepare", "datasets"])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    draw, kills = random.Random(0), 0
    for folder, moments in ((whole, []), (parts, [draw.uniform(0, 0.05) for _ in range(times)])):
        for moment in [*moments, None]:
            process = context.Process(target=work, args=(source, folder))
            process.start()
            if moment is not None:
                before = len(list(folder.glob("*.npy")))
                while len(list(folder.glob("*.npy"))) == before and process.is_alive():
                    time.sleep(0.001)
                time.sleep(moment)
                process.kill()
            process.join()
            kills += process.exitcode == -9
    assert process.exitcode == 0 and kills == times, (
        "it was over before it was killed: longer texts"
    )
    assert contents(parts) == contents(whole)


def test_shards_are_read_as_one_sequence(tmp_path):
    source, folder = write(tmp_path / "my.jsonl", texts(400)), tmp_path / "shards"
    list(prepare(source, folder, shard_tokens=3_000))
    shards = Shards(folder)
    whole = np.concatenate([np.load(path) for path in sorted(folder.glob("train*.npy"))])
    assert len(shards) == len(whole) and shards.max() == whole.max()
    seam = len(np.load(folder / "train_000001.npy"))
    for start, stop in (
        (seam, seam + 5),
        (0, seam),
        (0, seam + 1),
        (0, 10),
        (2_990, 3_200),
        (0, len(whole)),
        (5, 5),
        (len(whole) - 1, None),
    ):
        assert np.array_equal(shards[start:stop], whole[start:stop]), f"{start} to {stop}"
    assert np.array_equal(Shards(folder, "val")[0:], np.load(folder / "val_000000.npy"))
    x, y = next(data.Batches(shards, 4, 900))  # across a seam
    assert np.array_equal(y.flatten(), whole[1 : 4 * 900 + 1])
    assert data.fingerprint(shards) == shards.sha256, "all is read to tell which tokens these are"
    assert data.fingerprint(shards) != data.fingerprint(Shards(folder, "val"))


def test_what_is_no_folder_of_shards_is_refused(tmp_path):
    with pytest.raises(DataError, match="python -m gpt2lite prepare"):
        Shards(tmp_path)
    source, folder = write(tmp_path / "my.jsonl", texts(400)), tmp_path / "shards"
    list(prepare(source, folder, shard_tokens=3_000))
    data.save_tokens(folder / "train_000001.npy", np.zeros(5, np.uint16))
    again = (lambda: Shards(folder), lambda: list(prepare(source, folder, shard_tokens=3_000)))
    for read in again:
        with pytest.raises(DataError, match="lacks tokens to train on: prepare it once more"):
            read()
    (folder / "train_000001.npy").unlink()
    for read in again:
        with pytest.raises(DataError, match="lacks tokens to train on: prepare it once more"):
            read()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["shards"][1]["sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="holds no shards to read"):
        Shards(folder)


def test_ids_that_only_a_tampered_shard_has_are_refused_when_they_are_read(tmp_path):
    source, folder = write(tmp_path / "my.jsonl", texts(400)), tmp_path / "shards"
    list(prepare(source, folder, shard_tokens=3_000))
    tokens = np.load(folder / "train_000001.npy")
    tokens[100] = 60_000
    data.save_tokens(folder / "train_000001.npy", tokens)
    batches = data.Batches(Shards(folder), 1, 70)
    next(batches)
    with pytest.raises(DataError, match="token id 60000 is outside the vocabulary of 50257"):
        next(batches)


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("nothing.jsonl", {}, "names no file"),
        ("my.txt", {}, "can't be read with the others"),
        ("my.jsonl", {"column": "body"}, "has no column 'body', but id, text"),
        ("my.parquet", {"column": "id"}, "a document is 0, no text: .* another column"),
        ("damaged.jsonl", {}, "cannot read on"),
        ("empty.jsonl", {}, r"cannot read on \(an empty file\)"),
        ("damaged.parquet", {}, "cannot read on"),
        ("my.jsonl", {"shard_tokens": 0}, "shard_tokens must be at least 1, not 0"),
        ("my.jsonl", {"workers": 0}, "workers must be at least 1, not 0"),
        ("my.jsonl", {"seed": -1}, "seed must be at least 0, not -1"),
        ("my.jsonl", {"shard_tokens": 10**6}, "all went into shard 0"),
        ("my.jsonl", {"max_tokens": 10}, "leaves nothing to train on"),
        ("null.jsonl", {"shard_tokens": 20}, "a document is None, no text"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_advice(tmp_path, name, options, says):
    for suffix in ("jsonl", "parquet"):
        write(tmp_path / f"my.{suffix}", texts(50)[1:])
    (tmp_path / "my.txt").write_text("To be")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "damaged.parquet").write_text("PAR1")
    (tmp_path / "damaged.jsonl").write_text('{"text": "To be"}\n{"text": "or no')
    write(tmp_path / "null.jsonl", ["To be", "or not", None])
    with pytest.raises(DataError, match=says):
        list(prepare(str(tmp_path / name), tmp_path / "shards", **{"shard_tokens": 100} | options))


def test_a_folder_begun_otherwise_or_held_by_another_is_refused(tmp_path):
    source, folder = write(tmp_path / "my.jsonl", texts(300)), tmp_path / "shards"
    list(prepare(source, folder, shard_tokens=3_000))
    with pytest.raises(ResumeError, match="shard_tokens=3000, not 4000"):
        list(prepare(source, folder, shard_tokens=4_000))
    with locked(folder), pytest.raises(ResumeError, match="another run"):
        list(prepare(source, folder, shard_tokens=3_000))
    for other in ("{", "[]", '{"begun": {}, "place": null}'):
        (folder / "manifest.json").write_text(other)
        with pytest.raises(ResumeError, match="can't be read"):
            list(prepare(source, folder, shard_tokens=3_000))
    (folder / "manifest.json").unlink()
    before = (folder / "val_000000.npy").read_bytes()
    with pytest.raises(ResumeError, match="holds other token files"):
        list(prepare(source, folder, shard_tokens=4_000))
    assert (folder / "val_000000.npy").read_bytes() == before, "others' tokens are written over"


@pytest.mark.parametrize("change", ["one more first", "first one gone", "cut off", "others"])
def test_a_source_that_has_changed_is_not_gone_on_with(tmp_path, monkeypatch, change):
    monkeypatch.setattr(importlib.import_module("gpt2lite.prepare"), "BATCH", 50)
    whole, folder = texts(300), tmp_path / "shards"
    source = write(tmp_path / "my.jsonl", whole)
    list(prepare(source, folder, shard_tokens=1_000, max_tokens=4_000))
    after = {"one more first": ["new", *whole], "first one gone": whole[1:], "cut off": whole[:9]}
    write(tmp_path / "my.jsonl", after.get(change, texts(300, seed=1)))
    with pytest.raises(ResumeError, match="the source has changed"):
        list(prepare(source, folder, shard_tokens=1_000))
    write(tmp_path / "my.jsonl", [*whole, "and one more at its end"])
    list(prepare(source, folder, shard_tokens=1_000))
    assert sorted(documents(folder)) == sorted([*whole, "and one more at its end"])


def test_a_network_that_goes_is_said_and_whole_shards_stay(tmp_path, monkeypatch):
    class Rows:
        state_dict = dict

        def __iter__(self):
            yield from ({"text": text} for text in texts(40))
            raise ConnectionError("no route")

    module = importlib.import_module("gpt2lite.prepare")
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "_rows", lambda *_: Rows())
    with pytest.raises(DataError, match=r"cannot read on \(no route\): .* the last whole shard"):
        list(prepare(write(tmp_path / "my.jsonl", []), tmp_path / "shards", shard_tokens=200))
    assert 0 < len(found := documents(tmp_path / "shards")) and {*found} <= {*texts(40)}


def test_stopped_before_its_first_shard_is_whole_it_begins_again(tmp_path, monkeypatch):
    source, folder = write(tmp_path / "my [1].jsonl", texts(300)), tmp_path / "shards"

    def stop(*_):
        raise KeyboardInterrupt

    for step in ("_write_shard", "sha256_of"):  # before it is written, and before it is noted
        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module("gpt2lite.prepare"), step, stop)
            with pytest.raises(KeyboardInterrupt):
                list(prepare(source, folder, shard_tokens=4_000))
    list(prepare(source, folder, shard_tokens=3_000))
    assert sorted(documents(folder)) == sorted(texts(300))


def test_an_address_is_listed_and_read_like_a_path(tmp_path):
    written = texts(300)
    for number in range(2):
        write(tmp_path / f"part{number}.parquet", written[number::2])
    address = f"file://{tmp_path}/*.parquet"
    assert [file.split("/")[-1] for file in find_files(address)] == [
        "part0.parquet",
        "part1.parquet",
    ]
    list(prepare(address, tmp_path / "shards", shard_tokens=3_000))
    assert sorted(documents(tmp_path / "shards")) == sorted(written)
    assert SOURCES["fineweb-edu"].startswith("hf://datasets/HuggingFaceFW/fineweb-edu/")
