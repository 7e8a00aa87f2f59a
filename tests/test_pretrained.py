"""Hugging Face checkpoints in and out: what opens, what is refused by which name, and the hub.

The hub is a small server on this machine; a process of its own talks to it, since huggingface_hub
reads its settings once, at import.
"""

import contextlib
import hashlib
import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import safetensors.torch
import torch
from helpers import TINY, enlarge, hf_config, random_ids, tiny_gpt
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from gpt2lite import GPT, CheckpointError, GPTConfig
from gpt2lite.pretrained import RELEASED

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


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
    for file in (WEIGHTS, CONFIG):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_loaded_model_is_trained_without_dropout_and_can_be_trained(folder):
    change_config(folder, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    model = GPT.from_pretrained(folder)
    assert model.config.dropout == 0.0 and not model.training
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_with_and_without_prefix_masks_and_tied_head(folder):
    expected = GPT.from_pretrained(folder)

    def as_on_the_hub(weights):  # no prefix, causal masks as buffers, the head a second time
        weights = {k.removeprefix("transformer."): w for k, w in weights.items()}
        for layer in range(TINY.n_layer):
            weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 12, 12).tril()
            weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        return weights | {"lm_head.weight": weights["wte.weight"].clone()}

    change_weights(folder, as_on_the_hub)
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


def cut(size):
    def change(folder):
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[:size])

    return change


def instead_of_weights(data):
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def header(text):
    return instead_of_weights(len(text).to_bytes(8, "little") + text.encode())


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


def only_a_pickle(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def only_an_index(index):
    def change(folder):
        (folder / WEIGHTS).unlink()
        (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))

    return change


def index_of(file):
    return only_an_index({"weight_map": {"wte.weight": file}})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 548105171\n"
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
    "header cut off": (cut(100), "header is damaged or cut off .100 bytes.; fetch it again"),
    "half a length": (cut(5), "header is damaged or cut off"),
    "empty": (cut(0), "header is damaged or cut off"),
    "a git-lfs pointer": (instead_of_weights(POINTER), "header is damaged or cut off"),
    "a web page": (instead_of_weights(b"<!DOCTYPE html><html>404</html>"), "header is damaged"),
    "no table": (header("[]"), "header is damaged"),
    "no offsets": (header('{"wte.weight": {}}'), "header is damaged"),
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
    "n_inner": (config_of(n_inner=48), r"n_inner is 48, but GPT-2's MLP is 4 x n_embd"),
    "only a pickle": (only_a_pickle, "pytorch_model.bin is a pickle, .* save_pretrained"),
    "shard missing": (
        index_of("model-1.safetensors"),
        "names model-1.safetensors, which is not there",
    ),
    "shard outside": (
        index_of("../x.safetensors"),
        r"names '\.\./x\.safetensors', which is no safetensors",
    ),
    "absolute shard": (index_of("/etc/x.safetensors"), "which is no safetensors file beside it"),
    "pickled shard": (index_of("pytorch_model.bin"), "which is no safetensors file beside it"),
    "index, no map": (only_an_index({}), "is no index of shards"),
    "index, list": (only_an_index([]), "is no index of shards"),
    "index, no JSON": (only_an_index("{"), "is no index of shards"),
    "index, odd map": (
        only_an_index({"weight_map": {"a": 1, "b": "x", "c": []}}),
        "index of shards|names 1",
    ),
}


@pytest.mark.parametrize("damage, message", REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(damage, message, folder):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("missing_bytes", [1, 3000, 20000])
def test_a_truncated_tensor_is_named(folder, missing_bytes):
    data = (folder / WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:start])
    cut(len(data) - missing_bytes)(folder)
    gone = [
        k
        for k, v in table.items()
        if k != "__metadata__" and start + v["data_offsets"][1] > len(data) - missing_bytes
    ]
    with pytest.raises(CheckpointError, match="truncated in (.*) .*fetch it again") as e:
        GPT.from_pretrained(folder)
    assert re.search(r"truncated in (\S+) \((\S+) of (\S+) bytes\)", str(e.value)).groups() == (
        min(gone),
        f"{len(data) - missing_bytes:,}",
        f"{len(data):,}",
    )


@pytest.mark.parametrize("name", ["gpt3", "./nowhere", "/no/such/folder", "a/b/c", "../x"])
def test_a_name_that_can_mean_nothing_is_refused_without_the_hub(name, monkeypatch):
    monkeypatch.setattr("gpt2lite.hub._fetch", lambda *a: pytest.fail("the hub was asked"))
    with pytest.raises(
        CheckpointError, match="neither a directory here nor one of gpt2, .* owner/name"
    ):
        GPT.from_pretrained(name)


