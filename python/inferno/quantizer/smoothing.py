"""Factors for every site from a calibration text, and what becomes of norms, biases and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.checkpoint.tensor import Tensor
from inferno.progress import Progress, SilentProgress
from inferno.quantizer.balance import Channels, Sample, balanced, by_strength
from inferno.quantizer.calibration import default_text, observe, sampled, windows_of
from inferno.quantizer.folded import Folds
from inferno.quantizer.recipe import Recipe
from inferno.quantizer.salience import salient
from inferno.quantizer.samples import SampleFile, SiteStatistics, shared, spread, spread_evenly
from inferno.quantizer.sites import Site, quantized_sites
from inferno.quantizer.source import Source
from inferno.quantizer.stored import Float64, narrow, widen

# Rows of the weights that are kept beside a sample of tokens, and numbers that are widened at once.
_SAMPLED_ROWS = 256
_WIDENED = 1 << 17


def smooth(
    source: Source,
    recipe: Recipe,
    folder: Path,
    *,
    text: str | None = None,
    threads: int | None = None,
    isa: str | None = None,
    progress: Progress | None = None,
) -> Folds:
    """Finds the factors and what they change.

    text: the calibration text; None: the package's. folder: where an unnamed file of a few rows of inputs may lie
    meanwhile. Raises what running the model raises, UsageError for a text that is too short or groups that do not fit,
    OSError for a full disk.
    """
    progress = progress or SilentProgress()
    config = source.report.config
    assert config is not None
    sites = quantized_sites(config, source.layers)
    if not sites:
        return Folds()
    group = recipe.group_for({tensor.shape[1] for tensor in source.layers.values()})
    windows = windows_of(source, default_text() if text is None else text)
    widths = {site: source.layers[site.takes[0]].shape[1] // site.heads for site in sites}
    statistics = {site: SiteStatistics(width) for site, width in widths.items()}
    vectors: dict[str, npt.NDArray[Any]] = {}
    rows: dict[str, Float64] = {}
    columns: dict[str, Float64] = {}
    importance: dict[str, Float64] = {}
    with SampleFile(folder, widths, 0 if group else sampled(windows)) as sample:
        observe(source, sites, windows, sample, statistics, progress, threads=threads, isa=isa)
        progress.start("Balancing inputs and weights", len(sites))
        try:
            for site in sites:
                weights = [source.layers[name] for name in site.takes]
                channels, some_rows = _channels(site, weights, statistics[site])
                if group is not None:
                    factors = salient(channels, some_rows, site, bits=recipe.bits, group=group, dtype=weights[0].dtype)
                elif recipe.strength is not None:
                    factors = by_strength(channels, recipe.strength)
                else:
                    squares = shared(np.square(some_rows), site).max(axis=2).reshape(len(some_rows), -1)
                    factors = balanced(channels, Sample(sample.read(site), squares.astype(np.float32)))
                _fold(source, site, factors, vectors, rows, columns)
                if group is not None:
                    square = spread(statistics[site].x_square, site)
                    importance.update((name, square / columns[name] ** 2) for name in site.takes)
                progress.advance(1)
        finally:
            progress.finish()
    return Folds(vectors, rows, columns, importance, len(sites))


def _channels(site: Site, weights: list[Tensor], seen: SiteStatistics) -> tuple[Channels, Float64]:
    """The site's channels, and some of its weights' rows (rows, k)."""
    count = seen.x_max.size
    largest, total, number = np.zeros(count), np.zeros(count), 0
    all_rows = sum(tensor.shape[0] for tensor in weights)
    chosen = np.zeros(all_rows, bool)
    chosen[list(spread_evenly(all_rows, _SAMPLED_ROWS))] = True
    kept: list[Float64] = []
    for tensor in weights:
        n, k = tensor.shape
        step = max(1, _WIDENED // k)
        for begin in range(0, n, step):
            values = widen(tensor.array[begin : begin + step], tensor.dtype)
            squares = shared(np.square(values), site)
            largest = np.maximum(largest, squares.max(axis=(0, 2)).reshape(-1))
            total += squares.sum(axis=(0, 2)).reshape(-1)
            kept.append(values[chosen[number : number + len(values)]])
            number += len(values)
    channels = Channels(seen.x_max, seen.x_square, np.sqrt(largest), total / number)
    return channels, np.concatenate(kept)


def _fold(
    source: Source,
    site: Site,
    factors: Float64,
    vectors: dict[str, npt.NDArray[Any]],
    rows: dict[str, Float64],
    columns: dict[str, Float64],
) -> None:
    """Takes the factors away where inputs are made, and gives them to the columns that take these."""
    checkpoint = source.report.checkpoint
    assert checkpoint is not None
    if site.norm:
        norm = checkpoint[f"{site.makes}.weight"]
        assert isinstance(norm, Tensor)
        vectors[norm.name], factors = _divided(norm, factors)
    else:
        bias = checkpoint.get(f"{site.makes}.bias")
        if isinstance(bias, Tensor):
            # A bias is stored: powers of two leave its digits alone.
            factors = np.exp2(np.rint(np.log2(factors)))
            vectors[bias.name] = narrow(widen(bias.array, bias.dtype) / factors, bias.dtype)
        rows[site.makes] = 1 / factors
    for name in site.takes:
        columns[name] = spread(factors, site)


def _divided(norm: Tensor, factors: Float64) -> tuple[npt.NDArray[Any], Float64]:
    """A norm's weight over the factors, as it is stored, and the factors that this rounding makes of them, exactly.

    A weight of 0 stays, and so does one whose quotient the type cannot hold.
    """
    old = widen(norm.array, norm.dtype)
    new = narrow(old / factors, norm.dtype)
    quotient = widen(new, norm.dtype)
    kept = (quotient == 0) | ~np.isfinite(quotient)
    exact = np.where(kept, 1.0, old / np.where(kept, 1.0, quotient))
    return np.where(kept, norm.array, new), exact
