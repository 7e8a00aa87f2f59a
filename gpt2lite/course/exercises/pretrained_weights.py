"""Notebook 02: from a file's tensors to a loaded model, from logits to a token, and the KV cache.

Over 250 lines, for the wrong answers that readers give: each is a line of its own here.
"""

import torch
import torch.nn.functional as F

from gpt2lite.config import SIZES, GPTConfig
from gpt2lite.course.exercises import Part
from gpt2lite.model import GPT

# Every size differs from every other, so that a mixed-up dimension shows.
TINY = GPTConfig(block_size=9, vocab_size=13, n_layer=2, n_head=3, n_embd=12)
B, H, D = 2, TINY.n_head, TINY.head_dim


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Names


def our_name(name):
    name = name.removeprefix("transformer.")
    if name.endswith(".attn.bias") or name == "lm_head.weight":
        return None  # a causal mask; wte once more
    return name


_NAMES = Part(
    solution=our_name,
    cases=tuple(
        (name,)
        for name in (
            "wte.weight",
            "transformer.wpe.weight",
            "transformer.h.0.attn.c_attn.weight",
            "h.11.attn.bias",
            "transformer.h.3.attn.bias",
            "h.0.attn.c_attn.bias",
            "transformer.h.5.attn.c_proj.bias",
            "transformer.h.7.ln_1.bias",
            "lm_head.weight",
            "ln_f.bias",
        )
    ),
    mistakes=(
        (
            lambda name: name,
            "the prefix transformer. stays: our names have none",
        ),
        (
            lambda name: name.removeprefix("transformer"),
            "a dot is left in front: the prefix is transformer. with its dot",
        ),
        (
            lambda name: name.split(".", 1)[1],
            "the first part of every name is cut off: cut it only where it is transformer.",
        ),
        (
            lambda name: name.removeprefix("transformer."),
            "h.N.attn.bias is no bias but the causal mask: return None",
        ),
        (
            lambda name: None if name.endswith("bias") else our_name(name),
            "all biases are dropped: c_attn.bias is one, and only .attn.bias is the mask",
        ),
        (
            lambda name: None if name.endswith("attn.bias") else our_name(name),
            "c_attn.bias ends with attn.bias too, but is a parameter: look for .attn.bias, "
            "with the dot in front",
        ),
        (
            lambda name: None if "attn" in name and "bias" in name else our_name(name),
            "c_attn.bias and c_proj.bias are parameters: only the name that ends with .attn.bias "
            "is the mask",
        ),
        (
            lambda name: name if name == "lm_head.weight" else our_name(name),
            "lm_head.weight is wte once more (weight tying): return None",
        ),
        (
            lambda name: "wte.weight" if name == "lm_head.weight" else our_name(name),
            "lm_head.weight is wte once more, and wte is in the file: return None",
        ),
        (
            lambda name: our_name(name) or "",
            "for a tensor that is no parameter return None, not an empty text",
        ),
    ),
)


# Transposing


def from_conv1d(name, w):
    conv1d = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    if name.removesuffix(".weight").endswith(conv1d):
        return w.t()  # (in, out) -> (out, in)
    return w


def _is_conv1d(name):
    return ".c_" in name and name.endswith(".weight")


