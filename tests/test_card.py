"""A model card tells what the run knows, the hub can read it, and the reader's own stays."""

import math

import pytest
import torch
from huggingface_hub import ModelCard

from gpt2lite import GPT, GPTConfig, card, log
from gpt2lite.assets import AssetError

MODEL = {"block_size": 12, "vocab_size": 61, "n_layer": 2, "n_head": 2, "n_embd": 16}
TRAINING = {"steps": 300, "batch_size": 4, "seq_len": 6, "grad_accum_steps": 2, "lr": 0.01}
BEGUN = {"tokens": "86c4", "n_tokens": 5_000, "val_fraction": 0.1, "init_from": None}
BEST = {"step": 199, "loss": 3.25, "validation": 4.5}
LAST = {"step": 299, "loss": 2.125, "validation": 4.75}


def written(exported=BEST, last=LAST, **begun) -> str:
    """Return the card of a run that is described above."""
    command, device = "python -m gpt2lite train --text my.txt", torch.device("cpu")
    head = log.header(command, "my.txt", device, torch.bfloat16, MODEL, TRAINING)
    return card.model_card("mine", head, BEGUN | begun, exported, last)


def test_the_hub_reads_its_first_lines():
    data = ModelCard(written()).data.to_dict()
    assert data == {
        "license": "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2"],
    }


def test_it_tells_what_was_trained_on_what_and_what_came_out():
    for told in (
        "# mine\n",
        f"{sum(p.numel() for p in GPT(GPTConfig(**MODEL)).parameters()):,} parameters",
        "validation loss 4.500, training loss 3.250 after 200 steps; at the end validation loss "
        "4.750, training loss 2.125 after 300 steps\n",
        "my.txt: 5,000 tokens, the last 500 of them for validation only; fingerprint",
        " 86c4\n",
        "**Training**: 300 steps of 48 tokens, 3.20 times through the text\n",
        "steps=300, batch_size=4",
        "block_size=12, vocab_size=61",
        f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, bfloat16\n",
        "```\npython -m gpt2lite train --text my.txt\n```\n",
    ):
        assert told in written(), told


def test_it_leaves_out_what_was_not_measured():
    last = LAST | {"validation": math.nan}
    told = written(last, last, val_fraction=0.0, init_from="gpt2")
    assert "**Result**: training loss 2.125 after 300 steps\n" in told
    assert "5,000 tokens, all for training;" in told
    assert "**Training**: on from gpt2, 300 steps" in told


def test_the_next_export_writes_it_anew_unless_the_reader_has_made_it_theirs(tmp_path, capsys):
    for text in ("first", "second"):
        card.save_card(tmp_path / "out", f"{card.OURS} {text}")
    path = tmp_path / "out" / "README.md"
    assert path.read_text() == f"{card.OURS} second"
    assert [p.name for p in path.parent.iterdir()] == ["README.md"]
    path.write_text("# My model")
    card.save_card(tmp_path / "out", written())
    assert path.read_text() == "# My model"
    assert f"{path} is your own and stays" in capsys.readouterr().out
    assert card.OURS in written()


def test_a_full_disk_leaves_the_earlier_card_whole(tmp_path, monkeypatch):
    card.save_card(tmp_path, written())
    before = (tmp_path / "README.md").read_bytes()

    def full(path, text, encoding):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(card.Path, "write_text", full)
    with pytest.raises(AssetError, match="cannot write .*README.md .*No space left.* make room"):
        card.save_card(tmp_path, written(LAST))
    assert (tmp_path / "README.md").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
