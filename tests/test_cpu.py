"""The faster ways on a CPU compute the same, act where they should, and leave nothing behind."""

import contextlib
import ctypes
import platform
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, random_ids, tiny_gpt

from gpt2lite import GPT, cpu
from gpt2lite.sampling import generate, tokens

mkldnn, cuda = torch.backends.mkldnn, torch.backends.cuda
switch = pytest.mark.skipif(not hasattr(mkldnn, "matmul"), reason="this PyTorch has no switch")
packing = pytest.mark.skipif(
    cpu._onednn_product(torch.float32) is None, reason="this PyTorch cannot pack"
)


@pytest.fixture
def x86(monkeypatch):
    """A CPU that counts as x86, without AMX units."""
    monkeypatch.setattr(cpu, "IS_X86", True)


@pytest.fixture
def loaded(tmp_path, x86):
    """A model with the files' layout."""
    tiny_gpt().save_pretrained(tmp_path)
    return GPT.from_pretrained(tmp_path)


def decoding(rows=1, steps=1):
    return cpu.decoding(torch.device("cpu"), rows, steps)


@pytest.fixture
def calls(monkeypatch):
    """How often each of the faster operators was called."""
    counts, mkldnn_ops = {}, torch.ops.mkldnn

    def watch(owner, name):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            counts[name] = counts.get(name, 0) + 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    watch(F, "embedding_bag")
    watch(torch, "bmm")
    if cpu._onednn_product(torch.float32):
        watch(mkldnn_ops, "_linear_pointwise")
        watch(mkldnn_ops, "_reorder_linear_weight")
    return counts


MATRICES = 4 * TINY.n_layer


# Decoding


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 64])
def test_one_row_is_the_same_in_the_files_layout(loaded, threads, monkeypatch, calls):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    idx = torch.tensor([[3]])
    plain = loaded(idx)
    assert not calls
    with decoding():
        fast = loaded(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert calls["embedding_bag"] == MATRICES, "not every matrix took the fast way"


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_row_is_the_same_in_the_usual_layout(threads, monkeypatch, x86, calls):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model, idx = tiny_gpt(vocab_size=64), torch.tensor([[3]])
    plain = model(idx)
    with decoding():
        fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5
    assert calls["bmm"] == MATRICES + 1, "not every matrix took the fast way"


@torch.no_grad()
def test_one_row_is_at_most_twice_as_far_from_fp32_as_bf16_is(loaded, monkeypatch):
    idx, exact = torch.tensor([[3]]), loaded(torch.tensor([[3]]))
    loaded.bfloat16()
    mv, enabled = torch.mv, []
    monkeypatch.setattr(torch, "mv", lambda *a: enabled.append(mkldnn.enabled) or mv(*a))
    plain, before = (loaded(idx) - exact).abs().max(), mkldnn.enabled
    with decoding():
        fast = (loaded(idx) - exact).abs().max()
    assert mkldnn.enabled == before
    assert enabled == [False], "the head did not take the fast way"
    assert fast <= 2 * plain, f"bf16 is {plain:.1e} from fp32, the fast way {fast:.1e}"


@packing
@torch.no_grad()
@pytest.mark.parametrize("rows, steps, packed", [(2, 32, True), (2, 31, False), (1, 99, False)])
def test_several_rows_are_the_same_and_packed_where_many_steps_repay_it(
    loaded, calls, rows, steps, packed
):
    idx, context = random_ids(TINY, rows, 5), decoding(rows, steps)
    plain = loaded(idx)
    for _ in range(2):
        with context:
            assert (loaded(idx) - plain).abs().max() <= 2e-6 * plain.abs().max()
    assert calls["_linear_pointwise"] == 2 * (MATRICES + 1), "not every matrix took the fast way"
    assert calls.get("_reorder_linear_weight", 0) == packed * (MATRICES + 1), "packed once, or not"


@packing
@torch.no_grad()
def test_a_matrix_that_was_trained_meanwhile_is_packed_again(loaded):
    idx, context = random_ids(TINY, 2, 5), decoding(2, 99)
    with context:
        loaded(idx)
    for p in loaded.parameters():
        p.mul_(1.5)
    plain = loaded(idx)
    with context:
        assert (loaded(idx) - plain).abs().max() <= 1e-5, "packed weights are out of date"


@packing
@torch.no_grad()
def test_nothing_is_packed_where_memory_is_short(loaded, calls, monkeypatch):
    head = loaded.wte.weight.nbytes
    monkeypatch.setattr(cpu, "free_memory", lambda: 2 * head + 2)  # half of it may be used
    with decoding(2, 99):
        loaded.head(torch.ones(2, TINY.n_embd))
        loaded(random_ids(TINY, 2, 5))
    assert calls["_reorder_linear_weight"] == 1, "packed beyond half of the free memory"


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2])
def test_without_onednns_own_operators_it_computes_the_same(loaded, rows, monkeypatch):
    def gone(*args):
        raise RuntimeError("no such operator in this release")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", gone)
    found = cpu._onednn_product.__wrapped__(torch.float32)
    assert found is None
    monkeypatch.setattr(cpu, "_onednn_product", lambda dtype: found)
    idx = random_ids(TINY, rows, 5)
    plain = loaded(idx)
    with decoding(rows, 99):
        assert (loaded(idx) - plain).abs().max() <= 1e-5


