"""Notebook 04: bf16 by its bits, a scaled step, the scale that follows, the format for a GPU.

Over 250 lines, for the wrong answers that readers give: each is a line of its own here.
"""

import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}
INF, NAN = float("inf"), float("nan")


# Section 1: bf16 by its bits


def to_bf16(x):
    whole = x.view(torch.int32)
    last = whole >> 16 & 1  # of the bits that stay
    return (whole + 0x7FFF + last & -0x10000).view(torch.float32)


def _rounded(x, added=lambda whole: 0x7FFF + (whole >> 16 & 1), kept=-0x10000):
    whole = x.view(torch.int32)
    return (whole + added(whole) & kept).view(torch.float32)


PARTS["04_to_bf16"] = Part(
    solution=to_bf16,
    cpu=True,
    cases=tuple(
        (torch.tensor(numbers),)
        for numbers in (
            [0.1, -0.1, 3.14159, 50257.0],
            [1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 1 + 2.0**-8 + 2.0**-20],  # ties
            [0.0, 1.0, -65504.0, 1e-3, 7e4],
        )
    ),
    mistakes=(
        (
            lambda x: _rounded(x, added=lambda whole: 0),
            "the lower half is cut off, which always rounds towards 0: go to the nearest",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x8000),
            "right but for ties: exactly half way, go to the even neighbour, or sums drift upwards",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x7FFF),
            "half way between two, this always goes towards 0: to the even neighbour, so add 1 "
            "more where the last bit that stays, bit 16, is 1",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x8000 - (whole >> 16 & 1)),
            "half way between two, this goes to the odd neighbour: 1 more where bit 16 is 1, not "
            "where it is 0",
        ),
        (
            lambda x: _rounded(x, added=lambda whole: 0x10000),
            "that adds a whole step of the bits that stay, which rounds away from 0: add half",
        ),
        (
            lambda x: _rounded(x, kept=-1),
            "the lower 16 bits are still there: set them to 0 after the addition",
        ),
        (
            lambda x: _rounded(x, kept=0xFFFF),
            "these are the lower 16 bits: keep the upper ones, & -0x10000",
        ),
        (
            lambda x: _rounded(x, kept=0x7FFF0000),
            "the sign is lost: bit 31 stays too, & -0x10000",
        ),
        (
            torch.zeros_like,
            "every number becomes 0: + binds more tightly than >> and &, so put brackets around "
            "(whole >> 16 & 1)",
        ),
        (
            lambda x: _rounded(x).view(torch.int32).float(),
            ".float() converts the integer: read its bits as a number, .view(torch.float32)",
        ),
        (
            lambda x: _rounded(x).view(torch.int32),
            "these are the bits as an integer: read them as a number, .view(torch.float32)",
        ),
        (
            lambda x: _rounded(x.int().view(torch.float32)),
            ".to(torch.int32) and .int() make whole numbers of them: .view(torch.int32) reads the "
            "bits",
        ),
        (
            lambda x: _rounded(x.int().view(torch.float32)).view(torch.int32).float(),
            ".to(torch.int32) converts, and .float() converts back: .view reads the bits, before "
            "and after",
        ),
        (
            lambda x: _rounded(x.int().float()),
            ".int() cuts off what stands after the point: .view(torch.int32) reads the bits",
        ),
        (
            lambda x: x.half().float(),
            "this is fp16: it has 10 mantissa bits. bf16 is the upper half of fp32's 32 bits",
        ),
    ),
    forbidden={torch.bfloat16: "the cast to bf16 is what you write here: with integers alone"},
    tolerance=0.0,
)


# Section 4: one scaled step


def scaled_step(compute_loss, weights, optimizer, scaler):
    optimizer.zero_grad()
    loss = compute_loss()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


class _Scaler:
    """What PyTorch's GradScaler does, in numbers that can be compared after the step.

    That one knows its optimizers by their address in memory, which no two runs share.
    """

    def __init__(self, scale):
        self.now, self.finite = scale, None  # None: nothing is unscaled yet
        self.updated = False

    def __repr__(self):
        return f"a scale of {self.now:g}"

    def get_scale(self):
        return self.now

    def scale(self, loss):
        return loss * self.now

    def unscale_(self, optimizer):
        if self.finite is not None:
            raise RuntimeError("unscale_() was already called on this optimizer in this step")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        grads = [grad.div_(self.now) for grad in grads if grad is not None]
        self.finite = all(grad.isfinite().all().item() for grad in grads)

    def step(self, optimizer):
        if self.finite is None:
            self.unscale_(optimizer)
        if self.finite:
            optimizer.step()

    def update(self):
        if self.finite is None:
            before = "update()" if self.updated else "no unscale_() and no step()"
            raise AssertionError(f"update() with {before} before it")
        self.now, self.finite = self.now if self.finite else self.now / 2, None
        self.updated = True


