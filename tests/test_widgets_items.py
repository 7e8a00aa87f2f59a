"""The dials of notebook 07: their intervals are those of simulated comparisons."""

import ipywidgets
import numpy as np
import pytest

from gpt2lite.course.widgets.items import comparison, deviations, items_explorer


def test_the_deviations_are_those_of_simulated_scores():
    score, difference, disagreement = 0.7, 0.06, 0.2
    only_b = (disagreement + difference) / 2  # right where the other is wrong
    only_a = disagreement - only_b
    both = score - only_a
    kinds = np.random.default_rng(0).choice(
        4, p=[both, only_a, only_b, 1 - both - only_a - only_b], size=200_000
    )
    a, b = np.isin(kinds, (0, 1)).astype(float), np.isin(kinds, (0, 2)).astype(float)
    found = deviations(score, difference, disagreement)
    assert found["the same items"] == pytest.approx((b - a).std(), rel=0.01)
    other = np.random.default_rng(1).permutation(a)  # another model's, on items of its own
    assert found["different items"] == pytest.approx((b - other).std(), rel=0.01)


def test_the_page_says_who_is_told_apart():
    page = comparison(500, 0.75, 0.03, 0.08)
    assert "different items: not told apart with 500" in page
    assert "the same items: told apart with 500" in page
    assert "needs 1,533</div>" in page and "needs 338</div>" in page


def test_models_disagree_at_least_as_much_as_they_differ():
    page = comparison(500, 0.75, 0.05, 0.01)
    assert "at least as many items" in page and "needs 73</div>" in page
    assert "at least as many items" not in comparison(500, 0.75, 0.05, 0.05)


def test_every_dial_moves_the_page():
    explorer = items_explorer()
    *dials, shown = explorer.children
    pages = [shown.value]
    for dial in dials:
        dial.value = dial.options[-1][1] if hasattr(dial, "options") else dial.max
        pages.append(shown.value)
    assert len(set(pages)) == len(dials) + 1 == 5
    core = "VBox HTML SelectionSlider FloatSlider".split()
    assert {type(w) for w in (explorer, *dials, shown)} == {getattr(ipywidgets, k) for k in core}