_CONV1D = Part(
    solution=from_conv1d,
    cases=(
        ("h.0.attn.c_attn.weight", _random(4, 12)),
        ("h.1.mlp.c_fc.weight", _random(4, 16)),
        ("h.1.mlp.c_proj.weight", _random(16, 4)),
        ("h.11.attn.c_proj.weight", _random(4, 4)),
        ("h.0.attn.c_attn.bias", _random(12)),
        ("ln_f.weight", _random(4)),
        ("wte.weight", _random(13, 4)),
        ("wpe.weight", _random(4, 4)),
    ),
    mistakes=(
        (
            lambda name, w: w,
            "nothing is transposed: the file has (in, out), nn.Linear wants (out, in)",
        ),
        (
            lambda name, w: w.view(w.shape[::-1]) if _is_conv1d(name) else w,
            "view and reshape keep the numbers in their order and only cut the rows elsewhere: "
            "w.t() exchanges rows and columns",
        ),
        (
            lambda name, w: w.t() if _is_conv1d(name) and "c_attn" in name else w,
            "three more matrices are Conv1D's: attn.c_proj, mlp.c_fc, mlp.c_proj",
        ),
        (
            lambda name, w: w.t() if _is_conv1d(name) and "attn" in name else w,
            "the MLP's two matrices, c_fc and c_proj, are Conv1D's too",
        ),
        (
            lambda name, w: w.t() if _is_conv1d(name) and "attn.c_proj" not in name else w,
            "attn.c_proj is missing: it is square, so any shape looks right, but it is a Conv1D's "
            "like the other three",
        ),
        (
            lambda name, w: w.t() if w.dim() == 2 and w.size(0) != w.size(1) else w,
            "attn.c_proj is square and still a Conv1D's: decide by the name, not by the shape",
        ),
        (
            lambda name, w: w.t() if w.dim() == 2 else w,
            "wte and wpe are lookup tables, one row a token or position: they stay as they are",
        ),
        (
            lambda name, w: w.t() if w.dim() == 2 and name != "wte.weight" else w,
            "wpe is a lookup table like wte, one row a position: it stays as it is",
        ),
        (
            lambda name, w: w.flip(0) if w.dim() == 1 else from_conv1d(name, w),
            "tensors of one dimension stay as they are",
        ),
        (
            lambda name, w: w.flip(0, 1) if _is_conv1d(name) else w,
            "flip reverses rows and columns: w.t() exchanges them",
        ),
    ),
)


# Loading


def load_weights(model, tensors):
    weights = {our_name(name): from_conv1d(our_name(name) or "", w) for name, w in tensors.items()}
    weights.pop(None, None)  # what is no parameter
    for name, p in model.state_dict().items():
        if name not in weights:
            raise ValueError(f"{name} is missing")
        if weights[name].shape != p.shape:
            raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, not {tuple(p.shape)}")
    if extra := [name for name in weights if name not in model.state_dict()]:
        raise ValueError(f"{extra[0]} is too many")
    model.load_state_dict(weights)
    return model


def _model(seed=0):
    model = GPT(TINY).eval().requires_grad_(False)
    for number, p in enumerate(model.parameters()):
        p.copy_(0.5 * _random(*p.shape, seed=100 * seed + number))
    return model


def _file(prefix="", masks=False, head=False, without=None, **more):
    """Return the tensors that a file holds of a small model, as the hub or transformers has it."""
    tensors = {name: from_conv1d(name, w) for name, w in _model(1).state_dict().items()}
    tensors = {prefix + name: w.contiguous() for name, w in tensors.items() if name != without}
    if masks:
        tensors |= {f"{prefix}h.{i}.attn.bias": torch.ones(1, 1, 9, 9) for i in range(2)}
    if head:
        tensors["lm_head.weight"] = tensors[f"{prefix}wte.weight"]
    return tensors | {name.replace("__", "."): w for name, w in more.items()}


def _weights(tensors, names=our_name, shapes=from_conv1d):
    named = {names(name): w for name, w in tensors.items()}
    return {name: shapes(name, w) for name, w in named.items() if name is not None}


def _loaded(model, weights, strict=True):
    model.load_state_dict(weights, strict=strict)
    return model


def _copied(model, tensors, checked=True):
    """Load with copy_, which broadcasts a shape that doesn't fit."""
    weights = _weights(tensors)
    for name, p in model.state_dict().items():
        if checked and name not in weights:
            raise ValueError(f"{name} is missing")
        if name in weights:
            p.copy_(weights[name])
    if checked and weights.keys() - model.state_dict().keys():
        raise ValueError("too many")
    return model


def _without_extra(model, tensors):
    known = model.state_dict()
    return load_weights(model, {n: w for n, w in tensors.items() if (our_name(n) or n) in known})


