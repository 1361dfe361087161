"""Folders that hold no model that Inferno can read: each is named as what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from containers import write_f32
from inferno.checkpoint import Checkpoint
from inferno.config import LlamaConfig
from inferno.errors import ModelNotFoundError, UnsupportedError
from tiny import DEFAULT_CONFIG

OPENERS = [Checkpoint.open, LlamaConfig.from_folder]
NEEDS = (
    "a model folder holds config.json, model.safetensors (or its shards and model.safetensors.index.json) and tokenizer"
)
Opener = Callable[[Path], object]


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(json.dumps(DEFAULT_CONFIG).encode() if name == "config.json" else b"x")
    return folder


def refuse(opener: Opener, folder: Path, what: str, error: type[Exception] = UnsupportedError) -> None:
    with pytest.raises(error, match=what) as caught:
        opener(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("opener", OPENERS)
def test_no_such_folder(opener: Opener, tmp_path: Path) -> None:
    refuse(opener, tmp_path / "m", rf"^{re.escape(str(tmp_path / 'm'))}: no such folder$", ModelNotFoundError)


@pytest.mark.parametrize("opener", OPENERS)
def test_paths_that_cannot_be(opener: Opener, tmp_path: Path) -> None:
    refuse(opener, Path("a\0b"), r'^"a\\u0000b": must be a path; got a NUL in it$', ModelNotFoundError)
    refuse(opener, Path("x" * 5000), r"must be a readable folder; got File name too long$", ModelNotFoundError)
    touch(tmp_path, "file")
    refuse(opener, tmp_path / "file" / "below", r"must be a readable folder; got Not a directory$", ModelNotFoundError)


@pytest.mark.parametrize("opener", OPENERS)
def test_an_empty_folder(opener: Opener, tmp_path: Path) -> None:
    what = rf"must hold (config.json|weights); the folder is empty; {re.escape(NEEDS)}"
    refuse(opener, tmp_path, what, ModelNotFoundError)


def test_a_folder_without_config(tmp_path: Path) -> None:
    touch(tmp_path, "model.safetensors", "tokenizer.json", "pytorch_model.bin")
    what = "must hold config.json; got model.safetensors, pytorch_model.bin, tokenizer.json; "
    refuse(LlamaConfig.from_folder, tmp_path, what, ModelNotFoundError)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "config.json",
        "tokenizer.json",
        "training_args.bin",
        "optimizer.pt",
        "rng_state_0.pth",
        "scheduler.pt",
    )
    what = (
        "must hold weights; got config.json, optimizer.pt, rng_state_0.pth, scheduler.pt, tokenizer.json and 1 more; "
    )
    refuse(Checkpoint.open, tmp_path, what, ModelNotFoundError)


def test_weights_under_another_name(tmp_path: Path) -> None:
    touch(tmp_path, "config.json", "llama.safetensors")
    what = r"weights must be named model.safetensors, .*; got llama.safetensors; if that is the whole model, rename it"
    refuse(Checkpoint.open, tmp_path, what, ModelNotFoundError)


@pytest.mark.parametrize("opener", OPENERS)
def test_gguf(opener: Opener, tmp_path: Path) -> None:
    touch(tmp_path, "smol.Q4_0.gguf", "pytorch_model.bin")
    path = re.escape(str(tmp_path / "smol.Q4_0.gguf"))
    what = rf"^{path}: must be safetensors; got a GGUF file; import it with `inferno import {path} OUT`$"
    refuse(opener, tmp_path, what)
    refuse(opener, tmp_path / "smol.Q4_0.gguf", what)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "model.pt", "model.ckpt"],
)
def test_pickles(opener: Opener, tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    what = rf"^{re.escape(str(tmp_path / name))}: must be safetensors; got PyTorch pickle weights, which can run code"
    refuse(opener, tmp_path, what)
    if not name.endswith(".json"):
        refuse(opener, tmp_path / name, what)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("name", "what"),
    [("tf_model.h5", "TensorFlow weights"), ("flax_model.msgpack", "Flax weights"), ("model.onnx", "an ONNX graph")],
)
def test_other_formats(opener: Opener, tmp_path: Path, name: str, what: str) -> None:
    touch(tmp_path, name)
    refuse(opener, tmp_path, rf"{name}: must be safetensors; got {what}; download the repository's safetensors files$")


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_is_no_folder(opener: Opener, tmp_path: Path) -> None:
    path = write_f32(tmp_path / "model.safetensors", {"a": (1,)})
    refuse(opener, path, r"must be a model folder; got a file; give the folder that it lies in; ", ModelNotFoundError)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    "names",
    [
        ["adapter_config.json", "adapter_model.safetensors"],
        ["adapter_config.json", "adapter_model.bin", "config.json"],
        ["adapter_config.json"],
        ["adapter_config.json", "adapter_model.safetensors", "model.safetensors", "config.json"],
    ],
)
def test_lora_adapters(opener: Opener, tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "meta-llama/Llama-3.2-1B"}))
    file = re.escape(names[1] if len(names) > 1 else names[0])
    what = (
        rf'must hold a whole model; got a LoRA adapter \({file}\) for "meta-llama/Llama-3.2-1B"; merge it into '
        r"that model with peft's merge_and_unload\(\) and save_pretrained\(\)$"
    )
    refuse(opener, tmp_path, what)


@pytest.mark.parametrize("content", [b"", b"{}", b"[", b'{"base_model_name_or_path": 3}'])
def test_a_lora_adapter_of_an_unknown_model(tmp_path: Path, content: bytes) -> None:
    touch(tmp_path, "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_bytes(content)
    refuse(Checkpoint.open, tmp_path, r"got a LoRA adapter \(adapter_model.safetensors\) for another model; merge it")


def test_a_merged_model_may_keep_its_adapter_config(tmp_path: Path) -> None:
    touch(tmp_path, "config.json", "adapter_config.json")
    write_f32(tmp_path / "model.safetensors", {"a": (1,)})
    assert Checkpoint.open(tmp_path).names() == ("a",)
    assert LlamaConfig.from_folder(tmp_path).vocab_size == 131


def test_other_formats_beside_safetensors_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "config.json", "pytorch_model.bin", "x.gguf", "consolidated.00.pth", "params.json", "model.onnx")
    write_f32(tmp_path / "model.safetensors", {"a": (1,)})
    assert Checkpoint.open(tmp_path).names() == ("a",)
    assert LlamaConfig.from_folder(tmp_path).vocab_size == 131


def test_file_names_cannot_smuggle_control_characters(tmp_path: Path) -> None:
    touch(tmp_path, "\x1b[31m.txt")
    refuse(Checkpoint.open, tmp_path, r'got "\\u001b\[31m.txt"; ', ModelNotFoundError)


@pytest.mark.parametrize(
    "name", ["model.safetensors.incomplete", "model.safetensors.part", ".cache/huggingface/download/x.incomplete"]
)
def test_a_download_that_has_not_ended(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    refuse(Checkpoint.open, tmp_path, rf"got a download that has not ended \({name}\); start it", ModelNotFoundError)
