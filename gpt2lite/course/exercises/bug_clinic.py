"""Notebook 09: ten checks, each told from the ones that a silent bug gets past.

A case is a program, healthy or sick; the solution says which. Over 250 lines, for the checks that
readers write and that miss something.
"""

import numpy as np
import torch
import torch.nn.functional as F

from gpt2lite.course import clinic
from gpt2lite.course.clinic import Patient, small
from gpt2lite.course.exercises import Part
from gpt2lite.model import GPT

PARTS: dict[str, Part] = {}


def _verdict(value):
    """Return a verdict of any type as True or False."""
    if isinstance(value, torch.Tensor | np.bool_):
        return bool(value)
    return value


def _check(solution, cases, mistakes, **more) -> Part:
    """Return a part that is a check: True for what is healthy. It may change what it examines."""
    return Part(solution, cases, mistakes, cpu=True, seen=_verdict, left=lambda _: (), **more)


# 09 · does a model know where a token stands?


def knows_order(model):
    model.eval()  # dropout would make every row different
    logits = model(torch.zeros(1, 4, dtype=torch.long))[0]  # one token, four times
    return not torch.allclose(logits[0], logits[-1], atol=1e-4)


def _order(idx=(0, 0, 0, 0), evaluating=True, differ=None):
    """Return a check like `knows_order` with another text, mode or comparison."""
    differ = differ or (lambda rows: not torch.allclose(rows[0], rows[-1], atol=1e-4))

    def check(model):
        model.train(not evaluating)
        return differ(model(torch.tensor([idx]))[0])

    return check


def _exchanged(model):
    model.eval()
    rows = [model(torch.tensor([idx]))[0, -1] for idx in ([1, 2, 3], [2, 1, 3])]
    return not torch.allclose(*rows, atol=1e-4)


PARTS["09_knows_order"] = _check(
    knows_order,
    cases=(
        (small("a GPT"),),
        (small("a model whose tokens all stand at position 0", clinic.stuck_positions),),
        (small("a model that adds no positions", clinic.no_positions),),
        (small("a model with dropout and no positions", clinic.no_positions, dropout=0.1),),
        (small("a GPT with dropout", dropout=0.1),),
        (small("one layer without positions", clinic.no_positions, n_layer=1),),
        (small("positions too faint to be more than rounding", clinic.faint_positions),),
    ),
    mistakes=(
        (
            _order(differ=lambda rows: not torch.allclose(rows[0], rows[-1])),
            "rounding alone passes for a difference: allow for it, with atol=1e-4",
        ),
        (
            lambda model: False,
            "a GPT fails, which knows the order: is the comparison of its rows too strict, or "
            "not of one row with another?",
        ),
        (
            _exchanged,
            "a causal model without positions tells these two orders apart as well: in [1, 2, "
            "3] token 2 sees token 1, in [2, 1, 3] it doesn't. Repeat one token instead",
        ),
        (
            _order((0, 1, 2, 3)),
            "every model passes: other tokens make rows differ, and so does rounding. Repeat "
            "one token, and compare its logits at two places with torch.allclose(..., "
            "atol=1e-5)",
        ),
        (
            _order(evaluating=False),
            "dropout makes the rows differ, whatever the positions do: call model.eval() first",
        ),
        (
            lambda model: bool(model.wpe.weight.std() > 0),
            "the table of positions is there; whether it is used shows in the logits alone",
        ),
        (
            lambda model: not knows_order(model),
            "True and False are exchanged: True is for the model that is fine",
        ),
    ),
)


# 09 · does a model see later tokens?


def sees_no_future(model):
    idx = torch.arange(8)[None]
    other = idx.clone()
    other[0, -1] = 9  # another last token
    for mode in (False, True):
        model.train(mode)
        logits = []
        for tokens in (idx, other):
            torch.manual_seed(0)  # the same dropout for both
            logits.append(model(tokens)[:, :-1])
        if not torch.allclose(*logits, atol=1e-5):
            return False
    return True


def _future(modes=(False, True), seeded=True, change=-1, seen=slice(None, -1)):
    """Return a check like `sees_no_future` that changes or compares something else."""

    def check(model):
        idx = torch.arange(8)[None]
        other = idx.clone()
        other[0, change] = 9
        for mode in modes:
            if mode is not None:
                model.train(mode)
            logits = []
            for tokens in (idx, other):
                if seeded:
                    torch.manual_seed(0)
                logits.append(model(tokens)[:, seen])
            if not torch.allclose(*logits, atol=1e-5):
                return False
        return True

    return check


