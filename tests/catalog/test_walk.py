"""What a search through folders finds: by names alone, each once, within its bounds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inferno.catalog import walk as module
from inferno.catalog.walk import MAX_DEPTH, walk


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root: Path, kind: str | None = "model", messages: list[str] | None = None) -> list[str]:
    told: list[str] = []
    items = walk(root, told.append)
    if messages is None:
        assert told == []
    else:
        messages += told
    return [os.path.relpath(item.path, root) for item in items if kind in (None, item.kind)]


@pytest.mark.parametrize(
    "names",
    [
        ["config.json", "model.safetensors"],
        ["model.safetensors"],
        ["model.safetensors.index.json"],
        ["model-00001-of-00002.safetensors"],
        ["config.json", "llama.safetensors"],
        ["consolidated.00.pth"],
        ["params.json", "consolidated.safetensors"],
        ["config.json", "tokenizer.json"],
        ["config.json", "pytorch_model.bin"],
        ["params.json", "tokenizer.model"],
        ["other.safetensors"],
    ],
)
def test_names_that_make_a_model(tmp_path, names):
    touch(tmp_path / "a", *names)
    assert found(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["tokenizer.json"],
        ["config.json"],  # empty: no model's
        ["config.json", "package.json"],
        ["weights.pth", "notes.txt"],
        ["config.json", "tokenizer.json", "model.Q4.gguf"],
        ["model.safetensors.txt", "safetensors"],
    ],
)
def test_names_that_do_not(tmp_path, names):
    touch(tmp_path / "a", *names)
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "is_model"),
    [
        ("config.json", '{"model_type": "llama"}', True),
        ("config.json", '{"architectures": ["X"]}', True),
        ("config.json", '{"name": "my-website"}', False),
        ("config.json", '["model_type"]', False),
        ("config.json", "{", False),
        ("config.json", '{"model_type": "llama"}' + " " * (1 << 20), False),
        ("params.json", '{"dim": 64, "n_layers": 2, "n_heads": 4}', True),
        ("params.json", '{"learning_rate": 0.1}', False),
    ],
)
def test_a_config_that_stands_alone(tmp_path, file, text, is_model):
    touch(tmp_path, f"a/{file}")
    (tmp_path / "a" / file).write_text(text)
    assert found(tmp_path) == (["a"] if is_model else [])


def test_nested_folders(tmp_path):
    touch(
        tmp_path,
        "m/model.safetensors",
        "m/onnx/model.safetensors",  # a model is not searched further
        "m/original/consolidated.00.pth",  # but for this
        "org/name/model.safetensors",
        "loose/x.safetensors",
        "loose/inside/model.safetensors",  # a stray file hides nothing
    )
    assert found(tmp_path) == ["loose", "loose/inside", "m", "m/original", "org/name"]
    assert found(tmp_path / "m") == [".", "original"]


@pytest.mark.parametrize("name", [".git", ".cache", "node_modules", "__pycache__", "site-packages", ".hidden"])
def test_folders_that_are_left_out(tmp_path, name):
    touch(tmp_path, f"{name}/m/model.safetensors", "b/model.safetensors")
    assert found(tmp_path) == ["b"]
    assert found(tmp_path / name) == ["m"]  # unless they are asked for


def test_links_are_followed_and_loops_are_not(tmp_path):
    real = touch(tmp_path / "real", "m/model.safetensors")
    root = touch(tmp_path / "root", "plain/model.safetensors")
    (root / "linked").symlink_to(real)
    (root / "again").symlink_to(real / "m")
    (root / "up").symlink_to(root)
    (root / "itself").symlink_to("itself")
    (root / "nowhere").symlink_to("none")
    (root / "deep").mkdir()
    (root / "deep" / "back").symlink_to(root / "deep")
    assert found(root) == ["again", "plain"]  # the link that is nearer comes first; the same folder once


def test_gguf_files(tmp_path):
    touch(
        tmp_path,
        "a/x.gguf",
        "a/b/y-00001-of-00003.gguf",
        "a/b/y-00002-of-00003.gguf",
        "m/model.safetensors",
        "m/z.gguf",
    )
    assert found(tmp_path, "gguf") == ["a/b/y-00001-of-00003.gguf", "a/x.gguf", "m/z.gguf"]
    assert found(tmp_path) == ["m"]


def test_names_of_folders_are_no_files(tmp_path):
    (tmp_path / "a" / "model.safetensors").mkdir(parents=True)
    (tmp_path / "a" / "x.gguf").mkdir()
    assert found(tmp_path, None) == []


def test_odd_names(tmp_path):
    names = ["a b", "wörd", "\u6a21\u578b", "line\nbreak", "\x1b[2J", os.fsdecode(b"\xff\xfe"), "-m", "~", "x" * 255]
    touch(tmp_path, *(f"{name}/model.safetensors" for name in names))
    assert sorted(found(tmp_path)) == sorted(names)


def test_depth_is_bounded_and_told(tmp_path):
    levels = "/".join("abcdefgh"[:MAX_DEPTH])
    touch(tmp_path, f"{levels}/model.safetensors", f"x/{levels}/model.safetensors")
    messages: list[str] = []
    assert found(tmp_path, messages=messages) == [levels]
    assert messages == [f"{tmp_path}: 1 folders more than 6 levels down were not searched"]


def test_names_are_bounded_and_told(tmp_path, monkeypatch):
    touch(tmp_path, "a/model.safetensors", *(f"b/{number}" for number in range(50)), "b/z/model.safetensors")
    monkeypatch.setattr(module, "MAX_NAMES", 20)
    messages: list[str] = []
    assert found(tmp_path, messages=messages) == ["a"]
    assert messages == [f"{tmp_path}: the search ended after 20 names, in {tmp_path}/b; give a folder further in"]


def test_models_are_bounded_and_told(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number}/model.safetensors" for number in range(9)))
    monkeypatch.setattr(module, "MAX_MODELS", 4)
    messages: list[str] = []
    assert found(tmp_path, messages=messages) == ["0", "1", "2", "3"]
    assert messages == [f"{tmp_path}: only the first 4 models are listed; give a folder further in"]
    monkeypatch.setattr(module, "MAX_MODELS", 9)
    assert len(found(tmp_path)) == 9


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_told_and_left_out():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder lets only its user in
        root = touch(Path(name), "locked\n/model.safetensors", "open/model.safetensors")
        root.chmod(0o755)
        locked = root / "locked\n"
        locked.chmod(0)
        messages: list[str] = []
        with nobody():
            assert found(root, messages=messages) == ["open"]
        assert messages == [f'"{root}/locked\\n": cannot be read (Permission denied); left out']
        locked.chmod(0o755)


def test_a_root_that_is_not_there_is_told(tmp_path):
    messages: list[str] = []
    assert found(tmp_path / "none", messages=messages) == []
    assert messages == [f"{tmp_path}/none: cannot be read (No such file or directory); left out"]
