"""Notebook 08: a rank's rows, averaged gradients, the norm over shards, the time of a step."""

import torch

from gpt2lite.course.exercises import Part
from gpt2lite.planner import step_seconds

PARTS: dict[str, Part] = {}


# 08 · the rows of a batch that a rank takes


def rank_slice(x, rank, world):
    rows, left = divmod(len(x), world)
    if left:
        raise ValueError(f"{len(x)} rows can't be shared evenly by {world} ranks")
    return x[rank * rows : (rank + 1) * rows]


def _sliced(take):
    """Return a slicing that refuses what the solution refuses, and takes other rows."""

    def sliced(x, rank, world):
        rank_slice(x, rank, world)
        return take(x, rank, world, len(x) // world)

    return sliced


_BATCH = torch.arange(24).view(6, 4)

PARTS["08_rank_slice"] = Part(
    solution=rank_slice,
    cases=(
        (_BATCH, 1, 2),
        (_BATCH, 0, 2),
        (_BATCH, 2, 3),
        (_BATCH, 5, 6),
        (_BATCH, 0, 1),
        (_BATCH, 0, 4),
    ),
    mistakes=(
        (
            _sliced(lambda x, rank, world, rows: x),
            "every rank gets the whole batch, so all compute the same: cut it by rank",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[:rows]),
            "every rank gets the first rows: begin at rank * rows",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[rank::world]),
            "that takes every world-th row. The mean would be the same, but here a rank takes rows "
            "that lie side by side",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[rank * world : (rank + 1) * world]),
            "that is world rows a rank: it should be len(x) // world",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[(rank - 1) * rows : rank * rows]),
            "ranks count from 0: rank 0 begins at row 0",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[rank * rows : rank * rows + 1]),
            "that is one row a rank: take len(x) // world of them",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[rank * rows :]),
            "the slice has no end: it ends where the next rank's begins",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[:, rank * 4 // world : (rank + 1) * 4 // world]),
            "that cuts the sequences: share the rows, which are dimension 0",
        ),
        (
            _sliced(lambda x, rank, world, rows: x.split(rows)),
            "those are the slices of all ranks: return this rank's alone",
        ),
        (
            _sliced(lambda x, rank, world, rows: x[rank * rows : rank * rows + rows - 1]),
            "the end of a slice is not in it: end at (rank + 1) * rows",
        ),
        (
            lambda x, rank, world: x[rank * (len(x) // world) : (rank + 1) * (len(x) // world)],
            "6 rows for 4 ranks: two rows are lost without a word. Raise a ValueError instead",
        ),
        (
            lambda x, rank, world: x.tensor_split(world)[rank],
            "6 rows for 4 ranks: some get 2 rows, some 1, and the mean of their means is not the "
            "batch's. Raise a ValueError instead",
        ),
    ),
)


# 08 · one gradient from those of all ranks


def average(ranks):
    return [sum(grads) / len(ranks) for grads in zip(*ranks, strict=True)]


def _ranks(count, *shapes):
    """Return gradients for `count` ranks, each a list with a tensor of every shape.

    They and the means of up to 3 are whole numbers, which read well in a message.
    """
    generator = torch.Generator().manual_seed(count)

    def draw(shape):
        return 6.0 * torch.randint(-4, 5, shape, generator=generator)

    return [[draw(shape) for shape in shapes] for _ in range(count)]


def _combined(combine):
    return lambda ranks: [combine(torch.stack(grads)) for grads in zip(*ranks, strict=True)]


def _listed(gradients):
    """Return gradients of any kind of sequence and of float as a list in fp32."""
    return [grad.float() for grad in gradients]


PARTS["08_average"] = Part(
    solution=average,
    seen=_listed,
    cases=(
        (_ranks(3, (2,), (2, 2), (3,), (1,)),),
        (_ranks(2, (3,), (2, 3), (4,)),),
        (_ranks(1, (2,)),),
    ),
    mistakes=(
        (
            _combined(lambda grads: grads.sum(0)),
            "that is the sum, which grows with the ranks: divide by their number",
        ),
        (
            _combined(lambda grads: grads.sum(0) / (len(grads) - 1)),
            "that divides by one too few: a mean divides by the number of ranks, len(ranks)",
        ),
        (
            lambda ranks: average(ranks)[: len(ranks)],
            "that is one tensor for each rank: return one for each gradient, as zip(*ranks) goes",
        ),
        (
            lambda ranks: [grad.clone() for grad in ranks[0]],
            "those are rank 0's own gradients: the others have read other rows",
        ),
        (
            lambda ranks: [sum(grads) / len(ranks[0]) for grads in zip(*ranks, strict=True)],
            "that divides by the number of tensors: divide by the number of ranks",
        ),
        (
            _combined(lambda grads: grads.sum(0) / 2),
            "that divides by 2 however many ranks there are: divide by len(ranks)",
        ),
        (
            _combined(lambda grads: grads.sum(0) / len(grads) ** 2),
            "that divides twice by the number of ranks: once is the mean",
        ),
        (
            _combined(lambda grads: grads.mean()),
            "each tensor becomes one number: take the mean over the ranks only",
        ),
        (
            _combined(lambda grads: grads.max(0).values),
            "that is the largest of the ranks' gradients: take their mean",
        ),
        (
            lambda ranks: torch.cat([grad.flatten() for grad in average(ranks)]),
            "that is one long tensor: return a list, a tensor for each gradient",
        ),
        (
            lambda ranks: [average(ranks)] * len(ranks),
            "that is a list for every rank: all get the same, so return one list",
        ),
    ),
)