_EVALUATED = small(
    "a model that loses its mask in training, and is in evaluation now",
    clinic.attention_of(clinic.OpenInTraining),
)
_EVALUATED.eval()
_WIDE = clinic.both(clinic.large_scores, clinic.attention_of(clinic.MaskedByTenThousand))

PARTS["09_sees_no_future"] = _check(
    sees_no_future,
    cases=(
        (small("a GPT"),),
        (small("a model that sees one token ahead", clinic.attention_of(clinic.OpenMask)),),
        (
            small(
                "a model that loses its mask in training",
                clinic.attention_of(clinic.OpenInTraining),
                dropout=0.1,
            ),
        ),
        (small("a GPT with dropout", dropout=0.1),),
        (_EVALUATED,),
        (
            small(
                "a model that loses its mask in evaluation",
                clinic.attention_of(clinic.OpenInEvaluation),
            ),
        ),
        (small("a model whose mask is −10,000, and whose scores are larger", _WIDE),),
        (small("a GPT whose scores are large", clinic.large_scores),),
    ),
    mistakes=(
        (
            lambda model: False,
            "a GPT fails, which sees nothing of the future: change the last token, compare the "
            "logits of the places before it, and allow for rounding",
        ),
        (
            _future(modes=(False,)),
            "this model loses its mask in training only: try model.train() too",
        ),
        (
            _future(modes=(True,)),
            "this model loses its mask in evaluation only: try model.eval() too",
        ),
        (
            _future(modes=(None,)),
            "in the mode that it came in this model is right: try both, model.train() and "
            "model.eval()",
        ),
        (
            _future(seeded=False),
            "dropout draws anew in each pass, in attention too: set the same seed before both",
        ),
        (
            _future(seen=slice(0, 1)),
            "that looks at the first place alone, and this model sees one token ahead: compare "
            "all places before the last",
        ),
        (
            lambda model: not sees_no_future(model),
            "True and False are exchanged: True is for the model that is fine",
        ),
        (
            lambda model: True,
            "every model passes: change the last token, and compare the logits of all places "
            "before it within 1e-5",
        ),
    ),
)


# 09 · is it GPT-2's GELU?


def is_gpt2s_gelu(gelu):
    x = torch.linspace(-4, 4, 101)
    inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
    return torch.allclose(gelu(x), 0.5 * x * (1 + torch.tanh(inner)), atol=1e-5)


def _gelu(x=None, atol=1e-5, form="tanh"):
    """Return a check like `is_gpt2s_gelu` at other places, or within another tolerance."""
    x = torch.linspace(-4, 4, 101) if x is None else torch.tensor(x)
    return lambda gelu: torch.allclose(gelu(x), F.gelu(x, approximate=form), rtol=0, atol=atol)


def _by_formula(x):
    return x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * x * (1 + 0.044715 * x * x)))


PARTS["09_gelu"] = _check(
    is_gpt2s_gelu,
    cases=(
        (Patient("GELU in GPT-2's form", clinic.tanh_gelu),),
        (Patient("GELU in its exact form, by erf", F.gelu),),
        (Patient("x * sigmoid(1.702 x)", lambda x: x * torch.sigmoid(1.702 * x)),),
        (Patient("GPT-2's form, written out", _by_formula),),
        (Patient("ReLU", F.relu),),
    ),
    mistakes=(
        (
            lambda gelu: not torch.allclose(gelu(x := torch.linspace(-4, 4, 101)), F.gelu(x)),
            "whatever is not the form by erf passes, ReLU too: compare with GPT-2's own form",
        ),
        (
            lambda gelu: False,
            "GPT-2's own form fails: is there a slip in the formula, which is 0.8412 at x = 1? "
            "Or is the comparison too strict?",
        ),
        (
            _gelu(atol=1e-3),
            "the form by erf passes, which is at most 0.0005 away: compare from -4 to 4, within "
            "1e-5",
        ),
        (
            _gelu(form="none"),
            "F.gelu(x) is the form by erf: GPT-2's is F.gelu(x, approximate='tanh')",
        ),
        (
            _gelu(x=[0.0, 1e-3, -1e-3]),
            "only ReLU is caught: near 0 the others agree, so compare from -4 to 4",
        ),
        (
            _gelu(x=[-20.0, 20.0]),
            "all of them pass, even ReLU: compare the values from -4 to 4",
        ),
        (
            lambda gelu: not is_gpt2s_gelu(gelu),
            "True and False are exchanged: True is for the form that GPT-2 has",
        ),
    ),
)


