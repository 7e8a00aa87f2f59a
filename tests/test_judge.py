"""The judge: right answers pass, each kind of wrong one is told, and nothing is raised."""

import functools
import linecache
import warnings

import pytest
import t4
import torch
import torch.nn.functional as F
from torch import nn

from gpt2lite.course import judge as judging
from gpt2lite.course.exercises import Part
from gpt2lite.course.judge import judge


def double(x):
    return 2 * x


NUMBERS = Part(
    solution=double,
    cases=((0,), (3,), (5,)),
    mistakes=(
        (lambda x: x**2, "that is the square"),
        (lambda x: x + 2, "two is added"),
        (lambda x: x + 2 if x else 0, "two is added, but to 0"),
        (lambda x: x[0], "x is no list"),
    ),
)
X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
TRAINED = Part(F.relu, ((X.clone().requires_grad_(),),), ((lambda x: x, "nothing is cut off"),))


def test_a_warning_in_the_readers_code_would_point_at_the_judges():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert (
            judge(lambda x: warnings.warn("look out", stacklevel=1) or 2 * x, NUMBERS).mark == "✓"
        )
    assert not shown


@pytest.mark.parametrize(
    "answer, part, sentence",
    [
        (lambda x: 2 * x + 1, NUMBERS, "for 0: it returns 1, expected 0 (+1)"),
        (lambda x: None, NUMBERS, "for 0: it returns nothing: is `return` missing"),
        (lambda x: 2 * x if x != 3 else None, NUMBERS, "for 3: it returns nothing"),
        (lambda x: print(2 * x), NUMBERS, "it prints, and returns nothing: end with `return`"),
        (lambda x: 1 // x and 2 * x, NUMBERS, "for 0: it raises ZeroDivisionError"),
        (lambda: 0, NUMBERS, "for 0: it raises TypeError"),
        (lambda x: exit(), NUMBERS, "for 0: it raises SystemExit"),
        (lambda x: 2 * x + (x == 3), NUMBERS, "for 3: it returns 7"),
        (lambda x: (yield x), NUMBERS, "for 0: it returns <generator"),
        (lambda x: x.to("meta"), Part(F.relu, ((X,),), ()), "what it returns can't be compared"),
        (3, NUMBERS, "TypeError: 'int' object is not callable"),
        (lambda x: x.detach().relu(), TRAINED, "the value is right, but no gradient comes through"),
        (
            lambda x: x.relu() + x.tanh() - x.detach().tanh(),
            TRAINED,
            "right, but its gradient isn't",
        ),
        (lambda x: x.data.clamp_(0), TRAINED, "it changes its input: leave that as it was"),
    ],
)
def test_a_wrong_answer_is_told(answer, part, sentence):
    verdict = judge(answer, part)
    assert verdict.mark == "✗" and sentence in verdict.sentence


@pytest.mark.parametrize(
    "answer, part",
    [
        (lambda x: x + x, NUMBERS),
        (lambda x: 2.0 * x, NUMBERS),
        (lambda x: torch.tensor(2 * x), NUMBERS),
        (lambda x: print("at work", x) or 2 * x, NUMBERS),
        (lambda x: x.clamp(0), TRAINED),
        (lambda x: x * (x > 0), TRAINED),
        (nn.ReLU(), TRAINED),
        (functools.partial(torch.relu), TRAINED),
    ],
)
def test_a_right_answer_passes(answer, part):
    assert judge(answer, part).mark == "✓"


def test_a_stub_is_not_written_whatever_its_arguments():
    assert judge(lambda *_: ..., NUMBERS).mark == "○"
    assert judge(lambda x: 2 * x if x == 0 else ..., NUMBERS).mark == "○"


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (lambda x: x * x, "that is the square"),
        (lambda x: x * x if x < 5 else 0, "that is the square"),  # two mistakes: the first is told
        (lambda x: x + 2, "two is added"),
        (lambda x: x[0], "x is no list"),  # they raise the same
        (
            lambda x: 2 * x if x != 3 else 5,
            "two is added, but to 0",
        ),  # agrees in two cases, not in one
    ],
)
def test_a_known_mistake_is_recognised_on_the_first_case_that_fails(answer, sentence):
    assert judge(answer, NUMBERS).sentence == sentence


