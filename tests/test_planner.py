"""A plan's time, memory and bytes are what they must be, and near to what others have published."""

import json
import math
from pathlib import Path

import pytest

from gpt2lite import SIZES, planner
from gpt2lite.accounting import mfu, training_bytes
from gpt2lite.planner import BATCH, REACHED, Machine, card, measured, plan

GPT2 = SIZES["gpt2"]
SLOW = Machine("slow", peak=1e12, mfu=0.5, count=4, bandwidth=1e9, price=2.0)


def test_a_plan_of_what_a_run_reached_takes_as_long_as_that_run():
    here = measured("here", GPT2, 1024, 17_900)
    made = plan(GPT2, here, 10e9, B=4)
    assert made.tokens_per_s == pytest.approx(17_900)
    assert made.hours / 24 == pytest.approx(6.47, abs=0.01), "10B tokens at 17.9k a second"
    assert made.sent == 0 and made.cost is None and made.fits(here)


def test_mfu_means_what_accounting_means_by_it():
    a100 = card("A100", 0.37)
    speed = plan(GPT2, a100, BATCH, B=4).tokens_per_s
    assert mfu(GPT2, 1024, speed, a100.peak) == pytest.approx(0.37)
    assert card("T4", 0.2).peak == 65e12, "fp16, in which a T4 trains"


def test_sending_hides_behind_the_last_backward_only():
    seconds = planner.step_seconds(6e12, 4, 1e12, 0.5, 0.0, 1)
    assert seconds == 3.0
    for comm, micro_steps, expected in ((2.0, 1, 3.0), (2.5, 1, 3.5), (2.0, 4, 4.5)):
        got = planner.step_seconds(6e12, 4, 1e12, 0.5, comm, micro_steps)
        assert got == pytest.approx(expected), f"comm={comm}, {micro_steps} passes"


def test_more_cards_share_the_work_and_send_more():
    one, two, eight = (plan(GPT2, card("A100", 0.4, n), 10e9, B=16) for n in (1, 2, 8))
    assert one.step == pytest.approx(8 * eight.step) and one.micro_steps == 8 * eight.micro_steps
    assert one.sent == 0 and two.sent == pytest.approx(4 * 124_439_808)
    assert eight.sent == pytest.approx(two.sent * 7 / 4)
    thin = card("A100", 0.4, 8, bandwidth=1e8)
    assert plan(GPT2, thin, 10e9, B=16).step > eight.step + 8


def test_memory_is_the_accounts_and_shards_share_all_but_activations():
    held = training_bytes(GPT2, 4, 1024)
    made = plan(GPT2, card("A100", 0.4, 8), 10e9, B=4)
    assert made.bytes == held["total"]
    assert made.sharded == pytest.approx(
        held["activations"] + (held["total"] - held["activations"]) / 8
    )
    assert not plan(SIZES["gpt2-xl"], t4 := card("T4", 0.2), 10e9, B=1).fits(t4)
    large = plan(SIZES["gpt2-large"], t4, 10e9, B=1)
    assert large.bytes < t4.memory and not large.fits(t4), "the driver's share is given away"


def test_a_price_is_of_one_card_for_an_hour():
    made = plan(GPT2, SLOW, 100 * BATCH, B=4)
    assert made.hours == pytest.approx(100 * made.step / 3600)
    assert made.cost == pytest.approx(made.hours * 4 * 2.0)
    assert plan(GPT2, SLOW, 100 * BATCH + 1, B=4).hours > made.hours, "the last step is a whole one"


@pytest.mark.parametrize("name", REACHED)
def test_what_was_reached_is_a_possible_mfu(name):
    kind, count, speed, _ = REACHED[name]
    reached = mfu(GPT2, 1024, speed / count, card(kind, 0.5).peak)
    assert 0.2 < reached < 0.65, f"{name}: an MFU of {reached:.0%}"


def test_what_we_reached_is_what_was_recorded():
    path = Path(__file__).parent.parent / "notebooks" / "recorded" / "gpu.json"
    recorded = json.loads(path.read_text())
    assert recorded["hardware"] == "NVIDIA H200"
    small, large = recorded["parts"]["ladder"]["fused AdamW"], recorded["parts"]["large batch"]
    assert REACHED["ours, H200, B = 128"][2] == pytest.approx(large["tokens_per_s"], abs=1)
    counted = training_bytes(GPT2, 4, 1024)["total"]
    assert planner.ROOM < counted / small["bytes"] < 1, (
        "the memory of a plan is what was measured, nearly"
    )


def test_the_usual_mfu_is_the_middle_one_of_those_reached():
    names = ("nanoGPT, A100", "build-nanogpt, A100", "llm.c, 8 x A100")
    reached = [REACHED[name][2] / REACHED[name][1] for name in names]
    assert planner.usual_mfu("A100") == mfu(GPT2, 1024, sorted(reached)[1], 312e12)
    assert 0.2 < planner.usual_mfu("T4") < 0.3 < planner.usual_mfu("H200") < 0.5


def test_one_mfu_for_both_published_steps_is_off_by_what_the_course_says():
    ratios = [
        plan(GPT2, card(kind, 0.5, 8), 10e9, B=16).step / published
        for kind, published in (("A100", 0.300), ("H100", 0.140))
    ]
    assert ratios == pytest.approx([1.20, 0.81], abs=0.01)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: card("A100", 40), "no share of the peak"),
        (lambda: card("B200", 0.4), "none of the cards: T4"),
        (lambda: card("A100", 0.4, 0), "at least 1"),
        (lambda: card("A100", 0.4, bandwidth=0), "must be above 0"),
        (lambda: plan(GPT2, SLOW, 10e9, B=0), "B=0, .* must be at least 1"),
        (lambda: plan(GPT2, SLOW, 10e9, B=4, batch=-(2**19)), "batch=-524288 .* at least 1"),
        (lambda: plan(GPT2, SLOW, 0, B=4), "tokens=0 must be at least 1"),
        (lambda: plan(GPT2, SLOW, math.inf, B=4), "tokens=inf must be"),
        (lambda: plan(GPT2, SLOW, 10e9, B=4, T=2048), "T=2048 in 1 to 1024"),
        (lambda: plan(GPT2, card("A100", 0.4, 3), 10e9, B=16), "a multiple of 49,152"),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_infinite_bandwidth_is_the_default():
    assert card("A100", 0.4).bandwidth == math.inf
