"""Dials for a GPT-2's first random numbers: what they do to the stream and to the first loss."""

import math

import ipywidgets as widgets
import torch
from torch.func import functional_call

from gpt2lite.config import GPTConfig
from gpt2lite.course.widgets.page import paper
from gpt2lite.model import GPT
from gpt2lite.plotting import COLORS

SPREADS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
DEPTHS = (1, 2, 4, 6, 8, 12, 16, 24)
T = 32  # tokens that run through the model at each move


def unit_model(C: int = 192, seed: int = 1337) -> GPT:
    """Return a GPT-2 with its real vocabulary, C wide, whose matrices are from N(0, 1)."""
    config = GPTConfig(block_size=T, n_layer=max(DEPTHS), n_head=C // 32, n_embd=C)
    with torch.random.fork_rng(devices=[]):  # the notebook's own random numbers go on untouched
        torch.manual_seed(seed)
        model = GPT(config)
        for p in model.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p)
    return model.eval()


@torch.no_grad()
def first_stream(model, n_layer, wte, wpe, blocks, smaller):
    """Return the stream's rms before each of n_layer blocks and after the last, and the first loss.

    `model` is a unit_model, whose matrices count times the spread of their kind: `wte`, `wpe` or
    `blocks`; `smaller` divides both c_proj by √(2·n_layer). The loss is the mean over all V tokens
    that could come next.
    """
    idx = torch.randint(len(model.wte.weight), (1, T), generator=torch.Generator().manual_seed(0))
    x = wte * model.wte(idx) + wpe * model.wpe.weight  # (1, T, C)
    c_proj = blocks / (math.sqrt(2 * n_layer) if smaller else 1)
    rms = [x.square().mean().sqrt().item()]
    for block in model.h[:n_layer]:
        weights = {
            name: p * (c_proj if "c_proj" in name else blocks) if p.dim() == 2 else p
            for name, p in block.named_parameters()
        }
        x = functional_call(block, weights, (x,))
        rms.append(x.square().mean().sqrt().item())
    logits = wte * model.head(model.ln_f(x))  # (1, T, V)
    return rms, (logits.logsumexp(-1) - logits.mean(-1)).mean().item()


def initialization_explorer() -> widgets.Widget:
    """Return dials for the spreads and the depth above the stream and the first loss, live."""
    model = unit_model()
    wide = {"style": {"description_width": "75px"}, "layout": {"width": "335px"}}
    dials = {
        name: widgets.SelectionSlider(
            options=[(f"{value:g}", value) for value in values],
            value=value,
            description=name,
            **wide,
        )
        for name, values, value in (
            ("wte", SPREADS, 0.02),
            ("wpe", SPREADS, 0.01),
            ("blocks", SPREADS, 0.02),
            ("n_layer", DEPTHS, 12),
        )
    }
    smaller = widgets.Checkbox(True, description="both c_proj / √(2·n_layer)", indent=False)
    page = widgets.HTML()

    def draw(_change=None):
        at = {name: dial.value for name, dial in dials.items()}
        page.value = start_report(model, smaller=smaller.value, **at)

    for dial in (*dials.values(), smaller):
        dial.observe(draw, "value")
    draw()
    wte, wpe, blocks, n_layer = dials.values()
    rows = [wte, wpe], [blocks, n_layer], [smaller]
    return widgets.VBox([*map(widgets.HBox, rows), page])


def start_report(model, n_layer, wte, wpe, blocks, smaller) -> str:
    """Return, as HTML, the first loss beside its two predictions, and the stream by depth."""
    rms, loss = first_stream(model, n_layer, wte, wpe, blocks, smaller)
    V, C = model.wte.weight.shape
    random, own = math.log(V) + C * wte**2 / 2, C * wte**2 / rms[-1]
    claims = {"ln V + C·σ²/2": random, "a token's own logit, C·σ²/rms": own}
    lines = [f'<div style="font-weight:bold">First loss {loss:,.2f} nats / token</div>']
    for claim, value in claims.items():
        mark = "✓" if abs(value / loss - 1) < 0.05 else "&nbsp;"
        mono = 'style="display:inline-block;width:18px;text-align:center"'
        lines.append(f"<div><span {mono}>{mark}</span>{claim} = {value:,.2f}</div>")
    lines.append(
        f'<div style="margin:8px 0 2px"><b>The stream ends at rms {rms[-1]:.3g}</b> '
        f"(C = {C}, n_layer = {n_layer})</div>"
    )
    for layer, size in enumerate(rms):
        width = 380 * size / max(rms)
        name = f"into h.{layer}" if layer < n_layer else "into ln_f"
        lines.append(
            '<div style="display:flex;align-items:center;line-height:1.25">'
            f'<span style="width:80px;text-align:right">{name}</span>'
            f'<div style="width:{width:.0f}px;height:10px;margin:0 8px;'
            f'background:{COLORS["ours"]}"></div>{size:.3g}</div>'
        )
    return paper(*lines)
