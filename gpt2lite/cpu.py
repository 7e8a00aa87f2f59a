"""Where PyTorch's default is slow on a CPU: the same results up to rounding, sooner.

The model knows nothing about it: these are contexts around code that stays as it is. Each undoes
what it did when its block ends. `keep_process_memory` is no context and lasts: only whoever starts
a process calls it. benchmarks/README.md says what each of them brings. More than 250 lines, since
all that PyTorch needs on a CPU, and each way back from it, is to be found in one place.
"""

import ctypes
import platform
import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
import torch.nn.functional as F
from torch import distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
_linear = F.linear


def keep_process_memory() -> None:
    """Let this process keep the memory that it frees, from here to its end; nothing undoes it.

    By default glibc gives large blocks back to the system, and each training step pays for getting
    them anew, page by page. Elsewhere than on Linux this does nothing.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # glibc's malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def free_memory() -> int:
    """Return the bytes of memory that this machine can still give; without Linux, no bound."""
    try:
        with open("/proc/meminfo") as lines:
            kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return 1024 * int(kilobytes)
    except (OSError, StopIteration):
        return sys.maxsize


class _ProcessWide:
    """A context for a setting of the whole process: the first thread sets it, the last restores it.

    Without a lock and a counter, two threads that overlap would each restore what they found, and
    the later one found the other's.
    """

    def __init__(self, make):
        self.make, self.lock, self.inside = make, threading.Lock(), 0

    def __enter__(self):
        with self.lock:
            if not self.inside:
                self.context = self.make()
                self.context.__enter__()
            self.inside += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.context.__exit__(None, None, None)


def onednn():
    """Return a context in which oneDNN multiplies fp32 matrices, at up to twice the speed.

    PyTorch uses oneDNN for fp32 matmuls only if bf16 accuracy is allowed. Without AMX, oneDNN still
    computes in fp32, so allowing it is safe; it rounds up to twice as much (GPT-2's logits are off
    by 3.4e-7 of the largest instead of 2.4e-7). PyTorch knows one such setting for the whole
    process, so other threads compute likewise meanwhile. The default stays on a CPU with AMX units,
    with an older PyTorch, and beside a GPU, which the same setting would switch to TF32.
    """
    return _bf16_allowed if _onednn_keeps_fp32() else nullcontext()


@_ProcessWide
@contextmanager
def _bf16_allowed():
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody has set one backend's precision: that stays
        yield
        return
    backends = torch.backends.mkldnn.matmul, torch.backends.cuda.matmul
    finer = [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for backend, precision in zip(backends, finer, strict=True):
            backend.fp32_precision = precision


@cache
def _onednn_keeps_fp32() -> bool:
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch can't tell
    return IS_X86 and known.get("amx_bf16") is False and not torch.cuda.is_available()


def short_attention(T: int):
    """Return a context in which sequences of T tokens attend sooner, if they are short.

    PyTorch's fused attention keeps the scores out of memory, which takes up to four times as long
    there as the same products one after the other. Up to 256 tokens, GPT-2's scores fill no more
    memory than the hidden layer of its MLP.
    """
    return _plain_attention if T <= 256 else nullcontext()


@_ProcessWide
def _plain_attention():
    return sdpa_kernel(SDPBackend.MATH)


@contextmanager
def row_gradients(model):
    """Add up wte's gradient row by row, after a block that holds forward and backward.

    By itself PyTorch makes a second gradient of all V rows, nearly all of them zero, and adds that
    to the head's. Here the rows come after the backward pass, too late for hooks on the weight and
    for DDP or FSDP. So the context does nothing unless `model` itself, no wrapper, has a plain wte
    that nobody has patched, frozen, hooked or spread over processes.
    """
    wte = vars(model).get("_modules", {}).get("wte")  # a wrapper or a function has none of its own
    if wte is None or not _is_private(wte):
        yield
        return
    weight, looked_up = wte.weight, []

    def forward(idx):
        rows = F.embedding(idx, weight.detach()).requires_grad_()
        looked_up.append((idx, rows))
        return rows

    wte.forward = forward
    try:
        yield
    finally:
        del wte.forward  # the class' own again
    looked_up = [(idx, rows) for idx, rows in looked_up if rows.grad is not None]
    if looked_up and weight.grad is None:  # the head has a matrix of its own
        weight.grad = torch.zeros_like(weight)
    for idx, rows in looked_up:
        weight.grad.index_add_(0, idx.flatten(), rows.grad.flatten(0, -2))


def _is_private(wte) -> bool:
    """Return whether nobody but the backward pass has to do with an embedding's gradient."""
    plain = type(wte) is nn.Embedding and "forward" not in vars(wte)
    if not plain or type(wte.weight) is not nn.Parameter or not wte.weight.requires_grad:
        return False
    hooked = wte.weight._backward_hooks or wte.weight._post_accumulate_grad_hooks
    shared = distributed.is_available() and distributed.is_initialized()
    return not (hooked or shared)


