"""Notebook 03: GPT-2's initialization, its first loss, what a layer adds, a paired comparison.

Over 250 lines, for the wrong answers that readers give: each is a line of its own here.
"""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite.config import GPTConfig
from gpt2lite.course.exercises import Part
from gpt2lite.model import GPT, Block, init_default, init_gpt2

PARTS: dict[str, Part] = {}


# 03 · init_gpt2


def _untrained(n_layer):
    """Return a GPT as PyTorch fills it: all that a reader forgets stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(GPTConfig(128, 256, n_layer, n_head=4, n_embd=128))
        init_default(model, wte="embedding")
        for block in model.h:  # nn.Linear's biases are small: a forgotten one must show
            nn.init.ones_(block.mlp.c_proj.bias)
    return model


def _measured(arguments):
    """Return what counts of first weights: of a vector its value, of a matrix what was drawn.

    The root of the mean square over the mean size is 1.25 for a normal distribution, 1.15 for a
    uniform one and 1 for a constant.
    """
    model, found = arguments[0], {}
    for name, p in model.named_parameters():
        p = p.detach()
        if p.dim() == 1:
            found[name] = p[0].item() if (p == p[0]).all() else "random numbers"
            continue
        size = p.square().mean().sqrt().item()
        found[f"{name}, standard deviation"] = size
        found[f"{name}, share of positive numbers"] = (p > 0).float().mean().item()
        found[f"{name}, rms over mean size"] = size / p.abs().mean().item() if size else 1.0
    one, two = (model.h[i].mlp.c_fc.weight.detach().flatten() for i in (0, 1))
    found["c_fc is the same in two layers"] = F.cosine_similarity(one, two, 0).item() > 0.5
    return found


def _init(model, std=0.02, wpe=0.01, smaller=("c_proj.weight",), factor=None, draw=None):
    """Initialize as GPT-2, but for one mistake."""
    factor = factor or (lambda n: 1 / math.sqrt(2 * n))
    draw = draw or (lambda p, std: nn.init.normal_(p, std=std))
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
        elif "ln_" not in name:
            scale = factor(model.config.n_layer) if name.endswith(smaller) else 1.0
            draw(p, (wpe if name == "wpe.weight" else std) * scale)


def _then(change):
    """Return an init_gpt2 that is right, and then changes some tensors."""

    def init(model):
        init_gpt2(model)
        with torch.no_grad():
            for name, p in model.named_parameters():
                change(name, p)

    return init


def _bias_kept(model):
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith("bias")}
    init_gpt2(model)
    with torch.no_grad():
        for name, p in kept.items():
            model.get_parameter(name).copy_(p)


def _each_from_seed_0(p, std):
    torch.manual_seed(0)
    nn.init.normal_(p, std=std)


def _draw_in_place(model):
    for p in model.parameters():
        p.normal_(std=0.02)


def _only_vectors(model):
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)


PARTS["03_init_gpt2"] = Part(
    solution=init_gpt2,
    cases=((_untrained(3),), (_untrained(5),)),
    seen=lambda value: "a model" if isinstance(value, nn.Module) else value,
    left=_measured,
    tolerance=0.05,
    mistakes=(
        (
            lambda model: _init(model, smaller=()),
            "c_proj.weight, which adds to the residual stream, is smaller by 1/√(2·n_layer)",
        ),
        (
            lambda model: _init(model, factor=lambda n: 1 / math.sqrt(n)),
            "each layer adds to the stream twice, attention and MLP: √(2·n_layer), not √n_layer",
        ),
        (
            lambda model: _init(model, factor=lambda n: 1 / (2 * n)),
            "the root is missing: variances add up, so the standard deviation shrinks by "
            "√(2·n_layer)",
        ),
        (
            lambda model: _init(model, factor=lambda n: 1 / math.sqrt(24)),
            "12 layers are built in: take model.config.n_layer",
        ),
        (
            lambda model: _init(model, factor=lambda n: 1 / math.sqrt(12)),
            "6 layers are built in, perhaps as the notebook's L: take model.config.n_layer",
        ),
        (
            lambda model: _init(model, factor=lambda n: math.sqrt(2 * n)),
            "upside down: c_proj.weight is smaller, so divide by √(2·n_layer)",
        ),
        (
            lambda model: _init(model, smaller=("attn.c_proj.weight",)),
            "the MLP's c_proj adds to the stream too: there are two in each layer",
        ),
        (
            lambda model: _init(model, smaller=("mlp.c_proj.weight",)),
            "attention's c_proj adds to the stream too: there are two in each layer",
        ),
        (
            lambda model: _init(model, smaller=("c_proj.weight", "c_fc.weight", "c_attn.weight")),
            "c_attn and c_fc don't add to the stream: they keep 0.02",
        ),
        (
            lambda model: _init(model, wpe=0.02),
            "positions have half the standard deviation of tokens, 0.01",
        ),
        (
            lambda model: _init(model, draw=lambda p, std: nn.init.normal_(p, std=std**2)),
            "normal_ takes the standard deviation, not the variance",
        ),
        (
            lambda model: _init(model, draw=lambda p, std: nn.init.normal_(p, std)),
            "normal_(p, 0.02) takes 0.02 for the mean: name it, normal_(p, std=0.02)",
        ),
        (
            lambda model: _init(
                model, draw=lambda p, std: nn.init.uniform_(p, -(3**0.5) * std, 3**0.5 * std)
            ),
            "the standard deviations are right, but the numbers are uniform: draw from N(0, std²) "
            "with nn.init.normal_",
        ),
        (
            _then(lambda name, p: p.abs_() if p.dim() > 1 else p),
            "all numbers are positive: a normal distribution around 0 is half negative",
        ),
        (
            lambda model: _init(model, draw=_each_from_seed_0),
            "each matrix is drawn from the same seed, so layers begin alike: leave "
            "torch.manual_seed to whoever calls init_gpt2",
        ),
        (
            _draw_in_place,
            "PyTorch refuses to change a weight in place while it records gradients: "
            "nn.init.normal_ and nn.init.zeros_ may, or work inside `with torch.no_grad():`",
        ),
        (
            _only_vectors,
            "the matrices are as they were: `p = …` only names a new tensor. Fill the old one, "
            "nn.init.normal_(p, std=…)",
        ),
        (
            lambda model: _init(model, draw=lambda p, std: nn.init.uniform_(p, -std, std)),
            "that is uniform from −std to std: draw from N(0, std²) with nn.init.normal_",
        ),
        (
            _then(lambda name, p: p.normal_(std=0.02) if p.dim() == 1 and "ln_" in name else p),
            "LayerNorm is drawn too: its weight stays 1 and its bias 0",
        ),
        (
            _then(lambda name, p: p.normal_(std=0.02) if p.dim() == 1 and "weight" in name else p),
            "LayerNorm's weight is drawn too: it stays 1",
        ),
        (
            _then(lambda name, p: p.zero_() if p.dim() == 1 else p),
            "LayerNorm's weight is set to 0, as if it were a bias: it stays 1",
        ),
        (
            _then(lambda name, p: p.normal_(std=0.02) if name.endswith("bias") else p),
            "biases are drawn: every bias is 0",
        ),
        (_bias_kept, "the biases are as PyTorch drew them: set every bias to 0"),
        (
            lambda model: init_gpt2(model) or model,
            "the model is right, but it is filled in place: return nothing",
        ),
        (
            deepcopy,
            "that is another model, and the one given is as it was: fill that one in place",
        ),
        (
            lambda model: None,
            "the model is as it was: fill its parameters in place, as nn.init.normal_(p, std=…) "
            "does",
        ),
    ),
)


# 03 · the first loss


def first_loss(V, C, std):
    return math.log(V) + C * std**2 / 2


PARTS["03_first_loss"] = Part(
    solution=first_loss,
    cases=(
        (50257, 768, 0.02),
        (50257, 192, 0.02),
        (50257, 1600, 0.01),
        (256, 64, 0.125),
        (1000, 768, 0.0625),
    ),
    mistakes=(
        (
            lambda V, C, std: math.log(V),
            "that is a uniform guess: the logits' standard deviation √C·std adds half its square",
        ),
        (
            lambda V, C, std: math.log(V) + C * std**2 // 2,
            "// drops what stands after the point: divide with /",
        ),
        (
            lambda V, C, std: math.log(V + C * std**2 / 2),
            "a bracket: the logarithm is of V alone, and C·std²/2 is added to it",
        ),
        (
            lambda V, C, std: math.log(V) + math.sqrt(C) * std**2 / 2,
            "√C belongs into the square: s = √C·std, so s²/2 = C·std²/2",
        ),
        (
            lambda V, C, std: math.log(V) + 768 * std**2 / 2,
            "768 channels are built in: take C",
        ),
        (
            lambda V, C, std: math.log(V) + C * 0.02**2 / 2,
            "0.02 is built in: take std",
        ),
        (
            lambda V, C, std: math.log(50257) + C * std**2 / 2,
            "50,257 tokens are built in: take V",
        ),
        (
            lambda V, C, std: math.log(C) + V * std**2 / 2,
            "V and C are swapped: the logarithm is of V, the number of tokens",
        ),
        (
            lambda V, C, std: math.log(V) * C * std**2 / 2,
            "the two are multiplied: the logarithm of a product is a sum, ln(V·e^a) = ln V + a",
        ),
        (
            lambda V, C, std: math.log(math.log(V) * math.exp(C * std**2 / 2)),
            "the logarithm of V is taken twice: ln(V·e^a) is ln V + a already",
        ),
        (
            lambda V, C, std: first_loss(V, C, std) / math.log(2),
            "those are bits: a loss in nats is not divided by ln 2",
        ),
        (
            lambda V, C, std: round(first_loss(V, C, std), 2),
            "right to two decimals: return it as it is, without round",
        ),
        (
            lambda V, C, std: C * std**2 / 2,
            "that is what the logits' variance adds: add it to ln V, the loss of a uniform guess",
        ),
        (
            lambda V, C, std: math.log(V) + C * std**2,
            "the half is missing: the mean of e^z is e^(s²/2) for z from N(0, s²)",
        ),
        (
            lambda V, C, std: math.log(V) + std**2 / 2,
            "that is the variance of one weight: a logit adds up C products, so its variance is "
            "C·std²",
        ),
        (
            lambda V, C, std: math.log(V) + math.sqrt(C) * std / 2,
            "the standard deviation itself is added: it is its square, the variance C·std², that "
            "counts",
        ),
        (
            lambda V, C, std: math.log(V) + C * std / 2,
            "std is not squared: variances add up, standard deviations don't",
        ),
        (
            lambda V, C, std: math.log(V) + (C * std) ** 2 / 2,
            "C is squared too: the variance of a sum of C products is C·std²",
        ),
        (
            lambda V, C, std: math.log(V) + math.exp(C * std**2 / 2),
            "the logarithm takes e^… away: ln(V·e^a) = ln V + a",
        ),
        (
            lambda V, C, std: V * math.exp(C * std**2 / 2),
            "that is what stands inside the logarithm: take math.log of it, and simplify",
        ),
        (
            lambda V, C, std: math.log2(V) + C * std**2 / 2,
            "the loss is in nats: take the natural logarithm of V, not that to base 2",
        ),
        (
            lambda V, C, std: math.log10(V) + C * std**2 / 2,
            "the loss is in nats: take the natural logarithm of V, math.log, not log10",
        ),
        (
            lambda V, C, std: -math.log(V) + C * std**2 / 2,
            "the sign of ln V: the loss is minus the logarithm of the probability 1/V",
        ),
        (
            lambda V, C, std: math.log(V) - C * std**2 / 2,
            "the sign of the second term: confidence in arbitrary tokens costs, so add it",
        ),
    ),
)


# 03 · what a layer adds to the stream


def additions(block, x):
    a = block.attn(block.ln_1(x))
    m = block.mlp(block.ln_2(x + a))
    return a, m


def _block():
    """Return a Block whose two LayerNorms differ, and whose biases are no zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = Block(GPTConfig(n_head=2, n_embd=8))
        for p in block.parameters():
            nn.init.normal_(p, mean=float(p.dim() == 1), std=0.5)
    return block.eval()


