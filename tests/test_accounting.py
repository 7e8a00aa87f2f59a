"""Counted on paper, then measured: parameters, operations, and the bytes that autograd keeps."""

import pytest
import torch
import torch.nn.functional as F
from helpers import random_ids
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpt2lite import GPT, SIZES, GPTConfig
from gpt2lite.accounting import (
    PEAKS,
    T4_BYTES,
    count_parameters,
    forward_flops,
    mfu,
    peak_flops,
    training_bytes,
)

CONFIGS = [GPTConfig(24, 40, 1, 1, 8), GPTConfig(32, 61, 3, 4, 32), GPTConfig(32, 300, 2, 2, 48)]


@pytest.mark.parametrize("config", [*SIZES.values(), *CONFIGS], ids=str)
def test_parameters_part_by_part(config):
    with torch.device("meta"):
        model = GPT(config)
    measured = {}
    for name, p in model.named_parameters():  # h.3.attn.c_attn.bias counts for attn.c_attn
        part = (
            name.rsplit(".", 1)[0].split(".", 2)[-1]
            if name.startswith("h.")
            else name.split(".")[0]
        )
        measured[part] = measured.get(part, 0) + p.numel()
    assert count_parameters(config) == measured | {"total": sum(measured.values())}


def test_the_published_count():
    assert count_parameters(SIZES["gpt2"])["total"] == 124_439_808


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_operations_are_those_that_pytorch_counts(config):
    T, model = config.block_size - 1, GPT(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(random_ids(config, 1, T))  # MATH: so that attention's products are counted too
    assert forward_flops(config, T)["total"] == counter.get_total_flops()


def test_a_training_step_costs_three_forward_passes():
    config = CONFIGS[1]
    model, idx = GPT(config), random_ids(config, 1, 32)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(idx)[0], idx[0]).backward()
    assert counter.get_total_flops() == 3 * forward_flops(config, 32)["total"]


def test_operations_of_the_small_gpt2_are_the_published_ones():
    flops = forward_flops(SIZES["gpt2"], 1024)
    assert flops["total"] == 291_648_307_200  # nanoGPT, transformer_sizing.ipynb
    assert flops["total"] == sum(n for part, n in flops.items() if part != "total")
    published = {"attn.c_attn": 43_486_543_872, "attn.c_proj": 14_495_514_624}
    published |= {"mlp": 115_964_116_992, "head": 79_047_426_048}
    assert published.items() <= flops.items(), "a part's operations are counted for another"


@pytest.mark.parametrize("B, T", [(1, 32), (3, 20)])
@pytest.mark.parametrize("config", [CONFIGS[1], CONFIGS[2], GPTConfig(32, 500, 4, 8, 64)], ids=str)
def test_activations_are_what_autograd_keeps(config, B, T):
    model, idx = GPT(config), random_ids(config, B, T)
    known = {p.untyped_storage().data_ptr() for p in model.parameters()} | {
        idx.untyped_storage().data_ptr()
    }
    kept = {}  # holds each tensor, so that no address is used twice

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = F.cross_entropy(model(idx).flatten(0, 1), idx.flatten())
    measured = sum(t.untyped_storage().nbytes() for t in kept.values())
    assert loss.requires_grad
    # Left out, since they are too small to plan with: LayerNorm f's mean and spread, the positions,
    # and the sum of the loss' weights.
    small = 4 * 2 * B * T + 8 * T + 4
    assert training_bytes(config, B, T)["activations"] + small == measured, "a term is wrong"


def test_weights_gradients_and_adamw_are_measured():
    config, bytes_of = (
        CONFIGS[1],
        lambda tensors: sum(t.numel() * t.element_size() for t in tensors),
    )
    model, idx = GPT(config), random_ids(config, 2, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    F.cross_entropy(model(idx).flatten(0, 1), idx.flatten()).backward()
    optimizer.step()
    averages = [s[k] for s in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq")]
    parts = training_bytes(config, 2, 8)
    assert parts["weights"] == bytes_of(model.parameters())
    assert parts["gradients"] == bytes_of(p.grad for p in model.parameters())
    assert parts["adamw"] == bytes_of(averages)
    assert parts["total"] == sum(n for part, n in parts.items() if part != "total")


def test_the_reference_machine_is_in_the_table():
    assert PEAKS["T4"] == {"fp32": 8.1e12, "fp16": 65e12, "bandwidth": 320e9}  # no bf16: emulated
    assert T4_BYTES == 15_633_680_957


@pytest.mark.parametrize(
    "name, fp32, fp16, bf16",
    [
        ("Tesla T4", 8.1, 65, None),
        ("Tesla V100-SXM2-16GB", 15.7, 125, None),
        ("Tesla V100-PCIE-32GB", 14, 112, None),
        ("NVIDIA A100-SXM4-40GB", 19.5, 312, 312),
        ("NVIDIA A100 80GB PCIe", 19.5, 312, 312),
        ("NVIDIA L4", 30.3, 121, 121),
        ("NVIDIA GeForce RTX 3090", 35.6, 71, 71),
        ("NVIDIA GeForce RTX 4090", 82.6, 165.2, 165.2),
        ("NVIDIA H100 80GB HBM3", 67, 989, 989),
        ("NVIDIA H100 PCIe", 51, 756, 756),
        ("NVIDIA H200", 67, 989, 989),
        # relatives with other peaks
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None, None),
        ("NVIDIA GeForce RTX 3090 Ti", None, None, None),
        ("NVIDIA L40S", None, None, None),
        ("NVIDIA T400 4GB", None, None, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None, None),
        ("x86_64 CPU, 2 threads", None, None, None),
    ],
)
def test_a_device_has_the_peak_of_its_data_sheet_or_none(name, fp32, fp16, bf16):
    peaks = {torch.float32: fp32, torch.float16: fp16, torch.bfloat16: bf16, torch.int8: None}
    for dtype, peak in peaks.items():
        expected = None if peak is None else pytest.approx(peak * 1e12)
        assert peak_flops(name, dtype) == expected
        assert peak_flops(name, str(dtype).removeprefix("torch.")) == expected, "as a log names it"


def test_a_run_at_the_peak_has_an_mfu_of_one():
    config, peak = CONFIGS[1], 1e9
    seconds = 3 * forward_flops(config, 16)["total"] / peak  # of one sequence's step
    assert mfu(config, 16, 16 / seconds, peak) == pytest.approx(1)
    assert mfu(config, 16, 8 / seconds, peak) == pytest.approx(0.5), (
        "half as fast is half the share"
    )
    assert mfu(config, 16, 16 / seconds, 2 * peak) == pytest.approx(0.5)
