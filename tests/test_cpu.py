"""The faster ways on a CPU compute the same, act where they should, and leave nothing behind."""

import contextlib

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
def test_fast_computes_the_same(loaded, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    idx, calls, bag = torch.tensor([[3]]), [], F.embedding_bag
    monkeypatch.setattr(F, "embedding_bag", lambda *a, **k: calls.append(1) or bag(*a, **k))
    plain = loaded(idx)
    assert not calls
    with cpu.FastLinear(loaded):
        fast = loaded(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert len(calls) == 4 * TINY.n_layer, "not every matrix took the fast way"


@torch.no_grad()
def test_fast_is_at_most_twice_as_far_from_fp32_as_bf16_is(loaded):
    idx, exact = torch.tensor([[3]]), loaded(torch.tensor([[3]]))
    loaded.bfloat16()
    plain, before = (loaded(idx) - exact).abs().max(), torch.backends.mkldnn.enabled
    with cpu.FastLinear(loaded):
        fast = (loaded(idx) - exact).abs().max()
    assert torch.backends.mkldnn.enabled == before
    assert fast <= 2 * plain, f"bf16 is {plain:.1e} from fp32, the fast way {fast:.1e}"


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fast_computes_the_same_in_the_usual_layout(threads, monkeypatch):
    monkeypatch.setattr(cpu, "IS_X86", True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model, idx, calls, bmm = tiny_gpt(), torch.tensor([[3]]), [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *a: calls.append(1) or bmm(*a))
    plain = model(idx)
    with cpu.FastLinear(model):
        fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert len(calls) == 4 * TINY.n_layer + 1, "not every matrix took the fast way"


@torch.no_grad()
def test_fast_computes_the_same_for_several_rows(loaded):
    idx = random_ids(TINY, 2, 5)
    plain = loaded(idx)
    with cpu.FastLinear(loaded):
        assert (loaded(idx) - plain).abs().max() <= 1e-5


def test_fast_is_undone_also_after_an_error(loaded):
    with pytest.raises(KeyError), cpu.FastLinear(loaded):
        assert len(changed_layers(loaded)) == 4 * TINY.n_layer
        assert "head" in vars(loaded)
        raise KeyError
    assert not changed_layers(loaded) and "head" not in vars(loaded)
    next(tokens(loaded, torch.tensor([[1]]), 5))
    assert not changed_layers(loaded), "between two tokens the model is the caller's"


@torch.no_grad()
def test_what_someone_else_patched_stays_as_it_is(loaded):
    layer, idx = loaded.h[0].mlp.c_fc, torch.tensor([[3]])
    layer.forward = lambda x: F.linear(x, 2 * layer.weight)
    plain = loaded(idx)
    with cpu.FastLinear(loaded):
        assert (loaded(idx) - plain).abs().max() <= 1e-5
    assert "forward" in vars(layer), "the reader's own patch is gone"


@torch.no_grad()
def test_a_head_of_another_kind_is_used(loaded):
    class Untied(GPT):
        def head(self, x):
            return -super().head(x)

    other = Untied(TINY).eval()
    other.load_state_dict(loaded.state_dict())
    idx = torch.tensor([[3]])
    assert generate(other, idx, 1, temperature=0)[0, -1] == loaded(idx)[0, -1].argmin()


def test_a_loaded_model_generates_under_autocast(loaded):
    with torch.autocast("cpu", torch.bfloat16):
        assert generate(loaded, torch.tensor([[1, 2]]), 3).shape == (1, 5)


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


@pytest.mark.parametrize("dtype, gap", [(torch.float32, 1e-5), (torch.bfloat16, 2**-6)])
def test_short_attention_computes_the_same_and_leaves_long_alone(dtype, gap):
    q, k, v = torch.randn(3, 2, 4, 16, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    with cpu.short_attention(16):
        written_out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert (plain.float() - written_out.float()).abs().max() < gap
    assert isinstance(cpu.short_attention(257), contextlib.nullcontext)


def gradients(model, idx, around=lambda wte: contextlib.nullcontext()):
    """Return each gradient of two batches added up, by name."""
    model.zero_grad()
    for _ in range(2):
        with around(model.wte):
            model(idx).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_row_gradients_are_the_same(tied):
    model, idx = tiny_gpt(), random_ids(TINY, 2, 12)
    idx[0, 1] = idx[0, 0]  # a token twice
    if not tied:
        head = torch.randn_like(model.wte.weight)
        model.head = lambda x: x @ head.t()
    plain = gradients(model, idx)
    rows = gradients(model, idx, cpu.row_gradients)
    for name, gradient in plain.items():
        gap = (rows[name] - gradient).abs().max() / gradient.abs().max()
        assert gap <= 1e-5, f"{name} is off by {gap:.1e} of its largest"
    assert not changed_layers(model)


def test_row_gradients_leave_an_embedding_alone_that_is_frozen_or_patched():
    model, idx = tiny_gpt(), random_ids(TINY, 2, 12)
    model.wte.weight.requires_grad_(False)
    assert gradients(model, idx, cpu.row_gradients)["wte.weight"] is None
    mine = model.wte.forward = lambda idx: F.embedding(idx, 2 * model.wte.weight)
    model.wte.weight.requires_grad_(True)
    gradients(model, idx, cpu.row_gradients)
    assert model.wte.forward is mine


def test_row_gradients_are_undone_after_an_error():
    model = tiny_gpt()
    with pytest.raises(KeyError), cpu.row_gradients(model.wte):
        model(torch.tensor([[1]]))
        raise KeyError
    assert not changed_layers(model) and model.wte.weight.grad is None
