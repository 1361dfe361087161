"""What quantization_config says of each layer, method by method, and every refusal of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.errors import ConfigError, InfernoError, UnsupportedError
from inferno.quantization.args import QuantArgs
from inferno.quantization.claims import Claim, Claims, quantization_settings, read_claims

WHERE = "/m/config.json: quantization_config"
Q, K, V = (f"model.layers.0.self_attn.{name}_proj" for name in "qkv")
UP, DOWN = "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"
FAR = "model.layers.10.mlp.up_proj"
HEAD = "lm_head"
CT = "compressed-tensors"

WEIGHTS: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
INPUTS: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
GROUP: dict[str, Any] = {"targets": ["Linear"], "weights": WEIGHTS, "input_activations": INPUTS}
W4: dict[str, Any] = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 128}}
CHANNELS = QuantArgs(8, strategy="channel")
TOKENS = QuantArgs(8, strategy="token", dynamic=True)


def compressed(groups: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A quantization_config of compressed-tensors as llm-compressor writes it, with these changes."""
    return {
        "quant_method": CT,
        "version": "0.12.2",
        "format": "int-quantized",
        "ignore": [HEAD],
        "quantization_status": "compressed",
        "global_compression_ratio": 1.24,
        "kv_cache_scheme": None,
        "sparsity_config": {},
        "transform_config": {},
        "config_groups": {"group_0": GROUP} if groups is None else groups,
        **more,
    }


def with_group(**changes: Any) -> dict[str, Any]:
    return compressed({"group_0": {**GROUP, **changes}})


def with_weights(**changes: Any) -> dict[str, Any]:
    return with_group(weights={**WEIGHTS, **changes}, input_activations=None)


def with_inputs(**changes: Any) -> dict[str, Any]:
    return with_group(input_activations={**INPUTS, **changes})


def claims(config: Mapping[str, Any]) -> Claims:
    return read_claims(config, WHERE)


def claimed(config: Mapping[str, Any], module: str = UP) -> Claim:
    claim = claims(config).of(module)
    assert claim is not None
    return claim


def args(config: Mapping[str, Any], module: str) -> QuantArgs | None:
    claim = claims(config).of(module)
    return None if claim is None else claim.weights


def refusal(config: Any, module: str = UP) -> tuple[type[InfernoError] | None, str]:
    try:
        claims(config).of(module)
    except InfernoError as error:
        return type(error), str(error)
    return None, ""


def refuses(kind: type[InfernoError], config: Any, message: str, module: str = UP) -> None:
    caught, text = refusal(config, module)
    assert caught is kind, text
    assert text.startswith(f"{WHERE}: ")
    assert message in text


# compressed-tensors


def test_w8a8() -> None:
    config = compressed()
    where = f"{WHERE}: config_groups.group_0"
    assert claimed(config) == Claim(CT, "int-quantized", CHANNELS, TOKENS, config, where)
    assert claims(config).of(HEAD) is None
    assert claims(config).findings == ()


def test_a_head_that_is_not_ignored() -> None:
    assert args(compressed(ignore=None), HEAD) == CHANNELS


def test_groups_and_their_order() -> None:
    groups = {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8}},
        "group_1": {"targets": [r"re:.*down_proj"], "weights": {"num_bits": 4, "group_size": 32}},
        "group_2": {"targets": ["model.layers.1.mlp.down_proj"], "weights": {"num_bits": 4, "group_size": 64}},
    }
    config = compressed(groups, ignore=["re:.*layers.10.*"])
    assert args(config, UP) == QuantArgs(8)
    assert args(config, "model.layers.0.mlp.down_proj") == QuantArgs(4, strategy="group", group_size=32)
    assert args(config, DOWN) == QuantArgs(4, strategy="group", group_size=64)
    assert args(config, FAR) is None
    assert claimed(config, DOWN).where == f"{WHERE}: config_groups.group_2"


def test_what_no_group_targets() -> None:
    assert args(with_group(targets=["re:.*self_attn.*"]), UP) is None


def test_fused_names_of_servers() -> None:
    fused = {"targets": ["re:.*qkv_proj"], "weights": WEIGHTS}
    config = compressed({"group_0": fused, "group_1": W4})
    assert [args(config, name) for name in (Q, K, V)] == [CHANNELS] * 3
    assert args(config, UP) == QuantArgs(4, strategy="group", group_size=128)
    ignored = compressed(ignore=["model.layers.1.mlp.gate_up_proj"])
    assert [args(ignored, name) for name in (UP, DOWN)] == [None, CHANNELS]


