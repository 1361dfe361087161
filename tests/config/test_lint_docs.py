"""docs/findings.md lists every code that the source can give a finding, with its severity, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from inferno import errors
from inferno.config.lint import RULES
from inferno.errors import InfernoError
from inferno.findings import SEVERITIES

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", re.MULTILINE)
# Finding("warning", "some-code", ...), or a row of a table of findings.
LITERAL = re.compile(r'"(error|warning|note)",\s*"([a-z0-9]+(?:-[a-z0-9]+)*)"')


def documented() -> dict[str, str]:
    rows = ROW.findall((ROOT / "docs" / "findings.md").read_text(encoding="utf-8"))
    assert len(rows) == len({code for code, _ in rows})
    return {code: column.strip() for code, column in rows}


def in_source() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.code, rule.severity
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, InfernoError):
            yield kind.code, f"`{name}`"
    for path in (ROOT / "python" / "inferno").rglob("*.py"):
        for severity, code in LITERAL.findall(path.read_text(encoding="utf-8")):
            if code not in SEVERITIES:
                yield code, severity


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    told = documented()
    codes = dict(in_source())
    assert sorted(told) == sorted(codes)
    for code, severity in codes.items():
        assert severity in told[code].split(", "), code


def test_rules_stand_in_the_order_of_the_document() -> None:
    codes = [rule.code for rule in RULES]
    order = list(documented())
    assert sorted(codes, key=order.index) == [code for code in order if code in codes]
    assert len(codes) == len(set(codes))
