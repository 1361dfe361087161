"""Rendering a chat template in jinja2's immutable sandbox, with what transformers gives templates."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inferno.errors import TextError

_FILE = "<chat template>"


class Generation(Extension):
    """{% generation %} ... {% endgeneration %} marks the assistant's words for training; rendering ignores the mark."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as an instance variable)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def render_template(source: str, origin: str, values: Mapping[str, Any], now: datetime.datetime) -> str:
    """The template `source`, rendered with `values`; `now` is what strftime_now shows.

    Raises TextError that begins with `origin` and the line.
    """
    try:
        template = _compiled(source)
        return template.render(strftime_now=now.strftime, **values)
    except jinja2.TemplateSyntaxError as error:
        raise TextError(f"{origin}, line {error.lineno}: {error.message}") from error
    except Exception as error:
        raise TextError(f"{origin}{_line(error.__traceback__)}: {_reason(error)}") from error


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    environment = _environment()
    code = environment.compile(source, filename=_FILE)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON, where jinja2's own filter would escape for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _line(traceback: TracebackType | None) -> str:
    """The innermost line of the template in a traceback."""
    line = ""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = f", line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
