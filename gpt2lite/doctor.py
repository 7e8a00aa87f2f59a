"""What is here, what can wait and what must be mended before the course can run.

Knows how to look, not how to answer: the command line prints what it finds.
"""

import importlib.metadata
import os
import platform
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException

from gpt2lite.assets import AssetError, cache_dir
from gpt2lite.corpora import CORPORA, corpus_path, fetch_corpus

OK, LATER, BROKEN = "✓", "○", "✗"
REFERENCE_PATH = "openai-community/gpt2/resolve/main/config.json"


def findings() -> Iterator[tuple[str, str, str]]:
    """Yield (mark, name, finding) for all that the course needs, as soon as each is known.

    The mark is OK, LATER (it can wait) or BROKEN (it must be mended first).
    """
    for check in (_python, _packages, _device, _tokenizer, _corpora, _hub, _disk):
        yield from check()


def _python():
    version = platform.python_version()
    yield OK, "python", f"{version}, {platform.system()} {platform.machine()}"


def _packages():
    """Compare what is installed with what gpt2lite declares, and look for the extras it names."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in importlib.metadata.requires("gpt2lite") or []]
    except importlib.metadata.PackageNotFoundError:
        yield BROKEN, "gpt2lite", "not installed here: run `pip install -e .` in the repository"
        return
    for requirement in declared:
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if extra and requirement.name not in ("transformers", "jupyterlab"):
            continue
        mark = LATER if extra else BROKEN
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield mark, requirement.name, f"missing: run `pip install '{requirement}'`"
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield OK, requirement.name, version
        else:
            wanted = f"{requirement.name}{requirement.specifier}"
            yield mark, requirement.name, f"{version} is too old: run `pip install '{wanted}'`"


def _device():
    try:
        import torch

        from gpt2lite.precision import pick

        choice = pick()
        torch.ones(2, device=choice.device).sum().item()  # an old GPU may be found, but not served
    except Exception as error:  # a broken driver or half an install: the reader must see which
        yield BROKEN, "device", f"{type(error).__name__}: {error}; reinstall torch"
    else:
        dtype = str(choice.dtype).removeprefix("torch.")
        yield OK, "device", f"{choice.device}, {dtype} ({choice.reason})"


def _tokenizer():
    try:
        from gpt2lite.tokenizer import get_tokenizer

        yield OK, "tokenizer", f"{get_tokenizer().n_vocab:,} tokens"
    except (AssetError, ImportError) as error:
        yield BROKEN, "tokenizer", str(error)


def _corpora():
    for name in CORPORA:
        try:
            if os.path.exists(corpus_path(name)):
                yield OK, name, str(fetch_corpus(name))
            else:
                yield LATER, name, f"not here yet: `python -m gpt2lite fetch {name}`"
        except AssetError as error:
            yield BROKEN, name, str(error)


def _hub():
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answers = []

    def ask():
        with suppress(OSError, ValueError, HTTPException):
            request = urllib.request.Request(f"{endpoint}/{REFERENCE_PATH}", method="HEAD")
            with urllib.request.urlopen(request, timeout=2):
                answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a name lookup has no timeout of its own
    thread.start()
    thread.join(2)
    if answers:
        yield OK, "hub", f"{endpoint} answers"
    else:
        yield LATER, "hub", f"{endpoint} does not answer: OpenAI's weights only if cached"


def _disk():
    folder = cache_dir()
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    finding = f"{free:.1f} GB free at {cache_dir()}"
    if free < 1:
        yield BROKEN, "disk", f"{finding}: GPT-2 alone needs 0.6; make room"
    else:
        yield OK, "disk", finding