@pytest.mark.parametrize("other", [lambda x: x.y, lambda x: x(0)])
def test_another_error_is_no_known_mistake(other):
    assert "it raises" in judge(other, NUMBERS).sentence


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: F.softmax(x, -1),
        lambda x: x.softmax(-1),
        lambda x: torch.softmax(x, -1),
        lambda x: nn.Softmax(-1)(x),
        lambda x: x.to(torch.bfloat16).softmax(-1),
    ],
)
@pytest.mark.parametrize("seen", [lambda f, x: f(x), lambda f, x: swallow(f, x)])
def test_what_is_forbidden_is_refused_in_all_its_forms(answer, seen):
    def by_hand(x):
        e = (x - x.amax(-1, keepdim=True)).exp()
        return e / e.sum(-1, keepdim=True)

    refusals = {"softmax": "no softmax here", torch.bfloat16: "no softmax here"}
    part = Part(by_hand, ((X,),), (), forbidden=refusals)
    assert judge(by_hand, part).mark == "✓"
    assert judge(lambda x: seen(answer, x), part).sentence == "no softmax here"


def swallow(function, x):
    try:
        return function(x)
    except Exception:
        return x


def test_the_readers_line_is_shown():
    source = "def double(x):\n    y = 2 * x\n    return y @ x\n"
    linecache.cache["<cell>"] = len(source), None, source.splitlines(keepends=True), "<cell>"
    exec(compile(source, "<cell>", "exec"), found := {})
    wanted = "it raises TypeError: unsupported operand type(s) for @: 'int' and 'int', in line 3: "
    assert wanted + "`return y @ x`" in judge(found["double"], NUMBERS).sentence
    wrapped = functools.wraps(found["double"])(lambda x: found["double"](x))
    assert "in line 3" in judge(wrapped, NUMBERS).sentence


def test_of_many_lines_the_readers_own_deepest_is_shown():
    source = "def helper(x):\n    return norm(x, (9,))\n\ndef answer(x):\n    return helper(x)\n"
    linecache.cache["<deep>"] = len(source), None, source.splitlines(keepends=True), "<deep>"
    exec(compile(source, "<deep>", "exec"), found := {"norm": F.layer_norm})
    sentence = judge(found["answer"], TRAINED).sentence
    assert sentence.endswith(", in line 2: `return norm(x, (9,))`"), "torch's own line, or a caller"
    assert len(judge(lambda x: {}["x" * 9999], NUMBERS).sentence) < 400


def test_a_page_of_prints_is_kept_and_no_more():
    def endless(x):
        for _ in range(1000):
            print("x" * 999)
        return 2 * x

    assert 999 < len(judge(endless, NUMBERS).printed) < 3000


def test_a_case_is_as_it_was_for_each_try():
    part = Part(lambda x: x.cumsum(-1), ((torch.ones(4),), (torch.ones(2),)), ())
    assert "changes its input" in judge(lambda x: x.copy_(x.cumsum(-1)), part).sentence
    assert judge(lambda x: x.zero_(), part).mark == "✗"
    assert part.cases[0][0].tolist() == [1, 1, 1, 1]


def fill(module):
    with torch.no_grad():
        module.weight.fill_(2.0)


def test_a_part_that_works_in_place_is_judged_by_what_it_leaves():
    part = Part(fill, ((nn.Linear(2, 2),),), ())
    assert judge(lambda module: [nn.init.constant_(module.weight, 2.0)].clear(), part).mark == "✓"
    verdict = judge(lambda module: [nn.init.constant_(module.weight, 1.0)].clear(), part)
    assert "at 'weight', at [0, 0] it returns 1, expected 2" in verdict.sentence


def test_a_part_that_must_raise():
    def strict(x):
        if x < 0:
            raise ValueError("negative")
        return x

    def other(x):
        if x < 0:
            raise ValueError("said otherwise")
        return x

    part = Part(strict, ((1,), (-1,)), ())
    assert judge(other, part).mark == "✓"
    assert (
        "for -1: it returns -1, expected that it raises ValueError"
        in judge(lambda x: x, part).sentence
    )
    said = judge(lambda x: x if x > 0 else {}[0], part).sentence
    assert "it raises KeyError" in said and said.endswith(", where ValueError is expected")


