"""Quantized checkpoints in every published form: those that run, and those that are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_edits import CONFIG, Edit, all_of, edit_config
from tiny import write_tiny
from zoo.case import GOOD, Case, refused, runs, warned
from zoo.quantized_parts import (
    AQLM,
    AWQ,
    BITMASK,
    BITNET,
    BLOCKS,
    BNB8,
    EETQ,
    FP4,
    FP8,
    FP8_TENSOR,
    GPTQ,
    GPTQ8,
    GROUP,
    HQQ,
    INT8,
    MARLIN24,
    MLX,
    MXFP4,
    MXFP8,
    NESTED,
    NF4,
    NVFP4,
    PACKED,
    PACKED8,
    PACKED_ZEROS,
    QUANTO,
    QUANTO4,
    TORCHAO,
    UINT8,
    Part,
    Parts,
    groups,
    one,
    rows,
    scale,
    shuffled,
    stored,
    without,
)

CT = "compressed-tensors"
Args = dict[str, Any]
CHANNEL: Args = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
TOKEN: Args = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
W4: Args = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
E4M3: Args = {**CHANNEL, "type": "float"}
STATIC: Args = {"num_bits": 8, "type": "float", "strategy": "tensor"}


def compressed(weights: Args | None, inputs: Args | None = None, form: str = "int-quantized", **more: Any) -> Args:
    """A quantization_config of compressed-tensors with one group, and the head left alone."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": CT,
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
        **more,
    }


def asymmetric(args: Args) -> Args:
    return {**args, "symmetric": False}


def gptq(**more: Any) -> Args:
    return {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True, **more}


