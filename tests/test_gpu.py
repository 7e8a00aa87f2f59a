"""`make gpu`, rehearsed in small on the stand-in T4: all parts, and what is missing is said."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
import t4
import torch

from gpt2lite import SIZES, GPTConfig
from gpt2lite.course.records import recorded

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="a CPU build is stood in for"
)
DDP = {"B": 16, "T": 1024, "ms": 50.0, "ddp_ms": 51.0, "ratio": 1.02}
PEER = """
from dataclasses import dataclass
import torch.nn.functional as F
from gpt2lite import GPT as Ours, GPTConfig as Sizes

@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int

class GPT(Ours):
    def __init__(self, config):
        super().__init__(Sizes(**vars(config)))
    def forward(self, x, y):
        return None, F.cross_entropy(super().forward(x).flatten(0, 1), y.flatten())

raise SystemExit("the script trains when it is run")
"""


def load():
    """Return benchmarks/gpu.py as a module."""
    path = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
    spec = importlib.util.spec_from_file_location("gpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Return benchmarks/gpu.py on a T4 where GPT-2 is tiny, runs are short, all is written here."""
    gpu = load()
    monkeypatch.setitem(SIZES, "gpt2", GPTConfig(block_size=16, n_layer=1, n_head=2, n_embd=8))
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be, that is the question. " * 40, encoding="utf-8")
    small = f" --text {text} --batch-size 2 --seq-len 8"  # the last one counts
    runs = {name: (options + small, 2) for name, (options, _) in gpu.RUNS.items()}
    for name, value in {"RUNS": runs, "OUT": tmp_path / "out", "RECORDED": tmp_path}.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(gpu, "NOTEBOOKS", [Path("01_first.ipynb"), Path("02_second.ipynb")])
    monkeypatch.setattr(gpu, "median_seconds", lambda step, seconds: gpu.clock(step))
    if torch.cuda.is_available():
        yield gpu
        return
    with t4.installed():
        yield gpu


def test_every_part_runs_and_what_failed_is_said_and_done_again(gpu, monkeypatch, tmp_path):
    peer, called, broken = tmp_path / "peer.py", [], ["02_second.ipynb"]
    peer.write_text(PEER, encoding="utf-8")

    def run(command, **options):
        called.append((command, options))
        code = int(any(name in command for name in broken))
        out = "cell 3 of 9:\n1 passed in 2 s\n"
        if str(command[-1]).endswith("ddp.py"):
            out = f"compiled in 9 s\n{json.dumps(DDP)}\n"
        return subprocess.CompletedProcess(command, code, stdout=out, stderr="")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    small = ["--peer", str(peer), "--largest-batch", "2", "--decode-tokens", "2"]
    assert gpu.main(small) == 1
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "Tesla T4" in table and table.count("not measured") == 1, table
    assert "| notebook 02_second | not measured: RuntimeError: cell 3 of 9:" in table
    results = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert results["tests"] == {"said": "1 passed in 2 s"}
    assert list(results["ladder"]) == gpu.LADDER
    assert results["large batch"].keys() == {"B", "T", "tokens_per_s", "peer_tokens_per_s", "mfu"}
    assert results["ddp"] == DDP
    assert results["decoding"]["batch 5"]["transformers_ms"] > 0
    head, *records = map(json.loads, (tmp_path / "step3.jsonl").read_text().splitlines())
    assert (head["hardware"], head["precision"], len(records)) == ("Tesla T4", "float16", 2)
    assert head["command"].endswith("--log-file notebooks/recorded/step3.jsonl")
    assert results["notebook 01_first"] == {"minutes": 0.0}
    assert called[-1][1]["env"]["GPT2LITE_PROFILE"] == "full"
    called.clear()
    broken.clear()
    assert gpu.main(small) == 0
    assert ["02_second.ipynb" in command for command, _ in called] == [True], "done parts stay done"
    assert "not measured" not in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_without_time_nothing_is_begun_and_all_is_said(gpu, tmp_path):
    assert gpu.main(["--minutes", "0.1"]) == 1
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table.count("not measured: needs") == len(gpu.parts())


def test_half_a_run_replaces_no_record(gpu, tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.RUNS, "step1", (gpu.RUNS["step1"][0], 10**6))
    monkeypatch.setattr(gpu, "parts", lambda: {"step1": (1, gpu.record("step1"))})
    assert gpu.main([]) == 1 and not (tmp_path / "step1.jsonl").exists()


def test_the_runs_are_those_of_the_records():
    for name in ("step1", "step2", "step3"):
        head = json.loads(recorded(name).read_text(encoding="utf-8").splitlines()[0])
        options, steps = load().RUNS[name]
        missing = set(options.split()) - set(head["command"].split())
        assert not missing and steps == head["training"]["steps"], f"{name} is another run"
