"""The calibration text, and its windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from folded_model import TEXT, float_weights, numpy_model, write_outliers
from inferno.progress import SilentProgress
from inferno.quantizer import calibration
from inferno.quantizer.calibration import default_text, observe, sampled, windows_of
from inferno.quantizer.recipe import Recipe
from inferno.quantizer.samples import SampleFile, SiteStatistics
from inferno.quantizer.sites import sites_of
from inferno.quantizer.source import open_source
from inferno.text import Tokenizer


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_source(write_outliers(tmp_path_factory.mktemp("models") / "model"), Recipe())


def test_the_package_has_a_text():
    text = default_text()
    assert 15_000 < len(text) < 25_000
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}


def test_the_text_is_not_what_is_measured_on():
    """No eight words in a row are also in the text of the published figures."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    measured = Path(__file__).parent.parent.parent / "bench" / "texts"
    for path in measured.glob("*.txt"):
        assert not runs(default_text()) & runs(path.read_text(encoding="utf-8"))


def test_windows_are_equal_and_cover_the_text(source):
    ids = Tokenizer.from_folder(source.folder).encode(TEXT, add_special_tokens=False)
    begin = Tokenizer.from_folder(source.folder).encode("", add_special_tokens=True)
    windows = windows_of(source, TEXT)
    assert {len(window) for window in windows} == {512}
    assert all(window[: len(begin)] == begin for window in windows)
    joined = [token for window in windows for token in window[len(begin) :]]
    assert joined == ids[: len(joined)]
    assert len(ids) - len(joined) < 512


def test_a_short_text_is_one_window(source):
    (window,) = windows_of(source, TEXT[:100])
    assert 64 <= len(window) <= 101


def test_a_long_text_is_cut(source, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_TOKENS", 1100)
    assert len(windows_of(source, TEXT * 20)) == 2


def test_inputs_are_those_of_the_layers(source, tmp_path):
    """What is gathered at each site equals what the float64 definition of the model has there."""
    config = json.loads((source.folder / "config.json").read_text())
    model = numpy_model(config, float_weights(source.folder))
    seen: dict[str, np.ndarray] = {}
    linear = model._linear

    def watched(name: str, x: np.ndarray) -> np.ndarray:
        seen[name] = x
        return linear(name, x)

    model._linear = watched  # type: ignore[method-assign]
    (window,) = windows_of(source, TEXT[:120])
    model.logits(window)
    sites = sites_of(source.report.config)
    widths = {site: source.layers[site.takes[0]].shape[1] // site.heads for site in sites}
    statistics = {site: SiteStatistics(width) for site, width in widths.items()}
    with SampleFile(tmp_path, widths, sampled([window])) as sample:
        observe(source, sites, [window], sample, statistics, SilentProgress(), threads=1)
        for site in sites:
            inputs = seen[site.takes[0]]
            groups = inputs.reshape(len(inputs), -1, site.heads, site.width)
            largest = np.abs(groups).max((0, 2)).reshape(-1)
            np.testing.assert_allclose(statistics[site].x_max, largest, rtol=1e-4)
            expected, kept = (groups**2).max(2).reshape(len(inputs), -1), sample.read(site)
            if not site.norm:  # a token counts by one over the mean square of its stream
                weights = (kept.sum(1) / expected.sum(1))[:, None]
                assert weights.max() > 1.5 * weights.min()
                expected = expected * weights
            np.testing.assert_allclose(kept, expected, rtol=0, atol=1e-4 * expected.max())
