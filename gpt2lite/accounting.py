"""What a GPT-2 costs before it runs: parameters, floating-point operations, bytes.

Knows the sizes only; no tensor is made. Sources: Kaplan et al. 2020, table 1, for the counting (a
multiply-add is two operations, matrix products only); NVIDIA's data sheets of the T4, V100, A100,
L4, H100 and H200 and its white papers on the GA102 and Ada chips for the peaks, halved where they
count sparse matrices.
"""

import re

from gpt2lite.config import GPTConfig

# Dense peaks of one device: operations a second, by number format (fp32 without TF32, fp16 and bf16
# in Tensor Cores that add in fp32; one without units is left out), and a T4's bytes a second.
PEAKS = {
    "T4": {"fp32": 8.1e12, "fp16": 65e12, "bandwidth": 320e9},
    "V100 PCIE": {"fp32": 14e12, "fp16": 112e12},
    "V100 SXM2": {"fp32": 15.7e12, "fp16": 125e12},
    "A100": {"fp32": 19.5e12, "fp16": 312e12, "bf16": 312e12},
    "L4": {"fp32": 30.3e12, "fp16": 121e12, "bf16": 121e12},
    "RTX 3090": {"fp32": 35.6e12, "fp16": 71e12, "bf16": 71e12},
    "RTX 4090": {"fp32": 82.6e12, "fp16": 165.2e12, "bf16": 165.2e12},
    "H100 PCIE": {"fp32": 51e12, "fp16": 756e12, "bf16": 756e12},
    "H100": {"fp32": 67e12, "fp16": 989e12, "bf16": 989e12},  # SXM
    "H200": {"fp32": 67e12, "fp16": 989e12, "bf16": 989e12},
}
_FORMATS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
T4_BYTES = int(14.56 * 2**30)  # what a program gets of a T4's 16 GB


def count_parameters(config: GPTConfig) -> dict[str, int]:
    """Return parameters by part, and their "total"; the tied head adds none."""
    C, L = config.n_embd, config.n_layer
    parts = {
        "wte": config.vocab_size * C,
        "wpe": config.block_size * C,
        "ln_1": L * 2 * C,
        "attn.c_attn": L * (C * 3 * C + 3 * C),
        "attn.c_proj": L * (C * C + C),
        "ln_2": L * 2 * C,
        "mlp.c_fc": L * (C * 4 * C + 4 * C),
        "mlp.c_proj": L * (4 * C * C + C),
        "ln_f": 2 * C,
    }
    return parts | {"total": sum(parts.values())}


def forward_flops(config: GPTConfig, T: int) -> dict[str, int]:
    """Return the operations of a forward pass over T tokens, by part, and their "total".

    Counts matrix products, two operations a multiply-add, and attention's full T x T square as
    usual. A training step costs three times as much: the backward pass is two products for each one
    here.
    """
    C, L, V = config.n_embd, config.n_layer, config.vocab_size
    parts = {
        "attn.c_attn": L * 2 * T * C * 3 * C,
        "attention": L * 2 * (2 * T * T * C),  # queries x keys, then weights x values
        "attn.c_proj": L * 2 * T * C * C,
        "mlp": L * 2 * (2 * T * C * 4 * C),
        "head": 2 * T * C * V,
    }
    return parts | {"total": sum(parts.values())}


def peak_flops(device_name: str, dtype) -> float | None:
    """Return a device's peak in operations / s, by the name CUDA gives it; None if it isn't known.

    dtype: torch.float16 or "float16", and the like. A part of a GPU (MIG), a laptop's and other
    relatives of the same name have other peaks, and none here.
    """
    words = re.split(r"[ -]+", device_name.upper())
    name = " ".join(w for w in words if not re.fullmatch(r"NVIDIA|TESLA|GEFORCE|\d+GB|HBM\w+", w))
    name = re.sub(r"^(A100) (SXM4|PCIE)$", r"\1", name)  # both forms compute alike
    return PEAKS.get(name, {}).get(_FORMATS.get(str(dtype).removeprefix("torch.")))


def mfu(config: GPTConfig, T: int, tokens_per_s: float, peak: float) -> float:
    """Return which share of a device's peak (operations / s) training at tokens_per_s uses.

    Model FLOPs utilization (Chowdhery et al. 2022, PaLM): operations that the model needs, not
    those that were done; recomputed ones don't count.
    """
    return 3 * forward_flops(config, T)["total"] / T * tokens_per_s / peak


def training_bytes(config: GPTConfig, B: int, T: int) -> dict[str, int]:
    """Return the bytes an fp32 training step holds for B sequences of T tokens, and the "total".

    "adamw" is its two running averages. "activations" is what autograd keeps for the backward pass
    with fused attention: a layer's 16 C + H values a token, and one row of V for the loss. Left
    out: what lives only for a moment, such as the gradient of the logits, and the allocator's
    slack.
    """
    C, H, V = config.n_embd, config.n_head, config.vocab_size
    weights = 4 * count_parameters(config)["total"]
    layer = 16 * C + H + 4  # + 4: mean and standard deviation of two LayerNorms
    parts = {
        "weights": weights,
        "gradients": weights,
        "adamw": 2 * weights,
        "activations": 4 * B * T * (config.n_layer * layer + 2 * C + V),
    }
    return parts | {"total": sum(parts.values())}
