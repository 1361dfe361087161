"""Factors that move from the inputs of a layer into its weights: what becomes of each tensor on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from inferno.quantizer.stored import Float64


@dataclass(frozen=True)
class Folds:
    """What smoothing changes; nothing by default.

    vectors: norms and biases by name, as they are stored from now on. rows: layer -> (n,), what its outputs are
    multiplied by. columns: layer -> (k,), what its columns are. Both are float64 and take part before weights are
    rounded to codes, never in a type that is stored. importance: layer -> (k,), the mean square of its inputs, what an
    error of each column counts.
    """

    vectors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    rows: Mapping[str, Float64] = field(default_factory=dict)
    columns: Mapping[str, Float64] = field(default_factory=dict)
    importance: Mapping[str, Float64] = field(default_factory=dict)
    sites: int = 0