def decoding(device: torch.device, rows: int, steps: int):
    """Return a context in which F.linear reads a parameter at the speed of memory, for sampling.

    rows: the sequences that grow side by side; steps: how many tokens each will get. The context
    can be entered again and again, and acts on the thread that is inside. No gradients. Off x86
    CPUs it does nothing.
    """
    return _FastLinear(rows, steps) if IS_X86 and device.type == "cpu" else nullcontext()


class _FastLinear:
    """PyTorch's product reads memory at a third of its speed for one row, and less for a few.

    Operators that are meant for other things read as fast as can be for one row, and so does oneDNN
    for a few once a matrix is packed: laid out anew in its own order.
    """

    inside = threading.local()  # .product: what F.linear does on this thread

    def __init__(self, rows, steps):
        # Packing 124M weights takes as long as 20 steps of a few rows gain, and memory for a copy.
        self.packs = rows > 1 and steps >= 32
        self.room = free_memory() // 2
        self.known = {}  # id of a parameter -> itself, its version, its product

    def __enter__(self):
        _linear_by_thread.__enter__()
        self.inside.product = self.linear

    def __exit__(self, *error):
        del self.inside.product
        _linear_by_thread.__exit__(*error)

    def linear(self, input, weight, bias=None):
        """Compute what F.linear does."""
        lasting = isinstance(weight, nn.Parameter) and not weight.is_inference()
        if not lasting or input.dtype != weight.dtype or torch.is_autocast_enabled("cpu"):
            return _linear(input, weight, bias)
        known = self.known.get(id(weight))
        if known is None or known[1] != weight._version:  # trained since: pack it again
            known = self.known[id(weight)] = weight, weight._version, self._prepare(weight.detach())
        return known[2](input, bias)

    def _prepare(self, weight):
        """Return a function of x and bias that computes F.linear(x, weight, bias)."""
        product = _onednn_product(weight.dtype) or _linear
        if self.packs and weight.nbytes < self.room and _onednn_product(weight.dtype):
            self.room -= weight.nbytes
            packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            return lambda x, bias: product(x, packed, bias)
        single_row = _single_row(weight)

        def linear(x, bias):
            if x.numel() != weight.size(1):
                return product(x, weight, bias)
            y = single_row(x)
            return (y if bias is None else y + bias).view(*x.shape[:-1], -1)

        return linear


@cache
def _onednn_product(dtype):
    """Return oneDNN's product of x, a matrix (packed or not) and a bias, or None.

    torch.compile uses the same two operators. They are private: a release may change them, and a
    CPU may lack `dtype`, so they are tried first.
    """

    def product(x, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    x, bias = torch.arange(16, dtype=dtype).view(2, 8), torch.ones(8, dtype=dtype)
    weight = torch.arange(-32, 32, dtype=dtype).view(8, 8) / 32
    expected = F.linear(x.double(), weight.double(), bias.double())
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        found = torch.stack([product(x, w, bias).double() for w in (weight, packed)])
    except Exception:  # whatever a release without them raises
        return None
    works = torch.allclose(found, expected, rtol=2 * torch.finfo(dtype).eps)
    return product if works else None


@_ProcessWide
@contextmanager
def _linear_by_thread():
    """Let a thread have an F.linear of its own: a TorchFunctionMode would slow every other call."""
    before = F.linear

    def linear(input, weight, bias=None):
        if torch.compiler.is_compiling():
            return before(input, weight, bias)
        return getattr(_FastLinear.inside, "product", before)(input, weight, bias)

    F.linear = linear
    try:
        yield
    finally:
        F.linear = before


def _single_row(weight):
    """Return a function that computes F.linear(x, weight) for an x of one row, as (V,)."""
    n, threads = weight.size(1), torch.get_num_threads()
    if weight.t().is_contiguous():  # (in, out), as in GPT-2's files: sum its rows, weighted by x
        rows, shares = torch.arange(n), torch.arange(0, n, -(-n // threads))  # one for each thread
        table = weight.t()

        def product(x):
            x = x.reshape(-1)
            return F.embedding_bag(rows, table, shares, mode="sum", per_sample_weights=x).sum(0)
    elif (blocks := _blocks(weight.size(0), threads)) and weight.dtype == torch.float32:
        stack = weight.view(blocks, -1, n)

        def product(x):
            return torch.bmm(stack, x.reshape(1, n).t().expand(blocks, n, 1)).view(-1)
    else:

        def product(x):
            with _onednn_off:  # it takes twice as long for one row of bf16
                return torch.mv(weight, x.reshape(-1))

    return product


@_ProcessWide
@contextmanager
def _onednn_off():
    mkldnn = torch.backends.mkldnn
    before, mkldnn.enabled = mkldnn.enabled, False
    try:
        yield
    finally:
        mkldnn.enabled = before


def _blocks(n: int, threads: int) -> int | None:
    """Return into how many equal blocks to cut n rows, so that no thread is idle."""
    return next((k for k in range(max(2, threads), 65) if n % k == 0), None)
