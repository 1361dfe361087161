"""Schemes told from the tensors that stand for a weight, their types, and what the config says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inferno.checkpoint.dtypes import DTYPES
from inferno.checkpoint.safetensors_file import open_safetensors
from inferno.checkpoint.tensor import Tensor
from inferno.quantization.recognize import FLOAT, SIGNATURES, UNKNOWN, Scheme, recognize, side_suffix
from model_edits import write_tensors

LAYER = "model.layers.0.self_attn.q_proj"
OTHER = "model.layers.0.mlp.up_proj"
PLAIN = {"model.embed_tokens.weight": "BF16", "model.norm.weight": "F32"}
CT = "compressed-tensors"


def opened(folder: Path, dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors of eight elements each."""
    write_tensors(folder / "t", {name: (dtype, [8], bytes(DTYPES[dtype].bits)) for name, dtype in dtypes.items()})
    return open_safetensors(folder / "t")


def scheme_of(
    folder: Path, parts: Mapping[str, str], config: Mapping[str, Any] | None, more: Mapping[str, str] | None = None
) -> Scheme:
    stored = {f"{LAYER}.{suffix}": dtype for suffix, dtype in parts.items()}
    return recognize(opened(folder, {**PLAIN, **stored, **(more or {})}), config)


def example(name: str) -> list[tuple[dict[str, str], list[str]]]:
    """For each signature of that name, its suffixes with the first type of each, and the methods that go with it."""
    return [
        ({suffix: min(dtypes or {"I8"}) for suffix, dtypes in s.suffixes.items()}, sorted(s.methods))
        for s in SIGNATURES
        if s.name == name
    ]


NAMES = list(dict.fromkeys(signature.name for signature in SIGNATURES))


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_with_each_of_its_methods(tmp_path: Path, name: str) -> None:
    for parts, methods in example(name):
        for method in methods:
            scheme = scheme_of(tmp_path, parts, {"quant_method": method})
            assert (scheme.name, scheme.conflict, scheme.quantized) == (name, None, True)
            assert scheme.evidence[0] == f'quantization_config: quant_method "{method}"'
            assert scheme.evidence[1].startswith(f"{LAYER}: ")
            assert scheme.evidence[1].endswith(f" -> {name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_beside_another_method(tmp_path: Path, name: str) -> None:
    parts, _ = example(name)[0]
    scheme = scheme_of(tmp_path, parts, {"quant_method": "exl9"})
    assert scheme.name == name
    assert scheme.conflict == f'tensors are stored as {name}, yet quantization_config says quant_method "exl9"'


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_without_a_config(tmp_path: Path, name: str) -> None:
    parts, methods = example(name)[0]
    scheme = scheme_of(tmp_path, parts, None)
    lacks = "tensors are quantized, yet config.json has no quantization_config"
    assert (scheme.name, scheme.conflict) == (name, lacks if methods else None)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_plain_weights(tmp_path: Path, dtype: str) -> None:
    scheme = scheme_of(tmp_path, {"weight": dtype, "bias": "F32"}, None)
    assert (scheme.name, scheme.quantized, scheme.conflict) == (FLOAT, False, None)
    assert scheme.evidence[0].startswith("every linear layer is one plain weight: ")
    assert scheme.dtypes[dtype] >= DTYPES[dtype].bits


def test_bytes_by_type(tmp_path: Path) -> None:
    scheme = scheme_of(tmp_path, {"weight": "I8", "weight_scale": "BF16"}, {"quant_method": CT})
    assert scheme.dtypes == {"BF16": 32, "F32": 32, "I8": 8}


@pytest.mark.parametrize("stray", ["model.norm.gamma", "lonely", "model.layers.0.self_attn.rotary_emb.inv_freq"])
def test_a_plain_stray_is_no_scheme(tmp_path: Path, stray: str) -> None:
    assert scheme_of(tmp_path, {"weight": "BF16"}, None, {stray: "F32"}).name == FLOAT


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"weight": "U8"}, UNKNOWN),
        ({"weight": "U8", "weight_scale": "BF16"}, UNKNOWN),  # BitNet
        ({"weight": "U8", "weight_scale": "BF16", "weight_zero_point": "U8"}, "uint8"),
        ({"weight": "U8", "weight.absmax": "F32", "weight.quant_map": "F32"}, "bitsandbytes-4bit"),
        ({"weight": "U8", "weight.absmax": "U8", "weight.quant_map": "F32"}, "bitsandbytes-4bit"),
        ({"weight": "I8", "SCB": "F32", "weight_format": "U8"}, "bitsandbytes-int8"),
        ({"weight_packed": "U8", "weight_scale": "U8"}, "mxfp4"),
        ({"weight_packed": "U8", "weight_scale": "F8_E4M3", "weight_global_scale": "F32"}, "nvfp4"),
        ({"weight": "F8_E4M3", "weight_scale": "U8"}, "mxfp8"),
        ({"weight._data": "U8", "weight._scale": "BF16"}, "quanto"),
        ({"_weight_qdata": "U8", "_weight_scale": "BF16"}, "torchao"),
        ({"W_q": "U8", "scale": "F16", "zero": "F16"}, UNKNOWN),  # HQQ
    ],
)
def test_u8_means_what_lies_beside_it(tmp_path: Path, parts: dict[str, str], name: str) -> None:
    assert scheme_of(tmp_path, parts, None).name == name