def test_parts_of_a_fused_module_must_agree() -> None:
    config = compressed(ignore=["model.layers.0.self_attn.q_proj"])
    assert [args(config, name) for name in (Q, K)] == [None, CHANNELS]
    groups = {"group_0": {"targets": ["re:.*qkv_proj"], "weights": WEIGHTS}, "group_1": {**W4, "targets": [Q]}}
    message = f"must say one thing of the parts of a fused module; got different things of {K} and {Q}; name each part"
    refuses(ConfigError, compressed(groups), message, K)
    same = {"group_0": groups["group_0"], "group_1": {"targets": [Q], "weights": WEIGHTS}}
    assert args(compressed(same), K) == CHANNELS


def test_groups_that_both_name_a_layer() -> None:
    groups = {"a": {"targets": ["re:.*up_proj"], "weights": WEIGHTS}, "b\n": {**W4, "targets": ["re:.*mlp.*"]}}
    message = rf'config_groups a and "b\n" must not both name {UP} and say different things of it'
    refuses(ConfigError, compressed(groups), message)
    assert args(compressed(groups), DOWN) == QuantArgs(4, strategy="group", group_size=128)
    assert args(compressed({"a": GROUP, "b": GROUP}), UP) == CHANNELS


def test_presets_by_name() -> None:
    config = compressed({"W4A16_ASYM": ["Linear"], "fp8_dynamic": ["re:.*down_proj"]}, format="mixed-precision")
    refuses(ConfigError, config, "config_groups.W4A16_ASYM: format must be given where that of the whole is mixed")
    assert claimed(compressed({"W8A8": ["Linear"]})).inputs == TOKENS
    config = compressed({"FP8_block": ["Linear"], "UNQUANTIZED": [UP]}, format="float-quantized")
    assert args(config, UP) is None
    assert args(config, DOWN) == QuantArgs(8, "float", strategy="block", block_structure=(128, 128))


def test_formats_of_groups() -> None:
    groups = {
        "a": {**GROUP, "targets": ["re:.*mlp.*"], "format": "int-quantized"},
        "b": {**W4, "format": "pack-quantized"},
    }
    config = compressed(groups, format="mixed-precision")
    assert [claimed(config, name).format for name in (UP, Q)] == ["int-quantized", "pack-quantized"]
    assert claimed(compressed({"g": W4}, format="naive-quantized")).format == "naive-quantized"
    assert claimed(compressed({"g": W4}, format=None)).format == ""


@pytest.mark.parametrize(
    "sparsity", [None, {}, {"format": "dense", "global_sparsity": 0.12, "sparsity_structure": "unstructured"}]
)
@pytest.mark.parametrize("transform", [None, {}, {"config_groups": {}}])
@pytest.mark.parametrize("status", [None, "compressed", "frozen"])
def test_what_changes_nothing(sparsity: object, transform: object, status: object) -> None:
    config = compressed(sparsity_config=sparsity, transform_config=transform, quantization_status=status)
    assert args({**config, "run_compressed": True, "odd": None, "more": []}, UP) == CHANNELS