_LOAD = Part(
    solution=load_weights,
    named=r"[\w.]+\.(?:weight|bias)",
    cases=(
        (_model(), _file()),
        (_model(), _file("transformer.", head=True)),
        (_model(), _file(masks=True)),
        (_model(), _file(without="h.1.mlp.c_proj.bias")),
        (_model(), _file("transformer.", transformer__wpe__weight=_random(1, 12))),
        (_model(), _file(h__2__ln_1__weight=_random(12))),
    ),
    mistakes=(
        (
            lambda model, tensors: model,
            "the model is returned as it was: give its state to load_state_dict",
        ),
        (
            lambda model, tensors: _loaded(model, _weights(tensors)) and None,
            "the weights are loaded, but nothing is returned: end with return model",
        ),
        (
            lambda model, tensors: _weights(tensors),
            "these are the weights: load them into the model, and return the model",
        ),
        (
            lambda model, tensors: _loaded(model, _weights(tensors, shapes=lambda name, w: w)),
            "the matrices are not transposed: call from_conv1d for each tensor",
        ),
        (
            lambda model, tensors: _loaded(
                model, {n: from_conv1d(n, w) for n, w in tensors.items()}
            ),
            "the file's names are kept: call our_name for each tensor",
        ),
        (
            lambda model, tensors: _loaded(
                model, {our_name(n): from_conv1d(n, w) for n, w in tensors.items()}
            ),
            "tensors that are no parameter, whose name is None, must be left out",
        ),
        (
            lambda model, tensors: _loaded(model, _weights(tensors)),
            "load_state_dict refuses the file, but with a RuntimeError that lists everything: "
            "before it, raise a ValueError that names the first tensor",
        ),
        (
            lambda model, tensors: _loaded(model, _weights(tensors), strict=False),
            "strict=False says nothing when a tensor is missing: raise a ValueError with its name",
        ),
        (
            _copied,
            "a tensor of another shape is broadcast in silence: compare the shapes, and raise a "
            "ValueError",
        ),
        (
            lambda model, tensors: _copied(model, tensors, checked=False),
            "a missing tensor goes unnoticed: raise a ValueError with its name",
        ),
        (
            _without_extra,
            "a tensor that the model doesn't have goes unnoticed: raise a ValueError with its name",
        ),
    ),
)


# Top-p


def nucleus(p, top_p):
    descending, order = p.sort(dim=-1, descending=True)
    before = descending.cumsum(-1) - descending  # what all likelier tokens hold together
    descending = descending.masked_fill(before >= top_p, 0.0)
    kept = torch.zeros_like(p).scatter(-1, order, descending)
    return kept / kept.sum(-1, keepdim=True)


def _kept(p, top_p, crossing=True, more=False):
    """Return p with the cut tokens 0, not yet summing to 1."""
    descending, order = p.sort(dim=-1, descending=True)
    total = descending.cumsum(-1)
    before = total - descending
    cut = total > top_p if not crossing else before > top_p if more else before >= top_p
    return torch.zeros_like(p).scatter(-1, order, descending.masked_fill(cut, 0.0))


def _normed(p):
    return p / p.sum(-1, keepdim=True)


def _tied(p, top_p):
    kept = _kept(p, top_p)
    smallest = kept.masked_fill(kept == 0, 2.0).amin(-1, keepdim=True)
    return torch.where(p >= smallest, p, 0.0)


def _one_of_two(p):
    """Sort the last two probabilities, which are equal in each case: it may keep either."""
    return torch.cat([p[..., :-2], p[..., -2:].sort(-1).values], dim=-1)


