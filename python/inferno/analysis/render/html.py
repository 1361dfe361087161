"""An inspection as one page: no network, no script, every string escaped, light and dark."""

from __future__ import annotations

from collections.abc import Iterable

from inferno.analysis.inspection import Inspection
from inferno.analysis.render.escape import markup
from inferno.analysis.render.picture import bytes_picture
from inferno.analysis.render.sections import Bars, Block, Facts, FindingList, Section, Table, sections, verdict
from inferno.analysis.render.style import PAGE_STYLE, STYLE
from inferno.analysis.report import Report

# Sections that a notebook shows.
_SHORT = frozenset({"Model", "Bytes", "Storage", "Findings"})


def page(inspection: Inspection, *, tensors: bool = False) -> str:
    """A whole document. `tensors`: with the table of all tensors."""
    title = markup(f"{inspection.report.name} - inferno inspect")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{PAGE_STYLE}{STYLE}</style></head>\n"
        f"<body>{_body(inspection, sections(inspection, tensors))}</body></html>\n"
    )


def report_html(report: Report) -> str:
    """A report for a notebook, without what is only true of this machine."""
    inspection = Inspection(report)
    short = [section for section in sections(inspection) if section.title in _SHORT]
    return f"<style>{STYLE}</style>{_body(inspection, short)}"


def _body(inspection: Inspection, shown: Iterable[Section]) -> str:
    kind = inspection.status.replace(" ", "-")
    head = (
        f"<header><h1>{markup(inspection.report.name)}</h1>"
        f'<p class="verdict {kind}">{markup(verdict(inspection))}</p></header>'
    )
    drawn = "\n".join(_section(section, inspection.report) for section in shown)
    return f'<main class="inferno">{head}\n{drawn}</main>'


def _section(section: Section, report: Report) -> str:
    blocks = "".join(map(_block, section.blocks))
    picture = _figure(report) if section.title == "Bytes" else ""
    return f"<section><h2>{markup(section.title)}</h2>{blocks}{picture}</section>"


def _figure(report: Report) -> str:
    drawn = bytes_picture(report)
    if not drawn:
        return ""
    keys = "".join(f'<span><i class="r-{role}"></i>{markup(role)}</span>' for role in report.bytes_by_role)
    return f'<figure>{drawn}<figcaption class="keys">{keys}</figcaption></figure>'


def _block(block: Block) -> str:
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Bars):
        return _bars(block)
    if isinstance(block, Table):
        return _table(block)
    return _findings(block)


def _facts(block: Facts) -> str:
    rows = "".join(f"<dt>{markup(label)}</dt><dd>{markup(value)}</dd>" for label, value in block.rows)
    return f"<dl>{rows}</dl>"


def _bars(block: Bars) -> str:
    by_role = block.label == "by role"
    rows = "".join(
        f"<tr><th>{markup(name)}</th><td class='bar'><i class=\"{f'r-{markup(name)}' if by_role else 'plain'}\" "
        f'style="width:{100 * share:.2f}%"></i></td><td>{markup(value)}</td></tr>'
        for name, share, value in block.rows
    )
    return f'<table class="bars"><caption>{markup(block.label)}</caption>{rows}</table>'


def _table(table: Table) -> str:
    kinds = ["number" if i in table.numbers else "wide" if i == table.wide else "" for i in range(len(table.header))]

    def row(cells: Iterable[str], tag: str) -> str:
        marked = (f'<{tag} class="{kind}">{markup(cell)}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(marked)}</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.header, "th")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _findings(block: FindingList) -> str:
    rows = []
    for finding in block.findings:
        where = f'<p class="where">{markup(finding.where)}</p>' if finding.where else ""
        repair = f'<p class="repair">{markup(finding.repair)}</p>' if finding.repair else ""
        rows.append(
            f'<li class="{finding.severity}"><p><b>{finding.severity}</b> <code>{markup(finding.code)}</code></p>'
            f"{where}<p>{markup(finding.message)}</p>{repair}</li>"
        )
    return f"<ul>{''.join(rows)}</ul>"
