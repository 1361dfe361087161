"""What a checkpoint gives: read-only views on the mapped file, of every dtype, at any alignment."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from containers import container, entry, write_f32
from inferno.checkpoint import Checkpoint, Tensor
from inferno.checkpoint.dtypes import DTYPES


def open_bytes(folder: Path, content: bytes) -> Checkpoint:
    (folder / "model.safetensors").write_bytes(content)
    return Checkpoint.open(folder)


def owner(array: np.ndarray) -> object:
    """The map at the end of an array's chain of bases."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base.obj if isinstance(base, memoryview) else base


def test_a_checkpoint_is_a_mapping(tmp_path: Path) -> None:
    write_f32(tmp_path / "model.safetensors", {"b": (2, 3), "a": (4,)})
    ckpt = Checkpoint.open(str(tmp_path))
    assert ckpt.names() == tuple(ckpt) == ("b", "a")
    assert "a" in ckpt
    assert "c" not in ckpt
    assert len(ckpt) == 2
    assert ckpt.folder == tmp_path
    assert ckpt.files == (tmp_path / "model.safetensors",)
    assert ckpt.nbytes == 40
    assert repr(ckpt) == f"Checkpoint({str(tmp_path)!r}, 2 tensors, 40 bytes)"
    tensor = ckpt["b"]
    assert isinstance(tensor, Tensor)
    assert (tensor.name, tensor.dtype, tensor.shape, tensor.nbytes) == ("b", "F32", (2, 3), 24)
    assert tensor.file == tmp_path / "model.safetensors"
    with pytest.raises(KeyError):
        ckpt["c"]


NUMPY = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "uint8",
    "F8_E4M3": "uint8",
    "F8_E8M0": "uint8",
    "F8_E4M3FNUZ": "uint8",
    "F8_E5M2FNUZ": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
NARROW = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


def test_every_dtype_is_tested() -> None:
    assert set(DTYPES) == {*NUMPY, *NARROW}


@pytest.mark.parametrize("pad", range(8))
@pytest.mark.parametrize("dtype", NUMPY)
def test_views_of_every_dtype_at_every_alignment(tmp_path: Path, dtype: str, pad: int) -> None:
    expected_type = np.dtype(NUMPY[dtype])
    stored = (
        np.arange(6 * expected_type.itemsize, dtype=np.uint8) % 2
        if dtype == "BOOL"
        else np.arange(6 * expected_type.itemsize, dtype=np.uint8)
    )
    header = {"p": entry("U8", [pad], 0, pad), "t": entry(dtype, [2, 3], pad, pad + stored.size)}
    tensor = open_bytes(tmp_path, container(header, bytes(pad) + stored.tobytes()))["t"]
    view = tensor.array
    assert (view.dtype, view.shape, view.nbytes) == (expected_type, (2, 3), tensor.nbytes)
    np.testing.assert_array_equal(np.frombuffer(view.tobytes(), np.uint8), stored)
    assert not view.flags.writeable
    assert not view.flags.owndata
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.setflags(write=True)


@pytest.mark.parametrize("dtype", NARROW)
def test_types_narrower_than_a_byte_keep_their_logical_shape(tmp_path: Path, dtype: str) -> None:
    nbytes = 2 * 8 * NARROW[dtype] // 8
    data = bytes(range(nbytes))
    tensor = open_bytes(tmp_path, container({"t": entry(dtype, [2, 8], 0, nbytes)}, data))["t"]
    assert (tensor.dtype, tensor.shape, tensor.nbytes) == (dtype, (2, 8), nbytes)
    assert (tensor.array.dtype, tensor.array.shape, tensor.array.tobytes()) == (np.uint8, (nbytes,), data)
    assert not tensor.array.flags.writeable


def test_an_odd_offset_gives_an_unaligned_view_with_the_right_values(tmp_path: Path) -> None:
    values = np.array([1.5, -2.25], np.float32)
    header = {"p": entry("U8", [1], 0, 1), "t": entry("F32", [2], 1, 9)}
    for spaces in range(4):
        raw = container(header, b"\0" + values.tobytes())
        length = int.from_bytes(raw[:8], "little")
        padded = (length + spaces).to_bytes(8, "little") + raw[8 : 8 + length] + b" " * spaces + raw[8 + length :]
        view = open_bytes(tmp_path, padded)["t"].array
        np.testing.assert_array_equal(view, values)
        assert view.flags.aligned == (view.ctypes.data % 4 == 0)


