"""Notebook 02: which tensors are transposed, top-p, positions after a cache."""

import torch

from gpt2lite.course.exercises import Part

PARTS: dict[str, Part] = {}


def _turned_over(name):
    return ".c_" in name and name.endswith(".weight")


def turned_over(name):
    return ".c_" in name and name.endswith(".weight")


PARTS["02_turned_over"] = Part(
    solution=turned_over,
    exercise=True,
    cases=tuple(
        (prefix + name,)
        for prefix in ("", "transformer.")
        for name in (
            "wte.weight",
            "wpe.weight",
            "h.0.ln_1.weight",
            "h.0.attn.c_attn.weight",
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight",
            "h.11.mlp.c_fc.weight",
            "h.11.mlp.c_proj.weight",
            "h.11.mlp.c_proj.bias",
            "ln_f.bias",
        )
    ),
    mistakes=(
        (
            lambda name: _turned_over(name) and "attn.c_proj" not in name,
            "attn.c_proj is missing: it is square, so its shape looks right either way, but it "
            "is a Conv1D like the other three",
        ),
        (
            lambda name: _turned_over(name) or "wte" in name or "wpe" in name,
            "wte and wpe are tables with one row a token or position, no layers: they stay",
        ),
        (
            lambda name: ".c_" in name,
            "biases have one dimension: there is nothing to turn over, so only .weight counts",
        ),
        (
            lambda name: _turned_over(name) and name.startswith("h."),
            "right for the hub's names, but save_pretrained writes them with transformer. in front",
        ),
    ),
)


def _top_p(p, share):
    down, order = p.sort(descending=True)
    before = down.cumsum(0) - down
    kept = torch.zeros_like(p)
    kept[order] = torch.where(before < share, down, 0.0)
    return kept / kept.sum()


def _top_p_without_crossing(p, share):
    down, order = p.sort(descending=True)
    kept = torch.zeros_like(p)
    kept[order] = torch.where(down.cumsum(0) <= share, down, 0.0)
    return kept / kept.sum()


def _top_p_unsorted(p, share):
    kept = torch.where(p.cumsum(0) - p < share, p, 0.0)
    return kept / kept.sum()


def _top_p_without_places(p, share):
    return _top_p(p, share).sort(descending=True).values


def _top_p_by_threshold(p, share):
    kept = torch.where(p >= share, p, 0.0)
    return kept / kept.sum()


def top_p(p, share):
    down, order = p.sort(descending=True)
    before = down.cumsum(0) - down
    kept = torch.zeros_like(p)
    kept[order] = torch.where(before < share, down, 0.0)
    return kept / kept.sum()


PARTS["02_top_p"] = Part(
    solution=top_p,
    exercise=True,
    cases=tuple(
        (torch.tensor(p), share)
        for p, share in (
            ([0.125, 0.5, 0.25, 0.0625, 0.0625], 0.6),
            ([0.125, 0.5, 0.25, 0.0625, 0.0625], 0.8),
            ([0.1, 0.2, 0.7], 0.75),
            ([0.125, 0.5, 0.375], 0.25),
            ([0.25, 0.25, 0.25, 0.25], 1.0),
        )
    ),
    mistakes=(
        (
            _top_p_without_crossing,
            "the token that crosses the share stays too: without it the others hold less than the "
            "share, and when the first token alone is larger, nothing is left",
        ),
        (
            lambda p, share: _top_p(p, share).sign() * p,
            "the right tokens stay, but their chances no longer sum to 1: divide by their sum",
        ),
        (
            _top_p_without_places,
            "the chances are right but in sorted order: put each back in its token's place, with "
            "the indices that sort returns",
        ),
        (
            _top_p_unsorted,
            "top-p keeps the likeliest tokens: sort downwards before you sum up",
        ),
        (
            _top_p_by_threshold,
            "share is not a threshold for one token: it is what the kept tokens hold together",
        ),
        (
            lambda p, share: _top_p_without_crossing(p, share).sign() * p,
            "two things: the token that crosses the share stays, and the kept ones must sum to 1 "
            "again",
        ),
    ),
)


def positions_of(past, T):
    return torch.arange(past, past + T)


PARTS["02_positions_of"] = Part(
    solution=positions_of,
    exercise=True,
    cases=((0, 7), (7, 1), (5, 3), (1000, 24)),
    mistakes=(
        (
            lambda past, T: torch.arange(T),
            "the new tokens start at 0 again, as if nothing stood before them: start at past",
        ),
        (
            lambda past, T: torch.full((T,), past),
            "all new tokens stand at the same position: T tokens need T positions",
        ),
        (
            lambda past, T: torch.arange(past + T),
            "these are the positions of all tokens; those in the cache have theirs, so return T",
        ),
        (
            lambda past, T: torch.arange(past + 1, past + T + 1),
            "one too far: past tokens stand at 0 to past - 1, so the first new one stands at past",
        ),
    ),
)