# 08 · the norm of a gradient that lies in pieces on several ranks


def global_norm(shards):
    squares = [sum(piece.square().sum() for piece in rank) for rank in shards]  # each rank alone
    return (sum(squares) ** 0.5).item()  # a number a rank is all that is sent


def _norms(combine):
    """Return a norm that combines the ranks' own norms."""
    return lambda shards: combine(
        torch.stack([torch.cat([piece.flatten() for piece in rank]).norm() for rank in shards])
    ).item()


PARTS["08_global_norm"] = Part(
    solution=global_norm,
    cases=(
        ([[torch.tensor([3.0, 0.0]), torch.tensor([2.0])], [torch.tensor([6.0]), torch.zeros(2)]],),
        (_ranks(3, (4,), (2,)),),
        (_ranks(1, (5,)),),
    ),
    mistakes=(
        (
            _norms(lambda norms: norms.sum()),
            "the ranks' norms are added: lengths add as their squares do",
        ),
        (
            _norms(lambda norms: norms.mean()),
            "that is the mean of the ranks' norms: add their squares, then take the root",
        ),
        (
            _norms(lambda norms: norms.square().mean().sqrt()),
            "the squares are averaged: the pieces are parts of one gradient, so add them",
        ),
        (
            lambda shards: (
                torch.cat([p.flatten() for rank in shards for p in rank])
                .square()
                .mean()
                .sqrt()
                .item()
            ),
            "the squares are averaged: a norm adds them",
        ),
        (
            _norms(lambda norms: norms.square().sum() ** 1 / 2),
            "** 1 / 2 halves, since ** comes before /: put 1 / 2 into brackets",
        ),
        (
            _norms(lambda norms: norms.sum().sqrt()),
            "the root of added norms: square each of them before you add",
        ),
        (
            _norms(lambda norms: norms.square().sum().sqrt() / len(norms)),
            "the norm is divided by the number of ranks: the pieces are parts of one gradient",
        ),
        (
            lambda shards: [torch.cat([p.flatten() for p in rank]).norm() for rank in shards],
            "that is a norm for each rank: add their squares, and take the root of the sum",
        ),
        (
            _norms(lambda norms: norms[0]),
            "that is rank 0's own norm: the others hold the rest of the gradient",
        ),
        (
            _norms(lambda norms: norms.max()),
            "that is the largest of the ranks' norms: each holds only a part of the gradient",
        ),
        (
            _norms(lambda norms: norms.square().sum()),
            "that is the square of the norm: take the root of it",
        ),
        (
            lambda shards: sum(piece.norm().item() for rank in shards for piece in rank),
            "the norms of all pieces are added: lengths add as their squares do",
        ),
        (
            lambda shards: sum(piece.abs().sum().item() for rank in shards for piece in rank),
            "absolute values are added: square them, and take the root of the sum",
        ),
        (
            lambda shards: sum(piece.sum().item() for rank in shards for piece in rank),
            "the numbers themselves are added, and some are negative: square them first",
        ),
        (
            lambda shards: sum(piece.sum().item() ** 2 for rank in shards for piece in rank) ** 0.5,
            "that squares the sum of a piece: square each number, then add",
        ),
    ),
)


# 08 · how long a step takes


def _timed(hidden=lambda compute, micro_steps: 2 / 3 * compute / micro_steps, together=None):
    """Return a step's time with another hidden part, or put together in another way."""
    together = together or (lambda compute, comm, hidden: compute + max(0.0, comm - hidden))

    def seconds(flops, devices, peak, mfu, comm, micro_steps):
        compute = flops / (devices * peak * mfu)
        return together(compute, comm, hidden(compute, micro_steps))

    return seconds


def _computed(compute):
    """Return a step's time with another formula for the computation."""

    def seconds(flops, devices, peak, mfu, comm, micro_steps):
        time = compute(flops, devices, peak, mfu)
        return time + max(0.0, comm - 2 / 3 * time / micro_steps)

    return seconds