def test_a_cache_scheme_is_told_and_not_followed() -> None:
    (finding,) = claims(compressed(kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor"})).findings
    assert (finding.severity, finding.code, finding.where) == ("warning", "kv-cache-scheme", "/m/config.json")
    assert finding.message.startswith(
        "quantization_config: kv_cache_scheme asks for keys and values rounded to 8-bit fl"
    )
    assert finding.repair.startswith("remove kv_cache_scheme")
    refuses(ConfigError, compressed(kv_cache_scheme="fp8"), 'kv_cache_scheme: must be an object or null; got "fp8"')


ONE_OF = "format must be one of int-quantized, pack-quantized, float-quantized, naive-quantized"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        *[
            (compressed(format=form), f'{ONE_OF}, mixed-precision; got "{form}"; get the model as')
            for form in (
                *("dense", "fakequant", "sparse-bitmask", "sparse-24-bitmask", "marlin-24", "nvfp4-pack-quantized"),
                *("mxfp4-pack-quantized", "mxfp8-quantized", "made-up"),
            )
        ],
        (with_group(format="mixed-precision"), f'config_groups.group_0: {ONE_OF}; got "mixed-precision"'),
        *[
            (compressed(quantization_status=status), f'quantization_status must be "compressed"; got "{status}": the w')
            for status in ("initialized", "calibration", "decompressed")
        ],
        (
            compressed(sparsity_config={"format": "sparse-24-bitmask"}),
            "sparsity_config must be absent, empty or of format dense, for Inferno does not implement sparse weights; "
            'got {"format": "sparse-24-bitmask"}; save the model without',
        ),
        (compressed(sparsity_config="2:4"), 'sparse weights; got "2:4"'),
        (
            compressed(transform_config={"config_groups": {"u": {"type": "hadamard"}}}),
            "transform_config must be absent or empty, for Inferno does not implement rotations of activations; got",
        ),
        (
            with_group(output_activations=INPUTS),
            "config_groups.group_0: output_activations must be null, for Inferno does not round what a layer puts out;",
        ),
        (with_group(weights=None), "config_groups.group_0: weights must be given beside input_activations; got null"),
        (
            with_group(targets=["Linear", "LlamaAttention"]),
            'group_0: targets must be Linear, names of linear layers, or regexes; got "LlamaAttention": Inferno',
        ),
        (compressed({"NVFP4": ["Linear"]}), "config_groups.NVFP4: a preset must be one of UNQUANTIZED, W8A16, W4A16,"),
        (
            compressed(rotation="spin"),
            "rotation must be absent or empty, for Inferno does not know what it changes; got",
        ),
        (with_group(**{"a\tb": 1}), r'config_groups.group_0: "a\tb" must be absent or empty'),
        (with_weights(clip=0.5), "config_groups.group_0.weights: clip must be absent or empty"),
        (
            with_weights(dynamic=True, strategy="tensor"),
            "group_0.weights: dynamic must be false, for scales of weights",
        ),
        (
            with_weights(strategy="token", dynamic=False),
            "weights: strategy must be tensor, channel, group or block for",
        ),
        (with_weights(strategy="attn_head"), "or block for weights; got attn_head"),
        (with_weights(strategy="tensor_group", group_size=16), "or block for weights; got tensor_group"),
        (with_weights(num_bits=16), "group_0.weights: num_bits must be at most 8 for the type int; got 16"),
        (
            with_weights(type="float", num_bits=4),
            "num_bits must be 8 for the type float; got 4: Inferno does not imple",
        ),
        (with_inputs(strategy="tensor"), "group_0.input_activations: strategy must be token where dynamic is true"),
        (
            with_inputs(strategy="tensor_group", group_size=16, dynamic="local"),
            'dynamic must be true or false; got "loc',
        ),
        (with_inputs(num_bits=4), "group_0.input_activations: num_bits must be 8 for inputs; got 4"),
        (
            with_inputs(strategy="group", group_size=128),
            "strategy must be tensor (static), token (dynamic) or, for the",
        ),
    ],
)
def test_compressed_tensors_that_do_not_run(config: dict[str, Any], message: str) -> None:
    refuses(UnsupportedError, config, message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (compressed({}), "config_groups must be an object that names at least one group; got {}"),
        (compressed(config_groups=None), "config_groups must be an object that names at least one group; got no such"),
        (compressed({"g": 3}), "config_groups.g: must be an object, or targets under the name of a preset; got 3"),
        (
            compressed({"g": ["Linear"]}),
            "config_groups.g: a list of targets must stand under the name of a preset, one",
        ),
        (with_group(targets=None), "config_groups.group_0: targets: must be a list of names; got null"),
        (with_group(targets=["re:("]), "config_groups.group_0: targets: must be a regex of Python's; got"),
        (
            with_group(targets=["re:(a+)+$"]),
            "targets: a regex must not repeat a group that repeats or has alternatives",
        ),
        (compressed(ignore=["re:" + ".*" * 8]), "the regexes of targets and ignore must be simpler or fewer"),
        (compressed(ignore="lm_head"), 'ignore: must be a list of names; got "lm_head"'),
        (compressed(ignore=0), "ignore: must be a list of names; got 0"),
        (compressed(format=1), "format must be a string; got 1"),
        (compressed(quantization_status=1), "quantization_status must be a string; got 1"),
        (with_weights(type="float"), 'weights.type must be "int" for the format int-quantized; got "float"'),
        (
            compressed(format="float-quantized"),
            'weights.type must be "float" for the format float-quantized; got "int"',
        ),
        (
            with_weights(strategy="group"),
            "group_0.weights: group_size must be given for the strategy group; got no such",
        ),
        (with_weights(actorder="group"), 'weights: actorder must be null or "weight" for the strategy channel; got'),
        (with_inputs(actorder="weight"), 'group_0.input_activations: actorder must be null for inputs; got "weight"'),
        (with_inputs(dynamic=False), "input_activations: dynamic must be true for the strategy token; got false"),
        (with_group(weights=[1]), "config_groups.group_0.weights: must be an object or null; got [1]"),
    ],
)
def test_compressed_tensors_that_make_no_sense(config: dict[str, Any], message: str) -> None:
    refuses(ConfigError, config, message)


