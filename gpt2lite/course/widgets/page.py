"""What the widgets' pages are made of: a white paper that reads in dark themes too, and bars."""

from gpt2lite.plotting import COLORS

HUES = {
    **dict.fromkeys(("attention", "projections", "weights"), COLORS["ours"]),
    **dict.fromkeys(("wpe", "T × T", "gradients"), COLORS["reference"]),
    **dict.fromkeys(("MLP", "adamw"), COLORS["validation"]),
    **dict.fromkeys(("wte", "head", "activations"), COLORS["highlight"]),
    "LayerNorm": "#999999",
}


def paper(*parts):
    style = "background:white;color:#1a1a1a;padding:10px 14px;max-width:680px;line-height:1.4"
    return f'<div style="{style}">{"".join(parts)}</div>'


def bar(title, parts, unit, suffix, limit=None):
    """Return one stacked bar with its legend; a dashed line marks `limit`, a T4's memory."""
    total = sum(parts.values())
    full = max(total, 1.15 * limit if limit else 0)
    pieces, legend = "", []
    for name, value in parts.items():
        style = f"width:{100 * value / full:.3f}%;background:{HUES[name]};color:white;"
        style += "overflow:hidden;text-align:center;line-height:22px"
        pieces += f'<div style="{style}">{name if value > 0.13 * full else ""}</div>'
        share = f"{name} {value / unit:,.1f} {suffix} ({value / total:.0%})"
        legend.append(f'<span style="color:{HUES[name]}">■</span> {share}')
    if limit:
        style = (
            f"left:{100 * limit / full:.2f}%;top:-4px;bottom:-4px;border-left:2px dashed #1a1a1a"
        )
        pieces += f'<div style="position:absolute;{style}"></div>'
        legend.append(f"┆ a T4: {limit / unit:.2f} {suffix}")
    keys = " ".join(
        f'<span style="white-space:nowrap;margin-right:12px">{k}</span>' for k in legend
    )
    return (
        f'<div style="font-weight:bold">{title}</div>'
        f'<div style="position:relative;display:flex;height:22px;margin:5px 0">{pieces}</div>'
        f'<div style="font-size:90%;margin-bottom:14px">{keys}</div>'
    )
