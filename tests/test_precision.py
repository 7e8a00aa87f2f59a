"""The choice of device and number format, and the switch that makes fp32 products faster on some CPUs."""

import pytest
import torch
from helpers import random_ids, tiny_gpt

from gpt2lite import precision

matmul_settings = getattr(torch.backends.mkldnn, "matmul", None)


def pretend(monkeypatch, cuda=None, mps=False):
    """Make torch report one GPU of the given name and compute capability, or none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    if cuda:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: cuda[0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: cuda[1])
        # What torch says on a T4, where bf16 is emulated and slow.
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)


@pytest.mark.parametrize(
    "name, capability, dtype, scaler",
    [
        ("Tesla P100", (6, 0), torch.float32, False),
        ("Tesla V100", (7, 0), torch.float16, True),
        ("Tesla T4", (7, 5), torch.float16, True),
        ("A100", (8, 0), torch.bfloat16, False),
        ("RTX 4090", (8, 9), torch.bfloat16, False),
        ("H100", (9, 0), torch.bfloat16, False),
        ("B200", (10, 0), torch.bfloat16, False),
    ],
)
def test_the_format_follows_the_hardware_not_is_bf16_supported(
    monkeypatch, name, capability, dtype, scaler
):
    pretend(monkeypatch, cuda=(name, capability))
    picked = precision.pick()
    assert picked.device.type == "cuda"
    assert (picked.dtype, picked.scaler) == (dtype, scaler)
    assert name in picked.reason and "{}.{}".format(*capability) in picked.reason


@pytest.mark.parametrize("mps, device", [(True, "mps"), (False, "cpu")])
def test_without_cuda_it_is_fp32(monkeypatch, mps, device):
    pretend(monkeypatch, mps=mps)
    picked = precision.pick()
    assert picked.device == torch.device(device)
    assert (picked.dtype, picked.scaler) == (torch.float32, False)


def test_a_given_device_wins_over_a_better_one(monkeypatch):
    pretend(monkeypatch, cuda=("A100", (8, 0)))
    assert precision.pick("cpu").device.type == "cpu"
    assert precision.pick(torch.device("cuda", 0)).dtype == torch.bfloat16


def test_fast_matmul_computes_the_same():
    model, idx = tiny_gpt(n_embd=64), random_ids(tiny_gpt().config, 2, 12)
    with torch.no_grad():
        plain = model(idx)
        with precision.fast_matmul():
            fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.skipif(
    not hasattr(matmul_settings, "fp32_precision"), reason="this PyTorch has no switch"
)
def test_fast_matmul_restores_the_setting_also_after_an_exception(monkeypatch):
    monkeypatch.setattr(precision, "_onednn_keeps_fp32", lambda: True)
    before = matmul_settings.fp32_precision
    with pytest.raises(KeyError), precision.fast_matmul():
        inside = matmul_settings.fp32_precision
        raise KeyError
    assert inside != before and matmul_settings.fp32_precision == before
    with precision.fast_matmul(), precision.fast_matmul():
        pass
    assert matmul_settings.fp32_precision == before


@pytest.mark.parametrize(
    "cpu, fast",
    [
        ({"architecture": "x86_64", "amx_bf16": True}, False),  # oneDNN would compute in bf16
        ({"architecture": "x86_64", "amx_bf16": False}, True),
        ({"architecture": "x86_64"}, True),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_fast_matmul_stays_out_where_it_would_lose_accuracy(monkeypatch, cpu, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    assert precision._onednn_keeps_fp32.__wrapped__() is fast