def _stream(*shape, trained=False):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).requires_grad_(trained)


def _adds(block, x, attn=None, mlp=None, then=lambda x, a, m: (a, m)):
    """Compute what a layer adds, but for one mistake."""
    a = block.attn(attn(block, x) if attn else block.ln_1(x))
    m = block.mlp(mlp(block, x, a) if mlp else block.ln_2(x + a))
    return then(x, a, m)


def _adds_in_place(block, x):
    a = block.attn(block.ln_1(x))
    x += a
    return a, block.mlp(block.ln_2(x))


PARTS["03_additions"] = Part(
    solution=additions,
    cases=(
        (_block(), _stream(1, 1, 8)),
        (_block(), _stream(2, 3, 8)),
        (_block(), _stream(2, 3, 8, trained=True)),
    ),
    mistakes=(
        (
            lambda block, x: _adds(block, x, attn=lambda block, x: x),
            "attention reads the stream through ln_1",
        ),
        (
            lambda block, x: _adds(block, x, mlp=lambda block, x, a: x + a),
            "the MLP reads the stream through ln_2",
        ),
        (
            lambda block, x: (block.attn(x), block.mlp(x + block.attn(x))),
            "both read the stream through a LayerNorm: ln_1 before attn, ln_2 before mlp",
        ),
        (
            lambda block, x: (block.attn(x), block.mlp(x)),
            "a LayerNorm comes before each, ln_1 and ln_2, and the MLP reads x + a",
        ),
        (
            lambda block, x: (block.ln_1(block.attn(x)), block.ln_2(block.mlp(x))),
            "LayerNorm comes before each part, not after it, and the MLP reads x + a",
        ),
        (
            lambda block, x: _adds(block, x, mlp=lambda block, x, a: block.ln_2(x)),
            "the MLP reads the stream that attention has already added to, x + a",
        ),
        (
            lambda block, x: _adds(block, x, mlp=lambda block, x, a: block.ln_2(a)),
            "the MLP reads the whole stream, x + a, not only what attention added",
        ),
        (
            lambda block, x: _adds(block, x, mlp=lambda block, x, a: block.ln_1(x + a)),
            "the MLP has its own LayerNorm, ln_2",
        ),
        (
            lambda block, x: _adds(
                block,
                x,
                attn=lambda block, x: block.ln_2(x),
                mlp=lambda block, x, a: block.ln_1(x + a),
            ),
            "ln_1 and ln_2 are swapped: attention reads through ln_1, the MLP through ln_2",
        ),
        (
            lambda block, x: (
                a := block.ln_1(block.attn(x)),
                block.ln_2(block.mlp(x + a)),
            ),
            "LayerNorm comes before each part, not after it: attn(ln_1(x)), mlp(ln_2(x + a))",
        ),
        (
            _adds_in_place,
            "x += a changes the x that was given, and its gradient needs the old one: write x + a",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (x + a, x + a + m)),
            "that is the stream itself, after each addition: return what is added to it",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (x + a, m)),
            "the first one is the stream after attention: return what attention adds, without x",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (a, a + m)),
            "the second one holds attention's share too: return what the MLP alone adds",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (a, x + a + m)),
            "the second one is the stream after the block: return what the MLP adds to it",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (a, x + m)),
            "the second one still holds x: return what the MLP adds, without the stream",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (a, m, x + a + m)),
            "three tensors: return the two additions alone, not the stream besides",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (x, a, m)),
            "three tensors: return the two additions alone, without x",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: a + m),
            "that is both together: return two tensors, attention's and the MLP's",
        ),
        (
            lambda block, x: block(x),
            "that is the stream after the block: return the two tensors that were added to x",
        ),
        (
            lambda block, x: _adds(block, x, then=lambda x, a, m: (m, a)),
            "the pair is swapped: attention comes first",
        ),
    ),
)


