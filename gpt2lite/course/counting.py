"""What counting alone predicts of TinyShakespeare: the levels beside which a GPT-2's loss is read.

    python -m gpt2lite.course.counting LOG

measures a unigram and a bigram model on the split for which llm.c printed GPT-2's loss, and on what
two recorded runs validate on; and lets them read along with three runs: each batch is predicted,
then counted. A line of the log is one batch of one run.
"""

import itertools
import math
import sys
from collections import Counter

import numpy as np
import torch

from gpt2lite.corpora import load_text
from gpt2lite.course.exercises.loss_curves import bigram, unigram
from gpt2lite.course.records import recorded
from gpt2lite.data import encode, split
from gpt2lite.log import Log, header, read_log
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

# The loss of OpenAI's GPT-2 small, T = 1,024, on the first 32,768 tokens of TinyShakespeare, each
# speech a document, as karpathy/llm.c printed it in April 2024 (its README: "val loss 4.517179").
# That averages ten batches of 4 x 1,024, and so reads some of these tokens twice.
GPT2_LOSS = 4.517179
HELD = 32_768
V = 50_257


class Reader:
    """Counts tokens and pairs as it reads; how surprised would models of these counts be?"""

    def __init__(self, V):
        self.V, self.n = V, 0
        self.single, self.pair, self.before, self.kinds = (Counter() for _ in range(4))

    def read(self, tokens):
        """Count the tokens that follow another one, and the pairs."""
        for v, w in itertools.pairwise(tokens):
            self.kinds[v] += (v, w) not in self.pair
            self.pair[v, w] += 1
            self.before[v] += 1
            self.single[w] += 1
            self.n += 1

    def surprise(self, tokens):
        """Return -ln p of each token after the first, (2, n - 1): by unigrams, by bigrams."""
        rows = []
        for v, w in itertools.pairwise(tokens):
            p, kinds = (self.single[w] + 1) / (self.n + self.V), self.kinds[v]
            both = (self.pair[v, w] + kinds * p) / (self.before[v] + kinds) if kinds else p
            rows.append((p, both))
        return -np.log(np.array(rows).T)


def read_along(tokens, batch_tokens, batches, V=V):
    """Yield the surprise (2, batch_tokens) at each batch of a text, which is counted afterwards.

    It ends where the text does; a run reads that again then.
    """
    reader = Reader(V)
    for at in range(0, min(batches * batch_tokens, len(tokens) - batch_tokens), batch_tokens):
        batch = tokens[at : at + batch_tokens + 1]
        yield reader.surprise(batch)
        reader.read(batch)


def levels(text: str) -> dict:
    """Return what three models lose on the first 32,768 tokens of TinyShakespeare, nats / token.

    One knows nothing, the others have counted the rest of the text; beside them GPT-2's loss, and
    how many bytes these tokens are.
    """
    end = "<|endoftext|>"
    tokens = get_tokenizer().encode(end + text.replace("\n\n", f"\n\n{end}"), allowed_special={end})
    held, rest = tokens[:HELD], tokens[HELD:]
    spoken = [token for token in held if token != END_OF_TEXT]
    return {
        "uniform": math.log(V),
        "unigram": unigram(rest, held, V),
        "bigram": bigram(rest, held, V),
        "GPT-2": GPT2_LOSS,
        "tokens": len(held),
        "bytes": len(get_tokenizer().decode_bytes(spoken)),
    }


def held_out(tokens, val_fraction) -> dict:
    """Return what the two models lose on a text's last part, nats / token, the rest counted.

    And what the bigram model loses on the rest itself, when it reads that again.
    """
    seen, unseen = (part.tolist() for part in split(tokens, val_fraction))
    return {
        "unigram": unigram(seen, unseen, V),
        "bigram": bigram(seen, unseen, V),
        "bigram, read before": bigram(seen, seen, V),
    }


def main(log):
    """Measure and write the log: half a minute."""
    text = load_text("tinyshakespeare")
    tokens = encode(text)
    command = f"python -m gpt2lite.course.counting {log}"
    head = header(command, "tinyshakespeare", torch.device("cpu"), "float64", {}, {})
    unseen = {  # by the run that validates on it
        "step3_validated": held_out(tokens, 0.1),
        "recipe_124m": held_out(encode(load_text("shakespeare")), 0.05),
    }
    lines = Log(log, head | {"levels": levels(text), "held_out": unseen})
    tokens = tokens.tolist()
    for run in ("step1", "step2", "step3"):
        head, records = read_log(recorded(run))
        n = head["training"]["batch_size"] * head["training"]["seq_len"]
        for step, surprise in enumerate(read_along(tokens, n, len(records))):
            (single, both), deviation = surprise.mean(1), surprise[1].std()
            row = {"unigram": single, "bigram": both, "bigram_std": deviation}
            lines.write(
                {"run": run, "step": step} | {k: round(float(x), 5) for k, x in row.items()}
            )


if __name__ == "__main__":
    main(sys.argv[1])
