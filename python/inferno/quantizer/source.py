"""The model that is to be quantized: what it must be, and which of its layers the recipe speaks of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.checkpoint.tensor import Tensor
from inferno.errors import UnsupportedError, UsageError
from inferno.files import show_name
from inferno.quantization.recognize import FLOAT, UNKNOWN
from inferno.quantization.targets import Targets, refuse_slow
from inferno.quantizer.recipe import Recipe

if TYPE_CHECKING:
    from inferno.analysis import Report
    from inferno.progress import Progress


@dataclass(frozen=True)
class Source:
    """A model in floating point, in Hugging Face's layout.

    layers: the linear layers to quantize, name -> weight, in the model's order. left: those that are not, the head
    among them if it is stored.
    """

    report: Report
    layers: dict[str, Tensor]
    left: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.report.path


def open_source(
    model: str | os.PathLike[str], recipe: Recipe, *, revision: str | None = None, progress: Progress | None = None
) -> Source:
    """Opens the model; no weight is read.

    Raises what loading it would raise, UnsupportedError for one that is quantized already or in Meta's layout,
    UsageError for a recipe that leaves nothing to quantize or ignores what the model has not.
    """
    from inferno.analysis import analyze
    from inferno.models.llama import linear_layers

    report = analyze(model, revision=revision, progress=progress)
    if report.scheme.name not in (FLOAT, UNKNOWN):
        raise UnsupportedError(
            f"{report.path}: must be in floating point to be quantized; got {report.scheme.name}; take the checkpoint "
            "that it was made from"
        )
    if report.layout == "meta":
        raise UnsupportedError(
            f"{report.path}: must be in Hugging Face's layout to be quantized; got Meta's; take the repository's other "
            "files, or convert it with transformers"
        )
    report.raise_for_errors()
    assert report.config is not None
    assert report.checkpoint is not None
    ignored = _ignored(recipe)
    layers: dict[str, Tensor] = {}
    left: list[str] = []
    for layer in linear_layers(report.config):
        weight = report.checkpoint.get(f"{layer}.weight")
        if weight is None:
            continue  # the head of a tied model
        assert isinstance(weight, Tensor), "only Meta's layout cuts tensors"
        if ignored.rank(layer) is None:
            layers[layer] = weight
        else:
            left.append(layer)
    _check_names(recipe, [*linear_layers(report.config)])
    if not layers:
        raise UsageError(f"ignore: must leave a layer to quantize; got {show_name(', '.join(recipe.ignore))}")
    return Source(report, layers, tuple(left))


def _ignored(recipe: Recipe) -> Targets:
    from inferno.errors import ConfigError

    try:
        targets = Targets(list(recipe.ignore), "ignore")
        refuse_slow([targets], "ignore")
    except ConfigError as error:
        raise UsageError(str(error)) from None
    return targets


def _check_names(recipe: Recipe, names: list[str]) -> None:
    """UsageError for an entry of `ignore` that names no layer: a slip of the keyboard would quantize what it meant."""
    from inferno.errors import ConfigError

    for entry in recipe.ignore:
        try:
            found = any(Targets([entry], "ignore").rank(name) is not None for name in names)
        except ConfigError as error:
            raise UsageError(str(error)) from None
        if not found:
            raise UsageError(
                f"ignore: {show_name(entry)} must name a linear layer of the model; got none of that name; they are "
                f"called {names[0]}, or `re:` and a regex matches their names"
            )
