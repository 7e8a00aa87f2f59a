"""Hugging Face checkpoints in and out: what opens, and what is refused by which name.

Files that are damaged, and the hub, have tests of their own (test_hub.py).
"""

import json
import logging
import os
import stat
import time
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import TINY, enlarge, hf_config, random_ids, tiny_gpt
from hub_server import CONFIG, PUBLISHED, WEIGHTS, hub_layout
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from gpt2lite import GPT, SIZES, CheckpointError, GPTConfig, pretrained
from gpt2lite.pretrained import RELEASED


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as transformers writes it."""
    enlarge(GPT2LMHeadModel(hf_config(TINY))).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def change_weights(folder, change):
    """Rewrite the safetensors file after `change` (a function of the dict of tensors)."""
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    safetensors.torch.save_file(change(weights), folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder, **changes):
    raw = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(raw))


def same_weights(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and torch.equal(v, w) for (m, v), (n, w) in pairs)


# What opens


@pytest.mark.parametrize(
    "config", [TINY, GPTConfig(8, 50257, 1, 2, 8)], ids=["tiny", "GPT-2's vocabulary"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_opens_what_is_saved_without_a_warning(config, dtype, tmp_path, caplog):
    model = enlarge(GPT(config)).to(dtype).eval()
    model.save_pretrained(tmp_path)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    finally:
        logger.removeHandler(caplog.handler)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert not said + [str(w.message) for w in caught if "gpt2" in str(w.message).lower()]
    assert type(theirs) is GPT2LMHeadModel and theirs.dtype == dtype
    assert theirs.lm_head.weight is theirs.transformer.wte.weight
    idx = random_ids(config, 2, 8)
    if dtype == torch.float32:  # in bf16 the two round at different places
        with torch.no_grad():
            assert (theirs(idx).logits - model(idx)).abs().max() <= 1e-5


def test_the_round_trip_is_exact_and_keeps_the_config(tmp_path):
    model = tiny_gpt()
    model.save_pretrained(tmp_path / "a")
    again = GPT.from_pretrained(str(tmp_path / "a"))
    assert same_weights(model, again) and again.config == model.config and not again.training
    again.save_pretrained(tmp_path / "b")
    assert pretrained.sizes_of(tmp_path / "a") == model.config
    for file in (WEIGHTS, CONFIG):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_released_sizes_need_no_hub(monkeypatch):
    monkeypatch.setattr(pretrained, "_find", lambda name: pytest.fail("it was fetched"))
    for name in RELEASED:
        assert pretrained.sizes_of(name) == SIZES[name]


def test_a_loaded_model_is_trained_without_dropout_and_can_be_trained(folder):
    change_config(folder, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    model = GPT.from_pretrained(folder)
    assert model.config.dropout == 0.0 and not model.training
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_with_and_without_prefix_masks_and_tied_head(folder):
    expected = GPT.from_pretrained(folder)

    def otherwise(weights):  # no prefix, causal masks as buffers, the head a second time
        weights = hub_layout(expected)
        for layer in range(TINY.n_layer):
            weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        return weights | {"lm_head.weight": weights["wte.weight"].clone()}

    change_weights(folder, otherwise)
    model = GPT.from_pretrained(folder)
    assert same_weights(model, expected)
    assert model.h[0].attn.c_attn.bias.abs().max() > 0.1, "c_attn.bias was taken for a mask"


def in_shards(folder):
    shards = folder.with_name("shards")
    GPT2LMHeadModel.from_pretrained(folder).save_pretrained(shards, max_shard_size="10KB")
    assert not (shards / WEIGHTS).exists() and len(list(shards.glob("*.safetensors"))) > 2
    return shards


def test_shards(folder):
    assert same_weights(GPT.from_pretrained(in_shards(folder)), GPT.from_pretrained(folder))


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_formats(folder, stored, wanted):
    change_weights(folder, lambda weights: {k: w.to(stored) for k, w in weights.items()})
    model = GPT.from_pretrained(folder, dtype=wanted)
    raw = safetensors.torch.load_file(folder / WEIGHTS)
    assert {p.dtype for p in model.parameters()} == {wanted}
    assert torch.equal(
        model.h[0].mlp.c_fc.weight, raw["transformer.h.0.mlp.c_fc.weight"].to(wanted).t()
    )
    assert torch.isfinite(model(random_ids(TINY, 1, 4))).all()


def test_the_file_is_mapped_not_copied_and_never_written(folder):
    before = (folder / WEIGHTS).read_bytes()
    model = GPT.from_pretrained(folder)
    table = json.loads(before[8 : 8 + int.from_bytes(before[:8], "little")])
    starts = {
        p.data_ptr() - table[f"transformer.{name}"]["data_offsets"][0]
        for name, p in model.named_parameters()
    }
    assert len(starts) == 1, "tensors do not lie in memory as in the file: they were copied"
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()  # as an optimizer writes
    assert (folder / WEIGHTS).read_bytes() == before, "training writes into the checkpoint"


def test_a_model_can_be_saved_over_the_file_it_is_mapped_from(folder):
    model = GPT.from_pretrained(folder)
    with torch.no_grad():
        model.wte.weight.mul_(2)
    model.save_pretrained(folder)
    assert same_weights(GPT.from_pretrained(folder), model)


# What is refused, and by which name


def drop_tensor(folder):
    gone = "transformer.h.1.mlp.c_fc.bias"
    change_weights(folder, lambda w: {k: v for k, v in w.items() if k != gone})


def drop_embedding(folder):
    gone = "transformer.wte.weight"
    change_weights(folder, lambda w: {k: v for k, v in w.items() if k != gone})


def renamed(old, new):
    def change(w):
        return {f"transformer.{new}" if k == f"transformer.{old}" else k: v for k, v in w.items()}

    return lambda folder: change_weights(folder, change)


def extra_tensor(folder):
    change_weights(folder, lambda w: w | {"transformer.h.2.ln_1.weight": torch.ones(16)})


def other_head(folder):
    change_weights(folder, lambda w: w | {"lm_head.weight": w["transformer.wte.weight"] + 0.1})


def reshape(name, shape):
    def change(folder):
        change_weights(folder, lambda w: w | {f"transformer.{name}": torch.zeros(shape)})

    return change


def integers(folder):
    change_weights(
        folder, lambda w: w | {"transformer.ln_f.weight": torch.ones(16, dtype=torch.long)}
    )


def held_twice(folder):
    change_weights(folder, lambda w: w | {"wte.weight": torch.zeros(61, 16)})


def config_of(**changes):
    return lambda folder: change_config(folder, **changes)


def config_text(text):
    return lambda folder: (folder / CONFIG).write_text(text)


def without(key):
    def change(folder):
        raw = json.loads((folder / CONFIG).read_text())
        del raw[key]
        (folder / CONFIG).write_text(json.dumps(raw))

    return change


REFUSED = {
    "missing": (drop_tensor, r"lacks 1 tensors: h\.1\.mlp\.c_fc\.bias"),
    "extra": (extra_tensor, r"has, beyond a GPT-2, 1 tensors: h\.2\.ln_1\.weight"),
    "one layer less": (
        config_of(n_layer=1),
        r"beyond a GPT-2, 12 tensors: h\.1\.attn\.c_attn\.bias",
    ),
    "fewer positions": (
        reshape("wpe.weight", (11, 16)),
        r"wpe\.weight is \(11, 16\), but config\.json asks for \(12, 16\)",
    ),
    "not transposed": (
        reshape("h.0.mlp.c_fc.weight", (64, 16)),
        r"h\.0\.mlp\.c_fc\.weight is \(64, 16\), but config\.json asks for \(16, 64\)",
    ),
    "integers": (integers, r"ln_f\.weight is torch\.int64, not a float format"),
    "held twice": (held_twice, r"holds wte\.weight twice"),
    "untied head": (other_head, r"lm_head\.weight differs from wte\.weight; GPT-2 ties them"),
    "no config": (lambda f: (f / CONFIG).unlink(), r"config\.json is no GPT-2 configuration"),
    "no JSON": (config_text("{"), r"config\.json is no GPT-2 configuration"),
    "JSON, no table": (config_text("[1]"), r"config\.json is no GPT-2 configuration"),
    "no sizes": (without("n_head"), r"config\.json is no GPT-2 configuration .*n_head"),
    "size as text": (config_of(n_layer="2"), r"config\.json.*n_layer must be a whole number"),
    "heads that do not divide": (config_of(n_head=3), r"config\.json.*n_embd=16 does not divide"),
    "another family": (
        config_of(model_type="llama"),
        "model_type is 'llama', but GPT-2 has 'gpt2'",
    ),
    "erf GELU": (config_of(activation_function="gelu"), "activation_function is 'gelu'"),
    "other epsilon": (config_of(layer_norm_epsilon=1e-6), "layer_norm_epsilon is 1e-06"),
    "unscaled": (config_of(scale_attn_weights=False), "scale_attn_weights is False"),
    "layer-scaled": (
        config_of(scale_attn_by_inverse_layer_idx=True),
        "by_inverse_layer_idx is True",
    ),
    "untied, without a head": (
        config_of(tie_word_embeddings=False),
        "says tie_word_embeddings false, but there is no lm_head.weight",
    ),
    "deep JSON": (config_text("[" * 100_000), r"config\.json is no GPT-2 configuration"),
    "a huge number": (config_text("1" * 10_000), r"config\.json is no GPT-2 configuration"),
    "not UTF-8": (lambda f: (f / CONFIG).write_bytes(b"\xff{}"), r"is no GPT-2 configuration"),
    "no embedding": (drop_embedding, r"lacks 1 tensors: wte\.weight"),
    "a layer past the last": (
        renamed("h.1.ln_1.bias", "h.01.ln_1.bias"),
        r"lacks 1 tensors: h\.1\.ln_1\.bias",
    ),
    "n_inner": (config_of(n_inner=48), r"n_inner is 48, but GPT-2's MLP is 4 x n_embd"),
}


@pytest.mark.parametrize("damage, message", REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(damage, message, folder):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt3", "./nowhere", "/no/such/folder", "a/b/c", "../x"])
def test_a_name_that_can_mean_nothing_is_refused_without_the_hub(name, monkeypatch):
    monkeypatch.setattr("gpt2lite.hub._fetch", lambda *a: pytest.fail("the hub was asked"))
    with pytest.raises(
        CheckpointError, match="neither a directory here nor one of gpt2, .* owner/name"
    ):
        GPT.from_pretrained(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layer": 1000},
        {"n_layer": 10**12},
        {"n_embd": 10**4, "n_head": 1},
        {"n_embd": 10**30, "n_head": 1},
        {"n_positions": 10**12},
        {"vocab_size": 10**12},
    ],
    ids=str,
)
def test_an_impossible_size_is_refused_before_anything_is_built(changes, folder):
    change_config(folder, **changes)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"lacks 11976 tensors: h\.1|asks for|at most"):
        GPT.from_pretrained(folder)
    assert time.perf_counter() - start < 1, "it was built, or its tensors were listed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_refused(value, dtype, folder):
    def spoil(weights):
        weights["transformer.h.1.ln_2.bias"][3] = value
        return weights

    change_weights(folder, spoil)
    with pytest.raises(CheckpointError, match=r"h\.1\.ln_2\.bias holds NaN or infinity"):
        GPT.from_pretrained(folder, dtype)


def test_a_weight_too_large_for_the_format_is_refused(folder):
    def spoil(weights):
        weights["transformer.h.1.ln_2.bias"][3] = 1e5  # fp16 ends at 65,504
        return weights

    change_weights(folder, spoil)
    GPT.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="holds NaN or infinity in torch.float16"):
        GPT.from_pretrained(folder, torch.float16)


# Names


@pytest.mark.parametrize("name", ["", "..", "a/..", "a/b/c", "no such folder", "x" * 5000, "a\0b"])
def test_a_name_that_is_none_is_refused(name, monkeypatch, folder):
    monkeypatch.chdir(folder)  # an empty name is not the folder that one happens to be in
    with pytest.raises(CheckpointError, match="neither a directory|holds neither|is no GPT-2"):
        GPT.from_pretrained(name)


def test_a_file_and_a_format_that_is_none_are_refused(folder):
    with pytest.raises(CheckpointError, match="is a file: name the directory"):
        GPT.from_pretrained(folder / WEIGHTS)
    with pytest.raises(TypeError, match="torch.float16, not 'float16'"):
        GPT.from_pretrained(folder, dtype="float16")
    with pytest.raises(TypeError, match="torch.float16, not torch.int64"):
        GPT.from_pretrained(folder, dtype=torch.int64)


def test_a_released_name_is_never_a_folder_that_happens_to_be_here(folder, monkeypatch):
    asked = []

    def fetch(repository, revision):
        asked.append((repository, revision))
        return folder

    monkeypatch.setattr(pretrained, "fetch_repository", fetch)
    monkeypatch.chdir(folder.parent)
    for name in ("gpt2", "gpt2lite-plays"):
        tiny_gpt(n_layer=1).save_pretrained(name)
    with pytest.warns(UserWarning, match=r"'gpt2' means the released model: write '\./gpt2'"):
        assert GPT.from_pretrained("gpt2").config.n_layer == 2, "a folder shadows the hub's"
    assert asked == [RELEASED["gpt2"]]
    with pytest.warns(UserWarning, match=r"write '\./gpt2lite-plays'"):
        assert GPT.from_pretrained("gpt2lite-plays").config == SIZES["lite"]
    for mine in ("./gpt2", Path("gpt2"), "./gpt2lite-plays"):
        assert GPT.from_pretrained(mine).config.n_layer == 1, f"{mine!r} is not the folder"
    assert len(asked) == 1


def test_the_released_names_are_pinned_to_their_own_commits():
    assert {f"openai-community/{name}" for name in RELEASED} == set(PUBLISHED)
    assert dict(RELEASED.values()) == PUBLISHED, "a size has another's commit"
    assert all(repository.endswith(f"/{name}") for name, (repository, _) in RELEASED.items())


def test_a_subclass_loads_as_itself(folder):
    class Mine(GPT):
        def forward(self, idx):
            return 2 * super().forward(idx)

    model = Mine.from_pretrained(folder)
    assert type(model) is Mine and type(GPT.from_pretrained(folder)) is GPT
    idx = random_ids(TINY, 1, 5)
    assert torch.equal(model(idx), 2 * GPT.from_pretrained(folder)(idx))


def test_a_subclass_with_more_tensors_names_those_that_lack(folder):
    class Untied(GPT):
        def __init__(self, config):
            super().__init__(config)
            self.lm_head = torch.nn.Linear(config.n_embd, config.vocab_size)

    with pytest.raises(CheckpointError, match="lacks 2 tensors: lm_head.bias, lm_head.weight"):
        Untied.from_pretrained(folder)


# Saving


def test_the_config_says_what_transformers_needs_to_know(tmp_path):
    for V, end_of_text in ((50256, None), (50257, 50256), (50304, 50256)):
        model = GPT(GPTConfig(8, V, 1, 1, 2, dropout=0.25)).half()
        model.save_pretrained(tmp_path)
        raw = json.loads((tmp_path / CONFIG).read_text())
        assert raw["bos_token_id"] == raw["eos_token_id"] == end_of_text, V
        assert raw["attn_pdrop"] == raw["embd_pdrop"] == raw["resid_pdrop"] == 0.25
        assert raw["tie_word_embeddings"] is True and raw["dtype"] == "float16"


def snapshot(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.mark.parametrize("full_at", ["weights", "config"])
@pytest.mark.parametrize("error", [OSError, safetensors.SafetensorError])
def test_a_full_disk_leaves_the_earlier_files_whole(full_at, error, tmp_path, monkeypatch):
    tiny_gpt().save_pretrained(tmp_path)
    before = snapshot(tmp_path)

    def write_half(file, *args, **kwargs):
        Path(file).write_bytes(b"half")
        raise error(28, "No space left on device")

    def save_half(weights, file, metadata=None):
        write_half(file)

    if full_at == "weights":
        monkeypatch.setattr(safetensors.torch, "save_file", save_half)
    else:
        monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(CheckpointError, match=f"can't save into {tmp_path}.*No space left.*room"):
        tiny_gpt(seed=1, n_layer=1).save_pretrained(tmp_path)
    assert snapshot(tmp_path) == before, "files of two models, or half a file"


def test_a_save_that_is_killed_between_the_two_files_is_noticed(tmp_path, monkeypatch):
    """The shapes are the same: any program would compute with the wrong heads."""
    tiny_gpt(n_head=2).save_pretrained(tmp_path)
    replace = os.replace

    def killed_before_the_config(source, target):
        if target == tmp_path / CONFIG:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_before_the_config)
    with pytest.raises(KeyboardInterrupt):
        tiny_gpt(n_head=4).save_pretrained(tmp_path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="isn't there: .* save was interrupted, save again"):
        GPT.from_pretrained(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_saved_files_have_the_users_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        tiny_gpt().save_pretrained(tmp_path / "a")
    finally:
        os.umask(before)
    for file in (WEIGHTS, CONFIG):
        assert stat.S_IMODE((tmp_path / "a" / file).stat().st_mode) == 0o640, file


@pytest.mark.hub
def test_the_real_gpt2_continues_the_dog():
    from gpt2lite.sampling import generate

    model = GPT.from_pretrained("gpt2")
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
    made = generate(model, torch.tensor([[464, 3290]]), 18, temperature=0)[0].tolist()
    # transformers, tests/models/gpt2/test_modeling_gpt2.py: greedy, "The dog"
    expected = [464, 3290, 373, 1043, 287, 257, 2214, 1474, 262, 16246]
    assert made == expected + [286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290]
