"""What the widgets' pages are made of: a white paper that reads in dark themes too, and bars.

Knows nothing about what a bar stands for.
"""

from gpt2lite.plotting import COLORS

INK, GREY = "#1a1a1a", "#6e6e6e"
FULL = 340  # pixels of a bar that stands for all


def paper(*parts: str, height: int = 0) -> str:
    """Return a page that holds the parts, each of them HTML.

    `height` is the least in pixels: a page whose parts come and go must not move what is below it.
    """
    style = f"background:white;color:{INK};padding:10px 14px;max-width:680px;line-height:1.4"
    return f'<div style="{style};min-height:{height}px">{"".join(parts)}</div>'


def pale(part: str) -> str:
    """Return a part, which is HTML, as one that is no longer true."""
    return f'<div style="opacity:0.35;margin-top:6px">{part}</div>'


def bars(rows, color: str) -> str:
    """Return a bar a row, each row (name, share of the full width, what is said beside it, lit).

    Names and sayings are HTML. A row that isn't lit is grey.
    """
    lines = []
    for name, share, said, lit in rows:
        ink, fill = (INK, color) if lit else (GREY, "#C9C9C9")
        bar = f"width:{FULL * share:.0f}px;height:12px;margin:0 8px;background:{fill}"
        lines.append(
            f'<div style="display:flex;align-items:center;line-height:1.3;color:{ink}">'
            f'<span style="width:120px;text-align:right">{name}</span>'
            f'<div style="{bar}"></div>{said}</div>'
        )
    return "".join(lines)


def stacked(title: str, parts, unit: str, limit=None) -> str:
    """Return one bar made of parts, above its legend.

    `parts` maps a name to (value, color). A dashed line marks `limit`, a pair of name and value.
    """
    total = sum(value for value, _ in parts.values())
    full = max(total, 1.15 * limit[1] if limit else 0)
    pieces, legend = "", []
    for name, (value, color) in parts.items():
        word = "white" if color == COLORS["ours"] else "black"  # the other colours are too light
        style = f"width:{100 * value / full:.3f}%;background:{color};color:{word};"
        style += "overflow:hidden;text-align:center;line-height:22px;box-sizing:border-box;"
        style += "border-right:1px solid white"  # neighbours stay apart in grey, too
        pieces += f'<div style="{style}">{name if value > 0.13 * full else ""}</div>'
        share = f"{name} {value:,.1f} {unit} ({value / total:.0%})"
        legend.append(f'<span style="color:{color}">■</span> {share}')
    if limit:
        name, value = limit
        style = f"left:{100 * value / full:.2f}%;top:-4px;bottom:-4px;border-left:2px dashed {INK}"
        pieces += f'<div style="position:absolute;{style}"></div>'
        legend.append(f"┆ {name}: {value:.2f} {unit}")
    keys = (f'<span style="white-space:nowrap;margin-right:12px">{key}</span>' for key in legend)
    return (
        f'<div style="font-weight:bold">{title}</div>'
        f'<div style="position:relative;display:flex;height:22px;margin:5px 0">{pieces}</div>'
        f'<div style="font-size:90%;margin-bottom:14px">{" ".join(keys)}</div>'
    )
