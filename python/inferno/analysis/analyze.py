"""A folder -> a Report: headers and small files are read, no weight is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inferno._core import MAX_HEAD_DIM
from inferno.analysis.binding import bind
from inferno.analysis.report import Report, TensorInfo
from inferno.analysis.roles import role_of
from inferno.checkpoint import (
    AnyTensor,
    Checkpoint,
    HeadChoice,
    TensorMatch,
    TensorSpec,
    match_tensors,
    refuse_mismatch,
)
from inferno.checkpoint.layouts import HUGGING_FACE
from inferno.checkpoint.meta import refuse_cut_lanes
from inferno.checkpoint.survey import Survey, survey_weights
from inferno.checkpoint.tied import EMBEDDING, HEAD, resolve_head
from inferno.config import LlamaConfig
from inferno.config.lint import lint
from inferno.config.llama import read_config_files
from inferno.errors import InfernoError, UnsupportedError
from inferno.files import show_name, show_some
from inferno.findings import Finding
from inferno.model_folder import CONFIG, list_folder
from inferno.models.listing import uses
from inferno.models.llama import LayerShape, expected_tensors, linear_layers
from inferno.quantization.recognize import CODES, recognize
from inferno.quantization.resolve import Resolution, parts_of, resolve
from inferno.text.survey import survey_text_files

if TYPE_CHECKING:
    from inferno.progress import Progress
    from inferno.quantization.scheme import LinearScheme

Result = TypeVar("Result")


def analyze(model: str | os.PathLike[str], *, revision: str | None = None, progress: Progress | None = None) -> Report:
    """The report on a model: a folder, a Hugging Face id (ORG/NAME, fetched if need be), or "demo".

    Reads headers and small files, never a weight. What is wrong with the model is in the report's findings; raises
    only if there is no model of that name (ModelNotFoundError), or if it cannot be fetched (DownloadError).
    """
    from inferno.discovery import resolve_model

    location = resolve_model(model, revision=revision, progress=progress)
    return analyze_folder(location.path, location.name)


def analyze_folder(folder: Path | str, name: str | None = None) -> Report:
    """The report on a model folder. Never raises for what lies there: that is what findings are for."""
    folder = Path(folder)
    name = name or folder.name or str(folder)
    found = _Findings(folder)
    names = found.attempt(lambda: list_folder(folder))
    if names is None:
        return Report(folder, name, findings=tuple(found.all))
    survey = survey_weights(folder, names)
    files = found.attempt(lambda: read_config_files(folder))
    config = None if files is None else found.attempt(partial(LlamaConfig.from_files, files, _vocabulary(survey)))
    scheme = recognize(survey.tensors, None if config is None else config.quantization_config)
    for error in survey.errors:
        found.add_error(error)
    judgement = _Judgement()
    if config is not None and survey.files:
        judgement = _judge(folder, config, survey, found)
    if files is not None:
        stored = None if survey.errors else {t.name: (t.dtype, t.shape) for t in survey.tensors.values()}
        text = survey_text_files(folder, names)
        found.all += _unused(folder, names, survey)
        found.all += lint(files.config, files.generation, config, text, stored, files.path)
    return Report(
        path=folder,
        name=name,
        layout=None if survey.layout is None else survey.layout.name,
        files=survey.files,
        tensors=tuple(_info(folder, survey, tensor) for tensor in survey.tensors.values()),
        config=config,
        scheme=scheme,
        match=judgement.match,
        specs=judgement.specs,
        schemes=judgement.schemes,
        head=judgement.head,
        side_tensors=judgement.side_tensors,
        duplicated=survey.duplicated,
        findings=tuple(found.all),
        checkpoint=None if survey.errors else Checkpoint(folder, survey),
    )


def _unused(folder: Path, names: list[str], survey: Survey) -> Iterator[Finding]:
    """Weight files beside those that make up the model."""
    used = {file.name for file in survey.files}
    unused = [name for name in names if name.endswith((".safetensors", ".pth", ".bin", ".gguf")) and name not in used]
    if used and unused:
        listed = show_some([show_name(name) for name in unused])
        message = f"holds weight files beside those of the model, and they are not read: {listed}"
        yield Finding("note", "weights-unused", str(folder), message)


class _Findings:
    """Findings in the order in which loading meets them, each told once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Finding] = []

    def attempt(self, call: Callable[[], Result]) -> Result | None:
        """The call's result; None, and a finding, if it raises."""
        try:
            return call()
        except InfernoError as error:
            self.add_error(error)
            return None

    def add_error(self, error: InfernoError) -> None:
        finding = Finding.from_error(error, self.folder)
        if finding not in self.all:
            self.all.append(finding)