# 03 · the paired comparison


def paired(a, b, t):
    d = a - b  # (n,), a difference for each seed
    return d.mean().item(), (t * d.std() / len(d) ** 0.5).item()


def _paired(a, b, t, half=lambda d, t: t * d.std() / len(d) ** 0.5, centre=torch.mean):
    d = a - b
    return centre(d).item(), float(half(d, t))


PARTS["03_paired"] = Part(
    solution=paired,
    cpu=True,
    cases=(
        (torch.tensor([6.5, 5.75, 6.25]), torch.tensor([6.375, 5.5, 6.0]), 4.30),
        (
            torch.tensor([5.0, 6.0, 7.0, 5.5, 6.5]),
            torch.tensor([5.5, 6.25, 7.25, 6.5, 6.75]),
            2.78,
        ),
        (torch.tensor([4.0, 4.5, 6.0, 5.0]), torch.tensor([4.25, 4.0, 6.5, 4.75]), 3.18),
    ),
    mistakes=(
        (
            lambda a, b, t: (
                (a.mean() - b.mean()).item(),
                t * math.sqrt((a.var() + b.var()).item() / len(a)),
            ),
            "that is the interval of two separate means: run i of both has the same batches, so "
            "subtract first, and what the batches do to both is gone",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * d.std()),
            "that is how far a single difference may lie; the mean of n varies less, by √n",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: d.std() / len(d) ** 0.5),
            "that is the standard error: half the interval is t times as wide",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: 1.96 * d.std() / len(d) ** 0.5),
            "1.96 is for many seeds: with few, std itself is uncertain, and t is larger",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: d.std()),
            "that is the standard deviation of the differences: times t, divided by √n",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * a.std() / len(a) ** 0.5),
            "that is how a alone varies: take the standard deviation of the differences a − b",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * a.std()),
            "that is how a alone varies, and √n is missing: t times std(a − b), divided by √n",
        ),
        (
            lambda a, b, t: _paired(
                a, b, t, half=lambda d, t: t * (a.std() - b.std()) / len(a) ** 0.5
            ),
            "std(a) − std(b) says nothing about a − b: subtract first, then take one std",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * d.std() / 5**0.5),
            "5 seeds are built in: n is len(a)",
        ),
        (
            lambda a, b, t: _paired(a, b, t, centre=torch.median),
            "that is the median of the differences: the interval is around their mean",
        ),
        (
            lambda a, b, t: (
                _paired(a, b, t)[0],
                _paired(a, b, t)[0] - _paired(a, b, t)[1],
                sum(_paired(a, b, t)),
            ),
            "three numbers: return the mean and what stands after ±, not the two ends",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: 2 * t * d.std() / len(d) ** 0.5),
            "that is the whole width: return half of it, what stands after ±",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * d.std() / len(d)),
            "divided by n: variances add up, so the error of a mean shrinks with √n",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * d.std() / (len(d) - 1) ** 0.5),
            "√n, not √(n − 1): std has the n − 1 inside it already",
        ),
        (
            lambda a, b, t: _paired(
                a, b, t, half=lambda d, t: t * d.std(correction=0) / len(d) ** 0.5
            ),
            "the standard deviation of a sample divides by n − 1, not n: torch.std, or np.std with "
            "ddof=1",
        ),
        (
            lambda a, b, t: _paired(a, b, t, half=lambda d, t: t * d.var() / len(d) ** 0.5),
            "that is the variance: take its root, the standard deviation",
        ),
        (
            lambda a, b, t: _paired(b, a, t),
            "the sign: a minus b, so that a negative number says that a is lower",
        ),
        (
            lambda a, b, t: _paired(a, b, t)[::-1],
            "the pair is swapped: first the mean difference, then half the interval",
        ),
        (
            lambda a, b, t: _paired(a, b, t, centre=torch.sum),
            "that is the sum of the differences: divide by their number, as a mean does",
        ),
        (
            lambda a, b, t: _paired(a, b, t)[0],
            "that is the mean difference alone: return half the interval too, as a pair",
        ),
        (
            lambda a, b, t: (
                _paired(a, b, t)[0] - _paired(a, b, t)[1],
                sum(_paired(a, b, t)),
            ),
            "those are the interval's two ends: return its middle, and what stands after ±",
        ),
    ),
)