# the other methods


def gptq(**more: Any) -> dict[str, Any]:
    return {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "sym": True,
        "damp_percent": 0.01,
        "static_groups": False,
        "true_sequential": True,
        "model_name_or_path": None,
        "lm_head": False,
        "meta": {"quantizer": ["gptqmodel:2.0.0"]},
        "pack_dtype": "int32",
        "dynamic": None,
        **more,
    }


def test_gptq() -> None:
    claim = claimed(gptq())
    assert (claim.method, claim.format, claim.inputs, claim.where) == ("gptq", "gptq", None, WHERE)
    assert claim.weights == QuantArgs(4, strategy="group", group_size=128)
    assert claim.settings["checkpoint_format"] == "gptq"
    assert claims(gptq()).of(HEAD) is None
    weights = claimed(gptq(lm_head=True, bits=8, group_size=-1, sym=False), HEAD).weights
    assert weights == QuantArgs(8, symmetric=False, strategy="channel")
    ordered = claimed(gptq(desc_act=True, checkpoint_format="gptq_v2"))
    assert ordered.weights is not None
    assert (ordered.weights.actorder, ordered.format) == ("group", "gptq_v2")
    # GPTQModel's other name for the format
    assert claimed(gptq(format="gptq_v2", method="gptq")).settings["checkpoint_format"] == "gptq_v2"


def test_awq_as_gptqmodel_writes_it() -> None:
    settings = {"checkpoint_format": "gemm", "format": "gemm", "method": "awq", "desc_act": False, "lm_head": False}
    claim = claimed(awq(pack_dtype="int32", meta={"quantizer": ["gptqmodel:5.0.0"]}, sym=True, **settings))
    assert (claim.method, claim.format) == ("awq", "gemm")


AUTO_ROUND = {
    "data_type": "int",
    "autoround_version": "0.4.5",
    "iters": 200,
    "nsamples": 128,
    "seqlen": 2048,
    "lr": 0.005,
    "minmax_lr": 0.005,
    "low_gpu_mem_usage": False,
    "enable_minmax_tuning": True,
    "enable_quanted_input": True,
    "enable_norm_bias_tuning": False,
    "gradient_accumulate_steps": 1,
    "scale_dtype": "torch.float16",
    "not_use_best_mse": False,
    "dynamic_max_gap": -1,
    "train_bs": 8,
    "act_bits": 16,
    "super_bits": None,
}


def test_gptq_as_autoround_writes_it() -> None:
    assert claimed(gptq(**AUTO_ROUND)).format == "gptq"
    refuses(UnsupportedError, gptq(**{**AUTO_ROUND, "data_type": "mx_fp"}), "data_type must be int; got")
    refuses(UnsupportedError, gptq(**{**AUTO_ROUND, "act_bits": 8}), "act_bits must be 16 where quant_method is gptq")


def test_gptq_of_some_layers() -> None:
    config = gptq(modules_in_block_to_quantize=[["self_attn.q_proj", "self_attn.k_proj"], ["mlp.down_proj"]])
    found = [args(config, name) is not None for name in (Q, K, V, UP, DOWN)]
    assert found == [True, True, False, False, True]


def awq(**more: Any) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True, **more}


