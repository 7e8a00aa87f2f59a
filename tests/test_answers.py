"""Answers as readers write them: right ones pass whatever their type and way, wrong ones don't.

Most wrong ones are told what is wrong in a sentence of their own.

Written apart from the mistakes in PARTS, which the judge looks for: that is what is tested here.
"""

import math
import re
import statistics
from collections import Counter

import numpy as np
import pytest
import torch

from gpt2lite.course.exercises import PARTS
from gpt2lite.course.judge import judge

BIT, INF = math.log(2), math.inf
NORMAL = statistics.NormalDist()


# 03


def init_by_module(model):
    """Fill layer by layer, then c_proj again: other random numbers, the same distributions."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data.normal_(0, 0.02)
            module.bias.data.zero_()
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()
    torch.nn.init.normal_(model.wpe.weight, mean=0.0, std=0.01)
    for block in model.h:
        for part in (block.attn, block.mlp):
            part.c_proj.weight.data.normal_(0, 0.02 / math.sqrt(2 * len(model.h)))


def init_by_copying(model):
    state = model.state_dict()
    for name, p in state.items():
        if p.dim() == 1:
            state[name] = torch.full_like(p, float(name.endswith("weight")))
        else:
            std = 0.01 if name.startswith("wpe") else 0.02
            std *= (2 * model.config.n_layer) ** -0.5 if "c_proj" in name else 1
            state[name] = torch.randn(p.shape) * std
    model.load_state_dict(state)


def init_of_the_first_layer(model):
    init_by_module(model)
    for block in model.h[1:]:
        block.mlp.c_proj.weight.data.normal_(0, 0.02)


def init_twelve(model):
    init_by_module(model)
    for block in model.h:
        for part in (block.attn, block.mlp):
            part.c_proj.weight.data.normal_(0, 0.02 / 24**0.5)


def init_embeddings_alike(model):
    init_by_module(model)
    model.wpe.weight.data.normal_(0, 0.02)


def init_without_biases(model):
    kept = [(p, p.detach().clone()) for n, p in model.named_parameters() if n.endswith("bias")]
    init_by_module(model)
    for p, before in kept:
        p.data.copy_(before)


def init_else_draws(model, layers=None, draw=torch.nn.init.normal_):
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(p)
        elif name == "wpe.weight":
            draw(p, std=0.01)
        elif "c_proj" in name:
            draw(p, std=0.02 / math.sqrt(2 * (layers or model.config.n_layer)))
        elif layers is None or p.dim() > 1:
            draw(p, std=0.02)


def init_positional(model):
    init_by_module(model)
    for p in model.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, 0.02)


def init_rebinding(model):
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.data.fill_(0)
        elif p.dim() > 1:
            p = torch.randn_like(p) * 0.02  # noqa: PLW2901


def init_in_place(model):
    for p in model.parameters():
        p.mul_(0).add_(torch.randn_like(p), alpha=0.02)


def init_uniform(model):
    init_by_module(model)
    for p in model.parameters():
        if p.dim() > 1:
            limit = p.std().item() * math.sqrt(3)
            p.data.uniform_(-limit, limit)


def init_positive(model):
    init_by_module(model)
    for p in model.parameters():
        p.data.abs_()


def init_of_a_new_model(model):
    new = type(model)(model.config)
    init_by_module(new)
    return new


def init_seeding(model):
    for name, p in model.named_parameters():
        torch.manual_seed(1337)
        if p.dim() > 1:
            std = 0.01 if name.startswith("wpe") else 0.02
            std /= math.sqrt(2 * model.config.n_layer) if "c_proj" in name else 1
            p.data.normal_(0, std)
        else:
            p.data.fill_(name.endswith("weight"))


def adds_in_place(block, x):
    x += (attended := block.attn(block.ln_1(x)))
    return attended, block.mlp(block.ln_2(x))


def adds_after_norm(block, x):
    attended = block.ln_1(block.attn(x))
    return attended, block.ln_2(block.mlp(x + attended))


def adds_crossed(block, x):
    attended = block.attn(block.ln_2(x))
    return attended, block.mlp(block.ln_1(x + attended))


def covers_by_loop(n, t):
    held = 0
    for _ in range(4000):
        d = np.random.default_rng().normal(3, 2, n)
        held += abs(d.mean() - 3) <= t * d.std(ddof=1) / math.sqrt(n)
    return held / 4000


def covers_by_numpy(n, t):
    d = np.random.default_rng(1).standard_normal((n, 9000))
    return np.mean(np.abs(d.mean(0)) < t * d.std(0, ddof=1) / np.sqrt(n))


def covers_ddof_0(n, t):
    d = np.random.default_rng(1).standard_normal((n, 9000))
    return np.mean(np.abs(d.mean(0)) < t * d.std(0) / np.sqrt(n))


def covers_known_std(n, t):
    d = np.random.default_rng(1).standard_normal((n, 9000))
    return np.mean(np.abs(d.mean(0)) < t * d.std() / np.sqrt(n))


def adds_twice(block, x):
    after = x + block.attn(block.ln_1(x))
    return after - x, block(x) - after


def by_numpy(a, b, t):
    d = a.numpy() - b.numpy()
    return d.mean(), t * d.std(ddof=1) / np.sqrt(len(d))


def by_statistics(a, b, t):
    d = [float(x) - float(y) for x, y in zip(a, b, strict=True)]
    return [statistics.fmean(d), t * statistics.stdev(d) / math.sqrt(len(d))]


def ddof_0(a, b, t):
    d = a.numpy() - b.numpy()
    return d.mean(), t * d.std() / np.sqrt(len(d))


def subtracted_later(a, b, t):
    return a.mean() - b.mean(), t * ((a.var() + b.var()) / len(a)) ** 0.5


# 04


def by_major(c):
    return "fp32" if c is None or c[0] < 7 else "fp16" if c[0] == 7 else "bf16"


def step_by_hand(compute_loss, weights, optimizer, scaler):
    for p in weights:
        p.grad = None
    loss = compute_loss()
    (loss * scaler.get_scale()).backward()
    scaler.unscale_(optimizer)
    norm = torch.stack([p.grad.norm() for p in weights]).norm()
    if norm.isfinite():
        for p in weights:
            p.grad *= (1 / norm).clamp(max=1)
    scaler.step(optimizer)
    scaler.update()
    return [loss.detach(), norm]


def step_scaled_before_zero_grad(compute_loss, weights, optimizer, scaler):
    scaled = scaler.scale(loss := compute_loss())
    optimizer.zero_grad(set_to_none=False)
    scaled.backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(weights, max_norm=1, foreach=False)
    scaler.step(optimizer)
    scaler.update()
    return np.float32(loss.item()), np.float32(norm)


def step_clips_first(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    loss = compute_loss()
    scaler.scale(loss).backward()
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_asks_nobody(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    loss = compute_loss()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    return loss.item(), norm.item()


def step_accumulates(compute_loss, weights, optimizer, scaler):
    loss = compute_loss()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_clips_each(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss := compute_loss()).backward()
    scaler.unscale_(optimizer)
    norm = torch.stack([torch.nn.utils.clip_grad_norm_([w], 1.0) for w in weights]).norm()
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_normalizes(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss := compute_loss()).backward()
    scaler.unscale_(optimizer)
    norm = torch.cat([w.grad.flatten() for w in weights]).norm()
    for w in weights:
        w.grad.div_(norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_updates_twice(compute_loss, weights, optimizer, scaler):
    found = step_by_hand(compute_loss, weights, optimizer, scaler)
    scaler.update()
    return found


def step_unscales_early(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    scaled = scaler.scale(loss := compute_loss())
    scaler.unscale_(optimizer)
    scaled.backward()
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_clears_late(compute_loss, weights, optimizer, scaler):
    scaler.scale(loss := compute_loss()).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.zero_grad()
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_divides_by_hand(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss := compute_loss()).backward()
    for w in weights:
        w.grad /= scaler.get_scale()
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def step_unscales_twice(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    loss = compute_loss()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


def rescale_by_sum(grads, scale, good, interval):
    if not math.isfinite(sum(grad.abs().sum().item() for grad in grads)):
        return [True, 0.5 * scale, 0]
    good = (good + 1) % interval
    return False, 2 * scale if good == 0 else scale, good


def rescale_by_numpy(grads, scale, good, interval):
    skip = not all(np.isfinite(grad.numpy()).all() for grad in grads)
    good = 0 if skip else good + 1
    grown = good == interval
    return skip, np.float64(scale * (0.5 if skip else 2 if grown else 1)), 0 if grown else good


def rescale_ever(grads, scale, good, interval, finite=lambda g: g.isfinite().all()):
    return (False, scale, good + 1) if all(map(finite, grads)) else (True, scale / 2, 0)


def rescale_joined(grads, scale, good, interval, join=torch.stack):
    return rescale_by_sum([join(grads)], scale, good, interval)


def rescale_not_below_1(grads, scale, good, interval):
    skip, scale, good = rescale_by_sum(grads, scale, good, interval)
    return skip, max(1.0, scale), good


def rescale_whole(grads, scale, good, interval):
    if not all(grad.isfinite().all() for grad in grads):
        return True, scale // 2, 0
    return rescale_by_sum(grads, scale, good, interval)


def rescale_last(grads, scale, good, interval):
    for grad in grads:
        skip = not grad.isfinite().all()
    return rescale_by_sum([torch.tensor(INF if skip else 1.0)], scale, good, interval)


def rescale_keeps_counting(grads, scale, good, interval):
    if not all(torch.isfinite(g).all() for g in grads):
        return True, scale / 2, good
    return False, scale * (2 if good + 1 == interval else 1), (good + 1) % interval


def bits_by_numpy(x):
    u = x.numpy().view(np.uint32)
    u = (u + 0x7FFF + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)
    return torch.from_numpy(u.view(np.float32))


def bits_by_remainder(x):
    i = x.view(torch.int32)
    low, high = i & 0xFFFF, i & ~0xFFFF
    up = (low > 0x8000) | ((low == 0x8000) & ((i >> 16) % 2 == 1))
    return (high + up.int() * 0x10000).view(torch.float32)


def bits_cut(x):
    return (x.view(torch.int32) >> 16 << 16).view(torch.float32)


def bits_half_up(x):
    return ((x.view(torch.int32) + 2**15) >> 16 << 16).view(torch.float32)


def noise_by_numpy(x, low=0, high=2**16, one=False):
    noise = np.random.default_rng(0).integers(low, high, 1 if one else len(x)).astype(np.uint32)
    return torch.from_numpy((x.numpy().view(np.uint32) + noise >> 16 << 16).view(np.float32))


def noise_in_proportion(x):
    below = bits_cut(x)
    above = (below.view(torch.int32) + 0x10000).view(torch.float32)
    return torch.where(torch.rand_like(x) < (x - below) / (above - below), above, below)


def noise_wrong_way(x):
    below = bits_cut(x)
    above = (below.view(torch.int32) + 0x10000).view(torch.float32)
    return torch.where(torch.rand_like(x) > (x - below) / (above - below), above, below)


def noise_once(x):
    whole = x.view(torch.int32) + torch.randint(0, 2**16, (1,), dtype=torch.int32)
    return (whole & -0x10000).view(torch.float32)


# 05


def unigram_by_loop(train, held, V):
    total = 0
    for w in held:
        total += math.log(train.count(w) + 1) - math.log(len(train) + V)
    return np.float64(-total / len(held))


def unigram_by_tensor(train, held, V):
    counts = torch.bincount(torch.tensor(train), minlength=V) + 1.0
    return -(counts / counts.sum()).log()[held].mean()


def bigram_by_table(train, held, V):
    train, held = torch.tensor(train), torch.tensor(held)
    table = torch.zeros(V, V, dtype=torch.float64)
    table.index_put_((train[:-1], train[1:]), torch.ones(len(train) - 1).double(), accumulate=True)
    p = (train.bincount(minlength=V) + 1.0).double() / (len(train) + V)
    kinds = (table > 0).sum(1, keepdim=True)
    mixed = torch.where(kinds > 0, (table + kinds * p) / (table.sum(1, keepdim=True) + kinds), p)
    return -mixed[held[:-1], held[1:]].log().mean()


def bigram_by_lists(
    train, held, V, kinds=lambda after: len(set(after)), else_p=None, p_of=lambda v, w: w
):
    costs = []
    for v, w in zip(held, held[1:], strict=False):
        after = [b for a, b in zip(train, train[1:], strict=False) if a == v]
        p = (train.count(p_of(v, w)) + 1) / (len(train) + V)
        if after:
            p = (after.count(w) + kinds(after) * p) / (len(after) + kinds(after))
        elif else_p:
            p = else_p
        costs.append(-math.log(p))
    return statistics.mean(costs)


def alarm_by_windows(losses, stuck, best, n=20):
    if any(math.isnan(x) or math.isinf(x) for x in losses):
        return "not finite"
    means = [sum(losses[i : i + n]) / n for i in range(len(losses) - n + 1)]
    if means[-1] - min(means) > 0.5:
        return "rising"
    return "stuck" if means[-1] > stuck else "too good" if means[-1] < best else "healthy"


def alarm_by_tensor(losses, stuck, best):
    if not torch.tensor(losses).isfinite().all():
        return "not finite"
    average = smooth_as_tensor(losses, 10)
    end = average[-1]
    holds = [end - average.min() > 0.5, end > stuck, end < best, torch.tensor(True)]
    verdicts = "rising", "stuck", "too good", "healthy"
    return verdicts[torch.stack(holds).int().argmax()]


def alarm_by_numpy(losses, stuck, best):
    if not np.isfinite(losses).all():
        return np.str_("not finite")
    average = smooth(np.array(losses), 10)
    rules = {"rising": average.min() + 0.5 < average[-1], "stuck": average[-1] > stuck}
    rules |= {"too good": average[-1] < best, "healthy": True}
    return next(name for name, holds in rules.items() if holds)


def last(average):
    return average[-1]


def alarm_on(average, losses, stuck, best, rise=0.5, low=min, stuck_by=last, good_by=last):
    if not np.isfinite(losses).all():
        return "not finite"
    if average[-1] > low(average) + rise:
        return "rising"
    return (
        "stuck"
        if stuck_by(average) > stuck
        else "too good"
        if good_by(average) < best
        else "healthy"
    )


def by_counter(tokens):
    n = len(tokens)
    return sum(-c / n * math.log(c / n) for c in Counter(tokens.tolist()).values())


def by_bincount(tokens):
    p = torch.bincount(tokens) / len(tokens)
    return -(p[p > 0] * p[p > 0].log()).sum()


def empty_bins(tokens):
    p = torch.bincount(tokens) / len(tokens)
    return -(p * p.log()).sum().item()


def counter_of_tensors(tokens):
    n = len(tokens)
    return sum(-c / n * math.log(c / n) for c in Counter(tokens).values())


def smooth(values, half_life):
    """Weigh all so far at once, as gpt2lite.log does."""
    keep = 0.5 ** (1 / half_life)
    weights = [keep ** np.arange(t, -1, -1) for t in range(len(values))]
    return np.array([(w * values[: len(w)]).sum() / w.sum() for w in weights])


def smooth_as_tensor(values, half_life):
    return torch.tensor(smooth(values, half_life))


def smooth_as_tuple(values, half_life):
    a, w, out = 0.0, 0.0, ()
    for v in values:
        a, w = a * 2 ** (-1 / half_life) + v, w * 2 ** (-1 / half_life) + 1
        out += (a / w,)
    return out


def smooth_carried(values, half_life):
    k, a, out = 0.5 ** (1 / half_life), 0, []
    for i, v in enumerate(values):
        a = (k * a + (1 - k) * v) / (1 - k ** (i + 1))
        out.append(a)
    return out


def smooth_plain(values, half_life):
    k, a, out = 0.5 ** (1 / half_life), 0, []
    for v in values:
        a = k * a + (1 - k) * v
        out.append(a)
    return out


def smooth_from_zero(values, half_life):
    k, a, out = 0.5 ** (1 / half_life), 0, []
    for i, v in enumerate(values):
        a = k * a + (1 - k) * v
        out.append(a / (1 - k**i))
    return out


# 06


def groups_of(model, decay, params=lambda named: [p for _, p in named], rest=0.0):
    """Decide by the name's shape, vectors first."""
    both = {True: [], False: []}
    for name, p in reversed(list(model.named_parameters())):
        both[len(p.shape) == 2].append((name, p))
    vectors, matrices = (params(both[kind]) for kind in (False, True))
    return ({"params": vectors, "weight_decay": rest}, {"params": matrices, "weight_decay": decay})


