"""From text to batches: y is x moved by one, positions can be saved, bad tokens are refused."""

import itertools
import json

import numpy as np
import pytest
import torch

from gpt2lite import data

TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint16)


def test_y_is_x_moved_by_one_and_batches_read_on():
    batches = data.Batches(np.arange(100, dtype=np.uint16), 2, 5)
    x, y = next(batches)
    assert x.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert torch.equal(y, x + 1), "y must be the token after x's"
    assert next(batches)[0][0, 0] == 10, "the second batch must go on where the first ended"


def test_random_sequences_begin_at_each_place_and_follow_the_seed():
    tokens = np.arange(9, dtype=np.uint16)  # T + 2: exactly the starts 0 and 1
    pairs = itertools.islice(data.Batches(tokens, 1, 7, "random"), 50)
    starts = {(int(x[0, 0]), int(y[0, -1])) for x, y in pairs}
    assert starts == {(0, 7), (1, 8)}, "a place is never a start, or one past the end is"
    x, y = next(data.Batches(TOKENS, 4, 6, "random"))
    assert torch.equal(x[:, 1:], y[:, :-1]), "y must be x moved by one"
    draws = [next(data.Batches(TOKENS, 4, 6, "random", seed=s))[0].tolist() for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2], "the seed decides where sequences begin"
    assert len({*map(tuple, draws[0])}) > 1, "each sequence of a batch has a start of its own"


def test_batches_are_int64_of_the_shape_asked_for():
    for order in ("sequential", "random"):
        x, y = next(data.Batches(TOKENS, 3, 5, order))
        assert x.shape == y.shape == (3, 5) and x.dtype == y.dtype == torch.int64


def test_as_few_tokens_as_one_batch_needs_are_enough():
    assert next(data.Batches(TOKENS[:11], 2, 5))[1][-1, -1] == TOKENS[10]
    assert next(data.Batches(TOKENS[:8], 1, 7))[1].shape == (1, 7)


def test_batches_arrive_on_the_device_asked_for():
    assert next(data.Batches(TOKENS, 2, 5, device="meta"))[1].device.type == "meta"


def test_sequential_batches_start_over_before_the_end_is_passed():
    firsts = [int(x[0, 0]) for x, _ in itertools.islice(data.Batches(TOKENS * 0 + 1, 2, 5), 200)]
    assert len(firsts) == 200
    batches = data.Batches(np.arange(21, dtype=np.uint16), 2, 5)
    assert [int(next(batches)[0][0, 0]) for _ in range(4)] == [0, 10, 0, 10]


@pytest.mark.parametrize("order", ["sequential", "random"])
def test_batches_go_on_from_a_saved_position(order):
    batches = data.Batches(TOKENS, 2, 5, order, seed=3)
    next(batches)
    state = json.loads(json.dumps(batches.state_dict()))
    expected = [next(batches)[0] for _ in range(3)]
    fresh = data.Batches(TOKENS, 2, 5, order)
    fresh.load_state_dict(state)
    assert all(torch.equal(next(fresh)[0], x) for x in expected)
    assert json.loads(json.dumps(batches.state_dict())) != state, "the state does not move on"


@pytest.mark.parametrize("position", [-1, 1001])
def test_a_position_outside_the_text_is_refused(position):
    batches = data.Batches(TOKENS, 2, 5)
    state = batches.state_dict() | {"position": position}
    with pytest.raises(data.DataError, match=f"position {position} is outside the 1,000 tokens"):
        batches.load_state_dict(state)
    batches.load_state_dict(state | {"position": 1000})  # where the last batch may end