# 09 · are the targets the next tokens?


def fits_targets(get_batch):
    x, y = get_batch(torch.arange(100))  # a text that counts: after n comes n + 1
    return torch.equal(y, x + 1)


def _targets(fits, tokens=None):
    """Return a check of a batch by another comparison, or on another text."""
    tokens = torch.arange(100) if tokens is None else tokens
    return lambda get_batch: bool(fits(*get_batch(tokens)))


PARTS["09_targets"] = _check(
    fits_targets,
    cases=(
        (Patient("batches of next tokens", clinic.next_tokens),),
        (
            Patient(
                "targets that are the inputs", lambda tokens: (clinic.next_tokens(tokens)[0],) * 2
            ),
        ),
        (Patient("targets that are shifted twice", clinic.shifted_twice),),
        (Patient("rows rolled by one, whose last target is their first token", clinic.rolled),),
        (Patient("batches from random places", clinic.random_rows),),
        (Patient("targets of other rows", clinic.rows_exchanged),),
        (Patient("targets that are shifted in the last place alone", clinic.last_column_alone),),
        (Patient("a last row with the targets of the first", clinic.last_row_is_first),),
    ),
    mistakes=(
        (
            lambda get_batch: False,
            "batches of next tokens fail: in a text that counts, y is x + 1",
        ),
        (
            _targets(lambda x, y: x.shape == y.shape),
            "all of them pass: take a text that counts, such as torch.arange(100), and compare "
            "the tokens themselves",
        ),
        (
            _targets(lambda x, y: not torch.equal(x, y)),
            "they differ from the inputs, but by two tokens: which number must stand there?",
        ),
        (
            _targets(lambda x, y: torch.equal(y[:, :-1], x[:, 1:])),
            "rolled rows pass, whose last target alone is wrong: compare all targets",
        ),
        (
            _targets(lambda x, y: torch.equal(y[:, -1], x[:, -1] + 1)),
            "targets that are right in the last place alone pass: compare all targets",
        ),
        (
            _targets(lambda x, y: torch.equal(y[0], x[0] + 1)),
            "a batch whose first row alone is right passes: compare all rows",
        ),
    ),
)


# 09 · does a reader go on where it was?


def goes_on(make):
    reader = make()
    for _ in range(5):  # into the third shard
        next(reader)
    state = reader.state_dict()
    again = make()
    again.load_state_dict(state)
    return torch.equal(next(again), next(reader))


def _resumed(rows=5, same=lambda reader, again: torch.equal(next(again), next(reader))):
    """Return a check like `goes_on` that stops elsewhere, or compares something else."""

    def check(make):
        reader = make()
        for _ in range(rows):
            next(reader)
        state = reader.state_dict()
        again = make()
        again.load_state_dict(state)
        return same(reader, again)

    return check


PARTS["09_goes_on"] = _check(
    goes_on,
    cases=(
        (Patient("a reader that goes on where it was", clinic.Reader),),
        (Patient("a reader that starts over", clinic.StartsOver),),
        (Patient("a reader that forgets the shard", clinic.ForgetsTheShard),),
        (Patient("a reader that skips the row it has fetched ahead", clinic.SavesWhatIsFetched),),
        (Patient("a reader that draws a new order of its shards", clinic.DrawsANewOrder),),
        (Patient("a reader of other shards", clinic.OfOtherShards),),
    ),
    mistakes=(
        (
            lambda make: False,
            "a reader that goes on where it was fails: save its state and load it into a new "
            "one before either reads on, then compare one row of each",
        ),
        (
            _resumed(rows=0),
            "at the very beginning even a reader that starts over is right: read some rows first",
        ),
        (
            _resumed(rows=1),
            "a reader that forgets the shard passes: read 5 rows, into another shard, and load "
            "into a new reader, which knows nothing",
        ),
        (
            _resumed(same=lambda reader, again: reader.state_dict() == again.state_dict()),
            "the states agree, and still other rows come: compare what `next` returns",
        ),
        (
            _resumed(same=lambda reader, again: next(reader).shape == next(again).shape),
            "the shapes agree whatever is read: compare the tokens",
        ),
        (
            lambda make: not goes_on(make),
            "True and False are exchanged: True is for the reader that goes on where it was",
        ),
    ),
)