def test_an_operator_that_computes_something_else_is_not_used(monkeypatch):
    wrong = lambda x, w, bias, *_: F.linear(x, torch.ones(8, 8), bias)  # noqa: E731
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", wrong)
    assert cpu._onednn_product.__wrapped__(torch.float32) is None


@torch.no_grad()
def test_patches_and_heads_of_other_kinds_are_used_as_they_are(loaded):
    layer, idx = loaded.h[0].mlp.c_fc, torch.tensor([[3]])
    layer.forward = lambda x: F.linear(x, 2 * layer.weight)
    loaded.head = lambda x: -F.linear(x, loaded.wte.weight)
    plain, context = loaded(idx), decoding()
    with context:
        assert (loaded(idx) - plain).abs().max() <= 1e-5
    kept = {id(weight) for weight, _, _ in context.known.values()}
    assert kept <= {id(p) for p in loaded.parameters()}, "a product of the moment was kept"
    assert generate(loaded, idx, 1, temperature=0)[0, -1] == plain[0, -1].argmax()


@torch.no_grad()
def test_decoding_ends_with_its_block_also_after_an_error(loaded, calls):
    with pytest.raises(KeyError), decoding():
        raise KeyError
    loaded(torch.tensor([[3]]))
    reader = tokens(loaded, torch.tensor([[1]]), 5)
    next(reader)
    calls.clear()
    loaded(torch.tensor([[3]]))
    assert not calls, "between two tokens the model is the caller's"


def test_decoding_leaves_linear_as_it_was_also_beside_a_thread_that_goes_on(x86, monkeypatch):
    monkeypatch.setattr(F, "linear", patched := lambda *a: "somebody's own")
    entered, leave = threading.Event(), threading.Event()

    def decode():
        with decoding():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=decode, daemon=True)
    with decoding():
        thread.start()
        entered.wait()
    assert F.linear(0, 0) == "somebody's own", "this thread has left, and gets another's product"
    leave.set()
    thread.join()
    assert F.linear is patched


@torch.no_grad()
def test_a_model_compiles_inside_decoding(x86):
    model, idx = tiny_gpt(), torch.tensor([[3]])
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with decoding():
        assert torch.equal(compiled(idx), compiled(idx))
    assert torch.allclose(compiled(idx), model(idx), atol=1e-5)


def test_decoding_touches_no_other_function(x86):
    with decoding():
        assert torch._C._len_torch_function_stack() == 0, "a mode makes every function slower"


@torch.no_grad()
def test_decoding_acts_on_its_own_thread_only(loaded, calls):
    with decoding():
        other = threading.Thread(target=loaded, args=(torch.tensor([[3]]),))
        other.start()
        other.join()
    assert not calls


@pytest.mark.parametrize("x86, device", [(False, "cpu"), (True, "cuda")])
def test_decoding_does_nothing_elsewhere(monkeypatch, x86, device):
    monkeypatch.setattr(cpu, "IS_X86", x86)
    context = cpu.decoding(torch.device(device), 1, 1)
    assert isinstance(context, contextlib.nullcontext)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2])
def test_under_autocast_products_are_autocasts(loaded, rows, calls):
    idx = random_ids(TINY, rows, 5)
    with torch.autocast("cpu", torch.bfloat16):
        plain = loaded(idx)
        calls.clear()
        with decoding(rows, 99):
            assert torch.equal(loaded(idx), plain)
    assert not calls


@pytest.mark.parametrize("rows, steps", [(1, 9), (2, 9)])
def test_a_loaded_model_generates_what_its_copy_in_the_usual_layout_does(
    loaded, rows, steps, monkeypatch
):
    idx = random_ids(TINY, rows, 3)
    with monkeypatch.context() as plain:
        plain.setattr(cpu, "IS_X86", False)
        expected = generate(tiny_gpt(), idx, steps, temperature=0)
    assert torch.equal(generate(loaded, idx, steps, temperature=0), expected)


def test_a_model_made_in_inference_mode_generates(x86):
    with torch.inference_mode():
        model = tiny_gpt()
    expected = generate(tiny_gpt(), torch.tensor([[1, 2]]), 5, temperature=0)
    assert torch.equal(generate(model, torch.tensor([[1, 2]]), 5, temperature=0), expected)


# Settings of the whole process


