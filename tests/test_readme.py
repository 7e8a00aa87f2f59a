"""README.md and the records' README print what the records, pictures and notebook 02 hold."""

import ast
import html
import json
import re
from pathlib import Path
from statistics import mean, median

import nbformat
import pytest
from helpers import typed_today

from gpt2lite.course import wrong_models
from gpt2lite.course.figures.__main__ import PICTURES
from gpt2lite.course.records import ORIGINAL, recorded

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = ROOT / "notebooks" / "recorded"
STORY = (RECORDS / "README.md").read_text(encoding="utf-8")


def log(run):
    """Return the header and the records of a recorded run."""
    head, *records = map(json.loads, recorded(run).read_text(encoding="utf-8").splitlines())
    return head, records


def test_the_readme_is_read_in_one_go():
    assert len(README.splitlines()) <= 160
    for block in re.findall(r"^```\n(.*?)^```", README, re.M | re.S):
        wide = [line for line in block.splitlines() if len(line) > 125]
        assert not wide, f"a reader has to scroll sideways: {wide}"


def test_its_links_lead_somewhere():
    for page, folder in ((README, ROOT), (STORY, RECORDS)):
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)|src=\"([^\"]+)\"", page):
            assert (folder / "".join(link)).exists(), f"{''.join(link)} is not there"


@pytest.mark.parametrize("name, draw", PICTURES.items(), ids=PICTURES)
def test_its_pictures_say_what_they_show(name, draw):
    alt = html.escape(draw().alt)
    assert re.search(rf'images/{name}\.png" width="\d+" alt="{re.escape(alt)}"', README), alt


@pytest.mark.parametrize("run", ORIGINAL)
def test_its_steps_are_the_records(run):
    _, records = log(run)
    column = 3 * list(ORIGINAL).index(run)
    rows = re.search(r"^ +step 1 .*?\n(.*?)^median", README, re.M | re.S)[1].splitlines()
    shown = [row.replace(",", "").split()[column : column + 3] for row in rows]
    assert shown == [
        [str(step), f"{records[step]['loss']:.4f}", f"{theirs:.4f}"]
        for step, theirs in ORIGINAL[run].items()
    ]
    ms = median(record["ms"] for record in records)
    assert f"step {run[-1]}: {ms:,.0f} ms" in README


def test_its_costs_are_those_of_the_benchmarks():
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").splitlines()
    section = README.split("## What it costs")[1].split("##")[0]
    rows = re.findall(r"^\| .*\| ([\d.,]+ m?s) \| ([\d.,]+ m?s) \| ([\d.]+) \|$", section, re.M)
    assert len(rows) == 4
    for ours, theirs, _ in rows:
        assert any({ours, theirs} <= {*re.split(r" *\| *", line)} for line in measured), (
            f"benchmarks/README.md has no row with {ours} and {theirs}"
        )


def test_its_samples_are_those_that_notebook_02_drew():
    cells = nbformat.read(ROOT / "notebooks" / "02_pretrained_weights.ipynb", as_version=4).cells
    printed = "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))
    drawn = re.findall(r"""^ *(['"]Hello World ! I'm LLM.*['"])$""", printed, re.M)
    assert len(drawn) == 5, "notebook 02 prints five samples, a line each, as repr does"
    lines = (re.sub(r"\s*\n\s*", " / ", ast.literal_eval(sample)).rstrip(" /") for sample in drawn)
    samples = "\n".join(lines)
    assert f"```\n{samples}\n```" in README, f"write there:\n{samples}"


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_each_record_is_listed_with_its_command(path):
    head, _ = log(path.stem)
    row = re.search(rf"^\| `{path.stem}` \|.*$", STORY, re.M)
    assert row, f"notebooks/recorded/README.md has no row for {path.stem}"
    if path.stem != "plays":  # tests/test_plays.py holds its model card
        assert f"`{typed_today(head['command'])}`" in row[0] and head["hardware"] in row[0]


def test_the_originals_step_1_is_ours_with_a_head_that_is_not_tied():
    (_, tied), (_, untied) = log("step1"), log("step1_untied")
    for step, theirs in ORIGINAL["step1"].items():
        losses = tied[step]["loss"], theirs, untied[step]["loss"]
        assert " ".join(f"{x:.4f}" for x in losses) in re.sub(" +", " ", STORY)
    gap = mean(abs(untied[step]["loss"] - theirs) for step, theirs in ORIGINAL["step1"].items())
    assert f"ours is {gap:.2f} from its ten losses" in STORY


def test_it_says_which_run_passes_the_bigram_model_on_text_held_out():
    said = []
    for name, row in log("counting")[0]["held_out"].items():
        best = min(record.get("validation", 9.0) for record in log(name)[1])
        said.append((row["bigram"] < best, f"{row['bigram']:.2f} against {best:.2f}"))
    assert [ahead for ahead, _ in said] == [True, False] and all(pair in STORY for _, pair in said)


def test_all_six_models_learn_and_one_is_gpt2():
    head, records = log("wrong_models")
    gaps = head["gaps"]
    assert list(gaps) == [wrong_models.RIGHT, *wrong_models.MISTAKES]
    assert gaps.pop(wrong_models.RIGHT) < 1e-5 < 10e-5 < min(gaps.values())
    last = {name: mean(r["loss"][name] for r in records[-50:]) for name in head["gaps"]}
    assert max(last.values()) < 6 < 10 < min(records[0]["loss"].values()), "each falls by 4 nats"


def test_what_a_gpu_takes_is_on_record():
    parts = json.loads((RECORDS / "gpu.json").read_text(encoding="utf-8"))["parts"]
    large, decoding = parts["large batch"], parts["decoding"]
    ladder = [
        f"{rung['ms']:.1f} | {rung['tokens_per_s']:,.0f}" for rung in parts["ladder"].values()
    ]
    tokens = [f"{large[name]:,.0f}" for name in ("tokens_per_s", "peer_tokens_per_s")]
    told = [
        *ladder,
        *tokens,
        f"{large['mfu']:.0%}".replace("%", " %"),
        f"{parts['ddp']['ratio']:.3f} times",
    ]
    told += [f"{row[name]:.2f}" for row in decoding.values() for name in row]
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert not [figure for figure in told if figure not in benchmarks]
    assert f"{tokens[0]} tokens a second" in README