def test_bad_tokens_are_refused(tmp_path):
    with pytest.raises(data.DataError, match="too few"):
        data.Batches(TOKENS[:10], 2, 5)
    with pytest.raises(data.DataError, match="outside the vocabulary of 40"):
        data.Batches(TOKENS, 2, 5, vocab_size=40)
    edge = np.full(20, 50257, dtype=np.uint16)
    with pytest.raises(data.DataError, match="id 50257 is outside the vocabulary of 50257"):
        data.Batches(edge, 2, 5)  # ids end at vocab_size - 1
    data.Batches(edge - 1, 2, 5)
    with pytest.raises(data.DataError, match=r"shape \(10, 100\), not \(n,\)"):
        data.Batches(TOKENS.reshape(10, 100), 2, 5)
    for B, T in ((0, 5), (-1, 5), (2, 0)):
        with pytest.raises(ValueError, match=f"B={B} and T={T} must be at least 1"):
            data.Batches(TOKENS, B, T)
    with pytest.raises(ValueError, match="order"):
        data.Batches(TOKENS, 2, 5, order="shuffled")
    np.save(tmp_path / "wide.npy", TOKENS.astype(np.int64))
    with pytest.raises(data.DataError, match="int64"):
        data.load_tokens(tmp_path / "wide.npy")
    np.save(tmp_path / "square.npy", TOKENS.reshape(10, 100))
    with pytest.raises(data.DataError, match=r"square.npy: uint16 of shape \(10, 100\)"):
        data.load_tokens(tmp_path / "square.npy")
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("code.npy", "nowhere.npy"):
        with pytest.raises(data.DataError, match=f"{name} is no token file"):
            data.load_tokens(tmp_path / name)
    (tmp_path / "text.npy").write_text("To be, or not to be")
    with pytest.raises(data.DataError, match="no token file"):
        data.load_tokens(tmp_path / "text.npy")


def test_a_token_file_comes_back_as_it_was(tmp_path):
    ids = data.encode("Hello World ! I'm LLM")
    data.save_tokens(tmp_path / "a.npy", ids)
    loaded = data.load_tokens(tmp_path / "a.npy")
    assert isinstance(loaded, np.memmap) and loaded.tolist() == ids.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]
    assert loaded.dtype == ids.dtype == np.uint16


def test_a_mark_in_a_text_stays_text():
    ids = data.encode("one<|endoftext|>two")
    assert data.encode("é").tolist() == [2634] and 50256 not in ids, "a text can end a document"


def test_a_token_file_is_whole_or_the_one_before_it(tmp_path, monkeypatch):
    path, replace = tmp_path / "a.npy", data.os.replace
    data.save_tokens(path, TOKENS[:5])
    for wrong in (TOKENS.astype(np.int64), TOKENS.reshape(10, 100)):
        with pytest.raises(data.DataError, match="these tokens: .* encode them"):
            data.save_tokens(path, wrong)

    def full(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        monkeypatch.setattr(data.os, step, full)
        with pytest.raises(data.DataError, match="cannot write .*a.npy .No space left.*make room"):
            data.save_tokens(path, TOKENS)
        monkeypatch.undo()
        assert data.load_tokens(path).tolist() == TOKENS[:5].tolist(), "written in place"
        assert [p.name for p in tmp_path.iterdir()] == ["a.npy"], "half a file was left"
    partials = []

    def renamed(old, new):
        assert np.load(old).tolist() == TOKENS.tolist(), "renamed before it was whole"
        partials.append(old)
        replace(old, new)

    monkeypatch.setattr(data.os, "replace", renamed)
    for _ in range(2):
        data.save_tokens(path, TOKENS)
    assert len({*partials}) == 2, "two processes would write one partial file"


def test_the_text_is_split_at_its_end():
    unseen = {0.1: 100, 0.25: 250, 0.0: 0, 0.9999: 999}
    for share, n in unseen.items():
        train, val = data.split(TOKENS, share)
        assert (len(train), len(val)) == (1000 - n, n)
        assert np.array_equal(np.concatenate([train, val]), TOKENS), "the end is to validate on"
    assert len(data.split(TOKENS)[1]) == 100
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(data.DataError, match=f"val_fraction={share} is no share"):
            data.split(TOKENS, share)


def test_a_fingerprint_names_the_tokens_and_nothing_else(tmp_path, monkeypatch):
    known = "ad5dc1478de06a4c2728ea528bd9361a4b945e92a414bf4d180cedaaeaa5f4cc"
    assert data.fingerprint(np.arange(3)) == known, "checkpoints keep it: it may not change"
    data.save_tokens(tmp_path / "a.npy", TOKENS)
    print_of = data.fingerprint(TOKENS)
    monkeypatch.setattr(data, "CHUNK", 27)  # so that the last chunk is one token
    same = [TOKENS, TOKENS.astype(np.int64), TOKENS.astype(">u2"), TOKENS.tolist()]
    same += [data.load_tokens(tmp_path / "a.npy"), np.repeat(TOKENS, 2)[::2]]
    assert {data.fingerprint(t) for t in same} == {print_of}
    for place in (0, 500, 999):
        other = TOKENS.copy()
        other[place] += 1
        assert data.fingerprint(other) != print_of, f"token {place} does not count"
    assert data.fingerprint(TOKENS[:-1]) != print_of != data.fingerprint(TOKENS[::-1])
