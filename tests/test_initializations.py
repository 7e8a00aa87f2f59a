"""The recorded comparison: each initialization is what its name says, and the runs are paired."""

import dataclasses

import numpy as np
import pytest
import torch

from gpt2lite import GPT, GPTConfig
from gpt2lite.course import initializations
from gpt2lite.course.exercises import PARTS
from gpt2lite.course.initializations import INITIALIZATIONS, TRAINED, own_vocabulary
from gpt2lite.course.records import recorded
from gpt2lite.data import encode
from gpt2lite.log import read_log

SMALL = GPTConfig(block_size=256, vocab_size=500, n_layer=3, n_head=2, n_embd=128)
LINEAR = (3 * 128) ** -0.5  # of nn.Linear with C = 128 inputs
EXPECTED = {  # wte, wpe, attn.c_proj
    "GPT-2": (0.02, 0.01, 0.02 / 6**0.5),
    "GPT-2, no factor": (0.02, 0.01, 0.02),
    "GPT-2, wpe at 0.02": (0.02, 0.02, 0.02 / 6**0.5),
    "PyTorch, linear": (LINEAR, 1.0, LINEAR),
    "linear, wpe at 0.01": (LINEAR, 0.01, LINEAR),
    "PyTorch, embedding": (1.0, 1.0, LINEAR),
}


def test_each_initialization_is_what_its_name_says():
    assert EXPECTED.keys() == INITIALIZATIONS.keys()
    for name, expected in EXPECTED.items():
        torch.manual_seed(0)
        model = GPT(SMALL)
        INITIALIZATIONS[name](model)
        drawn = model.wte.weight, model.wpe.weight, model.h[1].attn.c_proj.weight
        assert [p.std().item() for p in drawn] == pytest.approx(expected, rel=0.03), name


def test_the_texts_own_vocabulary_keeps_its_order():
    text = "to be or not to be, to be"
    ids, V = own_vocabulary(text)
    known = np.unique(encode(text))
    assert V == len(known) and (known[ids] == encode(text)).all()


@pytest.mark.parametrize("size", initializations.MODELS)
def test_the_record_has_a_line_for_each_seed_on_the_same_batches(size, monkeypatch, tmp_path):
    read, vocabularies = [], set()

    class Reading(initializations.Batches):
        def __init__(self, ids, B, T, order, seed, vocab_size, device):
            vocabularies.add(vocab_size)
            super().__init__(ids, B, T, order, seed, vocab_size, device)

        def __next__(self):
            x, y = super().__next__()
            read.append(x.cpu())
            return x, y

    config, recipe = initializations.MODELS[size], initializations.RECIPES[size]
    assert config.n_layer == 12 and recipe.seq_len <= config.block_size
    short = dataclasses.replace(recipe, steps=2, batch_size=2, seq_len=4)
    little = dataclasses.replace(config, n_layer=1, n_head=1, n_embd=8)
    monkeypatch.setitem(initializations.RECIPES, size, short)
    monkeypatch.setitem(initializations.MODELS, size, little)
    for name, value in {
        "Batches": Reading,
        "SEEDS": (1, 2),
        "load_text": lambda name: "to be or not to be, that is the question: " * 9,
    }.items():
        monkeypatch.setattr(initializations, name, value)
    initializations.main(tmp_path / "log", size)
    head, lines = read_log(tmp_path / "log")
    assert head["command"].endswith("log" if size == "small" else "log gpt2")
    assert head["training"]["steps"] == 2 and [line["seed"] for line in lines] == [1, 2]
    assert all(list(line) == ["seed", *TRAINED] for line in lines)
    assert all(len(line[name]) == 2 for line in lines for name in TRAINED)
    assert vocabularies == {head["model"]["vocab_size"]} == {50257 if size == "gpt2" else 12}
    runs = torch.stack(read).unflatten(0, (2, len(TRAINED), -1))  # a batch is fetched ahead
    assert torch.equal(runs, runs[:, :1].expand_as(runs)), "one seed, one order of batches"
    assert not torch.equal(runs[0], runs[1]), "another seed reads other batches"


def test_the_record_at_gpt2s_size_says_what_notebook_03_reads_from_it():
    head, lines = read_log(recorded("initializations_gpt2"))
    assert head["model"]["n_embd"] == 768 and head["training"]["steps"] == 300
    assert [line["seed"] for line in lines] == list(initializations.SEEDS)
    ends = {name: torch.tensor([line[name][-100:] for line in lines]).mean(1) for name in TRAINED}

    def interval(one, other):
        return tuple(round(x, 2) for x in PARTS["03_paired"].solution(ends[one], ends[other], 2.78))

    assert interval("PyTorch, linear", "linear, wpe at 0.01") == (0.94, 0.21)
    assert interval("GPT-2, no factor", "GPT-2") == (-0.08, 0.25)
    assert interval("GPT-2, wpe at 0.02", "GPT-2") == (0.17, 0.28)
    assert interval("linear, wpe at 0.01", "GPT-2") == (0.02, 0.28), "level with GPT-2"
    first = [torch.tensor([line[name][0] for line in lines]).mean().item() for name in TRAINED]
    assert f"{min(first):.2f} to {max(first):.2f}" == "10.98 to 11.00"