def test_awq_as_transformers_5_writes_it() -> None:
    """AwqConfig(bits=4, group_size=128).to_dict(): among its own settings stand those of GPTQ."""
    keys = "tokenizer dataset meta model_seqlen block_name_to_quantize module_name_preceding_first_block pad_token_id"
    empty = dict.fromkeys([*keys.split(), "max_input_length", "modules_in_block_to_quantize"])
    settings = {"desc_act": False, "act_group_aware": True, "sym": True, "true_sequential": True, "format": "gemm"}
    more = {"damp_percent": 0.1, "backend": "auto", "batch_size": 1, "cache_block_outputs": True}
    claim = claimed(awq(modules_to_not_convert=None, **empty, **settings, **more))
    assert (claim.method, claim.format) == ("awq", "gemm")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("desc_act", True, "desc_act must be false where quant_method is awq; got true"),
        ("format", "gptq", 'format must be gemm where quant_method is awq; got "gptq"'),
        ("checkpoint_format", "gemv", 'checkpoint_format must be gemm where quant_method is awq; got "gemv"'),
        ("pack_dtype", "int64", 'pack_dtype must be int32; got "int64"'),
    ],
)
def test_awq_with_what_is_of_gptq(key: str, value: object, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        claimed(awq(**{key: value}))


def test_awq() -> None:
    claim = claimed(awq(version="GEMM", modules_to_not_convert=None, backend="autoawq", do_fuse=False))
    assert (claim.method, claim.format) == ("awq", "gemm")
    assert claim.weights == QuantArgs(4, symmetric=False, strategy="group", group_size=128)
    assert claims(awq()).of(HEAD) is None
    old = {"quant_method": "awq", "w_bit": 4, "q_group_size": -1, "zero_point": False}
    assert args(old, UP) == QuantArgs(4, strategy="channel")
    assert claimed(old).settings["bits"] == 4
    skipped = awq(modules_to_not_convert=["layers.1.mlp", "layers.1"])
    assert [args(skipped, name) is None for name in (Q, UP, FAR)] == [False, True, True]


def bnb(**more: Any) -> dict[str, Any]:
    return {
        "quant_method": "bitsandbytes",
        "llm_int8_threshold": 6.0,
        "llm_int8_skip_modules": None,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_use_double_quant": True,
        **more,
    }


def test_bitsandbytes() -> None:
    claim = claimed(bnb(load_in_8bit=True, load_in_4bit=False))
    assert (claim.method, claim.format, claim.weights) == ("bitsandbytes", "int8", CHANNELS)
    assert claims(bnb(load_in_8bit=True)).of(HEAD) is None
    four = claimed(bnb(_load_in_4bit=True, _load_in_8bit=False))
    assert (four.format, four.settings["load_in_4bit"], four.settings["load_in_8bit"]) == ("nf4", True, False)
    assert claimed(bnb(load_in_4bit=True, bnb_4bit_quant_type="fp4")).format == "fp4"
    assert claimed(bnb(load_in_4bit=True, bnb_4bit_quant_type=None)).format == "fp4"
    # a list stands for itself: the head is on it or not
    listed = bnb(load_in_4bit=True, llm_int8_skip_modules=["model.layers.1.mlp", "o_proj"])
    left = [args(listed, name) is None for name in (HEAD, UP, FAR, Q, "model.layers.0.self_attn.o_proj")]
    assert left == [False, True, False, False, True]


def fp8(**more: Any) -> dict[str, Any]:
    config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 64], "fmt": "e4m3"}
    return {**config, **more}


