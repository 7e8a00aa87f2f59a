"""Pictures of notebook 08 say in title and alt text what is drawn."""

from gpt2lite import SIZES, planner
from gpt2lite.course import figures


def test_what_the_step_waits_for_after_its_last_bucket_is_said():
    trips = ((5.0, 7.0, 1e6), (8.0, 11.0, 2e6), (9.0, 12.5, 3e5))
    sent = [{"ms": left, "there": there, "bytes": n} for left, there, n in trips]
    fig = figures.buckets(sent, (3.0, 13.0))
    assert fig.get_suptitle() == "After the last of 3 buckets the step waits 4 ms"
    assert "backward ends at 9.0 ms" in fig.alt and "2.0 MB from 8.0 to 11.0 ms" in fig.alt
    assert [list(line.get_xdata()) for line in fig.axes[0].lines[:3]] == [
        [left, there] for left, there, _ in trips
    ]


def test_a_network_that_is_fast_enough_leaves_the_computation():
    flops, sent = planner.step_flops(SIZES["gpt2"], 1024, planner.BATCH), 871e6
    machine = planner.card("A100", 0.5, 8)
    fig = figures.step_by_bandwidth(flops, machine, sent)
    compute = flops / (8 * machine.peak * 0.5)
    enough = sent / (2 / 3 * compute / 4) / 1e9
    assert fig.get_suptitle() == f"4 passes hide all sending from {enough:.1f} GB / s on"
    lines = [line.get_ydata() for line in fig.axes[0].lines[:3]]
    assert all(abs(y[-1] / compute - 1) < 0.03 for y in lines), (
        "the curves end at computation alone"
    )
    assert lines[0][12] < lines[1][12] < lines[2][12], "more passes hide less"
    none = figures.step_by_bandwidth(flops, machine, sent, seconds=lambda *_: 1.0)
    assert "1 pass a step 1.00 s" in none.alt, "the reader's own function is drawn"


def test_memory_is_drawn_part_by_part_up_to_its_total():
    parts = {"weights": 2e9, "gradients": 2e9, "adamw": 4e9, "activations": 1e9}
    fig = figures.memory({"one": parts, "two": dict.fromkeys(parts, 1e9)}, 16e9, "a T4")
    assert "one 9.0, two 4.0" in fig.alt and "a T4" in fig.alt
    assert len(fig.axes[0].patches) == 8


def test_an_extrapolation_says_by_how_much_it_is_off():
    fig = figures.extrapolated([80, 160, 240], [2.6, 2.5, 2.4], 2.44)
    assert fig.axes[0].get_title(loc="left") == "The line misses the longest run by 0.040 nats"
    assert figures.data_parallel().alt.startswith("One step on two ranks")