class _SGD(torch.optim.SGD):
    def __repr__(self):
        return "SGD"


class _Loss:
    """A loss of two weights, whose gradients are `slopes`."""

    def __init__(self, weights, slopes):
        self.weights, self.slopes = weights, [torch.tensor(slope) for slope in slopes]

    def __repr__(self):
        return f"a loss with the gradients {[slope.tolist() for slope in self.slopes]}"

    def __call__(self):
        products = zip(self.weights, self.slopes, strict=True)
        return sum((weight * slope).sum() for weight, slope in products) + 3.0

    def __eq__(self, other):  # whether the weights are the same is asked where they are an argument
        return all(map(torch.equal, self.slopes, other.slopes))


def _case(slopes, scale):
    weights = [torch.tensor(first, requires_grad=True) for first in ([0.5, -0.25], [1.0])]
    for weight in weights:
        weight.grad = torch.full_like(weight, 7.0)  # of the step before
    return _Loss(weights, slopes), weights, _SGD(weights, lr=0.5), _Scaler(scale)


def _loss_and_norm(value):
    return dict(zip(("the loss", "the norm"), value, strict=True))


def _after_the_step(arguments):
    _, weights, _, scaler = arguments
    return {
        "the first weights": weights[0],
        "the second": weights[1],
        "the scale": scaler.now,
        "scaler.update() comes last": scaler.updated and scaler.finite is None,
    }


def _in_order(order, result="loss norm"):
    """Return a step that does what `order` names, and returns what `result` names."""

    def step(compute_loss, weights, optimizer, scaler):
        now, found = None, {}
        for name in order.split():
            if name == "zero_grad":
                optimizer.zero_grad()
            elif name == "loss":
                now = found["graph"] = compute_loss()
                found["loss"] = now.item()
            elif name == "scale":
                now = scaler.scale(now)
                found["scaled"] = now.item()
            elif name == "backward":
                now.backward()
            elif name == "unscale_":
                scaler.unscale_(optimizer)
            elif name == "clip":
                found["norm"] = clip_grad_norm_(weights, 1.0).item()
            elif name == "look":
                found["norm"] = clip_grad_norm_(weights, INF).item()
            elif name == "look_again":
                found["short"] = clip_grad_norm_(weights, INF).item()
            elif name == "clip_values":
                clip_grad_value_(weights, 1.0)
            elif name == "clip_each":
                for weight in weights:
                    clip_grad_norm_([weight], 1.0)
            elif name == "lengthen":
                for weight in weights:
                    weight.grad /= found["norm"]
            elif name == "divide":
                for weight in weights:
                    weight.grad /= scaler.get_scale()
            elif name == "optimizer":
                optimizer.step()
            elif name == "step":
                scaler.step(optimizer)
            elif name == "update":
                scaler.update()
        values = tuple(found[name] for name in result.split())
        return values if len(values) > 1 else values[0]

    return step


