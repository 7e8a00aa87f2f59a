"""The parity gate: GPT is transformers' GPT-2 in logits, loss, gradients and ten AdamW steps.

fp32 on the CPU, to 1e-5. The reference is made on the spot with random weights and converted
through files, so the gate needs no network. The mistakes at the end show that it can fail.
"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, hf_config, pair, random_ids
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from gpt2lite import GPT, SIZES, GPTConfig

ATOL = 1e-5
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


def loss_of(logits, idx):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten())


def in_our_layout(model, of):
    """Return name -> `of(parameter)` of transformers' model, in our names, Conv1D's transposed."""
    conv = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, Conv1D)}
    values = {name: of(p) for name, p in model.named_parameters()}
    return {
        name.removeprefix("transformer."): v.t() if name in conv else v
        for name, v in values.items()
    }


def largest_gaps(ours, theirs, idx) -> dict[str, float]:
    """Run both forward and backward; return the largest gap in logits, loss and each gradient."""
    reference = theirs(idx, labels=idx)  # transformers shifts the labels itself
    reference.loss.backward()
    logits = ours(idx)
    loss = loss_of(logits, idx)
    loss.backward()
    expected = in_our_layout(theirs, lambda p: p.grad)
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    assert gradients.keys() == expected.keys()
    gaps = {name: torch.dist(g, expected[name], torch.inf).item() for name, g in gradients.items()}
    gaps["logits"] = (logits - reference.logits).abs().max().item()
    gaps["loss"] = abs(loss.item() - reference.loss.item())
    assert reference.logits.std() > 0.1  # or 1e-5 would prove little
    return gaps


def assert_parity(ours, theirs, idx):
    too_large = {k: g for k, g in largest_gaps(ours, theirs, idx).items() if not g <= ATOL}
    assert not too_large, f"differs from transformers in {too_large}"


SHAPES = {
    "two heads": TINY,
    "one head, one layer": GPTConfig(7, 11, 1, 1, 8),
    "heads of one channel": GPTConfig(9, 30, 2, 6, 6),
    "deep, odd sizes": GPTConfig(13, 101, 5, 5, 35),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_logits_loss_and_every_gradient(config, tmp_path):
    ours, theirs = pair(config, tmp_path)
    assert_parity(ours, theirs, random_ids(config, 3, config.block_size))


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_ten_adamw_steps(config, tmp_path):
    ours, theirs = pair(config, tmp_path)
    settings = dict(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    optimizers = [torch.optim.AdamW(m.parameters(), **settings) for m in (ours, theirs)]
    for step in range(10):
        idx = random_ids(config, 4, config.block_size, seed=step)
        losses = loss_of(ours(idx), idx), theirs(idx, labels=idx).loss
        assert abs(losses[0] - losses[1]) <= ATOL, f"step {step}: losses {losses}"
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, expected in in_our_layout(theirs, torch.Tensor.detach).items():
        gap = (ours.get_parameter(name).detach() - expected).abs()
        if name.endswith("c_attn.bias"):
            # A key's bias moves all scores of a query alike, and softmax cancels it: its gradient
            # is rounding alone, by whose sign AdamW steps.
            C = config.n_embd
            gap = torch.cat([gap[:C], gap[2 * C :]])
        assert gap.max() <= ATOL, f"after ten steps {name} differs by {gap.max():.1e}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_parity_at_each_published_width(name, tmp_path):
    """Full C and H, in seconds: cut to 1 layer, a vocabulary of 500 and 32 positions."""
    config = dataclasses.replace(SIZES[name], n_layer=1, vocab_size=500, block_size=32)
    ours, theirs = pair(config, tmp_path)
    assert_parity(ours, theirs, random_ids(config, 2, 32))


def test_parity_of_the_complete_124m(tmp_path):
    """Nothing cut but the length: 16 of the 1,024 positions are read."""
    ours, theirs = pair(SIZES["gpt2"], tmp_path)
    assert_parity(ours, theirs, random_ids(SIZES["gpt2"], 1, 16))


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_count_of_each_published_size(name):
    with torch.device("meta"):
        ours, theirs = GPT(SIZES[name]), GPT2LMHeadModel(hf_config(SIZES[name]))
    shapes = {k: p.shape for k, p in ours.named_parameters()}
    expected = in_our_layout(theirs, torch.Tensor.detach)
    assert shapes == {k: p.shape for k, p in expected.items()}
    assert len(shapes) == 4 + 12 * SIZES[name].n_layer
    assert sum(s.numel() for s in shapes.values()) == PUBLISHED[name]
    assert list(ours.state_dict()) == list(shapes)  # no buffers in a checkpoint
    if name == "gpt2":
        assert len(shapes) == 148


# Each mistake, made in a model that is otherwise right.
def erf_gelu(model, monkeypatch):
    exact = F.gelu
    monkeypatch.setattr(F, "gelu", lambda x, approximate="none": exact(x))


def positions_stuck_at_0(model, monkeypatch):
    model.wpe.register_forward_pre_hook(lambda module, args: (torch.zeros_like(args[0]),))


def positions_from_1(model, monkeypatch):
    with torch.no_grad():
        model.wpe.weight.copy_(model.wpe.weight.roll(-1, 0))


def _change_attention(monkeypatch, **change):
    attend = F.scaled_dot_product_attention

    def changed(q, k, v, mask=None, dropout=0.0, is_causal=False):
        return attend(q, k, v, mask, dropout, **({"is_causal": is_causal} | change))

    monkeypatch.setattr(F, "scaled_dot_product_attention", changed)


def scores_not_divided_by_sqrt_d(model, monkeypatch):
    _change_attention(monkeypatch, scale=1.0)


def no_causal_mask(model, monkeypatch):
    _change_attention(monkeypatch, is_causal=False)


def square_c_proj_not_transposed(model, monkeypatch):
    weight = model.h[0].attn.c_proj.weight
    weight.data = weight.data.t()


def q_k_v_in_another_order(model, monkeypatch):
    for p in model.h[0].attn.c_attn.parameters():
        q, k, v = p.data.chunk(3)
        p.data = torch.cat([k, q, v])


def no_final_layer_norm(model, monkeypatch):
    model.ln_f.forward = lambda x: x


def layer_norm_after_instead_of_before(model, monkeypatch):
    for block in model.h:
        block.forward = lambda x, cache=None, b=block: b.ln_2(x + b.mlp(b.ln_1(x + b.attn(x))))


def another_layer_norm_epsilon(model, monkeypatch):
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6


def a_bias_left_out(model, monkeypatch):
    model.h[1].mlp.c_fc.bias.data.zero_()


MISTAKES = [
    erf_gelu,
    positions_stuck_at_0,
    positions_from_1,
    scores_not_divided_by_sqrt_d,
    no_causal_mask,
    square_c_proj_not_transposed,
    q_k_v_in_another_order,
    no_final_layer_norm,
    layer_norm_after_instead_of_before,
    another_layer_norm_epsilon,
    a_bias_left_out,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
def test_the_gate_fails_for(mistake, tmp_path, monkeypatch):
    ours, theirs = pair(TINY, tmp_path)
    idx = random_ids(TINY, 3, TINY.block_size)
    expected = theirs(idx).logits
    assert (ours(idx) - expected).abs().max() <= ATOL
    mistake(ours, monkeypatch)
    gap = (ours(idx) - expected).abs().max().item()
    assert gap > 10 * ATOL, f"the gate would let {mistake.__name__} pass: {gap:.1e}"
