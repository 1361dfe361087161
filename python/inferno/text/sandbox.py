"""Rendering a chat template in jinja2's immutable sandbox, with what transformers gives templates, within a budget."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, wraps
from types import TracebackType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from inferno.errors import TextError
from inferno.text.budget import CALL, STEP, budget, start_budget
from inferno.text.metering import CHARGED, CONCAT, MEASURED, TICK, metered
from inferno.text.prices import (
    REMOVED_FILTERS,
    countable,
    price_filter,
    price_format,
    price_method,
    price_operator,
    price_result,
)

MAX_SOURCE = 1 << 20  # characters; the longest templates in use have some 30,000
_FILE = "<chat template>"
_BUILT_IN = (str, bytes, int, float, list, tuple, dict)


def render_template(source: str, origin: str, values: Mapping[str, Any], now: datetime.datetime) -> str:
    """The template `source`, rendered with `values`; `now` is what strftime_now shows.

    Raises TextError that begins with `origin` and, where there is one, the line.
    """
    with _template_errors(source, origin):
        start_budget(dict(values))
        return _compiled(source).render(strftime_now=now.strftime, **values)


def check_template(source: str, origin: str) -> None:
    """Raises the TextError of a template that does not compile; runs nothing of it."""
    with _template_errors(source, origin):
        _compiled(source)


@contextmanager
def _template_errors(source: str, origin: str) -> Iterator[None]:
    if len(source) > MAX_SOURCE:
        raise TextError(f"{origin}: must have at most {MAX_SOURCE} characters; got {len(source)}")
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise TextError(f"{origin}, line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise TextError(f"{origin}{_line(error)}: must not nest without end") from error
    except SyntaxError as error:  # of the Python code that jinja2 makes
        raise TextError(f"{origin}: must not nest so deep; got {error.msg}") from error
    except Exception as error:
        raise TextError(f"{origin}{_line(error)}: {str(error) or type(error).__name__}") from error


class Generation(Extension):
    """{% generation %} ... {% endgeneration %} marks the assistant's words for training; rendering ignores the mark."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as an instance variable)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox, in which operators, filters and calls are charged to the budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget().charge(STEP)
        price_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget().charge(CALL)
        method = getattr(__obj, "__wrapped__", __obj)  # str.format comes in a wrapper of jinja2's
        owner = getattr(method, "__self__", None)
        if isinstance(owner, _BUILT_IN):
            args = tuple(countable(method.__name__, args, 0))
            arguments = [*args, *kwargs.values()]
            if method.__name__ in ("format", "format_map") and isinstance(owner, str):
                price_format(owner, arguments, "{")
            else:
                price_method(owner, method.__name__, arguments)
        result = super().call(__context, __obj, *args, **kwargs)
        if __obj in (dict, Namespace):
            budget().charge_deep(result)
        price_result(result)
        return result


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    environment = _environment()
    code = environment.compile(metered(environment.parse(source)), filename=_FILE)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))


@lru_cache(maxsize=1)
def _environment() -> Sandbox:
    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], finalize=_finalize
    )
    environment.filters["tojson"] = _tojson
    for name in REMOVED_FILTERS:
        del environment.filters[name]
    for name, function in environment.filters.items():
        environment.filters[name] = _priced(name, function)
    environment.filters |= {TICK: _tick, CHARGED: _charged, MEASURED: _measured, CONCAT: _concat}
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _priced(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is charged first. A mark on the function says if jinja2 passes its context before the value."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def priced(*args: Any, **kwargs: Any) -> Any:
        budget().charge(STEP)
        args = tuple(countable(name, args, first))
        price_filter(name, args[first:], kwargs)
        result = function(*args, **kwargs)
        price_result(result)
        return result

    return priced


def _finalize(value: Any) -> Any:
    """Charges what the template prints."""
    if isinstance(value, str):
        price_result(value)
    else:
        budget().charge_deep(value)
    return value


@jinja2.pass_context  # or jinja2 would take a tick's value for a constant, and tick once
def _tick(context: Context, units: int) -> None:
    budget().charge(units)


def _charged(value: Any) -> Any:
    price_result(value)
    return value


def _measured(value: Any) -> Any:
    budget().charge_deep(value)
    return value


def _concat(values: tuple[Any, ...]) -> str:
    budget().charge_deep(values)
    return "".join(map(str, values))


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
    raise jinja2.TemplateError(f"the template refuses these messages: {message}")


def _line(error: BaseException) -> str:
    """The innermost line of the template in an error's traceback."""
    line = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = f", line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line
