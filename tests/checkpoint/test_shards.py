"""Checkpoints of several files: the index, its promises, and where its files may lie."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from containers import write_f32
from inferno.checkpoint import Checkpoint
from inferno.errors import CheckpointError

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, weight_map: dict[str, Any] | None = None, **index: Any) -> Path:
    """Two shards with a and b, and c; an index with `weight_map` (the true one by default)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_f32(folder / ONE, {"a": (2,), "b": (3, 1)})
    write_f32(folder / TWO, {"c": (4,)})
    write_index(folder, {"a": ONE, "b": ONE, "c": TWO} if weight_map is None else weight_map, **index)
    return folder


def write_index(folder: Path, weight_map: object, **index: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map, **index}))


def refuse(folder: Path, what: str) -> None:
    with pytest.raises(CheckpointError, match=what) as caught:
        Checkpoint.open(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("index", [{}, {"metadata": None}, {"metadata": {"total_size": 1}}, {"metadata": []}], ids=repr)
def test_shards_are_joined_whatever_the_metadata_say(tmp_path: Path, index: dict[str, Any]) -> None:
    ckpt = Checkpoint.open(write_shards(tmp_path, **index))
    assert ckpt.names() == ("a", "b", "c")
    assert ckpt.files == (tmp_path / ONE, tmp_path / TWO)
    assert ckpt.nbytes == 36
    assert {name: ckpt[name].file.name for name in ckpt} == {"a": ONE, "b": ONE, "c": TWO}
    assert ckpt["b"].array.tobytes() == bytes(range(8, 20))
    assert ckpt["c"].array.tobytes() == bytes(range(16))


def test_a_single_file_comes_before_the_index(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write_f32(tmp_path / "model.safetensors", {"x": (1,)})
    assert Checkpoint.open(tmp_path).names() == ("x",)


def test_files_that_the_index_does_not_name_are_left_alone(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "model-00003-of-00003.safetensors").write_bytes(b"rubbish")
    (tmp_path / "consolidated.safetensors").write_bytes(b"rubbish")
    assert len(Checkpoint.open(tmp_path)) == 3


def test_tensors_beside_those_of_the_index_are_there(tmp_path: Path) -> None:
    assert Checkpoint.open(write_shards(tmp_path, {"a": ONE, "c": TWO})).names() == ("a", "b", "c")


def test_a_missing_shard(tmp_path: Path) -> None:
    (write_shards(tmp_path) / TWO).unlink()
    refuse(
        tmp_path,
        rf"^{re.escape(str(tmp_path / INDEX))}: names {TWO}, which is not in {re.escape(str(tmp_path))}; 1 of 2 shards "
        "are there; download the rest$",
    )


def test_many_missing_shards_are_summed_up(tmp_path: Path) -> None:
    names = [f"model-{i:05d}-of-00191.safetensors" for i in range(1, 192)]
    write_index(tmp_path, {f"t{i}": name for i, name in enumerate(names)})
    refuse(tmp_path, rf"names {names[0]}, {names[1]}, {names[2]} and 188 more, which are not in .*; 0 of 191 shards")


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path) / TWO
    path.write_bytes(path.read_bytes()[:-1])
    refuse(tmp_path, rf"^{re.escape(str(path))}: must be \d+ bytes, .* truncated, 1 bytes are missing")


def test_a_shard_that_lacks_a_promised_tensor(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": ONE, "b": ONE, "c": TWO, "d": TWO, "e": ONE})
    refuse(
        tmp_path,
        rf"{INDEX}: says that d is in {TWO}; no shard has it \(1 more tensors are not where the index says\); the "
        "index and the shards come from different downloads: fetch all of them again$",
    )


def test_a_promised_tensor_in_another_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": ONE, "b": TWO, "c": TWO})
    refuse(tmp_path, rf"{INDEX}: says that b is in {TWO}; it is in {ONE}; the index and the shards")


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write_f32(tmp_path / TWO, {"c": (4,), "a": (2,)})
    refuse(
        tmp_path, rf"tensor a must be in one shard; got it in {ONE} and {TWO}; keep only the files that {INDEX} names$"
    )


@pytest.mark.parametrize("weight_map", [None, [], {}, "x", 1, True], ids=repr)
def test_the_weight_map_is_a_map(tmp_path: Path, weight_map: object) -> None:
    write_shards(tmp_path)
    write_index(tmp_path, weight_map)
    refuse(tmp_path, rf"{INDEX}: weight_map must map tensor names to file names; got ")


NO_FILE_NAMES = [None, 1, True, "", [], "/etc/passwd", "model.bin", "x\0.safetensors", "\ud800.safetensors"]


@pytest.mark.parametrize("file", [*NO_FILE_NAMES, "\x1b.safetensors", "x" * 300 + ".safetensors"], ids=ascii)
def test_the_weight_map_names_safetensors_files(tmp_path: Path, file: object) -> None:
    write_shards(tmp_path, {"a": file})
    refuse(tmp_path, rf"{INDEX}: weight_map of a must be the name of a .safetensors file; got ")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"weight_map":{"a":"b","a":"c"}}', b"\xff", b"[" * 100_000])
def test_an_index_that_is_no_index(tmp_path: Path, content: bytes) -> None:
    write_shards(tmp_path)
    (tmp_path / INDEX).write_bytes(content)
    refuse(tmp_path, rf"^{re.escape(str(tmp_path / INDEX))}: must (hold|be) ")


def test_an_index_that_is_a_git_lfs_pointer(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / INDEX).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    refuse(tmp_path, "must be the file itself; got a Git-LFS pointer to it; run `git lfs install")


@pytest.mark.parametrize("name", ["../outside.safetensors", "sub/../../outside.safetensors", "{absolute}"])
def test_an_index_cannot_name_files_outside(tmp_path: Path, name: str) -> None:
    outside = write_f32(tmp_path / "outside.safetensors", {"a": (2,)})
    name = name.replace("{absolute}", str(outside))
    folder = tmp_path / "m"
    write_shards(folder, {"a": name})
    refuse(folder, rf"{INDEX}: files must lie in {re.escape(str(folder))}; got {re.escape(name)}$")


@pytest.mark.parametrize("name", ["./" + ONE, "sub/" + ONE])
def test_an_index_may_name_files_below(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    write_f32(tmp_path / name, {"a": (2,)})
    write_index(tmp_path, {"a": name})
    assert Checkpoint.open(tmp_path).names() == ("a",)


@pytest.mark.parametrize("name", [ONE, "model.safetensors"])
def test_a_link_out_of_the_folder(tmp_path: Path, name: str) -> None:
    outside = write_f32(tmp_path / "outside.safetensors", {"a": (2,)})
    folder = write_shards(tmp_path / "m", {"a": ONE})
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    refuse(
        folder,
        rf": files must lie in {re.escape(str(folder))}; got {name}, a link to {re.escape(str(outside))}; put the file "
        "in its place$",
    )


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    refuse(tmp_path, r"model\.safetensors: must be ")


def test_a_link_within_the_folder(tmp_path: Path) -> None:
    write_f32(tmp_path / "weights", {"a": (2,)})
    (tmp_path / "model.safetensors").symlink_to("weights")
    assert Checkpoint.open(tmp_path).names() == ("a",)


def hub_cache(root: Path) -> Path:
    """A snapshot as the hub's cache lays it out: links to blobs beside the snapshots."""
    entry = root / "models--org--name"
    snapshot = entry / "snapshots" / "0123abcd"
    blobs = entry / "blobs"
    write_shards(snapshot)
    blobs.mkdir()
    for number, file in enumerate((ONE, TWO, INDEX)):
        (snapshot / file).rename(blobs / f"blob{number}")
        (snapshot / file).symlink_to(f"../../blobs/blob{number}")
    return snapshot


def test_the_hubs_links_to_its_own_blobs(tmp_path: Path) -> None:
    assert Checkpoint.open(hub_cache(tmp_path)).names() == ("a", "b", "c")


def test_the_hubs_links_through_a_link_to_the_snapshot(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(hub_cache(tmp_path / "cache"))
    assert Checkpoint.open(tmp_path / "here").names() == ("a", "b", "c")


def test_the_hubs_links_to_blobs_of_another_model(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    write_f32(other / "x", {"c": (4,)})
    (snapshot / TWO).unlink()
    (snapshot / TWO).symlink_to(other / "x")
    refuse(snapshot, r"files must lie in .*, a link to ")


def test_a_broken_link(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    (tmp_path / "models--org--name" / "blobs" / "blob1").unlink()
    refuse(snapshot, rf"names {TWO}, which is not in ")


def test_a_broken_link_to_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("gone")
    refuse(tmp_path, r"model.safetensors: is a link to gone, which does not exist; download it again$")


def test_a_complete_set_of_shards_needs_no_index(tmp_path: Path) -> None:
    (write_shards(tmp_path) / INDEX).unlink()
    assert Checkpoint.open(tmp_path).names() == ("a", "b", "c")


def test_an_incomplete_set_without_an_index(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / INDEX).unlink()
    (tmp_path / ONE).unlink()
    refuse(tmp_path, rf"must hold {INDEX} and all of its 2 shards; got neither the index nor {ONE}; download them$")
