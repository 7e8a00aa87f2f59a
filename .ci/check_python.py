"""Say what is wrong with this Python before pip does, and where to find PyTorch without CUDA.

    python check_python.py                      exits 1, with what to do, if set-up cannot work
    python check_python.py --torch-index URL    prints pip's option for a PyTorch without CUDA

Runs on any Python 3, so it uses no newer syntax.
"""

import importlib.util
import shutil
import sys
import urllib.request


def complaint():
    """Return what stands in the way of a virtual environment, or None."""
    if sys.version_info < (3, 10):  # noqa: UP036 (older ones run this file, to be told)
        return (
            "gpt2-lite needs Python 3.10 or newer, and this is " + sys.version.split()[0] + ".\n"
            "Get one from https://www.python.org/downloads and name it, with any command: "
            "make course PYTHON=python3.12"
        )
    if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
        return (
            "This Python has no venv module, which makes virtual environments.\n"
            "On Debian and Ubuntu: sudo apt install python3-venv; then run the same command again."
        )
    return None


def torch_index(url):
    """Return pip's option for PyTorch's CPU builds, or "" where the usual index is right.

    On Linux the usual wheel brings gigabytes of CUDA libraries. Without an NVIDIA driver they are
    of no use, so take the CPU build, if its index answers.
    """
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return ""
    try:
        urllib.request.urlopen(url + "/torch/", timeout=5).close()
    except (OSError, ValueError):
        return ""
    return "--extra-index-url " + url


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch-index"]:
        print(torch_index(sys.argv[2]))
    elif complaint():
        sys.exit(complaint())