_FIVE = [0.125, 0.5, 0.25, 0.0625, 0.0625]
_NUCLEUS = Part(
    solution=nucleus,
    cases=tuple(
        (torch.tensor(p), top_p)
        for p, top_p in (
            (_FIVE, 0.6),
            ([0.125, 0.625, 0.125, 0.125], 0.25),
            (_FIVE, 0.75),
            (_FIVE, 0.9),
            ([_FIVE, [0.125, 0.1875, 0.5, 0.09375, 0.09375]], 0.7),
            ([[0.25, 0.25, 0.25, 0.25]], 1.0),
        )
    ),
    seen=_one_of_two,
    mistakes=(
        (
            lambda p, top_p: _normed(_kept(p, top_p, crossing=False)),
            "the token that crosses top_p stays too: without it the others hold less than top_p, "
            "and when the first alone is larger, nothing is left",
        ),
        (
            lambda p, top_p: _kept(p, top_p),
            "the right tokens stay, but they no longer sum to 1: divide by their sum",
        ),
        (
            lambda p, top_p: _kept(p, top_p, crossing=False),
            "two things: the token that crosses top_p stays, and the kept ones must sum to 1",
        ),
        (
            lambda p, top_p: _normed(_kept(p, top_p).sort(-1, descending=True).values),
            "the probabilities are right but in sorted order: put each back in its token's place, "
            "with the indices that sort returns",
        ),
        (
            lambda p, top_p: _normed(p.masked_fill(p.cumsum(-1) - p >= top_p, 0.0)),
            "top-p keeps the likeliest tokens: sort before you sum up",
        ),
        (
            lambda p, top_p: _normed(torch.where(p >= top_p, p, 0.0)),
            "top_p is no threshold for one token: it is what the kept tokens hold together",
        ),
        (
            lambda p, top_p: _kept(p, top_p).softmax(-1),
            "the kept ones are probabilities already: divide by their sum, without a softmax",
        ),
        (
            lambda p, top_p: _normed(_kept(p, top_p, more=True)),
            "one token too many when the sum is exactly top_p: it is reached, so stop there",
        ),
        (
            lambda p, top_p: _normed(_tied(p, top_p)),
            "of equally likely tokens all stay: keep the fewest that reach top_p",
        ),
        (
            lambda p, top_p: _kept(p, top_p) / _kept(p, top_p).sum(),
            "each row must sum to 1 on its own: sum(-1, keepdim=True)",
        ),
    ),
)


# Temperature and top-k


def probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:  # greedy: the limit
        return F.one_hot(logits.argmax(-1), logits.size(-1)).float()
    logits = logits / temperature
    if top_k is not None:
        kth = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    p = logits.softmax(-1)
    return p if top_p is None else nucleus(p, top_p)


def _cut(logits, top_k, fill=-torch.inf, keep=lambda z, kth: z >= kth):
    if top_k is None:
        return logits
    return torch.where(keep(logits, logits.topk(top_k).values[..., -1:]), logits, fill)


def _after(p, top_k):
    """Apply top-k to probabilities."""
    return p if top_k is None else _normed(_cut(p, top_k, fill=0.0))


def _heated(heat):
    """Return `probabilities` with another use of the temperature."""
    return lambda z, t=1.0, k=None, p=None: (
        probabilities(z, 0, k, p) if t == 0 else heat(z, t, k, p)
    )


_LOGITS = 2 * _random(3, 7, seed=5)
_PROBABILITIES = Part(
    solution=probabilities,
    cases=(
        (_LOGITS[0],),
        (_LOGITS[0], 0.5),
        (_LOGITS[0], 2.0, 3),
        (_LOGITS[0], 1.0, None, 0.6),
        (_LOGITS, 1.5, 2),
        (_LOGITS, 0.7, 4, 0.8),
        (_LOGITS, 2.0, 5, 0.8),
        (_LOGITS, 0),
    ),
    mistakes=(
        (
            _heated(lambda z, t, k, p: probabilities(z * t, 1.0, k, p)),
            "the temperature multiplies: a low one must sharpen, so divide by it",
        ),
        (
            _heated(lambda z, t, k, p: probabilities(z, 1.0, k, p)),
            "the temperature is ignored: divide the logits by it",
        ),
        (
            _heated(lambda z, t, k, p: probabilities(z, 1.0, k, p) / t),
            "the temperature divides the probabilities: divide the logits, before the softmax",
        ),
        (
            lambda z, t=1.0, k=None, p=None: z / t,
            "these are logits: the softmax makes them probabilities",
        ),
        (
            lambda z, t=1.0, k=None, p=None: probabilities(z, t, None, p),
            "top_k is ignored: set all but the k largest logits to -inf",
        ),
        (
            _heated(lambda z, t, k, p: _top_p(_cut(z / t, k, fill=0.0).softmax(-1), p)),
            "a logit of 0 is not a probability of 0: set the cut logits to -inf",
        ),
        (
            _heated(
                lambda z, t, k, p: _top_p(
                    _cut(z / t, k, keep=lambda z, kth: z > kth).softmax(-1), p
                )
            ),
            "one token too few: the k-th largest stays, so cut what is smaller than it",
        ),
        (
            _heated(
                lambda z, t, k, p: _top_p(
                    _cut(z / t, k, keep=lambda z, kth: z <= kth).softmax(-1), p
                )
            ),
            "the largest logits are cut: top-k keeps them",
        ),
        (
            _heated(
                lambda z, t, k, p: (
                    _top_p(_cut((z / t).softmax(-1), k, fill=0.0), p)
                    if k
                    else probabilities(z, t, k, p)
                )
            ),
            "after top-k the probabilities no longer sum to 1: cut the logits, then the softmax",
        ),
        (
            lambda z, t=1.0, k=None, p=None: probabilities(z, t, k),
            "top_p is ignored: call nucleus(p, top_p) where it is not None",
        ),
        (
            _heated(lambda z, t, k, p: _after(probabilities(z, t, None, p), k)),
            "top-p comes before top-k: first top-k cuts, then top-p what is left",
        ),
        (
            lambda z, t=1.0, k=None, p=None: (
                probabilities(z, t, k, p) if t else (z / t).softmax(-1)
            ),
            "temperature 0 divides by 0: return 1 for the likeliest token, 0 for all others",
        ),
        (
            lambda z, t=1.0, k=None, p=None: (
                probabilities(z, t, k, p) if t else probabilities(z, 1.0, k, p)
            ),
            "temperature 0 must be greedy: 1 for the likeliest token, 0 for all others",
        ),
        (
            lambda z, t=1.0, k=None, p=None: (
                probabilities(z, t, k, p) if t else z.argmax(-1, keepdim=True)
            ),
            "at temperature 0 this is the token: return its distribution, as F.one_hot makes it",
        ),
    ),
)