def test_fp8() -> None:
    claim = claimed(fp8())
    assert (claim.method, claim.format) == ("fp8", "")
    assert claim.weights == QuantArgs(8, "float", strategy="block", block_structure=(128, 64))
    assert claim.inputs == QuantArgs(8, "float", strategy="group", group_size=64, dynamic=True)
    assert claims(fp8()).of(HEAD) is None
    whole = claimed(fp8(weight_block_size=None))
    assert (whole.weights, whole.inputs) == (
        QuantArgs(8, "float"),
        QuantArgs(8, "float", strategy="token", dynamic=True),
    )
    static = claimed(fp8(weight_block_size=None, activation_scheme="static"))
    assert static.inputs == QuantArgs(8, "float")
    for key in ("modules_to_not_convert", "ignored_layers"):
        skipped = fp8(**{key: ["lm_head", "model.layers.1.mlp"]})
        assert [args(skipped, name) is None for name in (UP, FAR)] == [True, False]
    (finding,) = claims(fp8(kv_cache_scheme="static")).findings
    assert finding.code == "kv-cache-scheme"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            gptq(checkpoint_format="marlin"),
            'checkpoint_format must be gptq or gptq_v2 where quant_method is gptq; got "m',
        ),
        (gptq(checkpoint_format="bitblas"), 'got "bitblas"; get the model in GPTQ\'s own format'),
        (gptq(is_marlin_format=True), "checkpoint_format must be gptq or gptq_v2 where quant_method is gptq; got is_m"),
        (
            gptq(dynamic={"-:.*mlp.*": {}}),
            "dynamic must be absent or empty, for Inferno does not implement settings for some layers; got",
        ),
        (
            gptq(rotation="hadamard"),
            "rotation must be absent or empty, for Inferno does not implement rotations of act",
        ),
        (
            gptq(adapter={"path": "x"}),
            "adapter must be absent or empty, for Inferno does not implement adapters beside",
        ),
        (gptq(pack_dtype="int64"), 'pack_dtype must be int32; got "int64"; pack the model so'),
        (
            gptq(learned_shift=1),
            "learned_shift must be absent or empty, for Inferno does not know what it changes; got",
        ),
        (awq(version="gemv"), 'version must be gemm where quant_method is awq; got "gemv"; get the model in AutoAWQ'),
        (awq(version="marlin"), 'version must be gemm where quant_method is awq; got "marlin"'),
        (awq(lm_head=True), "lm_head must be false where quant_method is awq; got true"),
        (
            awq(modules_to_not_convert=["re:x.*"]),
            "modules_to_not_convert must hold names of modules, not patterns; got",
        ),
        (awq(smooth=0.5), "smooth must be absent or empty, for Inferno does not know what it changes; got 0.5; remove"),
        (
            bnb(load_in_8bit=True, llm_int8_has_fp16_weight=True),
            "llm_int8_has_fp16_weight must be false, for such weights are quantized anew in each step; got true; save",
        ),
        (bnb(load_in_4bit=True, bnb_4bit_quant_type="int4"), 'bnb_4bit_quant_type must be nf4 or fp4; got "int4"'),
        (
            bnb(load_in_4bit=True, bnb_4bit_quant_storage="bfloat16"),
            'bnb_4bit_quant_storage must be uint8; got "bfloat16"; save the model with uint8',
        ),
        (bnb(load_in_4bit=True, bnb_5bit=1), "bnb_5bit must be absent or empty"),
        (fp8(activation_scheme="static"), 'activation_scheme must be "dynamic" beside weight_block_size; got "static"'),
        (fp8(fmt="e5m2"), 'fmt must be e4m3; got "e5m2"'),
        (
            fp8(scale_fmt="ue8m0"),
            'scale_fmt must be absent or "float", for Inferno does not round scales of activations',
        ),
        (
            fp8(modules_to_convert=["embed_tokens"]),
            "modules_to_convert must be null, for Inferno runs float8 in linear",
        ),
        (fp8(hadamard=True), "hadamard must be absent or empty"),
        *[
            ({"quant_method": method}, f'awq, bitsandbytes, fp8; got "{method}"; {repair}')
            for method, repair in (
                ("fbgemm_fp8", "its inputs are clamped to activation_scale_ub"),
                ("modelopt", "get the model in compressed-tensors' FP8 form"),
                ("quark", "get the model in compressed-tensors' form"),
                ("auto-round", "export the model with AutoRound's format auto_gptq or auto_awq"),
                ("mxfp4", "get the model in compressed-tensors' W4A16 form"),
                *((name, "get the model in compressed-tensors' form (W8A8") for name in ("torchao", "hqq", "made-up")),
            )
        ],
    ],
)
def test_what_does_not_run(config: dict[str, Any], message: str) -> None:
    refuses(UnsupportedError, config, message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, f"quant_method must be one of {CT}, gptq, awq, bitsandbytes, fp8; got no such field"),
        ({"quant_method": 3}, "bitsandbytes, fp8; got 3"),
        ({"quant_method": [CT]}, f'bitsandbytes, fp8; got ["{CT}"]'),
        (gptq(bits="4"), 'bits must be an integer from 1 to 32; got "4"'),
        (gptq(group_size=None), "group_size must be an integer from -1 to 2147483647; got no such field"),
        (gptq(group_size=0), "group_size must be at least 1, or -1 for one group in a row; got 0"),
        (gptq(desc_act="yes"), 'desc_act must be true or false; got "yes"'),
        (gptq(lm_head=1), "lm_head must be true or false; got 1"),
        (gptq(modules_in_block_to_quantize=["q_proj"]), "modules_in_block_to_quantize must be lists of names; got"),
        (awq(bits=None), "bits must be an integer from 1 to 32; got no such field"),
        (awq(zero_point=1), "zero_point must be true or false; got 1"),
        (awq(modules_to_not_convert="lm_head"), "modules_to_not_convert must be a list of names or null; got"),
        (bnb(), "one of load_in_8bit and load_in_4bit must be true; got neither"),
        (bnb(load_in_8bit=True, load_in_4bit=True), "one of load_in_8bit and load_in_4bit must be true; got both"),
        (
            bnb(load_in_8bit=True, llm_int8_threshold=-1),
            "llm_int8_threshold must be a finite number 0 or above 0; got -1",
        ),
        (bnb(load_in_8bit="yes"), 'load_in_8bit must be true or false; got "yes"'),
        (
            bnb(load_in_8bit=True, _load_in_8bit=False),
            "load_in_8bit and _load_in_8bit must agree; got true and false",
        ),
        (fp8(activation_scheme="row"), 'activation_scheme must be "dynamic" or "static"; got "row"'),
        (
            fp8(weight_block_size=[128]),
            "weight_block_size must be two positive integers, [rows, columns], or null; got",
        ),
        (
            fp8(weight_block_size=[0, 8]),
            "weight_block_size must be two positive integers, [rows, columns], or null; got",
        ),
        (fp8(ignored_layers=[1]), "ignored_layers must be a list of names or null; got [1]"),
    ],
)
def test_what_makes_no_sense(config: dict[str, Any], message: str) -> None:
    refuses(ConfigError, config, message)


