"""Settings of the whole run: the profile of every kernel, and the tests that need the hub."""

import functools
import os
import signal
import urllib.error
import urllib.request

import pytest

# Kernels and subprocesses inherit it: tests prove the course as a machine without a GPU runs it.
os.environ["GPT2LITE_PROFILE"] = "lite"
# A shell's & lets what it starts ignore Ctrl-C, which some tests raise.
signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def hub_silence() -> str | None:
    """Return why the Hugging Face hub cannot be used, or None if it answers in two seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(
        f"{endpoint}/openai-community/gpt2/resolve/main/config.json", method="HEAD"
    )
    try:
        urllib.request.urlopen(request, timeout=2).close()
    except (OSError, ValueError) as error:
        return f"the hub at {endpoint} does not answer: {error}"
    return None


@pytest.hookimpl(tryfirst=True)  # before nbval starts the notebook's kernel
def pytest_runtest_setup(item):
    if item.path.suffix == ".ipynb":  # cached weights or none: 548 MB could outlast a cell's time
        os.environ["HF_HUB_OFFLINE"] = "1"
    if item.get_closest_marker("hub") and (reason := hub_silence()):
        pytest.skip(reason)
