"""HellaSwag: four endings, two ways to prepare the texts, three to score them.

The same model on the same questions gets other numbers, depending on how the text is prepared and
what the log-probability of an ending is divided by. So a HellaSwag number means nothing without its
scorer: PUBLISHED has four for GPT-2, of which none is wrong.

Knows nothing about where a model came from. Sources: Zellers et al. 2019 (arXiv 1905.07830);
karpathy/build-nanogpt, `hellaswag.py`; EleutherAI's lm-evaluation-harness,
`tasks/hellaswag/utils.py` and `api/task.py`. The questions' texts come from ActivityNet and
WikiHow, so they are fetched and not shipped. The 20 of `own_questions`, which are, try the
mechanics: they are too few and too easy to measure a model.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt2lite.assets import NetworkError, fetch
from gpt2lite.completions import Completion, encode_pair, score_completions
from gpt2lite.evaluation import Accuracy, accuracy
from gpt2lite.tokenizer import get_tokenizer

URL = "https://raw.githubusercontent.com/rowanz/hellaswag/master/data/hellaswag_val.jsonl"
SHA256 = "0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588"
OWN = Path(__file__).with_suffix(".jsonl")

# What others report for GPT-2 small on the 10,042 questions; the first and third by the highest
# sum, the second per token, the fourth per character.
PUBLISHED = {
    ("build-nanogpt", "sum"): 0.2859,
    ("build-nanogpt", "per token"): 0.2955,
    ("lm-eval", "sum"): 0.2892,
    ("lm-eval", "per character"): 0.3114,
}
DIVISORS = ("sum", "per token", "per character")


def load() -> list[dict]:
    """Return the 10,042 validation questions, fetched at the first use and checked.

    Raises AssetError if they can't be had or aren't the published ones.
    """
    try:
        path = fetch(URL, SHA256, "hellaswag_val.jsonl")
    except NetworkError as error:
        raise NetworkError(
            f"HellaSwag's questions are not here, and {URL} does not answer: connect to the "
            "network and try again; the benchmark of pairs needs none"
        ) from error
    return _read(path)


def own_questions() -> list[dict]:
    """Return 20 questions of our own in HellaSwag's format, which try the mechanics and no more."""
    return _read(OWN)


def _read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _plain(question) -> tuple[str, list[str]]:
    """Take the texts as they are."""
    return question["ctx"], question["endings"]


def _cleaned(question) -> tuple[str, list[str]]:
    """Put the topic first, begin the last phrase with a capital, and take WikiHow's marks out."""
    context = f"{question['ctx_a']} {question['ctx_b'].capitalize()}"
    return _clean(f"{question['activity_label']}: {context}"), [*map(_clean, question["endings"])]


def _clean(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")  # once: three spaces become two


def _encode_apart(context: str, completion: str) -> tuple[list[int], list[int]]:
    encode = get_tokenizer().encode_ordinary
    return encode(context), encode(completion)


# For each way its texts, and how context and ending become tokens.
PREPARED = {"build-nanogpt": (_plain, _encode_apart), "lm-eval": (_cleaned, encode_pair)}


def score(
    model, questions: Sequence[dict], prepared: str = "lm-eval", **options
) -> list[list[Completion]]:
    """Score the four endings of each question, with a space before each.

    prepared: "build-nanogpt" or "lm-eval". The options and errors are those of
    gpt2lite.completions.log_probabilities.
    """
    texts, encode = PREPARED[prepared]
    items = []
    for question in questions:
        context, endings = texts(question)
        items.append((context, [f" {ending}" for ending in endings]))
    return score_completions(model, items, encode, **options)


def picks(scores: list[list[Completion]], divisor: str) -> np.ndarray:
    """Return the index of each question's best ending (n,), the first of equals.

    divisor: "sum" takes the log-probability itself, "per token" and "per character" divide it; the
    space before an ending is no character of it.
    """
    lengths = {
        "sum": lambda ending: 1,
        "per token": lambda ending: ending.tokens,
        "per character": lambda ending: ending.characters - 1,
    }
    length = lengths[divisor]
    return np.array([np.argmax([e.logprob / length(e) for e in endings]) for endings in scores])


def right(scores: list[list[Completion]], questions: Sequence[dict], divisor: str) -> np.ndarray:
    """Return 1 for each question whose best ending is the labelled one, and 0 for the others."""
    labels = np.array([int(question["label"]) for question in questions])
    return (picks(scores, divisor) == labels).astype(float)


def clusters(questions: Sequence[dict]) -> list[str]:
    """Return the video or article of each question: those of one source are not independent."""
    return [question["source_id"] for question in questions]


def accuracies(model, questions: Sequence[dict], **options) -> dict[str, dict[str, Accuracy]]:
    """Return the accuracy, with its clustered error, for both preparations and each divisor.

    The options and errors are those of gpt2lite.completions.log_probabilities.
    """
    found = {}
    for prepared in PREPARED:
        scores = score(model, questions, prepared, **options)
        found[prepared] = {
            divisor: accuracy(right(scores, questions, divisor), clusters(questions))
            for divisor in DIVISORS
        }
    return found
