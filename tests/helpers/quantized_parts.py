"""One quantized layer at a time: its tensors in a file, what a config claims of it, and what comes of binding it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from inferno.checkpoint.safetensors_file import open_safetensors
from inferno.checkpoint.tensor import Tensor
from inferno.quantization.claims import Claim, read_claims
from inferno.quantization.resolve import SCHEMES
from inferno.quantization.scheme import LinearScheme
from model_edits import write_tensors

LAYER = "model.layers.0.mlp.down_proj"
WHERE = "config.json: quantization_config"
# Suffix -> type in the file, and values as they lie there (BF16 as uint16, F8_E4M3 as uint8).
Layer = Mapping[str, tuple[str, np.ndarray]]
BF16_NAN, BF16_INF = 0x7FC0, 0x7F80


def opened(folder: Path, layer: Layer) -> dict[str, Tensor]:
    """The tensors of a layer, written to a file at odd addresses and opened, by suffix."""
    path = folder / "model.safetensors"
    stored = {f"{LAYER}.{name}": (dtype, list(array.shape), array.tobytes()) for name, (dtype, array) in layer.items()}
    write_tensors(path, {"odd": ("U8", [1], b"\0"), **stored})
    tensors = open_safetensors(path)
    return {name: tensors[f"{LAYER}.{name}"] for name in layer}


def compressed(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, form: str = "") -> dict[str, Any]:
    """A quantization_config of compressed-tensors with one group."""
    group = {
        "targets": ["Linear"],
        "weights": dict(weights),
        "input_activations": None if inputs is None else dict(inputs),
    }
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    return {**config, "format": form} if form else config


def claimed(config: Mapping[str, Any]) -> Claim:
    claim = read_claims(config, WHERE).of(LAYER)
    assert claim is not None
    return claim


def made(form: str, claim: Claim, parts: Mapping[str, Tensor], n: int, k: int) -> LinearScheme:
    """What the file of a recognised form makes of a claim and a layer's tensors."""
    scheme: LinearScheme = import_module(f"inferno.quantization.{SCHEMES[form]}").scheme(claim, parts, n, k, WHERE)
    assert scheme.name == form
    return scheme


def fitting(scheme: LinearScheme, parts: Mapping[str, Tensor], n: int, k: int) -> None:
    """The scheme knows every part, finds each of its shape and type, and misses none."""
    specs = scheme.tensors(n, k)
    assert set(parts) <= set(specs)
    assert [name for name, tensor in parts.items() if not specs[name].fits(tensor)] == []
    assert [name for name, spec in specs.items() if not spec.optional and name not in parts] == []


def widened_weight(scheme: LinearScheme, parts: Mapping[str, Tensor], n: int, k: int) -> np.ndarray:
    """The (n, k) weight that kernels see, after every check: each column met by a row of the unit matrix."""
    from inferno import _core

    fitting(scheme, parts, n, k)
    scheme.check(parts, n, k)
    weight, _ = scheme.bind(parts, n, k)
    assert (weight.n, weight.k) == (n, k)
    assert (scheme.weight_type.lower()) == weight.kind
    out = np.empty((k, n), np.float32)
    _core.matmul_coded(out, np.eye(k, dtype=np.float32), weight)
    return np.ascontiguousarray(out.T)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 values."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def scales(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "F32"
) -> tuple[tuple[str, np.ndarray], np.ndarray]:
    """Scales as stored, and their exact values."""
    values = rng.uniform(0.001, 0.1, shape).astype(np.float32)
    if dtype == "BF16":
        stored = to_bf16(values)
        return (dtype, stored), (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    stored = values.astype({"F32": np.float32, "F16": np.float16}[dtype])
    return (dtype, stored), stored.astype(np.float64)


def with_value(layer: Layer, name: str, index: int, value: Any) -> dict[str, tuple[str, np.ndarray]]:
    """The layer with another value in one tensor, given as it is stored."""
    dtype, array = layer[name]
    copy = array.copy()
    copy.reshape(-1)[index] = value
    return {**layer, name: (dtype, copy)}
