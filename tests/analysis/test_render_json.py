"""JSON of an inspection against its published schema, and against what the report says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_limits import make_limits
from inferno import hardware
from inferno.analysis import analyze_folder
from inferno.analysis.deep import deep_scan
from inferno.analysis.forecast import forecast, workload
from inferno.analysis.inspection import Inspection, inspect_report
from inferno.analysis.render import JSON_SCHEMA, as_json, as_text
from model_edits import edit_config, edit_entry, remove, rename_tensor, write
from safetensors_writer import write_safetensors
from schema_check import check
from tiny import stored_tensors, tiny_config, write_tiny

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "inspect.schema.json").read_text())
EDITS = {
    "sound": lambda folder: None,
    "no config": remove("config.json"),
    "config not JSON": write("config.json", "{"),
    "no weights": remove("model.safetensors"),
    "not safetensors": write("model.safetensors", "no"),
    "misnamed": rename_tensor("model.norm.weight", "model.norn.weight"),
    "misshapen": edit_config(intermediate_size=78),
    "a type that cannot run": edit_entry("model.norm.weight", dtype="I32"),
    "quantized": edit_config(quantization_config={"quant_method": "gptq"}),
    "tied": edit_config(tie_word_embeddings=True),
    "unknown key": edit_config(who_knows=1),
}


def published(inspection: Inspection) -> dict[str, Any]:
    """What is printed, checked: no NaN and no infinity, and as the schema says."""
    found = json.loads(json.dumps(as_json(inspection), allow_nan=False))
    check(found, SCHEMA)
    assert found["schema"] == JSON_SCHEMA == "inferno.inspect/1"
    return found


@pytest.mark.parametrize("edit", EDITS)
def test_any_folder_keeps_to_the_schema(tmp_path, edit):
    folder = write_tiny(tmp_path / "m")
    EDITS[edit](folder)
    report = analyze_folder(folder)
    inspection = inspect_report(report)
    found = published(replace(inspection, deep=deep_scan(report)))
    assert found["status"] == inspection.status
    assert (found["plan"] is None) == bool(report.errors)
    assert [finding["text"] for finding in found["findings"]][: len(report.errors)] == list(map(str, report.errors))


def test_an_empty_folder_keeps_to_the_schema(tmp_path):
    assert published(inspect_report(analyze_folder(tmp_path)))["layout"] is None


def test_every_tensor_and_every_kernel(tmp_path):
    folder = write_tiny(tmp_path / "m", dtype="BF16")
    found = published(inspect_report(analyze_folder(folder), threads=1, ctx_size=64, kv_cache_type="f32", isa="scalar"))
    assert (found["weight_bytes"], found["parameters"]) == (2 * found["parameters"], found["weight_bytes"] // 2)
    assert sum(tensor["bytes"] for tensor in found["tensors"]) == found["weight_bytes"]
    assert sum(found["bytes_by_role"].values()) == sum(found["bytes_by_dtype"].values()) == found["weight_bytes"]
    up = next(tensor for tensor in found["tensors"] if tensor["name"] == "model.layers.1.mlp.up_proj.weight")
    assert up == {
        "name": "model.layers.1.mlp.up_proj.weight",
        "stored_as": "model.layers.1.mlp.up_proj.weight",
        "dtype": "BF16",
        "shape": [77, 64],
        "bytes": 2 * 77 * 64,
        "files": ["model.safetensors"],
        "role": "mlp",
        "layer": 1,
    }
    plan = found["plan"]
    assert (plan["isa"], plan["threads"], plan["ctx_size"], plan["kv_cache_type"]) == ("scalar", 1, 64, "f32")
    assert plan["kv_bytes"] == 64 * plan["kv_bytes_per_token"] == 64 * 2 * 2 * 2 * 16 * 4
    kernels = {kernel["tensor"]: kernel for kernel in plan["kernels"]}
    assert kernels["lm_head.weight"] == {
        "operation": "matmul",
        "tensor": "lm_head.weight",
        "stored": "BF16",
        "kernel": "matmul_f32_f32_bf16",
        "tier": "scalar",
        "fallback_cost": None,
    }
    kinds = ("missing", "unexpected", "ignored", "duplicated", "misshapen")
    assert found["mapping"] == {**{kind: [] for kind in kinds}, "nearest": {}}


def test_a_mapping_with_faults(tmp_path):
    folder = write_tiny(tmp_path / "m")
    rename_tensor("model.norm.weight", "model.norn.weight")(folder)
    edit_config(num_key_value_heads=1)(folder)
    mapping = published(inspect_report(analyze_folder(folder)))["mapping"]
    assert mapping["missing"] == ["model.norm.weight"]
    assert mapping["unexpected"] == ["model.norn.weight"]
    assert mapping["nearest"] == {"model.norm.weight": "model.norn.weight"}
    assert {"name": "model.layers.0.self_attn.k_proj.weight", "shape": [32, 64], "expected": [16, 64]} in mapping[
        "misshapen"
    ]


def test_values_that_json_cannot_say(tmp_path):
    folder = write_tiny(tmp_path / "m")
    tensors = stored_tensors(tiny_config(), "F32", 0)
    tensors["model.norm.weight"] = np.full(64, np.nan, np.float32)
    write_safetensors(folder / "model.safetensors", tensors, "F32")
    report = analyze_folder(folder)
    found = published(replace(inspect_report(report), deep=deep_scan(report)))
    norm = next(tensor for tensor in found["deep"]["tensors"] if tensor["name"] == "model.norm.weight")
    assert (norm["nan"], norm["minimum"], norm["rms"]) == (64, None, None)


def test_a_forecast(tmp_path):
    inspection = inspect_report(analyze_folder(write_tiny(tmp_path / "m")), threads=2, isa="scalar")
    plan = inspection.plan
    assert plan is not None
    predicted = forecast(workload(plan), make_limits(2, 1.1), hardware.available_memory())
    inspection = replace(inspection, forecast=predicted)
    found = published(inspection)["forecast"]
    assert (found["read_bandwidth"], found["multiply_adds"]) == (1e10, 1e11)
    assert found["decode"]["low"] < found["decode"]["expected"] < found["decode"]["high"]
    text = as_text(inspection)
    for line in (
        rf"decode         {found['decode']['expected']:.0f} tokens/s \(",
        rf"prompt         {found['prefill']['expected']:.0f} tokens/s \(",
        r"measured       10.0 GB/s read, 100.0 G multiply-adds/s; 2 threads of scalar, on 2026-01-01T00",
    ):
        assert line.replace("\\", "") in text
    starved = replace(inspection, forecast=forecast(workload(plan), make_limits(), 1000))
    assert "more than the memory that is available" in as_text(starved)


def test_the_schema_is_checked_by_a_check_that_can_fail():
    for wrong in ({"status": "fine"}, {"parameters": -1}, {"more": 1}, {"layout": 3}, {"name": None}):
        with pytest.raises(AssertionError, match=r"^\$"):
            check({"schema": "inferno.inspect/1", **wrong}, {**SCHEMA, "required": []})
    with pytest.raises(AssertionError, match="lacks"):
        check({"schema": "inferno.inspect/1"}, SCHEMA)
