"""What a model says of completions: the log-probability of each one after the same context.

A multiple choice is answered by it: the completion with the highest one, or the highest after a
division by its length. Knows nothing about any benchmark. Source: EleutherAI's
lm-evaluation-harness, `api/model.py`, for how a context and a completion become tokens.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from gpt2lite import cpu
from gpt2lite.model import evaluating
from gpt2lite.sampling import KVCache
from gpt2lite.tokenizer import END_OF_TEXT, get_tokenizer

Item = tuple[Sequence[int], Sequence[Sequence[int]]]  # a context's ids, and each completion's


def encode_pair(context: str, completion: str) -> tuple[list[int], list[int]]:
    """Return the token ids of a context and of the completion that continues it.

    The two are encoded as one text, and cut where the context's own tokens end. White space at the
    end of the context goes to the completion, since in GPT-2's tokens it belongs to the word that
    follows. An empty context becomes <|endoftext|>. This is how lm-evaluation-harness does it.
    """
    encode = get_tokenizer().encode_ordinary
    stripped = context.rstrip()
    whole = encode(context + completion)
    ids = encode(stripped)
    return ids or [END_OF_TEXT], whole[len(ids) :]


@torch.no_grad()
def log_probabilities(
    model, items: Sequence[Item], rows: int = 64, bar: Callable[[list], Iterable] = iter
) -> list[list[float]]:
    """Return, for each item, the log-probability in nats of each completion after the context.

    Each context is computed once, whatever the number of its completions: they continue from its
    keys and values. Contexts of the same length go together, with `rows` completions at a time.
    `bar` gets the list of batches, as in `score_text`. Raises ValueError, before any work, naming
    the item: for an empty context or completion, foreign ids, or more tokens than the model's
    context.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    _check_items(model, items)
    found = [[] for _ in items]
    with evaluating(model), cpu.onednn():
        for batch in bar(_batches(items, rows)):
            contexts, completions = zip(*(items[i] for i in batch), strict=True)
            values = iter(_continue(model, contexts, completions))
            for i in batch:
                found[i] = list(itertools.islice(values, len(items[i][1])))
    return found


def _check_items(model, items):
    size, vocabulary = model.config.block_size, model.config.vocab_size
    for number, (context, completions) in enumerate(items):
        if not len(context) or not completions or not all(map(len, completions)):
            raise ValueError(
                f"item {number}: context and completions need a token each; a context may be "
                f"<|endoftext|>, [{END_OF_TEXT}], and a completion begins best with its space"
            )
        length = len(context) + max(map(len, completions)) - 1  # the last token predicts nothing
        if length > size:
            raise ValueError(
                f"item {number} has {length} tokens to read, but the model's context is {size}: "
                "shorten the item, or leave it out"
            )
        ids = [*context, *itertools.chain(*completions)]
        if not 0 <= min(ids) <= max(ids) < vocabulary:
            raise ValueError(f"item {number} holds ids that the vocabulary of {vocabulary} lacks")


def _batches(items, rows) -> list[list[int]]:
    """Group items with contexts of equal length into batches of at most `rows` completions."""
    batches, length, free = [], None, 0
    for i in sorted(
        range(len(items)), key=lambda i: (len(items[i][0]), max(map(len, items[i][1])))
    ):
        context, completions = items[i]
        if len(context) != length or len(completions) > free:
            batches.append([])
            length, free = len(context), rows
        batches[-1].append(i)
        free -= len(completions)
    return batches


def _continue(model, contexts, completions) -> list[float]:
    """Return the log-probabilities of all completions of contexts (B, T), in one list."""
    device = model.wte.weight.device
    shares = torch.tensor([len(of_one) for of_one in completions], device=device)
    completions = [torch.tensor(ids) for of_one in completions for ids in of_one]
    ids = torch.nn.utils.rnn.pad_sequence(completions, batch_first=True).to(device)  # (R, T)
    lengths = torch.tensor([len(c) for c in completions], device=device)
    idx = torch.tensor(contexts, device=device)
    cache = KVCache(model, idx.size(0), idx.size(1) + ids.size(1) - 1)
    x = model.hidden(idx, cache)[:, -1:]  # (B, 1, C), which predicts the first tokens
    x = x.repeat_interleave(shares, 0)  # (B, 1, C) -> (R, 1, C)
    for layer in cache.layers:
        layer.k, layer.v = (t.repeat_interleave(shares, 0) for t in (layer.k, layer.v))
    if ids.size(1) > 1:
        x = torch.cat([x, model.hidden(ids[:, :-1], cache)], dim=1)  # (R, T, C)
    real = torch.arange(ids.size(1), device=device) < lengths[:, None]  # what is not padding
    logits = model.head(x[real]).float()  # (N, V)
    chosen = logits.gather(1, ids[real][:, None])[:, 0] - logits.logsumexp(1)
    return [part.double().sum().item() for part in chosen.cpu().split(lengths.tolist())]


@dataclass(frozen=True)
class Completion:
    """What a model says of one completion: a log-probability, and lengths to divide it by."""

    logprob: float  # nats, summed over the tokens
    tokens: int
    characters: int
    bytes: int


def score_completions(
    model, items: Sequence[tuple[str, Sequence[str]]], encode=encode_pair, **options
) -> list[list[Completion]]:
    """Score the completions of each context, texts as they are: (context, [completion, ...]).

    encode: turns a context and a completion into their ids; all completions of a context must leave
    it the same ids. The options and errors are those of `log_probabilities`.
    """
    coded = []
    for context, completions in items:
        pairs = [encode(context, completion) for completion in completions]
        coded.append((pairs[0][0] if pairs else [], [ids for _, ids in pairs]))
    values = log_probabilities(model, coded, **options)
    return [
        [
            Completion(logprob, len(ids), len(text), len(text.encode()))
            for logprob, ids, text in zip(logprobs, of_one, completions, strict=True)
        ]
        for logprobs, (_, of_one), (_, completions) in zip(values, coded, items, strict=True)
    ]
