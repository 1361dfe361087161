"""Quantized checkpoints that are wrong: config and tensors at odds, tensors that are missing or hold what cannot be."""

from __future__ import annotations

from typing import Any

from model_edits import CONFIG, WEIGHTS, all_of, edit_config
from zoo.case import Case, refused
from zoo.quantized import (
    CHANNEL,
    CT,
    E4M3,
    STATIC,
    TOKEN,
    W4,
    Args,
    asymmetric,
    awq,
    bnb,
    compressed,
    gptq,
    quantized,
    whole_blocks,
)
from zoo.quantized_parts import (
    AWQ,
    BNB8,
    FP8,
    FP8_TENSOR,
    GPTQ,
    INT8,
    NESTED,
    NF4,
    PACKED,
    STATE,
    UINT8,
    Part,
    Parts,
    full,
    rows,
    scale,
    stored,
    valued,
    without,
)

W8A8 = compressed(CHANNEL, TOKEN)
W4A16 = compressed(W4, None, "pack-quantized")
NF4_CONFIG = bnb(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def claim(name: str, parts: Parts, config: Args, message: str, code: str = "unsupported", **more: Any) -> Case:
    """Refused for what the config says, alone or beside these tensors."""
    where = "{folder}/" + CONFIG
    return refused(name, quantized(parts, config), code, where, f"quantization_config: {message}", **more)


def value(name: str, parts: Parts, config: Args, message: str, *edits: Any, code: str = "checkpoint") -> Case:
    """Refused for what a tensor holds, or for what it lacks."""
    where = "{folder}/" + WEIGHTS
    return refused(name, quantized(parts, config, *edits), code, where, message)


def fit(name: str, parts: Parts, config: Args, message: str) -> Case:
    """Refused for the shape or type of a tensor, or its absence."""
    where = "{folder}"
    return refused(name, quantized(parts, config), "checkpoint", where, f"tensors must match config.json; {message}")


GROUP_0 = "config_groups.group_0"
PLAIN = "must agree with the tensors; got layers that it quantizes and that are stored plainly"
LEFT = "must agree with the tensors; got layers that it leaves alone and that are stored as"
FORM = "layers are stored in a form that fits no known scheme"
AT_ODDS = [
    refused(
        "a claim beside plain tensors",
        edit_config(quantization_config=gptq()),
        *("unsupported", "{folder}/" + CONFIG, f"quantization_config: {PLAIN} (weight F32); use the model's F32"),
        scheme="unknown",
    ),
    refused(
        "an empty claim",
        edit_config(quantization_config={}),
        *("config", "{folder}/" + CONFIG, "quantization_config: quant_method must be one of"),
    ),
    claim("a method of no name", INT8, {"quant_method": 3}, "quant_method must be one of", "config"),
    claim("a list of methods", INT8, {"quant_method": ["a", "b"]}, "quant_method must be one of", "config"),
    claim("no method beside int8", INT8, {"format": "int-quantized"}, "quant_method must be one of", "config"),
    claim(
        "GPTQ's tensors, AWQ's name",
        *(GPTQ, awq(), "quant_method must agree with the tensors, which are stored as gptq (g_idx I32, qweight I32,"),
        scheme="gptq",
    ),
    claim(
        "bitsandbytes' tensors, another name",
        *(BNB8, W8A8, f"{GROUP_0}: quant_method must agree with the tensors, which are stored as bitsandbytes-int8"),
    ),
    claim(
        "bitsandbytes' 8 bits, said to be 4", BNB8, NF4_CONFIG, "load_in_8bit must be true where I8 weights with SCB"
    ),
    claim("bitsandbytes' 4 bits, said to be 8", NF4, bnb(load_in_8bit=True), "load_in_4bit must be true where U8"),
    claim(
        "nf4, said to be fp4", NF4, bnb(load_in_4bit=True, bnb_4bit_quant_type="fp4"), "bnb_4bit_quant_type must agree"
    ),
    claim("int8, said to be FP8", INT8, compressed(E4M3, None, "naive-quantized"), f"{GROUP_0}: weights must be int"),
    claim(
        "FP8, said to be int8", FP8, compressed(CHANNEL, None, "naive-quantized"), f"{GROUP_0}: weights must be 8-bit"
    ),
    claim(
        "packed weights, said to be FP8",
        PACKED,
        compressed(E4M3, None, "float-quantized"),
        f"{GROUP_0}: format must agree",
    ),
    claim(
        "unsigned weights, said to be symmetric", UINT8, W8A8, f"{GROUP_0}: weights must be 8-bit int and not symmetric"
    ),
    claim(
        "int8 in rows, said to be packed",
        *(INT8, compressed(CHANNEL, None, "pack-quantized")),
        f"{GROUP_0}: format must agree with the tensors, which are stored as int-quantized (weight I8, weight_scale",
    ),
    claim(
        "packed weights, said to be in rows",
        *(PACKED, compressed(W4)),
        f"{GROUP_0}: format must agree with the tensors, which are stored as pack-quantized (weight_packed I32",
    ),
    claim(
        "int8 without scales",
        {"weight": Part("I8", full)},
        W8A8,
        f'{GROUP_0}: quant_method "{CT}": {FORM} (weight I8): as int-quantized, weight_scale is missing; use',
    ),
    claim(
        "plain weights with scales",
        {"weight": Part("BF16", full), "weight_scale": scale("BF16", rows)},
        W8A8,
        f'{GROUP_0}: quant_method "{CT}": {FORM} (weight BF16, weight_scale BF16): as int-quantized, weight must '
        "be I8, not BF16; use",
    ),
    claim(
        "int8 that ignore leaves alone", INT8, {**W8A8, "ignore": ["re:.*up_proj", "lm_head"]}, LEFT + " int-quantized"
    ),
    claim(
        "int8 that no group names", INT8, {**W8A8, "config_groups": {"W8A8": ["re:.*mlp.*"]}}, LEFT + " int-quantized"
    ),
    claim("a head that is not ignored", INT8, {**W8A8, "ignore": []}, f"{GROUP_0}: {PLAIN} (weight F32)"),
    refused(
        "a claim of all layers, some plain",
        all_of(stored(INT8, where=".mlp."), edit_config(quantization_config=W8A8)),
        *("unsupported", "{folder}/" + CONFIG, f"quantization_config: {GROUP_0}: {PLAIN} (weight F32)"),
    ),
    refused(
        "a claim of no layer",
        edit_config(quantization_config={**W8A8, "ignore": ["Linear"]}),
        *("unsupported", "{folder}/" + CONFIG, "quantization_config: quantizes none of the model's linear layers"),
    ),
]

HADAMARD = {"config_groups": {"v": {"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "input"}]}}}
ARITHMETIC = [
    claim(
        "a rotation of activations", INT8, {**W8A8, "transform_config": HADAMARD}, "transform_config must be absent or"
    ),
    claim(
        "sparse weights", INT8, {**W8A8, "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config must be"
    ),
    claim(
        "calibrated, not compressed",
        INT8,
        {**W8A8, "quantization_status": "calibration"},
        "quantization_status must be",
    ),
    claim(
        "a key that nothing knows",
        INT8,
        {**W8A8, "smoothing": 0.5},
        "smoothing must be absent or empty, for Inferno does",
    ),
    claim(
        "rounded outputs",
        *(
            INT8,
            {**W8A8, "config_groups": {"g": {"targets": ["Linear"], "weights": CHANNEL, "output_activations": TOKEN}}},
        ),
        "config_groups.g: output_activations must be null",
    ),
    claim(
        "one dynamic scale for a batch",
        INT8,
        compressed(CHANNEL, {**TOKEN, "strategy": "tensor"}),
        f"{GROUP_0}.input_act",
    ),
    claim(
        "int8 inputs by groups",
        INT8,
        compressed(CHANNEL, {**TOKEN, "strategy": "group", "group_size": 8}),
        f"{GROUP_0}.inp",
    ),
    claim(
        "inputs of 4 bits",
        INT8,
        compressed(CHANNEL, {**TOKEN, "num_bits": 4}),
        f"{GROUP_0}.input_activations: num_bits",
    ),
    claim(
        "inputs that are dynamic in part",
        INT8,
        compressed(CHANNEL, {**TOKEN, "dynamic": "local"}),
        f"{GROUP_0}.input_acti",
    ),
    claim(
        "dynamic weights",
        INT8,
        compressed({**CHANNEL, "strategy": "tensor", "dynamic": True}),
        f"{GROUP_0}.weights: dynam",
    ),
    claim(
        "weights per token",
        INT8,
        compressed({**CHANNEL, "strategy": "token"}),
        f"{GROUP_0}.weights: strategy must be ten",
    ),
    claim(
        "floats of 4 bits",
        FP8,
        compressed({**STATIC, "num_bits": 4}, None, "float-quantized"),
        f"{GROUP_0}.weights: num_",
    ),
    claim(
        "a quantized embedding",
        INT8,
        {**W8A8, "config_groups": {"W8A8": ["Embedding"]}},
        "config_groups.W8A8: targets mus",
    ),
    claim(
        "packed weights of 3 bits",
        PACKED,
        compressed({**W4, "num_bits": 3}, None, "pack-quantized"),
        f"{GROUP_0}: weights",
    ),
    claim(
        "packed weights with int8 inputs",
        PACKED,
        compressed(W4, TOKEN, "pack-quantized"),
        f"{GROUP_0}: input_activations",
    ),
    claim("GPTQ in 3 bits", GPTQ, gptq(bits=3), "bits must be 4 or 8 where quant_method is gptq; got 3"),
    claim("GPTQ for marlin", GPTQ, gptq(is_marlin_format=True), "checkpoint_format must be gptq or gptq_v2"),
    claim("GPTQ with exceptions", GPTQ, gptq(dynamic={"-:.*mlp": {}}), "dynamic must be absent or empty"),
    claim("AWQ of another version", AWQ, awq(version="gemv"), "version must be gemm where quant_method is awq"),
    claim("blocks that cross rows", NF4, NF4_CONFIG, "in_features must be a multiple of the block size, 32"),
    claim(
        "nf4 in another type",
        NF4,
        {**NF4_CONFIG, "bnb_4bit_quant_storage": "bfloat16"},
        "bnb_4bit_quant_storage must be",
    ),
]
NONSENSE = [
    claim("no groups", INT8, {**W8A8, "config_groups": {}}, "config_groups must be an object that names at", "config"),
    claim(
        "groups without a size",
        INT8,
        compressed({"num_bits": 8, "strategy": "group"}),
        f"{GROUP_0}.weights: group_size",
        "config",
    ),
    claim(
        "a regex that is none",
        INT8,
        {**W8A8, "ignore": ["re:(", "lm_head"]},
        "ignore: must be a regex of Python's",
        "config",
    ),
    claim(
        "a regex that would hang",
        INT8,
        {**W8A8, "ignore": ["re:(a+)+$"]},
        "ignore: a regex must not repeat a group",
        "config",
    ),
    claim(
        "two words for one layer",
        INT8,
        {**W8A8, "config_groups": {"W8A8": ["Linear"], "INT8": ["Linear"], "W8A16": ["re:.*"], "W4A16": ["re:.*"]}},
        "config_groups W8A16 and W4A16 must not both name",
        "config",
    ),
    claim("AWQ without a group size", AWQ, awq(group_size=None), "group_size must be an integer from -1", "config"),
    claim(
        "neither 8 nor 4 bits", BNB8, bnb(), "one of load_in_8bit and load_in_4bit must be true; got neither", "config"
    ),
]

Q = "model.layers.0.self_attn.q_proj"
ALL_Q = "model.layers.*.self_attn.q_proj"
FITTING = [
    fit(
        "scales of too few rows",
        {**INT8, "weight_scale": scale("BF16", lambda n, k: [n // 2, 1])},
        W8A8,
        f"{Q}.weight_scale must be F32",
    ),
    fit(
        "scales of channels, said to be groups",
        INT8,
        compressed({"num_bits": 8, "group_size": 8}, TOKEN),
        f"{Q}.weight_scale must be F32",
    ),
    fit(
        "no zero points though asymmetric",
        INT8,
        compressed(asymmetric(CHANNEL), TOKEN),
        f"missing {ALL_Q}.weight_zero_point",
    ),
    fit(
        "no scale of static inputs",
        INT8,
        compressed(CHANNEL, {"num_bits": 8, "strategy": "tensor"}),
        f"missing {ALL_Q}.input_scale",
    ),
    fit(
        "a tensor that the scheme does not know",
        {**FP8, "weight_global_scale": scale("F32", lambda n, k: [1])},
        compressed(E4M3, None, "float-quantized"),
        f"unexpected {ALL_Q}.weight_global_scale",
    ),
    fit(
        "GPTQ's zeros of other groups",
        {**GPTQ, "qzeros": Part("I32", lambda n, k: [1, n // 8])},
        gptq(),
        f"{Q}.qzeros must be I32 [4, 4]; got I32 [1, 4]",
    ),
    fit(
        "packed with zeros that are not",
        {**PACKED, "weight_zero_point": Part("I32", rows)},
        compressed(asymmetric(W4), None, "pack-quantized"),
        f"{Q}.weight_zero_point must be I32 [4, 4]; got I32 [32, 1]",
    ),
]
VALUES = [
    value(
        "a scale of zero", valued(INT8, "weight_scale", b"\0\0"), W8A8, "must hold positive, finite scales; got 0 at 0"
    ),
    value(
        "a scale that is no number",
        valued(INT8, "weight_scale", b"\xc0\x7f"),
        W8A8,
        "positive, finite scales; got nan at 0",
    ),
    value(
        "an infinite scale",
        valued(FP8_TENSOR, "input_scale", b"\0\0\x80\x7f"),
        compressed(STATIC, STATIC, "float-quantized"),
        "positive, finite scales; got inf at 0",
    ),
    value("a negative scale", valued(INT8, "weight_scale", b"\0\xbf"), W8A8, "positive, finite scales; got -0.5 at 0"),
    value(
        "GPTQ's scale of zero",
        valued(GPTQ, "scales", b"\0\0"),
        gptq(),
        "must hold finite scales other than 0; got 0 at 0",
    ),
    value(
        "zero points though symmetric",
        {**INT8, "weight_zero_point": Part("I8", rows, lambda n, k: b"\x05")},
        W8A8,
        "must be zero where the config says that weights are symmetric; got 5",
    ),
    claim(
        "a packed width that fits no rule",
        {**PACKED, "weight_packed": Part("I32", lambda n, k: [n, k])},
        W4A16,
        f"{GROUP_0}: num_bits must be that of the tensors: ",
        "checkpoint",
    ),
    claim(
        "packed for 8 bits, said to be 4",
        {**PACKED, "weight_packed": Part("I32", lambda n, k: [n, k // 4])},
        W4A16,
        f"{GROUP_0}: num_bits must be that of the tensors: ",
        "checkpoint",
    ),
    value(
        "packed with another shape",
        valued(PACKED, "weight_shape", b"\x07\0\0\0\0\0\0\0"),
        W4A16,
        "weight_shape must be",
    ),
    claim(
        "actorder without its order",
        PACKED,
        compressed({**W4, "actorder": "group"}, None, "pack-quantized"),
        f"{GROUP_0}: weight_g_idx must be there where actorder is group",
        "checkpoint",
    ),
    claim(
        "desc_act without its order",
        without(GPTQ, "g_idx"),
        gptq(desc_act=True),
        "g_idx must be there where desc_act is true",
        "checkpoint",
    ),
    value(
        "a bias that the model has not",
        {**GPTQ, "bias": Part("F16", lambda n, k: [n], lambda n, k: b"\0\x3c")},
        gptq(),
        "bias must be zero where config.json gives the layer no bias; got 1 at 0",
    ),
    value(
        "an order of groups that are not there",
        valued(GPTQ, "g_idx", b"\x63\0\0\0"),
        gptq(desc_act=True),
        "must hold groups in [0, ",
    ),
    value(
        "an order though desc_act is false",
        valued(GPTQ, "g_idx", b"\0\0\0\0"),
        gptq(),
        "must name one group after the other where desc_act is false",
    ),
    value(
        "int8 in the order of a GPU",
        valued(BNB8, "weight_format", b"\x02"),
        bnb(load_in_8bit=True),
        "must be 0 (rows); got 2 (col_turing)",
        code="unsupported",
    ),
    value("nf4 whose state is no JSON", valued(NF4, STATE + "nf4", b"{"), NF4_CONFIG, "must be JSON", whole_blocks),
    value(
        "nf4 with other levels",
        valued(NF4, "weight.quant_map", b"\0\0\0\0"),
        NF4_CONFIG,
        "must hold the values of nf4",
        whole_blocks,
    ),
    value("nf4 without its state", without(NF4, STATE + "nf4"), NF4_CONFIG, "must have one of", whole_blocks),
    value(
        "nf4 nested, with a state that is not",
        {**NESTED, STATE + "nf4": NF4[STATE + "nf4"]},
        NF4_CONFIG,
        "nested_blocksize must be 256",
        whole_blocks,
    ),
]
CASES = [*AT_ODDS, *ARITHMETIC, *NONSENSE, *FITTING, *VALUES]
