"""Device and number format, decided once by the hardware, with the reason in words.

Knows nothing about models. Sources: NVIDIA's compute capabilities (7.5 is the T4, 8.0 the A100, the
first with bf16 units); `torch.cuda.is_bf16_supported()` is not asked, since it says yes on a T4,
where bf16 is emulated.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """Where to compute and in which format; `reason` says why in one line."""

    device: torch.device
    dtype: torch.dtype  # for autocast; float32 means no autocast
    scaler: bool  # fp16's range is small: its gradients need a GradScaler
    reason: str


def pick(device: str | torch.device | None = None) -> Precision:
    """Choose the device, the best here unless given, and the format that is fast and safe on it."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if _mps() else "cpu"
    device = torch.device(device)
    if device.type == "cpu" and _cpu_has_bf16():
        return Precision(device, torch.bfloat16, False, "cpu: bf16 units, fp32's range")
    if device.type != "cuda":
        return Precision(device, torch.float32, False, f"{device.type}: fp32, exact and simple")
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    version = "{}.{}".format(*capability)
    if capability >= (8, 0):
        return Precision(
            device, torch.bfloat16, False, f"{name} ({version}): bf16 units, fp32's range"
        )
    if capability >= (7, 0):
        return Precision(
            device, torch.float16, True, f"{name} ({version}): fp16 units, no bf16; needs a scaler"
        )
    reason = f"{name} ({version}): no matrix units for fp16, so fp32"
    return Precision(device, torch.float32, False, reason)


def _cpu_has_bf16() -> bool:
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch can't tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _mps() -> bool:
    """Say whether there is an Apple GPU whose attention is right.

    Before, PyTorch mistook the strides of a short query (its issues 163597 and 181133): wrong
    tokens, and no error.
    """
    return torch.backends.mps.is_available() and torch.__version__ >= (2, 13)