def _top_p(p, top_p):
    return p if top_p is None else nucleus(p, top_p)


# The cache


def attend_cached(q, k, v, cache):
    if cache is not None:
        k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
    T, S = q.size(2), k.size(2)
    mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    return F.scaled_dot_product_attention(q, k, v, mask), (k, v)


def _attend(q, k, v, cache, order=(0, 1), mask=None, dim=2):
    new = (k, v)
    if cache is not None:
        pairs = zip(cache, new, strict=True)
        k, v = (torch.cat([pair[i] for i in order], dim=dim) for pair in pairs)
    T, S = q.size(2), k.size(2)
    mask = torch.ones(T, S, dtype=torch.bool).tril(S - T) if mask is None else mask(T, S)
    return F.scaled_dot_product_attention(q, k, v, mask), (k, v), new


def _qkv(T, seed):
    return tuple(_random(B, H, T, D, seed=seed + i) for i in range(3))


def _held(S, seed):
    return tuple(_random(B, H, S, D, seed=seed + i) for i in range(2))


_ATTEND = Part(
    solution=attend_cached,
    cases=(
        (*_qkv(5, 0), None),
        (*_qkv(1, 10), None),
        (*_qkv(1, 20), _held(4, 30)),
        (*_qkv(3, 40), _held(2, 50)),
    ),
    mistakes=(
        (
            lambda q, k, v, cache: _attend(q, k, v, cache)[0],
            "return two things: y, and all keys and values for the next step",
        ),
        (
            lambda q, k, v, cache: (
                attend_cached(q, k, v, cache)[:1] + attend_cached(q, k, v, cache)[1]
            ),
            "keys and values belong together: return y, (k, v)",
        ),
        (
            lambda q, k, v, cache: _attend(
                q, k, v, cache, mask=lambda T, S: torch.ones(T, S, dtype=torch.bool)
            )[:2],
            "the mask is missing: a prompt of several tokens must not see its future",
        ),
        (
            lambda q, k, v, cache: _attend(
                q, k, v, cache, mask=lambda T, S: torch.ones(T, S, dtype=torch.bool).triu(S - T + 1)
            )[:2],
            "the mask is the wrong way round: True is where a token may look",
        ),
        (
            lambda q, k, v, cache: attend_cached(q, k, v, None),
            "the cache is not used: put its keys and values in front of the new ones",
        ),
        (
            lambda q, k, v, cache: _attend(q, k, v, cache)[::2],
            "only the new keys and values are returned: the next step needs all so far",
        ),
        (
            lambda q, k, v, cache: (
                attend_cached(q, k, v, cache)[0],
                attend_cached(q, k, v, None)[1] if cache is None else cache,
            ),
            "the old cache is returned: the new keys and values must be in it",
        ),
        (
            lambda q, k, v, cache: _attend(q, k, v, cache, order=(1, 0))[:2],
            "the new keys stand before the old ones: old ones first",
        ),
        (
            lambda q, k, v, cache: _attend(
                q, k, v, cache, mask=lambda T, S: torch.ones(T, S, dtype=torch.bool).tril()
            )[:2],
            "row 0 of the mask is the first *new* token, which may see all S - T kept ones: "
            "tril(S - T). is_causal=True has this mistake too",
        ),
        (
            lambda q, k, v, cache: _attend(
                q,
                k,
                v,
                cache,
                mask=lambda T, S: (
                    torch.ones(T, S, dtype=torch.bool).tril(S - T)
                    if cache is None
                    else torch.ones(T, S, dtype=torch.bool)
                ),
            )[:2],
            "several new tokens must not see each other's future either: tril(S - T)",
        ),
        (
            lambda q, k, v, cache: (
                attend_cached(q, k, v, cache)
                if cache is None
                else attend_cached(q, k, torch.cat([cache[0], k], 2)[:, :, : k.size(2)], cache)
            ),
            "values and keys are mixed up: cache[0] are keys, cache[1] are values",
        ),
        (
            lambda q, k, v, cache: _attend(q, k, v, cache, dim=1)[:2],
            "the cache is joined along the heads: tokens are dimension 2 of (B, H, T, D)",
        ),
    ),
)


