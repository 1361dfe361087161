"""The tiny checkpoints in every quantized scheme whose logits are stored in tests/data/quantized.

What a library wrote is stored there too, a folder a case. The others are written anew by quantized_writers.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantized_writers import Awq, Gptq, InverseScales, Unsigned, write_quantized
from tiny import stored_tensors, tiny_config

QUANTIZED = Path(__file__).parent.parent / "data" / "quantized"

SMALL = {
    "vocab_size": 24,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
# 96 inner features are three groups of 32.
GROUPED = {**SMALL, "intermediate_size": 96}
# Nothing here is a multiple of 8, so that rows and words end in the middle of each other.
UNEVEN = {**SMALL, "vocab_size": 25, "hidden_size": 36, "intermediate_size": 45}
# A block of bitsandbytes' 4-bit codes is 64 columns.
WIDE = {**SMALL, "hidden_size": 64}
DEEP = {"num_hidden_layers": 2}
TIED = {"tie_word_embeddings": True}
BIASED = {"attention_bias": True, "mlp_bias": True}


@dataclass(frozen=True, eq=False)  # one object a case, so that it can be a cache's key
class QuantizedCase:
    """`overrides`, `dtype` and `seed` are those of the tiny checkpoint (tiny.py) that was quantized. `writer`: what
    writes it in NumPy; None if a library wrote it. `outliers`: some columns of the norms' weights were enlarged first,
    so that inputs have outliers."""

    name: str
    overrides: dict[str, Any]
    dtype: str = "BF16"
    seed: int = 0
    writer: Any = None
    outliers: bool = False

    def folder(self, scratch: Path) -> Path:
        """Where the checkpoint lies; if it must be written first, under `scratch`."""
        if self.writer is None:
            return QUANTIZED / self.name
        folder = scratch / self.name
        if not folder.exists():  # a file that a model maps must not change
            config = tiny_config(self.overrides, self.dtype)
            tensors = stored_tensors(config, self.dtype, self.seed)
            write_quantized(folder, config, tensors, self.dtype, self.writer)
        return folder


CASES = [
    # compressed-tensors, int-quantized
    QuantizedCase("w8a8_channel", {**UNEVEN, **DEEP}, "BF16", 1),
    QuantizedCase("w8a8_tensor_tied", {**SMALL, **TIED}, "F16", 2),
    QuantizedCase("w8a8_group", GROUPED, "F32", 3),
    QuantizedCase("w8a8_block", UNEVEN, "BF16", 4),
    QuantizedCase("w8a8_asymmetric", {**UNEVEN, **BIASED}, "F32", 5),
    QuantizedCase("w8a8_asymmetric_block", SMALL, "F16", 6),
    QuantizedCase("w8a8_static", {**SMALL, **TIED, **DEEP}, "BF16", 7),
    QuantizedCase("w8a8_static_asymmetric_head", {**SMALL, **BIASED}, "F32", 8),
    QuantizedCase("w4a8_channel", SMALL, "BF16", 9),
    # compressed-tensors, pack-quantized
    QuantizedCase("w4a16_group", {**GROUPED, **DEEP}, "BF16", 10),
    QuantizedCase("w4a16_group_asymmetric", GROUPED, "F16", 11),
    QuantizedCase("w4a16_channel_asymmetric_head", UNEVEN, "F32", 12),
    QuantizedCase("w4a16_channel_tied", {**UNEVEN, **TIED}, "BF16", 13),
    QuantizedCase("w4a16_g_idx", GROUPED, "BF16", 14),
    QuantizedCase("w8a16_channel", {**UNEVEN, **DEEP}, "BF16", 15),
    QuantizedCase("w8a16_group_asymmetric", {**GROUPED, **BIASED}, "F16", 16),
    # compressed-tensors, float-quantized
    QuantizedCase("fp8_tensor_static", SMALL, "BF16", 17),
    QuantizedCase("fp8_channel_dynamic", {**UNEVEN, **TIED, **DEEP}, "BF16", 18),
    QuantizedCase("fp8_block", SMALL, "F32", 19),
    # compressed-tensors, two schemes in one checkpoint
    QuantizedCase("mixed_precision", {**GROUPED, **DEEP}, "BF16", 20),
    # written in NumPy
    QuantizedCase("fp8_inverse_scales", SMALL, "BF16", 21, InverseScales((24, 16))),
    QuantizedCase("u8_channel", {**SMALL, **DEEP}, "BF16", 22, Unsigned(whole=False, inputs=True)),
    QuantizedCase(
        "u8_tensor_weight_only_head",
        SMALL,
        "F32",
        23,
        Unsigned(whole=True, inputs=False, zero_dtype="I8", lm_head=True),
    ),
    QuantizedCase("gptq_v1_4bit", {**GROUPED, **DEEP}, "F16", 24, Gptq(4, 32)),
    QuantizedCase("gptq_v2_4bit_act_order_head", GROUPED, "F16", 25, Gptq(4, 32, version=2, order=True, lm_head=True)),
    QuantizedCase("gptq_v1_4bit_no_g_idx_tied", {**GROUPED, **TIED}, "F16", 26, Gptq(4, 32, g_idx=False)),
    QuantizedCase("gptq_v1_8bit_act_order", {**GROUPED, **BIASED}, "F16", 27, Gptq(8, 16, order=True)),
    QuantizedCase("gptq_v2_8bit_channel", GROUPED, "F16", 28, Gptq(8, -1, version=2)),
    QuantizedCase("awq_gemm", {**GROUPED, **DEEP}, "F16", 29, Awq(32)),
    # bitsandbytes
    QuantizedCase("bnb_int8_outliers", {**SMALL, **DEEP}, "F16", 30, outliers=True),
    QuantizedCase("bnb_int8_head", {**SMALL, **BIASED}, "BF16", 31, outliers=True),
    QuantizedCase("bnb_nf4", WIDE, "BF16", 32),
    QuantizedCase("bnb_nf4_nested_head", WIDE, "BF16", 33),
    QuantizedCase("bnb_fp4", {**WIDE, **TIED}, "BF16", 34),
    QuantizedCase("bnb_fp4_nested", {**WIDE, **BIASED}, "F16", 35),
]
