"""Runs of the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, which must be an error's."""
        (line,) = self.err.splitlines()
        assert line.startswith("inferno: error: ")
        return line.removeprefix("inferno: error: ")


Cli = Callable[..., Result]
