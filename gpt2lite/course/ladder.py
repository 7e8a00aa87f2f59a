"""A training step made faster by one change at a time, each from the same start.

Knows nothing about how well two rungs must agree: notebook 04 asks that. Every climb makes model,
optimizer and scaler anew and leaves each setting as it was, so that no rung inherits anything.
"""

import math
import os
import statistics
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch

from gpt2lite import GPT, cpu
from gpt2lite.accounting import peak_flops
from gpt2lite.data import Batches
from gpt2lite.loss import cross_entropy, padded_vocabulary, plain_cross_entropy
from gpt2lite.model import CausalSelfAttention
from gpt2lite.optim import decay_groups
from gpt2lite.precision import Precision
from gpt2lite.training import maybe_compile


@dataclass(frozen=True)
class Rung:
    """A way to compute a step; the defaults are the lowest rung."""

    name: str = "fp32, explicit"
    sdpa: bool = False  # attention by the fused kernel
    fused: bool = False  # AdamW in one pass over memory instead of a dozen
    onednn: bool = False  # fp32 matmuls by oneDNN
    tf32: bool = False  # fp32 matmuls with 10 mantissa bits
    dtype: torch.dtype = torch.float32  # autocast's; float32 is none
    lean_loss: bool = False  # no fp32 copy of the logits
    padded: bool = False  # V rounded up to tiles
    compiled: bool = False

    @property
    def u(self) -> float:
        """The unit roundoff of its matmuls: the largest rounding error, relative to the number."""
        tf32 = self.tf32 and self.dtype == torch.float32
        return 2.0**-11 if tf32 else torch.finfo(self.dtype).eps / 2


def rungs_of(precision: Precision) -> tuple[list[Rung], dict[str, str]]:
    """Return a device's rungs from the lowest up, and why each of the others is left out.

    Every rung is the one below it with one change.
    """
    cuda, half = precision.device.type == "cuda", precision.dtype != torch.float32
    has_tf32 = cuda and torch.cuda.get_device_capability(precision.device) >= (8, 0)
    changes = {
        "SDPA": ({"sdpa": True}, ""),
        "fused AdamW": ({"fused": True}, ""),
        "oneDNN": ({"onednn": True}, "it is for a CPU's matmuls" if cuda else ""),
        "TF32": ({"tf32": True}, "" if has_tf32 else "it needs a GPU of capability 8.0 or later"),
        "autocast": ({"dtype": precision.dtype}, "" if half else "there are no 16-bit units here"),
        "lean loss": ({"lean_loss": True}, ""),
        "padded V": ({"padded": True}, "" if cuda else "it is for a GPU's tiles"),
        "compile": ({"compiled": True}, "" if cuda else "on a CPU it takes longer than it saves"),
    }
    rungs = [Rung()]
    for name, (change, missing) in changes.items():
        if not missing:
            rungs.append(replace(rungs[-1], name=f"+ {name}", **change))
    return rungs, {name: missing for name, (_, missing) in changes.items() if missing}


@dataclass(frozen=True)
class Climb:
    """What was measured on a rung."""

    first: torch.Tensor  # (P,), the gradient of the first batch before any step
    losses: list[float]
    ms: float  # a step, the median without the first
    bytes: int  # a GPU's peak, or what autograd keeps for the backward pass