def test_gptq_without_its_order_of_groups_is_told_from_awq_by_the_config(tmp_path: Path) -> None:
    parts = {"qweight": "I32", "qzeros": "I32", "scales": "F16"}
    for method in ("gptq", "awq"):
        scheme = scheme_of(tmp_path, parts, {"quant_method": method})
        assert (scheme.name, scheme.conflict) == (method, None)
    scheme = scheme_of(tmp_path, {**parts, "g_idx": "I32"}, {"quant_method": "awq"})
    assert scheme.name == "gptq"
    assert 'yet quantization_config says quant_method "awq"' in (scheme.conflict or "")


@pytest.mark.parametrize("method", [["gptq"], {"a": 1}, 3, True])
def test_a_method_that_is_no_text(tmp_path: Path, method: object) -> None:
    scheme = scheme_of(tmp_path, {"weight": "I8", "weight_scale": "BF16"}, {"quant_method": method})
    assert scheme.name == "int-quantized"
    assert "says quant_method" in (scheme.conflict or "")


def test_no_method(tmp_path: Path) -> None:
    scheme = scheme_of(tmp_path, {"weight": "I8", "weight_scale": "BF16"}, {"bits": 8})
    assert scheme.conflict == "tensors are stored as int-quantized, yet quantization_config has no quant_method"
    assert scheme.evidence[0] == "quantization_config: bits 8"


def test_a_claim_without_tensors(tmp_path: Path) -> None:
    scheme = scheme_of(tmp_path, {"weight": "BF16"}, {"quant_method": "awq"})
    assert scheme.name == UNKNOWN
    assert scheme.conflict == "quantization_config is given, yet no tensor is stored in a quantized form"


def test_a_form_of_no_scheme(tmp_path: Path) -> None:
    scheme = scheme_of(tmp_path, {"weight_packed": "I32", "meta": "I16"}, {"quant_method": CT})
    assert (scheme.name, scheme.conflict) == (UNKNOWN, "tensors are stored in a form that fits no known scheme")
    assert scheme.evidence[1] == f"{LAYER}: meta I16, weight_packed I32 -> unknown"


def test_layers_of_different_schemes(tmp_path: Path) -> None:
    more = {f"{OTHER}.weight": "F8_E4M3", f"{OTHER}.weight_scale": "F32"}
    scheme = scheme_of(tmp_path, {"weight": "I8", "weight_scale": "BF16"}, {"quant_method": CT}, more)
    assert scheme.conflict is None  # mixed precision is no contradiction: resolve.py judges each layer
    assert len(scheme.evidence) == 3


def test_many_layers_are_one_line_of_evidence(tmp_path: Path) -> None:
    more = {
        f"model.layers.{i}.mlp.up_proj.{s}": d for i in range(50) for s, d in {"weight": "I8", "SCB": "F32"}.items()
    }
    scheme = recognize(opened(tmp_path, more), {"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert scheme.evidence == (
        'quantization_config: quant_method "bitsandbytes", load_in_8bit true',
        "model.layers.*.mlp.up_proj (50 tensors): SCB F32, weight I8 -> bitsandbytes-int8",
    )


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        (f"{LAYER}.weight", None),
        (f"{LAYER}.bias", None),
        (f"{LAYER}.weight_scale", "weight_scale"),
        (f"{LAYER}.weight.absmax", "weight.absmax"),
        (f"{LAYER}.weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__nf4"),
        ("model.layers.0.self_attn.k_scale", "k_scale"),
        ("scales", None),
        ("weight_scale", None),
        ("model.norm.weight", None),
    ],
)
def test_side_tensors(name: str, suffix: str | None) -> None:
    assert side_suffix(name) == suffix
