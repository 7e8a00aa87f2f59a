"""Every part accepts its solution, and rejects each known mistake with its own sentence.

A notebook asks in a cell tagged `build` whose last line is `name = checks.build(name, PARTS[…])`;
the next markdown cell shows the course's own version in a <details> block.
"""

import ast
import inspect
import math
import re
import textwrap
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_notebooks import without_docstrings
from torch import nn

from gpt2lite import GPT, GPTConfig
from gpt2lite.course.exercises import PARTS
from gpt2lite.course.judge import judge
from gpt2lite.sampling import probabilities

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").rglob("*.ipynb"))
MISTAKES = [
    pytest.param(name, wrong, sentence, id=f"{name}-{number}")
    for name, part in PARTS.items()
    for number, (wrong, sentence) in enumerate(part.mistakes)
]


def built():
    """Yield notebook, build cell, the part's name, and the text of the next markdown cell."""
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        for number, cell in enumerate(cells):
            if "build" not in cell.metadata.get("tags", []):
                continue
            after = next((c.source for c in cells[number + 1 :] if c.cell_type == "markdown"), "")
            call = re.search(r'^(\w+) = checks\.build\(\1, PARTS\["(\w+)"\]\)$', cell.source, re.M)
            assert call, f"{path.name}: a cell tagged build that builds nothing:\n{cell.source}"
            yield path, cell.source, call[2], after


BUILT = [pytest.param(*found, id=found[2]) for found in built()]


def definition(source: str, name: str) -> ast.AST:
    """Return the function or class that a source defines."""
    for node in ast.parse(textwrap.dedent(source)).body:
        if getattr(node, "name", None) == name:
            return node
    pytest.fail(f"{name} is not defined in\n{source}")


def answer_of(name: str, function):
    """Return an answer to a part: the function itself, or the part's class with it as forward."""
    own = PARTS[name].solution
    return type(own.__name__, (own,), {"forward": function}) if PARTS[name].make else function


def test_parts_and_notebooks_name_the_same():
    notebooks = [name[:2] for name in PARTS]
    assert notebooks == sorted(notebooks), "my_gpt2.py keeps the order of the notebooks"
    asked = [param.values[2] for param in BUILT]
    assert sorted(asked) == sorted(PARTS), "a part is missing, asked twice, or asked nowhere"
    for path, _, name, _ in (param.values for param in BUILT):
        assert name[:2] == path.name[:2], f"{name} is asked in {path.name}"


@pytest.mark.parametrize("name", PARTS)
def test_the_solution_is_right(name):
    verdict = judge(PARTS[name].solution, PARTS[name])
    assert verdict.mark == "✓", verdict.sentence


@pytest.mark.parametrize("name", PARTS)
def test_a_stub_is_not_written_yet(name):
    assert judge(answer_of(name, lambda *_: ...), PARTS[name]).mark == "○"


@pytest.mark.parametrize("name", PARTS)
def test_an_unknown_wrong_answer_is_shown_its_first_difference(name):
    verdict = judge(answer_of(name, lambda *_: "something else"), PARTS[name])
    assert verdict.mark == "✗" and "it returns 'something else', expected" in verdict.sentence


@pytest.mark.parametrize("name", PARTS)
def test_there_are_mistakes_to_tell_apart(name):
    sentences = [sentence for _, sentence in PARTS[name].mistakes]
    assert len(sentences) == len(set(sentences)) >= 3


@pytest.mark.parametrize("name, wrong, sentence", MISTAKES)
def test_a_known_mistake_is_named(name, wrong, sentence):
    assert judge(answer_of(name, wrong), PARTS[name]).sentence == sentence