def test_empty_and_rank_0_tensors(tmp_path: Path) -> None:
    header = {
        "start": entry("F32", [0, 5], 0, 0),
        "scalar": entry("F32", [], 0, 4),
        "middle": entry("I64", [3, 0], 4, 4),
        "last": entry("U8", [1], 4, 5),
        "end": entry("BF16", [0], 5, 5),
    }
    ckpt = open_bytes(tmp_path, container(header, np.float32(2.5).tobytes() + b"\7"))
    assert {name: ckpt[name].array.shape for name in ckpt} == {name: tuple(header[name]["shape"]) for name in header}
    assert ckpt["scalar"].array[()] == np.float32(2.5)
    assert ckpt["last"].array.tolist() == [7]


def test_a_file_without_tensors_is_legal(tmp_path: Path) -> None:
    assert len(open_bytes(tmp_path, container({}))) == 0


def test_views_share_memory_with_the_map(tmp_path: Path) -> None:
    write_f32(tmp_path / "model.safetensors", {"a": (2, 3), "b": (4,)})
    ckpt = Checkpoint.open(tmp_path)
    a, b = ckpt["a"].array, ckpt["b"].array
    mapped = owner(a)
    assert mapped is owner(b)
    whole = np.frombuffer(mapped, np.uint8)  # type: ignore[call-overload]
    assert whole.tobytes() == (tmp_path / "model.safetensors").read_bytes()
    for view in (a, b):
        assert np.shares_memory(view, whole)
    assert not np.shares_memory(a, b)
    assert np.shares_memory(a, ckpt["a"].array)


def test_views_outlive_the_checkpoint_and_the_files_name(tmp_path: Path) -> None:
    write_f32(tmp_path / "model.safetensors", {"a": (2, 3)})
    ckpt = Checkpoint.open(tmp_path)
    view = ckpt["a"].array
    expected = view.copy()
    del ckpt
    gc.collect()
    (tmp_path / "model.safetensors").unlink()
    np.testing.assert_array_equal(view, expected)


def test_the_map_is_private_to_reading(tmp_path: Path) -> None:
    path = write_f32(tmp_path / "model.safetensors", {"a": (2, 3)})
    path.chmod(0o444)
    view = Checkpoint.open(tmp_path)["a"].array
    address = view.ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            bounds, permissions, *_ = line.split()
            low, high = (int(bound, 16) for bound in bounds.split("-"))
            if low <= address < high:
                assert permissions in ("r--s", "r--p")
                return
    pytest.fail("the view lies in no map")


def test_opening_reads_no_weight(tmp_path: Path) -> None:
    # A file with a hole on disk: 64 GiB of weights that no one could read in the time of a test.
    size = 1 << 36
    raw = container({"t": entry("U8", [size], 0, size)})
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    os.truncate(path, len(raw) + size)
    resident = _resident_file_bytes()
    ckpt = Checkpoint.open(tmp_path)
    assert ckpt["t"].array.shape == (size,)
    assert _resident_file_bytes() - resident < 1 << 20


def _resident_file_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssFile")) * 1024


def test_opening_leaves_no_descriptor_of_its_own(tmp_path: Path) -> None:
    write_f32(tmp_path / "model.safetensors", {"a": (2, 3)})
    before = len(os.listdir("/proc/self/fd"))
    ckpt = Checkpoint.open(tmp_path)
    during = len(os.listdir("/proc/self/fd"))
    assert during - before <= 1  # mmap keeps one per map
    del ckpt
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_the_safetensors_library_writes_is_read_alike(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tensors = {
        f"t{index}": generator.integers(0, 2, shape).astype(dtype)
        for index, (dtype, shape) in enumerate(
            [
                ("float32", (3, 4)),
                ("float16", (5,)),
                ("int8", (7, 1)),
                ("bool", (2,)),
                ("uint64", ()),
                ("float64", (0, 3)),
            ]
        )
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ckpt = Checkpoint.open(tmp_path)
    assert set(ckpt) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(ckpt[name].array, tensor)
        assert ckpt[name].array.dtype == tensor.dtype
