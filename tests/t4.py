"""A stand-in T4: tensors that say `cuda:0`, compute on the CPU, and refuse to mix with the CPU's.

    PYTHONPATH=tests python -m pytest -p t4 --nbval-lax tests notebooks

Readers sit at a T4; the machines that test this course have none. As a pytest plugin it is there
for the tests and, by an IPython start-up file, in every notebook's kernel. It finds tensors on the
wrong device, `.numpy()` of a GPU tensor, generators of another device, bf16 where a T4 emulates it,
fp16 without a scaler. It knows nothing about speed or about kernels that a GPU lacks; its memory is
that of the tensors alive, without an allocator's slack.

On the GPU is a tensor whose storage the meter counts: a view, `.data` or a parameter shares it, so
that each is where its numbers are. Names and messages are PyTorch's own. The file is long because
a GPU answers many questions: kernels import it alone, and it is read from top to bottom.
"""

import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

NAME, CAPABILITY, TOTAL = "Tesla T4", (7, 5), int(14.56 * 2**30)
KERNELS = pytest.StashKey[Path]()  # the folder of their start-up file; each leaves its number there
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class Meter:
    """The GPU's memory: which storages lie there, their bytes now, at the peak and at most."""

    def __init__(self):
        self.storages, self.now, self.peak, self.limit = {}, 0, 0, TOTAL

    def holds(self, tensor) -> bool:
        return _has_storage(tensor) and tensor.untyped_storage()._cdata in self.storages

    def add(self, tensor):
        if not _has_storage(tensor) or self.holds(tensor):
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if self.now + size > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size:,} bytes.")
        self.storages[key] = weakref.ref(storage, lambda _: self.drop(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def drop(self, key, size):
        del self.storages[key]
        self.now -= size


def _has_storage(tensor) -> bool:
    """Say whether a tensor has numbers in memory: not the meta device's, nor oneDNN's own."""
    return tensor.device.type == "cpu" and tensor.layout == torch.strided


def tensors(value):
    """Yield the tensors in a value, in lists, tuples and dicts too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


# What may hold tensors of two devices, or says nothing about its result's.
MIXES = {torch.Tensor.copy_, torch.Tensor.data.__set__, torch._has_compatible_shallow_copy_type}
INDEXES = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
MOVES = {torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu}
TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}
LAYERS = {F.linear, F.embedding, F.scaled_dot_product_attention}  # what a model is made of
PRODUCTS = {F.linear, F.scaled_dot_product_attention}
PRODUCTS |= {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm}


class Counting(TorchDispatchMode):
    """Inside one function of torch, or a backward pass: all that it makes lies on the GPU."""

    def __init__(self, meter):
        super().__init__()
        self.meter = meter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            self.meter.add(tensor)
        return result


class T4(TorchFunctionMode):
    """Around every function of torch: where are its inputs, so where is its result?"""

    def __init__(self):
        super().__init__()
        self.meter = Meter()
        self.half = self.unscaled = False  # was the last forward pass, the last backward in fp16?
        self.backward_on_gpu = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, on = dict(kwargs or {}), self.meter.holds
        if func in (torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__):
            here = CUDA if self.inside_backward() or on(args[0]) else args[0].device
            return here if func == torch.Tensor.device.__get__ else here.type == "cuda"
        if func in MOVES:
            return self.move(func, args, kwargs)
        if func in TO_NUMPY and on(args[0]):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.backward:
            self.unscaled, self.half, self.backward_on_gpu = self.half, False, on(args[0])
        given = list(tensors([args, kwargs]))
        gpu = [on(tensor) for tensor in given]
        if not self.inside_backward() and func not in MIXES:
            self.refuse_to_mix(func, args, given, gpu)
        if func in LAYERS and any(gpu) and any(t.dtype == torch.bfloat16 for t in given):
            raise RuntimeError(f"bf16 on a {NAME}, which only emulates it: take fp16 and a scaler")
        gpu = any(gpu) and func not in MIXES and not (func is torch.tensor and len(given) > 1)
        if (device := kwargs.get("device")) is not None and func is not torch.device:
            gpu = torch.device(device).type == "cuda"
            kwargs["device"] = CPU if gpu else device
        for generator in (a for a in (*args, *kwargs.values()) if isinstance(a, torch.Generator)):
            if generator.device.type != (kind := "cuda" if gpu else "cpu"):
                raise RuntimeError(
                    f"Expected a '{kind}' device type for generator but found "
                    f"'{generator.device.type}'"
                )
        if func in PRODUCTS and gpu and (_autocasts() or given[0].dtype == torch.float16):
            result = multiply_as_a_t4(func, args, kwargs)
        else:
            with Counting(self.meter) if gpu else nullcontext():
                result = func(*args, **kwargs)
        if gpu or self.inside_backward():
            for tensor in tensors(result):
                self.meter.add(tensor)
        return result

    def inside_backward(self):
        """Say whether autograd calls: it works with bare tensors, all of them on one device."""
        return self.backward_on_gpu and torch._C._current_graph_task_id() != -1

    def move(self, func, args, kwargs):
        """Copy a tensor to where it shall go; it stays itself if it is there."""
        here = there = self.meter.holds(args[0])
        if func is not torch.Tensor.to:
            there, result = func is torch.Tensor.cuda, args[0]
        else:
            for value in (*args[1:], *kwargs.values()):
                if isinstance(value, torch.Tensor):
                    there = self.meter.holds(value)
                elif isinstance(value, (str, torch.device)):
                    there = _is_cuda(value)
            args = [CPU if _is_cuda(value) else value for value in args]
            kwargs = {name: CPU if _is_cuda(value) else value for name, value in kwargs.items()}
            result = func(*args, **kwargs)
        if there != here and result.untyped_storage()._cdata == args[0].untyped_storage()._cdata:
            result = result.clone()
        if there:
            self.meter.add(result)
        return result

    def refuse_to_mix(self, func, args, given, gpu):
        if func in INDEXES:  # a GPU's tensor takes the CPU's indices, but not the other way round
            wrong = gpu and not gpu[0] and any(self.meter.holds(t) for t in tensors(args[1]))
        else:  # numbers may come from the CPU
            wrong = any(gpu) and any(t.dim() for t, on in zip(given, gpu, strict=True) if not on)
        if wrong:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! (in {getattr(func, '__name__', func)})"
            )


def multiply_as_a_t4(func, args, kwargs):
    """Take fp16, sum in fp32, return fp16, as Tensor Cores do; a CPU's own fp16 takes minutes."""

    def widen(value):
        is_number = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.half().float() if is_number else value

    with torch.amp.autocast_mode.autocast("cpu", enabled=False):
        kwargs = {name: widen(value) for name, value in kwargs.items()}
        return func(*map(widen, args), **kwargs).half()


def _autocasts() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16


def _is_cuda(value):
    return isinstance(value, (str, torch.device)) and torch.device(value).type == "cuda"


def installed() -> ExitStack:
    """Put a T4 into this process; return what takes it out again on `close()`."""
    gpu, stack = T4(), ExitStack()
    meter = gpu.meter

    class Generator(torch.Generator):
        def __new__(cls, device="cpu"):
            return super().__new__(cls)

        def __init__(self, device="cpu"):
            self.where = torch.device(device)

        device = property(lambda self: self.where)

    class autocast(torch.autocast):
        def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
            self.half = False
            if device_type == "cuda" and enabled:
                dtype = dtype or torch.float16
                if dtype == torch.bfloat16:
                    raise RuntimeError(
                        f"autocast to bf16 on a {NAME}, which only emulates it "
                        "(is_bf16_supported() says yes all the same): take fp16 and a scaler"
                    )
                self.half = dtype == torch.float16
            super().__init__("cpu", dtype, enabled, cache_enabled)

        def __enter__(self):
            gpu.half = gpu.half or self.half and torch.is_grad_enabled()
            return super().__enter__()

    scaler_step = torch.amp.GradScaler.step

    def step_of_a_scaler(self, optimizer, *args, **kwargs):
        gpu.unscaled = gpu.unscaled and not self.is_enabled()
        return scaler_step(self, optimizer, *args, **kwargs)

    def refuse_unscaled(optimizer, args, kwargs):
        if gpu.unscaled:
            gpu.unscaled = False
            raise RuntimeError("a step on fp16 gradients without a GradScaler: most of them are 0")

    def reset_peak(device=None):
        meter.peak = meter.now

    def set_fraction(fraction, device=None):
        meter.limit = fraction * TOTAL

    answers = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": NAME,
        "get_device_capability": CAPABILITY,
        "get_device_properties": SimpleNamespace(name=NAME, major=7, minor=5, total_memory=TOTAL),
        "is_bf16_supported": True,  # as a real T4's does
        "synchronize": None,
        "empty_cache": None,
        "manual_seed": None,
        "manual_seed_all": None,
    }
    said = {name: lambda *_, answer=answer, **__: answer for name, answer in answers.items()}
    for kind in ("allocated", "reserved"):
        said[f"memory_{kind}"] = lambda device=None: meter.now
        said[f"max_memory_{kind}"] = lambda device=None: meter.peak
    said |= {
        "mem_get_info": lambda device=None: (TOTAL - meter.now, TOTAL),
        "reset_peak_memory_stats": reset_peak,
        "set_per_process_memory_fraction": set_fraction,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
    }
    stack.enter_context(mock.patch.multiple(torch.cuda, **said))
    stack.enter_context(mock.patch.multiple(torch, Generator=Generator, autocast=autocast))
    stack.enter_context(mock.patch.object(torch.amp, "autocast", autocast))
    stack.enter_context(mock.patch.object(torch, "compile", lambda model, **_: model))
    stack.enter_context(mock.patch.object(torch.amp.GradScaler, "step", step_of_a_scaler))
    hook = register_optimizer_step_pre_hook(refuse_unscaled)
    stack.callback(hook.remove)
    stack.enter_context(gpu)
    return stack


STARTUP = """import os, sys
sys.path.insert(0, FOLDER)
import t4
sys.path.remove(FOLDER)
t4.installed()
open(f"{os.environ['IPYTHONDIR']}/kernel-{os.getpid()}", "x").close()
"""


def write_startup(folder: Path):
    """Make a folder IPython's own (IPYTHONDIR) in which every kernel begins with a T4."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    code = STARTUP.replace("FOLDER", repr(str(Path(__file__).resolve().parent)))
    (startup / "00-t4.py").write_text(code, encoding="utf-8")


def pytest_configure(config):
    """Install it here and in each kernel that comes."""
    config.stash[KERNELS] = Path(tempfile.mkdtemp(prefix="t4-"))
    write_startup(config.stash[KERNELS])
    os.environ |= {"IPYTHONDIR": str(config.stash[KERNELS]), "GPT2LITE_PROFILE": "lite"}
    installed()


def pytest_sessionfinish(session):
    """Fail if a kernel came without it: its notebook ran on the CPU, and proved nothing."""
    notebooks = {item.path for item in session.items if item.path.suffix == ".ipynb"}
    kernels = len(list(session.config.stash[KERNELS].glob("kernel-*")))
    shutil.rmtree(session.config.stash[KERNELS])
    if kernels < len(notebooks):
        print(f"\nonly {kernels} kernels of {len(notebooks)} notebooks had the T4")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