def precisions():
    return (
        torch.get_float32_matmul_precision(),
        mkldnn.matmul.fp32_precision,
        cuda.matmul.fp32_precision,
        cuda.matmul.allow_tf32,
    )


@torch.no_grad()
def test_onednn_computes_the_same():
    model, idx = tiny_gpt(n_embd=64), random_ids(TINY, 2, 12)
    plain = model(idx)
    with cpu.onednn():
        fast = model(idx)
    assert (fast - plain).abs().max() <= 1e-5 * plain.abs().max()


@switch
@pytest.mark.parametrize("before", ["highest", "high"])
def test_onednn_restores_the_settings_also_after_an_error_and_nested(monkeypatch, before):
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: True)
    untouched = precisions()
    mkldnn.matmul.fp32_precision = cuda.matmul.fp32_precision = "none"  # as PyTorch starts
    if before != "highest":
        torch.set_float32_matmul_precision(before)
    found = precisions()
    try:
        with pytest.raises(KeyError), cpu.onednn():
            inside = precisions()  # PyTorch itself reads them while it compiles: they must agree
            with cpu.onednn():
                assert precisions() == inside
            assert precisions() == inside, "the inner block ended the outer one"
            raise KeyError
        assert inside[:2] == ("medium", "bf16") and precisions() == found
    finally:
        torch.set_float32_matmul_precision("highest")
        mkldnn.matmul.fp32_precision, cuda.matmul.fp32_precision = untouched[1:3]


@switch
def test_onednn_leaves_alone_what_someone_has_set_for_one_backend(monkeypatch):
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: True)
    before = mkldnn.matmul.fp32_precision
    mkldnn.matmul.fp32_precision = "bf16"  # PyTorch's older question has no answer to this
    try:
        with cpu.onednn():
            assert mkldnn.matmul.fp32_precision == "bf16"
        assert mkldnn.matmul.fp32_precision == "bf16"
    finally:
        mkldnn.matmul.fp32_precision = before


def overlap(make):
    """Enter a context in two threads, of which the first leaves first; return what is set then."""
    first_left, second_in, seen = threading.Event(), threading.Event(), []

    def second():
        with make():
            second_in.set()
            first_left.wait(10)
            seen.append(setting())

    def setting():
        return mkldnn.enabled, cuda.flash_sdp_enabled(), torch.get_float32_matmul_precision()

    thread = threading.Thread(target=second)
    with make():
        thread.start()
        assert second_in.wait(10)
        inside = setting()
    first_left.set()
    thread.join()
    return inside, seen[0], setting()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(cpu.onednn, marks=switch),
        lambda: cpu.short_attention(8),
        lambda: cpu._onednn_off,
    ],
    ids=["onednn", "short_attention", "onednn_off"],
)
def test_two_threads_that_overlap_share_a_setting_and_restore_it(monkeypatch, make):
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: True)
    before = mkldnn.enabled, cuda.flash_sdp_enabled(), torch.get_float32_matmul_precision()
    inside, still_inside, after = overlap(make)
    assert inside != before
    assert still_inside == inside, "the first thread's end was the second's as well"
    assert after == before, "the last thread has left the setting on"


@switch
def test_many_threads_that_sample_and_train_leave_everything_as_it_was(loaded, monkeypatch):
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: True)
    before = precisions(), mkldnn.enabled, cuda.flash_sdp_enabled()
    wrong = []

    def work():
        for _ in range(20):
            with cpu.onednn(), cpu.short_attention(8), cpu._onednn_off:
                if precisions()[0] != "medium" or mkldnn.enabled:
                    wrong.append(precisions())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, "a setting went away inside a block"
    assert (precisions(), mkldnn.enabled, cuda.flash_sdp_enabled()) == before