_ORDER = "zero_grad loss scale backward unscale_ clip step update"
PARTS["04_scaled_step"] = Part(
    solution=scaled_step,
    cases=(
        _case([[3.0, 4.0], [12.0]], 1024.0),
        _case([[0.3, -0.4], [0.2]], 65536.0),
        _case([[3e10, 4.0], [2.0]], 2.0**100),  # too large once scaled: a step to skip
    ),
    seen=_loss_and_norm,
    left=_after_the_step,
    mistakes=(
        (
            _in_order("zero_grad loss scale backward clip step update"),
            "clipped before scaler.unscale_(optimizer): the norm is still `scale` times too large, "
            "and what clipping leaves is then divided by the scale",
        ),
        (
            _in_order("zero_grad loss backward unscale_ clip step update"),
            "the loss was not scaled: scaler.scale(loss).backward(), since unscale_ divides",
        ),
        (
            _in_order("zero_grad loss backward clip optimizer"),
            "the scaler is left out: scale the loss, unscale_ the gradients, then scaler.step and "
            "scaler.update",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ step clip update"),
            "nothing was clipped before the step: torch.nn.utils.clip_grad_norm_(weights, 1.0)",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ look clip_values step update"),
            "each number was clipped alone, which turns the gradient's direction: "
            "clip_grad_norm_(weights, 1.0) shortens it as a whole",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip_values look step update"),
            "clip_grad_value_ clips each number alone and turns the gradient's direction: "
            "clip_grad_norm_(weights, 1.0) shortens it as a whole",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ look clip_each step update"),
            "each tensor was clipped alone: one call with all weights shortens the gradient as a "
            "whole",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ look lengthen step update"),
            "a short gradient was made longer: divide by the norm only where it is above 1, as "
            "clip_grad_norm_ does",
        ),
        (
            _in_order("zero_grad loss scale backward divide clip step update"),
            "divided by hand, which scaler.step(optimizer) can't know, so it divides again: "
            "scaler.unscale_(optimizer)",
        ),
        (
            _in_order("zero_grad loss scale unscale_ backward clip step update"),
            "unscale_ came before backward(): there was no gradient yet to divide",
        ),
        (
            _in_order("zero_grad loss scale backward look unscale_ step update"),
            "that is the norm before scaler.unscale_(optimizer), `scale` times too large: clip and "
            "take it after",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ unscale_ clip step update"),
            "unscale_ comes once in a step: a second one would divide again",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip step step update"),
            "scaler.step(optimizer) comes once: a second one moves the weights again",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip step update update"),
            "scaler.update() comes once, at the end",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip update step"),
            "scaler.update() comes after scaler.step(optimizer): it forgets what unscale_ found",
        ),
        (
            _in_order("zero_grad loss scale backward clip optimizer update"),
            "nobody has divided by the scale: scaler.unscale_(optimizer) before clipping, and "
            "scaler.step(optimizer)",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip step"),
            "scaler.update() is missing at the end: the scale would never change, and the next "
            "unscale_ fails",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip optimizer update"),
            "optimizer.step() steps in any case: scaler.step(optimizer) skips a step whose "
            "gradient is not finite",
        ),
        (
            _in_order("loss scale backward unscale_ clip step update"),
            "the gradients of the step before are still there: optimizer.zero_grad() comes before "
            "backward, and not only at the end",
        ),
        (
            _in_order("loss scale backward zero_grad unscale_ clip step update"),
            "zero_grad() after backward() clears what backward has made: it comes before",
        ),
        (
            _in_order("loss scale backward unscale_ clip zero_grad step update"),
            "zero_grad() just before the step clears the gradient that the step needs: it comes "
            "first",
        ),
        (
            _in_order("zero_grad loss scale backward unscale_ clip update"),
            "the weights never move: scaler.step(optimizer) is missing",
        ),
        (
            _in_order(_ORDER, "scaled norm"),
            "that is the scaled loss: scale only what goes into backward, and return loss.item()",
        ),
        (
            _in_order(_ORDER.replace("clip", "clip look_again"), "loss short"),
            "that is the norm after clipping: clip_grad_norm_ returns the one before",
        ),
        (
            _in_order(_ORDER, "graph norm"),
            "the loss still holds its graph, and all activations: return loss.item()",
        ),
        (_in_order(_ORDER, "loss"), "return both numbers, the loss and the norm"),
        (_in_order(_ORDER, "norm loss"), "the other way round: first the loss, then the norm"),
    ),
)


# Section 4: the scale after a step


def rescale(grads, scale, good, interval):
    if not all(grad.isfinite().all() for grad in grads):
        return True, scale / 2, 0
    if good + 1 == interval:
        return False, scale * 2, 0
    return False, scale, good + 1


def _rescale(grads, scale, good, interval, finite=torch.isfinite, of=all, down=0.5, up=2.0, **then):
    """Do it with other rules: `then` says what good becomes, and when the scale grows."""
    if not of(finite(grad).all() for grad in grads):
        return True, scale * down, then.get("after_skip", 0)
    if good + 1 == interval + then.get("late", 0):
        return False, scale * up, then.get("after_growth", 0)
    return False, scale, good + 1


def _whole(grad):
    return torch.tensor([1.0, -2.0, grad])


