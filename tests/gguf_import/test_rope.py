"""RoPE scaling: metadata, and the factors of llama3 found again from the tensor that stands for them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import ConfigError, UnsupportedError
from inferno.gguf_import import import_gguf
from tiny_gguf import HEAD_DIM, write_tiny_gguf


def converter_factors(theta: float, factor: float, low: float, high: float, original: int) -> np.ndarray:
    """What a converter stores for RoPE type llama3: wavelength by wavelength, in float32 as it computes them."""
    factors = []
    for i in range(0, HEAD_DIM, 2):
        frequency = np.float32(1.0) / np.float32(theta) ** np.float32(i / HEAD_DIM)
        wavelength = np.float32(2 * math.pi) / frequency
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


def scaling_of(tmp_path: Path, metadata: dict[str, Any], factors: np.ndarray | None = None) -> Any:
    extra = {} if factors is None else {"rope_freqs.weight": factors}
    write_tiny_gguf(tmp_path / "m.gguf", metadata=metadata, extra_tensors=extra)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    return json.loads((out / "config.json").read_text())["rope_scaling"]


@pytest.mark.parametrize("factor", [8.0, 32.0])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_llama3_s_own_parameters_are_found(tmp_path: Path, factor: float, theta: float) -> None:
    factors = converter_factors(theta, factor, 1.0, 4.0, 8192)
    assert scaling_of(tmp_path, {"rope.freq_base": theta}, factors) == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize(("original", "low", "high"), [(4096, 1.0, 4.0), (2048, 1.0, 8.0), (8192, 2.0, 6.0)])
def test_other_parameters_give_the_same_factors(tmp_path: Path, original: int, low: float, high: float) -> None:
    factors = converter_factors(500000.0, 4.0, low, high, original)
    got = scaling_of(tmp_path, {"rope.freq_base": 500000.0}, factors)
    assert got["rope_type"] == "llama3"
    # Only the ratios are determined; what counts is that the same factors come out.
    again = converter_factors(
        500000.0,
        got["factor"],
        got["low_freq_factor"],
        got["high_freq_factor"],
        got["original_max_position_embeddings"],
    )
    np.testing.assert_allclose(again, factors, rtol=1e-4)


def test_equal_factors_are_linear_scaling(tmp_path: Path) -> None:
    assert scaling_of(tmp_path, {}, np.full(HEAD_DIM // 2, 2.0, np.float32)) == {"rope_type": "linear", "factor": 2.0}


def test_factors_of_one_are_no_scaling(tmp_path: Path) -> None:
    assert scaling_of(tmp_path, {}, np.ones(HEAD_DIM // 2, np.float32)) is None


@pytest.mark.parametrize(
    ("metadata", "scaling"),
    [
        ({"rope.scaling.type": "none"}, None),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope.scale_linear": 2.5}, {"rope_type": "linear", "factor": 2.5}),
        (
            {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 16.0,
                "rope.scaling.original_context_length": 4096,
                "rope.scaling.finetuned": True,
            },
            {
                "rope_type": "yarn",
                "factor": 16.0,
                "original_max_position_embeddings": 4096,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
            },
        ),
    ],
)
def test_metadata(tmp_path: Path, metadata: dict[str, Any], scaling: Any) -> None:
    assert scaling_of(tmp_path, metadata) == scaling


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}


@pytest.mark.parametrize(
    ("metadata", "factors", "error", "message"),
    [
        (
            {"rope.scaling.type": "longrope"},
            None,
            UnsupportedError,
            "llama.rope.scaling.type must be none, linear or yarn; got 'longrope'",
        ),
        ({"rope.scaling.type": "linear"}, None, ConfigError, "metadata has no llama.rope.scaling.factor"),
        (
            YARN | {"rope.scaling.attn_factor": 1.5},
            None,
            UnsupportedError,
            "llama.rope.scaling.attn_factor must be 1; got 1.5",
        ),
        (YARN, np.ones(32), UnsupportedError, "has both rope_freqs.weight and llama.rope.scaling.type = 'yarn'"),
        ({}, np.ones(16), UnsupportedError, "rope_freqs.weight must be 32 positive numbers"),
        ({}, -np.ones(32), UnsupportedError, "rope_freqs.weight must be 32 positive numbers"),
        (
            {},
            np.linspace(1, 8, 32),
            UnsupportedError,
            "tensor rope_freqs.weight must follow RoPE type llama3's rule; its 32 factors do not",
        ),
    ],
)
def test_refusals(
    tmp_path: Path, metadata: dict[str, Any], factors: np.ndarray | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scaling_of(tmp_path, metadata, None if factors is None else factors.astype(np.float32))
