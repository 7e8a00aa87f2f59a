"""Time the scoring of completions: 1,000 pairs with the small model, questions with GPT-2 124M.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py

The 124M model has random weights, and questions in HellaSwag's proportions: a context of 40 to 100
tokens and four endings of 10 to 30. Contenders take turns; a time is the median of its rounds, a
ratio the median of the rounds' own ratios. The times are the process's own CPU time, so that those
of a busy machine can be read too; on an idle machine one thread takes as long.
"""

import random
import statistics
import time

import torch
from torch.nn.utils.rnn import pad_sequence

from gpt2lite import GPT, SIZES, pairs
from gpt2lite.completions import log_probabilities

ROUNDS = 3


def clock(f) -> float:
    """Return the seconds of CPU time of a call."""
    start = time.process_time()
    f()
    return time.process_time() - start


def questions(n: int) -> list:
    """Return n questions of random tokens."""
    r = random.Random(0)

    def ids(least, most):
        return r.choices(range(50257), k=r.randint(least, most))

    return [(ids(40, 100), [ids(10, 30) for _ in range(4)]) for _ in range(n)]


@torch.no_grad()
def four_rows(model, items) -> None:
    """Score each question as four whole rows, the context in each of them, as is usual."""
    for context, endings in items:
        rows = [torch.tensor([*context, *ending]) for ending in endings]
        idx = pad_sequence(rows, batch_first=True)
        model(idx[:, :-1]).log_softmax(-1).gather(-1, idx[:, 1:, None])


def main():
    """Print items per second, and what sharing the context is worth."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    plays, thousand = GPT.from_pretrained("gpt2lite-plays"), (pairs.make_pairs() * 2)[:1000]
    pairs.margins(plays, thousand[:60])  # warm up
    seconds = statistics.median(
        clock(lambda: pairs.margins(plays, thousand)) for _ in range(ROUNDS)
    )
    print(f"12M, 1,000 pairs: {seconds:.1f} s, {1000 / seconds:.0f} pairs / s")
    model, items = GPT(SIZES["gpt2"]).eval(), questions(6)
    log_probabilities(model, items[:2])
    rounds = [
        (clock(lambda: log_probabilities(model, items)), clock(lambda: four_rows(model, items)))
        for _ in range(ROUNDS)
    ]
    shared, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"124M, the context once: {len(items) / shared:.2f} questions / s")
    print(f"124M, the context in four rows: {len(items) / whole:.2f} questions / s, {ratio:.2f}")


if __name__ == "__main__":
    main()
