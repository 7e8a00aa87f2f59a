"""Notebook 06: decay groups, clipping, the schedule, accumulation, early stopping, a checkpoint.

Longer than 250 lines, because each part names a dozen mistakes that readers make.
"""

import math
import random

import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite import GPT, GPTConfig
from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


# 06 · which parameters decay


def decay_groups(model, weight_decay):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


class _Labelled(nn.Parameter):
    """A parameter that can be told from its copies, which a model would not learn from."""

    def __deepcopy__(self, memo):
        copy = super().__deepcopy__(memo)
        copy.label = self.label
        return copy


def _labelled(config):
    """Return a GPT whose parameters know their names."""
    model = GPT(config)
    for name, p in list(model.named_parameters()):
        owner, _, last = name.rpartition(".")
        own = _Labelled(p.data)
        own.label = f"the parameter {name}"
        setattr(model.get_submodule(owner), last, own)
    return model


def _groups(value):
    """Return each group's decay, 0.01 where it says none, and its parameters' names, sorted."""
    groups = [group["params"] for group in value if isinstance(group["params"], list | tuple)]
    found = [p for params in groups for p in params if isinstance(p, torch.Tensor)]
    if not all(hasattr(p, "label") for p in found):
        return "copies"
    pairs = []
    for group in value:
        params, decay = group["params"], group.get("weight_decay", 0.01)
        if isinstance(params, list | tuple):
            params = sorted((getattr(p, "label", p) for p in params), key=str)
        else:
            params = "no list"  # such as filter(…), which can be read once only
        pairs.append((decay, params))
    return sorted(pairs, key=lambda pair: -pair[0])


def _split(decays, first="given", second=0.0, take=lambda n, p: p, group=list):
    """Return the groups that a rule on name and parameter makes, with these two decays."""

    def grouped(model, weight_decay):
        named = list(model.named_parameters())
        parts = [
            group(take(n, p) for n, p in named if decays(n, p) == wanted)
            for wanted in (True, False)
        ]
        settings = weight_decay if first == "given" else first, second
        return [
            {"params": params} | ({} if decay is None else {"weight_decay": decay})
            for params, decay in zip(parts, settings, strict=True)
        ]

    return grouped


def _is_matrix(name, p):
    return p.dim() >= 2


def _with_second(params):
    """Return the groups with other parameters in the second one."""
    return lambda model, decay: [
        decay_groups(model, decay)[0],
        {"params": params(model), "weight_decay": 0.0},
    ]


PARTS["06_decay_groups"] = Part(
    solution=decay_groups,
    cases=((_labelled(GPTConfig(4, 8, 1, 2, 4)), 0.3), (_labelled(GPTConfig(3, 6, 2, 1, 2)), 0.2)),
    seen=_groups,
    mistakes=(
        (
            lambda model, decay: [{"params": list(model.parameters()), "weight_decay": decay}],
            "everything decays, biases and LayerNorms too: only matrices should, p.dim() >= 2",
        ),
        (
            _split(lambda name, p: not name.endswith("bias")),
            "LayerNorm's weights decay, and they are vectors: decide by p.dim(), not by the name",
        ),
        (
            _split(lambda name, p: p.dim() >= 2 and name[:3] not in ("wte", "wpe")),
            "the embeddings don't decay: here every matrix does, wte and wpe too",
        ),
        (
            lambda model, decay: decay_groups(model, 0.1),
            "the decay is always 0.1: take the weight_decay that is given",
        ),
        (
            lambda model, decay: decay_groups(model, decay)[:1],
            "the second group is missing: AdamW trains nothing that is in no group",
        ),
        (
            _split(_is_matrix, second=None),
            "the second group says no weight_decay, so AdamW takes its default, 0.01: say 0.0",
        ),
        (
            _split(lambda name, p: p.dim() < 2),
            "the groups are swapped: the matrices decay, the vectors don't",
        ),
        (
            _split(lambda name, p: p.dim() > 2),
            "nothing decays: a matrix has 2 dimensions, so p.dim() >= 2",
        ),
        (
            _split(_is_matrix, None, None),
            'no group says "weight_decay", so AdamW takes its default, 0.01, for both',
        ),
        (
            _with_second(lambda model: []),
            "the vectors are in no group, so AdamW would never train them: they don't decay, but "
            "they learn",
        ),
        (
            _with_second(lambda model: list(model.parameters())),
            "the matrices are in both groups, which AdamW refuses: the second one is for vectors",
        ),
        (
            _split(_is_matrix, take=lambda n, p: p.clone()),
            "these are copies, or without a gradient as a state_dict's are, so the model would not "
            "learn: take what model.parameters() gives",
        ),
        (
            _split(_is_matrix, take=lambda n, p: n),
            "these are names: AdamW wants the parameters themselves",
        ),
        (
            _split(_is_matrix, take=lambda n, p: (n, p)),
            "these are pairs of name and parameter: take the parameter alone",
        ),
        (
            _split(_is_matrix, group=iter),
            '"params" can be read only once (a filter or a generator?): make a list of it',
        ),
        (
            lambda model, decay: torch.optim.AdamW(decay_groups(model, decay)),
            "that is the optimizer: return the two groups that it is made from",
        ),
        (
            lambda model, decay: [group["params"] for group in decay_groups(model, decay)],
            'each group is a dict, {"params": [...], "weight_decay": ...}',
        ),
    ),
)