def _square(grad):
    return torch.tensor([[3.0, grad], [-4.0, 5.0]])


PARTS["04_rescale"] = Part(
    solution=rescale,
    cases=(
        ([_whole(0.5)], 1024.0, 3, 10),
        ([_whole(INF)], 1024.0, 3, 10),
        ([_whole(NAN)], 1024.0, 3, 10),
        ([_whole(-INF)], 1024.0, 3, 10),
        ([_whole(0.5), _square(INF)], 1024.0, 3, 10),
        ([_whole(INF), _square(0.5)], 1024.0, 9, 10),
        ([_whole(INF)], 0.75, 3, 10),
        ([_whole(0.5), _square(0.0)], 1024.0, 9, 10),
        ([_whole(7e4)], 65536.0, 0, 2000),
        ([_whole(0.5)], 1024.0, 8, 10),
    ),
    mistakes=(
        (
            lambda *a: _rescale(*a, finite=lambda g: ~g.isnan()),
            "isnan misses inf: isfinite() is False for both",
        ),
        (
            lambda *a: _rescale(*a, finite=lambda g: ~g.isinf()),
            "isinf misses nan: isfinite() is False for both",
        ),
        (
            lambda *a: _rescale(*a, finite=lambda g: g.max().isfinite()),
            "the largest number doesn't show -inf: every number must be finite",
        ),
        (
            lambda grads, *a: _rescale(grads[:1], *a),
            "only the first tensor was looked at: one bad number anywhere spoils the step",
        ),
        (
            lambda grads, *a: _rescale(grads[-1:], *a),
            "only the last tensor was looked at: a bad number in any of them spoils the step",
        ),
        (
            lambda grads, *a: _rescale([torch.stack(grads)], *a),
            "the tensors have different shapes, so they can't be stacked: ask one after the other",
        ),
        (
            lambda grads, *a: _rescale([torch.cat(grads)], *a),
            "the tensors have different shapes, so they can't be joined: ask one after the other",
        ),
        (
            lambda *a: _rescale(*a, finite=lambda g: g.isfinite().any()),
            "any() is True if a single number is finite: all of them must be, .isfinite().all()",
        ),
        (
            lambda *a: _rescale(*a, finite=lambda g: ~(g.abs() > 65504)),
            "no comparison with nan is True, so this misses it, and in fp32 a gradient may pass "
            "65,504: isfinite()",
        ),
        (
            lambda *a: _rescale(*a, of=any),
            "the step is skipped only if all tensors are bad: one bad number spoils it",
        ),
        (
            lambda *a: _rescale(*a, up=1.0),
            "after `interval` good steps in a row the scale doubles",
        ),
        (
            lambda *a: _rescale(*a, down=1.0),
            "skipped, but with the same scale the next step overflows too: halve it",
        ),
        (
            lambda *a: _rescale(*a, down=2.0),
            "the scale was too large, so it is halved, not doubled",
        ),
        (
            lambda grads, scale, *a: (
                found if not (found := _rescale(grads, scale, *a))[0] else (True, scale // 2, 0)
            ),
            "// drops what stands after the point, and a scale may fall below 1: divide with /",
        ),
        (
            lambda grads, scale, *a: (
                (found := _rescale(grads, scale, *a))[0],
                max(found[1], 1.0),
                found[2],
            ),
            "a scale may fall below 1: halve it whatever it is",
        ),
        (
            lambda grads, scale, *a: (
                found if (found := _rescale(grads, scale, *a))[0] else (False, scale * 2, found[2])
            ),
            "that doubles at every good step: only after `interval` of them in a row",
        ),
        (
            lambda grads, scale, good, interval: _rescale(
                grads, scale, good, interval, after_skip=good
            ),
            "good steps *in a row*: a skipped step sets the count back to 0",
        ),
        (
            lambda grads, scale, good, interval: _rescale(
                grads, scale, good, interval, after_growth=good + 1
            ),
            "after the scale has doubled, the count begins again at 0",
        ),
        (
            lambda *a: _rescale(*a, late=1),
            "the scale doubles here: with this step good + 1 in a row are good, and that is "
            "`interval`",
        ),
        (
            lambda grads, scale, good, interval: (
                *(found := _rescale(grads, scale, good, interval))[:2],
                good if found[2] else 0,
            ),
            "a good step counts: return good + 1",
        ),
        (
            lambda *a: (not (found := _rescale(*a))[0], *found[1:]),
            "the other way round: True where the step is skipped",
        ),
        (
            lambda *a: _rescale(*a)[1:],
            "return three things: whether the step is skipped, the scale, the count",
        ),
        (
            lambda *a: ((found := _rescale(*a))[0], found[2], found[1]),
            "the order: whether the step is skipped, then the scale, then the count",
        ),
    ),
)


# Section 5: the format for a GPU


def pick_dtype(capability):
    if capability is None or capability < (7, 0):
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16"


def _pick(capability, bf16=lambda c: c >= (8, 0), fp16=lambda c: c >= (7, 0), none="fp32"):
    if capability is None:
        return none
    return "bf16" if bf16(capability) else "fp16" if fp16(capability) else "fp32"


PARTS["04_pick_dtype"] = Part(
    solution=pick_dtype,
    cases=tuple(
        (capability,)
        for capability in (
            (7, 5),
            *((8, 0), (8, 6), (8, 9), (9, 0), (7, 0), (6, 0), (6, 1), (10, 0), (12, 0)),
            None,
        )
    ),
    mistakes=(
        (
            lambda c: _pick(c, bf16=lambda c: c >= (7, 0)),
            "a T4 (7.5) and a V100 (7.0) have no bf16 units: they emulate it, as slow as fp32",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: True),
            "every GPU gets bf16, as is_bf16_supported() would say: below 8.0 it is emulated",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c > (8, 0)),
            "8.0 is the A100, the first with bf16 units: it belongs to them, so >= and not >",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c == (8, 0)),
            "8.6, 8.9, 9.0 and later have bf16 units too: compare with >=, not with ==",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c[0] == 8),
            "9.0 and later have bf16 units too: compare with >=, not with ==",
        ),
        (
            lambda c: "fp32" if c is None else {7: "fp16", 8: "bf16"}.get(c[0], "fp32"),
            "9.0 and later have bf16 units too: compare with >=, not for 7 and 8 alone",
        ),
        (
            lambda c: {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}[pick_dtype(c)],
            "the right format under PyTorch's name: return 'bf16', 'fp16' or 'fp32'",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: "{}.{}".format(*c) >= "8.0"),
            "these are numbers, not words: as text, '10.0' stands before '8.0'. Compare tuples",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: False),
            "from 8.0 on bf16 is as fast as fp16 and has fp32's range: no scaler is needed",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: True),
            "below 7.0 there are no matrix units for fp16: the risk without the speed, so fp32",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: c > (7, 0)),
            "7.0 is the V100, the first with matrix units for fp16: it belongs to them, so >=",
        ),
        (
            lambda c: _pick(c, fp16=lambda c: False),
            "from 7.0 on there are matrix units for fp16: a T4 (7.5) wants it, with a scaler",
        ),
        (
            lambda c: {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[
                pick_dtype(c)
            ],
            "the right format, but return its name, a string such as 'bf16'",
        ),
        (lambda c: _pick(c, none=None), "without a GPU, for None, return 'fp32'"),
        (lambda c: _pick(c, none="bf16"), "without a GPU, for None, return 'fp32', not 'bf16'"),
        (
            lambda c: "bf16" if c >= (8, 0) else "fp16" if c >= (7, 0) else "fp32",
            "None can't be compared with a tuple: ask for it first, and return 'fp32'",
        ),
        (
            lambda c: "fp32" if c < (7, 0) or c is None else pick_dtype(c),
            "None is asked for too late: it can't be compared with a tuple, so ask for it first",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: c >= 8.0),
            "a capability is a pair of integers, (7, 5), no float: compare it with (8, 0)",
        ),
        (
            lambda c: _pick(c, bf16=lambda c: not c < 7.0),
            "a capability is a pair of integers, (7, 5), no float: compare it with (7, 0)",
        ),
    ),
)