def groups_of_state(model, decay):
    values = list(model.state_dict().values())
    return [
        {"params": [p for p in values if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in values if p.dim() < 2], "weight_decay": 0.0},
    ]


def clip_by_cat(grads, max_norm):
    norm = torch.cat([g.flatten() for g in grads]).norm()
    for g in grads:
        g.mul_(torch.clamp(max_norm / (norm + 1e-12), max=1.0))
    return norm


def clip_in_place(grads, max_norm):
    norm = math.sqrt(sum(g.double().pow(2).sum().item() for g in grads))
    if norm > max_norm:
        for i in range(len(grads)):
            grads[i][...] = grads[i] / norm * max_norm
    return np.float64(norm)


def clip_by_foreach(grads, max_norm):
    norm = torch.nn.utils.get_total_norm(grads)
    torch._foreach_mul_(grads, torch.clamp(max_norm / norm, max=1.0))
    return norm


def clip_entries(grads, max_norm):
    norm = sum(g.norm() ** 2 for g in grads) ** 0.5
    if norm > max_norm:
        for i in range(len(grads)):
            grads[i] = grads[i] * max_norm / norm
    return norm.item()


def clip_names(grads, max_norm):
    norm = clip_by_cat([g.clone() for g in grads], max_norm)
    for g in grads:
        g = g * min(1, max_norm / max(norm, 1e-9))
    return norm