# 06 · clipping by the norm of the whole gradient


def clip(grads, max_norm):
    norm = torch.stack([g.norm() for g in grads]).norm().item()
    if norm > max_norm:
        for g in grads:
            g.mul_(max_norm / norm)
    return norm


class _Gradients(list):
    """A list that remembers its first tensors: a model has those, whatever the list holds later."""

    def __init__(self, *tensors):
        super().__init__(tensors)
        self.first = tensors

    def __deepcopy__(self, memo):
        return _Gradients(*(g.clone() for g in self.first))

    def __repr__(self):
        return f"[{', '.join(f'tensor({g.tolist()})' for g in self)}]"


def _norm(grads):
    return torch.stack([g.norm() for g in grads]).norm().item()


def _scaled(factor, returned=_norm):
    """Return a clip that multiplies gradient g of them all by factor(g, grads, max_norm)."""

    def clipped(grads, max_norm):
        norm, factors = returned(grads), [factor(g, grads, max_norm) for g in grads]
        for g, by in zip(grads, factors, strict=True):
            g.mul_(by)
        return norm

    return clipped


def _by(measure):
    """Return a clip that takes another measure for the norm."""
    return _scaled(lambda g, grads, most: min(1.0, most / measure(grads)), measure)


def _clip_numbers(grads, max_norm):
    norm = _norm(grads)
    for g in grads:
        g.clamp_(-max_norm, max_norm)
    return norm


def _returned(change):
    """Return a clip that clips, and returns what `change` makes of the gradients and the norm."""

    def clipped(grads, max_norm):
        norm = clip(grads, max_norm)
        return change(grads, norm)

    return clipped


def _replaced(grads, max_norm):
    norm = _norm(grads)
    if norm > max_norm:
        grads[:] = [g * max_norm / norm for g in grads]
    return norm


def _other_list(grads, max_norm):
    return [g * min(1.0, max_norm / _norm(grads)) for g in grads]


def _divides_first(grads, max_norm):
    norm = _norm(grads)
    factor = max_norm / norm
    for g in grads:
        g.mul_(min(1.0, factor))
    return norm