# 09 · does the loss scale leave the gradient alone?


def scale_free(step):
    return torch.allclose(step(1.0), step(65536.0))


def _steps(same, scales=(1.0, 65536.0)):
    """Return a check of the gradients at two scales by another comparison."""
    return lambda step: bool(same(*(step(scale) for scale in scales)))


PARTS["09_scale_free"] = _check(
    scale_free,
    cases=(
        (Patient("unscale, then clip", clinic.clipped_step("unscale, clip")),),
        (Patient("clip, then unscale", clinic.clipped_step("clip, unscale")),),
        (Patient("never unscale, and clip nothing", clinic.clipped_step("nothing")),),
        (Patient("unscale, and clip nothing", clinic.clipped_step("unscale")),),
        (Patient("unscale twice", clinic.clipped_step("unscale, unscale")),),
    ),
    mistakes=(
        (
            lambda step: False,
            "a right step fails: its gradient is the same at both scales, so compare them as "
            "they are",
        ),
        (
            _steps(lambda a, b: torch.allclose(a, b), (1.0, 1.0)),
            "all of them pass: compare the whole gradients, at the scales 1 and 65536",
        ),
        (
            _steps(lambda a, b: max(a.norm(), b.norm()) < 1.001),
            "gradients of very different sizes pass: compare the two as they are, with the "
            "tolerance that torch.allclose has by itself",
        ),
        (
            lambda step: not scale_free(step),
            "True and False are exchanged: True is for the step whose gradient the scale leaves "
            "alone",
        ),
    ),
)


# 09 · does a validation leave the model as it was?


def comes_back(validate, model):
    for mode in (True, False):
        model.train(mode)
        validate(model)
        if any(part.training != mode for part in model.modules()):
            return False
    return True


def _back(modes=(True, False), parts=lambda model: model.modules(), before=lambda model: None):
    """Return a check like `comes_back` that looks at less."""

    def check(validate, model):
        for mode in modes:
            model.train(mode)
            validate(model)
            before(model)
            if any(part.training != mode for part in parts(model)):
                return False
        return True

    return check


_MODEL = small("", dropout=0.1).program

PARTS["09_comes_back"] = _check(
    comes_back,
    cases=(
        (
            Patient("a validation", clinic.validation(lambda model, before: model.train(before))),
            _MODEL,
        ),
        (
            Patient("a validation that leaves dropout off", clinic.validation(lambda *_: None)),
            _MODEL,
        ),
        (
            Patient(
                "a validation that always ends with model.train()",
                clinic.validation(lambda model, before: model.train()),
            ),
            _MODEL,
        ),
        (
            Patient(
                "a validation that sets model.training, and not that of its parts",
                clinic.validation(clinic.flag_alone),
            ),
            _MODEL,
        ),
    ),
    mistakes=(
        (
            lambda validate, model: False,
            "a validation that puts the mode back fails: after model.train(mode) the flag of "
            "all parts is `mode`",
        ),
        (
            _back(modes=(True,)),
            "a model that was evaluating must stay so: try model.eval() before it too",
        ),
        (
            _back(modes=(False,)),
            "that begins with model.eval() alone: after model.train() dropout must be on again",
        ),
        (
            _back(parts=lambda model: [model]),
            "the model's own flag is right, its dropout's isn't: look at all of model.modules()",
        ),
        (
            _back(modes=(True,), before=lambda model: model.train()),
            "all of them pass: look at model.modules() after the validation, and set nothing "
            "before you look",
        ),
        (
            lambda validate, model: not comes_back(validate, model),
            "True and False are exchanged: True is for the validation that leaves the model as "
            "it was",
        ),
    ),
)


# 09 · is accumulation the mean over all tokens?


def adds_up(gradient):
    x = torch.arange(8).view(2, 4)
    y = torch.tensor([[1, 2, 3, 4], [5, -100, -100, -100]])  # -100 is not counted
    whole = gradient([(x, y)])
    halves = gradient([(x[:1], y[:1]), (x[1:], y[1:])])
    return torch.allclose(whole, halves, atol=1e-6)


def _ragged(y, pieces=1, same=None):
    """Return a check like `adds_up` with other targets, or micro-batches of other sizes."""
    same = same or (lambda a, b: torch.allclose(a, b, atol=1e-6))
    y = torch.tensor(y)
    x = torch.arange(y.numel()).view(y.shape)

    def check(gradient):
        parts = list(zip(x.split(pieces), y.split(pieces), strict=True))
        return bool(same(gradient([(x, y)]), gradient(parts)))

    return check