# where it stands in config.json


def test_the_key_of_today_and_the_first() -> None:
    ct = compressed()
    assert quantization_settings({}, "c") is None
    assert quantization_settings({"quantization_config": None, "compression_config": None}, "c") is None
    assert quantization_settings({"quantization_config": ct}, "c") == ct
    assert quantization_settings({"quantization_config": ct, "compression_config": ct}, "c") == ct
    old = {key: value for key, value in ct.items() if key != "quant_method"}
    assert quantization_settings({"compression_config": old}, "c") == ct
    nested = {"quant_method": CT, "quantization_config": old, "sparsity_config": None}
    for key in ("quantization_config", "compression_config"):
        settings = quantization_settings({key: nested}, "c")
        assert settings is not None
        assert args(settings, UP) == CHANNELS
    sparse = quantization_settings({"compression_config": {"sparsity_config": {"format": "sparse-bitmask"}}}, "c")
    refuses(UnsupportedError, sparse, "sparsity_config must be absent, empty or of format dense")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": [1]}, r"^c: quantization_config must be an object or null; got \[1\]$"),
        ({"compression_config": "int8"}, '^c: compression_config must be an object or null; got "int8"$'),
        (
            {"quantization_config": {"a": 1}, "compression_config": {"a": 2}},
            "^c: compression_config must be absent where quantization_config is given; got both; remove the one",
        ),
    ],
)
def test_bad_keys(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        quantization_settings(config, "c")


# anything at all

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**65)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["Linear", "re:.*", "re:(", "group", "token", "int", "float", "gptq", "nf4", "dense", "W8A8"])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
BASES = [compressed(), gptq(), awq(), bnb(load_in_4bit=True), bnb(load_in_8bit=True), fp8()]
KEYS = sorted({key for base in BASES for key in base})


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), values, max_size=3))
def test_random_settings(base: dict[str, Any], changes: dict[str, Any]) -> None:
    settings = {**base, **changes}
    for module in (Q, UP, HEAD):
        assert refusal(settings, module)[1].isprintable()


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["group_0", "W4A16"]) | st.text(max_size=4),
        st.dictionaries(st.sampled_from(["targets", "weights", "input_activations", "format", "x"]), values) | values,
    ),
    st.lists(st.text(max_size=6) | st.sampled_from(["re:.*qkv.*", Q]), max_size=3),
)
def test_random_groups(groups: dict[str, Any], ignore: list[str]) -> None:
    for module in (Q, UP, HEAD):
        assert refusal(compressed(groups, ignore=ignore), module)[1].isprintable()


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["quantization_config", "compression_config"]), values))
def test_random_keys(config: dict[str, Any]) -> None:
    try:
        found = quantization_settings(config, "c")
    except InfernoError as error:
        text = str(error)
    else:
        text = "" if found is None else refusal(found)[1]
    assert text.isprintable()
