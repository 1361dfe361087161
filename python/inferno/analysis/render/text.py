"""An inspection as text: wrapped and coloured on a terminal, plain lines in a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence

from inferno.analysis.inspection import Inspection
from inferno.analysis.render.escape import printable
from inferno.analysis.render.sections import Bars, Block, Facts, FindingList, Table, sections, verdict

# rich's names of styles, by what is shown
STYLES = {
    "title": "bold",
    "label": "dim",
    "bar": "blue",
    "error": "bold red",
    "warning": "yellow",
    "note": "cyan",
    "ready": "bold green",
    "needs attention": "bold yellow",
    "cannot run": "bold red",
}
_BAR = 28
_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"
_LABEL = 14
# A table narrower than this is no table any more.
_NARROW = 24

Paint = Callable[[str, str], str]


def as_text(inspection: Inspection, *, width: int | None = None, color: bool = False, tensors: bool = False) -> str:
    """The text, ending in a newline. `width` in columns; None: nothing is wrapped. `color`: with a terminal's codes."""
    paint = _painter() if color else _plain
    lines: list[str] = []
    for section in sections(inspection, tensors):
        lines += [paint(section.title, "title")]
        for block in section.blocks:
            lines += (f"  {line}".rstrip() for line in _block(block, None if width is None else width - 2, paint))
        lines += [""]
    lines += [paint(f"{printable(inspection.report.name)}: ", "title") + paint(verdict(inspection), inspection.status)]
    return "\n".join(lines) + "\n"


def _plain(text: str, style: str) -> str:
    return text


def _painter() -> Paint:
    from rich.color import ColorSystem
    from rich.style import Style

    styles = {name: Style.parse(style) for name, style in STYLES.items()}
    return lambda text, style: styles[style].render(text, color_system=ColorSystem.STANDARD)


def _block(block: Block, width: int | None, paint: Paint) -> Iterable[str]:
    if isinstance(block, Facts):
        return _facts(block, width, paint)
    if isinstance(block, Bars):
        return _bars(block, width, paint)
    if isinstance(block, Table):
        return _table(block, width, paint)
    return _findings(block, width, paint)


def _facts(block: Facts, width: int | None, paint: Paint) -> Iterable[str]:
    last = None
    for label, value in block.rows:
        shown = "" if label == last else label
        last = label
        first, *rest = _wrap(value, width, _LABEL + 1)
        yield paint(shown.ljust(_LABEL), "label") + " " + first
        yield from (" " * (_LABEL + 1) + line for line in rest)


def _bars(block: Bars, width: int | None, paint: Paint) -> Iterable[str]:
    label = block.label
    names = max((_cells(printable(name)) for name, _, _ in block.rows), default=0)
    values = max((len(value) for _, _, value in block.rows), default=0)
    room = _BAR if width is None else min(_BAR, max(width - _LABEL - names - values - 3, 4))
    for name, share, value in block.rows:
        told = printable(name)
        padded = told + " " * (names - _cells(told))
        yield f"{paint(label.ljust(_LABEL), 'label')} {padded} {paint(_bar(share, room), 'bar')} {value}"
        label = ""


def _bar(share: float, room: int) -> str:
    eighths = max(round(share * room * 8), 1 if share > 0 else 0)
    full, part = divmod(min(eighths, room * 8), 8)
    return (_EIGHTHS[8] * full + _EIGHTHS[part] * (part > 0)).ljust(room)


def _table(table: Table, width: int | None, paint: Paint) -> Iterable[str]:
    rows = [tuple(printable(cell) for cell in row) for row in table.rows]
    columns = list(zip(table.header, *rows, strict=True))
    widths = [max(map(_cells, column)) for column in columns]
    if width is not None:
        others = sum(widths) - widths[table.wide] + 2 * (len(widths) - 1)
        if width - others < min(_NARROW, widths[table.wide]):
            yield from _cards(table.header, rows, width, paint)
            return
        widths[table.wide] = min(widths[table.wide], width - others)
    yield paint(_row(table.header, widths, table.numbers).rstrip(), "label")
    for row in rows:
        for line in _wrapped_row(row, widths, table.wide):
            yield _row(line, widths, table.numbers).rstrip()


def _wrapped_row(row: Sequence[str], widths: Sequence[int], wide: int) -> Iterable[tuple[str, ...]]:
    if _cells(row[wide]) <= widths[wide]:
        return [tuple(row)]
    parts = _wrap(row[wide], widths[wide], 0)
    return [
        tuple(part if i == wide else cell * (number == 0) for i, cell in enumerate(row))
        for number, part in enumerate(parts)
    ]


def _row(cells: Sequence[str], widths: Sequence[int], numbers: frozenset[int]) -> str:
    padded = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _cells(cell))
        padded.append(space + cell if i in numbers else cell + space)
    return "  ".join(padded)


def _cards(header: Sequence[str], rows: Iterable[Sequence[str]], width: int, paint: Paint) -> Iterable[str]:
    """Each row as lines of its own, where columns find no room beside each other."""
    for row in rows:
        for i, (name, cell) in enumerate(zip(header, row, strict=True)):
            indent = 0 if i == 0 else 2
            label = f"{name}: " if i else ""
            for number, line in enumerate(_wrap(label + cell, width, indent)):
                yield " " * (indent if number == 0 else indent + 2 * (i > 0)) + line


def _findings(block: FindingList, width: int | None, paint: Paint) -> Iterable[str]:
    for finding in block.findings:
        severity = finding.severity
        told = f"{finding.where}: {finding.message}" if finding.where else finding.message
        first, *rest = _wrap(told, width, 9)
        yield paint(severity.ljust(8), severity) + " " + first
        yield from (" " * 9 + line for line in rest)
        if finding.repair:
            first, *rest = _wrap(finding.repair, width, 12)
            yield " " * 9 + "-> " + first
            yield from (" " * 12 + line for line in rest)


def _wrap(text: str, width: int | None, indent: int) -> list[str]:
    text = printable(text)
    if width is None:
        return [text]
    return textwrap.wrap(text, max(width - indent, 16), break_on_hyphens=False) or [""]


def _cells(text: str) -> int:
    """Columns that a text takes; wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
