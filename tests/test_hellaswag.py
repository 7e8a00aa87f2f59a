"""HellaSwag's scores are those of the two scorers that publish them, and each known slip shows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt2lite import GPT, evaluation, hellaswag
from gpt2lite.assets import NetworkError
from gpt2lite.completions import Completion
from gpt2lite.hellaswag import DIVISORS, own_questions, picks, right, score
from gpt2lite.tokenizer import get_tokenizer

# What lm-evaluation-harness itself said of the same questions and model: `make lm-eval`.
HARNESS = json.loads((Path(__file__).parent / "lm_eval.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plays():
    return GPT.from_pretrained("gpt2lite-plays")


def gap(scores) -> float:
    """Return the largest difference from the harness's log-probabilities."""
    ours = np.array([[ending.logprob for ending in endings] for endings in scores])
    return abs(ours - np.array(HARNESS["logprobs"])).max()


def test_our_numbers_are_the_harness_own(plays):
    questions = own_questions()
    scores = score(plays, questions, "lm-eval")
    assert gap(scores) < 1e-4
    assert right(scores, questions, "sum").mean() == HARNESS["acc"]
    assert right(scores, questions, "per character").mean() == HARNESS["acc_norm"]


@torch.no_grad()
def test_our_numbers_are_build_nanogpts(plays):
    """As its script does: the loss at each place of a row, masked where the context is."""
    questions, encode = own_questions()[::4], get_tokenizer().encode_ordinary
    questions.append(questions[0] | {"ctx": questions[0]["ctx"] + " "})  # a space is a token here
    scores = score(plays, questions, "build-nanogpt")
    best = {"sum": [], "per token": []}
    for question, endings in zip(questions, scores, strict=True):
        context, losses = encode(question["ctx"]), {"sum": [], "per token": []}
        for ending, ours in zip(question["endings"], endings, strict=True):
            row = torch.tensor([context + encode(" " + ending)])
            loss = torch.nn.functional.cross_entropy(
                plays(row)[0, :-1], row[0, 1:], reduction="none"
            )
            loss = loss[len(context) - 1 :]
            assert ours.logprob == pytest.approx(-loss.sum().item(), abs=1e-3)
            losses["sum"].append(loss.sum().item()), losses["per token"].append(loss.mean().item())
        for divisor, found in best.items():
            found.append(int(np.argmin(losses[divisor])))
    for divisor, found in best.items():
        assert picks(scores, divisor).tolist() == found, divisor


def without_capital(question):
    return hellaswag._cleaned(question | {"ctx_b": Phrase(question["ctx_b"])})


class Phrase(str):
    """A text that stays as it is."""

    def capitalize(self):
        return self


def with_brackets(question):
    context = f"{question['ctx_a']} {question['ctx_b'].capitalize()}".strip()
    return f"{question['activity_label']}: {context}", question["endings"]


def without_topic(question):
    return hellaswag._cleaned(question | {"activity_label": ""})


JOINT, APART = hellaswag.encode_pair, hellaswag._encode_apart
SLIPS = {
    "capital": (without_capital, JOINT),
    "brackets": (with_brackets, JOINT),
    "topic": (without_topic, JOINT),
    "space": (hellaswag._cleaned, lambda context, ending: JOINT(context, ending[1:])),
    "tokens apart": (hellaswag._cleaned, APART),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_the_questions_show_a_slip(plays, monkeypatch, slip):
    monkeypatch.setitem(hellaswag.PREPARED, "lm-eval", SLIPS[slip])
    assert gap(score(plays, own_questions(), "lm-eval")) > 0.1, "no question would show this slip"


def test_the_questions_show_the_label_and_the_divisor(plays):
    questions = own_questions()
    scores = score(plays, questions, "lm-eval")
    found = {divisor: right(scores, questions, divisor).mean() for divisor in DIVISORS}
    assert len({tuple(picks(scores, divisor)) for divisor in DIVISORS}) == 3
    assert found["sum"] != found["per character"] != found["per token"]
    for by in (-1, 1):  # counted from 1, say
        moved = [q | {"label": (q["label"] + by) % 4} for q in questions]
        assert right(scores, moved, "per character").mean() != found["per character"]
    texts = [q | {"label": str(q["label"])} for q in questions]  # as the hub's files have it
    assert right(scores, texts, "sum").tolist() == right(scores, questions, "sum").tolist()


def test_an_ending_is_divided_by_its_length():
    endings = [Completion(-10, 2, 4, 9), Completion(-12, 6, 5, 9), Completion(-15, 3, 9, 9)]
    best = {divisor: picks([endings], divisor).tolist() for divisor in DIVISORS}
    # -10, -12, -15; -5, -2, -5; and without the space -10 / 3, -12 / 4, -15 / 8
    assert best == {"sum": [0], "per token": [1], "per character": [2]}
    close = [Completion(-3, 1, 4, 4), Completion(-4, 1, 5, 5), Completion(-3.9, 1, 5, 5)]
    assert picks([close], "per character").tolist() == [2], "the space counts as a character"
    assert picks([close[:1] * 2], "sum").tolist() == [0], "the first of equals, as theirs"


def test_own_questions_are_in_the_published_form():
    questions = own_questions()
    assert len(questions) == 20 and {q["label"] for q in questions} == {0, 1, 2, 3}
    assert len(set(hellaswag.clusters(questions))) == 20
    for q in questions:
        assert q["ctx"] == f"{q['ctx_a']} {q['ctx_b']}".strip() and len(q["endings"]) == 4


def test_the_questions_are_fetched_and_checked(monkeypatch, tmp_path):
    line = json.dumps({"ctx": "naïve", "label": 1})
    (tmp_path / "hellaswag_val.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    asked = []
    monkeypatch.setattr(
        hellaswag, "fetch", lambda *what: asked.append(what) or tmp_path / "hellaswag_val.jsonl"
    )
    assert hellaswag.load() == [{"ctx": "naïve", "label": 1}] * 2
    assert asked == [(hellaswag.URL, hellaswag.SHA256, "hellaswag_val.jsonl")]

    def silent(*_):
        raise NetworkError("no route")

    monkeypatch.setattr(hellaswag, "fetch", silent)
    with pytest.raises(NetworkError, match="HellaSwag's questions are not here.*connect to the"):
        hellaswag.load()


def test_accuracies_have_every_scorer_and_clustered_errors(plays):
    questions = [q | {"source_id": str(i // 2)} for i, q in enumerate(own_questions()[:6])]
    found = hellaswag.accuracies(plays, questions)
    assert {p: list(shares) for p, shares in found.items()} == dict.fromkeys(
        ("build-nanogpt", "lm-eval"), list(DIVISORS)
    )
    hits = right(score(plays, questions, "build-nanogpt"), questions, "per token")
    assert found["build-nanogpt"]["per token"] == evaluation.accuracy(hits, list("001122"))
