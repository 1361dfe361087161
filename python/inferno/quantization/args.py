"""What quantization_config says of one tensor of a layer: compressed-tensors' QuantizationArgs.

Published configs are looser than the library that wrote them: a group_size of -1, a strategy that is left out, names in
capitals, a block_structure as text. They are read as that library reads them, or as what they can only mean; what
remains contradictory is refused. Keys that tell how scales were found are of no concern to who multiplies by them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show, show_name

Strategy = Literal["tensor", "channel", "group", "block", "token", "tensor_group", "attn_head"]
STRATEGIES: tuple[Strategy, ...] = ("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head")

_READ = frozenset(["num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic", "actorder"])
# How scales and zero points were found, and the types that they had then: the tensors tell their own.
_INFORMATIONAL = frozenset(["observer", "observer_kwargs", "scale_dtype", "zp_dtype"])
_ACTORDERS: Mapping[str, Literal["group", "weight"]] = {
    "group": "group",
    "dynamic": "group",
    "weight": "weight",
    "static": "weight",
}
_LINEAR = "Linear"


@dataclass(frozen=True)
class QuantArgs:
    """How a tensor is quantized: `num_bits` of `type`, zero points unless `symmetric`, a scale for each `strategy`.

    `group_size` counts for "group" and "tensor_group", `block_structure` (rows, columns) for "block". `dynamic`: scales
    are found while the model runs. `actorder`: "group" if columns have groups of their own (g_idx), "weight" if they
    were only visited in another order, which nothing shows later.
    """

    num_bits: int = 8
    type: Literal["int", "float"] = "int"
    symmetric: bool = True
    strategy: Strategy = "tensor"
    group_size: int | None = None
    block_structure: tuple[int, int] | None = None
    dynamic: bool = False
    actorder: Literal["group", "weight"] | None = None


def read_args(values: object, where: str) -> QuantArgs:
    """The arguments in a JSON object that `where` names.

    Raises ConfigError for a value that makes no sense or contradicts another, UnsupportedError for a key that is not
    known and for scales that are dynamic in part.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: must be an object or null; got {show(values)}")
    fields = Fields(values, where)
    refuse_unknown(fields, _READ | _INFORMATIONAL)
    group_size = _group_size(fields)
    block = _block_structure(fields)
    strategy = _strategy(fields, group_size, block)
    actorder = _actorder(fields)
    if actorder == "group" and strategy not in ("group", "tensor_group"):
        raise ConfigError(f'{where}: actorder must be null or "weight" for the strategy {strategy}; got "group"')
    kind = fields.string("type", "int").lower()
    if kind != "int" and kind != "float":
        raise fields.bad("type", '"int" or "float"', fields.get("type"))
    return QuantArgs(
        num_bits=_num_bits(fields),
        type="int" if kind == "int" else "float",
        symmetric=fields.boolean("symmetric", True),
        strategy=strategy,
        group_size=group_size if strategy in ("group", "tensor_group") else None,
        block_structure=block,
        dynamic=_dynamic(fields),
        actorder=actorder,
    )


def refuse_unknown(fields: Fields, known: Collection[str]) -> None:
    """UnsupportedError for a key that is not among `known` and says more than null, false, "", {} or []."""
    for key, value in fields.values.items():
        if key not in known and value is not None and value is not False and value not in ("", {}, []):
            raise UnsupportedError(
                f"{fields.where}: {show_name(key)} must be absent or empty, for Inferno does not know what it changes; "
                f"got {show(value)}; remove the key if it says nothing of the arithmetic"
            )


def _num_bits(fields: Fields) -> int:
    value = fields.get("num_bits")
    if isinstance(value, Mapping):  # of each class of modules
        return Fields(value, f"{fields.where}: num_bits").integer(_LINEAR, high=32)
    return fields.integer("num_bits", 8, high=32)


def _group_size(fields: Fields) -> int | None:
    """Columns of a group; -1 for a group as long as the row."""
    if fields.get("group_size") is None:
        return None
    size = fields.integer("group_size", low=-1)
    if size == 0:
        raise fields.bad("group_size", "at least 1, or -1 for one group in a row", size)
    return size


def _block_structure(fields: Fields) -> tuple[int, int] | None:
    value = fields.get("block_structure")
    if value is None:
        return None
    sides: object = value
    if isinstance(value, str):
        sides = [int(side) for side in value.lower().split("x") if side.isdecimal() and len(side) < 10]
    if (
        not isinstance(sides, list)
        or len(sides) != 2
        or not all(type(side) is int and 0 < side < 2**31 for side in sides)
    ):
        raise fields.bad("block_structure", 'two positive integers, [rows, columns] or "128x128"', value)
    return sides[0], sides[1]


def _strategy(fields: Fields, group_size: int | None, block: tuple[int, int] | None) -> Strategy:
    named = fields.get("strategy")
    strategy: Strategy
    if named is None:
        if block is not None:
            strategy = "block"
        else:
            strategy = "tensor" if group_size is None else "channel" if group_size == -1 else "group"
    else:
        known = [name for name in STRATEGIES if isinstance(named, str) and name == named.lower()]
        if not known:
            raise fields.bad("strategy", f"one of {', '.join(STRATEGIES)}", named)
        strategy = known[0]
    grouped = strategy in ("group", "tensor_group")
    if grouped and group_size is None:
        raise fields.bad("group_size", f"given for the strategy {strategy}", None)
    if not grouped and group_size is not None and group_size > 0:
        raise fields.bad("group_size", f"null or -1 for the strategy {strategy}", group_size)
    if strategy == "block" and block is None:
        raise fields.bad("block_structure", "given for the strategy block", None)
    if strategy != "block" and block is not None:
        raise fields.bad("block_structure", f"null for the strategy {strategy}", fields.get("block_structure"))
    if grouped and group_size == -1:  # one group in a row is a channel
        return "channel"
    return strategy


def _dynamic(fields: Fields) -> bool:
    value = fields.get("dynamic")
    if isinstance(value, str) and value.lower() == "local":
        raise UnsupportedError(
            f'{fields.where}: dynamic must be true or false; got "local" (NVFP4\'s scales, stored for the tensor and '
            "found for each group), which Inferno does not implement"
        )
    return fields.boolean("dynamic", False)


def _actorder(fields: Fields) -> Literal["group", "weight"] | None:
    value = fields.get("actorder")
    if value is None or value is False:
        return None
    if value is True:
        return "group"
    if not isinstance(value, str) or value.lower() not in _ACTORDERS:
        raise fields.bad("actorder", f"true, false or one of {', '.join(_ACTORDERS)}", value)
    return _ACTORDERS[value.lower()]
