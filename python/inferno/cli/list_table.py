"""The list of models as a table: as wide as the terminal, or plain lines for a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.analysis.render.escape import printable
from inferno.units import count, size

if TYPE_CHECKING:
    from inferno.catalog import ModelEntry
    from inferno.catalog.check import CheckResult

    Paint = Callable[[str, str], str]

STYLES = {
    "header": "dim",
    "ready": "bold green",
    "ok": "green",
    "needs attention": "yellow",
    "cannot run": "red",
    "failed": "bold red",
    "can be imported": "cyan",
    "not fetched": "cyan",
}
_GAP = 2
_INDENT = 4
# A terminal too narrow for all columns does without these, the first of them first.
_DROPPED_FIRST = ("scheme", "architecture", "context", "peak memory", "parameters", "first token", "dtype", "size")


@dataclass(frozen=True)
class Row:
    """A model, and what became of its check if there was one."""

    entry: ModelEntry
    check: CheckResult | None = None


@dataclass(frozen=True)
class _Column:
    title: str
    cells: list[str]
    is_number: bool = False

    @property
    def width(self) -> int:
        return max(map(_cells, (self.title, *self.cells)))


def table(rows: Sequence[Row], *, width: int | None = None, color: bool = False, checked: bool = False) -> str:
    """One line per model, one more below it for what keeps it from running; ends in a newline.

    `width` in terminal columns; None: lines are as long as they are. `checked`: with the columns of --check. Nothing
    in it can steer a terminal but the colours, which `color` asks for.
    """
    paint = _painter() if color else _plain
    columns = _fitting(_columns(rows, checked), width)
    lines = [paint(_line(columns, [column.title for column in columns]), "header")]
    for number, row in enumerate(rows):
        cells = [column.cells[number] for column in columns]
        lines.append(_painted(_line(columns, cells), cells[-1], paint))
        lines += _below(row, width)
    return "\n".join(lines) + "\n"


def command_name(entry: ModelEntry) -> str:
    """What follows `-m` on a command line."""
    return entry.name + (f" --revision {entry.revision}" if entry.revision is not None else "")


def _columns(rows: Sequence[Row], checked: bool) -> list[_Column]:
    entries = [row.entry for row in rows]
    columns = [
        _Column("name", [command_name(entry) for entry in entries]),
        _Column("architecture", [entry.architecture or "-" for entry in entries]),
        _Column("parameters", [_known(entry.parameters, count) for entry in entries], True),
        _Column("dtype", [entry.dtype or "-" for entry in entries]),
        _Column("scheme", [entry.scheme or "-" for entry in entries]),
        _Column("size", [_known(entry.weight_bytes, size) for entry in entries], True),
        _Column("context", [_known(entry.context, _tokens) for entry in entries], True),
    ]
    if checked:
        checks = [row.check for row in rows]
        columns += [
            _Column("first token", [_known(check and check.first_token_seconds, _seconds) for check in checks], True),
            _Column("tokens/s", [_known(check and check.tokens_per_second, _rate) for check in checks], True),
            _Column("peak memory", [_known(check and check.peak_memory_bytes, size) for check in checks], True),
        ]
    columns.append(_Column("status", [_status(row) for row in rows]))
    return [_Column(c.title, [printable(cell) for cell in c.cells], c.is_number) for c in columns]


def _status(row: Row) -> str:
    if row.check is None:
        return row.entry.status
    return "failed" if row.check.error is not None else "ok"


def _known(value: object, show: Callable[..., str]) -> str:
    return "-" if value is None else show(value)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.1f} ms"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _tokens(number: int) -> str:
    return f"{number // 1024}k" if number >= 1024 and number % 1024 == 0 else str(number)


def _fitting(columns: list[_Column], width: int | None) -> list[_Column]:
    """The columns that find room beside each other. The name stays whole: it is there to be copied."""
    if width is not None:
        for title in _DROPPED_FIRST:
            if _total(columns) <= width:
                break
            columns = [column for column in columns if column.title != title]
    return columns


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _line(columns: Sequence[_Column], cells: Sequence[str]) -> str:
    parts = []
    for column, cell in zip(columns, cells, strict=True):
        space = " " * (column.width - _cells(cell))
        parts.append(space + cell if column.is_number else cell + space)
    return (" " * _GAP).join(parts).rstrip()


def _below(row: Row, width: int | None) -> Iterator[str]:
    """What has to be mended or done first; for a model that runs and needs attention, why."""
    entry = row.entry
    text = ""
    if row.check is not None and row.check.error is not None:
        text = row.check.error
    elif entry.status != "ready":
        found = entry.first_error or next(iter(entry.findings), None)
        text = "" if found is None else found.repair if found.severity == "note" else str(found)
    if text:
        text = printable(" ".join(text.split()))
        room = None if width is None else max(width - _INDENT, 20)
        lines = [text] if room is None else textwrap.wrap(text, room, break_on_hyphens=False)
        yield from (" " * _INDENT + line for line in lines)


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes; wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _painted(line: str, status: str, paint: Paint) -> str:
    return line[: len(line) - len(status)] + paint(status, status)


def _plain(text: str, style: str) -> str:
    return text


def _painter() -> Paint:
    from rich.color import ColorSystem
    from rich.style import Style

    styles = {name: Style.parse(style) for name, style in STYLES.items()}
    return lambda text, style: styles[style].render(text, color_system=ColorSystem.STANDARD)
