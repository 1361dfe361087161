"""JSON against the part of JSON Schema that our schemas use; a keyword that is not known fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}
_SILENT = {"$schema", "$id", "$defs", "title", "description"}


def check(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, at: str = "$") -> None:
    """AssertionError that names the place where `value` is not what `schema` says."""
    root = root or schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        check(value, root["$defs"][name], root, at)
    for keyword, wanted in schema.items():
        if keyword in _SILENT or keyword in ("$ref", "properties", "additionalProperties"):
            continue
        if keyword == "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            assert any(_is(value, kind) for kind in kinds), f"{at}: {value!r} is no {wanted}"
        elif keyword == "const":
            assert value == wanted, f"{at}: {value!r} is not {wanted!r}"
        elif keyword == "enum":
            assert value in wanted, f"{at}: {value!r} is none of {wanted}"
        elif keyword == "minimum":
            assert value is None or value >= wanted, f"{at}: {value!r} is below {wanted}"
        elif keyword == "required":
            assert value is None or not set(wanted) - set(value), f"{at}: lacks {set(wanted) - set(value)}"
        elif keyword == "items":
            for number, item in enumerate(value or ()):
                check(item, wanted, root, f"{at}[{number}]")
        else:
            raise AssertionError(f"{at}: the keyword {keyword} is not known here")
    if isinstance(value, dict):
        _check_members(value, schema, root, at)


def _check_members(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> None:
    known = schema.get("properties", {})
    for name, member in value.items():
        rest = schema.get("additionalProperties", True)
        if name in known:
            check(member, known[name], root, f"{at}.{name}")
        elif isinstance(rest, Mapping):
            check(member, rest, root, f"{at}.{name}")
        else:
            assert rest, f"{at}: {name} is not in the schema"


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
