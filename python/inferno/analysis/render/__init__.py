"""The faces of an inspection: text, a page of HTML, JSON. All tell the same facts."""

from __future__ import annotations

from inferno.analysis.render.as_json import JSON_SCHEMA, as_json
from inferno.analysis.render.html import page, report_html
from inferno.analysis.render.text import as_text

__all__ = ["JSON_SCHEMA", "as_json", "as_text", "page", "report_html"]
