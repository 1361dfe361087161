"""Modules that a quantizer was told to leave alone: modules_to_not_convert and its kin."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show

HEAD = "lm_head"
_NAME = re.compile(r"[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Skips:
    """Names, each of a module, of one that holds it, or of the end of its path.

    `anywhere`: a name counts wherever it stands, also in the midst of another (AutoAWQ's rule: layers.1 leaves alone
    layers.10 too). Otherwise it must stand between dots: transformers has had several rules, which agree there.
    """

    names: tuple[str, ...]
    anywhere: bool = False

    def __contains__(self, module: str) -> bool:
        if self.anywhere:
            return any(name in module for name in self.names)
        return any(f".{name}." in f".{module}." for name in self.names)


def read_skips(fields: Fields, key: str, *, anywhere: bool = False) -> Skips | None:
    """The list under a key; None if there is none.

    Raises ConfigError if it is no list of names, UnsupportedError for a pattern, which only some libraries read as one.
    """
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{fields.where}: {key} must be a list of names or null; got {show(value)}")
    for name in value:
        if not _NAME.fullmatch(name.strip(".")):
            raise UnsupportedError(
                f"{fields.where}: {key} must hold names of modules, not patterns; got {show(name)}; write the names"
            )
    return Skips(tuple(name if anywhere else name.strip(".") for name in value), anywhere)
