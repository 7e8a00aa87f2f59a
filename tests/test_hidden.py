"""The stream at each depth is what the model computes, in either of two models."""

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, pair, random_ids, tiny_gpt

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