# The exercise: rounding by chance


def stochastic(x):
    whole = x.view(torch.int32)
    noise = torch.randint_like(whole, 0x10000)  # one draw for each number
    return (whole + noise & -0x10000).view(torch.float32)


def _noisy(x, noise, kept=-0x10000):
    whole = x.view(torch.int32)
    return (whole + noise(whole) & kept).view(torch.float32)


def _any(whole):
    return torch.randint_like(whole, 0x10000)


STEP = 2.0**-7  # between two bf16 numbers from 1 to 2
# Places between two neighbours. The draws that a single random number gives from the judge's seed,
# 0.04 and 0.496, move another set of them than rounding to the nearest, or cutting off.
PLACES = torch.tensor([0.05, 0.15, 0.25, 0.35, 0.45, 0.502, 0.65, 0.75, 0.85, 0.97])
PLACED = torch.tensor([1 + 3 * STEP, -1 - 4 * STEP]).repeat(5)  # the lower of the two, in size
NUMBERS = (PLACED + PLACED.sign() * STEP * PLACES).repeat_interleave(5000)
COPIES = torch.cat([NUMBERS, torch.full((5000,), 1.5)])


def _moves(rounded):
    """Return how far copies of one number move on average, in steps between two neighbours.

    If all copies move alike, no chance was in it: return which rule it was.
    """
    if len(rounded) != len(COPIES):
        return {"numbers that bf16 has": rounded.tolist()}
    groups = rounded.double().view(-1, 5000)
    bf16 = (rounded.view(torch.int32) % 0x10000 == 0).double().mean().item()
    found = {"the share of bf16 numbers": bf16, "what becomes of 1.5": groups[-1].mean().item()}
    up = ((groups[:-1] - PLACED[:, None]) / STEP * PLACED.sign()[:, None]).mean(1)
    if (groups == groups[:, :1]).all():
        rules = {"cut": torch.zeros(10), "nearest": PLACES > 0.5}
        same = (name for name, rule in rules.items() if torch.allclose(up, rule.double()))
        return {"all copies of a number": f"move alike ({next(same, 'another rule')})", **found}
    moved = {
        f"between two neighbours, at {place:.2f}": u.item()
        for place, u in zip(PLACES, up, strict=True)
        if abs(place - 0.5) > 0.01  # there a share near 0 may be expected of a wrong rule
    }
    return {"all copies of a number": "move by chance", **found, **moved}


