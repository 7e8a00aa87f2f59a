"""The widgets of the notebooks react to being moved; no browser runs here."""

import re

import ipywidgets
import pytest
import torch

from gpt2lite import GPT, GPTConfig
from gpt2lite.config import SIZES
from gpt2lite.course.widgets import sampling_playground, sizes_explorer
from gpt2lite.course.widgets.sizes import RANGES, sizes_report
from gpt2lite.tokenizer import get_tokenizer


def parts(explorer):
    preset, *rows, page = explorer.children
    return preset, {s.description: s for row in rows for s in row.children}, page


def test_the_explorer_begins_with_gpt2_and_follows_its_sliders():
    preset, sliders, page = parts(sizes_explorer())
    assert set(sliders) == set(RANGES) and "124,439,808 parameters" in page.value
    sliders["n_layer"].value = 24
    assert preset.value == "your own" and "209,494,272 parameters" in page.value
    sliders["n_layer"].value = 12
    assert preset.value == "gpt2" and "124,439,808 parameters" in page.value


@pytest.mark.parametrize("size", SIZES)
def test_a_preset_moves_all_sliders_to_its_sizes(size):
    preset, sliders, page = parts(sizes_explorer("gpt2-xl" if size == "gpt2" else "gpt2"))
    preset.value = size
    config = SIZES[size]
    assert preset.value == size and sliders["T"].value == config.block_size
    for name in ("n_layer", "n_head", "n_embd", "vocab_size"):
        assert sliders[name].value == getattr(config, name)


def test_a_model_that_cannot_be_says_why():
    _, sliders, page = parts(sizes_explorer())
    sliders["n_head"].value = 7
    assert "No such model" in page.value and "does not divide" in page.value
    assert "opacity" in page.value and "124,439,808 parameters" in page.value, "the last picture"


def test_the_report_says_what_fits_on_a_t4():
    small = dict(n_layer=12, n_head=12, n_embd=768, vocab_size=50257, T=1024)
    assert "GiB to spare" in sizes_report(**small, B=4)
    assert "GiB too much" in sizes_report(**small, B=32)


def test_only_widgets_that_colab_knows():
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    core = "VBox HBox HTML ToggleButtons SelectionSlider FloatSlider Text IntText Button".split()
    core = [getattr(ipywidgets, name) for name in core]
    for made in (sizes_explorer(), sampling_playground(speaker(), get_tokenizer())):
        assert all(type(widget) in core for widget in walk(made))


def speaker():
    """Return a small model with GPT-2's vocabulary whose guesses differ in likelihood."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=40, n_layer=1, n_head=2, n_embd=16))
    torch.nn.init.normal_(model.wte.weight, std=0.5)
    return model.eval()


def dials(playground):
    text, *rows, page, said = playground.children
    return text, {w.description: w for row in rows for w in row.children}, page, said


def test_each_dial_moves_the_distribution_and_only_a_prompt_runs_the_model():
    model, runs = speaker(), []
    model.ln_f.register_forward_hook(lambda *_: runs.append(1))
    text, dial, page, _ = dials(sampling_playground(model, get_tokenizer()))
    assert "50,257 of 50,257 kept" in page.value and "cut" not in page.value
    pages = [page.value]
    for name, value in (("temperature", 0.7), ("top-k", 5), ("top-p", 0.1)):
        dial[name].value = value
        pages.append(page.value)
    dial["temperature"].value = 0
    assert len({*pages, page.value}) == 5
    assert "5 of 50,257 kept" in pages[2] and ", cut" in pages[2]
    assert "1 of 50,257 kept" in page.value and "100.0%" in page.value
    assert len(runs) == 1, "a slider ran the model again"
    text.value = "The dog"
    assert len(runs) == 2


def test_the_button_draws_what_its_seed_says():
    text, dial, _, said = dials(sampling_playground(speaker(), get_tokenizer(), prompts=["<b>Hi"]))
    spoken = []
    for seed in (1, 1, 2):
        dial["seed"].value = seed
        dial["Generate"].click()
        spoken.append(said.value)
    assert spoken[0] == spoken[1] != spoken[2]
    assert "&lt;b&gt;Hi" in said.value, "a prompt must not become markup"
    assert not dial["Generate"].disabled


def test_what_was_said_turns_pale_when_a_dial_moves():
    text, dial, page, said = dials(sampling_playground(speaker(), get_tokenizer()))
    for name, value in (("temperature", 0.5), ("top-k", 5), ("top-p", 0.5), ("seed", 7)):
        dial["Generate"].click()
        assert "opacity" not in said.value
        dial[name].value = value
        assert "opacity" in said.value, f"{name}: the text stays as if the dials had drawn it"


def test_a_bar_is_as_long_as_its_chance():
    _, dial, page, _ = dials(sampling_playground(speaker(), get_tokenizer()))
    dial["temperature"].value = 0
    sure = max(map(int, re.findall(r"width:(\d+)px;height:12px", page.value)))
    dial["temperature"].value = 2
    assert max(map(int, re.findall(r"width:(\d+)px;height:12px", page.value))) < sure / 2


def test_a_seed_that_is_none_is_told():
    _, dial, _, said = dials(sampling_playground(speaker(), get_tokenizer()))
    dial["seed"].value = 10**20
    dial["Generate"].click()
    assert "is no seed" in said.value


def test_a_suggested_prompt_is_read_with_its_new_line():
    seen, model = [], speaker()
    model.wte.register_forward_hook(lambda _, idx, out: seen.append(idx[0][0].tolist()))
    playground = sampling_playground(model, get_tokenizer(), prompts=("The dog", "ROMEO:\n"))
    text, dial, _, said = dials(playground)
    dial["ROMEO:\\n"].click()
    assert text.value == "ROMEO:\\n"
    assert [get_tokenizer().decode(ids) for ids in seen] == ["The dog", "ROMEO:\n"]
    dial["Generate"].click()
    assert "ROMEO:\n" in said.value


def test_end_of_text_is_one_token():
    seen, model = [], speaker()
    model.wte.register_forward_hook(lambda _, idx, out: seen.append(idx[0].tolist()))
    sampling_playground(model, get_tokenizer(), prompts=["A<|endoftext|>"])
    assert seen == [[[32, 50256]]]


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_playground_takes_a_long_prompt_and_no_prompt():
    text, dial, page, said = dials(sampling_playground(speaker(), get_tokenizer()))
    text.value = "word " * 100  # longer than the context
    dial["Generate"].click()
    assert len(said.value) > len(text.value)
    text.value = ""
    dial["Generate"].click()
    assert "Type a prompt" in page.value and not dial["Generate"].disabled, "focus would be lost"
