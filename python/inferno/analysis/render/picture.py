"""A picture of where the bytes are: a column for each layer, stacked by role, as inline SVG without script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from inferno.analysis.render.escape import markup
from inferno.analysis.report import Report, TensorInfo
from inferno.analysis.roles import ROLES
from inferno.units import size

WIDTH, HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 28
# More layers than this share columns.
_MAX_COLUMNS = 128


@dataclass
class _Column:
    label: str
    title: str
    parts: dict[str, int] = field(default_factory=dict)
    dtypes: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, tensor: TensorInfo) -> None:
        self.parts[tensor.role] = self.parts.get(tensor.role, 0) + tensor.nbytes
        self.dtypes.setdefault(tensor.role, {})[tensor.dtype] = None

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def bytes_picture(report: Report) -> str:
    """The SVG; "" if there is nothing to draw."""
    columns = _columns(report.tensors)
    highest = max((column.total for column in columns), default=0)
    if highest == 0:
        return ""
    step = (WIDTH - _LEFT - _RIGHT) / len(columns)
    bars = "".join(_bar(column, _LEFT + i * step, step, highest) for i, column in enumerate(columns))
    labels = "".join(_labels(columns, step))
    described = markup(f"Bytes of weights by layer and role: {size(report.weight_bytes)} in all")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described}">{_axis(highest)}{bars}{labels}</svg>'
    )


def _columns(tensors: Sequence[TensorInfo]) -> list[_Column]:
    """Before the layers, the layers in order, after them."""
    numbers = sorted({tensor.layer for tensor in tensors if tensor.layer is not None})
    together = -(-len(numbers) // _MAX_COLUMNS) or 1
    groups = [numbers[i : i + together] for i in range(0, len(numbers), together)]
    shared: dict[int, _Column] = {}
    for group in groups:
        title = f"layer {group[0]}" if len(group) == 1 else f"layers {group[0]} to {group[-1]}"
        shared.update(dict.fromkeys(group, _Column(str(group[0]), title)))
    first, last = _Column("embed", "embedding"), _Column("head", "after the layers")
    for tensor in tensors:
        if tensor.layer is not None:
            shared[tensor.layer].add(tensor)
        else:
            (first if tensor.role == "embedding" else last).add(tensor)
    columns = [first, *(shared[group[0]] for group in groups), last]
    return [column for column in columns if column.parts]


def _bar(column: _Column, x: float, step: float, highest: int) -> str:
    scale = (HEIGHT - _TOP - _BOTTOM) / highest
    y = float(HEIGHT - _BOTTOM)
    width = max(step * 0.86, 0.5)
    rects = []
    for role in ROLES:
        nbytes = column.parts.get(role, 0)
        if nbytes:
            height = nbytes * scale
            y -= height
            title = f"{column.title}, {role}: {size(nbytes)} ({', '.join(column.dtypes[role])})"
            rects.append(
                f'<rect class="r-{role}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}">'
                f"<title>{markup(title)}</title></rect>"
            )
    return "".join(rects)


def _labels(columns: Sequence[_Column], step: float) -> Iterator[str]:
    """As many numbers as find room, and what stands before and after the layers."""
    every = -(-len(columns) // 16)
    numbers = 0
    for i, column in enumerate(columns):
        shown = True
        if column.label.isdigit():
            # The first number and the last would meet what stands beside them.
            shown = every == 1 or (numbers % every == 0 and numbers > 0 and i + every <= len(columns))
            numbers += 1
        if shown:
            x = _LEFT + (i + 0.5) * step
            yield f'<text x="{x:.2f}" y="{HEIGHT - 8}" text-anchor="middle">{markup(column.label)}</text>'


def _axis(highest: int) -> str:
    lines = []
    for part in (0.0, 0.5, 1.0):
        y = HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)
        lines.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{size(round(highest * part))}</text>'
        )
    return "".join(lines)