_FULL = [[1, 2, 3, 4], [5, 6, 7, 8]]
_HOLES = [[1, 2, 3, 4], [5, -100, -100, -100]]

PARTS["09_adds_up"] = _check(
    adds_up,
    cases=(
        (
            Patient(
                "the sum over all tokens, divided by their number",
                clinic.gradient_of(clinic.mean_of_all),
            ),
        ),
        (
            Patient(
                "the mean of the micro-batches' means",
                clinic.gradient_of(clinic.mean_of_means),
            ),
        ),
        (
            Patient(
                "the sum of the micro-batches' means",
                clinic.gradient_of(lambda sums, counts, rows: (sums / counts.clamp(min=1)).sum()),
            ),
        ),
        (
            Patient(
                "means, weighted by their rows",
                clinic.gradient_of(
                    lambda s, n, rows: (s / n.clamp(min=1) * rows / rows.sum()).sum()
                ),
            ),
        ),
        (
            Patient(
                "means, weighted by their tokens",
                clinic.gradient_of(lambda s, n, rows: (s / n.clamp(min=1) * n / n.sum()).sum()),
            ),
        ),
    ),
    mistakes=(
        (
            _ragged([[1, 2, 3, 4], [-100, -100, -100, -100]]),
            "a sum of means passes, since the other micro-batch has no target at all: leave it one",
        ),
        (
            lambda gradient: False,
            "the mean over all tokens fails: compare the gradient of both rows at once with "
            "that of the same rows as two micro-batches",
        ),
        (
            _ragged(_FULL),
            "a mean of means passes, which is right where all micro-batches have as many "
            "targets: give one row fewer",
        ),
        (
            _ragged([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], pieces=2),
            "means that are weighted by their rows pass: give one row fewer targets",
        ),
        (
            _ragged(_HOLES, pieces=2),
            "all of them pass: compare the gradient of both rows at once with that of the rows "
            "one by one",
        ),
        (
            lambda gradient: not adds_up(gradient),
            "True and False are exchanged: True is for the gradient of the mean over all tokens",
        ),
    ),
)


# 09 · is the format right for the card?


def suits_cards(pick):
    t4, a100 = pick((7, 5), True), pick((8, 0), True)  # both say that they support bf16
    return t4 == torch.float16 and a100 == torch.bfloat16


def _cards(t4=True, a100=True, says=True):
    """Return a check like `suits_cards` that asks for less, or for a T4 that says otherwise."""

    def check(pick):
        fine = pick((7, 5), says) == torch.float16 if t4 else True
        return fine and (pick((8, 0), True) == torch.bfloat16 if a100 else True)

    return check


PARTS["09_cards"] = _check(
    suits_cards,
    cases=(
        (Patient("a choice by compute capability", clinic.by_capability),),
        (Patient("a choice by is_bf16_supported()", clinic.by_asking),),
        (Patient("always bf16", lambda capability, says_bf16: torch.bfloat16),),
        (
            Patient(
                "bf16 for the T4, fp16 for the A100",
                lambda capability, says_bf16: (
                    torch.float16 if capability >= (8, 0) else torch.bfloat16
                ),
            ),
        ),
        (Patient("always fp16", lambda capability, says_bf16: torch.float16),),
        (
            Patient(
                "a choice by the first number of the capability",
                lambda capability, says_bf16: (
                    torch.bfloat16 if capability[0] > 7 else torch.float16
                ),
            ),
        ),
    ),
    mistakes=(
        (
            lambda pick: False,
            "a choice that suits both cards fails: a T4 takes torch.float16, an A100 "
            "torch.bfloat16",
        ),
        (
            _cards(a100=False),
            "an A100, (8, 0), has units for bf16 and should get it: ask for that too",
        ),
        (
            _cards(t4=False),
            "a T4, (7, 5), has no units for bf16 and should get fp16: ask for that too",
        ),
        (
            _cards(says=False),
            "a T4 says True when it is asked for bf16, since it emulates it: pass True",
        ),
        (
            lambda pick: pick((7, 5), True) != pick((8, 0), True),
            "two different formats may still be the wrong ones: a T4 takes fp16, an A100 bf16",
        ),
        (
            lambda pick: not suits_cards(pick),
            "True and False are exchanged: True is for the choice that suits both cards",
        ),
    ),
)


