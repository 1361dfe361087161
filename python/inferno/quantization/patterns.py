"""Regular expressions from a config, which must not hang whoever matches them.

Python's matcher tries every way in which a pattern may fit, and a short pattern can have more ways than there is time.
So a pattern is counted before it is used: how often it branches. What is refused is what can have exponentially many
ways (a repetition or an alternative inside what is repeated), syntax that would need more than counting, and patterns
that together have too many ways. Names of modules are short, and real patterns stay far below.
"""

from __future__ import annotations

import re
import warnings
from math import comb

from inferno.errors import ConfigError
from inferno.files import show

MAX_PATTERN = 512
# The names of modules that patterns meet are no longer ("model.layers.4095.self_attn.gate_up_proj").
_NAME = 40
# Of all patterns of a config, for one name. A way takes some nanoseconds; a model has some hundred names.
MAX_WAYS = 1 << 23
# What a pattern costs beside its ways.
_BASE = 1000

_REPEAT = re.compile(r"[*+?]|\{\d*,?\d*\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\((?:\?(?:[:=!]|<[=!]|P<\w+>))?")
_OTHER_GROUP = re.compile(r"\(\?(?!i\))")
_IGNORE_CASE = "(?i)"


def compile_pattern(text: str, where: str) -> tuple[re.Pattern[str], int]:
    """The compiled pattern, and what it costs at most: to be summed and held against MAX_WAYS.

    Raises ConfigError for a pattern that is too long, is not one, or that could take exponential time.
    """
    if len(text) > MAX_PATTERN:
        raise ConfigError(f"{where}: a regex must be at most {MAX_PATTERN} characters; got {len(text)}: {show(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of syntax that may change its meaning one day
            compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as problem:
        why = "too deep" if isinstance(problem, RecursionError) else str(problem)
        raise ConfigError(f"{where}: must be a regex of Python's; got {show(text)}: {show(why)}") from None
    return compiled, _BASE + _ways(text, where)


def _ways(text: str, where: str) -> int:
    """An upper bound of the ways in which a pattern can be tried on a name."""
    repeats, choices = 0, 1
    # Of each open group: its bars, and whether it branches inside.
    bars, branches = [0], [False]
    closed: bool | None = None  # whether the group that has just ended branches; None behind anything else
    at = 0
    while at < len(text):
        char = text[at]
        repeat = _REPEAT.match(text, at)
        if repeat:
            if closed and char != "?":
                raise ConfigError(
                    f"{where}: a regex must not repeat a group that repeats or has alternatives inside, which can take "
                    f"forever; got {show(text)}; write the names, or a simpler regex"
                )
            if char == "?":
                choices *= 2
            else:
                repeats += 1
            branches[-1] = True
            at = repeat.end()
            at += at < len(text) and text[at] in "?+"  # lazy, possessive
            closed = None
            continue
        if char == "(":
            group = _GROUP.match(text, at)
            if text.startswith(_IGNORE_CASE, at):
                at += len(_IGNORE_CASE)
                continue
            if group is None or (len(group[0]) == 1 and _OTHER_GROUP.match(text, at)):
                raise ConfigError(
                    f"{where}: groups of a regex must begin with (, (?:, (?=, (?!, (?<=, (?<! or (?P<; got {show(text)}"
                )
            bars.append(0)
            branches.append(False)
            at = group.end()
            closed = None
            continue
        if char == ")":
            choices *= bars.pop() + 1
            closed = branches.pop()
            branches[-1] |= closed
            at += 1
            continue
        if char == "|":
            bars[-1] += 1
            branches[-1] = True
        if char == "[":
            in_class = _CLASS.match(text, at)
            at = at + 1 if in_class is None else in_class.end()
        else:
            at += 2 if char == "\\" else 1
        closed = None
    return comb(_NAME + repeats, repeats) * choices * (bars[0] + 1)