PARTS["06_clip"] = Part(
    solution=clip,
    cases=(
        (_Gradients(torch.tensor([3.0, 2.0]), torch.tensor([[0.0], [6.0]])), 1.0),
        (_Gradients(torch.tensor([0.3, -0.4]), torch.tensor([[0.0, 1.2]])), 2.0),
        (_Gradients(torch.tensor([0.3, 0.4]), torch.tensor([[12.0]]), torch.tensor(0.5)), 0.5),
        (_Gradients(torch.zeros(2), torch.zeros(1, 3)), 1.0),
    ),
    left=lambda arguments: (arguments[0].first, list(arguments[0])),
    mistakes=(
        (
            _scaled(lambda g, grads, most: min(1.0, most / max(g.norm().item(), 1e-9))),
            "each tensor is clipped on its own, which turns the gradient: take one norm of all",
        ),
        (
            _clip_numbers,
            "the single numbers are clipped, which turns the gradient: scale all by one factor",
        ),
        (
            _scaled(lambda g, grads, most: most / _norm(grads)),
            "a short gradient is made longer: leave it alone if its norm is at most max_norm",
        ),
        (
            lambda grads, max_norm: _norm(grads),
            "the gradients stay as they were: change them in place, such as g.mul_(…); `g = g * …` "
            "only gives another tensor the name g",
        ),
        (
            _returned(lambda grads, norm: _norm(grads)),
            "that is the norm after clipping: return the one before, which says how often it acts",
        ),
        (
            _by(lambda grads: sum(g.norm().item() for g in grads)),
            "the norms are added: lengths add as their squares do, so take the norm of the norms",
        ),
        (
            _by(lambda grads: _norm(grads) ** 2),
            "that is the norm's square: take the root of it",
        ),
        (
            _scaled(lambda g, grads, most: 1 / _norm(grads) if _norm(grads) > most else 1.0),
            "the norm becomes 1, not max_norm: the factor is max_norm / norm",
        ),
        (
            _scaled(lambda g, grads, most: max(1.0, most / max(_norm(grads), 1e-9))),
            "turned round: long gradients stay, short ones grow. Scale only if norm > max_norm, or "
            "by min(1, max_norm / norm)",
        ),
        (
            _replaced,
            "the list gets new tensors, and the gradients, which the model has, stay as they were: "
            "change the tensors in place, such as g.mul_(…)",
        ),
        (
            _other_list,
            "it returns new tensors: change the given ones in place, and return the norm",
        ),
        (_returned(lambda grads, norm: grads), "it returns the gradients: return their norm"),
        (
            _returned(lambda grads, norm: torch.tensor([norm])),
            "the norm is a tensor of shape (1,): return a number, such as norm.item()",
        ),
        (
            _scaled(
                lambda g, grads, most: min(1.0, most / _norm(grads)) if _norm(grads) else math.nan
            ),
            "gradients of 0 become nan, since 0 · inf is nan: scale only if norm > max_norm",
        ),
        (
            _divides_first,
            "where all gradients are 0 it divides by 0: compare first, and divide only if norm > "
            "max_norm",
        ),
        (
            lambda grads, max_norm: torch.nn.utils.clip_grad_norm_(grads, max_norm).item(),
            "clip_grad_norm_ takes parameters, and clips their .grad; here are the gradients "
            "themselves",
        ),
        (
            _by(lambda grads: max(g.norm().item() for g in grads)),
            "that is the norm of the longest tensor: take the norm of all the norms",
        ),
    ),
)


# 06 · the learning rate of a step


def rate_at(step, steps, lr, min_lr, warmup):
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)  # from 0 to 1
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


def _ramp_first(step, steps, lr, min_lr, warmup):
    ramp = lr * (step + 1) / warmup
    return ramp if step < warmup else rate_at(step, steps, lr, min_lr, warmup)


def _rate(ramp=lambda step, warmup: (step + 1) / warmup, fall=None, share=None, low=1.0):
    """Return a schedule with another ramp, another fall from 1 to 0, or another share done."""
    fall = fall or (lambda done: (1 + math.cos(math.pi * done)) / 2)
    share = share or (lambda step, steps, warmup: (step - warmup) / (steps - warmup))

    def rate(step, steps, lr, min_lr, warmup):
        if step < warmup:
            return lr * ramp(step, warmup)
        return low * min_lr + (lr - low * min_lr) * fall(share(step, steps, warmup))

    return rate