@pytest.mark.parametrize("path, cell, name, after", BUILT)
def test_the_stub_has_the_solutions_signature(path, cell, name, after):
    own = PARTS[name].solution
    stub, whole = (definition(text, own.__name__) for text in (cell, inspect.getsource(own)))
    if isinstance(stub, ast.ClassDef):
        stub, whole = (
            {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            for node in (stub, whole)
        )
        assert ast.unparse(stub["__init__"]) == ast.unparse(whole["__init__"]), "as it is given"
        stub, whole = stub["forward"], whole["forward"]
    assert ast.unparse(stub.args) == ast.unparse(whole.args)
    assert ast.unparse(stub.body[-1]) == "return ..."


@pytest.mark.parametrize("path, cell, name, after", BUILT)
def test_the_notebook_shows_the_solution(path, cell, name, after):
    blocks = re.findall(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", after, re.S)
    assert len(blocks) == 2, f"{name}: below the build cell, a hint and the course's own version"
    code = re.findall(r"```python\n(.*?)```", blocks[1][1], re.S)
    assert len(code) == 1, f"{name}: the course's own version is one ```python block"
    own = PARTS[name].solution
    shown, whole = (definition(text, own.__name__) for text in (code[0], inspect.getsource(own)))
    assert without_docstrings(shown) == without_docstrings(whole), (
        f"{name}: the version in {path.name} is not PARTS' solution"
    )


def by_einsum(q, k, v):
    T, D = q.shape[-2:]
    scores = torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(D)
    hidden = torch.full((T, T), -torch.inf, device=q.device).triu(1)
    return (scores + hidden).softmax(-1) @ v


def by_permuting(logits, idx):
    return F.cross_entropy(logits[:, :-1].permute(0, 2, 1), idx[:, 1:])


def by_hand(self, x):
    z = self.c_fc(x)
    return self.c_proj(z / 2 * (1 + torch.tanh((2 / math.pi) ** 0.5 * (z + 0.044715 * z**3))))


def by_unflattening(self, x):
    q, k, v = self.c_attn(x).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
    return self.c_proj(self.attend(q, k, v).transpose(1, 2).flatten(2))


def in_one_line(self, x):
    return (x := x + self.attn(self.ln_1(x))) + self.mlp(self.ln_2(x))


def by_module(self, idx):
    x = self.wte(idx) + self.wpe(torch.arange(idx.size(1), device=idx.device))
    return self.ln_f(nn.Sequential(*self.h)(x)) @ self.wte.weight.T


def row_by_row(model, idx, n, top_p):
    for _ in range(n):
        p = probabilities(model(idx[:, -model.config.block_size :])[:, -1], top_p=top_p)
        idx = torch.cat([idx, torch.stack([torch.multinomial(row, 1) for row in p])], 1)
    return idx


def by_losses(model, context, completion):
    idx = torch.tensor(context + completion, device=model.wte.weight.device)
    losses = F.cross_entropy(model(idx[None, :-1])[0], idx[1:], reduction="none")
    return -losses[-len(completion) :]


def by_bincount(scores, clusters):
    _, which = np.unique(clusters, return_inverse=True)
    apart = scores.double().numpy()
    sums = np.bincount(which, weights=apart - apart.mean())
    return np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(apart)


def by_means(logprobs, endings, by):
    lengths = {
        "sum": lambda p, e: 1,
        "token": lambda p, e: p.numel(),
        "character": lambda p, e: len(e),
    }
    ranks = [p.sum() / lengths[by](p, e) for p, e in zip(logprobs, endings, strict=True)]
    return torch.stack(ranks).argmax()


def by_view(x, rank, world):
    if len(x) % world:
        raise ValueError("these rows don't divide")
    return x.reshape(world, -1, *x.shape[1:])[rank]


def by_far_places(model):
    """Is a repeated token's last row like its first? In evaluation, by the largest difference."""
    with torch.no_grad():
        rows = model.eval()(torch.full((1, 32), 97))[0]
    return (rows[0] - rows[-1]).abs().max() > 1e-4


def by_gradients(model):
    """Does an earlier place's logits give the last position's vector a gradient?"""
    for mode in (True, False):
        model.train(mode).zero_grad()
        model(torch.tensor([[*b"To be"]]))[0, :3].square().sum().backward()
        if model.wpe.weight.grad[3:].any():
            return False
    return True


def by_three_scales(step):
    first, *others = (step(2.0**n) for n in (0, 3, 16))
    return all((g - first).norm() <= 1e-4 * first.norm() for g in others)


def by_reading_on(make):
    a = make()
    rows = [next(a).tolist() for _ in range(7)]
    state = a.state_dict()
    b = make()
    b.load_state_dict(state)
    return len(rows) == 7 and [next(a).tolist() for _ in range(9)] == [
        next(b).tolist() for _ in range(9)
    ]


RIGHT = {
    "09_knows_order": by_far_places,
    "09_sees_no_future": by_gradients,
    "09_gelu": lambda gelu: all(
        abs(gelu(torch.tensor([v])).item() - v / 2 * (1 + math.tanh(u * (v + 0.044715 * v**3))))
        < 2e-5
        for v, u in ((-2.0, (2 / math.pi) ** 0.5), (2.5, (2 / math.pi) ** 0.5))
    ),
    "09_targets": lambda get_batch: all(
        (y - x == 1).all() for x, y in [get_batch(torch.arange(500)) for _ in range(3)]
    ),
    "09_goes_on": by_reading_on,
    "09_scale_free": by_three_scales,
    "09_comes_back": lambda validate, model: all(
        [model.train(on), validate(model), {m.training for m in model.modules()}][-1] == {on}
        for on in (True, False)
    ),
    "09_cards": lambda pick: (
        [pick(c, True) for c in ((7, 5), (8, 0))] == [torch.float16, torch.bfloat16]
    ),
    "09_counts": lambda count: np.bool_(
        count(GPT(GPTConfig(8, 61, 1, 1, 4))) == 61 * 4 + 8 * 4 + 12 * 16 + 13 * 4 + 8
    ),
    "09_crossing": lambda top_p: (
        top_p(torch.tensor([0.2, 0.1, 0.7]), 0.8).tolist() == [True, False, True]
    ),
    "01_embed": lambda idx, wte, wpe: F.embedding(idx, wte) + wpe[torch.arange(idx.size(1))],
    "01_attend": by_einsum,
    "01_heads": by_unflattening,
    "01_mlp": by_hand,
    "01_block": in_one_line,
    "01_gpt": by_module,
    "01_loss": by_permuting,
    "01_parameters": lambda config: np.int64(PARTS["01_parameters"].solution(config)),
    "01_draw": row_by_row,
    "01_looks_back": lambda w: np.array(PARTS["01_looks_back"].solution(w)),
    "01_best_pair": lambda words: list(PARTS["01_best_pair"].solution(words)),
    "01_merge": lambda word, rank: tuple(PARTS["01_merge"].solution(word, rank)),
    "07_bits_per_byte": lambda losses, pieces: losses.sum() / math.log(2) / len(b"".join(pieces)),
    "07_completion_logprobs": by_losses,
    "07_choose": by_means,
    "07_standard_error": lambda scores: np.std(scores.numpy(), ddof=1) / len(scores) ** 0.5,
    "07_clustered_error": by_bincount,
    "07_paired_difference": lambda a, b, clusters: [
        np.mean((a - b).numpy()),
        by_bincount(a - b, clusters),
    ],
    "08_rank_slice": by_view,
    "08_average": lambda ranks: tuple(torch.stack(g).mean(0) for g in zip(*ranks, strict=True)),
    "08_global_norm": lambda shards: torch.cat([p.flatten() for r in shards for p in r]).norm(),
    "08_step_seconds": lambda flops, devices, peak, mfu, comm, micro_steps: max(
        flops / devices / peak / mfu,
        comm + (1 - 2 / 3 / micro_steps) * flops / devices / peak / mfu,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_another_right_answer_is_right(name):
    verdict = judge(answer_of(name, RIGHT[name]), PARTS[name])
    assert verdict.mark == "✓", verdict.sentence


def loads(say):
    """Return a right `load_weights` that says otherwise which tensor it refuses."""

    def load_weights(model, tensors):
        try:
            return PARTS["02_load"].solution(model, tensors)
        except ValueError as error:
            raise ValueError(say(str(error))) from None

    return judge(load_weights, PARTS["02_load"])


def test_a_refused_file_must_be_refused_by_the_tensors_name():
    assert loads(lambda said: f"damaged file: see transformer.{said.split()[0]}").mark == "✓"
    sentence = loads(lambda said: "a tensor is missing, misshapen or too many").sentence
    assert "its ValueError doesn't name h.1.mlp.c_proj.bias" in sentence
    sentence = loads(lambda said: said if "missing" in said else "wrong shape").sentence
    assert "its ValueError doesn't name wpe.weight" in sentence


def test_attention_by_pytorchs_own_function_is_refused():
    def fused(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    assert "is this very function" in judge(fused, PARTS["01_attend"]).sentence
