"""An inspection as JSON, schema inferno.inspect/1: docs/inspect.md says what each field means.

Fields may be added to a schema; a changed meaning is a new schema.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inferno.analysis.inspection import Inspection
from inferno.analysis.plan import Plan
from inferno.analysis.report import Report
from inferno.findings import Finding

if TYPE_CHECKING:
    from inferno.analysis.deep import DeepReport
    from inferno.analysis.forecast import Forecast
    from inferno.config import LlamaConfig

JSON_SCHEMA = "inferno.inspect/1"


def as_json(inspection: Inspection) -> dict[str, Any]:
    """Everything that is known, for `json.dumps`: no NaN, no infinity, every tensor."""
    report = inspection.report
    return {
        "schema": JSON_SCHEMA,
        "name": report.name,
        "path": str(report.path),
        "status": inspection.status,
        "layout": report.layout,
        "parameters": report.parameters,
        "weight_bytes": report.weight_bytes,
        "bytes_by_dtype": report.bytes_by_dtype,
        "bytes_by_role": report.bytes_by_role,
        "config": None if report.config is None else _config(report.config),
        "scheme": {
            "name": report.scheme.name,
            "evidence": list(report.scheme.evidence),
            "conflict": report.scheme.conflict,
            "layers": [
                {
                    "name": layer,
                    "scheme": scheme.name,
                    "operation": scheme.operation,
                    "stored": scheme.weight_type,
                    "inputs": None if scheme.activation is None else str(scheme.activation),
                }
                for layer, scheme in report.schemes.items()
            ],
        },
        "files": [_file(file) for file in report.files],
        "mapping": _mapping(report),
        "head": None if report.head is None else {**asdict(report.head), "tied": report.head.tied},
        "side_tensors": list(report.side_tensors),
        "tensors": [
            {
                "name": tensor.name,
                "stored_as": tensor.stored_as,
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "bytes": tensor.nbytes,
                "files": list(tensor.files),
                "role": tensor.role,
                "layer": tensor.layer,
            }
            for tensor in report.tensors
        ],
        "plan": None if inspection.plan is None else _plan(inspection.plan),
        "forecast": None if inspection.forecast is None else _forecast(inspection.forecast),
        "deep": None if inspection.deep is None else _deep(inspection.deep),
        "findings": [finding_json(finding) for finding in inspection.findings],
    }


def _config(config: LlamaConfig) -> dict[str, Any]:
    return {
        "architecture": config.architectures[0],
        **{
            name: getattr(config, name)
            for name in (
                *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
                *("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps"),
                *("max_position_embeddings", "attention_bias", "mlp_bias", "tie_word_embeddings", "dtype"),
            )
        },
        "rope": {name: value for name, value in asdict(config.rope).items() if value is not None},
        "bos_token_id": config.bos_token_id,
        "eos_token_ids": sorted(config.eos_token_ids),
        "defaulted": list(config.defaulted),
        "unknown_keys": list(config.unknown_keys),
    }


def _file(file: Any) -> dict[str, Any]:
    return {
        "name": file.name,
        "bytes": file.nbytes,
        "tensors": file.tensors,
        "missing": file.nbytes is None and file.error is None,
        "error": None if file.error is None else str(file.error),
    }


def _mapping(report: Report) -> dict[str, Any] | None:
    match = report.match
    if match is None:
        return None
    shapes = {tensor.name: list(tensor.shape) for tensor in report.tensors}
    return {
        "missing": list(match.missing),
        "unexpected": list(match.unexpected),
        "ignored": list(match.ignored),
        "duplicated": list(report.duplicated),
        "misshapen": [
            {"name": name, "shape": shapes[name], "expected": list(report.specs[name].shape)}
            for name in match.misshapen
        ],
        "nearest": dict(match.near),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "isa": plan.isa,
        "threads": plan.threads,
        "ctx_size": plan.ctx_size,
        "largest_ctx_size": plan.context.largest,
        "kv_cache_type": plan.kv_cache_type,
        "numerics": plan.numerics if plan.rounds_inputs else None,
        "kv_bytes": plan.kv_bytes,
        "kv_bytes_per_token": plan.context.kv_bytes_per_token,
        "available_bytes": plan.context.available_bytes,
        "weight_bytes_per_token": plan.bytes_per_token,
        "kernels": [
            {
                "operation": binding.operation,
                "tensor": binding.tensor or None,
                "stored": binding.weight_type,
                "kernel": binding.kernel.name,
                "tier": binding.kernel.tier,
                "fallback_cost": binding.kernel.cost,
            }
            for binding in plan.bindings
        ],
    }


def _forecast(forecast: Forecast) -> dict[str, Any]:
    limits = forecast.limits
    return {
        **forecast.as_json(),
        "measured": limits.measured,
        "read_bandwidth": limits.read_bandwidth.median,
        "multiply_adds": limits.fma_peak.median,
        "int8_multiply_adds": limits.madd_peak.median,
    }


def _deep(deep: DeepReport) -> dict[str, Any]:
    return {
        "bytes_read": deep.nbytes,
        "tied_equal": deep.tied_equal,
        "unequal_replicas": list(deep.unequal_replicas),
        "files": [
            {
                "name": file.name,
                "bytes": file.nbytes,
                "sha256": file.sha256 or None,
                "expected_sha256": file.promised,
                "not_checked": file.why or None,
                "error": file.error or None,
            }
            for file in deep.files
        ],
        "tensors": [_finite(asdict(tensor)) for tensor in deep.tensors],
    }


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null instead (float64 values whose squares have no sum)."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding's fields, and the one line that they make."""
    return {
        "severity": finding.severity,
        "code": finding.code,
        "where": finding.where,
        "message": finding.message,
        "repair": finding.repair,
        "text": str(finding),
    }