def clip_if(condition, factor=lambda norm, most: most / norm):
    def clipped(grads, max_norm):
        norm = torch.stack([g.norm() for g in grads]).norm().item()
        if condition(norm, max_norm):
            for g in grads:
                g.mul_(factor(norm, max_norm))
        return norm

    return clipped


def rate_by_torch(step, steps, lr, min_lr, warmup):
    if step < warmup:
        return torch.tensor(lr * (step + 1) / warmup)
    return (
        min_lr
        + (lr - min_lr)
        * torch.cos(torch.tensor(math.pi / 2 * (step - warmup) / (steps - warmup))) ** 2
    )


def rate_from_middle(step, steps, lr, min_lr, warmup):
    up = (step + 1) / max(warmup, 1)
    if step < warmup:
        return np.float64(up * lr)
    half = (lr - min_lr) / 2
    return min_lr + half + half * math.cos(math.pi * (step - warmup) / (steps - warmup))


def rate_with(angle, wave=math.cos):
    def rate(step, steps, lr, min_lr, warmup):
        if step < warmup:
            return lr * (step + 1) / warmup
        return min_lr + (lr - min_lr) * 0.5 * (1 + wave(angle(step - warmup, steps - warmup)))

    return rate


def gather_once(model, micro_batches):
    total, n = 0, 0
    for x, y in micro_batches:
        logits = model(x)
        total = total + torch.nn.functional.cross_entropy(
            logits.view(-1, logits.size(-1)), y.reshape(-1), reduction="sum"
        )
        n += (y >= 0).sum()
    (total / n).backward()
    return (total / n).item()


