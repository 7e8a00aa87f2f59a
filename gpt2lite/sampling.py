"""From logits to text: temperature, top-k, top-p, a KV cache, streaming.

Knows nothing about where a model came from. Source of top-p: Holtzman et al. 2019, "The Curious
Case of Neural Text Degeneration".
"""

import codecs
import warnings
from collections.abc import Iterator

import torch

from gpt2lite import cpu
from gpt2lite.model import evaluating


def probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    """Turn logits (..., V) into the distribution (..., V) to draw the next token from, in fp32.

    temperature: divides the logits; 0 puts everything on the likeliest token (greedy).
    top_k: keep the k likeliest tokens.
    top_p: then keep the fewest whose probabilities sum to at least p.
    Raises ValueError for a temperature below 0, top_k below 1 or top_p outside (0, 1].
    """
    _check_options(temperature, top_k, top_p)
    logits = logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits - logits.amax(-1, keepdim=True)  # 0 at most: no temperature makes it infinite
    logits = logits / max(temperature, torch.finfo(torch.float32).tiny)
    if top_k is not None and top_k < logits.size(-1):
        kth = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    p = logits.softmax(-1)
    if top_p is not None and top_p < 1:  # the sum below can round to 1 before the last token
        descending, order = p.sort(dim=-1, descending=True)
        before = descending.cumsum(-1) - descending  # the mass of all likelier tokens
        p = p.scatter(-1, order, descending.masked_fill(before >= top_p, 0.0))
        p = p / p.sum(-1, keepdim=True)
    return p


@torch.no_grad()
def next_logits(model, ids: list[int]) -> torch.Tensor:
    """Return the logits (V,) of the token that follows `ids`."""
    idx = torch.tensor([ids], device=model.wte.weight.device)
    return model.head(model.hidden(idx)[0, -1])


def _check_options(temperature, top_k, top_p):
    if not temperature >= 0:  # nan too
        raise ValueError(f"temperature must be 0 (greedy) or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}; None keeps every token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], not {top_p}; None keeps every token")


class LayerCache:
    """One attention layer's keys and values, in buffers (B, H, size, D) that are allocated once."""

    def __init__(self, shape, **where):
        self.k, self.v = torch.empty(shape, **where), torch.empty(shape, **where)
        self.length = 0

    def append(self, k, v):
        """Add k and v (B, H, T, D); return all so far (B, H, length, D), as views."""
        start, self.length = self.length, self.length + k.size(2)
        self.k[:, :, start : self.length] = k
        self.v[:, :, start : self.length] = v
        return self.k[:, :, : self.length], self.v[:, :, : self.length]


class KVCache:
    """What attention needs of the tokens already read, so that each is computed once.

    Valid while no token is dropped: GPT-2's positions are absolute, so a window that slides is
    computed anew.
    """

    def __init__(self, model, batch: int, size: int):
        c, w = model.config, model.wte.weight
        shape = (batch, c.n_head, size, c.head_dim)
        self.layers = [LayerCache(shape, dtype=w.dtype, device=w.device) for _ in range(c.n_layer)]

    @property
    def length(self) -> int:
        """The number of tokens held."""
        return self.layers[0].length


def generate(model, idx, max_new_tokens, num_samples=1, **options):
    """Continue token ids `idx` (B, T): return (B * num_samples, T + n).

    n is max_new_tokens, or fewer if all rows met `stop`; a prompt's samples follow each other. The
    options are those of `tokens`.
    """
    made = list(tokens(model, idx, max_new_tokens, num_samples=num_samples, **options))
    return torch.cat([idx.repeat_interleave(num_samples, 0), *(t[:, None] for t in made)], 1)


def stream(model, tokenizer, prompt: str, max_new_tokens, **options) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece, each piece whole characters of UTF-8.

    `<|endoftext|>` in the prompt is that token. A character may span several tokens: its bytes are
    held back until they are complete. The options are those of `tokens`, for one sample; the stop
    token itself is not part of the text.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
    ids = tokenizer.encode(prompt, allowed_special="all")
    idx = torch.tensor([ids], device=model.wte.weight.device)
    for token in tokens(model, idx, max_new_tokens, **options):
        if token.item() == options.get("stop"):
            break
        known = token.item() < tokenizer.n_vocab  # a padded vocabulary has ids without a text
        text = tokenizer.decode_single_token_bytes(token.item()) if known else "�".encode()
        if piece := utf8.decode(text):
            yield piece
    if rest := utf8.decode(b"", final=True):
        yield rest


