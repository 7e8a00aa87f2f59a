"""The patients of notebook 09 are as sick as they say, and gpt2lite's own parts are examined."""

import math

import pytest
import torch
import torch.nn.functional as F

from gpt2lite import GPT
from gpt2lite.course import clinic, examined
from gpt2lite.course.exercises import PARTS
from gpt2lite.model import CausalSelfAttention

CHECKS = {
    1: "knows_order",
    2: "sees_no_future",
    3: "gelu",
    4: "targets",
    5: "goes_on",
    6: "scale_free",
    7: "comes_back",
    9: "cards",
    10: "counts",
}


@pytest.mark.parametrize("number", CHECKS)
def test_gpt2lite_passes_each_check_that_applies_to_it(number):
    check = PARTS[f"09_{CHECKS[number]}"].solution
    assert check(*examined.package()[number]) is True, f"bug {number} is in gpt2lite"
    assert examined.package().keys() == CHECKS.keys()


@pytest.mark.parametrize(
    "number, name, sick",
    [
        (2, "gpt2lite.model.CausalSelfAttention.forward", clinic.OpenMask.forward),
        (3, "torch.nn.functional.gelu", lambda x, approximate: F.relu(x)),
        (6, "gpt2lite.training.torch.nn.utils.clip_grad_norm_", lambda p, limit: torch.ones(())),
        (7, "gpt2lite.model.GPT.train", lambda model, mode=True: model),
        (9, "gpt2lite.precision.pick", None),
        (10, "gpt2lite.accounting.count_parameters", None),
    ],
)
def test_the_package_is_what_is_examined(number, name, sick, monkeypatch):
    """A fault in gpt2lite itself is found: what is examined is no copy of it."""
    if number == 2:
        monkeypatch.setattr(CausalSelfAttention, "modes", (True, False), raising=False)
    if number == 6:  # the scale stays in the gradient
        monkeypatch.setattr(torch.amp.GradScaler, "unscale_", lambda *_: None)
    if number == 9:
        fp32 = examined.pick("cpu")
        monkeypatch.setattr(examined, "pick", lambda device: fp32)
    elif number == 10:
        monkeypatch.setattr(examined, "count_parameters", lambda config: {"total": 124_439_808})
    else:
        monkeypatch.setattr(name, sick)
    check = PARTS[f"09_{CHECKS[number]}"].solution
    assert not check(*examined.package()[number])


BUGS = clinic.BUGS
SICK = {
    1: (clinic.small("", BUGS[1]),),
    2: (clinic.small("", BUGS[2]),),
    3: (F.gelu,),
    4: (lambda tokens: BUGS[4](*clinic.next_tokens(tokens)),),
    5: (BUGS[5],),
    6: (clinic.clipped_step("clip, unscale"),),
    7: (BUGS[7], clinic.small("", dropout=0.1).program),
    8: (BUGS[8],),
    9: (BUGS[9],),
    10: (BUGS[10],),
}


@pytest.mark.parametrize("number", SICK)
def test_each_bug_of_the_notebook_is_caught(number):
    check = PARTS[f"09_{(CHECKS | {8: 'adds_up'})[number]}"].solution
    assert examined.examine(check, SICK, number) == "fails"


def test_what_a_check_says_is_told_and_never_raises(capsys):
    examined.tell(lambda x: x > 0, (1,), (-1,), "told apart")
    examined.tell(lambda x: 1 / x > 0, (1,), (0,), "told apart by an error")
    examined.tell(lambda x: True, (1,), (0,), "nothing is caught")
    assert capsys.readouterr().out.splitlines() == [
        "✓ told apart",
        "○ this check says: healthy passes, sick raises",
        "○ this check says: healthy passes, sick passes",
    ]
    assert examined.examine(None, {}, 8) == "-"


@pytest.mark.parametrize("name, number", [("X", 5), ("Y", 2), ("Z", 4)])
def test_a_stranger_has_one_bug(name, number):
    found = examined.stranger(name)
    failed = [n for n, check in CHECKS.items() if not PARTS[f"09_{check}"].solution(*found[n])]
    assert failed == [number]


def test_a_mask_of_ten_thousand_is_enough_for_small_scores_only():
    check = PARTS["09_sees_no_future"].solution
    masked = clinic.attention_of(clinic.MaskedByTenThousand)
    assert check(clinic.small("", masked))
    assert not check(clinic.small("", clinic.both(clinic.large_scores, masked)))


def test_the_open_mask_is_open_in_training_alone():
    torch.manual_seed(0)
    model = GPT(clinic.SMALL).eval()
    idx = torch.arange(8)[None]
    before = model(idx)
    clinic.attention_of(clinic.OpenInTraining)(model)
    assert torch.equal(model.eval()(idx), before), "in evaluation it is GPT-2"
    assert not torch.allclose(model.train()(idx), before, atol=1e-5)


def test_a_patient_in_the_making_draws_no_random_number():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    clinic.small("a GPT")
    assert torch.equal(torch.rand(1), expected), "importing the parts would change every notebook"


def test_a_patient_is_copied_called_and_shown_as_what_it_stands_for():
    import copy

    patient = copy.deepcopy(clinic.small("a model with two layers"))
    assert repr(patient) == "a model with two layers"
    assert patient.training and patient(torch.zeros(1, 2, dtype=torch.long)).shape == (1, 2, 256)
    patient.eval()
    assert not patient.program.training
    with pytest.raises(AttributeError):
        patient.no_such_thing  # noqa: B018


def test_the_two_forms_of_gelu_are_as_far_apart_as_the_notebook_says():
    x = torch.linspace(-4, 4, 10_001, dtype=torch.float64)
    apart = (F.gelu(x) - clinic.tanh_gelu(x)).abs().max().item()
    assert math.isclose(apart, 4.7e-4, rel_tol=0.02)
