"""A stand-in for the Hugging Face hub on a port of this machine, with OpenAI's GPT-2 as it has it.

It speaks what of the hub's protocol a download needs. huggingface_hub reads its settings once, at
import, so those who talk to it are processes of their own, started with `environment()`.
"""

import contextlib
import hashlib
import http.server
import json
import os
import re
import threading
import time

import safetensors.torch
import torch

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
COMMIT = "0123456789" * 4  # of every `main`

# The commits of OpenAI's weights, written down here once more: no repository has another's.
PUBLISHED = {
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "openai-community/gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "openai-community/gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}


def openai_config(config) -> dict:
    """Return a config.json with the keys, and beside the sizes the values, of OpenAI's GPT-2."""
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": config.block_size,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_layer": config.n_layer,
        "n_positions": config.block_size,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": config.vocab_size,
    }


def hub_layout(model) -> dict:
    """Return a GPT's tensors as the hub's file has them: no prefix, Conv1D, the causal masks."""
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    weights = {
        name: (w.t() if name.endswith(conv) else w).contiguous()
        for name, w in model.state_dict().items()
    }
    T = model.config.block_size
    for layer in range(model.config.n_layer):
        weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, T, T).tril()
    return weights


class Hub:
    """The server: what it has in `files`, what it was asked in `requests`."""

    def __init__(self):
        self.files, self.checksums = {}, {}  # (repository, file) -> bytes; -> sha256 if not theirs
        self.requests, self.silent, self.port = [], threading.Event(), 0
        self.start()

    def start(self):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError):  # the one who asked was killed
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

    def environment(self, home) -> dict:
        """Return the environment of a process that has this hub, in `home` its own caches, and no
        other network."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        return env | {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "GPT2LITE_CACHE": str(home / "gpt2lite"),
            "HTTPS_PROXY": "http://127.0.0.1:1",
            "https_proxy": "http://127.0.0.1:1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def answer(self, request):
        asked = re.fullmatch("/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        if not asked:  # nothing that a download needs
            request.send_error(404)
            return
        self.requests.append((request.command, request.path))
        if self.silent.is_set():
            time.sleep(60)
            return
        repository, revision, file = asked.groups()
        body = self.files.get((repository, file))
        if body is None or revision not in ("main", COMMIT, PUBLISHED.get(repository)):
            known = any(r == repository for r, _ in self.files)
            code = "EntryNotFound" if body is None else "RevisionNotFound"
            request.send_response(404 if known else 401)
            request.send_header("X-Error-Code", code if known else "RepoNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        if file.endswith(".safetensors"):  # stored as a large file, whose ETag is its sha256
            sha256 = self.checksums.get((repository, file), hashlib.sha256(body).hexdigest())
            request.send_header("X-Linked-Etag", f'"{sha256}"')
            request.send_header("X-Linked-Size", str(len(body)))
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        request.send_header("ETag", f'"{git_sha1}"')
        request.send_header("X-Repo-Commit", COMMIT if revision == "main" else revision)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def offer(self, repository, folder):
        """Offer the files of a folder."""
        self.files |= {(repository, f.name): f.read_bytes() for f in folder.iterdir()}

    def offer_gpt2(self, repository, model):
        """Offer a GPT as OpenAI's repositories have theirs."""
        self.files[repository, WEIGHTS] = safetensors.torch.save(
            hub_layout(model), {"format": "pt"}
        )
        config = json.dumps(openai_config(model.config), indent=2)
        self.files[repository, CONFIG] = config.encode()
