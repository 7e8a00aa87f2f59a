"""The stream at each depth is what the model computes, in either of two models."""

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, pair, random_ids, tiny_gpt
from torch import nn

from gpt2lite.course.hidden import hidden_states


def test_each_depth_is_what_leaves_it():
    model, idx = tiny_gpt(), random_ids(TINY, 2, 5)
    seen = hidden_states(model, idx)
    assert list(seen) == ["embed", "h.0", "h.1", "ln_f"]
    with torch.no_grad():
        x = model.wte(idx) + model.wpe.weight[:5]
        assert torch.equal(seen["embed"], x)
        for name, block in (("h.0", model.h[0]), ("h.1", model.h[1]), ("ln_f", model.ln_f)):
            x = block(x)
            assert torch.equal(seen[name], x), name
        assert torch.equal(F.linear(x, model.wte.weight), model(idx))


def test_transformers_model_has_the_same_depths(tmp_path):
    ours, theirs = pair(TINY, tmp_path)
    idx = random_ids(TINY, 2, 5)
    a, b = hidden_states(ours, idx), hidden_states(theirs.transformer, idx)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-5), name


class Pair(nn.Module):
    """A block that returns a tuple, as those of older releases of transformers do."""

    def forward(self, x):
        return x + 1, None


class Older(nn.Module):
    def __init__(self):
        super().__init__()
        self.h, self.ln_f = nn.ModuleList([Pair(), Pair()]), nn.Identity()

    def forward(self, x):
        for block in self.h:
            x = block(x)[0]
        return self.ln_f(x)


def test_a_blocks_stream_is_the_first_of_several_outputs():
    seen = hidden_states(Older(), torch.zeros(1, 2, 3))
    assert [x.mean().item() for x in seen.values()] == [0, 1, 2, 2]


def test_an_interrupt_leaves_no_hook_behind():
    model = tiny_gpt()

    def interrupt(_module, _inputs):
        raise KeyboardInterrupt

    own = model.h[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        hidden_states(model, random_ids(TINY, 1, 3))
    own.remove()
    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert not hooks
