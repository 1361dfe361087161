"""A text run through the model, to see the inputs of its layers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from inferno.errors import CheckpointError, UsageError
from inferno.progress import Progress
from inferno.quantizer.samples import SampleFile, SiteStatistics, shared, spread_evenly
from inferno.quantizer.sites import Site
from inferno.quantizer.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferno.models.model import Model
    from inferno.quantizer.samples import Float32

# As long as what is scored elsewhere; a longer text is cut into windows.
WINDOW = 512
# More tokens change factors by less than another text would.
MAX_TOKENS = 16384
MIN_TOKENS = 64
# Tokens whose inputs are kept.
_SAMPLED = 256
_LEAST_SQUARE = 1e-30


def default_text() -> str:
    """The text in the package: stories, chats, code, tables, letters, some mathematics. Written for Inferno."""
    return files("inferno.quantizer").joinpath("calibration.txt").read_text(encoding="utf-8")


def windows_of(source: Source, text: str) -> list[list[int]]:
    """The text's tokens in windows of equal length, each behind BOS, if the tokenizer puts it before texts.

    Raises TextError if the model has no tokenizer, UsageError for a text that is too short.
    """
    from inferno.text import Tokenizer

    tokenizer = Tokenizer.from_folder(source.folder)
    config = source.report.config
    assert config is not None
    ids = tokenizer.encode(text, add_special_tokens=False)[:MAX_TOKENS]
    begin = tokenizer.encode("", add_special_tokens=True)[:1]
    if len(ids) < MIN_TOKENS:
        raise UsageError(f"calibration text: must have at least {MIN_TOKENS} tokens; got {len(ids)}; give a longer one")
    size = min(WINDOW, config.max_position_embeddings, len(ids) + len(begin)) - len(begin)
    return [begin + ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]


def observe(
    source: Source,
    sites: list[Site],
    windows: list[list[int]],
    sample: SampleFile,
    statistics: dict[Site, SiteStatistics],
    progress: Progress,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> None:
    """Runs the windows through the model; fills `sample` and `statistics` for each site.

    Raises what loading the model raises.
    """
    from inferno.analysis import make_plan
    from inferno.models import Model

    plan = make_plan(source.report, threads=threads, ctx_size=len(windows[0]), kv_cache_type="f32", isa=isa)
    model = Model(plan)
    points = _points(model, sites)
    total = sum(map(len, windows))
    chosen = np.zeros(total, bool)
    chosen[list(spread_evenly(total, _SAMPLED))] = True
    progress.start("Reading the calibration text", total)
    try:
        done = 0
        for window in windows:
            sequence = model.new_sequence()
            keep = chosen[done : done + len(window)]

            def hook(index: int, _: str, read: Callable[[str], Float32], keep: np.ndarray = keep) -> None:
                site = points.get(index)
                if site is not None:
                    _take(site, read, keep, sample, statistics[site])

            model.forward(sequence, window, "none", hook)
            sequence.release()
            done += len(window)
            progress.advance(len(window))
    finally:
        progress.finish()


def sampled(windows: list[list[int]]) -> int:
    """How many tokens of the windows are kept."""
    return min(sum(map(len, windows)), _SAMPLED)


def _take(
    site: Site,
    read: Callable[[str], Float32],
    keep: np.ndarray,
    sample: SampleFile,
    statistics: SiteStatistics,
) -> None:
    inputs = read(site.buffer)
    if not np.isfinite(inputs).all():
        raise CheckpointError(
            f"{site.takes[0]}: must get finite inputs from the calibration text; got NaN or infinity; `inferno inspect "
            "--deep` shows whether weights are damaged; --round-to-nearest needs no text"
        )
    weights = np.ones(len(inputs))
    if not site.norm:
        # What is added to the residual stream counts by what it does to the next norm, which divides by its size: a
        # token whose stream is a thousand times larger, as the first one's is in most models, would drown all others.
        weights = 1 / (np.square(read("h"), dtype=np.float64).mean(axis=1) + _LEAST_SQUARE)
    statistics.add(inputs, weights, site)
    squares = shared(np.square(inputs[keep]), site).max(axis=2).reshape(int(keep.sum()), -1)
    sample.add(site, (squares * weights[keep, None]).astype(np.float32))


def _points(model: Model, sites: list[Site]) -> dict[int, Site]:
    """Operation after which a site's inputs, and what became of them, can be read -> the site."""
    wanted = {(site.index, site.buffer, site.takes): site for site in sites}
    operations = model.program.operations
    norms = [index for index, name in enumerate(operations) if name == "rmsnorm"]
    points: dict[int, Site] = {}
    for site in wanted.values():
        first, second = norms[2 * site.index : 2 * site.index + 2]
        end = norms[2 * site.index + 2]
        if site.norm:
            points[first if len(site.takes) == 3 else second] = site
        else:
            products = [i for i in range(first, end) if operations[i] == "matmul"]
            # Of a layer's seven products the fourth is o_proj's, the last down_proj's.
            points[products[3] if site.buffer == "attended" else products[6]] = site
    return points
