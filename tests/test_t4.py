"""The stand-in T4 itself: what a T4 refuses is refused, in the package and in a notebook."""

import copy
import inspect
import types

import nbformat
import numpy as np
import pytest
import t4
import torch
from helpers import tiny_gpt
from nbclient import NotebookClient

from gpt2lite import data, precision, training
from gpt2lite.config import TrainConfig

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="a CPU build is stood in for"
)


@pytest.fixture(autouse=True)
def gpu():
    """Put the stand-in into this test's process, unless the whole session has it."""
    if torch.cuda.is_available():
        yield
        return
    with t4.installed():
        yield


def planted(module, before="", after=""):
    """Return a copy of a module with one change in its source."""
    source = inspect.getsource(module)
    assert before in source, f"{module.__name__} no longer says {before!r}: plant it elsewhere"
    changed = types.ModuleType(module.__name__)
    exec(compile(source.replace(before, after, 1), module.__file__, "exec"), changed.__dict__)
    return changed


def two_steps(data=data, precision=precision, training=training):
    """Train a tiny model for two steps, as the package does."""
    where = precision.pick()
    model = tiny_gpt().to(where.device)
    batches = data.Batches(np.arange(200) % 61, 4, 6, vocab_size=61, device=where.device)
    config = TrainConfig(steps=2, batch_size=4, seq_len=6)
    return list(training.Trainer(model, batches, config, where))


def test_the_package_as_it_is_trains_in_fp16_with_a_scaler():
    records = two_steps()
    assert records[0]["scale"] == 65536 and records[1]["loss"] < records[0]["loss"]


IN_THE_PACKAGE = {  # module, before, after, what the T4 says
    "a batch left on the CPU": (
        data,
        "rows = rows.to(self.device, non_blocking=rows.is_pinned())",
        "",
        "Expected all tensors to be on the same device",
    ),
    "numpy of a GPU tensor": (
        training,
        "loss, norm, scale, stop = numbers.tolist()",
        "loss, norm, scale, stop = map(float, numbers.numpy())",
        "can't convert cuda:0 device type tensor to numpy",
    ),
    "bf16 by is_bf16_supported": (
        precision,
        "if capability >= (8, 0):",
        "if torch.cuda.is_bf16_supported():",
        "autocast to bf16 on a Tesla T4",
    ),
    "a missing scaler": (
        training,
        "enabled=self.precision.scaler",
        "enabled=False",
        "fp16 gradients without a GradScaler",
    ),
}


@pytest.mark.parametrize("plant", IN_THE_PACKAGE)
def test_a_plant_in_the_package_is_caught(plant):
    module, before, after, said = IN_THE_PACKAGE[plant]
    with pytest.raises((RuntimeError, TypeError), match=said):
        two_steps(**{module.__name__.split(".")[-1]: planted(module, before, after)})


SETUP = """
import numpy as np, torch
import torch.nn.functional as F
from gpt2lite import GPT, GPTConfig, sampling
from gpt2lite.course import setup
session = setup.start("x")
model = GPT(GPTConfig(32, 256, 1, 2, 8)).to(session.device)
x = torch.arange(16, device=session.device).view(2, 8)
opt = torch.optim.AdamW(model.parameters())
def step(dtype, scaler=torch.amp.GradScaler("cuda", enabled=False)):
    with torch.autocast("cuda", dtype):
        loss = F.cross_entropy(model(x).flatten(0, 1).float(), x.flatten())
    scaler.scale(loss).backward()
    opt.step()
"""
IN_A_NOTEBOOK = {  # a cell, and what the T4 says
    "model(torch.zeros(1, 8, dtype=torch.long))": "Expected all tensors to be on the same device",
    "x.numpy()": "can't convert cuda:0 device type tensor to numpy",
    "np.asarray(model.wte.weight.detach())": "can't convert cuda:0 device type tensor to numpy",
    "sampling.generate(model, x, 2, generator=torch.Generator().manual_seed(1))": (
        "Expected a 'cuda' device type for generator but found 'cpu'"
    ),
    "step(torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)": (
        "autocast to bf16 on a Tesla T4"
    ),
    "step(torch.float16)": "fp16 gradients without a GradScaler",
    "step(torch.float16, torch.amp.GradScaler('cuda'))": "fp16 gradients without a GradScaler",
}


def test_plants_in_a_notebook_are_caught(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    t4.write_startup(tmp_path)
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *IN_A_NOTEBOOK)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, allow_errors=True, kernel_name="python3").execute()
    start, *rest = notebook.cells
    assert "Tesla T4" in start.outputs[0].text, "the kernel had no T4"
    for cell, (source, said) in zip(rest, IN_A_NOTEBOOK.items(), strict=True):
        errors = [output.evalue for output in cell.outputs if output.output_type == "error"]
        assert errors and said in errors[0], f"{source}: {errors or 'nothing was said'}"


def test_tensors_go_and_stay_where_a_gpu_has_them():
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    model = tiny_gpt()
    weight, moved = model.wte.weight, model.to("cuda").wte.weight
    assert moved is weight and weight.device == gpu, "Module.to keeps its parameters, as on a GPU"
    assert copy.deepcopy(model).wte.weight.is_cuda and model.wte.weight[:2].data.is_cuda
    assert model(torch.zeros(1, 2, dtype=torch.long, device=gpu)).device == gpu
    assert weight.cpu().device == weight.to("cpu").device == cpu and weight.device == gpu
    assert torch.zeros(2).copy_(torch.ones(2, device="cuda")).device == cpu
    indices = torch.tensor([0, 1])
    assert weight[indices].is_cuda and (weight * torch.tensor(2.0)).is_cuda
    with pytest.raises(RuntimeError, match="same device"):
        indices[indices.cuda()]
    with pytest.raises(RuntimeError, match="same device"):
        torch.cat([weight, weight.cpu()])
    assert model.to("cpu").wte.weight.device == cpu


def test_products_are_fp16_with_its_range_and_its_digits():
    x = torch.tensor([[300.0, 1 + 2**-12]], device="cuda")
    with torch.autocast("cuda", torch.float16):
        square = x.t() @ x
        assert square.dtype == torch.float16 and square[0, 0].isinf() and square[1, 1] == 1
    assert (x.t() @ x)[0, 0] == 90000 and (x.half().t() @ x.half())[0, 0].isinf()


def test_its_memory_is_that_of_the_tensors_alive():
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    x = torch.zeros(256, 1024, device="cuda")  # 1 MiB
    view, twice = x[1:], x + x
    assert torch.cuda.memory_allocated() - before == 2 * 2**20, "a view takes no memory"
    del x, twice
    assert torch.cuda.memory_allocated() - before == 2**20, "a view keeps its storage"
    del view
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before == 2 * 2**20
    x = torch.zeros(256, 1024, device="cuda", requires_grad=True)
    (x * x).sum().backward()
    assert torch.cuda.memory_allocated() - before == 2 * 2**20, "a gradient takes memory"
    assert torch.cuda.max_memory_allocated() - before > 3 * 2**20, "so does a backward pass"


def test_its_memory_can_be_too_small():
    torch.cuda.set_per_process_memory_fraction(1e5 / t4.TOTAL)
    try:
        with pytest.raises(training.OutOfMemory, match="halve batch_size"):
            two_steps()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
