"""What lies in a model folder, when it is not what Inferno reads: named as what it is, with the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inferno.errors import InfernoError, ModelNotFoundError, UnsupportedError
from inferno.files import MAX_CONFIG_BYTES, read_json, show, show_name, show_some

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PARAMS = "params.json"

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_META = re.compile(r"consolidated(\.\d\d)?\.(pth|safetensors)")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TRAINING_STATE = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state|random_states)")
_OTHERS = {
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "an ONNX graph",
    ".npz": "a NumPy archive",
    ".mlmodel": "a Core ML model",
    ".llamafile": "a llamafile",
}
# What huggingface_hub, curl, browsers and aria2 call a file until it is whole; `hf download --local-dir` has a folder.
_PARTIAL = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download")
_LOCAL_DOWNLOADS = ".cache/huggingface/download"
_NEEDS = f"a model folder holds {CONFIG}, {SINGLE} (or its shards and {INDEX}) and tokenizer.json"
_NEEDS_META = (
    f"a model folder in Meta's layout holds {PARAMS}, consolidated.00.pth (and its further shards) and tokenizer.model"
)


def list_folder(folder: Path) -> list[str]:
    """The names in a model folder, sorted. ModelNotFoundError or UnsupportedError if it is no folder."""
    try:
        if folder.is_file():
            raise _not_a_folder(folder)
        return sorted(entry.name for entry in folder.iterdir())
    except InfernoError:
        raise
    except FileNotFoundError:
        raise ModelNotFoundError(f"{folder}: no such folder") from None
    except OSError as problem:
        raise ModelNotFoundError(f"{folder}: must be a readable folder; got {problem.strerror}") from None
    except ValueError:
        raise ModelNotFoundError(f"{show(str(folder))}: must be a path; got a NUL in it") from None


def refuse_adapter(folder: Path, names: list[str]) -> None:
    """UnsupportedError for a LoRA adapter: a folder whose weights are only a change to another model's."""
    adapter_weights = [name for name in names if name.startswith("adapter_model.")]
    if not adapter_weights and ("adapter_config.json" not in names or SINGLE in names or INDEX in names):
        return
    file = adapter_weights[0] if adapter_weights else "adapter_config.json"
    raise UnsupportedError(
        f"{folder}: must hold a whole model; got a LoRA adapter ({file}) for "
        f"{_adapter_base(folder)}; merge it into that model with peft's merge_and_unload() and save_pretrained()"
    )


def missing_config(folder: Path, names: list[str]) -> InfernoError:
    """The error for a folder without config.json: what the folder is, if that can be told."""
    has_weights = SINGLE in names or INDEX in names or bool(shard_names(names))
    foreign = None if has_weights else _foreign(folder, names)
    return foreign or ModelNotFoundError(f"{folder}: must hold {CONFIG}; {_found(names)}; {_NEEDS}")


def missing_weights(folder: Path, names: list[str]) -> InfernoError:
    """The error for a folder without model.safetensors, its index or its shards."""
    foreign = _foreign(folder, names)
    if foreign is not None:
        return foreign
    unfinished = _unfinished(folder, names)
    if unfinished is not None:
        return ModelNotFoundError(
            f"{folder}: weights must be there whole; got a download that has not ended ({show_name(unfinished)}); "
            "start it again: what has arrived is kept"
        )
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return ModelNotFoundError(
            f"{folder}: weights must be named {SINGLE}, or be listed in {INDEX}; got {show_some(others)}; "
            f"if that is the whole model, rename it to {SINGLE}"
        )
    return ModelNotFoundError(f"{folder}: must hold weights; {_found(names)}; {_NEEDS}")


def shard_names(names: Sequence[str]) -> list[str]:
    """The names of the form model-00001-of-00004.safetensors."""
    return [name for name in names if _SHARD.fullmatch(name)]


def meta_names(names: Sequence[str]) -> list[str]:
    """The names of weight files in Meta's layout: consolidated.00.pth and its kin."""
    return [name for name in names if _META.fullmatch(name)]


def is_meta(names: Sequence[str]) -> bool:
    """Whether a folder that holds `names` is in Meta's original layout.

    Some repositories hold both (config.json with safetensors, beside params.json with consolidated.*): Hugging Face's
    then counts, whose config says more.
    """
    hugging_face = SINGLE in names or INDEX in names or bool(shard_names(names))
    if hugging_face and CONFIG in names:
        return False
    if meta_names(names):
        return PARAMS in names or not hugging_face
    return PARAMS in names and CONFIG not in names and not hugging_face


def missing_params(folder: Path, names: list[str]) -> InfernoError:
    """The error for a folder of Meta's weights without params.json."""
    return ModelNotFoundError(f"{folder}: must hold {PARAMS}; {_found(names)}; {_NEEDS_META}")


def missing_meta_weights(folder: Path, names: list[str]) -> InfernoError:
    """The error for a folder with params.json and no consolidated.*."""
    return _foreign(folder, names) or ModelNotFoundError(f"{folder}: must hold weights; {_found(names)}; {_NEEDS_META}")


def _unfinished(folder: Path, names: list[str]) -> str | None:
    """A file that a download in progress, or an interrupted one, leaves behind."""
    for name in names:
        if name.endswith(_PARTIAL):
            return name
    try:
        inside = sorted(entry.name for entry in (folder / _LOCAL_DOWNLOADS).iterdir())
    except OSError:
        return None
    return next((f"{_LOCAL_DOWNLOADS}/{name}" for name in inside if name.endswith(_PARTIAL)), None)


def _found(names: list[str]) -> str:
    return f"got {show_some([show_name(name) for name in names], 5)}" if names else "the folder is empty"


def _foreign(folder: Path, names: list[str]) -> InfernoError | None:
    gguf = [name for name in names if name.lower().endswith(".gguf")]
    if gguf:
        return _gguf(folder / gguf[0])
    for name in names:
        problem = _foreign_file(folder / name)
        if problem is not None:
            return problem
    return None


def _foreign_file(path: Path) -> InfernoError | None:
    suffix = path.suffix.lower()
    if _META.fullmatch(path.name):
        return None
    if path.name.endswith(".bin.index.json") or (suffix in _PICKLES and not _TRAINING_STATE.match(path.name)):
        return UnsupportedError(
            f"{path}: must be safetensors; got PyTorch pickle weights, which can run code when they are read; "
            "download the repository's safetensors files, or convert it on a machine that you can spare with "
            "transformers' save_pretrained()"
        )
    if suffix in _OTHERS:
        return UnsupportedError(
            f"{path}: must be safetensors; got {_OTHERS[suffix]}; download the repository's safetensors files"
        )
    return None


def _not_a_folder(path: Path) -> InfernoError:
    if path.suffix.lower() == ".gguf":
        return _gguf(path)
    return _foreign_file(path) or ModelNotFoundError(
        f"{path}: must be a model folder; got a file; give the folder that it lies in; {_NEEDS}"
    )


def _gguf(path: Path) -> UnsupportedError:
    return UnsupportedError(f"{path}: must be safetensors; got a GGUF file; import it with `inferno import {path} OUT`")


def _adapter_base(folder: Path) -> str:
    try:
        base = read_json(folder / "adapter_config.json", max_bytes=MAX_CONFIG_BYTES).get("base_model_name_or_path")
    except InfernoError:
        base = None
    return show(base) if isinstance(base, str) and base else "another model"
