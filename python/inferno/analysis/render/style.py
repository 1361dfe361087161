"""How the page looks: one set of rules under .inferno, so that a notebook keeps its own; colours by role."""

from __future__ import annotations

# Light and dark. Roles stay apart for the colour-blind too: hue and lightness both differ between neighbours.
_LIGHT = {
    "fg": "#1c2024", "dim": "#5d6670", "bg": "#ffffff", "panel": "#f4f6f8", "line": "#d7dce1", "error": "#b3261e",
    "warning": "#8a5a00", "note": "#1b5e8a", "ready": "#1a6b36",
}  # fmt: skip
_DARK = {
    "fg": "#e4e8ec", "dim": "#9aa5b0", "bg": "#14171a", "panel": "#1d2125", "line": "#363d44", "error": "#ff8a80",
    "warning": "#ffc766", "note": "#7cc4f2", "ready": "#7fd69a",
}  # fmt: skip
_ROLES = {
    "embedding": "#3b6fb6", "attention": "#e08a2e", "mlp": "#3f9c8f", "norm": "#b44f8e", "head": "#7c6bc4",
    "quantization": "#a9a13c", "rope": "#8c5a3c", "other": "#8a929a",
}  # fmt: skip


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{color};" for name, color in colors.items())


def _roles() -> str:
    return "".join(f".inferno .r-{role}{{fill:{color};background:{color}}}" for role, color in _ROLES.items())


PAGE_STYLE = (
    f":root{{color-scheme:light dark}}body{{margin:0;background:{_LIGHT['bg']}}}"
    f"@media (prefers-color-scheme:dark){{body{{background:{_DARK['bg']}}}}}"
)
STYLE = (
    f".inferno{{{_variables(_LIGHT)}}}@media (prefers-color-scheme:dark){{.inferno{{{_variables(_DARK)}}}}}"
    """
.inferno{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:64rem;margin:0 auto;
padding:1.5rem 1rem;box-sizing:border-box;overflow-wrap:anywhere}
.inferno h1{font-size:1.5rem;margin:0}
.inferno h2{font-size:1.05rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
.inferno p{margin:.1rem 0}
.inferno .verdict{font-weight:600;margin-top:.3rem}
.inferno .verdict.ready{color:var(--ready)}
.inferno .verdict.needs-attention{color:var(--warning)}
.inferno .verdict.cannot-run{color:var(--error)}
.inferno dl{display:grid;grid-template-columns:9rem 1fr;gap:.15rem 1rem;margin:.5rem 0}
.inferno dt{color:var(--dim)}
.inferno dd{margin:0}
.inferno .scroll{overflow-x:auto}
.inferno table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0;background:none;color:inherit}
.inferno th,.inferno td{text-align:left;padding:.15rem .9rem .15rem 0;vertical-align:top;font-weight:400;
background:none;overflow-wrap:normal;white-space:nowrap}
.inferno td.wide{overflow-wrap:anywhere;white-space:normal;min-width:12rem}
.inferno thead th{color:var(--dim);border-bottom:1px solid var(--line)}
.inferno .number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.inferno caption{text-align:left;color:var(--dim)}
.inferno table.bars{width:100%}
.inferno .bars th{width:8rem}
.inferno .bars td:last-child{width:11rem;white-space:nowrap;font-variant-numeric:tabular-nums}
.inferno .bar i{display:block;height:.8rem;margin-top:.35rem;min-width:1px;border-radius:2px}
.inferno .plain{background:var(--dim)}
.inferno figure{margin:1rem 0}
.inferno svg{width:100%;height:auto;display:block}
.inferno svg text{fill:var(--dim);font-size:11px}
.inferno svg line{stroke:var(--line)}
.inferno rect:hover{opacity:.7}
.inferno .keys{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.9rem}
.inferno .keys i{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.4rem;vertical-align:-1px}
.inferno ul{list-style:none;padding:0;margin:.5rem 0}
.inferno li{border-left:3px solid var(--line);background:var(--panel);padding:.5rem .8rem;margin:.5rem 0}
.inferno li.error{border-color:var(--error)}
.inferno li.warning{border-color:var(--warning)}
.inferno li.note{border-color:var(--note)}
.inferno li.error b{color:var(--error)}
.inferno li.warning b{color:var(--warning)}
.inferno li.note b{color:var(--note)}
.inferno .where,.inferno li code{color:var(--dim);font-size:.9rem;background:none}
.inferno .repair::before{content:"To do: ";font-weight:600}
""" + _roles()
)
