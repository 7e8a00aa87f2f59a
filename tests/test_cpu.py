"""The faster ways on a CPU compute the same, act where they should, and leave nothing behind."""

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, random_ids, tiny_gpt

from gpt2lite import GPT, cpu
from gpt2lite.sampling import generate, tokens

matmul = getattr(torch.backends.mkldnn, "matmul", None)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A model with the files' layout, on a CPU that counts as x86."""
    monkeypatch.setattr(cpu, "IS_X86", True)
    tiny_gpt().save_pretrained(tmp_path)
    return GPT.from_pretrained(tmp_path)


def changed_layers(model):
    return [m for m in model.modules() if "forward" in vars(m)]


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 64])
def test_fast_linear_computes_the_same(loaded, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    idx, calls, bag = torch.tensor([[3]]), [], F.embedding_bag
    monkeypatch.setattr(F, "embedding_bag", lambda *a, **k: calls.append(1) or bag(*a, **k))
    plain = loaded(idx)
    assert not calls
    with cpu.fast_linear(loaded):
        fast = loaded(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert len(calls) == 4 * TINY.n_layer, "not every matrix took the fast way"


@torch.no_grad()
def test_fast_linear_loses_no_accuracy_in_bf16(loaded):
    idx, exact = torch.tensor([[3]]), loaded(torch.tensor([[3]]))
    loaded.bfloat16()
    plain = (loaded(idx) - exact).abs().max()
    with cpu.fast_linear(loaded):
        fast = (loaded(idx) - exact).abs().max()
    assert fast <= 2 * plain, f"bf16 is {plain:.1e} from fp32, the fast way {fast:.1e}"


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fast_linear_computes_the_same_in_the_usual_layout(threads, monkeypatch):
    monkeypatch.setattr(cpu, "IS_X86", True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model, idx, calls, bmm = tiny_gpt(), torch.tensor([[3]]), [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *a: calls.append(1) or bmm(*a))
    plain = model(idx)
    with cpu.fast_linear(model):
        fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert len(calls) == 4 * TINY.n_layer + 1, "not every matrix took the fast way"


@torch.no_grad()
def test_fast_linear_computes_the_same_for_several_rows(loaded):
    idx = random_ids(TINY, 2, 5)
    plain = loaded(idx)
    with cpu.fast_linear(loaded):
        assert (loaded(idx) - plain).abs().max() <= 1e-5


def test_fast_linear_is_undone_also_after_an_error(loaded):
    with pytest.raises(KeyError), cpu.fast_linear(loaded):
        assert len(changed_layers(loaded)) == 4 * TINY.n_layer
        assert "head" in vars(loaded)
        raise KeyError
    assert not changed_layers(loaded) and "head" not in vars(loaded)
    reader = tokens(loaded, torch.tensor([[1]]), 5)
    next(reader)
    reader.close()  # a reader who has seen enough
    assert not changed_layers(loaded)


def test_a_loaded_model_generates_what_its_copy_in_the_usual_layout_does(loaded):
    idx = torch.tensor([[1, 2, 3]])
    assert torch.equal(
        generate(loaded, idx, 9, temperature=0), generate(tiny_gpt(), idx, 9, temperature=0)
    )


@torch.no_grad()
def test_onednn_computes_the_same():
    model, idx = tiny_gpt(n_embd=64), random_ids(TINY, 2, 12)
    plain = model(idx)
    with cpu.onednn():
        fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.skipif(not hasattr(matmul, "fp32_precision"), reason="this PyTorch has no switch")
def test_onednn_restores_the_setting_also_after_an_error(monkeypatch):
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: True)
    before = matmul.fp32_precision
    with pytest.raises(KeyError), cpu.onednn():
        inside = matmul.fp32_precision
        raise KeyError
    assert inside != before and matmul.fp32_precision == before
    with cpu.onednn(), cpu.onednn():
        pass
    assert matmul.fp32_precision == before


@pytest.mark.parametrize(
    "known, x86, fast",
    [
        ({"amx_bf16": True}, True, False),  # oneDNN would compute in bf16
        ({"amx_bf16": False}, True, True),
        ({"amx_bf16": False}, False, False),
        ({}, True, False),  # nobody knows
    ],
)
def test_onednn_stays_out_where_it_could_lose_accuracy(monkeypatch, known, x86, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    monkeypatch.setattr(cpu, "IS_X86", x86)
    assert cpu._onednn_keeps_fp32.__wrapped__() is fast
