"""Where PyTorch's default is slow on a CPU: the same products, sooner, equal up to rounding.

The model knows nothing about it: these are contexts around code that stays as it is, and a setting
for the whole process on Linux. benchmarks/ measures what they bring.
"""

import ctypes
import platform
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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


def short_attention(T: int):
    """Return a context in which sequences of T tokens attend sooner, if they are short.

    PyTorch's fused attention keeps the scores out of memory, which takes up to four times as long
    there as the same products written out. Up to 256 tokens, GPT-2's scores fill no more memory
    than the hidden layer of its MLP.
    """
    return sdpa_kernel(SDPBackend.MATH) if T <= 256 else nullcontext()


@contextmanager
def row_gradients(embedding: nn.Embedding):
    """Add up an embedding's gradient row by row, after a block that holds forward and backward.

    By itself PyTorch makes a second gradient of all V rows, nearly all of them zero, and adds that
    to the head's. An embedding that someone else has patched stays as it is, a frozen one too.
    """
    weight, looked_up = embedding.weight, []
    if "forward" in vars(embedding) or not weight.requires_grad:
        yield
        return

    def forward(idx):
        rows = F.embedding(idx, weight.detach()).requires_grad_()
        looked_up.append((idx, rows))
        return rows

    embedding.forward = forward
    try:
        yield
    finally:
        del embedding.forward  # the class' own again
    if weight.grad is None:  # the head has a matrix of its own
        weight.grad = torch.zeros_like(weight)
    for idx, rows in looked_up:
        weight.grad.index_add_(0, idx.flatten(), rows.grad.flatten(0, -2))


@cache
def _onednn_keeps_fp32() -> bool:
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch can't tell
    return IS_X86 and known.get("amx_bf16") is False


class FastLinear:
    """A context in which the layers and the head of a GPT multiply sooner; for sampling only.

    Several rows go to oneDNN. A single row, all that decoding has, reads the weights at the speed
    of memory: PyTorch's matrix product does a third of that for one row, while its operators for
    other purposes read as fast as can be. Layers that someone else has patched stay as they are.
    """

    def __init__(self, model: nn.Module):
        linears = [module for module in model.modules() if type(module) is nn.Linear]
        places = [(layer, "forward", layer) for layer in linears]
        if model.head.__module__ == "gpt2lite.model":  # not a head that someone else defined
            places.append((model, "head", model.wte))
        self.swaps = [
            (vars(owner), name, _faster(layer))
            for owner, name, layer in places
            if IS_X86 and layer.weight.device.type == "cpu" and name not in vars(owner)
        ]

    def __enter__(self):
        for attributes, name, faster in self.swaps:
            attributes[name] = faster

    def __exit__(self, *_):
        for attributes, name, _ in self.swaps:
            attributes.pop(name, None)  # the class' own again


def _faster(layer):
    """Return a function that computes F.linear(x, layer.weight, layer.bias)."""
    weight, bias = layer.weight.detach(), getattr(layer, "bias", None)
    n, threads = weight.size(1), torch.get_num_threads()

    def linear(x):
        if x.numel() != n or x.dtype != weight.dtype:  # dtypes differ under autocast
            with onednn():
                return F.linear(x, weight, bias)
        y = single_row(x)
        return (y if bias is None else y + bias).view(*x.shape[:-1], -1)

    if weight.t().is_contiguous():  # (in, out), as in GPT-2's files: sum its rows, weighted by x
        rows, shares = torch.arange(n), torch.arange(0, n, -(-n // threads))  # one for each thread
        table = weight.t()

        def single_row(x):
            x = x.reshape(-1)
            return F.embedding_bag(rows, table, shares, mode="sum", per_sample_weights=x).sum(0)
    elif (blocks := _blocks(weight.size(0), threads)) and weight.dtype == torch.float32:
        stack = weight.view(blocks, -1, n)

        def single_row(x):
            return torch.bmm(stack, x.reshape(1, n).t().expand(blocks, n, 1)).view(-1)
    else:

        def single_row(x):
            with _without_onednn():  # it takes twice as long for one row of bf16
                return torch.mv(weight, x.reshape(-1))

    return linear


@contextmanager
def _without_onednn():
    mkldnn = torch.backends.mkldnn
    before, mkldnn.enabled = mkldnn.enabled, False
    try:
        yield
    finally:
        mkldnn.enabled = before


def _blocks(n: int, threads: int) -> int | None:
    """Return into how many equal blocks to cut n rows, so that no thread is idle."""
    return next((k for k in range(max(2, threads), 65) if n % k == 0), None)


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
