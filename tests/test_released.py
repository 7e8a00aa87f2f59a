"""What notebook 02 opens: the course's weights where the hub is out of reach, and their table."""

import pytest
import torch

from gpt2lite import GPT
from gpt2lite.course import released
from gpt2lite.course.exercises import PARTS
from gpt2lite.hub import CheckpointError


def test_the_courses_weights_step_in_saved_as_gpt2_was_released(monkeypatch, capsys):
    def out_of_reach(repository, revision):
        raise CheckpointError(f"can't fetch config.json of {repository} (no route to host)")

    monkeypatch.setattr(released, "fetch_repository", out_of_reach)
    folder, whose = released.open_checkpoint("gpt2")
    said = capsys.readouterr().out
    assert said == "○ can't fetch config.json of openai-community/gpt2\n"
    assert whose == "the course's own weights"
    assert {"config.json", "model.safetensors"} <= {file.name for file in folder.iterdir()}
    ours = GPT.from_pretrained("gpt2lite-plays").state_dict()
    again = GPT.from_pretrained(folder).state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    assert released.open_checkpoint("gpt2lite-plays") == (folder, whose)


def test_the_hubs_weights_are_openais(monkeypatch, tmp_path):
    monkeypatch.setattr(released, "fetch_repository", lambda repository, _: tmp_path / repository)
    where = tmp_path / "openai-community/gpt2-xl"
    assert released.open_checkpoint("gpt2-xl") == (where, "OpenAI's weights")


def test_another_name_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="called 'gpt3': choose one of gpt2, .*gpt2lite-plays"):
        released.open_checkpoint("gpt3")


def test_the_table_shows_block_0_and_what_is_transposed():
    header = {
        "transformer.h.0.mlp.c_fc.weight": {"shape": [4, 16]},
        "transformer.h.1.mlp.c_fc.weight": {"shape": [4, 16]},
        "transformer.h.10.mlp.c_fc.weight": {"shape": [4, 16]},
        "h.0.attn.bias": {"shape": [1, 1, 9, 9]},
        "wte.weight": {"shape": [13, 4]},
    }
    shapes = {"h.0.mlp.c_fc.weight": (16, 4), "wte.weight": (13, 4)}
    table = released.names_table(header, PARTS["02_names"].solution, shapes)
    _, fc, mask, wte = (line.split() for line in table.splitlines())
    assert fc[-1] == "transposed" and fc[-3:-1] == ["(16,", "4)"], "its own shape, and the note"
    assert mask[-1] == "–", "a mask has no partner"
    assert wte[0] == wte[3] == "wte.weight" and "transposed" not in wte
