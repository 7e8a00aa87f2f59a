"""`make hub` rehearsed on a stand-in hub: four small models under the names of OpenAI's four.

Their weights are random, so what the script must say of them is: not as published.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, tiny_gpt
from hub_server import PUBLISHED, Hub

from gpt2lite import GPT, CheckpointError
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "hub.py"
SIZES = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]
FINEWEB = "datasets/kjj0/fineweb10B-gpt2", "fineweb_val_000000.bin"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("hub_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WINDOWS = 3
    return module


def shard(n=2049, magic=20240520):
    """Return a token file as llm.c writes it; a wrong id where the file says it has ended."""
    header = np.zeros(256, np.int32)
    header[:3] = magic, 1, n
    ids = np.random.default_rng(0).integers(0, 50257, n).astype(np.uint16)
    return header.tobytes() + ids.tobytes() + b"\xff\xff" * 5000


def test_the_day_the_hub_answers(tmp_path):
    hub, record = Hub(), tmp_path / "new" / "hub.json"
    for layers, repository in enumerate(PUBLISHED, 1):
        if layers <= 2:  # the others later, or never
            size = dict(n_layer=layers, block_size=1024, vocab_size=50257, n_embd=8)
            hub.offer_gpt2(repository, tiny_gpt(**size))
    hub.files[FINEWEB] = shard()

    twice = f"import runpy; run = runpy.run_path({str(SCRIPT)!r})['main']; from pathlib import Path"
    twice += f"\nwhile True: print('exit', run(Path({str(record)!r})), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", twice],
        env=hub.environment(tmp_path),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def said():
        """Return the lines of one run."""
        lines = []
        while not lines or not lines[-1].startswith("exit"):
            line = process.stdout.readline()
            assert line, f"it stopped after {lines}"
            lines.append(line.rstrip())
        assert lines.pop() == "exit 1"
        return lines

    first = said()  # exit 1: random weights contradict what is published
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert list(kept["results"]) == SIZES
    for size in SIZES[:2]:
        results, missing = kept["results"][size], kept["not_done"][size]
        assert results.keys() == {"parameters", "greedy", "samples", "fineweb"}, missing
        assert not results["parameters"]["same"] and results["parameters"]["hardware"]
        assert results["parameters"]["ours"] == GPT_PARAMETERS[size]
        texts = results["samples"]["ours"]
        assert len(texts) == 5 == len(set(texts))
        assert all(text.startswith("Hello World ! I'm LLM") for text in texts)
        assert len(results["greedy"]["ours"]["the_dog"]) == 20
        assert results["fineweb"]["ours"]["tokens"] == 2048
        assert results["fineweb"]["ours"]["loss"] == pytest.approx(10.8, abs=0.5)
        assert "cannot fetch finewebedu_val_000000.bin" in missing["fineweb_edu"]
        assert "cannot download" in missing["tinyshakespeare"]
    assert kept["results"]["gpt2"]["greedy"]["same"] is False
    assert kept["results"]["gpt2-medium"]["greedy"]["same"] is None, "nobody published its text"
    assert kept["results"]["gpt2-xl"] == {}
    assert "no public repository" in kept["not_done"]["gpt2-xl"]["parameters"]
    assert any(line.startswith("✗ not as published: gpt2 ") for line in first)
    assert any(line.startswith("○ gpt2-xl") for line in first)
    assert all(line[0] in "✓○✗" for line in first[:-1]), first

    size = dict(n_layer=4, block_size=1024, vocab_size=50257, n_embd=8)
    hub.offer_gpt2("openai-community/gpt2-xl", tiny_gpt(**size))
    hub.requests.clear()
    process.stdin.write("\n")
    process.stdin.flush()
    said()
    process.kill()
    process.wait()
    again = json.loads(record.read_text(encoding="utf-8"))
    assert again["results"]["gpt2-xl"].keys() >= {"parameters", "greedy", "samples", "fineweb"}
    for size in SIZES[:2]:
        assert again["results"][size] == kept["results"][size], "done once more, or lost"
    weights = {path for method, path in hub.requests if "safetensors" in path}
    assert len(weights) == 1 and "gpt2-xl" in weights.pop(), "what was cached was fetched again"
    hub.stop()


GPT_PARAMETERS = {
    size: 8 * (50257 + 1024) + layers * (12 * 8 * 8 + 13 * 8) + 16
    for layers, size in enumerate(SIZES[:2], 1)
}


def test_a_hub_that_is_away_is_said_and_nothing_is_lost(script, tmp_path, monkeypatch, capsys):
    def away(name):
        raise CheckpointError("can't fetch config.json")

    earlier = {"same": True, "ours": 1}
    record = tmp_path / "hub.json"
    record.write_text(json.dumps({"results": {"gpt2": {"parameters": earlier}}}))
    monkeypatch.setattr(GPT, "from_pretrained", away)
    assert script.main(record) == 0
    kept = json.loads(record.read_text())
    assert kept["results"]["gpt2"] == {"parameters": earlier}
    assert kept["not_done"]["gpt2"].keys() == script.tasks_of("gpt2").keys() - {"parameters"}
    assert "overfit" not in kept["not_done"]["gpt2-xl"]
    assert "1 results, 1 as published, 0 not; 24 not done" in capsys.readouterr().out


def test_a_size_that_does_not_fit_is_left_out(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "memory", lambda: 4e9)
    asked = []
    monkeypatch.setattr(script, "measure", lambda size, *rest: asked.append(size))
    script.main(tmp_path / "hub.json")
    assert set(asked) == set(SIZES[:3])
    kept = json.loads((tmp_path / "hub.json").read_text())
    assert "6.2 GB of weights don't fit" in kept["not_done"]["gpt2-xl"]["samples"]


def test_the_published_values_agree_with_each_other(script):
    encode = get_tokenizer().encode_ordinary
    assert script.THE_DOG == encode(script.GREEDY["The dog"])
    for prompt, whole in script.GREEDY.items():
        assert encode(whole)[: len(encode(prompt))] == encode(prompt)
    assert all(len(losses) == 10 for losses in script.OVERFIT.values())


def test_the_greedy_ids_are_compared(script, monkeypatch):
    """With a generator that knows the published texts, and then with one that errs in one token."""
    encode = get_tokenizer().encode_ordinary
    texts = {tuple(encode(prompt)): encode(whole) for prompt, whole in script.GREEDY.items()}

    def recite(model, idx, new, temperature):
        assert temperature == 0
        ids = texts[tuple(idx[0].tolist())][: idx.size(1) + new]
        return torch.tensor([ids])

    monkeypatch.setattr(script, "generate", recite)
    assert script.greedy("gpt2", None)["same"] is True
    assert script.greedy("gpt2-xl", None)["same"] is None
    texts[tuple(encode("The dog"))][-2] += 1
    assert script.greedy("gpt2", None)["same"] is False


def test_llm_c_s_batch_begins_each_paragraph_with_an_end_of_text(script):
    encode = get_tokenizer().encode_ordinary
    x, y = script.llm_c_batch("One:\nto be\n\nTwo:\nor not\n\nThree:\n" + "x " * 30, 2, 8)
    ids = [END_OF_TEXT, *encode("One:\nto be\n\n"), END_OF_TEXT, *encode("Two:\nor not\n\n")]
    ids += [END_OF_TEXT, *encode("Three:\n" + "x " * 30)]
    assert x.flatten().tolist() == ids[:16] and y.flatten().tolist() == ids[1:17]


@pytest.mark.parametrize("settings", [((0.9, 0.999), 0.01), ((0.5, 0.6), 100.0)])
def test_ten_losses_are_those_of_adamw_on_one_batch(script, settings):
    betas, weight_decay = settings
    x = torch.arange(24).view(2, 12)
    model, expected = tiny_gpt(), []
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4, betas=betas, weight_decay=weight_decay)
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), (x + 1).flatten())
        expected.append(loss.item())
        for w, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            w.grad = gradient
        optimizer.step()
    assert script.ten_losses(tiny_gpt(), x, x + 1, *settings) == pytest.approx(expected, abs=1e-6)


def test_overfitting_starts_anew_for_each_setting_and_is_compared(script, monkeypatch):
    x = torch.arange(24).view(2, 12)
    monkeypatch.setattr(script, "load_text", lambda name: name)
    monkeypatch.setattr(script, "llm_c_batch", lambda text: (x, x + 1))
    model = tiny_gpt()
    ours = script.overfit("gpt2", model)["ours"]
    assert ours[0][0] == ours[1][0], "the second setting began where the first ended"
    for change, same in ((0.005, True), (0.02, False), (-0.02, False)):
        published = [list(values) for values in ours]
        published[1][9] += change
        monkeypatch.setattr(script, "OVERFIT", dict(zip(script.OVERFIT, published, strict=True)))
        assert script.overfit("gpt2", model)["same"] is same


def test_a_loss_is_the_mean_over_windows_and_compared_within_its_error(script, monkeypatch):
    model, tokens = tiny_gpt(), np.arange(40) % TINY.vocab_size
    whole = script.validation_loss(model, tokens[:37], 3, 12)
    found = script.loss_on("fineweb", "gpt2", model, tokens, T=12)["ours"]
    assert found["loss"] == pytest.approx(whole, abs=1e-5) and found["tokens"] == 36
    ours = [script.validation_loss(model, tokens[i : i + 13], 1, 12) for i in (0, 12, 24)]
    assert found["standard_error"] == pytest.approx(np.std(ours, ddof=1) / 3**0.5, rel=1e-4)
    limit = 3 * found["standard_error"] + 0.02
    for far, same in ((0.9 * limit, True), (1.1 * limit, False)):
        for sign in (1, -1):
            monkeypatch.setitem(script.LOSSES["fineweb"], "gpt2", whole + sign * far)
            assert script.loss_on("fineweb", "gpt2", model, tokens, T=12)["same"] is same
    assert script.loss_on("fineweb_edu", "gpt2-xl", model, tokens, T=12)["same"] is None


def test_a_token_file_of_another_kind_is_refused(script, tmp_path, monkeypatch):
    import huggingface_hub

    path = tmp_path / "shard.bin"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: path)
    path.write_bytes(shard(magic=1))
    with pytest.raises(script.AssetError, match="no token file of llm.c"):
        script.validation_shard(*script.SHARDS["fineweb"])
    path.write_bytes(shard(n=100))
    tokens = script.validation_shard(*script.SHARDS["fineweb"])
    written = np.random.default_rng(0).integers(0, 50257, 100)
    assert tokens.tolist() == written.tolist(), "other tokens than the file says that it holds"
