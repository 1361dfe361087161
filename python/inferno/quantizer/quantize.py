"""The whole: a model's folder is opened, smoothed if asked, and written anew with codes for weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferno.checkpoint.tensor import Tensor
from inferno.errors import InfernoError, UsageError
from inferno.files import MAX_CONFIG_BYTES, read_json
from inferno.model_folder import CONFIG, INDEX
from inferno.progress import Progress, SilentProgress
from inferno.quantizer.folded import Folds
from inferno.quantizer.recipe import HEAD, Recipe, quantization_config
from inferno.quantizer.shards import SHARD_BYTES, ShardFile, plan_shards, write_bytes, write_index, write_json
from inferno.quantizer.smoothing import smooth
from inferno.quantizer.source import Source, open_source
from inferno.quantizer.units import Copied, QuantizedLayer, Unit
from inferno.staging import check_free, staged_folder
from inferno.units import size

# A record of the files of an import, which these are not.
IMPORTED = "inferno.json"
# What speaks of weights in another form, or of how these were once quantized.
_OTHERS = (INDEX, IMPORTED, "pytorch_model.bin.index.json", "quantize_config.json", "adapter_config.json")
# What is copied beside weights and config: text files, the licence, the model card.
_COMPANIONS = (".json", ".jinja", ".model", ".txt", ".md")
_MAX_COMPANION = 256 << 20
# Room for the small files.
_SPARE = 64 << 20


@dataclass(frozen=True)
class Quantized:
    """What has been made. `layers`: how many are quantized; head: whether lm_head is one of them; `left`: linear layers
    that are not, by name.

    group_size: columns that share a scale; None: the whole row. smoothed: inputs whose outliers were moved.
    read_bytes, written_bytes: of tensors.
    """

    path: Path
    scheme: str
    group_size: int | None
    layers: int
    head: bool
    left: tuple[str, ...]
    smoothed: int
    read_bytes: int
    written_bytes: int


def quantize_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    calibration: str | None = None,
    threads: int | None = None,
    isa: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Quantized:
    """Quantizes a model into the folder `out`, which must be absent or empty and appears whole or not at all.

    model: as everywhere: a folder, a Hugging Face id, "demo"; in F32, F16 or BF16. calibration: the text for a recipe
    that smooths; None: the package's. threads, isa: for running it. shard_bytes: the most tensors that one file holds.
    Memory: some 200 MB beyond what running the model takes.

    Raises UsageError (recipe, out, text), UnsupportedError (a model that is quantized already, or in Meta's layout),
    InfernoError (the disk), CheckpointError (damaged weights), and what loading the model raises.
    """
    recipe, progress = recipe or Recipe(), progress or SilentProgress()
    if calibration is not None and not recipe.smooths:
        raise UsageError(
            "calibration: must be left out where nothing is smoothed: it is for w8a8 and w4a16 with smoothing"
        )
    target = Path(out)
    check_free(target)
    source = open_source(model, recipe, revision=revision, progress=progress)
    group = recipe.group_for({tensor.shape[1] for tensor in source.layers.values()})
    with staged_folder(target) as stage:
        entries = [entry for unit in _units(source, recipe, group, Folds()) for entry in unit.entries]
        written = sum(entry.nbytes for entry in entries)
        _refuse_small_disk(stage, written, target)
        folds = Folds()
        if recipe.smooths:
            folds = smooth(source, recipe, stage, text=calibration, threads=threads, isa=isa, progress=progress)
        units = list(_units(source, recipe, group, folds))
        _write(source, stage, units, f"Quantizing {source.report.name} to {recipe.scheme}", progress, shard_bytes)
        write_json(stage / CONFIG, _config(source, recipe, group))
        _copy_companions(source.folder, stage)
    return Quantized(
        path=target,
        scheme=recipe.scheme,
        group_size=group,
        layers=len(source.layers),
        head=HEAD in source.layers,
        left=source.left,
        smoothed=folds.sites,
        read_bytes=sum(unit.read_bytes for unit in units),
        written_bytes=written,
    )


def _refuse_small_disk(folder: Path, needed: int, out: Path) -> None:
    """Raises InfernoError if the file system of `folder` has less room than `needed` bytes and some small files."""
    free, needed = shutil.disk_usage(folder).free, needed + _SPARE
    if free < needed:
        raise InfernoError(
            f"{out}: needs {size(needed)} on its disk; got {size(free)} free; free some, or give a folder elsewhere"
        )


def _write(source: Source, stage: Path, units: list[Unit], what: str, progress: Progress, shard_bytes: int) -> None:
    """Writes the weights; they are read from their maps, some rows at a time."""
    shards = plan_shards([unit.entries for unit in units], shard_bytes)
    progress.start(what, sum(unit.read_bytes for unit in units))
    try:
        rest = iter(units)
        for shard in shards:
            with ShardFile(stage, shard) as file:
                left = len(shard.entries)
                while left:
                    unit = next(rest)
                    left -= len(unit.entries)
                    for done, pieces in unit.pieces():
                        for name, piece in pieces:
                            file.write(name, piece)
                        progress.advance(done)
    finally:
        progress.finish()
    write_index(stage, shards)


def _units(source: Source, recipe: Recipe, group: int | None, folds: Folds) -> Iterator[Unit]:
    checkpoint = source.report.checkpoint
    assert checkpoint is not None
    for name, tensor in checkpoint.items():
        assert isinstance(tensor, Tensor)
        layer = name.removesuffix(".weight")
        if layer not in source.layers:
            yield Copied(tensor, folds.vectors.get(name))
            continue
        yield QuantizedLayer(
            tensor,
            recipe.bits,
            group or tensor.shape[1],
            recipe.packed,
            rows=folds.rows.get(layer),
            columns=folds.columns.get(layer),
            # With 8 bits the range used whole is within a hundredth of the best; with 4 it is not.
            search=recipe.bits < 8,
            importance=folds.importance.get(layer),
        )


def _config(source: Source, recipe: Recipe, group: int | None) -> dict[str, Any]:
    config = read_json(source.folder / CONFIG, max_bytes=MAX_CONFIG_BYTES)
    # The head of a tied model is no tensor, yet transformers has a module of that name.
    left = {*source.left, *(() if HEAD in source.layers else (HEAD,))}
    return {**config, "quantization_config": quantization_config(recipe, group, left)}


def _copy_companions(folder: Path, stage: Path) -> None:
    """Copies what lies beside the weights: tokenizer, templates, generation settings, licence, model card."""
    for path in sorted(folder.iterdir()):
        wanted = path.suffix.lower() in _COMPANIONS or path.name.upper().startswith(("LICENSE", "NOTICE"))
        written = (stage / path.name).exists() or path.name in _OTHERS
        if not wanted or written or not path.is_file() or path.stat().st_size > _MAX_COMPANION:
            continue
        write_bytes(stage / path.name, path.read_bytes())
    templates = folder / "additional_chat_templates"
    if templates.is_dir():
        (stage / templates.name).mkdir()
        for path in sorted(templates.glob("*.jinja")):
            write_bytes(stage / templates.name / path.name, path.read_bytes())
