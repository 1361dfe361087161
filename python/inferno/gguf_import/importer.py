"""GGUF file -> model folder as Hugging Face lays it out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from inferno.errors import UnsupportedError
from inferno.gguf_import.config import check_architecture, config_json, read_dims
from inferno.gguf_import.reader import read_gguf
from inferno.gguf_import.rounding import check_dtype
from inferno.gguf_import.safetensors_writer import TensorEntry, write_safetensors
from inferno.gguf_import.tokenizer import text_files
from inferno.gguf_import.weights import plan_weights, weight_blocks
from inferno.progress import Progress, SilentProgress
from inferno.staging import staged_folder

RECORD = "inferno.json"


def import_gguf(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dtype: str = "BF16",
    progress: Progress | None = None,
) -> Path:
    """Imports a GGUF of the architecture `llama` into the folder `out`, which must be absent or empty.

    dtype: of all weights written: BF16, F16 or F32, rounded to nearest even. Memory: a few blocks of rows.
    `out` appears whole or not at all. Returns `out`.

    Raises UsageError (dtype, out), CheckpointError (a damaged file, values that do not fit dtype), ConfigError and
    TextError (metadata, vocabulary), UnsupportedError (what Inferno does not implement, or the package gguf missing).
    """
    require_gguf()
    check_dtype(dtype)
    target = Path(out)
    with staged_folder(target) as stage:
        write_model_folder(Path(source), stage, dtype, progress or SilentProgress(), {"source": Path(source).name})
    return target


def require_gguf() -> None:
    """Raises UnsupportedError if the package `gguf`, which knows the quantized formats, is not installed."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise UnsupportedError('importing a GGUF needs the package gguf; pip install "inferno[demo]"') from error


def write_model_folder(source: Path, folder: Path, dtype: str, progress: Progress, record: Mapping[str, Any]) -> None:
    """Writes the files of a model into the existing, empty `folder`. Refusals come before the first write.

    record: what inferno.json shall say of the model's origin, beside versions and file sizes. Raises as import_gguf.
    """
    kind = check_dtype(dtype)
    gguf = read_gguf(source)
    check_architecture(gguf)
    dims = read_dims(gguf)
    plan = plan_weights(gguf, dims)
    text = text_files(gguf, dims.vocab_size)
    config = config_json(gguf, dims, kind, tied=plan.tied, attention_bias=plan.attention_bias, mlp_bias=plan.mlp_bias)
    progress.start(f"Importing {source.name}", sum(prod(weight.shape) for weight in plan.weights))
    try:
        write_safetensors(
            folder / "model.safetensors",
            [TensorEntry(weight.name, weight.shape) for weight in plan.weights],
            kind,
            weight_blocks(gguf, plan.weights, kind, progress),
        )
    finally:
        progress.finish()
    _write_json(folder / "config.json", config | text.token_ids)
    _write_json(folder / "generation_config.json", text.token_ids)
    _write_json(folder / "tokenizer_config.json", text.tokenizer_config)
    _write_json(folder / "tokenizer.json", text.tokenizer, indent=None)  # large, and parsed at every start
    _write_json(folder / RECORD, _record(folder, kind, record))


def _record(folder: Path, dtype: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    from inferno import __version__

    return {
        **origin,
        "dtype": dtype,
        "imported_with": {"inferno": __version__, "gguf": version("gguf")},
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    }


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=indent)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