class ExplicitAttention(CausalSelfAttention):
    """The same function as the model's, with its (T, T) weights stored for the backward pass."""

    def forward(self, x, cache=None):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=-1)
        q, k, v = (t.view(B, T, self.n_head, -1).transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        return self.c_proj((weights @ v).transpose(1, 2).reshape(B, T, C))


class Ladder:
    """What all rungs share: a model's size and first weights, the batches, and the step.

    step: takes (compute_loss, weights, optimizer, scaler), returns (loss, norm).
    """

    def __init__(self, config, tokens, B: int, lr: float, step, device: torch.device):
        self.config, self.tokens, self.B, self.lr = config, tokens, B, lr
        self.step, self.device = step, device
        self.start = GPT(config).to(device).state_dict()

    def climb(self, rung: Rung, steps: int) -> Climb:
        """Measure a rung: a gradient, then `steps` steps on the batches after it."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        losses, times = [], []
        with self._on(rung) as (loss_of, batches, *rest):
            weights, _, scaler = rest
            batch = next(batches)
            scaler.scale(loss_of(batch)).backward()
            first = torch.cat([p.grad.flatten() for p in weights]).cpu() / scaler.get_scale()
            held = 0 if cuda else kept_bytes(lambda: loss_of(batch))
            for _ in range(steps):
                batch, began = next(batches), time.perf_counter()
                losses.append(self.step(lambda batch=batch: loss_of(batch), *rest)[0])
                times.append(1e3 * (time.perf_counter() - began))
        held = torch.cuda.max_memory_allocated() - before if cuda else held
        return Climb(first, losses, statistics.median(times[1:] or times), held)

    def profile(self, rung: Rung) -> dict[str, float]:
        """Return the ms of one step by kind of operation, on the GPU if there is one."""
        with self._on(rung) as (loss_of, batches, *rest):
            batch = next(batches)
            self.step(lambda: loss_of(batch), *rest)  # warms up
            with _quiet(), torch.profiler.profile() as watched:
                self.step(lambda: loss_of(batch), *rest)
        events = [event for event in watched.events() if event.device_type.name == "CPU"]
        on_gpu = any(event.self_device_time_total for event in events)
        spent = dict.fromkeys((*KINDS, "other"), 0.0)
        for event in events:
            us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            spent[_kind(event)] += us / 1e3
        return spent

    @contextmanager
    def _on(self, rung):
        """Give a rung's loss of a batch, its batches, and the rest of a step's arguments."""
        model = GPT(self.config).to(self.device)
        if not rung.sdpa:
            for block in model.h:
                block.attn = ExplicitAttention(self.config).to(self.device)
        model.load_state_dict(self.start)
        batches = Batches(self.tokens, self.B, self.config.block_size, device=self.device)
        groups = decay_groups(model, 0.01)
        optimizer = torch.optim.AdamW(groups, lr=self.lr, foreach=False, fused=rung.fused)
        scaler = torch.amp.GradScaler(self.device.type, enabled=rung.dtype == torch.float16)
        kind, half = self.device.type, rung.dtype != torch.float32
        forward, loss = model, cross_entropy if rung.lean_loss else plain_cross_entropy

        def loss_of(batch):
            with torch.autocast(kind, rung.dtype, enabled=half):
                logits = forward(batch[0]).flatten(0, 1)  # (BT, V)
            return loss(logits, batch[1].flatten())

        with _settings(rung, model):
            if rung.compiled:
                x = torch.zeros(self.B, batches.T + 1, dtype=torch.long, device=self.device)[:, :-1]
                with torch.autocast(kind, rung.dtype, enabled=half):
                    forward, loss, _ = maybe_compile(model, x)
            yield loss_of, batches, list(model.parameters()), optimizer, scaler


def _settings(rung, model) -> ExitStack:
    """Enter a rung's contexts; leaving them restores what was."""
    stack = ExitStack()
    if rung.onednn:
        stack.enter_context(cpu.onednn())
    if rung.tf32:
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("high")
    if rung.padded:
        stack.enter_context(padded_vocabulary(model))
    return stack


def kept_bytes(work) -> int:
    """Return the bytes that autograd keeps for the backward pass of `work()`, weights included."""
    kept = {}  # storage address -> bytes

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        work()
    return sum(kept.values())


@contextmanager
def _quiet():
    """Leave out what the profiler's library writes straight to the process' stderr."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


KINDS = {  # what is in the name of an operation, or of one that called it; the first that fits
    "AdamW": ("Optimizer.step",),
    "attention": ("scaled_dot_product", "masked_fill", "SoftmaxBackward", "aten::softmax"),
    "loss": ("cross_entropy", "CrossEntropy", "LogSoftmax", "NllLoss"),
    "matmuls": ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn"),
    "casts, copies": ("aten::copy_",),
}


def _kind(event) -> str:
    names = [event.name]
    while event := event.cpu_parent:
        names.append(event.name)
    chain = " ".join(names)
    return next((kind for kind, words in KINDS.items() if any(w in chain for w in words)), "other")


def rate(device: torch.device, dtype, n: int, K: int | None = None) -> float:
    """Return the FLOP/s of a matmul of (n, K) and (K, n), the best of five; K is n unless given."""
    K = K or n
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((n, K), (K, n)))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()  # a GPU works on while Python goes on
        times.append(time.perf_counter() - began)
    return 2 * n * K * n / min(times)


def peak(device: torch.device, dtype) -> float:
    """Return the FLOP/s to count MFU against: the data sheet's, else the best matmul's here."""
    if device.type == "cuda":
        known = peak_flops(torch.cuda.get_device_name(device), dtype)
        return known or rate(device, dtype, 8192)
    with cpu.onednn():
        return max(rate(device, dtype, n) for n in (256, 1024))