# A save that fails


def snapshot(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.mark.parametrize("full_at", ["weights", "config"])
def test_a_full_disk_leaves_the_earlier_files_whole(full_at, tmp_path, monkeypatch):
    tiny_gpt().save_pretrained(tmp_path)
    before = snapshot(tmp_path)

    def save_half(weights, file, metadata=None):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def write_half(file, text, *args, **kwargs):
        file.write_bytes(text[:10].encode())
        raise OSError(28, "No space left on device")

    if full_at == "weights":
        monkeypatch.setattr(safetensors.torch, "save_file", save_half)
    else:
        monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="No space left"):
        tiny_gpt(seed=1, n_layer=1).save_pretrained(tmp_path)
    assert snapshot(tmp_path) == before, "files of two models, or half a file"


# The hub

COMMIT = "0123456789" * 4
LOADER = """
import json, sys, time
from gpt2lite import GPT, CheckpointError
for line in sys.stdin:
    start = time.perf_counter()
    try:
        model = GPT.from_pretrained(json.loads(line))
        answer = {"n_layer": model.config.n_layer, "wpe": model.wpe.weight[0, 0].item()}
    except CheckpointError as error:
        answer = {"error": str(error)}
    answer["seconds"] = time.perf_counter() - start
    answer["transformers"] = "transformers" in sys.modules
    print(json.dumps(answer), flush=True)
"""


class Hub:
    """What of the hub's protocol a download needs, on a port of this machine."""

    def __init__(self):
        self.files, self.checksums = {}, {}  # (repository, file) -> bytes; -> sha256 if not theirs
        self.requests, self.silent, self.port = [], threading.Event(), 0
        self.start()

    def start(self):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def away(self):
        self.stop()
        try:
            yield
        finally:
            self.start()

    def answer(self, request):
        asked = re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        if not asked:  # nothing that a download needs
            request.send_error(404)
            return
        self.requests.append((request.command, request.path))
        if self.silent.is_set():
            time.sleep(60)
            return
        repository, revision, file = asked.groups()
        body = self.files.get((repository, file))
        if body is None:
            known = any(r == repository for r, _ in self.files)
            request.send_response(404 if known else 401)
            request.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        if file.endswith(".safetensors"):  # stored as a large file, whose ETag is its sha256
            sha256 = self.checksums.get((repository, file), hashlib.sha256(body).hexdigest())
            request.send_header("X-Linked-Etag", f'"{sha256}"')
            request.send_header("X-Linked-Size", str(len(body)))
        request.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT if revision == "main" else revision)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def offer(self, repository, folder):
        self.files |= {(repository, f.name): f.read_bytes() for f in folder.iterdir()}


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory):
    """A hub, a cache of its own, and `hub.load(name)`: from_pretrained(name) in another process."""
    hub = Hub()
    home = tmp_path_factory.mktemp("hub")
    here = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.port}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))} | here
    with subprocess.Popen(
        [sys.executable, "-c", LOADER],
        env=env,
        cwd=Path(__file__).parent.parent,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as loader:

        def load(name):
            loader.stdin.write(json.dumps(name) + "\n")
            loader.stdin.flush()
            return json.loads(loader.stdout.readline())

        hub.load, hub.cache = load, home / "hub"
        yield hub
        loader.stdin.close()
    hub.stop()


@pytest.fixture
def hub(running_hub):
    yield running_hub
    running_hub.silent.clear()
    running_hub.requests.clear()


def test_gpt2_is_fetched_by_its_pinned_revision_once(hub, folder):
    repository, revision = RELEASED["gpt2"]
    hub.offer(repository, folder)
    expected = GPT.from_pretrained(folder).wpe.weight[0, 0].item()
    first = hub.load("gpt2")
    assert first.get("wpe") == expected, first
    assert not first["transformers"], "transformers was imported"
    assert {path for _, path in hub.requests} == {
        f"/{repository}/resolve/{revision}/{file}" for file in (CONFIG, WEIGHTS)
    }
    with hub.away():
        second = hub.load("gpt2")
    assert second.get("wpe") == expected, second


def test_every_released_revision_is_a_commit():
    assert {r.removeprefix("openai-community/") for r, _ in RELEASED.values()} == set(RELEASED)
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for _, commit in RELEASED.values())


def test_a_sharded_repository_is_fetched_once(hub, folder):
    expected = GPT.from_pretrained(folder).wpe.weight[0, 0].item()
    hub.offer("someone/sharded", in_shards(folder))
    assert hub.load("someone/sharded").get("wpe") == expected
    with hub.away():
        second = hub.load("someone/sharded")
    assert second.get("wpe") == expected, second


