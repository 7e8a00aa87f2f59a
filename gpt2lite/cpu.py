"""The places where PyTorch's default is slow on an x86 CPU: same numbers, sooner.

Knows nothing about GPT-2, and GPT-2 nothing about it: both are contexts around code that stays as
it is. Elsewhere than on an x86 CPU they do nothing. benchmarks/inference.py measures what they
bring.
"""

import ctypes
import platform
from contextlib import contextmanager
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import nn

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


@contextmanager
def onednn():
    """Multiply fp32 matrices with oneDNN inside the block: same accuracy, up to twice the speed.

    PyTorch hands them to oneDNN only where bf16 would be accurate enough, and oneDNN then does use
    bf16 on a CPU with AMX units. So those, and older PyTorch, keep the default.
    """
    if not _onednn_keeps_fp32():
        yield
        return
    matmul = torch.backends.mkldnn.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


@cache
def _onednn_keeps_fp32() -> bool:
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch can't tell
    return IS_X86 and known.get("amx_bf16") is False


@contextmanager
def single_row(model: nn.Module):
    """Let the nn.Linear layers of `model` multiply a single row at the speed of memory inside the
    block.

    A row times a matrix is a weighted sum of the matrix' rows, and PyTorch's operator for weighted
    sums of rows, embedding_bag, streams them two to three times as fast as its matrix product does.
    It wants (in, out) matrices, the layout of GPT-2's files; layers that are stored otherwise
    compute as before.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear and _fits(m.weight)]
    for layer in layers:
        layer.forward = partial(_row_times_matrix, layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)  # the class' own again


def _fits(weight) -> bool:
    return IS_X86 and weight.device.type == "cpu" and weight.t().is_contiguous()


def _row_times_matrix(layer, x):
    if x.numel() != layer.in_features:
        return F.linear(x, layer.weight, layer.bias)
    rows, bags = _bags(layer.in_features, torch.get_num_threads())
    sums = F.embedding_bag(
        rows, layer.weight.t(), bags, mode="sum", per_sample_weights=x.reshape(-1)
    )
    y = sums.sum(0)
    return (y if layer.bias is None else y + layer.bias).view(*x.shape[:-1], -1)


@cache
def _bags(n: int, threads: int):
    """All n rows, and where each thread's share of them begins."""
    return torch.arange(n), torch.arange(0, n, -(-n // threads))


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, for a training step to use again.

    By default glibc gives large blocks back to the system, and each step pays for getting them
    anew, page by page. Elsewhere than on Linux this does nothing.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # glibc's malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