def test_an_error_must_name_what_the_solutions_names():
    def strict(table):
        for name, x in table.items():
            if x < 0:
                raise ValueError(f"{name}.weight is negative: {x}")
        return table

    def told(message):
        def answer(table):
            if min(table.values()) < 0:
                raise ValueError(message)
            return table

        return judge(
            answer, Part(strict, (({"a.b": 1},), ({"a.b": -1},)), (), named=r"[\w.]+weight")
        )

    assert told("see the file's a.b.weight").mark == "✓"
    for message in ("something is negative", "b.weight is negative"):
        assert told(message).sentence == "for {'a.b': -1}: its ValueError doesn't name a.b.weight"


def test_random_parts_start_from_one_seed_and_leave_the_readers_alone():
    part = Part(lambda n: torch.rand(n), ((3,), (4,)), ())
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    assert judge(lambda n: torch.manual_seed(0) and torch.rand(n), part).mark == "✓"
    assert torch.equal(torch.rand(2), expected)
    frequent = Part(
        lambda p: torch.multinomial(p, 9999, replacement=True),
        ((torch.tensor([0.2, 0.8]),),),
        (),
        seen=lambda ids: ids.float().mean(),
        tolerance=0.05,
    )

    def often(p):
        return (torch.rand(9999, device=p.device) < p).long()

    assert judge(lambda p: often(p[1]), frequent).mark == "✓"
    assert judge(lambda p: often(p[0]), frequent).mark == "✗"
    assert "it returns 'no ids'" in judge(lambda p: "no ids", frequent).sentence


def test_of_weights_that_are_drawn_in_place_their_size_counts():
    def fill(layer, std=0.1):
        layer.weight.data.normal_(std=std)

    part = Part(
        fill,
        ((nn.Linear(100, 100),),),
        (),
        left=lambda arguments: arguments[0].weight.std().item(),
        tolerance=0.05,
    )
    other_draws = judge(lambda layer: torch.rand(1) and fill(layer), part)
    assert other_draws.mark == "✓", other_draws.sentence
    assert "expected 0.1" in judge(lambda layer: fill(layer, 0.11), part).sentence


def test_a_gradient_that_sums_to_0_counts_too():
    part = Part(lambda x: x.softmax(-1), ((X.clone().requires_grad_(),),), ())
    assert "no gradient comes" in judge(lambda x: x.detach().softmax(-1) + 0 * x, part).sentence


def test_gradients_stay_on_after_an_answer_that_turns_them_off():
    judge(lambda x: torch.set_grad_enabled(False) and x, TRAINED)
    assert torch.is_grad_enabled()


# Classes


class Outer(nn.Module):
    def __init__(self, n=2):
        super().__init__()
        self.norm = nn.LayerNorm(n)
        self.linear = nn.Linear(n, n)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.linear(self.norm(x)))


PAIR = torch.tensor([[1.0, 2.0], [4.0, -1.0]])
OUTER = Part(
    Outer,
    ((PAIR,),),
    ((lambda self, x: self.linear(x), "norm is left out"),),
    make=lambda kind: kind(),
)


def outer(forward, **more) -> type:
    return type("Mine", (Outer,), {"forward": forward} | more)


def test_a_class_is_judged_by_its_forward():
    assert judge(outer(lambda self, x: self.linear(self.norm(x))), OUTER).mark == "✓"
    assert judge(outer(lambda self, x: ...), OUTER).mark == "○"
    assert judge(outer(lambda self, x: self.linear(x)), OUTER).sentence == "norm is left out"


