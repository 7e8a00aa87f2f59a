"""Notebook 06: decay groups, clipping, the schedule, accumulation, early stopping, a checkpoint."""

import math
from types import SimpleNamespace

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


def _groups(value):
    """Return each group's decay, 0.01 where it says none, and its tensors, in one order."""
    pairs = [(group.get("weight_decay", 0.01), group["params"]) for group in value]
    return sorted(pairs, key=lambda pair: -pair[0])


def _split(decays, first="given", second=0.0):
    """Return the groups that a rule on name and parameter makes, with these two decays."""

    def grouped(model, weight_decay):
        named = list(model.named_parameters())
        parts = [[p for n, p in named if decays(n, p) == wanted] for wanted in (True, False)]
        settings = weight_decay if first == "given" else first, second
        return [
            {"params": params} | ({} if decay is None else {"weight_decay": decay})
            for params, decay in zip(parts, settings, strict=True)
        ]

    return grouped


def _is_matrix(name, p):
    return p.dim() >= 2


PARTS["06_decay_groups"] = Part(
    solution=decay_groups,
    cases=((GPT(GPTConfig(4, 8, 1, 2, 4)), 0.3), (GPT(GPTConfig(3, 6, 2, 1, 2)), 0.2)),
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
    ),
)


# 06 · clipping by the norm of the whole gradient


def clip(grads, max_norm):
    norm = torch.stack([g.norm() for g in grads]).norm().item()
    if norm > max_norm:
        for g in grads:
            g.mul_(max_norm / norm)
    return norm


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


def _returned_after(grads, max_norm):
    clip(grads, max_norm)
    return _norm(grads)


PARTS["06_clip"] = Part(
    solution=clip,
    cases=(
        ([torch.tensor([3.0, 2.0]), torch.tensor([[0.0], [6.0]])], 1.0),
        ([torch.tensor([0.3, -0.4]), torch.tensor([[0.0, 1.2]])], 2.0),
        ([torch.tensor([0.3, 0.4]), torch.tensor([[0.0, 12.0]]), torch.tensor(0.5)], 0.5),
    ),
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
            _returned_after,
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
    ),
)


# 06 · the learning rate of a step


def rate_at(step, steps, lr, min_lr, warmup):
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)  # from 0 to 1
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


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


def _accumulated(divide, clear=False, backward=True):
    """Return an accumulation whose batches' summed loss is divided by divide(y, batches)."""

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
        return total

    return gather


def _counted(y):
    return (y != -100).sum()


def _all(micro_batches):
    return sum(_counted(y) for _, y in micro_batches)


def _cleared_first(model, micro_batches):
    model.zero_grad()
    return accumulate(model, micro_batches)


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


class _Kept(SimpleNamespace):
    """Stands for what has a state_dict."""

    def __repr__(self):
        return "something with a state_dict()"

    def state_dict(self):
        return {"kept": self.state}


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
        (_Kept(state=1.5), _Kept(state=torch.ones(2)), _Kept(state=7), 20),
        (_Kept(state=torch.zeros(2)), _Kept(state=0), _Kept(state=3), 0),
    ),
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
            (_whole(name), f"the {name} is kept whole: keep what its state_dict() returns")
            for name in WHOLE
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
    cases=((4_096, 1_024), (1_000, 1_000), (7_085_000, 524_288), (600, 1_800)),
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
            lambda half_life, tokens: 1 - 0.5 * tokens / half_life,
            "half of it after one half-life, but along a line: β is multiplied once a step",
        ),
    ),
)
