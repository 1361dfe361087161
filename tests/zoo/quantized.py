"""Quantized checkpoints in every published form, claims that do not hold, and each meaning of a U8 tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_edits import CONFIG, Edit, Tensors, all_of, edit_config, edit_tensors
from zoo.case import Case, refused

# A type, and a shape from those of the weight: n output and k input features.
Part = tuple[str, Callable[[int, int], list[int]]]

_LINEAR = re.compile(r"(.*_proj)\.weight")
_BYTES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4}
_BYTES["I64"] = 8


def full(n: int, k: int) -> list[int]:
    return [n, k]


def rows(n: int, k: int) -> list[int]:
    return [n, 1]


def one(n: int, k: int) -> list[int]:
    return [1]


def groups(n: int, k: int) -> list[int]:
    return [n, max(k // 8, 1)]


def half(n: int, k: int) -> list[int]:
    return [n, k // 2]


def eighth(n: int, k: int) -> list[int]:
    return [n, -(-k // 8)]


def transposed(n: int, k: int) -> list[int]:
    return [max(k // 8, 1), n]


def packed_transposed(n: int, k: int) -> list[int]:
    return [k, max(n // 8, 1)]


def inputs(n: int, k: int) -> list[int]:
    return [k]


def outputs(n: int, k: int) -> list[int]:
    return [n]


def blob(n: int, k: int) -> list[int]:
    return [n * k // 2, 1]


def scalar(n: int, k: int) -> list[int]:
    return []


def stored(parts: dict[str, Part], *, where: str = "") -> Edit:
    """Every linear layer (of which the name holds `where`) stored as these parts."""

    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if _LINEAR.fullmatch(name) and where in name]:
            n, k = tensors.pop(name)[1]
            for suffix, (dtype, shape) in parts.items():
                dims = shape(n, k)
                count = 1
                for dim in dims:
                    count *= dim
                tensors[f"{name.removesuffix('.weight')}.{suffix}"] = (dtype, dims, bytes(count * _BYTES[dtype]))

    return edit_tensors(change)


INT8: dict[str, Part] = {"weight": ("I8", full), "weight_scale": ("BF16", rows)}
FP8: dict[str, Part] = {"weight": ("F8_E4M3", full), "weight_scale": ("BF16", rows)}
PACKED: dict[str, Part] = {
    "weight_packed": ("I32", eighth),
    "weight_shape": ("I64", lambda n, k: [2]),
    "weight_scale": ("BF16", groups),
}
NVFP4: dict[str, Part] = {
    "weight_packed": ("U8", half),
    "weight_scale": ("F8_E4M3", groups),
    "weight_global_scale": ("F32", one),
}
MXFP4: dict[str, Part] = {"weight_packed": ("U8", half), "weight_scale": ("U8", groups)}
MXFP8: dict[str, Part] = {"weight": ("F8_E4M3", full), "weight_scale": ("U8", groups)}
AWQ: dict[str, Part] = {
    "qweight": ("I32", packed_transposed),
    "qzeros": ("I32", lambda n, k: [1, max(n // 8, 1)]),
    "scales": ("F16", lambda n, k: [1, n]),
}
GPTQ: dict[str, Part] = {**AWQ, "qweight": ("I32", transposed), "g_idx": ("I32", inputs)}
BNB8: dict[str, Part] = {"weight": ("I8", full), "SCB": ("F32", outputs), "weight_format": ("U8", scalar)}
BNB4: dict[str, Part] = {
    "weight": ("U8", blob),
    "weight.absmax": ("F32", outputs),
    "weight.quant_map": ("F32", lambda n, k: [16]),
}
NF4: dict[str, Part] = {**BNB4, "weight.quant_state.bitsandbytes__nf4": ("U8", lambda n, k: [90])}
NESTED: dict[str, Part] = {
    **NF4,
    "weight.absmax": ("U8", outputs),
    "weight.nested_absmax": ("F32", one),
    "weight.nested_quant_map": ("F32", lambda n, k: [256]),
}
FP4: dict[str, Part] = {**BNB4, "weight.quant_state.bitsandbytes__fp4": ("U8", lambda n, k: [90])}
BLOCKS: dict[str, Part] = {"weight": ("F8_E4M3", full), "weight_scale_inv": ("F32", one)}
TORCHAO: dict[str, Part] = {"_weight_qdata": ("I8", full), "_weight_scale": ("F32", rows)}
QUANTO: dict[str, Part] = {"weight._data": ("I8", full), "weight._scale": ("BF16", rows), "input_scale": ("BF16", one)}
QUANTO4: dict[str, Part] = {
    "weight._data": ("U8", half),
    "weight._scale": ("BF16", rows),
    "weight._shift": ("U8", rows),
}
MLX: dict[str, Part] = {"weight": ("U32", eighth), "scales": ("F16", groups), "biases": ("F16", groups)}
UINT8: dict[str, Part] = {"weight": ("U8", full), "weight_scale": ("F16", rows), "weight_zero_point": ("U8", rows)}
MARLIN24: dict[str, Part] = {"weight_packed": ("I32", half), "scale_packed": ("F16", groups), "meta": ("I16", groups)}
BITMASK: dict[str, Part] = {"compressed": ("BF16", half), "bitmask": ("U8", eighth), "shape": ("I64", lambda n, k: [2])}
HQQ: dict[str, Part] = {"W_q": ("U8", half), "scale": ("F16", groups), "zero": ("F16", groups)}
EETQ: dict[str, Part] = {"weight": ("I8", lambda n, k: [k, n]), "weight_scales": ("F16", outputs)}
AQLM: dict[str, Part] = {
    "codes": ("I16", groups),
    "codebooks": ("F16", lambda n, k: [1, 256, 1, 8]),
    "scales": ("F16", rows),
}
BITNET: dict[str, Part] = {"weight": ("U8", lambda n, k: [n // 4 or 1, k]), "weight_scale": ("BF16", one)}


def claimed(name: str, scheme: str, told: str, edit: Callable[[Path], object], **config: Any) -> Case:
    """A model whose config has this quantization_config."""
    return refused(
        name,
        all_of(edit, edit_config(quantization_config=config)),
        *("unsupported", "{folder}/" + CONFIG),
        f"quantized checkpoints are not implemented; {told}; use the model's F32, F16 or BF16 checkpoint",
        scheme=scheme,
    )


def published(name: str, scheme: str, parts: dict[str, Part], method: str, **config: Any) -> Case:
    """A form that a library writes, and that is recognised."""
    form = f', format "{config["format"]}"' if "format" in config else ""
    told = f'got quant_method "{method}"{form}; tensors are stored as {scheme}'
    return claimed(name, scheme, told, stored(parts), quant_method=method, **config)


def compressed(form: str, scheme: str, parts: dict[str, Part], note: str = "", **config: Any) -> Case:
    return published(f"compressed-tensors {form}{note}", scheme, parts, "compressed-tensors", format=form, **config)


def foreign(name: str, parts: dict[str, Part], method: str) -> Case:
    """A form that is not known, which is refused all the same."""
    told = f'got quant_method "{method}"; tensors are stored in a form that fits no known scheme'
    return claimed(name, "unknown", told, stored(parts), quant_method=method)


def at_odds(name: str, scheme: str, conflict: str, parts: dict[str, Part], **config: Any) -> Case:
    """Config and tensors say different things."""
    return claimed(name, scheme, conflict, stored(parts), **config)


def unclaimed(name: str, scheme: str, parts: dict[str, Part], message: str) -> Case:
    """Quantized tensors, and a config that says nothing of it."""
    return refused(name, stored(parts), "checkpoint", "{folder}", message, scheme=scheme)


def nothing(folder: Path) -> None:
    """The tensors stay plain."""


SCALE: Part = ("F32", one)
PUBLISHED = [
    compressed("int-quantized", "int-quantized", INT8, version="0.9.0", quantization_status="compressed"),
    compressed("int-quantized", "int-quantized", {**INT8, "input_scale": SCALE}, ", static inputs"),
    compressed("int-quantized", "int-quantized", {**INT8, "weight_zero_point": ("I8", rows)}, ", asymmetric"),
    compressed("naive-quantized", "int-quantized", INT8),
    compressed("float-quantized", "float-quantized", FP8),
    compressed("pack-quantized", "pack-quantized", PACKED),
    compressed("pack-quantized", "pack-quantized", {**PACKED, "weight_zero_point": ("I32", groups)}, ", asymmetric"),
    compressed("pack-quantized", "pack-quantized", {**PACKED, "weight_g_idx": ("I32", inputs)}, ", reordered"),
    compressed("nvfp4-pack-quantized", "nvfp4", NVFP4),
    compressed("nvfp4-pack-quantized", "nvfp4", {**NVFP4, "input_global_scale": SCALE}, ", static inputs"),
    compressed("mxfp4-pack-quantized", "mxfp4", MXFP4),
    compressed("mxfp8-quantized", "mxfp8", MXFP8),
    compressed("int-quantized", "uint8", UINT8, ", unsigned"),
    published("GPTQ", "gptq", GPTQ, "gptq", bits=4, checkpoint_format="gptq"),
    published("GPTQ v2", "gptq", GPTQ, "gptq", bits=4, checkpoint_format="gptq_v2"),
    published("GPTQ in 8 bits", "gptq", GPTQ, "gptq", bits=8),
    published("GPTQ without g_idx", "gptq", {k: v for k, v in GPTQ.items() if k != "g_idx"}, "gptq", bits=4),
    published("AWQ", "awq", AWQ, "awq", bits=4, version="gemm"),
    published("bitsandbytes in 8 bits", "bitsandbytes-int8", BNB8, "bitsandbytes", load_in_8bit=True),
    published("bitsandbytes nf4", "bitsandbytes-4bit", NF4, "bitsandbytes", load_in_4bit=True),
    published("bitsandbytes nf4, nested", "bitsandbytes-4bit", NESTED, "bitsandbytes", load_in_4bit=True),
    published("bitsandbytes fp4", "bitsandbytes-4bit", FP4, "bitsandbytes", load_in_4bit=True),
    published("fp8 in blocks", "fp8-block", BLOCKS, "fp8", weight_block_size=[128, 128]),
    published("fp8 by rows", "float-quantized", FP8, "fp8"),
    published("fbgemm's fp8", "float-quantized", FP8, "fbgemm_fp8"),
    published("modelopt's fp8", "float-quantized", {**FP8, "input_scale": SCALE}, "modelopt", quant_algo="FP8"),
    published("modelopt's nvfp4", "nvfp4", NVFP4, "modelopt", quant_algo="NVFP4"),
    published("torchao", "torchao", TORCHAO, "torchao"),
    published("quanto", "quanto", QUANTO, "quanto"),
    published("quanto in 4 bits", "quanto", QUANTO4, "quanto"),
]
FOREIGN = [
    foreign("hqq", HQQ, "hqq"),
    foreign("eetq", EETQ, "eetq"),
    foreign("aqlm", AQLM, "aqlm"),
    foreign("bitnet", BITNET, "bitnet"),
    foreign("marlin-24", MARLIN24, "compressed-tensors"),
    foreign("a bitmask of what is not zero", BITMASK, "compressed-tensors"),
    foreign("plain weights with scales", {"weight": ("BF16", full), "weight_scale": ("BF16", rows)}, "fp8"),
    foreign("int8 without scales", {"weight": ("I8", full)}, "compressed-tensors"),
]
PLAIN = "quantization_config is given, yet no tensor is stored in a quantized form"
AS_INT8 = "tensors are stored as int-quantized, yet quantization_config"
CT = 'got quant_method "compressed-tensors"'
CLAIMS = [
    claimed(
        "a claim beside plain tensors",
        "unknown",
        f'got quant_method "gptq"; {PLAIN}',
        nothing,
        quant_method="gptq",
        bits=4,
    ),
    claimed("an empty claim", "unknown", f"got no quant_method; {PLAIN}", nothing),
    claimed("a method of no name", "unknown", f"got quant_method 3; {PLAIN}", nothing, quant_method=3),
    at_odds(
        "GPTQ's tensors, AWQ's name",
        *(
            "gptq",
            'got quant_method "awq"; tensors are stored as gptq, yet quantization_config says quant_method "awq"',
            GPTQ,
        ),
        quant_method="awq",
    ),
    at_odds(
        "a list of methods",
        *("int-quantized", f'got quant_method ["a", "b"]; {AS_INT8} says quant_method ["a", "b"]'),
        INT8,
        quant_method=["a", "b"],
    ),
    at_odds(
        "no method beside int8",
        *("int-quantized", f"got no quant_method; {AS_INT8} has no quant_method", INT8),
    ),
    claimed(
        "two schemes in one model",
        *("int-quantized", f"{CT}; layers are stored in different schemes: float-quantized, int-quantized"),
        all_of(stored(FP8, where="q_proj"), stored(INT8, where=".mlp.")),
        quant_method="compressed-tensors",
    ),
    claimed(
        "some layers left plain",
        *("int-quantized", f"{CT}; tensors are stored as int-quantized"),
        stored(INT8, where=".mlp."),
        quant_method="compressed-tensors",
    ),
]
LOOKS = "(these look quantized, but config.json has no quantization_config)"
UNCLAIMED = [
    unclaimed("int8 without a config", "int-quantized", INT8, LOOKS),
    unclaimed("GPTQ without a config", "gptq", GPTQ, LOOKS),
    unclaimed("AWQ without a config", "awq", AWQ, LOOKS),
    unclaimed("nf4 without a config", "bitsandbytes-4bit", NF4, LOOKS),
    unclaimed("nvfp4 without a config", "nvfp4", NVFP4, LOOKS),
    unclaimed("mlx", "mlx", MLX, LOOKS),
    unclaimed("torchao without a config", "torchao", TORCHAO, LOOKS),
]
CASES = [*PUBLISHED, *FOREIGN, *CLAIMS, *UNCLAIMED]