@pytest.mark.parametrize(
    "known, x86, gpu, fast",
    [
        ({"amx_bf16": True}, True, False, False),  # oneDNN would compute in bf16
        ({"amx_bf16": False}, True, False, True),
        ({"amx_bf16": False}, False, False, False),
        ({"amx_bf16": False}, True, True, False),  # the GPU would compute in TF32
        ({}, True, False, False),  # nobody knows
    ],
)
def test_onednn_stays_out_where_it_could_lose_accuracy(monkeypatch, known, x86, gpu, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(cpu, "IS_X86", x86)
    assert cpu._onednn_keeps_fp32.__wrapped__() is fast
    monkeypatch.setattr(cpu, "_onednn_keeps_fp32", lambda: fast)
    assert isinstance(cpu.onednn(), contextlib.nullcontext) is not fast


@pytest.mark.parametrize("dtype, gap", [(torch.float32, 1e-5), (torch.bfloat16, 2**-6)])
def test_short_attention_computes_the_same_and_leaves_long_alone(dtype, gap):
    q, k, v = torch.randn(3, 2, 4, 16, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    with cpu.short_attention(256):
        assert not cuda.flash_sdp_enabled()
        unfused = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert (plain.float() - unfused.float()).abs().max() < gap
    assert isinstance(cpu.short_attention(257), contextlib.nullcontext)


@pytest.mark.parametrize(
    "system, libc, settings",
    [
        ("Linux", "glibc", [(-4, 0), (-1, 2**31 - 1)]),
        ("Linux", "", []),
        ("Darwin", "", []),
        ("Windows", "", []),
    ],
)
def test_freed_memory_is_kept_with_glibc_only(monkeypatch, system, libc, settings):
    asked = []
    malloc = type("Libc", (), {"mallopt": lambda self, name, value: asked.append((name, value))})
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: malloc())
    cpu.keep_process_memory()
    assert asked == settings


def test_only_who_starts_a_process_decides_on_its_memory():
    package = Path(cpu.__file__).parent
    callers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "keep_process_memory()" in path.read_text(encoding="utf-8")
    }
    recordings = {
        f"course/{name}.py" for name in ("initializations", "ranked", "sixteen_bits", "untied")
    }
    starters = {"cpu.py", "__main__.py", "course/setup.py"} | recordings
    assert callers == starters, "a library call must not change malloc for its caller's process"


def test_free_memory_is_what_linux_says_and_else_no_bound(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:   5 kB\n")
    opened = open
    monkeypatch.setattr("builtins.open", lambda path: opened(tmp_path / path[6:]))
    assert cpu.free_memory() == 5 * 1024
    (tmp_path / "meminfo").unlink()
    assert cpu.free_memory() > 2**60


# Gradients


def gradients(model, idx, around=lambda model: contextlib.nullcontext()):
    """Return each gradient of two batches added up, by name."""
    model.zero_grad()
    for _ in range(2):
        with around(model):
            model(idx).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_row_gradients_are_the_same(tied):
    model, idx = tiny_gpt(), random_ids(TINY, 2, 12)
    idx[0, 1] = idx[0, 0]  # a token twice
    if not tied:
        head = torch.randn_like(model.wte.weight)
        model.head = lambda x: x @ head.t()
    plain = gradients(model, idx)
    rows = gradients(model, idx, cpu.row_gradients)
    for name, gradient in plain.items():
        gap = (rows[name] - gradient).abs().max() / gradient.abs().max()
        assert gap <= 1e-5, f"{name} is off by {gap:.1e} of its largest"
    assert "forward" not in vars(model.wte)
    with cpu.row_gradients(model):
        assert model.wte(idx).is_leaf, "the rows' gradients still go through all of wte"


def acts(model) -> bool:
    """Return whether row_gradients changes a model, or one inside a wrapper."""
    with cpu.row_gradients(model):
        return any(
            "forward" in vars(m) for m in model.modules() if isinstance(m, torch.nn.Embedding)
        )


class Wrapper(torch.nn.Module):
    """A wrapper like DDP, FSDP and torch.compile's: it passes on what it is asked for."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def frozen(model):
    model.wte.weight.requires_grad_(False)


def watched(model):
    model.wte.weight.register_hook(lambda grad: None)


def watched_after(model):
    model.wte.weight.register_post_accumulate_grad_hook(lambda p: None)


def sharded(model):
    model.wte.weight = type("DTensor", (torch.nn.Parameter,), {})(model.wte.weight.data)


def another_class(model):
    model.wte.__class__ = type("Scaled", (torch.nn.Embedding,), {})


@pytest.mark.parametrize("change", [frozen, watched, watched_after, sharded, another_class])
def test_row_gradients_stay_out_where_someone_else_looks_at_the_gradient(change):
    model = tiny_gpt()
    assert acts(model)
    change(model)
    assert not acts(model)


def test_row_gradients_stay_out_of_wrappers_patches_and_process_groups(monkeypatch, tmp_path):
    model = tiny_gpt()
    assert Wrapper(model).wte is model.wte
    assert not acts(Wrapper(model))
    mine = model.wte.forward = lambda idx: F.embedding(idx, 2 * model.wte.weight)
    with cpu.row_gradients(model):
        assert model.wte.forward is mine
    assert model.wte.forward is mine
    del model.wte.forward
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        assert not acts(model)
        assert not acts(torch.nn.parallel.DistributedDataParallel(model))
    finally:
        torch.distributed.destroy_process_group()
    assert acts(model)


def test_row_gradients_are_undone_after_an_error_and_without_a_backward_pass():
    model = tiny_gpt()
    with pytest.raises(KeyError), cpu.row_gradients(model):
        model(torch.tensor([[1]]))
        raise KeyError
    assert "forward" not in vars(model.wte) and model.wte.weight.grad is None
    with cpu.row_gradients(model):
        model(torch.tensor([[1]]))
    assert model.wte.weight.grad is None