PARTS["04_stochastic"] = Part(
    solution=stochastic,
    cpu=True,
    exercise=True,
    cases=((COPIES,), (torch.tensor([0.0, 1.0, -2.5]),)),
    seen=_moves,
    tolerance=0.3,  # of 5,000 copies 5 % move, give or take 0.3 %
    mistakes=(
        (to_bf16, "this rounds to the nearest: the same number each time"),
        (
            lambda x: _noisy(x, torch.zeros_like),
            "the lower half is cut off: add random bits to it first",
        ),
        (
            lambda x: _noisy(x, lambda w: torch.full_like(w, 0x6000)),
            "one draw for all numbers: each needs its own, torch.randint_like(whole, 0x10000)",
        ),
        (
            lambda x: _noisy(x, _any, kept=-1),
            "the lower 16 bits are still there: set them to 0 after the addition",
        ),
        (
            lambda x: _noisy(x, lambda w: _any(w) + 0x7FFF + (w >> 16 & 1)),
            "the half of to_bf16 is still added: the random bits come in its place",
        ),
        (
            lambda x: _noisy(x, lambda w: torch.randint_like(w, 0x8000)),
            "random bits up to 0x7FFF reach only half a step: the largest is 0xFFFF",
        ),
        (
            lambda x: _noisy(x, lambda w: torch.randint_like(w, -0x8000, 0x8000)),
            "random bits of both signs also go down a whole step: from 0 to 0xFFFF",
        ),
        (
            lambda x: _noisy(x, lambda w: 0xFFFF - 2 * (w & 0xFFFF) + _any(w)),
            "the chance is the wrong way round: the nearer neighbour must come more often",
        ),
        (
            lambda x: _noisy(x, _any, kept=0x7FFF0000),
            "the sign is lost: bit 31 stays too, & -0x10000",
        ),
        (
            lambda x: stochastic(x).view(torch.int32).float(),
            ".float() converts the integer: read its bits as a number, .view(torch.float32)",
        ),
        (
            lambda x: _noisy(x, lambda w: torch.randint_like(w, 2) * 0x10000),
            "up or down by a coin, wherever the number lies: the nearer neighbour must come "
            "more often, in proportion",
        ),
    ),
    forbidden={torch.bfloat16: "the cast to bf16 rounds to the nearest: work with integers"},
)