# 09 · are the parameters counted right?


def counts_right(count):
    model = GPT(clinic.ODD)  # V = 61
    return count(model) == sum(p.numel() for p in model.parameters())


def _counted(expected=None, **sizes):
    """Return a check like `counts_right` with a model of other sizes, or another number."""

    def check(count):
        model = small("", **({"vocab_size": 61} | sizes)).program
        return bool(count(model) == (expected or clinic.parameters)(model))

    return check


def _tied_twice(model):
    return clinic.parameters(model) + model.wte.weight.numel()


PARTS["09_counts"] = _check(
    counts_right,
    cases=(
        (Patient("a sum over the parameters", clinic.parameters),),
        (Patient("a count with a padded vocabulary", clinic.padded),),
        (Patient("a count with the head, though it is wte itself", _tied_twice),),
        (
            Patient(
                "a count without biases",
                lambda model: sum(p.numel() for p in model.parameters() if p.dim() > 1),
            ),
        ),
        (
            Patient(
                "a sum over the state dict",
                lambda model: sum(p.numel() for p in model.state_dict().values()),
            ),
        ),
    ),
    mistakes=(
        (
            lambda count: False,
            "a right count fails: compare it with the sum of p.numel() over model.parameters(), "
            "of the same model",
        ),
        (
            _counted(vocab_size=64),
            "a count with a padded vocabulary passes: compare exactly, with a model whose "
            "vocabulary is no multiple of 64",
        ),
        (
            _counted(_tied_twice),
            "that counts the head as well: it is wte itself, and has no numbers of its own",
        ),
        (
            lambda count: count(GPT(clinic.ODD)) > 0,
            "all of them pass: the count must be exactly the sum of p.numel() over "
            "model.parameters()",
        ),
        (
            lambda count: not counts_right(count),
            "True and False are exchanged: True is for the count that is right",
        ),
    ),
)


# 09 · exercise: does top-p keep the token that crosses p?


def keeps_crossing(top_p):
    probs = torch.tensor([0.09, 0.5, 0.41])  # 0.5 + 0.41 is the first sum that reaches 0.9
    return top_p(probs, 0.9).tolist() == [False, True, True]


def _nucleus(keep):
    """Return a nucleus: probabilities (V,) and p -> which are kept, by their order and sums."""

    def top_p(probs, p):
        ordered, where = probs.sort(descending=True)
        return torch.zeros(len(probs), dtype=torch.bool).scatter(0, where, keep(ordered, p))

    return top_p


_KEEPS = _nucleus(lambda probs, p: probs.cumsum(0) - probs < p)


def _kept(probs, p, expected):
    return lambda top_p: top_p(torch.tensor(probs), p).tolist() == expected


PARTS["09_crossing"] = _check(
    keeps_crossing,
    cases=(
        (Patient("top-p", _KEEPS),),
        (
            Patient(
                "top-p that drops the token which crosses p",
                _nucleus(lambda probs, p: probs.cumsum(0) <= p),
            ),
        ),
        (
            Patient(
                "top-p that keeps one token too many",
                _nucleus(lambda probs, p: (probs.cumsum(0) - probs).roll(1).clamp(min=0) < p),
            ),
        ),
        (Patient("top-p that doesn't sort", lambda probs, p: probs.cumsum(0) - probs < p),),
    ),
    mistakes=(
        (
            lambda top_p: True,
            "all of them pass: give three probabilities, the smallest first, and compare which "
            "are kept",
        ),
        (
            _kept([0.25, 0.5, 0.125, 0.125], 0.75, [True, True, False, False]),
            "one that drops the token which crosses p passes, since a sum meets p exactly "
            "there: choose a p between two sums",
        ),
        (
            lambda top_p: False,
            "a right top-p fails: it keeps the likeliest tokens up to the one that crosses p, "
            "that one included",
        ),
        (
            _kept([0.5, 0.41, 0.09], 0.9, [True, True, False]),
            "a top-p that doesn't sort passes: let a small probability come first",
        ),
        (
            lambda top_p: top_p(torch.tensor([0.09, 0.5, 0.41]), 0.9).sum() == 2,
            "one that keeps as many, but others, passes: compare which are kept",
        ),
        (
            lambda top_p: not keeps_crossing(top_p),
            "True and False are exchanged: True is for the top-p that is right",
        ),
    ),
    exercise=True,
)
