"""The choice of device and number format, on hardware that this machine only pretends to have."""

import pytest
import torch
from torch.torch_version import TorchVersion

from gpt2lite import precision


def pretend(monkeypatch, cuda=None, mps=False, cpu=None):
    """Make torch report one GPU of the given name and compute capability, or none, and a CPU."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.13.0"))
    # What torch says on a T4, where bf16 is emulated and slow; it must not be asked at all.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)
    if cuda:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: cuda[0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: cuda[1])


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
    pretend(monkeypatch, mps=mps, cpu={"avx512_f": True, "avx512_bf16": False})
    picked = precision.pick()
    assert picked.device == torch.device(device)
    assert (picked.dtype, picked.scaler) == (torch.float32, False)


def test_an_apple_gpu_whose_attention_is_wrong_is_left_alone(monkeypatch):
    pretend(monkeypatch, mps=True)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.12.1"))
    assert precision.pick().device.type == "cpu"


@pytest.mark.parametrize("units", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_bf16_units_uses_them(monkeypatch, units):
    pretend(monkeypatch, cpu={units: True})
    picked = precision.pick()
    assert (picked.device.type, picked.dtype, picked.scaler) == ("cpu", torch.bfloat16, False)
    pretend(monkeypatch, mps=True, cpu={units: True})
    assert precision.pick().dtype == torch.float32, "the CPU's units are no help to another device"


def test_an_older_pytorch_that_cannot_tell_the_cpus_units_takes_fp32(monkeypatch):
    pretend(monkeypatch)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert precision.pick().dtype == torch.float32


def test_a_given_device_wins_over_a_better_one(monkeypatch):
    pretend(monkeypatch, cuda=("A100", (8, 0)))
    assert precision.pick("cpu").device.type == "cpu"
    assert precision.pick(torch.device("cuda", 0)).dtype == torch.bfloat16