def gather_weighted(model, micro_batches):
    counts = [(y != -100).sum().item() for _, y in micro_batches]
    losses = []
    for (x, y), n in zip(micro_batches, counts, strict=True):
        loss = torch.nn.functional.cross_entropy(model(x).transpose(1, 2), y) * n / sum(counts)
        loss.backward()
        losses.append(loss.detach())
    return sum(losses)


def gather_with(divide, returned=sum):
    def gather(model, micro_batches):
        n, shares = sum((y != -100).sum().item() for _, y in micro_batches), []
        for x, y in micro_batches:
            summed = torch.nn.functional.cross_entropy(
                model(x).flatten(0, 1), y.flatten(), reduction="sum"
            )
            share = summed / divide(y, micro_batches, n)
            share.backward()
            shares.append(share.item())
        return returned(shares)

    return gather


def gather_shaped(model, micro_batches):
    n = sum((y != -100).sum() for _, y in micro_batches)
    total = 0.0
    for x, y in micro_batches:
        loss = torch.nn.functional.cross_entropy(model(x), y, reduction="sum") / n
        loss.backward()
        total += loss.item()
    return total


def stop_by_count(losses, patience):
    least, at, bad = math.inf, None, 0
    for i, loss in enumerate(losses):
        least, at, bad = (loss, i, 0) if loss < least else (least, at, bad + 1)
        if bad == patience:
            return at, i
    return at, len(losses) - 1


def stop_by_prefix(losses, patience):
    for i in range(len(losses)):
        best = int(np.argmin(losses[: i + 1]))
        if i - best >= patience:
            break
    return [best, np.int64(i)]


def stop_with(end, at=lambda best, now: (best, now)):
    """Return a rule that is right, but for what it returns at the end, or at the stop."""

    def stop(losses, patience):
        best = 0
        for i, loss in enumerate(losses):
            best = i if loss < losses[best] else best
            if i - best == patience:
                return at(best, i)
        return end(best, i)

    return stop


def stop_of_all(losses, patience):
    best = losses.index(min(losses))
    return best, min(best + patience, len(losses) - 1)


def stop_total(losses, patience):
    best, bad = 0, 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i:
            bad += 1
        if bad == patience:
            return best, i
    return best, i


