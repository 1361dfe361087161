"""What to make of a model: the scheme, how its inputs are smoothed, and the layers that are left alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from inferno.errors import UsageError
from inferno.files import show_some

# Scheme -> bits of a weight.
SCHEMES: Mapping[str, int] = {"w8a8": 8, "w8a16": 8, "w4a16": 4}
HEAD = "lm_head"
# The usual size, and what it falls back to where rows are no multiple of it: what kernels elsewhere take too.
GROUP_SIZES = (128, 64, 32, 16, 8)


@dataclass(frozen=True)
class Recipe:
    """How a model is to be quantized.

    scheme: "w8a8" (int8 weights and int8 inputs), "w8a16" or "w4a16" (weights alone). smooth: first move factors
    between inputs and weights, so that a text shows least error: for w8a8 out of the inputs that stick out, for w4a16
    into the columns that meet large inputs. strength: SmoothQuant's alpha (w8a8), from 0 to 1, for every layer; None:
    for each the one that errs least. group_size: columns that share a scale (w4a16); None: the largest of 128, 64, 32,
    16 and 8 that divides all rows. ignore: layers to leave alone, by name, `re:` and a regex, or class.

    Raises UsageError for what makes no sense.
    """

    scheme: str = "w8a8"
    smooth: bool = True
    strength: float | None = None
    group_size: int | None = None
    ignore: tuple[str, ...] = (HEAD,)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UsageError(f"scheme: must be one of {', '.join(SCHEMES)}; got {self.scheme!r}")
        if self.strength is not None and not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise UsageError(f"strength: must be a number from 0 to 1; got {self.strength}")
        if self.strength is not None and not (self.smooth and self.scheme == "w8a8"):
            raise UsageError("strength: must be left out but for w8a8 with smoothing")
        if self.group_size is not None and self.scheme != "w4a16":
            raise UsageError(f"group_size: must be left out for {self.scheme}, which has a scale for each row")
        if self.group_size is not None and (self.group_size < 8 or self.group_size % 8):
            raise UsageError(f"group_size: must be a multiple of 8; got {self.group_size}")

    @property
    def bits(self) -> int:
        return SCHEMES[self.scheme]

    @property
    def packed(self) -> bool:
        """Whether codes lie in int32 words."""
        return self.scheme != "w8a8"

    @property
    def smooths(self) -> bool:
        return self.smooth and self.scheme != "w8a16"

    def group_for(self, widths: Collection[int]) -> int | None:
        """Columns that share a scale in layers of these input features; None: the whole row.

        Raises UsageError if the size asked for, or each of the usual ones, does not divide all of them.
        """
        if self.scheme != "w4a16":
            return None
        fitting = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
        if self.group_size is None and fitting:
            return fitting[0]
        if self.group_size is not None and all(width % self.group_size == 0 for width in widths):
            return self.group_size
        asked = "one of " + ", ".join(map(str, GROUP_SIZES)) if self.group_size is None else str(self.group_size)
        wrong = sorted(width for width in set(widths) if self.group_size is None or width % self.group_size)
        repair = f"take {fitting[0]}" if fitting else "take w8a16, which needs no groups"
        raise UsageError(
            f"group_size: {asked} must divide the input features of every layer that is quantized; got layers of "
            f"{show_some([str(width) for width in wrong])}; {repair}"
        )


def quantization_config(recipe: Recipe, group: int | None, ignore: Collection[str]) -> dict[str, Any]:
    """config.json's quantization_config, as compressed-tensors writes it. `ignore`: layers that exist, by name."""
    weights = _args(recipe.bits, "channel" if group is None else "group", group_size=group)
    inputs = None if recipe.packed else _args(8, "token", dynamic=True)
    layout = "pack-quantized" if recipe.packed else "int-quantized"
    return {
        "config_groups": {
            "group_0": {
                "format": layout,
                "input_activations": inputs,
                "output_activations": None,
                "targets": ["Linear"],
                "weights": weights,
            }
        },
        "format": layout,
        "global_compression_ratio": None,
        "ignore": sorted(ignore),
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "sparsity_config": {},
        "transform_config": {},
        "version": _LAYOUT_VERSION,
    }


# The release of compressed-tensors whose layout this is. Words of 8 and 4 bits are the same in all releases.
_LAYOUT_VERSION = "0.20.0"


def _args(bits: int, strategy: str, *, group_size: int | None = None, dynamic: bool = False) -> dict[str, Any]:
    return {
        "dynamic": dynamic,
        "group_size": group_size,
        "num_bits": bits,
        "strategy": strategy,
        "symmetric": True,
        "type": "int",
    }
