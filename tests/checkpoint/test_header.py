"""Every way in which a safetensors file can be damaged, and what its error says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from containers import container, entry
from inferno.checkpoint import Checkpoint
from inferno.errors import CheckpointError, UnsupportedError

ONE = entry("F32", [1], 0, 4)


def refuse(folder: Path, content: bytes, what: str, error: type[Exception] = CheckpointError) -> str:
    """Asserts that the file is refused with a message of one line that names it and says `what` (a pattern)."""
    path = folder / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(error, match=rf"^{re.escape(str(path))}: {what}") as caught:
        Checkpoint.open(folder)
    text = str(caught.value)
    assert text.isprintable()
    assert text.isascii()
    assert len(text) < 600
    return text


@pytest.mark.parametrize("size", range(8))
def test_too_short_for_a_length(tmp_path: Path, size: int) -> None:
    refuse(tmp_path, bytes(size), rf"must be at least 8 bytes; got {size}: the file is truncated; download it again$")


def test_truncated_data(tmp_path: Path) -> None:
    content = container({"a": entry("F32", [100], 0, 400)}, bytes(400))
    refuse(
        tmp_path,
        content[:-150],
        rf"must be {len(content)} bytes, as its header says; got {len(content) - 150}: the file is truncated, 150 "
        r"bytes are missing; download it again$",
    )


def test_truncated_header(tmp_path: Path) -> None:
    content = container({"a": ONE})
    refuse(
        tmp_path,
        content[:20],
        rf"must be at least {len(content)} bytes, as its header says; got 20: the file is truncated, "
        rf"{len(content) - 20} bytes are missing",
    )


@pytest.mark.parametrize("extra", [1, 8, 4096])
def test_trailing_bytes(tmp_path: Path, extra: int) -> None:
    content = container({"a": ONE}, bytes(4 + extra))
    refuse(tmp_path, content, rf"must be {len(content) - extra} bytes, .*; got {len(content)}: {extra} bytes too many")


@pytest.mark.parametrize("length", [100_000_001, 2**31, 2**63, 2**64 - 1])
def test_a_header_over_100_mb(tmp_path: Path, length: int) -> None:
    content = length.to_bytes(8, "little") + b"{}"
    refuse(
        tmp_path, content, rf"the header must be at most 100000000 bytes; got {length}; this is no safetensors file$"
    )


def test_a_header_of_100_mb_is_looked_for(tmp_path: Path) -> None:
    refuse(tmp_path, (100_000_000).to_bytes(8, "little") + b"{}", "must be at least 100000008 bytes, .* truncated")


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", r'the header must begin with "{"; got nothing'),
        (b"[]", r'the header must begin with "{"; got byte 0x5b'),
        (b" {}", r'the header must begin with "{"; got byte 0x20'),
        (b"\xef\xbb\xbf{}", r'the header must begin with "{"; got byte 0xef'),
        (b"{", "the header must be JSON; "),
        (b"{}x", "the header must be JSON; Extra data"),
        (b"{}\0", "the header must be JSON; Extra data"),
        (b'{"a":NaN}', "the header must be JSON; NaN is not JSON"),
        (b'{"\x01":1}', "the header must be JSON; "),
        (b'{"\xff":1}', "the header must be UTF-8; "),
        (b'{"\\ud800":1}', "the header must be UTF-8; "),
        (b'{"a":' * 100_000, "the header must be JSON of three levels; got brackets nested deeper"),
        (b'{"a":1,"a":1}', 'the header must be JSON; the key "a" must be given once; got it twice'),
        (
            b'{"a":{"dtype":"F32","dtype":"F16"}}',
            'the key "dtype" must be given once; got it twice'.join(["the .*; ", ""]),
        ),
        (b'{"__metadata__":{"x":1}}', r'__metadata__ must map strings to strings; got \{"x": 1\}'),
        (b'{"__metadata__":[]}', r"__metadata__ must map strings to strings; got \[\]"),
    ],
)
def test_headers_that_are_no_header(tmp_path: Path, raw: bytes, what: str) -> None:
    refuse(tmp_path, container(raw), what)


@pytest.mark.parametrize("raw", [b"{}", b"{}  ", b"{ }\n", b'{"__metadata__":{}}', b'{"__metadata__":{"format":"pt"}}'])
def test_headers_without_tensors(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(container(raw))
    assert len(Checkpoint.open(tmp_path)) == 0


@pytest.mark.parametrize(
    "value",
    [None, 1, [], "F32", {}, {**ONE, "x": 1}, {"dtype": "F32", "shape": [1]}, ["F32", [1], [0, 4]]],
    ids=repr,
)
def test_a_tensor_has_three_keys(tmp_path: Path, value: object) -> None:
    refuse(tmp_path, container({"a": value}, bytes(4)), "tensor a: must have dtype, shape and data_offsets; got ")


@pytest.mark.parametrize("dtype", ["F12", "f32", "", "BFLOAT16", None, 1, ["F32"], {}])
def test_unknown_dtypes(tmp_path: Path, dtype: object) -> None:
    content = container({"a": {**ONE, "dtype": dtype}}, bytes(4))
    what = rf"tensor a: dtype must be one of BOOL, .*U64; got {re.escape(json.dumps(dtype))}$"
    refuse(tmp_path, content, what, UnsupportedError)


@pytest.mark.parametrize(
    "shape", [None, 1, "1", {}, [-1], [True], [1.0], ["1"], [None], [[1]], [2**70], [10**400], [1] * 33], ids=repr
)
def test_shapes(tmp_path: Path, shape: object) -> None:
    raw = json.dumps({"a": {**ONE, "shape": shape}}).encode()
    refuse(
        tmp_path,
        container(raw, bytes(4)),
        r"tensor a: shape must (be a list of at most 32 integers from 0 up|multiply to less than 2\^63 bytes); got ",
    )


def test_negative_zero_is_no_integer(tmp_path: Path) -> None:
    raw = b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'
    refuse(tmp_path, container(raw), r"tensor a: shape must be a list of at most 32 integers from 0 up; got \[-0.0\]$")


@pytest.mark.parametrize("shape", [[2**62, 2], [2**63, 0], [0, 2**32, 2**32], [2**31, 2**31, 2**31]], ids=repr)
def test_shapes_that_overflow(tmp_path: Path, shape: list[int]) -> None:
    content = container({"a": entry("F32", shape, 0, 0)})
    refuse(tmp_path, content, r"tensor a: shape must multiply to less than 2\^63 bytes; got \[")


@pytest.mark.parametrize(
    "offsets",
    [None, 4, "04", {}, [], [4], [0, 4, 4], [0.0, 4], [0, 4.0], [False, True], ["0", "4"], [None, 4], [0, 10**30]],
    ids=repr,
)
def test_offsets_are_two_integers(tmp_path: Path, offsets: object) -> None:
    content = container({"a": {**ONE, "data_offsets": offsets}}, bytes(4))
    refuse(tmp_path, content, "tensor a: data_offsets must be two integers; got ")


@pytest.mark.parametrize("offsets", [[-4, 0], [-1, 3], [4, 0], [0, -4], [2**64, 2**64 + 4], [0, 2**64]], ids=repr)
def test_offsets_that_are_negative_overflow_or_run_backwards(tmp_path: Path, offsets: list[int]) -> None:
    content = container({"a": {**ONE, "data_offsets": offsets}}, bytes(4))
    refuse(tmp_path, content, r"tensor a: data_offsets must be 0 <= begin <= end < 2\^64; got \[")


@pytest.mark.parametrize(
    ("dtype", "shape", "end", "span"),
    [
        ("F32", [1], 3, "4"),
        ("F32", [2], 4, "8"),
        ("F32", [], 0, "4"),
        ("BF16", [3, 5], 31, "30"),
        ("F4", [3], 2, "1.5"),
        ("F6_E2M3", [2], 2, "1.5"),
        ("U8", [0], 1, "0"),
    ],
)
def test_spans_that_do_not_fit_the_shape(tmp_path: Path, dtype: str, shape: list[int], end: int, span: str) -> None:
    content = container({"a": entry(dtype, shape, 0, end)}, bytes(end))
    refuse(
        tmp_path,
        content,
        rf"tensor a: data_offsets must span {re.escape(span)} bytes for {dtype} {re.escape(str(shape))}; got {end}$",
    )


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ({"a": entry("F32", [1], 4, 8)}, "tensor a: data_offsets must begin at 0; got 4: a hole before it"),
        ({"a": ONE, "b": entry("F32", [1], 5, 9)}, "tensor b: data_offsets must begin at 4; got 5: a hole before it"),
        ({"a": ONE, "b": entry("F32", [1], 3, 7)}, "tensor b: data_offsets must begin at 4; got 3: an overlap with"),
        ({"a": ONE, "b": ONE}, "tensor b: data_offsets must begin at 4; got 0: an overlap with"),
        ({"a": ONE, "e": entry("F32", [0], 2, 2)}, "tensor e: data_offsets must begin at 4; got 2: an overlap with"),
    ],
)
def test_holes_and_overlaps(tmp_path: Path, header: dict[str, Any], what: str) -> None:
    refuse(tmp_path, container(header, bytes(9)), what)


def test_ten_tensors_on_one_range(tmp_path: Path) -> None:
    refuse(tmp_path, container({f"t{i}": ONE for i in range(10)}, bytes(4)), "tensor t1: .* an overlap")


def test_names_cannot_smuggle_control_characters(tmp_path: Path) -> None:
    refuse(tmp_path, container({"\x1b[31m\n": None}), r'tensor "\\u001b\[31m\\n": must have dtype')


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n",
            "must be the file itself; got a Git-LFS pointer to it; run `git lfs install && git lfs pull` in the folder",
        ),
        (
            b"GGUF\x03\0\0\0" + bytes(100),
            "must be a safetensors file; got a GGUF file; import it with `inferno import ",
        ),
        (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(100), "must be a safetensors file; got a zip archive, as torch.save"),
        (b"\x80\x02}q\0(X\x01\0\0" + bytes(100), "must be a safetensors file; got a Python pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "must be a safetensors file; got an HDF5 file"),
        (b"<!DOCTYPE html><html>", "must be a safetensors file; got a web page"),
    ],
    ids=["lfs", "gguf", "zip", "pickle", "hdf5", "html"],
)
def test_other_files_under_the_name(tmp_path: Path, content: bytes, what: str) -> None:
    refuse(tmp_path, content, what)


def test_a_header_whose_length_looks_like_a_web_page_is_read(tmp_path: Path) -> None:
    raw = container(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.ljust(ord("<")))
    assert raw[:1] == b"<"
    (tmp_path / "model.safetensors").write_bytes(raw)
    assert list(Checkpoint.open(tmp_path)) == ["a"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"must be a regular file; got a pipe, a device or a socket$"):
        Checkpoint.open(tmp_path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"must be a regular file; got a folder$"):
        Checkpoint.open(tmp_path)


def test_a_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "model.safetensors").write_bytes(container({}))
    monkeypatch.setattr(os, "open", denied)  # root may read everything
    with pytest.raises(CheckpointError, match=r"model.safetensors: must be readable; got Permission denied$"):
        Checkpoint.open(tmp_path)