def awq(**more: Any) -> Args:
    return {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm", **more}


def bnb(**more: Any) -> Args:
    return {"quant_method": "bitsandbytes", "llm_int8_threshold": 6.0, **more}


def quantized(parts: Parts, config: Args, *edits: Edit) -> Edit:
    """The good model stored so, with this quantization_config."""
    return all_of(*edits, stored(parts), edit_config(quantization_config=config))


def whole_blocks(folder: Path) -> None:
    """A model whose rows hold whole blocks of 32, as bitsandbytes' 4-bit codes need here."""
    write_tiny(folder, {**GOOD, "intermediate_size": 64}, tokenizer=True)


def ready(name: str, scheme: str, parts: Parts, config: Args, *edits: Edit) -> Case:
    return runs(name, quantized(parts, config, *edits), scheme=scheme)


INPUT_SCALE = {"input_scale": scale("F32", one)}
INPUT_ZERO = {"input_zero_point": Part("I8", one, lambda n, k: b"\xfb")}
INT8_ZEROS = {"weight_zero_point": Part("I8", rows, lambda n, k: b"\x03")}
G_IDX = {"weight_g_idx": Part("I32", lambda n, k: [k], shuffled)}
INT_STATIC: Args = {"num_bits": 8, "strategy": "tensor"}
READY = [
    ready("W8A8", "int-quantized", INT8, compressed(CHANNEL, TOKEN, version="0.9.0")),
    ready("W8A8 with asymmetric inputs", "int-quantized", INT8, compressed(CHANNEL, asymmetric(TOKEN))),
    ready("W8A8 with static inputs", "int-quantized", {**INT8, **INPUT_SCALE}, compressed(CHANNEL, INT_STATIC)),
    ready(
        "W8A8 with static asymmetric inputs",
        *("int-quantized", {**INT8, **INPUT_SCALE, **INPUT_ZERO}),
        compressed(CHANNEL, asymmetric(INT_STATIC)),
    ),
    ready("W8A8, asymmetric", "int-quantized", {**INT8, **INT8_ZEROS}, compressed(asymmetric(CHANNEL), TOKEN)),
    ready(
        "W8A8 per tensor",
        "int-quantized",
        {**INT8, "weight_scale": scale("F32", one)},
        compressed({"num_bits": 8}, TOKEN),
    ),
    ready(
        "W8A8 by groups",
        *("int-quantized", {**INT8, "weight_scale": scale("F16", groups)}),
        compressed({"num_bits": 8, "group_size": GROUP}, TOKEN),
    ),
    ready(
        "W8A8 in blocks",
        *("int-quantized", {**INT8, "weight_scale": scale("F32", lambda n, k: [-(-n // 16), -(-k // 16)])}),
        compressed({"num_bits": 8, "block_structure": "16x16"}, TOKEN),
    ),
    ready("W4A8, stored unpacked", "int-quantized", INT8, compressed({**CHANNEL, "num_bits": 4}, TOKEN)),
    ready("int8 weights alone, as I8", "int-quantized", INT8, compressed(CHANNEL)),
    ready("W8A8 as it was once named", "int-quantized", INT8, compressed(CHANNEL, TOKEN, "naive-quantized")),
    ready(
        "W8A8 by the name of its preset",
        "int-quantized",
        INT8,
        {**compressed(None), "config_groups": {"W8A8": ["Linear"]}},
    ),
    ready(
        "W8A8, frozen as old writers say",
        "int-quantized",
        INT8,
        compressed(CHANNEL, TOKEN, quantization_status="frozen"),
    ),
    ready(
        "W8A8 with a dense sparsity",
        *("int-quantized", INT8),
        compressed(CHANNEL, TOKEN, sparsity_config={"format": "dense", "global_sparsity": 0.1}),
    ),
    ready(
        "W8A8 whose symmetric zeros are stored",
        "int-quantized",
        {**INT8, "weight_zero_point": Part("I8", rows)},
        compressed(CHANNEL, TOKEN),
    ),
    ready("unsigned int8", "uint8", UINT8, compressed(asymmetric(CHANNEL), TOKEN)),
    ready("unsigned int8 weights alone", "uint8", UINT8, compressed(asymmetric(CHANNEL))),
    ready("W4A16", "pack-quantized", PACKED, compressed(W4, None, "pack-quantized")),
    ready(
        "W4A16, asymmetric",
        "pack-quantized",
        {**PACKED, "weight_zero_point": PACKED_ZEROS},
        compressed(asymmetric(W4), None, "pack-quantized"),
    ),
    ready(
        "W4A16 per channel",
        "pack-quantized",
        {**PACKED, "weight_scale": scale("F32", rows)},
        compressed({"num_bits": 4, "group_size": -1}, None, "pack-quantized"),
    ),
    ready(
        "W4A16 with an order of columns",
        "pack-quantized",
        {**PACKED, **G_IDX},
        compressed({**W4, "actorder": "group"}, None, "pack-quantized"),
    ),
    ready(
        "W4A16 with a static order",
        "pack-quantized",
        PACKED,
        compressed({**W4, "actorder": "static"}, None, "pack-quantized"),
    ),
    ready("W8A16", "pack-quantized", PACKED8, compressed({**W4, "num_bits": 8}, None, "pack-quantized")),
    ready("FP8 per channel", "float-quantized", FP8, compressed(E4M3, {**TOKEN, "type": "float"}, "float-quantized")),
    ready("FP8 per tensor, static", "float-quantized", FP8_TENSOR, compressed(STATIC, STATIC, "float-quantized")),
    ready("FP8 weights alone", "float-quantized", FP8, compressed(E4M3, None, "naive-quantized")),
    ready(
        "FP8 in blocks, of compressed-tensors",
        *("float-quantized", {**FP8, "weight_scale": scale("F32", lambda n, k: [-(-n // 16), -(-k // 16)])}),
        compressed(
            {**STATIC, "strategy": "block", "block_structure": [16, 16]},
            {**STATIC, "strategy": "group", "group_size": GROUP, "dynamic": True},
            "float-quantized",
        ),
    ),
    ready("fp8 in blocks", "fp8-block", BLOCKS, {"quant_method": "fp8", "weight_block_size": [16, 16]}),
    ready("fp8 per tensor", "float-quantized", FP8_TENSOR, {"quant_method": "fp8", "activation_scheme": "static"}),
    ready("GPTQ", "gptq", GPTQ, gptq(checkpoint_format="gptq")),
    ready("GPTQ with biases of zeros", "gptq", {**GPTQ, "bias": Part("F16", lambda n, k: [n])}, gptq()),
    ready("GPTQ v2", "gptq", GPTQ, gptq(checkpoint_format="gptq_v2")),
    ready("GPTQ in 8 bits", "gptq", GPTQ8, gptq(bits=8)),
    ready("GPTQ without g_idx", "gptq", without(GPTQ, "g_idx"), gptq()),
    ready(
        "GPTQ with an order of columns",
        "gptq",
        {**GPTQ, "g_idx": Part("I32", lambda n, k: [k], shuffled)},
        gptq(desc_act=True),
    ),
    ready("AWQ", "awq", AWQ, awq()),
    ready("bitsandbytes in 8 bits", "bitsandbytes-int8", BNB8, bnb(load_in_8bit=True)),
    ready(
        "bitsandbytes nf4", "bitsandbytes-4bit", NF4, bnb(load_in_4bit=True, bnb_4bit_quant_type="nf4"), whole_blocks
    ),
    ready(
        "bitsandbytes nf4, nested",
        "bitsandbytes-4bit",
        NESTED,
        bnb(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        whole_blocks,
    ),
    ready("bitsandbytes fp4", "bitsandbytes-4bit", FP4, bnb(load_in_4bit=True), whole_blocks),
    runs(
        "W8A8 under the first name of the key",
        all_of(stored(INT8), edit_config(compression_config=compressed(CHANNEL, TOKEN))),
        scheme="int-quantized",
    ),
    runs(
        "two schemes in one model",
        all_of(
            stored(FP8, where="q_proj"),
            stored(INT8, where=".mlp."),
            edit_config(
                quantization_config={
                    "quant_method": CT,
                    "format": "mixed-precision",
                    "config_groups": {
                        "a": {"targets": ["re:.*mlp.*"], "weights": CHANNEL, "format": "int-quantized"},
                        "b": {"targets": ["re:.*q_proj"], "weights": E4M3, "format": "float-quantized"},
                    },
                }
            ),
        ),
        scheme="int-quantized",
    ),
    warned(
        "W8A8 that asks for a rounded cache",
        quantized(INT8, compressed(CHANNEL, TOKEN, kv_cache_scheme={"num_bits": 8, "type": "float"})),
        *("kv-cache-scheme", "{folder}/" + CONFIG),
        "kv_cache_scheme asks for keys and values rounded to 8-bit float; Inferno keeps them in its own cache's type",
        scheme="int-quantized",
    ),
]


def refused_claim(name: str, scheme: str, parts: Parts, message: str, **config: Any) -> Case:
    """A form that is known, and not run; the config's word for it is refused."""
    where = "{folder}/" + CONFIG
    return refused(
        name, quantized(parts, config), "unsupported", where, f"quantization_config: {message}", scheme=scheme
    )


def other_method(
    name: str, scheme: str, parts: Parts, method: str, told: str = "get the model in", **more: Any
) -> Case:
    message = f'quant_method must be one of {CT}, gptq, awq, bitsandbytes, fp8; got "{method}"; {told}'
    return refused_claim(name, scheme, parts, message, quant_method=method, **more)


def other_format(form: str, scheme: str, parts: Parts) -> Case:
    message = (
        "format must be one of int-quantized, pack-quantized, float-quantized, naive-quantized, mixed-precision; got "
        f'"{form}"; get the model as'
    )
    return refused_claim(form, scheme, parts, message, **compressed(CHANNEL, None, form))


KNOWN = [
    other_format("nvfp4-pack-quantized", "nvfp4", NVFP4),
    other_format("mxfp4-pack-quantized", "mxfp4", MXFP4),
    other_format("mxfp8-quantized", "mxfp8", MXFP8),
    other_format("marlin-24", "unknown", MARLIN24),
    other_format("sparse-bitmask", "unknown", BITMASK),
    other_format("dense", "int-quantized", INT8),
    other_method("fbgemm's fp8", "float-quantized", FP8, "fbgemm_fp8", "its inputs are clamped to activation_scale_ub"),
    other_method("modelopt's fp8", "float-quantized", FP8_TENSOR, "modelopt", quant_algo="FP8"),
    other_method("modelopt's nvfp4", "nvfp4", NVFP4, "modelopt", quant_algo="NVFP4"),
    other_method("torchao", "torchao", TORCHAO, "torchao"),
    other_method("quanto", "quanto", QUANTO, "quanto"),
    other_method("quanto in 4 bits", "quanto", QUANTO4, "quanto"),
    *(
        other_method(method, "unknown", parts, method)
        for method, parts in (("hqq", HQQ), ("eetq", EETQ), ("aqlm", AQLM), ("bitnet", BITNET))
    ),
]


def unclaimed(name: str, scheme: str, parts: Parts) -> Case:
    """Quantized tensors, and a config that says nothing of it."""
    told = "(these look quantized, but config.json has no quantization_config)"
    return refused(name, stored(parts), "checkpoint", "{folder}", told, scheme=scheme)


UNCLAIMED = [
    unclaimed("int8 without a config", "int-quantized", INT8),
    unclaimed("GPTQ without a config", "gptq", GPTQ),
    unclaimed("AWQ without a config", "awq", AWQ),
    unclaimed("nf4 without a config", "bitsandbytes-4bit", NF4),
    unclaimed("nvfp4 without a config", "nvfp4", NVFP4),
    unclaimed("mlx", "mlx", MLX),
    unclaimed("torchao without a config", "torchao", TORCHAO),
]
CASES = [*READY, *KNOWN, *UNCLAIMED]