@pytest.mark.parametrize(
    "forward, sentence",
    [
        (lambda self, x: self.norm(x) @ self.linear.weight.T, "it returns"),  # no bias
        (lambda self, x: self.linear(F.layer_norm(x, (2,))), "it returns"),  # no gain
        (lambda self, x: self.linear(self.norm(x)).detach(), "no gradient"),
        (lambda self, x: self.linear(self.norm(x.detach())) + self.norm.bias[0] * 0, "✓"),
        (lambda self, x: self.linear.bias.data.zero_() + self.linear(self.norm(x)), "it returns"),
        (lambda self, x: self.nothing(x), "it raises AttributeError"),
    ],
)
def test_a_wrong_forward_is_told(forward, sentence):
    verdict = judge(outer(forward), OUTER)
    assert sentence in verdict.mark + verdict.sentence
    assert "Mine(" not in verdict.sentence, "the module itself is no argument to show"


def changed_init(**parts):
    def __init__(self):
        nn.Module.__init__(self)
        for name, part in parts.items():
            setattr(self, name, part)

    return __init__


@pytest.mark.parametrize(
    "parts, sentence",
    [
        (dict(norm=nn.LayerNorm(2)), "its parameters: 'linear.weight' is missing"),
        (dict(norm=nn.LayerNorm(2), linear=nn.Linear(2, 3)), "at 'linear.weight'"),
        (
            dict(norm=nn.LayerNorm(2), linear=nn.Linear(2, 2), more=nn.Linear(2, 2)),
            "'more.weight' is too many",
        ),
        (dict(norm=nn.LayerNorm(2), linear=nn.Linear(2, 2)), "leave `__init__` as it was"),  # drop
    ],
)
def test_another_init_is_told(parts, sentence):
    verdict = judge(outer(lambda self, x: x, __init__=changed_init(**parts)), OUTER)
    assert sentence in verdict.sentence and not verdict.given


def test_an_init_that_raises_is_told():
    verdict = judge(outer(lambda self, x: x, __init__=lambda self: 1 / 0), OUTER)
    assert "it raises ZeroDivisionError" in verdict.sentence and not verdict.given


# A second device


@pytest.fixture
def gpu():
    if torch.version.cuda is not None:
        pytest.skip("a CPU build is stood in for")
    with t4.installed():
        yield


def gram(x):
    return x @ x.mT + torch.eye(x.size(-2), device=x.device)


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, x):
        return x + self.table(torch.arange(3, device=x.device))


class Unplaced(Shifted):
    def forward(self, x):
        return x + self.table(torch.arange(3))


GRAM = Part(gram, ((X.clone().requires_grad_(),),), ())
SHIFTED = Part(Shifted, ((X,),), (), make=lambda kind: kind())


@pytest.mark.parametrize(
    "right, wrong, part",
    [
        (lambda x: gram(x) * 1, lambda x: x @ x.mT + torch.eye(3), GRAM),
        (type("Mine", (Shifted,), {}), Unplaced, SHIFTED),
    ],
    ids=["function", "class"],
)
def test_an_answer_is_tried_on_the_gpu_too(right, wrong, part, gpu):
    assert judge(right, part).sentence == ""
    verdict = judge(wrong, part)
    assert "right on the CPU, but on the GPU: " in verdict.sentence
    assert "Expected all tensors to be on the same device" in verdict.sentence
    assert "Is a tensor made without device=x.device?" in verdict.sentence


def test_a_module_moves_as_a_copy():
    linear, x = nn.Linear(2, 2), X.clone().requires_grad_()
    moved = judging._to((linear, x, X, 3), "meta")
    assert moved[0].weight.is_meta and moved[1].is_meta and moved[2].is_meta and moved[3] == 3
    assert moved[1].requires_grad and not moved[2].requires_grad
    assert not linear.weight.is_meta and not x.is_meta


def test_a_mistake_on_the_cpu_is_no_matter_of_the_gpu(gpu):
    assert "GPU" not in judge(lambda x: x @ x.mT, GRAM).sentence


def test_what_the_course_cant_try_on_the_gpu_accuses_nobody(gpu):
    part = Part(lambda x: x @ x.mT + torch.eye(3), ((X,),), ())
    assert judge(lambda x: torch.eye(3) + x @ x.mT, part).mark == "✓"


def test_what_lies_on_the_cpu_in_the_notebook_is_judged_there_alone(gpu):
    part = Part(lambda x: x.mean().item(), ((X,),), (), cpu=True)
    assert judge(lambda x: x.numpy().mean(), part).mark == "✓"
