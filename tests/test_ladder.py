"""Every rung computes the lowest one's gradient, and leaves the process as it was."""

import json
from dataclasses import fields
from itertools import pairwise

import pytest
import torch

from gpt2lite import GPT, GPTConfig
from gpt2lite.course import ladder
from gpt2lite.course.exercises import PARTS
from gpt2lite.course.ladder import KINDS, ExplicitAttention, Ladder, Rung
from gpt2lite.course.records import recorded
from gpt2lite.precision import Precision

CONFIG = GPTConfig(block_size=16, vocab_size=129, n_layer=2, n_head=2, n_embd=32)
TOKENS = torch.arange(2000).remainder(129).numpy()  # a text to learn: counting
CPU = torch.device("cpu")
STEP = PARTS["04_scaled_step"].solution
BF16 = {"dtype": torch.bfloat16}
CHANGES = {
    "sdpa": ({"sdpa": True}, 1e-5),
    "fused": ({"fused": True}, 1e-5),
    "onednn": ({"onednn": True}, 1e-5),
    "tf32": ({"tf32": True}, 1e-5),  # on a CPU a setting that computes the same
    "lean loss": ({"lean_loss": True}, 1e-5),
    "padded": ({"padded": True}, 1e-5),
    "bf16": (BF16, 0.03),
    "fp16": ({"dtype": torch.float16}, 0.01),
    "all": ({"sdpa": True, "fused": True, "lean_loss": True, "padded": True, **BF16}, 0.03),
}


@pytest.fixture
def course():
    torch.manual_seed(0)
    return Ladder(CONFIG, TOKENS, B=2, lr=1e-2, step=STEP, device=CPU)


@pytest.mark.parametrize("change, allowed", CHANGES.values(), ids=CHANGES)
def test_a_rung_trains_the_same_model(course, change, allowed):
    lowest, changed = course.climb(Rung(), 3), course.climb(Rung("changed", **change), 3)
    apart = (changed.first - lowest.first).norm() / lowest.first.norm()
    assert apart < allowed, f"another gradient: {apart:.1e}"
    assert changed.losses == pytest.approx(lowest.losses, abs=0.02)
    assert lowest.losses[2] < lowest.losses[0] - 0.01, "the step does not train"


def test_explicit_attention_is_the_models(course):
    torch.manual_seed(0)
    gpt, x = GPT(CONFIG), torch.randn(2, 16, 32)
    explicit = ExplicitAttention(CONFIG)
    explicit.load_state_dict(gpt.h[0].attn.state_dict())
    torch.testing.assert_close(explicit(x), gpt.h[0].attn(x))


def test_a_rung_can_be_climbed_again_and_leaves_nothing(course):
    settings = torch.get_float32_matmul_precision, lambda: torch.is_autocast_enabled("cpu")
    before = [ask() for ask in settings]
    first = course.climb(Rung(), 2)
    course.climb(Rung(tf32=True), 1)
    course.climb(Rung(**CHANGES["all"][0]), 2)
    again = course.climb(Rung(), 2)
    assert torch.equal(again.first, first.first) and again.losses == first.losses
    assert [ask() for ask in settings] == before


def test_memory_is_what_autograd_keeps(course):
    held = {
        name: course.climb(Rung(name, **change), 1).bytes for name, (change, _) in CHANGES.items()
    }
    explicit = course.climb(Rung(), 1).bytes
    scores = 2 * 2 * 2 * 16 * 16 * 4  # layers, B, H, T, T, bytes
    assert explicit - held["sdpa"] >= scores, "the (T, T) weights are kept, and SDPA keeps none"
    assert held["bf16"] < explicit
    weight = torch.randn(5, 5, requires_grad=True)
    assert ladder.kept_bytes(lambda: (weight * 2).exp() + weight.exp()) == 2 * 5 * 5 * 4


def test_a_profile_sorts_the_operations(course, capfd):
    spent = {name: course.profile(Rung(name, **CHANGES[name][0])) for name in ("fused", "all")}
    for kinds in spent.values():
        assert list(kinds) == [*KINDS, "other"]
        assert all(kinds[kind] > 0 for kind in ("AdamW", "attention", "loss", "matmuls"))
    assert spent["all"]["casts, copies"] > spent["fused"]["casts, copies"], "bf16 casts weights"
    assert capfd.readouterr() == ("", ""), "the profiler's library prints"


def test_a_machine_gets_the_rungs_that_it_has(monkeypatch):
    def names(device, dtype, capability=None):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        rungs, missing = ladder.rungs_of(Precision(torch.device(device), dtype, False, ""))
        for below, above in pairwise(rungs):
            changed = [
                f.name for f in fields(Rung) if getattr(above, f.name) != getattr(below, f.name)
            ]
            assert changed[0] == "name" and len(changed) == 2, "one change at a time"
        assert len(rungs) - 1 + len(missing) == 8 and all(missing.values())
        return set(missing)

    units = Rung().u, Rung(tf32=True).u, Rung(tf32=True, **BF16).u
    assert units == (2.0**-24, 2.0**-11, 2.0**-8)
    assert names("cpu", torch.float32) == {"TF32", "autocast", "padded V", "compile"}
    assert names("cpu", torch.bfloat16) == {"TF32", "padded V", "compile"}
    assert names("cuda", torch.float16, (7, 5)) == {"oneDNN", "TF32"}
    assert names("cuda", torch.bfloat16, (8, 0)) == {"oneDNN"}


def test_rates_are_measured():
    assert 1e6 < ladder.rate(CPU, torch.float32, 64) < 1e14
    assert ladder.peak(CPU, torch.float32) > 1e8


def test_a_gpus_ladder_is_recorded_from_the_slowest_rung_to_the_fastest():
    rungs = json.loads(recorded("gpu").read_text(encoding="utf-8"))["parts"]["ladder"]
    times = [rung["ms"] for rung in rungs.values()]
    assert next(iter(rungs)) == "fp32, attention written out"
    assert times[0] == max(times) > 5 * times[-1] == 5 * min(times), "notebook 04 says so"