@torch.no_grad()
def tokens(
    model,
    idx,
    max_new_tokens: int,
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    generator: torch.Generator | None = None,
    overflow: str = "refuse",
    use_cache: bool = True,
) -> Iterator[torch.Tensor]:
    """Yield the tokens that continue `idx` (B, T), each step a tensor (B * num_samples,).

    num_samples: continuations of each prompt; the prompt itself is computed once for all of them.
    temperature, top_k, top_p: as in `probabilities`.
    stop: a token id; a row that drew it repeats it, and when all have, the iteration ends.
    generator: the source of randomness, on the model's device; the same seed gives the same tokens.
    overflow: past block_size tokens, "refuse" raises before any work, and "slide" drops the oldest
        tokens and computes the whole window anew for each new one.
    Raises ValueError, before any work, for an empty prompt, ids outside the vocabulary, an overflow
    refused, or more rows than the memory can hold.
    """
    _check_options(temperature, top_k, top_p)
    _check_prompt(model, idx, max_new_tokens, overflow)
    _check_samples(model, idx, max_new_tokens, num_samples)
    size = model.config.block_size
    end = idx.size(1) + max_new_tokens
    cache = KVCache(model, idx.size(0), min(end, size)) if use_cache else None
    rows = idx.size(0) * num_samples
    done = torch.zeros(rows, dtype=torch.bool, device=idx.device)
    fast = cpu.decoding(idx.device, rows, max_new_tokens)
    for _ in range(max_new_tokens):
        # Not around the yield: that is the caller's code, and these are no tensors to train on.
        with torch.inference_mode(), evaluating(model), fast:
            if cache and idx.size(1) <= size:
                x = model.hidden(idx[:, cache.length :], cache)  # the prompt, then one token
            else:
                x = model.hidden(idx[:, -size:])
            logits = model.head(x[:, -1])  # only the last position predicts something new
        if idx.size(0) < rows:  # the prompt has been read once: now each sample gets its own row
            idx, logits = (t.repeat_interleave(num_samples, 0) for t in (idx, logits))
            for layer in cache.layers if cache else ():
                layer.k, layer.v = (t.repeat_interleave(num_samples, 0) for t in (layer.k, layer.v))
        if temperature == 0:
            token = logits.argmax(-1)
        else:
            p = probabilities(logits, temperature, top_k, top_p)
            token = torch.multinomial(p, 1, generator=generator)[:, 0]
        if stop is not None:
            token = token.masked_fill(done, stop)
            done = done | (token == stop)
        yield token
        if stop is not None and done.all():
            return
        idx = torch.cat([idx, token[:, None]], dim=1)


def _check_prompt(model, idx, max_new_tokens, overflow):
    size, vocab = model.config.block_size, model.config.vocab_size
    if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be 0, 1, 2, ..., not {max_new_tokens!r}")
    if idx.dim() != 2 or idx.numel() == 0:
        raise ValueError(
            f"the prompt must be token ids of shape (B, T), T at least 1, not {tuple(idx.shape)}; "
            "to start from nothing, give <|endoftext|>, token 50256"
        )
    if idx.min() < 0 or idx.max() >= vocab:
        raise ValueError(
            f"the prompt holds token ids from {idx.min()} to {idx.max()}, but the model knows 0 to "
            f"{vocab - 1}: was it encoded with another tokenizer?"
        )
    if overflow not in ("refuse", "slide"):
        raise ValueError(f'overflow must be "refuse" or "slide", not {overflow!r}')
    if idx.size(1) + max_new_tokens > size:
        what = f"{idx.size(1)} + {max_new_tokens} tokens pass the context of {size}"
        if overflow == "refuse":
            raise ValueError(f'{what}: shorten the prompt, ask for fewer, or pass overflow="slide"')
        warnings.warn(
            f"{what}: the oldest will be forgotten, and each token costs a window", stacklevel=2
        )


def _check_samples(model, idx, max_new_tokens, num_samples):
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples must be 1, 2, 3, ..., not {num_samples!r}")
    c, weight = model.config, model.wte.weight
    length = min(idx.size(1) + max_new_tokens, c.block_size)
    held = 2 * c.n_layer * c.n_embd * length * weight.element_size()  # a row's keys and values
    needed = idx.size(0) * num_samples * (held + 4 * c.vocab_size)  # and its logits in fp32
    free = cpu.free_memory()
    if weight.device.type == "cuda":
        memory, device = torch.cuda, weight.device
        cached = memory.memory_reserved(device) - memory.memory_allocated(device)
        free = memory.mem_get_info(device)[0] + cached
    if needed > free:
        raise ValueError(
            f"num_samples={num_samples} needs at least {needed / 1e9:,.1f} GB beside the model, "
            f"and {free / 1e9:,.1f} GB are free: ask for fewer, in several calls"
        )
