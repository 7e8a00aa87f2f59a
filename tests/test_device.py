"""What must hold on the device that this machine has: the CPU, a GPU, or the stand-in for a T4."""

import numpy as np
import torch
from helpers import random_ids, tiny_gpt

from gpt2lite import GPTConfig, __main__, checkpoint, data
from gpt2lite.config import SIZES, TrainConfig
from gpt2lite.evaluation import validation_loss
from gpt2lite.loss import plain_cross_entropy
from gpt2lite.precision import Precision, pick
from gpt2lite.sampling import generate
from gpt2lite.training import Trainer

HERE = pick()
TOKENS = np.random.default_rng(0).integers(0, 61, 1000).astype(np.uint16)
FP32 = Precision(torch.device("cpu"), torch.float32, False, "to compare with")


def trainer(where: Precision, dropout=0.0) -> Trainer:
    """Return a run of a tiny model, the same each time it is made."""
    torch.manual_seed(0)
    config = TrainConfig(steps=8, batch_size=4, seq_len=6, grad_accum_steps=2, grad_clip=1.0)
    model = tiny_gpt(dropout=dropout).to(where.device)
    batches = data.Batches(TOKENS, 4, 6, "random", vocab_size=61, device=where.device)
    return Trainer(model, batches, config, where)


def test_logits_and_validation_are_the_cpus():
    model, idx = tiny_gpt(), random_ids(tiny_gpt().config, 3, 12)
    logits, loss = model(idx), validation_loss(model, TOKENS, 4, 12)
    model.to(HERE.device)
    here = model(idx.to(HERE.device))
    assert here.device.type == HERE.device.type
    torch.testing.assert_close(here.cpu(), logits, rtol=0, atol=1e-4)
    assert abs(validation_loss(model, TOKENS, 4, 12) - loss) < 1e-4


def test_training_in_this_devices_format_has_the_losses_of_fp32_on_the_cpu():
    records, exact = list(trainer(HERE)), list(trainer(FP32))
    for here, there in zip(records, exact, strict=True):
        assert abs(here["loss"] - there["loss"]) < 0.02
        assert abs(here["grad_norm"] / there["grad_norm"] - 1) < 0.05, "is the norm a scaled one?"
    assert (records[0]["scale"] > 1) == HERE.scaler
    assert (records[-1]["memory"] > 0) == (HERE.device.type == "cuda")


def test_a_gpu_compiles_the_loss_too_and_computes_the_same(monkeypatch):
    compiled, expected = [], [record["loss"] for record in trainer(HERE)]
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or (lambda *a: f(*a)))
    run = trainer(HERE)
    run.compile()
    assert compiled[1:] == [plain_cross_entropy] * (HERE.device.type == "cuda")
    for record, loss in zip(run, expected, strict=True):
        assert abs(record["loss"] - loss) < 1e-3


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    whole = [record["loss"] for record in trainer(HERE, dropout=0.2)]
    first, second = trainer(HERE, dropout=0.2), trainer(HERE, dropout=0.2)
    losses = [first.step()["loss"] for _ in range(4)]
    checkpoint.save(tmp_path, 4, first.state_dict())
    torch.manual_seed(5)  # the checkpoint must bring its own random numbers back
    second.load_state_dict(checkpoint.load(tmp_path))
    losses += [record["loss"] for record in second]
    assert losses == whole


def test_the_same_seed_samples_the_same_and_the_cache_changes_nothing():
    model, idx = tiny_gpt().to(HERE.device), random_ids(tiny_gpt().config, 3, 4).to(HERE.device)

    def draw(seed, **options):
        seeded = torch.Generator(HERE.device).manual_seed(seed)
        return generate(model, idx, 8, generator=seeded, top_k=9, top_p=0.9, **options)

    rows = draw(1)
    assert rows.device == idx.device
    assert torch.equal(rows, draw(1)) and torch.equal(rows, draw(1, use_cache=False))
    assert not torch.equal(rows, draw(2))


def test_a_whole_run_from_the_command_line(tmp_path, monkeypatch, capsys):
    size = GPTConfig(block_size=16, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.setitem(SIZES, "lite", size)
    text, model = tmp_path / "text.txt", str(tmp_path / "model")
    text.write_text("To be, or not to be, that is the question. " * 40, encoding="utf-8")
    run = ["train", "--model", "lite", "--text", str(text), "--seq-len", "16", "--steps", "4"]
    run += ["--val-fraction", "0.2", "--export", model]
    sample = ["sample", "--model", model, "--prompt", "To be", "--max-new-tokens", "4"]
    assert __main__.main(run) == __main__.main(sample) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "done: 4 steps" in said and "To be" in said
