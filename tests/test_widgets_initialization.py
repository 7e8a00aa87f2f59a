"""The dials of notebook 03: they compute what a GPT-2 with those weights computes."""

import math

import ipywidgets
import pytest
import torch

from gpt2lite import GPT, GPTConfig
from gpt2lite.course import unit_model as start
from gpt2lite.course.widgets.initialization import initialization_explorer, start_report
from gpt2lite.model import init_gpt2


@pytest.fixture(scope="module")
def model():
    return start.unit_model(C=64)


def built(model, n_layer, wte, wpe, blocks, smaller):
    """Return a plain GPT whose weights are those that the dials stand for."""
    c = model.config
    gpt = GPT(GPTConfig(c.block_size, c.vocab_size, n_layer, c.n_head, c.n_embd))
    for name, p in gpt.named_parameters():
        p.data.copy_(model.get_parameter(name))
        if p.dim() == 2:
            p.data *= {"wte.weight": wte, "wpe.weight": wpe}.get(name, blocks)
            if smaller and name.endswith("c_proj.weight"):
                p.data /= math.sqrt(2 * n_layer)
    return gpt.eval()


@pytest.mark.parametrize("smaller", (True, False))
def test_the_dials_stand_for_a_real_gpt2(model, smaller):
    at = (2, 0.07, 0.03, 0.05, smaller)
    rms, loss = start.first_stream(model, *at)
    gpt, seen = built(model, *at), []
    for part in (*gpt.h, gpt.ln_f):
        part.register_forward_pre_hook(lambda _, x: seen.append(x[0].square().mean().sqrt().item()))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = gpt(torch.randint(50257, (1, start.T), generator=generator))
    expected = (logits.logsumexp(-1) - logits.mean(-1)).mean().item()
    assert rms == pytest.approx(seen, rel=1e-4) and loss == pytest.approx(expected, rel=1e-5)


def test_the_dials_begin_where_gpt2_begins(model):
    """init_gpt2 draws other numbers, but of the same spreads."""
    c = model.config
    gpt = GPT(GPTConfig(c.block_size, c.vocab_size, 12, c.n_head, c.n_embd))
    init_gpt2(gpt)
    ours = built(model, 12, 0.02, 0.01, 0.02, True).state_dict()
    for name, p in gpt.state_dict().items():
        if p.dim() == 2:
            assert ours[name].std() == pytest.approx(p.std().item(), rel=0.06), name
        else:
            assert torch.equal(ours[name], p), name


def test_the_unit_model_leaves_the_readers_random_numbers_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    start.unit_model(C=32)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_smaller_projections_keep_the_streams_end_at_any_depth(model):
    ends = {
        smaller: [start.first_stream(model, n, 0.02, 0.01, 0.02, smaller)[0][-1] for n in (2, 24)]
        for smaller in (True, False)
    }
    assert ends[True][1] == pytest.approx(ends[True][0], rel=0.1)
    assert ends[False][1] > 1.3 * ends[False][0]


def test_the_report_marks_the_prediction_that_holds(model):
    random, own = "✓</span>ln V", "✓</span>a token"
    gpt2 = start_report(model, 12, 0.02, 0.01, 0.02, True)
    assert "First loss 10.84" in gpt2 and random in gpt2 and own not in gpt2
    assert gpt2.count("into h.") == 12 and gpt2.count("into ln_f") == 1
    loud = start_report(model, 12, 0.5, 0.01, 0.02, True)
    assert own in loud and random not in loud


def test_every_dial_moves_the_page():
    explorer = initialization_explorer()
    *rows, shown = explorer.children
    dials = [widget for row in rows for widget in row.children]
    pages = [shown.value]
    for dial in dials:
        dial.value = not dial.value if dial.description.startswith("both") else dial.options[-1][1]
        pages.append(shown.value)
    assert len(set(pages)) == len(dials) + 1 == 6
    core = "VBox HBox HTML SelectionSlider Checkbox".split()
    kinds = {type(w) for w in (explorer, *rows, *dials, shown)}
    assert kinds == {getattr(ipywidgets, name) for name in core}