@dataclass(frozen=True)
class _Judgement:
    """What is known once config and tensors are."""

    specs: Mapping[str, TensorSpec] = field(default_factory=dict)
    schemes: Mapping[str, LinearScheme] = field(default_factory=dict)
    side_tensors: tuple[str, ...] = ()
    match: TensorMatch | None = None
    head: HeadChoice | None = None


def _judge(folder: Path, config: LlamaConfig, survey: Survey, found: _Findings) -> _Judgement:
    """Tensors against the config. Where a file is missing or broken, that is told, and not each tensor of it."""
    layout, layers = survey.layout or HUGGING_FACE, linear_layers(config)
    shapes = {layer: (shape.n, shape.k) for layer, shape in layers.items()}
    resolution = Resolution()
    if not survey.errors:
        where = f"{folder / CONFIG}: quantization_config"
        resolution = resolve(config.quantization_config, survey.tensors, shapes, where)
        for error in resolution.errors:
            found.add_error(error)
        found.all += resolution.findings
    schemes = resolution.schemes
    specs = expected_tensors(config, schemes)
    quantized = config.quantization_config is not None
    match = match_tensors(survey.tensors, specs, layout, quantized=quantized)
    if survey.errors or resolution.errors:
        return _Judgement(specs, schemes, match=match)
    found.attempt(lambda: refuse_mismatch(match, survey.tensors, specs, folder, layout, quantized=quantized))
    tied, quantized_head = config.tie_word_embeddings, HEAD.removesuffix(".weight") in schemes
    head = found.attempt(lambda: resolve_head(survey.tensors, tied, folder, layout, quantized_head=quantized_head))
    read: tuple[str, ...] = ()
    if head is not None and match.mapped:
        # Every tier has every operation, so that what the plainest refuses, all refuse.
        step = uses(config, head, schemes=schemes)
        for error in bind(survey.tensors, step, "f16", "scalar", schemes, layers)[1]:
            found.add_error(error)
        read = _check_values(survey, schemes, layers, found)
    found.attempt(lambda: refuse_cut_lanes(survey.tensors))
    if config.head_dim > MAX_HEAD_DIM:
        found.add_error(
            UnsupportedError(
                f"{folder / layout.config_file}: head_dim must be at most {MAX_HEAD_DIM}; got {config.head_dim}"
            )
        )
    return _Judgement(specs, schemes, read, match, head)


def _check_values(
    survey: Survey, schemes: Mapping[str, LinearScheme], layers: Mapping[str, LayerShape], found: _Findings
) -> tuple[str, ...]:
    """Checks the side tensors of quantized layers, scales and the like, and names those that were read."""
    read: list[str] = []
    for layer, scheme in schemes.items():
        n, k, bias = layers[layer]
        parts = dict(parts_of(survey.tensors, layer, scheme, n, k))
        if bias:
            parts.pop("bias", None)  # the model's own, which no scheme changes
        read += [tensor.name for suffix, tensor in parts.items() if suffix not in CODES]
        found.attempt(partial(scheme.check, parts, n, k))
    return tuple(read)


def _vocabulary(survey: Survey) -> int | None:
    """The rows of the embedding; None if there is none."""
    table = survey.tensors.get(EMBEDDING)
    return table.shape[0] if table is not None and len(table.shape) == 2 else None


def _info(folder: Path, survey: Survey, tensor: AnyTensor) -> TensorInfo:
    return TensorInfo(
        name=tensor.name,
        stored_as=survey.stored_names.get(tensor.name, tensor.name),
        dtype=tensor.dtype,
        shape=tensor.shape,
        nbytes=tensor.nbytes,
        files=tuple(dict.fromkeys(file.relative_to(folder).as_posix() for file in tensor.files)),
        role=role_of(tensor.name),
    )