# One step


def cached_attention(attn, x, cache):
    B, T, C = x.shape
    q, k, v = (
        t.view(B, T, attn.n_head, -1).transpose(1, 2) for t in attn.c_attn(x).split(C, dim=-1)
    )
    y, cache = attend_cached(q, k, v, cache)
    return attn.c_proj(y.transpose(1, 2).reshape(B, T, C)), cache


def step(model, idx, caches):
    past = 0 if caches[0] is None else caches[0][0].size(2)
    x = model.wte(idx) + model.wpe.weight[past : past + idx.size(1)]  # (B, T, C)
    kept = []
    for block, cache in zip(model.h, caches, strict=True):
        y, cache = cached_attention(block.attn, block.ln_1(x), cache)
        x = x + y
        x = x + block.mlp(block.ln_2(x))
        kept.append(cache)
    return F.linear(model.ln_f(x)[:, -1], model.wte.weight), kept  # (B, V)


def _step(
    model, idx, caches, at=lambda past, T: torch.arange(past, past + T), last=-1, used=None, **how
):
    """Return logits and caches as `step` does, with one thing done otherwise."""
    past = 0 if caches[0] is None else caches[0][0].size(2)
    x = model.wte(idx) + model.wpe.weight[at(past, idx.size(1))]
    kept = []
    for block, cache in zip(model.h, used or caches, strict=True):
        y, cache = cached_attention(block.attn, block.ln_1(x), cache)
        x = y if how.get("replaced") else x + y
        x = x if how.get("no_mlp") else x + block.mlp(block.ln_2(x))
        kept.append(cache)
    x = x if how.get("no_ln_f") else model.ln_f(x)
    return F.linear(x[:, last], model.wte.weight), kept


def _caches(model, T, seed):
    idx = torch.randint(TINY.vocab_size, (B, T), generator=torch.Generator().manual_seed(seed))
    return step(model, idx, [None] * TINY.n_layer)[1] if T else [None] * TINY.n_layer


def _ids(T, seed):
    return torch.randint(TINY.vocab_size, (B, T), generator=torch.Generator().manual_seed(seed))


