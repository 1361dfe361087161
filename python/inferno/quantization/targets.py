"""Which modules a list of targets or of exceptions names, by compressed-tensors' rules.

An entry is the exact name of a module, `re:` and a regex that the name must begin with, or a class: every linear layer
is a `Linear`. Exact names count before regexes, and these before classes. vLLM runs q_proj, k_proj and v_proj as one
qkv_proj, gate_proj and up_proj as one gate_up_proj, and lists written for it may hold those names: such an entry names
each part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum

from inferno.errors import ConfigError
from inferno.files import show
from inferno.quantization.patterns import MAX_WAYS, compile_pattern

FUSED: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_FUSED_OF = {part: fused for fused, parts in FUSED.items() for part in parts}
# A regex is tried on the name of a fused module only if it speaks of one: `re:(?!.*q_proj).*` is not meant to match
# qkv_proj.
_SPEAKS_OF_FUSED = re.compile("qkv|gate_up")
REGEX = "re:"
LINEAR = "Linear"


class Rank(IntEnum):
    """How closely an entry names a module; the least counts."""

    EXACT = 0
    EXACT_FUSED = 1
    REGEX = 2
    REGEX_FUSED = 3
    CLASS = 4

    @property
    def fused(self) -> bool:
        """Whether the entry names the fused module."""
        return self in (Rank.EXACT_FUSED, Rank.REGEX_FUSED)


class Targets:
    """A list of entries. `ways`: what matching a name against its regexes costs at most.

    Raises ConfigError for an entry that is no text, or is a bad regex. `where` names the list in errors.
    """

    def __init__(self, entries: object, where: str) -> None:
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise ConfigError(f"{where}: must be a list of names; got {show(entries)}")
        self.entries: tuple[str, ...] = tuple(entries)
        self.ways = 0
        self._names = frozenset(entry for entry in entries if not entry.startswith(REGEX))
        self._regexes: list[re.Pattern[str]] = []
        self._fused_regexes: list[re.Pattern[str]] = []
        for entry in dict.fromkeys(entries):
            if entry.startswith(REGEX):
                compiled, ways = compile_pattern(entry.removeprefix(REGEX), where)
                self._regexes.append(compiled)
                if _SPEAKS_OF_FUSED.search(entry):
                    self._fused_regexes.append(compiled)
                    ways *= 2
                self.ways += ways

    def rank(self, module: str) -> Rank | None:
        """How closely the list names a linear layer ("model.layers.0.mlp.up_proj"); None if it does not."""
        fused = fused_name(module)
        if module in self._names:
            return Rank.EXACT
        if fused in self._names:
            return Rank.EXACT_FUSED
        if any(regex.match(module) for regex in self._regexes):
            return Rank.REGEX
        if fused is not None and any(regex.match(fused) for regex in self._fused_regexes):
            return Rank.REGEX_FUSED
        return Rank.CLASS if LINEAR in self._names else None

    def classes(self) -> list[str]:
        """The entries that can only be classes: names in capitals without a dot."""
        return sorted(name for name in self._names if name[:1].isupper() and "." not in name)


def refuse_slow(lists: Iterable[Targets], where: str) -> None:
    """ConfigError if the regexes of all lists together could take too long."""
    ways = sum(targets.ways for targets in lists)
    if ways > MAX_WAYS:
        raise ConfigError(
            f"{where}: the regexes of targets and ignore must be simpler or fewer: matching a name could take {ways} "
            f"steps, above {MAX_WAYS}; write the names instead"
        )


def fused_name(module: str) -> str | None:
    """The module that vLLM runs this one as a part of; None if it is none's."""
    parent, _, name = module.rpartition(".")
    return f"{parent}.{_FUSED_OF[name]}" if name in _FUSED_OF else None


def parts_of_fused(module: str) -> list[str]:
    """The modules that vLLM runs together with this one, itself among them."""
    parent, _, name = module.rpartition(".")
    return [f"{parent}.{part}" for part in FUSED.get(_FUSED_OF.get(name, ""), (name,))]