PARTS["06_rate"] = Part(
    solution=rate_at,
    cases=(
        (0, 300, 0.3, 0.03, 30),
        (29, 300, 0.3, 0.03, 30),
        (30, 300, 0.3, 0.03, 30),
        (98, 300, 0.3, 0.03, 30),
        (165, 300, 0.3, 0.03, 30),
        (299, 300, 0.3, 0.03, 30),
        (40, 100, 0.1, 0.0, 0),
    ),
    mistakes=(
        (
            _rate(lambda step, warmup: step / warmup),
            "at step 0 the rate is 0, so that step is wasted: begin with lr / warmup",
        ),
        (
            _rate(lambda step, warmup: 1.0),
            "there is no warm-up: for step < warmup the rate rises, from lr / warmup to lr",
        ),
        (
            _rate(fall=lambda done: 1 - done),
            "that falls along a line: follow half a cosine, slow at both ends",
        ),
        (
            _rate(share=lambda step, steps, warmup: step / steps),
            "the cosine begins at step 0: let it begin where the warm-up ends",
        ),
        (
            _rate(share=lambda step, steps, warmup: (step - warmup) / steps),
            "the cosine ends too late: it has steps - warmup steps to fall in",
        ),
        (
            _rate(share=lambda step, steps, warmup: (step - warmup) / (steps - warmup - 1)),
            "done reaches 1 one step too early: divide by steps - warmup",
        ),
        (
            lambda step, steps, lr, min_lr, warmup: (
                rate_at(step, steps, lr, min_lr, warmup)
                if step < warmup
                else min_lr + rate_at(step, steps, lr, 0.0, warmup)
            ),
            "the cosine begins at min_lr + lr: it should fall from lr, so multiply lr - min_lr",
        ),
        (
            lambda step, steps, lr, min_lr, warmup: (
                lr * (step + 1) / warmup
                if warmup and step <= warmup
                else rate_at(step, steps, lr, min_lr, warmup)
            ),
            "the warm-up is one step too long: step == warmup is the first one of the cosine",
        ),
        (
            lambda step, steps, lr, min_lr, warmup: (
                min_lr + (lr - min_lr) * (step + 1) / warmup
                if step < warmup
                else rate_at(step, steps, lr, min_lr, warmup)
            ),
            "the warm-up begins at min_lr: let it rise from lr / warmup",
        ),
        (_rate(low=0.0), "the cosine ends at 0: it should end at min_lr"),
        (
            _rate(fall=lambda done: 1 + math.cos(math.pi * done)),
            "1 + cos goes from 2 to 0: halve it",
        ),
        (
            _rate(fall=lambda done: (1 - math.cos(math.pi * done)) / 2),
            "the cosine rises: 1 + cos(π · done) falls",
        ),
        (
            _rate(fall=lambda done: math.cos(math.pi / 2 * done)),
            "that is a quarter of a cosine, which ends steeply: take (1 + cos(π · done)) / 2",
        ),
        (
            _rate(fall=lambda done: (1 + math.cos(done)) / 2),
            "the angle goes from 0 to 1 radian: multiply done by π",
        ),
        (
            _rate(fall=lambda done: (1 + math.cos(180 * done)) / 2),
            "the angle is in degrees: math.cos takes radians, so π · done",
        ),
        (
            _rate(fall=lambda done: (1 + math.sin(math.pi * done)) / 2),
            "that is a sine, which begins in the middle: take the cosine",
        ),
        (
            _rate(share=lambda step, steps, warmup: (step - warmup) // (steps - warmup)),
            "// gives whole numbers, so done stays 0 to the end: divide with /",
        ),
        (
            _rate(share=lambda step, steps, warmup: (step + 1 - warmup) / (steps - warmup)),
            "done begins one step too late: at step == warmup it is 0, and the rate is lr",
        ),
        (
            lambda step, steps, lr, min_lr, warmup: rate_at(step, steps, 1.0, 0.0, warmup),
            "that is a share from 0 to 1: it goes from min_lr to lr",
        ),
        (
            lambda step, steps, lr, min_lr, warmup: (
                rate_at(step, steps, lr, min_lr, warmup)
                if step < warmup
                else max(min_lr, rate_at(step, steps, lr, 0.0, warmup))
            ),
            "the cosine falls to 0 and is cut off at min_lr: let it fall from lr to min_lr",
        ),
        (
            _ramp_first,
            "without a warm-up it divides by 0: compute the ramp only where step < warmup",
        ),
    ),
)


# 06 · one gradient from several small batches


def accumulate(model, micro_batches):
    tokens = sum((y != -100).sum() for x, y in micro_batches)
    loss = 0.0
    for x, y in micro_batches:
        logits = model(x)  # (B, T, V)
        share = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / tokens
        share.backward()  # adds to what p.grad holds
        loss += share.item()
    return loss


class _Tiny(nn.Module):
    """A model for the cases, whose state shows its gradients too."""

    def __init__(self, held=0.0):
        super().__init__()
        self.wte = nn.Embedding(5, 3)
        with torch.no_grad():
            self.wte.weight.copy_(torch.linspace(-1, 1, 15).view(5, 3).sin())
        if held:
            self.wte.weight.grad = torch.full((5, 3), held)

    def __deepcopy__(self, memo):  # nn.Parameter's own leaves the gradient behind
        grad = self.wte.weight.grad
        return _Tiny(0.0 if grad is None else grad[0, 0].item())

    def forward(self, idx):
        x = self.wte(idx)
        return F.linear(x + x.cumsum(1), self.wte.weight)

    def state_dict(self):
        grad = self.wte.weight.grad
        known = torch.zeros_like(self.wte.weight) if grad is None else grad
        return {"wte.weight": self.wte.weight.detach(), "the gradient": known}


def _micro_batches(*lengths):
    """Return batches of one row each, whose targets count up to these lengths only."""
    pairs = []
    for row, length in enumerate(lengths):
        ids = (torch.arange(7) * (row + 2) + row) % 5
        x, y = ids[None, :-1], ids[None, 1:].clone()
        y[:, length:] = -100
        pairs.append((x, y))
    return pairs


def _accumulated(divide, clear=False, backward=True, later=lambda micro_batches: 1):
    """Return an accumulation whose batches' summed loss is divided by divide(y, batches), and their
    total by later(batches)."""

    def gather(model, micro_batches):
        total = 0.0
        for x, y in micro_batches:
            if clear:
                model.zero_grad()
            summed = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
            share = summed / divide(y, micro_batches)
            if backward:
                share.backward()
            total += share.item()
        return total / later(micro_batches)

    return gather


def _counted(y):
    return (y != -100).sum()


def _all(micro_batches):
    return sum(_counted(y) for _, y in micro_batches)


def _cleared_first(model, micro_batches):
    model.zero_grad()
    return accumulate(model, micro_batches)


def _divided_at_the_end(model, micro_batches):
    total = _accumulated(lambda y, batches: 1)(model, micro_batches)
    for p in model.parameters():
        p.grad /= _all(micro_batches)
    return total / _all(micro_batches)


def _last_share(model, micro_batches):
    *_, (x, y) = micro_batches
    accumulate(model, micro_batches)
    with torch.no_grad():
        summed = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
    return (summed / _all(micro_batches)).item()


def _not_flat(model, micro_batches):
    for x, y in micro_batches:
        (F.cross_entropy(model(x), y, reduction="sum") / _all(micro_batches)).backward()


def _shifted_again(model, micro_batches):
    cut = [(x[:, :-1], y[:, 1:]) for x, y in micro_batches]
    return accumulate(model, cut)


def _from_probabilities(model, micro_batches):
    return accumulate(lambda x: model(x).softmax(-1), micro_batches)


def _still_a_graph(model, micro_batches):
    total = 0.0
    for x, y in micro_batches:
        summed = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
        share = summed / _all(micro_batches)
        share.backward()
        total = total + share
    return total


PARTS["06_accumulate"] = Part(
    solution=accumulate,
    cases=(
        (_Tiny(), _micro_batches(6, 6)),
        (_Tiny(), _micro_batches(6, 2, 4)),
        (_Tiny(), _micro_batches(1)),
        (_Tiny(held=0.5), _micro_batches(6, 3)),
    ),
    mistakes=(
        (
            _accumulated(lambda y, batches: _counted(y)),
            "the batches' means are added and nothing is divided: the gradient is as many times "
            "too large as there are batches",
        ),
        (
            _accumulated(lambda y, batches: _counted(y) * len(batches)),
            "that is a mean of means: it is right for full rows, but a short row's tokens then "
            "count more. Divide each batch's sum by the tokens of all",
        ),
        (
            _accumulated(lambda y, batches: sum(y.numel() for _, y in batches)),
            "targets of -100 are counted: they have no loss, so divide by the others' number",
        ),
        (
            _accumulated(lambda y, batches: _all(batches), clear=True),
            "the gradient is cleared for each batch, so only the last one's is left",
        ),
        (
            _cleared_first,
            "it clears what p.grad held before: only add to it, the loop clears it",
        ),
        (
            _accumulated(lambda y, batches: _all(batches), backward=False),
            "the loss is right, but no gradient is there: call backward for each batch's share",
        ),
        (
            _still_a_graph,
            "the sum you return is still part of a graph, and backward has freed that: add up "
            "share.item(), which is a number",
        ),
        (
            _accumulated(lambda y, batches: 1),
            "the losses are summed and not divided by the number of tokens",
        ),
        (
            _accumulated(lambda y, batches: 1, later=_all),
            "the loss is right, but the gradient is as many times too large as there are tokens: "
            "divide each share before backward()",
        ),
        (
            _accumulated(lambda y, batches: _counted(y), later=len),
            "the loss is divided by the number of batches, the gradient isn't, and a mean of means "
            "is right for full rows only: divide each sum by the tokens of all, before backward()",
        ),
        (
            _accumulated(lambda y, batches: _counted(y) * _all(batches)),
            'divided twice: cross_entropy gives a mean already, so ask for reduction="sum"',
        ),
        (
            _accumulated(lambda y, batches: _counted(batches[0][1]) * len(batches)),
            "only the first batch's targets are counted, times the number of batches: count those "
            "of all",
        ),
        (
            _accumulated(lambda y, batches: sum((y > 0).sum() for _, y in batches)),
            "token 0 isn't counted: leave out -100 alone, y != -100",
        ),
        (
            _divided_at_the_end,
            "it divides what p.grad held before as well: divide each share before backward()",
        ),
        (
            _last_share,
            "the gradient is right, but that is the last batch's share of the loss: add up all",
        ),
        (
            _not_flat,
            "cross_entropy wants (B·T, V) logits and (B·T,) targets: flatten both, "
            "logits.flatten(0, 1) and y.flatten()",
        ),
        (
            _shifted_again,
            "the targets are shifted twice: y[:, t] is the token after x[:, t] already",
        ),
        (
            _from_probabilities,
            "cross_entropy takes logits, and does the softmax itself",
        ),
    ),
)


# 06 · when to stop


def early_stop(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best == patience:
            return best, now
    return best, now


def _first_rise(losses, patience):
    for now in range(1, len(losses)):
        if losses[now] > losses[now - 1]:
            return now - 1, now
    return len(losses) - 1, len(losses) - 1


def _rises_in_a_row(losses, patience):
    best = rises = 0
    for now in range(1, len(losses)):
        rises = rises + 1 if losses[now] >= losses[now - 1] else 0
        best = now if losses[now] < losses[best] else best
        if rises == patience:
            return best, now
    return best, len(losses) - 1


def _ties_are_better(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        best = now if loss <= losses[best] else best
        if now - best == patience:
            return best, now
    return best, len(losses) - 1


def _hindsight(losses, patience):
    return losses.index(min(losses)), early_stop(losses, patience)[1]


def _foreseen(losses, patience):
    best = losses.index(min(losses))
    return best, min(best + patience, len(losses) - 1)


def _never_reset(losses, patience):
    best = others = 0
    for now in range(1, len(losses)):
        if losses[now] < losses[best]:
            best = now
        else:
            others += 1
        if others == patience:
            return best, now
    return best, len(losses) - 1


def _patience_first(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if now - best == patience:
            return best, now
        if loss < losses[best]:
            best = now
    return best, now


def _at_the_end(change):
    """Return a rule that returns change(best, last) where the run ends before the patience."""

    def rule(losses, patience):
        best, last = early_stop(losses, patience)
        return (best, last) if last - best == patience else change(best, last)

    return rule


def _shown(change):
    return lambda losses, patience: change(losses, *early_stop(losses, patience))


PARTS["06_early_stop"] = Part(
    solution=early_stop,
    cases=(
        ([5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8], 2),
        ([5.0, 4.0, 4.5, 3.0, 3.4, 3.3, 3.6], 3),
        ([5.0, 4.0, 4.2, 4.1, 2.0], 2),
        ([3.0, 3.0, 3.0, 3.0, 1.0], 3),
        ([5.0, 4.0, 3.0], 1),
        ([5.0, 3.0, 4.0], 2),
        ([2.0], 4),
    ),
    mistakes=(
        (
            _first_rise,
            "it stops at the first rise: wait until `patience` losses in a row were no new best",
        ),
        (
            lambda losses, patience: early_stop(losses, patience + 1),
            "it stops one too late: `patience` losses without a new best are enough",
        ),
        (
            lambda losses, patience: early_stop(losses, max(1, patience - 1)),
            "it stops one too early: count only the losses after the best one",
        ),
        (
            _rises_in_a_row,
            "it counts rises in a row: count from the best loss on, even if the last one fell",
        ),
        (
            _hindsight,
            "the best is looked for in all losses: those after the stop were never measured",
        ),
        (
            lambda losses, patience: (losses.index(min(losses)), len(losses) - 1),
            "it never stops: end at the first place that is `patience` past the best one",
        ),
        (
            _ties_are_better,
            "an equal loss is counted as better: a new best must be lower",
        ),
        (
            _shown(lambda losses, best, stop: (losses[best], losses[stop])),
            "these are the losses: return their places, counted from 0",
        ),
        (
            _shown(lambda losses, best, stop: (best + 1, stop + 1)),
            "the places are counted from 1: count from 0, as Python does",
        ),
        (_shown(lambda losses, best, stop: (stop, best)), "swapped: the best one comes first"),
        (
            _foreseen,
            "it looks into the future, for the best of all losses: go through them one by one, as "
            "they are measured",
        ),
        (
            _never_reset,
            "the count goes on at a new best: set it back to 0 there",
        ),
        (
            _patience_first,
            "it looks at the patience before it looks at the loss: first see whether this one is a "
            "new best",
        ),
        (
            _at_the_end(lambda best, last: (last, last)),
            "if the losses end before the patience does, the best is still the lowest one so far",
        ),
        (
            _at_the_end(lambda best, last: (best, last + 1)),
            "if the losses end first, the last place is len(losses) - 1: count from 0",
        ),
        (
            lambda losses, patience: (best := early_stop(losses, patience)[0], best + patience),
            "if the losses end first, there is no place best + patience: return the last one",
        ),
        (
            _at_the_end(lambda best, last: None),
            "if the losses end first, it returns nothing: return (best, last) after the loop too",
        ),
        (
            _shown(lambda losses, best, stop: (losses[best], stop)),
            "the first one is the loss itself: return its place, counted from 0",
        ),
        (
            _shown(lambda losses, best, stop: (best, stop + 1)),
            "the last place is one too far: places are counted from 0",
        ),
        (
            _shown(lambda losses, best, stop: stop),
            "that is where it stops: return the place of the best loss too, as (best, stop)",
        ),
    ),
)


# 06 · what a run needs to go on


def snapshot(model, optimizer, batches, step):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "batches": batches.state_dict(),
        "random": torch.get_rng_state(),
        "step": step,
    }


class _Kept(nn.Module):
    """Stands for what has a state_dict."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def state_dict(self):
        return {"kept": self.state}


def _snapped(value):
    """Return a snapshot; of a method in it, or a seed, only that it is one."""
    if any(callable(x) and not isinstance(x, _Kept) for x in value.values()):
        return "a method in it"
    whole = isinstance(value.get("random"), int)
    return value | {"random": "a whole number"} if whole else value


def _without(name, **instead):
    def forgetful(*run):
        state = snapshot(*run)
        del state[name]
        return state | {key: value() for key, value in instead.items()}

    return forgetful


WHOLE = ("model", "optimizer", "batches")


def _whole(name):
    """Return a snapshot that keeps one of them as the object that it is."""
    return lambda *run: snapshot(*run) | {name: run[WHOLE.index(name)]}


PARTS["06_snapshot"] = Part(
    solution=snapshot,
    cases=(
        (_Kept(1.5), _Kept(torch.ones(2)), _Kept(7), 20),
        (_Kept(torch.zeros(2)), _Kept(0), _Kept(3), 0),
    ),
    seen=_snapped,
    mistakes=(
        (
            _without("optimizer"),
            "the optimizer is missing: without AdamW's two averages the first steps are other ones",
        ),
        (
            _without("batches"),
            "the place in the text is missing: the run would read again what it has read",
        ),
        (
            _without("random"),
            "the random numbers are missing: dropout would silence other activations",
        ),
        (
            _without("step"),
            "the step is missing: the schedule would begin with its warm-up again",
        ),
        (
            _without("random", random=torch.initial_seed),
            "the seed says where the random numbers began; where they are now says "
            "torch.get_rng_state()",
        ),
        (
            lambda model, optimizer, batches, step: (
                snapshot(model, optimizer, batches, step)
                | {"model": model, "optimizer": optimizer, "batches": batches}
            ),
            "whole objects are kept: a file of these can only be unpickled, which may run any "
            "code. Keep what their state_dict() returns",
        ),
        *(
            (_whole(name), f'"{name}" holds the whole object: keep what its state_dict() returns')
            for name in WHOLE
        ),
        (
            lambda *run: snapshot(*run) | {"model": run[0].state_dict},
            "a method in it is not called: state_dict() and get_rng_state() need their ()",
        ),
        (
            _without("random", random=random.getstate),
            "that is the state of Python's own random: dropout draws from torch's, "
            "torch.get_rng_state()",
        ),
        (
            _without("random", random=lambda: torch.rand(1)),
            "that is one random number: keep the generator's state, torch.get_rng_state()",
        ),
        (
            lambda *run: tuple(snapshot(*run).values()),
            "that has no keys: return a dict with the five names",
        ),
        (
            _without("random", random=lambda: torch.Generator().get_state()),
            "that is a new generator's state: dropout draws from torch's own, "
            "torch.get_rng_state()",
        ),
        (
            lambda *run: snapshot(*run) | {"step": run[-1] + 1},
            "one step too far: `step` is the number of steps that are done",
        ),
    ),
)


# 06 · β2 for another batch


def beta_for(half_life, tokens_per_step):
    return 0.5 ** (tokens_per_step / half_life)


PARTS["06_beta_for"] = Part(
    solution=beta_for,
    exercise=True,
    cases=((4_096, 1_024), (1_000, 1_000), (7_085_000, 524_288), (600, 1_800), (7_085_000, 256)),
    mistakes=(
        (
            lambda half_life, tokens: math.exp(-tokens / half_life),
            "after half_life tokens e⁻¹ is left, not a half: take powers of 0.5",
        ),
        (
            lambda half_life, tokens: 0.5 ** (half_life / tokens),
            "the exponent is turned round: it is the share of a half-life that one step takes",
        ),
        (
            lambda half_life, tokens: 0.5 ** (1 / half_life),
            "that is β for one token a step: a step has tokens_per_step of them",
        ),
        (
            lambda half_life, tokens: 2 ** (tokens / half_life),
            "that grows: powers of 0.5 halve, powers of 2 double",
        ),
        (
            lambda half_life, tokens: 1 - tokens / half_life,
            "that is a straight line: β is multiplied once a step, so half is left when β**n = 0.5",
        ),
        (
            lambda half_life, tokens: 1 - 0.5 ** (tokens / half_life),
            "that is 1 - β, the new gradient's share",
        ),
        (
            lambda half_life, tokens: round(beta_for(half_life, tokens), 4),
            "rounded, a β near 1 becomes 1, which never forgets: return it as it is",
        ),
        (
            lambda half_life, tokens: 1 - math.log(2) * tokens / half_life,
            "that is nearly right for small steps only: take a power of 0.5",
        ),
        (
            lambda half_life, tokens: 0.5 ** (1 / max(half_life // tokens, 1e-9)),
            "// cuts the number of steps to a whole one: divide with /",
        ),
        (
            lambda half_life, tokens: half_life / tokens,
            "that is the half-life in steps, n: now solve β**n = 0.5",
        ),
        (
            lambda half_life, tokens: 1 - 0.5 * tokens / half_life,
            "half of it after one half-life, but along a line: β is multiplied once a step",
        ),
    ),
)