_TRIED = _model(2)
_STEP = Part(
    solution=step,
    cases=(
        (_TRIED, _ids(5, 0), _caches(_TRIED, 0, 0)),
        (_TRIED, _ids(1, 1), _caches(_TRIED, 0, 0)),
        (_TRIED, _ids(1, 2), _caches(_TRIED, 5, 3)),
        (_TRIED, _ids(3, 4), _caches(_TRIED, 4, 5)),
    ),
    mistakes=(
        (
            lambda *a: _step(*a, last=slice(None)),
            "these are the logits of all positions: return the last one's, (B, V)",
        ),
        (
            lambda *a: _step(*a, last=0),
            "these are the first position's logits: the next token follows the last",
        ),
        (lambda *a: step(*a)[0], "return two things: the logits, and the caches for the next step"),
        (
            lambda model, idx, caches: (step(model, idx, caches)[0], caches),
            "these are the caches as they came: collect what cached_attention returns",
        ),
        (
            lambda model, idx, caches: (
                step(model, idx, caches)[0],
                step(model, idx, caches)[1][-1:],
            ),
            "only the last block's cache is returned: each block has its own",
        ),
        (lambda *a: _step(*a, no_ln_f=True), "ln_f is missing: it stands before the output"),
        (lambda *a: _step(*a, no_mlp=True), "the MLP is missing: x + block.mlp(block.ln_2(x))"),
        (
            lambda *a: _step(*a, replaced=True),
            "attention's result replaces the stream: add it to x",
        ),
        (
            lambda *a: _step(*a, at=lambda past, T: torch.full((T,), past)),
            "all new tokens stand at one position: T tokens need T positions, past to past + T - 1",
        ),
        (
            lambda *a: _step(*a, at=lambda past, T: torch.arange(past + 1, past + T + 1)),
            "one position too far: past tokens stand at 0 to past - 1, the first new one at past",
        ),
        (
            lambda *a: _step(*a, at=lambda past, T: torch.arange(T)),
            "the new tokens start at position 0 again: they stand after those in the cache",
        ),
        (
            lambda model, idx, caches: step(model, idx, [None] * len(caches)),
            "the caches are not used: the new tokens see only each other, from position 0",
        ),
        (
            lambda model, idx, caches: _step(model, idx, caches, used=[None] * len(caches)),
            "the positions are right, but cached_attention doesn't get the block's cache",
        ),
        (
            lambda model, idx, caches: _step(model, idx, caches, used=caches[:1] * len(caches)),
            "all blocks get the first one's cache: each has its own",
        ),
        (
            lambda model, idx, caches: _step(model, idx, caches, used=caches[::-1]),
            "the caches are in reverse order: the first belongs to the first block",
        ),
    ),
)


# An exercise


def cache_bytes(config, B, T, size):
    return 2 * config.n_layer * B * T * config.n_embd * size


_BYTES = Part(
    solution=cache_bytes,
    exercise=True,
    cases=(
        (SIZES["gpt2"], 1, 1024, 4),
        (SIZES["gpt2-xl"], 1, 7, 2),
        (SIZES["gpt2-medium"], 8, 1024, 2),
    ),
    mistakes=(
        (
            lambda c, B, T, size: c.n_layer * B * T * c.n_embd * size,
            "that is half: keys and values",
        ),
        (
            lambda c, B, T, size: 2 * B * T * c.n_embd * size,
            "that is one block's cache: there are n_layer of them",
        ),
        (
            lambda c, B, T, size: 2 * c.n_layer * B * T * c.n_embd * c.n_head * size,
            "H heads of D channels are C together: don't multiply by n_head",
        ),
        (
            lambda c, B, T, size: 2 * c.n_layer * B * T * c.n_embd // c.n_head * size,
            "that is one head: H heads of D channels are C together",
        ),
        (
            lambda c, B, T, size: 2 * c.n_layer * B * T * c.n_embd,
            "these are numbers: each has `size` bytes",
        ),
        (
            lambda c, B, T, size: 3 * c.n_layer * B * T * c.n_embd * size,
            "queries are not kept: an old token's query is never needed again",
        ),
        (
            lambda c, B, T, size: 2 * c.n_layer * T * c.n_embd * size,
            "each of the B sequences has its own cache",
        ),
        (
            lambda c, B, T, size: 2 * c.n_layer * B * c.block_size * c.n_embd * size,
            "that is a full window: only T tokens are in the cache",
        ),
    ),
)


PARTS: dict[str, Part] = {
    "02_names": _NAMES,
    "02_conv1d": _CONV1D,
    "02_load": _LOAD,
    "02_nucleus": _NUCLEUS,
    "02_probabilities": _PROBABILITIES,
    "02_attend_cached": _ATTEND,
    "02_step": _STEP,
    "02_cache_bytes": _BYTES,
}