PARTS["08_step_seconds"] = Part(
    solution=step_seconds,
    cases=(
        (6e12, 1, 1e12, 0.5, 0.0, 1),
        (6e12, 4, 1e12, 0.5, 0.0, 4),
        (6e12, 4, 1e12, 0.5, 12.0, 1),
        (6e12, 4, 1e12, 0.5, 1.0, 2),
        (6e12, 4, 1e12, 0.5, 1.4, 3),
        (6e12, 4, 1e12, 0.5, 0.1, 4),
    ),
    mistakes=(
        (
            _computed(lambda flops, devices, peak, mfu: flops / peak / devices * mfu),
            "a low MFU makes the step faster: divide by the share that is reached",
        ),
        (
            _computed(lambda flops, devices, peak, mfu: flops / devices * peak * mfu),
            "without brackets only the first of the three divides: flops / (devices * peak * mfu)",
        ),
        (
            _computed(lambda flops, devices, peak, mfu: flops / (devices * peak)),
            "no card reaches its peak: divide by peak * mfu",
        ),
        (
            lambda flops, devices, peak, mfu, comm, micro_steps: step_seconds(
                micro_steps * flops, devices, peak, mfu, comm, micro_steps
            ),
            "flops are those of the whole step already: don't multiply by micro_steps",
        ),
        (
            lambda flops, devices, peak, mfu, comm, micro_steps: step_seconds(
                flops / micro_steps, devices, peak, mfu, comm, 1
            ),
            "that is the time of one pass: flops are those of the whole step",
        ),
        (
            _computed(lambda flops, devices, peak, mfu: flops / (peak * mfu)),
            "all devices share the work: divide by their number too",
        ),
        (
            _timed(together=lambda compute, comm, hidden: compute + comm),
            "nothing hides: sending begins while the last backward still computes (2 // 3 is 0)",
        ),
        (
            _timed(together=lambda compute, comm, hidden: max(compute, comm)),
            "that hides sending behind the whole step: it can hide behind the last backward only",
        ),
        (
            lambda flops, devices, peak, mfu, comm, micro_steps: step_seconds(
                flops, devices, peak, mfu, comm / devices, micro_steps
            ),
            "comm is what each device needs, and all send at once: don't divide it by devices",
        ),
        (
            _timed(together=lambda compute, comm, hidden: compute),
            "the network costs nothing there: add what of comm is not hidden",
        ),
        (
            _timed(together=lambda compute, comm, hidden: compute + comm - hidden),
            "a fast network makes the step shorter than its computation: what is left of comm is "
            "at least 0",
        ),
        (
            _timed(lambda compute, micro_steps: 2 / 3 * compute),
            "that hides behind the backward of all passes: only the last one sends, so divide by "
            "micro_steps",
        ),
        (
            _timed(lambda compute, micro_steps: compute / micro_steps),
            "that hides behind the last forward too: the backward is two thirds of a pass",
        ),
        (
            _timed(lambda compute, micro_steps: 3 / 2 * compute / micro_steps),
            "that is 3 / 2 of a pass: the backward is 2 / 3 of it",
        ),
        (
            _timed(lambda compute, micro_steps: compute / 3 / micro_steps),
            "a third of a pass is its forward: the backward is the other two",
        ),
    ),
)


# 08 · exercise: the bandwidth that hides


def bandwidth_to_hide(n_bytes, devices, compute, micro_steps):
    return 2 * (devices - 1) / devices * n_bytes / (2 / 3 * compute / micro_steps)


PARTS["08_bandwidth"] = Part(
    solution=bandwidth_to_hide,
    cases=((6e8, 2, 9.0, 1), (6e8, 8, 9.0, 1), (6e8, 8, 9.0, 4)),
    mistakes=(
        (
            lambda n_bytes, devices, compute, micro_steps: (
                n_bytes / (2 / 3 * compute / micro_steps)
            ),
            "a ring sends 2 (W − 1) / W times the gradients: multiply by it",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * (devices - 1) / devices * n_bytes / (2 / 3 * compute)
            ),
            "it must hide behind the last backward alone: divide compute by micro_steps",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * (devices - 1) / devices * n_bytes / (2 / 3 * compute) / micro_steps
            ),
            "more passes leave less time, so more bandwidth is needed: micro_steps divides compute",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * (devices - 1) / devices * n_bytes / compute
            ),
            "that hides behind the whole step: the last backward is 2 / 3 of compute / micro_steps",
        ),
        (
            lambda *given: bandwidth_to_hide(*given) / 2,
            "a ring sends twice, to add up and to hand out: 2 (W − 1) / W times the gradients",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * n_bytes / (2 / 3 * compute / micro_steps)
            ),
            "a ring sends a little less than twice the gradients: 2 (W − 1) / W",
        ),
        (
            lambda *given: 2 * bandwidth_to_hide(*given),
            "a third of a pass is its forward: the backward is the other two",
        ),
        (
            lambda *given: 4 * bandwidth_to_hide(*given),
            "n_bytes are bytes already: don't multiply them by 4",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * (devices - 1) / devices * n_bytes / (compute / micro_steps)
            ),
            "the backward is two thirds of a pass",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 / 3 * compute / micro_steps / (2 * (devices - 1) / devices * n_bytes)
            ),
            "that is seconds a byte: turn the fraction round",
        ),
        (
            lambda n_bytes, devices, compute, micro_steps: (
                2 * (devices - 1) / devices * n_bytes / 2 / 3 * compute / micro_steps
            ),
            "put the seconds that hide into brackets: without, only their 2 divides",
        ),
        (
            lambda *given: 8 * bandwidth_to_hide(*given),
            "that is in bits: bytes / s are asked for",
        ),
        (
            lambda *given: bandwidth_to_hide(*given) / 1e9,
            "that is in GB / s: bytes / s are asked for",
        ),
    ),
    exercise=True,
)
