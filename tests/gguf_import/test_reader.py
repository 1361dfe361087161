"""The GGUF container: agreement with the package gguf's own reader, and an error for everything that is broken."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferno.errors import CheckpointError, InfernoError, UnsupportedError
from inferno.gguf_import.reader import read_gguf
from tiny_gguf import BLOCK_TYPES, write_tiny_gguf


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_agrees_with_the_library_s_reader(tmp_path: Path, block_type: str) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, block_type=block_type, tied=False)
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            value = ours.metadata[key]
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents(), key
    assert set(ours.tensors) == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.shape == tuple(reversed(tensor.shape.tolist()))
        assert mine.block_type == tensor.tensor_type.name
        assert mine.rows.tobytes() == tensor.data.tobytes()
        assert not mine.rows.flags.writeable


def test_no_gguf(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGML" + bytes(100))
    with pytest.raises(CheckpointError, match="must be a GGUF file; it does not begin with the bytes 'GGUF'"):
        read_gguf(path)
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_gguf(tmp_path / "none.gguf")


def test_big_endian_and_old_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, endian=gguf.GGUFEndian.BIG)
    with pytest.raises(UnsupportedError, match="is a big-endian GGUF"):
        read_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(UnsupportedError, match="version must be 2 or 3; got 1"):
        read_gguf(path)


def test_a_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00003.gguf"
    write_tiny_gguf(path, metadata={"split.count": 3})
    with pytest.raises(UnsupportedError, match="one part of a GGUF split into 3; merge the parts first"):
        read_gguf(path)


def test_a_truncated_file_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"tensor \S+ needs \d+ bytes at offset \d+, but the file ends at"):
        read_gguf(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**63), "a metadata key needs 9223372036854775808 bytes"),
        (struct.pack("<QQQ", 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**62), "k with 4611686018427387904 strings"),
        (struct.pack("<QQQ", 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 5, 2**60), "k needs 4611686018427387904 bytes"),
        (struct.pack("<QQQ", 0, 1, 1) + b"k" + struct.pack("<I", 13), "value of type 13, which GGUF does not define"),
        (struct.pack("<QQQ", 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1), "value of type 9, which GGUF does not"),
        (struct.pack("<QQ", 0, 2) + (struct.pack("<Q", 1) + b"k" + struct.pack("<II", 4, 1)) * 2, "must occur once"),
        (struct.pack("<QQQ", 0, 1, 1) + b"\xff", "must be UTF-8"),
        (struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<I", 9), "tensor t must have 1 to 4 dimensions; got 9"),
        (
            struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0) + bytes(64),
            "tensor t needs 4835703278458516698824704 bytes",
        ),
        (
            struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 33, 2, 0) + bytes(64),
            "rows of Q4_0 must be a multiple of 32 long; got 33",
        ),
    ],
)
def test_broken_headers(tmp_path: Path, body: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + body.ljust(24, b"\0"))
    with pytest.raises(CheckpointError, match=message):
        read_gguf(path)


@pytest.mark.parametrize(
    ("kind", "name"), [(20, "IQ4_NL"), (23, "IQ4_XS"), (16, "IQ2_XXS"), (999, "type 999, which ggml does not define")]
)
def test_other_tensor_types_are_named(tmp_path: Path, kind: int, name: str) -> None:
    path = tmp_path / "m.gguf"
    info = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 256, kind, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info + bytes(4096))
    with pytest.raises(UnsupportedError, match=f"tensor t must be stored as one of F32, .*, BF16; got {name}"):
        read_gguf(path)


def test_a_strange_alignment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    entry = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 24)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(CheckpointError, match=r"general.alignment must be a power of two; got 24"):
        read_gguf(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_change_of_bytes_ends_in_anything_but_an_error_of_ours(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    path = tmp_path / "m.gguf"
    if not path.exists():
        write_tiny_gguf(path)
    broken = bytearray(path.read_bytes())
    for at, value in flips:
        broken[at] = value
    target = tmp_path / "broken.gguf"
    target.write_bytes(broken)
    with contextlib.suppress(InfernoError):
        read_gguf(target)
