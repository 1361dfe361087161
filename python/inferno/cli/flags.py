"""Flags that may also come from the environment: --max-tokens is INFERNO_MAX_TOKENS."""

from __future__ import annotations

import argparse
import datetime
import os
import re
from typing import Any, NoReturn

from inferno.errors import UsageError

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print a page of usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


class Flags:
    """The flags of one verb. One that is not given has its variable's value, or None."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self._actions: list[argparse.Action] = []

    def add(self, *names: str, environment: bool = True, **options: Any) -> None:
        """As argparse's add_argument, without a default. Every long name has its variable, if `environment`."""
        action = self.parser.add_argument(*names, default=None, **options)
        if environment and action.option_strings:
            self._actions.append(action)

    def read_environment(self, parsed: argparse.Namespace) -> None:
        """Fills in what was not given. UsageError if a variable's value makes no sense."""
        for action in self._actions:
            if getattr(parsed, action.dest) is not None:
                continue
            for variable in _variables(action):
                text = os.environ.get(variable, "")
                if text:
                    setattr(parsed, action.dest, self._converted(action, variable, text))
                    break

    def _converted(self, action: argparse.Action, variable: str, text: str) -> Any:
        try:
            if action.nargs == 0:
                return _switch(text)
            value = action.type(text) if callable(action.type) else text
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"variable {variable}: {error}") from None
        return [value] if isinstance(action, argparse._AppendAction) else value


def integer(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer; got {text[:60]!r}") from None


def number(text: str) -> float:
    """A number; whether it makes sense is judged where it is used."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {text[:60]!r}") from None


def token_count(text: str) -> int:
    """A number of tokens, in units of 1024 with a k behind it: 4096, 4k, 32K."""
    match = re.fullmatch(r"([0-9]{1,15})([kK]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a number of tokens, like 4096 or 4k; got {text[:60]!r}")
    return int(match[1]) * (1024 if match[2] else 1)


def day(text: str) -> datetime.date:
    """A date as 2026-01-31."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date like 2026-01-31; got {text[:60]!r}") from None


def _variables(action: argparse.Action) -> list[str]:
    long_names = [name for name in action.option_strings if name.startswith("--")]
    return ["INFERNO_" + name[2:].replace("-", "_").upper() for name in long_names]


def _switch(text: str) -> bool | None:
    """None for no: as if the flag were not given."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return None
    raise argparse.ArgumentTypeError(f"must be 1 or 0; got {text[:60]!r}")
