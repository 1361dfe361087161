"""Safetensors files written piece by piece, read back by the official library."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors import safe_open

from inferno.checkpoint import Checkpoint
from inferno.quantizer.shards import Entry, Shard, ShardFile, plan_shards, write_index

ENTRIES = (
    Entry("codes", "I8", (3, 5)),
    Entry("scales", "F16", (3, 1)),
    Entry("words", "I32", (3, 2)),
    Entry("shape", "I64", (2,)),
    Entry("empty", "F32", (0, 4)),
)
ARRAYS = {
    "codes": np.arange(15, dtype=np.int8).reshape(3, 5),
    "scales": np.array([[0.5], [1.5], [2.5]], np.float16),
    "words": np.arange(6, dtype=np.int32).reshape(3, 2),
    "shape": np.array([3, 5], np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


def test_pieces_in_any_order(tmp_path):
    shard = Shard("model.safetensors", ENTRIES)
    with ShardFile(tmp_path, shard) as file:
        for row in range(3):
            for name in ("codes", "scales", "words"):
                file.write(name, ARRAYS[name][row : row + 1])
        file.write("shape", ARRAYS["shape"])
        file.write("empty", ARRAYS["empty"])
    with safe_open(tmp_path / "model.safetensors", "numpy") as found:
        assert found.metadata() == {"format": "pt"}
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found.get_tensor(name), array)
            assert found.get_tensor(name).dtype == array.dtype


def test_every_tensor_lies_at_a_multiple_of_its_type(tmp_path):
    with ShardFile(tmp_path, Shard("model.safetensors", ENTRIES)) as file:
        for name, array in ARRAYS.items():
            file.write(name, array)
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 64 == 0
    header = json.loads(data[8 : 8 + length])
    for name, array in ARRAYS.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0


def test_unfinished_tensors(tmp_path):
    shard = Shard("a.safetensors", (Entry("codes", "I8", (3, 5)),))
    with pytest.raises(ValueError, match="codes must be written to its end"), ShardFile(tmp_path, shard) as file:
        file.write("codes", ARRAYS["codes"][:2])


def test_overfull_tensors(tmp_path):
    shard = Shard("a.safetensors", (Entry("codes", "I8", (3, 5)),))
    with ShardFile(tmp_path, shard) as file:
        file.write("codes", ARRAYS["codes"][:1])
        with pytest.raises(ValueError, match=r"codes must end at \d+; got 15 bytes"):
            file.write("codes", ARRAYS["codes"])
        file.write("codes", ARRAYS["codes"][1:])


def test_an_error_in_the_body_comes_first(tmp_path):
    with pytest.raises(KeyError, match="mine"), ShardFile(tmp_path, Shard("a.safetensors", ENTRIES)):
        raise KeyError("mine")


def test_the_disk_is_reserved_at_once(tmp_path):
    with ShardFile(tmp_path, Shard("a.safetensors", (Entry("codes", "I8", (1 << 20,)),))) as file:
        assert os.stat(tmp_path / "a.safetensors").st_blocks * 512 >= 1 << 20
        file.write("codes", np.zeros(1 << 20, np.int8))


def test_one_file_below_the_limit():
    groups = [(Entry("a", "I8", (60,)),), (Entry("b", "I8", (40,)),)]
    (shard,) = plan_shards(groups, limit=100)
    assert shard == Shard("model.safetensors", (*groups[0], *groups[1]))


def test_several_files_beyond_it(tmp_path):
    layer = (Entry("b.weight", "I8", (50,)), Entry("b.scale", "I8", (30,)))
    groups = [(Entry("a", "I8", (60,)),), layer, (Entry("c", "I8", (500,)),), (Entry("d", "I8", (1,)),)]
    shards = plan_shards(groups, limit=100)
    names = [f"model-{number:05d}-of-00004.safetensors" for number in (1, 2, 3, 4)]
    assert [(shard.file, [entry.name for entry in shard.entries]) for shard in shards] == [
        (names[0], ["a"]),
        (names[1], ["b.weight", "b.scale"]),
        (names[2], ["c"]),
        (names[3], ["d"]),
    ]
    for shard in shards:
        with ShardFile(tmp_path, shard) as file:
            for entry in shard.entries:
                file.write(entry.name, np.full(entry.shape, ord(entry.name[0]), np.int8))
    write_index(tmp_path, shards)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 641}
    found = Checkpoint.open(tmp_path)
    assert sorted(found) == sorted(index["weight_map"])
    assert found["c"].array.tolist() == [ord("c")] * 500