def test_a_damaged_file_is_refused_and_not_kept(hub, folder):
    hub.offer("someone/damaged", folder)
    good = hub.files["someone/damaged", WEIGHTS]
    hub.checksums["someone/damaged", WEIGHTS] = hashlib.sha256(good).hexdigest()
    hub.files["someone/damaged", WEIGHTS] = good[:-1] + bytes([good[-1] ^ 1])
    first = hub.load("someone/damaged")
    assert (
        "model.safetensors of someone/damaged arrived damaged (its sha256 differs)"
        in first["error"]
    )
    kept = hub.cache / "models--someone--damaged"
    assert max(f.stat().st_size for f in kept.rglob("*") if f.is_file()) < 5000, "it was kept"
    hub.files["someone/damaged", WEIGHTS] = good
    assert "wpe" in hub.load("someone/damaged"), "a second call does not heal it"


def test_config_and_weights_are_of_one_commit_also_when_main_moves(hub, folder):
    hub.offer("someone/moving", folder)
    assert "wpe" in hub.load("someone/moving")
    (snapshot,) = (hub.cache / "models--someone--moving" / "snapshots").iterdir()
    (snapshot / WEIGHTS).unlink()  # as if only the config had been fetched before main moved on
    hub.requests.clear()
    hub.load("someone/moving")
    asked = [r for r in hub.requests if WEIGHTS in str(r)]
    assert asked and all(snapshot.name in str(r) for r in asked), "the weights of another commit"


@pytest.mark.parametrize("name", ["", "..", "a/..", "a/b/c", "no such folder"])
def test_a_name_that_is_none_is_refused(name, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(folder)  # an empty name is not the folder that one happens to be in
    with pytest.raises(CheckpointError, match="neither a directory|holds neither|is no GPT-2"):
        GPT.from_pretrained(name)


def test_a_file_and_a_format_that_is_none_are_refused(folder):
    with pytest.raises(CheckpointError, match="is a file: name the directory"):
        GPT.from_pretrained(folder / WEIGHTS)
    with pytest.raises(TypeError, match="torch.float16, not 'float16'"):
        GPT.from_pretrained(folder, dtype="float16")


def test_an_unknown_repository_is_named(hub):
    assert "no public repository no/body: check the spelling" in hub.load("no/body")["error"]


@pytest.mark.parametrize(
    "left, message",
    [
        ([WEIGHTS], "has no config.json"),
        ([CONFIG], "holds neither model.safetensors nor model.safetensors.index.json"),
    ],
)
def test_a_repository_without_a_needed_file(hub, folder, left, message):
    repository = f"someone/only-{len(message)}"
    hub.offer(repository, folder)
    hub.files = {k: v for k, v in hub.files.items() if k[0] != repository or k[1] in left}
    assert message in hub.load(repository)["error"]


def test_an_unreachable_hub_fails_at_once_and_says_what_to_do(hub):
    with hub.away():
        answer = hub.load("someone/away")
    assert re.search(
        "can't fetch config.json of someone/away .*Check the network .*local directory",
        answer["error"],
    )
    assert answer["seconds"] < 6


def test_a_hub_that_never_answers_is_asked_once(hub):
    hub.silent.set()
    answer = hub.load("someone/silent")
    assert "can't fetch config.json of someone/silent" in answer["error"]
    assert len(hub.requests) == 1, "each retry costs seconds more"
    assert answer["seconds"] < 20  # 5, on a machine that has nothing else to do


def test_a_hub_that_goes_away_in_between_is_not_a_missing_file(monkeypatch):
    """huggingface_hub's error for that is also one of its errors for a file that does not exist."""

    def gone(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("the connection was lost")

    monkeypatch.setattr("gpt2lite.hub._cached", lambda *a: None)
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *a, **k: SimpleNamespace(etag="x")
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gone)
    with pytest.raises(CheckpointError, match="can't fetch config.json .*connection was lost"):
        GPT.from_pretrained("someone/flaky")


@pytest.mark.hub
def test_the_real_gpt2_continues_the_dog():
    from gpt2lite.sampling import generate

    model = GPT.from_pretrained("gpt2")
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
    made = generate(model, torch.tensor([[464, 3290]]), 18, temperature=0)[0].tolist()
    # transformers, tests/models/gpt2/test_modeling_gpt2.py: greedy, "The dog"
    expected = [464, 3290, 373, 1043, 287, 257, 2214, 1474, 262, 16246]
    assert made == expected + [286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290]
