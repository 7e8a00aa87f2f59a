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


def test_bad_tokens_are_refused(tmp_path):
    with pytest.raises(data.DataError, match="too few"):
        data.Batches(TOKENS[:10], 2, 5)
    with pytest.raises(data.DataError, match="outside the vocabulary of 40"):
        data.Batches(TOKENS, 2, 5, vocab_size=40)
    with pytest.raises(ValueError, match="order"):
        data.Batches(TOKENS, 2, 5, order="shuffled")
    np.save(tmp_path / "wide.npy", TOKENS.astype(np.int64))
    with pytest.raises(data.DataError, match="int64"):
        data.load_tokens(tmp_path / "wide.npy")
    (tmp_path / "text.npy").write_text("To be, or not to be")
    with pytest.raises(data.DataError, match="no token file"):
        data.load_tokens(tmp_path / "text.npy")


def test_a_token_file_comes_back_as_it_was(tmp_path):
    ids = data.encode("Hello World ! I'm LLM")
    data.save_tokens(tmp_path / "a.npy", ids)
    loaded = data.load_tokens(tmp_path / "a.npy")
    assert isinstance(loaded, np.memmap) and loaded.tolist() == ids.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]
