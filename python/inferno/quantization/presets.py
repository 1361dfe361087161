"""compressed-tensors' schemes by name: a config_group may be `"W8A8": ["Linear"]`, targets under a scheme's name."""

from __future__ import annotations

from collections.abc import Mapping

from inferno.quantization.args import QuantArgs, Strategy

# Weights and inputs, as compressed-tensors' quant_scheme.py defines them.
Preset = tuple[QuantArgs | None, QuantArgs | None]


def _ints(bits: int, strategy: Strategy = "group", *, symmetric: bool = True) -> QuantArgs:
    return QuantArgs(bits, symmetric=symmetric, strategy=strategy, group_size=128 if strategy == "group" else None)


_INT8_TOKENS = QuantArgs(8, strategy="token", dynamic=True)
_FP8 = QuantArgs(8, "float")
_FP8_TOKENS = QuantArgs(8, "float", strategy="token", dynamic=True)
_FP8_CHANNELS = QuantArgs(8, "float", strategy="channel")
_FP8_BLOCKS = QuantArgs(8, "float", strategy="block", block_structure=(128, 128))
_FP8_GROUPS = QuantArgs(8, "float", strategy="group", group_size=128, dynamic=True)

PRESETS: Mapping[str, Preset] = {
    "UNQUANTIZED": (None, None),
    "W8A16": (_ints(8), None),
    "W4A16": (_ints(4), None),
    "W4A16_ASYM": (_ints(4, symmetric=False), None),
    "W8A8": (_ints(8, "channel"), _INT8_TOKENS),
    "INT8": (_ints(8, "channel"), _INT8_TOKENS),
    "W4A8": (_ints(4), _INT8_TOKENS),
    "W4AFP8": (_ints(4), _FP8_TOKENS),
    "FP8": (_FP8, _FP8),
    "FP8_DYNAMIC": (_FP8_CHANNELS, _FP8_TOKENS),
    "FP8_BLOCK": (_FP8_BLOCKS, _FP8_GROUPS),
}
# Presets of types that no kernel knows; they are refused by name.
UNSUPPORTED_PRESETS = frozenset(
    ["NVFP4", "NVFP4A16", "NVFP4_46", "NVFP4A16_46", "MXFP4", "MXFP4A16", "MXFP6", "MXFP6A16", "MXFP8", "MXFP8A16"]
)