# 03 · the exercise: how often does an interval cover the truth?


def coverage(n, t):
    d = torch.randn(10_000, n)  # a row is an experiment of n seeds; the true difference is 0
    half = t * d.std(1) / n**0.5
    return (d.mean(1).abs() < half).float().mean().item()


def _coverage(n, t, draw=torch.randn, half=lambda d, n, t: t * d.std(1) / n**0.5):
    d = draw(10_000, n)
    return (d.mean(1).abs() < half(d, n, t)).float().mean().item()


PARTS["03_coverage"] = Part(
    solution=coverage,
    exercise=True,
    cases=((30, 1.0), (5, 2.776), (5, 1.96), (2, 1.0)),
    tolerance=0.04,  # of 10,000 experiments a share of a half is known to 1 % of itself
    mistakes=(
        (
            lambda n, t: 1 - coverage(n, t),
            "those are the intervals that miss 0: count the ones that hold it",
        ),
        (
            lambda n, t: _coverage(n, t, half=lambda d, n, t: t * d.std(1)),
            "√n is missing: a mean of n numbers varies less than one of them",
        ),
        (
            lambda n, t: _coverage(n, t, half=lambda d, n, t: t * d.std(1) / n),
            "divided by n: the error of a mean shrinks with √n",
        ),
        (
            lambda n, t: _coverage(n, t, half=lambda d, n, t: t / n**0.5),
            "each interval takes the std of its own n numbers, d.std(1): that it is 1 in truth, "
            "nobody knows who sees n numbers",
        ),
        (
            lambda n, t: _coverage(n, t, half=lambda d, n, t: t * d.std(1, correction=0) / n**0.5),
            "the standard deviation of a sample divides by n − 1: d.std(1), or np.std with ddof=1",
        ),
        (
            lambda n, t: _coverage(n, 2.776),
            "t is built in: take the argument",
        ),
        (
            lambda n, t: _coverage(n, t, draw=torch.rand),
            "torch.rand draws between 0 and 1, so the true difference isn't 0: torch.randn",
        ),
        (
            lambda n, t: 100 * coverage(n, t),
            "that is in percent: return the share, from 0 to 1",
        ),
        (
            lambda n, t: 10_000 * coverage(n, t),
            "that is how many: divide by the number of experiments",
        ),
    ),
)
