"""Dials for a run over 10 billion tokens: model, cards, MFU, network and price."""

import ipywidgets as widgets

from gpt2lite import SIZES
from gpt2lite.course.html import paper
from gpt2lite.planner import BATCH, MEMORY, ROOM, Machine, card, plan, usual_mfu

TOKENS = 10e9
PRICES = {"A100": 1.75, "H100": 3.50}  # dollars an hour, of llm.c's runs (discussions 481 and 677)
NETWORKS = {"Ethernet, 1.25 GB/s": 1.25e9, "PCIe 4, 25 GB/s": 25e9, "NVLink, 300 GB/s": 300e9}
MODELS = [name for name in SIZES if name.startswith("gpt2")]
WIDE = {"style": {"description_width": "85px"}, "layout": {"width": "335px"}}


def plan_explorer() -> widgets.Widget:
    """Return dials for a model and what trains it, above what 10 billion tokens then take.

    Another card brings its usual MFU along, and its price where one is known.
    """
    dials = {
        "model": widgets.Dropdown(options=MODELS, description="model", **WIDE),
        "card": widgets.Dropdown(options=list(MEMORY), value="A100", description="card", **WIDE),
        "cards": widgets.SelectionSlider(
            options=[1, 2, 4, 8, 16, 32, 64], value=8, description="cards", **WIDE
        ),
        "B": widgets.SelectionSlider(options=[1, 2, 4, 8], value=8, description="B", **WIDE),
        "MFU": widgets.IntSlider(
            value=percent("A100"), min=5, max=70, description="MFU, %", **WIDE
        ),
        "network": widgets.Dropdown(
            options=list(NETWORKS), value="NVLink, 300 GB/s", description="network", **WIDE
        ),
        "price": widgets.BoundedFloatText(
            value=PRICES["A100"], min=0, max=100, step=0.05, description="$ / hour", **WIDE
        ),
    }
    page = widgets.HTML()

    def draw(_change=None):
        model, kind, count, B, mfu, network, price = (dial.value for dial in dials.values())
        known = {"bandwidth": NETWORKS[network], "price": price}
        page.value = paper(plan_report(model, card(kind, mfu / 100, count, **known), B), height=150)

    def bring_along(_change):
        dials["MFU"].value = percent(dials["card"].value)
        dials["price"].value = PRICES.get(dials["card"].value, 0.0)

    dials["card"].observe(bring_along, "value")
    for dial in dials.values():
        dial.observe(draw, "value")
    draw()
    ordered = list(dials.values())
    rows = [widgets.HBox(ordered[i : i + 2]) for i in range(0, len(ordered), 2)]
    return widgets.VBox([*rows, page])


def percent(kind: str) -> int:
    """Return the usual MFU of a kind of card, in whole percent."""
    return round(100 * usual_mfu(kind))


def plan_report(model: str, machine: Machine, B: int) -> str:
    """Return, as HTML, what 10 billion tokens take on a machine, half a million of them a step."""
    made = plan(SIZES[model], machine, TOKENS, B)
    alone = plan(SIZES[model], card(machine.name, machine.mfu, machine.count), TOKENS, B)
    room = f"{made.bytes / 1e9:.1f} of {ROOM * machine.memory / 1e9:.1f} GB"
    if not made.fits(machine):
        room += ": too small"
        room += f"; sharded {made.sharded / 1e9:.1f} GB" if machine.count > 1 else ""
    rows = {
        f"passes of {B} x 1,024 tokens on each card": f"{made.micro_steps:,}",
        f"a step of {BATCH:,} tokens": duration(made.step),
        "waiting for the network": f"{1 - alone.step / made.step:.0%} of it",
        "10 billion tokens": duration(3600 * made.hours),
        "cost": f"${made.cost:,.0f}" if made.cost else "choose a price",
        f"memory of each card, {1 - ROOM:.0%} left free": room,
    }
    cell = '<div style="display:flex"><span style="width:300px">{}</span><b>{}</b></div>'
    return "".join(cell.format(name, value) for name, value in rows.items())


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s" if seconds >= 2 else f"{1e3 * seconds:,.0f} ms"