def stop_late_look(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if i - best == patience:
            return best, i
        if loss < losses[best]:
            best = i
    return best, i


def state_of(**instead):
    def snapshot(model, optimizer, batches, step):
        things = {"model": model, "optimizer": optimizer, "batches": batches}
        states = {name: thing.state_dict() for name, thing in things.items()}
        random = torch.random.get_rng_state().clone()
        known = states | {"random": random, "step": torch.tensor(step)}
        return known | {name: value(things) for name, value in instead.items()}

    return snapshot


# 07


def best(score):
    """Return a `choose` that takes the ending of the highest score(p, ending, by)."""

    def choose(logprobs, endings, by):
        scores = [float(score(p, text, by)) for p, text in zip(logprobs, endings, strict=True)]
        return scores.index(max(scores))

    return choose


def length(p, text, by):
    return {"sum": 1, "token": len(p), "character": len(text)}[by]


def logprobs_in_fp64(model, context, completion):
    idx = torch.tensor([context + completion], device=model.wte.weight.device)
    logits = model(idx)[0, len(context) - 1 : -1].double()
    return logits.log_softmax(-1)[range(len(completion)), completion]


def clustered(scores, clusters, center=None, keep=False, factor=lambda n, G: G / (G - 1)):
    """The clustered error by a dictionary; `keep` forgets to add, `center` is another mean."""
    sums = {}
    for score, name in zip(scores.tolist(), clusters, strict=True):
        apart = score - (center(scores, clusters, name) if center else scores.mean().item())
        sums[name] = apart if keep else sums.get(name, 0) + apart
    squares = sum(s * s for s in sums.values())
    return math.sqrt(factor(len(scores), len(sums)) * squares) / len(scores)


def of_its_cluster(scores, clusters, name):
    return scores[[c == name for c in clusters]].mean().item()


def interval(a, b, clusters):
    middle, half = (a - b).mean().item(), 1.96 * clustered(a - b, clusters)
    return middle - half, middle + half


RIGHT = {
    "03_first_loss": (
        lambda V, C, std: np.log(V) + C * std**2 / 2,
        lambda V, C, std: torch.log(torch.tensor(float(V))) + C * std * std / 2,
        lambda V, C, std: np.array(math.log(V) + 0.5 * (math.sqrt(C) * std) ** 2),
        lambda V, C, std: np.float32(math.log(V) + C * std**2 / 2),
        lambda V, C, std: -math.log(1 / V) + C * std**2 / 2,
    ),
    "03_init_gpt2": (init_by_module, init_by_copying),
    "03_additions": (
        adds_twice,
        lambda block, x: [a := block.attn(block.ln_1(x)), block.mlp(block.ln_2(a + x))],
        lambda block, x: torch.stack(adds_twice(block, x)),
    ),
    "03_paired": (
        by_numpy,
        by_statistics,
        lambda a, b, t: ((a - b).mean(), t * (a - b).var().sqrt() / math.sqrt(a.numel())),
        lambda a, b, t: torch.tensor(by_numpy(a, b, t)),
    ),
    "03_coverage": (covers_by_loop, covers_by_numpy),
    "04_pick_dtype": (by_major, lambda c: np.str_(by_major(c))),
    "04_to_bf16": (bits_by_numpy, bits_by_remainder),
    "04_scaled_step": (step_by_hand, step_scaled_before_zero_grad),
    "04_rescale": (rescale_by_sum, rescale_by_numpy),
    "04_stochastic": (noise_by_numpy, noise_in_proportion),
    "05_entropy": (
        by_counter,
        by_bincount,
        lambda tokens: np.float32(by_counter(tokens)),
        lambda tokens: torch.distributions.Categorical(
            tokens.unique(return_counts=True)[1].float()
        ).entropy(),
    ),
    "05_ema": (smooth, smooth_as_tensor, smooth_as_tuple),
    "05_unigram": (unigram_by_loop, unigram_by_tensor),
    "05_bigram": (bigram_by_table, bigram_by_lists),
    "05_alarm": (alarm_by_tensor, alarm_by_numpy),
    "06_decay_groups": (
        groups_of,
        lambda model, decay: [*groups_of(model, decay)],
        lambda model, decay: [group | {"name": "x"} for group in groups_of(model, decay, rest=0)],
    ),
    "06_clip": (
        clip_by_cat,
        clip_in_place,
        clip_by_foreach,
        clip_if(lambda norm, most: norm >= most > 0),
        clip_if(lambda norm, most: norm, lambda norm, most: min(1, most / norm)),
    ),
    "06_rate": (rate_by_torch, rate_from_middle),
    "06_accumulate": (gather_once, gather_weighted, gather_with(lambda y, batches, n: n)),
    "06_early_stop": (
        stop_by_count,
        stop_by_prefix,
        stop_with(lambda best, now: torch.tensor([best, now])),
    ),
    "06_snapshot": (state_of(),),
    "06_beta_for": (
        lambda half_life, n: math.exp(math.log(0.5) * n / half_life),
        lambda half_life, n: torch.tensor(0.5) ** (n / half_life),
        lambda half_life, n: np.float64(0.5) ** (1 / (half_life / n)),
    ),
    "07_bits_per_byte": (
        lambda losses, pieces: sum(losses.tolist()) / BIT / sum(map(len, pieces)),
        lambda losses, pieces: losses.double().sum().numpy() / len(b"".join(pieces)) / np.log(2),
    ),
    "07_completion_logprobs": (logprobs_in_fp64,),
    "07_choose": (best(lambda p, text, by: p.sum() / length(p, text, by)),),
    "07_standard_error": (lambda scores: statistics.stdev(scores.tolist()) / len(scores) ** 0.5,),
    "07_clustered_error": (clustered,),
    "07_paired_difference": (
        lambda a, b, clusters: torch.tensor([(a - b).mean(), clustered(a - b, clusters)]),
    ),
    "07_items_needed": (
        lambda d, s: math.ceil((1.96 + 0.84) ** 2 * s**2 / d**2),
        lambda d, s: np.ceil(((1.96 + 0.84) * s / d) ** 2),
    ),
}
WRONG = {
    "03_first_loss": (
        lambda V, C, std: math.log(V) + std**2,
        lambda V, C, std: math.log(V) + (std * C) ** 2 / 2,
        lambda V, C, std: math.log(V) + (C**0.5 * std) / 2,
        lambda V, C, std: math.log(V) + C * std * std,
        lambda V, C, std: math.log(V, 2) + C * std**2 / 2,
        lambda V, C, std: math.log(1 / V) + C * std**2 / 2,
        lambda V, C, std: print(math.log(V) + C * std**2 / 2),
        lambda V, C, std: math.log(V),
        lambda V, C, std: math.log(V) + C * std**2 // 2,
        lambda V, C, std: math.log(V + 0.5 * C * std**2),
        lambda V, C, std: np.log(V) + np.sqrt(C) * std**2 / 2,
        lambda V, C, std: np.log(V) + 768 * std**2 / 2,
        lambda V, C, std: np.log(V) + C * 4e-4 / 2,
        lambda V, C, std: np.log(V) * (C * std**2 / 2),
        lambda V, C, std: (np.log(V) + C * std**2 / 2) / BIT,
        lambda V, C, std: np.log(C) + V * std**2 / 2,
        lambda V, C, std: np.log(np.log(V) * np.exp(C * std**2 / 2)),
        lambda V, C, std: float(f"{np.log(V) + C * std**2 / 2:.2f}"),
    ),
    "03_init_gpt2": (
        init_of_the_first_layer,
        init_twelve,
        init_embeddings_alike,
        init_without_biases,
        lambda model: init_by_module(model) or model,
        lambda model: model.apply(lambda m: hasattr(m, "bias") and m.bias.data.zero_()) and None,
        init_else_draws,
        lambda model: init_else_draws(model, layers=6),
        lambda model: init_else_draws(model, layers=12),
        init_positional,
        init_rebinding,
        init_in_place,
        init_uniform,
        init_positive,
        init_of_a_new_model,
        init_seeding,
    ),
    "03_additions": (
        lambda block, x: (block.attn(x), block.mlp(x)),
        lambda block, x: (block.attn(block.ln_1(x)), block.mlp(block.ln_2(x))),
        lambda block, x: (block.ln_1(block.attn(x)), block.ln_2(block.mlp(x))),
        lambda block, x: block(x) - x,
        lambda block, x: (block.attn(block.ln_1(x)), block(x)),
        lambda block, x: tuple(t.detach() for t in PARTS["03_additions"].solution(block, x)),
        adds_in_place,
        adds_after_norm,
        adds_crossed,
        lambda block, x: (adds_twice(block, x)[0], block(x)),
        lambda block, x: (adds_twice(block, x)[0], x + adds_twice(block, x)[1]),
        lambda block, x: (*adds_twice(block, x), block(x)),
    ),
    "03_paired": (
        ddof_0,
        subtracted_later,
        lambda a, b, t: by_numpy(b, a, t),
        lambda a, b, t: by_numpy(a, b, 1.0),
        lambda a, b, t: by_numpy(a, b, 1.96),
        lambda a, b, t: by_numpy(a, b, t)[::-1],
        lambda a, b, t: (a - b, t),
        lambda a, b, t: ((a - b).mean(), t * a.std() / len(a) ** 0.5),
        lambda a, b, t: ((a - b).mean(), t * (a.std() - b.std()) / len(a) ** 0.5),
        lambda a, b, t: ((a - b).mean(), t * (a - b).std() / 5**0.5),
        lambda a, b, t: ((a - b).median(), by_numpy(a, b, t)[1]),
        lambda a, b, t: (
            by_numpy(a, b, t)[0],
            *(by_numpy(a, b, t)[0] + s * by_numpy(a, b, t)[1] for s in (-1, 1)),
        ),
    ),
    "03_coverage": (
        covers_ddof_0,
        covers_known_std,
        lambda n, t: 1 - covers_by_numpy(n, t),
        lambda n, t: 100 * covers_by_numpy(n, t),
        lambda n, t: covers_by_numpy(n, 2.78),
        lambda n, t: 0.95,
    ),
    "04_pick_dtype": (
        lambda c: "bf16" if c == (8, 0) else by_major(c) if by_major(c) != "bf16" else "fp16",
        lambda c: "fp32" if c is None else "bf16" if c[0] >= 7 else "fp16",
        lambda c: by_major(c or (7, 5)),
        lambda c: by_major(c) if c[0] else None,
        lambda c: {"fp32": torch.float32, "fp16": torch.half, "bf16": torch.bfloat16}[by_major(c)],
        lambda c: "bf16" if c and c[0] >= 8 else "fp16",
        lambda c: "fp16" if c else "fp32",
        lambda c: "fp32" if c < (7, 0) or c is None else by_major(c),
        lambda c: "bf16" if c and c >= 8.0 else by_major(c),
    ),
    "04_scaled_step": (
        step_clips_first,
        step_asks_nobody,
        step_accumulates,
        step_unscales_twice,
        lambda c, w, o, s: (step_by_hand(c, w, o, s)[0] * 1024, 5.0),
        lambda c, w, o, s: step_by_hand(c, w, o, s)[0],
        lambda c, w, o, s: step_by_hand(c, w, o, s)[::-1],
        lambda c, w, o, s: print(step_by_hand(c, w, o, s)),
        step_clips_each,
        step_normalizes,
        step_updates_twice,
        step_unscales_early,
        step_clears_late,
        step_divides_by_hand,
    ),
    "04_rescale": (
        rescale_keeps_counting,
        lambda grads, scale, good, interval: rescale_by_sum(grads[:1], scale, good, interval),
        lambda grads, scale, good, interval: rescale_by_sum(grads, scale, good, interval)[1:],
        lambda grads, scale, good, interval: (
            (True, scale / 2, 0)
            if any(g.isnan().any() for g in grads)
            else rescale_by_sum([torch.ones(1)], scale, good, interval)
        ),
        lambda grads, scale, good, interval: (
            (True, scale / 2, 0)
            if max(g.max() for g in grads) == torch.inf
            else rescale_by_sum([torch.ones(1)], scale, good, interval)
        ),
        lambda grads, scale, good, interval: (False, scale * 2, good + 1),
        rescale_ever,
        lambda *a: rescale_ever(*a, finite=lambda g: g.isfinite().any()),
        lambda *a: rescale_ever(*a, finite=lambda g: not (g.abs() > 65504).any()),
        rescale_joined,
        lambda *a: rescale_joined(*a, join=torch.cat),
        rescale_not_below_1,
        rescale_whole,
        rescale_last,
        lambda *a: (lambda skip, scale, good: (skip, good, scale))(*rescale_by_sum(*a)),
    ),
    "04_stochastic": (
        bits_by_numpy,
        bits_cut,
        lambda x: x + (torch.rand_like(x) - 0.5) * 2**-8,
        lambda x: x.bfloat16().float(),
        lambda x: torch.where(torch.rand_like(x) < 0.5, bits_cut(x), bits_cut(x * (1 + 2**-7))),
        noise_once,
        lambda x: (x.view(torch.int32) + (torch.rand(1) * 65536).int() & -0x10000).view(
            torch.float32
        ),
        noise_wrong_way,
        lambda x: noise_by_numpy(x, one=True),
        lambda x: noise_by_numpy(x, high=2**15),
        lambda x: noise_by_numpy(x, -(2**15), 2**15),
        lambda x: noise_in_proportion(x).view(torch.int32).float(),
        lambda x: noise_in_proportion(x).abs(),
    ),
    "04_to_bf16": (
        bits_cut,
        bits_half_up,
        lambda x: x.bfloat16().float(),
        lambda x: x.to(torch.bfloat16).to(torch.float32),
        lambda x: x.to(dtype=torch.bfloat16).float(),
        lambda x: x.half().float(),
        lambda x: (x * 128).round() / 128,
        lambda x: (x.view(torch.int32) + 0x7FFF + (x.view(torch.int32) >> 16 & 1)) & -0x10000,
        lambda x: bits_by_remainder(x).abs(),
        lambda x: ((i := x.to(torch.int32)) + 0x7FFF + (i >> 16 & 1) & -0x10000).view(
            torch.float32
        ),
        lambda x: ((i := x.view(torch.int32)) + 0x7FFF + i >> 16 & 1 & -0x10000).view(
            torch.float32
        ),
        lambda x: ((i := x.view(torch.int32)) + 0x8000 - (i >> 16 & 1) & -0x10000).view(x.dtype),
    ),
    "05_entropy": (
        empty_bins,
        counter_of_tensors,
        lambda tokens: by_counter(tokens) / BIT,
        lambda tokens: math.log(len(set(tokens.tolist()))),
        lambda tokens: -by_counter(tokens),
        lambda tokens: by_counter(tokens) * len(tokens),
        lambda tokens: math.log(max(tokens.tolist())),
        lambda tokens: print(by_counter(tokens)),
    ),
    "05_ema": (
        smooth_carried,
        smooth_plain,
        smooth_from_zero,
        lambda v, h: smooth(v, h)[-1],
        lambda v, h: [sum(v[max(0, i - 1) : i + 1]) / min(i + 1, 2) for i in range(len(v))],
        lambda v, h: list(np.cumsum(v) / np.arange(1, len(v) + 1)),
        lambda v, h: smooth(v, -math.log(2) / math.log(1 - 0.5 ** (1 / h))),
        lambda v, h: smooth(v, h * BIT),
        lambda v, h: smooth(v, -1 / math.log2(2**-1 / h)),
        lambda v, h: smooth(v, -h),
        lambda v, h: [0, *smooth(v, h)],
        lambda v, h: [smooth(v, h)[0]],
        lambda v, h: smooth(v, h) / (1 - 0.5 ** (1 / h)),
    ),
    "05_unigram": (
        lambda train, held, V: -sum(math.log(train.count(w) / len(train)) for w in held),
        lambda train, held, V: (
            -torch.tensor([train.count(w) / len(train) for w in held]).log().mean()
        ),
        lambda train, held, V: unigram_by_loop(train, held, len(set(train))),
        lambda train, held, V: unigram_by_loop(held, train, V),
        lambda train, held, V: unigram_by_loop(train + held, held, V),
        lambda train, held, V: unigram_by_loop(train, held, V) / BIT,
        lambda train, held, V: unigram_by_loop(train, held, V) * len(held),
        lambda train, held, V: print(unigram_by_loop(train, held, V)),
        lambda train, held, V: (
            -np.mean([np.log(train.count(w) + 1 / (len(train) + V)) for w in held])
        ),
    ),
    "05_bigram": (
        lambda train, held, V: bigram_by_lists(train, held, V, kinds=lambda after: 1),
        lambda train, held, V: bigram_by_lists(train, held, V, kinds=len),
        lambda train, held, V: bigram_by_lists(train[::-1], held, V),
        lambda train, held, V: bigram_by_lists(train, held, V) * (len(held) - 1),
        lambda train, held, V: bigram_by_lists(train, held, V) * (len(held) - 1) / len(held),
        lambda train, held, V: unigram_by_loop(train, held[1:], V),
        lambda train, held, V: bigram_by_lists(train, held, V) / BIT,
        lambda train, held, V: bigram_by_lists(train, held, V, else_p=1 / V),
        lambda train, held, V: bigram_by_lists(train, held, V, else_p=1.0),
        lambda train, held, V: bigram_by_lists(train, held, 0),
        lambda train, held, V: bigram_by_lists(train, held, V, p_of=lambda v, w: v),
    ),
    "05_alarm": (
        lambda losses, stuck, best: "stuck" if losses[-1] > stuck else "healthy",
        lambda losses, stuck, best: alarm_by_windows(losses, stuck, best) != "healthy",
        lambda losses, stuck, best: alarm_by_windows(losses, stuck, best, n=1),
        lambda losses, stuck, best: alarm_by_windows(losses, stuck, 0),
        lambda losses, stuck, best: alarm_by_windows(losses, best, stuck),
        alarm_by_windows,
        lambda losses, stuck, best: alarm_by_windows(losses, stuck, best, n=10),
        lambda losses, stuck, best: alarm_by_numpy(losses, 2.9, 1.4),
        *(
            lambda losses, stuck, best, h=h: alarm_on(smooth(losses, h), losses, stuck, best)
            for h in (5, 20, 100)
        ),
        *(
            lambda losses, stuck, best, how=how: alarm_on(
                smooth(losses, 10), losses, stuck, best, **how
            )
            for how in (
                {"rise": 0.4},
                {"rise": 1.0},
                {"stuck_by": min},
                {"stuck_by": max},
                {"good_by": min},
                {"low": lambda a: a[len(a) // 2]},
                {"low": lambda a: 1.5 * min(a) - 0.5},
            )
        ),
        lambda losses, stuck, best: losses.sort() or alarm_by_numpy(losses, stuck, best),
    ),
    "06_decay_groups": (
        groups_of_state,
        lambda model, decay: groups_of(model, decay, lambda named: [p.clone() for _, p in named]),
        lambda model, decay: groups_of(model, decay, lambda named: [p.data for _, p in named]),
        lambda model, decay: groups_of(model, decay, lambda named: [n for n, _ in named]),
        lambda model, decay: groups_of(model, decay, lambda named: named),
        lambda model, decay: groups_of(model, decay, lambda named: (p for _, p in named)),
        lambda model, decay: [groups_of(model, decay)[1], {"params": [], "weight_decay": 0.0}],
        lambda model, decay: [{**group, "weight_decay": decay} for group in groups_of(model, 0)],
        lambda model, decay: [{"params": g["params"], "wd": 0} for g in groups_of(model, decay)],
        lambda model, decay: torch.optim.AdamW(groups_of(model, decay)[::-1]),
        lambda model, decay: groups_of(model, 0.0, rest=decay),
    ),
    "06_clip": (
        clip_entries,
        clip_names,
        clip_if(lambda norm, most: 0 < norm < most),
        clip_if(lambda norm, most: norm, lambda norm, most: max(1, most / norm)),
        clip_if(lambda norm, most: True, lambda norm, most: min(1, most / norm)),
        clip_if(lambda norm, most: norm > most, lambda norm, most: 1 / norm),
        lambda grads, max_norm: torch.nn.utils.clip_grad_norm_(grads, max_norm),
        lambda grads, max_norm: clip_by_cat(grads, max_norm)[None],
        lambda grads, max_norm: [
            g * min(1, max_norm / sum(g.norm() for g in grads)) for g in grads
        ],
        lambda grads, max_norm: clip_by_cat(grads, max_norm) and grads,
    ),
    "06_rate": (
        rate_with(lambda step, n: 180 * step / n),
        rate_with(lambda step, n: math.pi * (step // n)),
        rate_with(lambda step, n: math.pi * step / n, math.sin),
        rate_with(lambda step, n: math.pi * (step + 1) / n),
        rate_with(lambda step, n: math.pi * step / (n - 1)),
        rate_with(lambda step, n: math.pi / 2 * step / n),
        lambda step, steps, lr, min_lr, warmup: rate_by_torch(step, steps, 1.0, 0.0, warmup),
        lambda step, steps, lr, min_lr, warmup: (
            lr * (step + 1) / warmup * (step < warmup)
            or rate_by_torch(step, steps, lr, min_lr, warmup)
        ),
    ),
    "06_accumulate": (
        gather_with(lambda y, batches, n: (y != -100).sum() * len(batches)),
        gather_with(lambda y, batches, n: (y != -100).sum()),
        gather_with(lambda y, batches, n: (batches[0][1] != -100).sum() * len(batches)),
        gather_with(lambda y, batches, n: n, lambda shares: shares[-1]),
        gather_with(lambda y, batches, n: n, lambda shares: None),
        gather_with(lambda y, batches, n: y.numel() * len(batches)),
        lambda model, parts: gather_with(lambda *_: 1)(model, parts) / 12,
        lambda model, parts: (
            gather_with(lambda y, *_: (y != -100).sum())(model, parts) / len(parts)
        ),
        gather_shaped,
    ),
    "06_early_stop": (
        stop_with(lambda best, now: (now, now)),
        stop_with(lambda best, now: (best, now + 1)),
        stop_with(lambda best, now: None),
        stop_with(lambda best, now: (best, now), lambda best, now: (best, now + 1)),
        stop_of_all,
        stop_total,
        stop_late_look,
        lambda losses, patience: (losses[stop_by_count(losses, patience)[0]], len(losses) - 1),
        lambda losses, patience: stop_by_count(losses, patience)[::-1],
    ),
    "06_snapshot": (
        state_of(model=lambda things: things["model"].state_dict),
        state_of(batches=lambda things: things["batches"]),
        state_of(random=lambda things: torch.seed()),
        state_of(random=lambda things: torch.get_rng_state),
        state_of(random=lambda things: torch.rand(1)),
        state_of(model=lambda things: things["optimizer"].state_dict()),
        lambda *run: {k: v for k, v in state_of()(*run).items() if k != "random"},
        lambda *run: list(state_of()(*run).values()),
    ),
    "06_beta_for": (
        lambda half_life, n: round(0.5 ** (n / half_life), 4),
        lambda half_life, n: 1 - n / half_life,
        lambda half_life, n: 1 - math.log(2) * n / half_life,
        lambda half_life, n: 0.5 ** (half_life / n),
        lambda half_life, n: half_life / n,
        lambda half_life, n: 0.95,
    ),
    "07_bits_per_byte": (
        lambda losses, pieces: losses.sum() / BIT / len(b"".join(set(pieces))),
        lambda losses, pieces: losses.sum() / BIT / len(b"".join(dict.fromkeys(pieces))),
    ),
    "07_choose": (
        best(lambda p, t, by: p.sum() / (len(t.split()) if by == "token" else length(p, t, by))),
        best(lambda p, t, by: (p.mean() if by == "character" else p.sum()) / length(p, t, by)),
        best(lambda p, t, by: p.mean() / len(t) if by == "character" else p.mean()),
        best(lambda p, text, by: p.sum() * length(p, text, by)),
        best(lambda p, text, by: p.sum() / length(p, text, by) ** 0.5),
        best(lambda p, text, by: p.max()),
        best(lambda p, text, by: p.exp().sum() / length(p, text, by)),
        lambda *case: 1 + best(lambda p, text, by: p.sum() / length(p, text, by))(*case),
    ),
    "07_standard_error": (
        lambda scores: (scores.mean() * (1 - scores.mean()) / (len(scores) - 1)).sqrt(),
        lambda scores: (scores.mean() * (1 - scores.mean()) / len(scores)) ** 0.5,
    ),
    "07_clustered_error": (
        lambda scores, clusters: clustered(scores, clusters, keep=True),
        lambda scores, clusters: clustered(scores, clusters, center=of_its_cluster),
        lambda scores, clusters: clustered(scores, clusters, factor=lambda n, G: n / (n - 1)),
        lambda scores, clusters: clustered(scores, clusters, factor=lambda n, G: (G - 1) / G),
    ),
    "07_paired_difference": (
        lambda a, b, clusters: ((a - b).mean(), clustered(a, clusters)),
        lambda a, b, clusters: ((a - b).mean(), clustered((a - b).abs(), clusters)),
        lambda a, b, clusters: (clustered(a - b, clusters), (a - b).mean()),
        interval,
    ),
    "07_items_needed": (
        lambda d, s: math.ceil(2 * ((1.96 + 0.84) * s / d) ** 2),
        lambda d, s: math.ceil(((1.96 - 0.84) * s / d) ** 2),
        lambda d, s: math.ceil((1.96 * s / d) ** 2 / 0.8),
        lambda d, s: math.ceil(((1.64 + 0.84) * s / d) ** 2),
        lambda d, s: math.ceil((sum(map(NORMAL.inv_cdf, (0.975, 0.8))) * s / d) ** 2),
    ),
}
PLAIN = re.compile(r"it returns [^:]*, expected [^:]*$")  # a first difference, with no reason


def pairs(answers):
    return [
        pytest.param(name, answer, id=f"{name}-{number}")
        for name, some in answers.items()
        for number, answer in enumerate(some)
    ]


@pytest.mark.parametrize("name, answer", pairs(RIGHT))
def test_a_right_answer_is_right_in_any_type_and_way(name, answer):
    assert judge(answer, PARTS[name]).sentence == ""


@pytest.mark.parametrize("name, answer", pairs(WRONG))
def test_a_wrong_answer_is_refused(name, answer):
    assert judge(answer, PARTS[name]).mark == "✗"


def test_most_wrong_answers_get_a_sentence_of_their_own():
    said = [judge(answer, PARTS[name]).sentence for name, some in WRONG.items() for answer in some]
    plain = [sentence for sentence in said if PLAIN.search(sentence)]
    assert len(plain) <= 0.2 * len(said), "\n".join(plain)


# Two answers that an index can't tell apart must not be told the same: here, of how they were made.
TOLD = {
    ("07_choose", 0): "words, not tokens",
    ("07_choose", 1): "by the tokens and by the characters",
    ("07_choose", 2): "divides by the tokens",
    ("07_choose", 3): "multiplied",
    ("07_choose", 4): "",
    ("07_choose", 5): "",
    ("07_choose", 6): "",
    ("07_choose", 7): "indices begin at 0",
    ("07_standard_error", 0): "fits all",
    ("07_clustered_error", 0): "last item",
    ("07_clustered_error", 1): "cluster's own mean",
    ("07_clustered_error", 2): "counts items",
    ("07_clustered_error", 3): "upside down",
    ("07_paired_difference", 0): "a alone",
    ("07_paired_difference", 1): "abs()",
    ("07_paired_difference", 2): "swapped",
    ("07_paired_difference", 3): "ends of the 95 % interval",
}


@pytest.mark.parametrize("name, number", TOLD, ids=lambda part: str(part))
def test_a_wrong_answer_of_07_is_told_its_own_mistake_or_none(name, number):
    sentence = judge(WRONG[name][number], PARTS[name]).sentence
    told = TOLD[name, number]
    assert told in sentence and bool(told) != bool(PLAIN.search(sentence)), sentence
