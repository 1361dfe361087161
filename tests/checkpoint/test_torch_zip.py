"""Files of torch.save: read as views, and refused by name where they hold more than plain tensors. Nothing is run."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inferno.checkpoint.plain_pickle import MAX_PICKLE_BYTES, MAX_STEPS
from inferno.checkpoint.torch_zip import open_torch_zip
from inferno.checkpoint.zip_directory import MAX_DIRECTORY_BYTES
from inferno.errors import CheckpointError, InfernoError, UnsupportedError
from torch_writer import STORAGES, Call, Name, Stored, archive, dumps, tensor, write_pth

REAL = Path(__file__).parent.parent / "data" / "torch_save.pth"
DATA = bytes(range(96))


def write(folder: Path, tree: object, storages: dict[str, bytes] | None = None, **entries: bytes) -> Path:
    """A file of a tree (or of a pickle's bytes), with storage "0" of 96 bytes unless others are given."""
    raw = tree if isinstance(tree, bytes) else dumps(tree)
    held = {f"data/{key}": content for key, content in (storages or {"0": DATA}).items()}
    path = folder / "consolidated.00.pth"
    path.write_bytes(archive({"data.pkl": raw, **held, **entries}))
    return path


def refuse(path: Path, what: str, error: type[InfernoError] = CheckpointError) -> None:
    with pytest.raises(error, match=what) as caught:
        open_torch_zip(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert text.isascii()


def test_tensors_are_views_in_the_order_of_their_data(tmp_path: Path) -> None:
    held = {"b": ("F32", np.arange(6, dtype=np.float32).reshape(2, 3)), "a": ("BF16", np.arange(4, dtype=np.uint16))}
    path = write_pth(tmp_path / "x.pth", held)
    tensors = open_torch_zip(path)
    assert list(tensors) == ["b", "a"]
    for name, (dtype, stored) in held.items():
        found = tensors[name]
        assert (found.name, found.dtype, found.shape, found.nbytes) == (name, dtype, stored.shape, stored.nbytes)
        assert (found.file, found.files, found.parts) == (path, (path,), (found,))
        np.testing.assert_array_equal(found.array, stored)
        assert not found.array.flags.writeable
        assert np.shares_memory(found.matrix, found.file_bytes)


@pytest.mark.parametrize("dtype", STORAGES)
def test_every_type(tmp_path: Path, dtype: str) -> None:
    width = {"64": 8, "32": 4, "16": 2}.get(dtype[-2:], 1)
    path = write(
        tmp_path,
        {"x": tensor("0", dtype, 96 // width, (4, 3), offset=5)}
        if width < 8
        else {"x": tensor("0", dtype, 12, (4, 3))},
    )
    found = open_torch_zip(path)["x"]
    begin = 5 * width if width < 8 else 0
    assert (found.dtype, found.array.itemsize, found.array.shape) == (dtype, width, (4, 3))
    assert found.array.tobytes() == DATA[begin : begin + 12 * width]


def test_tensors_may_share_a_storage(tmp_path: Path) -> None:
    tree = {"late": tensor("0", "F32", 24, (2, 4), offset=8), "whole": tensor("0", "F32", 24, (24,))}
    tensors = open_torch_zip(write(tmp_path, tree))
    assert list(tensors) == ["whole", "late"]
    np.testing.assert_array_equal(tensors["late"].array.ravel(), tensors["whole"].array[8:16])


def test_empty_and_scalar_tensors(tmp_path: Path) -> None:
    tree = {"none": tensor("0", "F32", 24, (0, 5), (7, 3), 10**9), "scalar": tensor("0", "U8", 96, (), (), 95)}
    tensors = open_torch_zip(write(tmp_path, tree))
    assert tensors["none"].array.shape == (0, 5)
    assert tensors["scalar"].array == 95


def test_a_dimension_of_one_may_have_any_stride(tmp_path: Path) -> None:
    found = open_torch_zip(write(tmp_path, {"x": tensor("0", "U8", 96, (1, 4, 1, 3), (0, 3, 99, 1))}))["x"]
    assert found.array.ravel().tolist() == list(range(12))


def test_state_dicts_and_parameters(tmp_path: Path) -> None:
    """An OrderedDict, Parameters, and the attribute _metadata, as a module's state_dict() has them."""
    data = tensor("0", "F32", 24, (24,))
    whole = dumps(
        OrderedDict(x=Call("torch._utils", "_rebuild_parameter", data, True, Call("collections", "OrderedDict")))
    )
    with_metadata = whole[:-1] + dumps({"_metadata": OrderedDict(x={"version": 1})})[2:-1] + b"b."
    assert open_torch_zip(write(tmp_path, with_metadata))["x"].shape == (24,)


@pytest.mark.parametrize("protocol", [4, 5])
def test_later_protocols(tmp_path: Path, protocol: int) -> None:
    """FRAME, SHORT_BINUNICODE, STACK_GLOBAL and MEMOIZE, as torch.save(pickle_protocol=...) writes them."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode() + b"\x94"

    body = b"}\x94(" + text("x") + text("torch._utils") + text("_rebuild_tensor_v2") + b"\x93\x94(("
    body += (
        text("storage") + text("torch") + text("FloatStorage") + b"\x93\x94" + text("0") + text("cpu") + b"K\x18t\x94Q"
    )
    body += b"K\x00K\x18\x85K\x01\x85\x89Nt\x94R\x94u."
    raw = b"\x80" + bytes([protocol, 0x95]) + struct.pack("<Q", len(body)) + body
    assert open_torch_zip(write(tmp_path, raw))["x"].shape == (24,)


def test_a_file_that_torch_wrote() -> None:
    """tests/oracle/make_torch_save.py made it: its values are 0, 1, 2, ... in every type."""
    tensors = open_torch_zip(REAL)
    assert {name: (t.dtype, t.shape) for name, t in tensors.items()} == {
        "layers.0.attention.wq.weight": ("BF16", (8, 4)),
        "half": ("F16", (3, 5)),
        "single": ("F32", (7,)),
        "double": ("F64", (2, 2)),
        "int8": ("I8", (9,)),
        "int64": ("I64", (1, 3)),
        "bool": ("BOOL", (2,)),
        "rows_2_to_4_of_wq": ("BF16", (2, 4)),
        "parameter": ("F32", (2, 3)),
        "empty": ("F32", (0, 4)),
    }
    for name, found in tensors.items():
        values = found.array
        if found.dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        start = 8 if name == "rows_2_to_4_of_wq" else 0
        expected = np.arange(start, start + values.size).reshape(found.shape)
        np.testing.assert_array_equal(values.astype(np.float64), expected)


class Runs:
    """Whose pickle is a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_code_is_named_and_not_run(tmp_path: Path, protocol: int, nested: bool) -> None:
    """os.system by every opcode that pickle has for a global: GLOBAL (0 to 3), STACK_GLOBAL (4 and 5)."""
    mark = tmp_path / "run"
    value: object = Runs(os.system, f"touch {mark}")
    raw = pickle.dumps({"x": value} if nested else value, protocol)
    name = f"{os.system.__module__}.system"
    # protocol 0 and 1 spell a dict in opcodes that torch.save does not write
    what = "opcode 0x" if nested and protocol == 0 else f"must hold tensors and no code; got a use of {name}, which was"
    refuse(write(tmp_path, raw), what, UnsupportedError)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (pickle.dumps(Runs(eval, "1"), 2), "__builtin__.eval"),
        (b"(Vx\nios\nsystem\n.", "opcode 0x56"),
        (b"(K\x01ios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.", "os.system"),
        (b"\x80\x02cos\nsystem\n)\x81.", "os.system"),
        (b"\x80\x02(cos\nsystem\no.", "os.system"),
        (b"\x80\x02c\x1b[31m\nx\n.", r'"\\u001b\[31m.x"'),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n.", "torch._utils._rebuild_tensor_v3"),
        (b"\x80\x02ctorch\nQInt8Storage\n.", "torch.QInt8Storage"),
        (b"\x80\x02\x82\x01.", "opcode 0x82"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "opcode 0x81"),
    ],
)
def test_other_ways_to_code(tmp_path: Path, raw: bytes, name: str) -> None:
    refuse(write(tmp_path, raw), name, UnsupportedError)


@pytest.mark.parametrize(
    ("tree", "what", "error"),
    [
        ([], "must hold a dict of tensors by name; got a value of type list", UnsupportedError),
        (tensor("0", "U8", 96, (96,)), "got one tensor", UnsupportedError),
        (
            {"model": {"a": tensor("0", "U8", 96, (96,)), "b": 1, "c": 2, "d": 3}, "step": 3},
            r"got a dict of a, b, c and 1 more as model; save the model's state_dict\(\) alone",
            UnsupportedError,
        ),
        ({"step": 3}, "got a value of type int as step", UnsupportedError),
        ({"x": {}}, "got an empty dict as x", UnsupportedError),
        ({"x": Name("torch", "FloatStorage")}, "got a value of type StorageType as x", UnsupportedError),
        ({3: None}, "must be a pickle of tensors by name; got a key of type int", UnsupportedError),
        ({("a",): None}, "got a key of type tuple", UnsupportedError),
        (
            {"x": tensor("0", "F32", 24, (4, 6), (1, 4))},
            r"tensors must lie contiguous, row by row; got shape \[4, 6\] with strides \[1, 4\]; save",
            UnsupportedError,
        ),
        ({"x": tensor("0", "F32", 24, (4, 600), (0, 1))}, r"must lie contiguous", UnsupportedError),
        (
            {"x": tensor("0", "F32", 24, (4, 6), offset=1)},
            r"must lie in their storage of 24 elements; got shape \[4, 6\] at 1; ",
            CheckpointError,
        ),
        ({"x": tensor("0", "F32", 24, (2**40, 2**40), offset=1)}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 24, (1,) * 33)}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 24, (-1, -24))}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 24, (24,), (1,), -8)}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 24, (24,), (1, 1))}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 24, (True,), (1,))}, "integers from 0 up", CheckpointError),
        ({"x": tensor("0", "F32", 25, (24,))}, "storage 0 must be 100 bytes for 25 x F32; got 96", CheckpointError),
        ({"x": tensor("0", "F32", 23, (23,))}, "storage 0 must be 92 bytes for 23 x F32; got 96", CheckpointError),
        ({"x": tensor("1", "F32", 24, (24,))}, "must hold the storage 1; got no such entry", CheckpointError),
        ({"x": tensor("../x", "F32", 24, (24,))}, r"must hold the storage \.\./x; got no such", CheckpointError),
        ({"x": Stored("module", Name("torch", "FloatStorage"), "0", "cpu", 24)}, "name a storage", CheckpointError),
        ({"x": Stored("storage", "FloatStorage", "0", "cpu", 24)}, "a persistent id .* must name", CheckpointError),
        (
            {"x": Stored("storage", Name("torch", "FloatStorage"), 0, "cpu", 24)},
            "a storage of data.pkl must have a name and a number of elements",
            CheckpointError,
        ),
        ({"x": Call("torch._utils", "_rebuild_tensor_v2", 1, 0, (), ())}, "a tensor .* must have", CheckpointError),
        ({"x": Call("torch._utils", "_rebuild_parameter", 1)}, "a parameter .* must have a tensor", CheckpointError),
        ({"x": Call("collections", "OrderedDict", [])}, "an OrderedDict .* must begin empty", CheckpointError),
        ({"x": Call("torch", "FloatStorage")}, "a call of it lacks its function", CheckpointError),
    ],
)
def test_what_is_no_dict_of_plain_tensors(tmp_path: Path, tree: object, what: str, error: type[InfernoError]) -> None:
    refuse(write(tmp_path, tree), what, error)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "it ends in the middle of a step"),
        (b"\x80\x02}", "it ends in the middle of a step"),
        (b"X\xff\xff\xff\xffa.", "it ends in the middle of a step"),
        (b"\x8d" + b"\xff" * 8 + b".", "it ends in the middle of a step"),
        (b"cos", "a line of it does not end"),
        (b"X\x01\x00\x00\x00\xff.", "a string of it is not UTF-8"),
        (b".", "a step of it lacks its value"),
        (b"u.", "a step of it lacks its mark"),
        (b"}(K\x01u.", "a key of it lacks its value"),
        (b"](u.", "a step of it lacks its dict"),
        (b"}(e.", "a step of it lacks its list"),
        (b"q\x00.", "a step of it lacks its object"),
        (b"h\x00.", "a step of it looks up what is not there"),
        (b"}Nb.", None),
        (b"KKb.", "a step of it lacks its dict"),
        (b"K\x01K\x02\x93.", "a global of it has no name"),
        (b"}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu.", "a must be given once; got it twice"),
    ],
)
def test_damaged_pickles(tmp_path: Path, raw: bytes, what: str | None) -> None:
    path = write(tmp_path, raw)
    if what is None:
        assert open_torch_zip(path) == {}
    else:
        refuse(path, what)


TUPLES = b"\x80\x02}" + b")" + b"\x85" * 200_000
LAUGHS = b"\x80\x02})" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))


@pytest.mark.parametrize(
    ("raw", "what", "error"),
    [
        pytest.param(b"\x80\x02}r\xff\xff\xff\xff.", None, None, id="the highest index of the memo"),
        pytest.param(TUPLES + b"Ns.", "got a key of type tuple", UnsupportedError, id="a key of 200,000 tuples"),
        pytest.param(LAUGHS + b"Ns.", "got a key of type tuple", UnsupportedError, id="a key of 2^200 tuples"),
        pytest.param(LAUGHS + b".", "got a value of type tuple", UnsupportedError, id="a value of 2^200 tuples"),
        pytest.param(b"(" * 300_000 + b".", "lacks its value", CheckpointError, id="marks"),
        pytest.param(b"N" * (MAX_STEPS + 1), f"must end within {MAX_STEPS} steps", CheckpointError, id="steps"),
        pytest.param(b"\x8a\xff" + b"\xff" * 255 + b".", "got a value of type int", UnsupportedError, id="2^2040"),
        pytest.param(b"I" + b"9" * 10**6 + b"\n.", "opcode 0x49", UnsupportedError, id="a million digits"),
        pytest.param(b"\x8b\xff\xff\xff\x7f" + b"1" * 9, "opcode 0x8b", UnsupportedError, id="LONG4"),
        pytest.param(b"\x96" + b"\xff" * 8, "opcode 0x96", UnsupportedError, id="BYTEARRAY8"),
        pytest.param(
            b"N" * (MAX_PICKLE_BYTES + 1),
            f"data.pkl must be at most {MAX_PICKLE_BYTES} bytes",
            CheckpointError,
            id="size",
        ),
    ],
)
def test_bombs(tmp_path: Path, raw: bytes, what: str | None, error: type[InfernoError] | None) -> None:
    """Pickles that would take Python's own unpickler gigabytes, forever, or the process with it."""
    path = write(tmp_path, raw)
    tracemalloc.start()
    try:
        if error is None or what is None:
            assert open_torch_zip(path) == {}
        else:
            refuse(path, what, error)
        # Python's own takes 32 GB for the first.
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


# The archive


def test_what_is_no_archive_of_torch_save(tmp_path: Path) -> None:
    path = tmp_path / "consolidated.00.pth"
    for content, what, error in [
        (b"", 'must begin with "PK", as torch.save writes it; got an empty file; download it again', CheckpointError),
        (b"{}", 'must begin with "PK", .*; got byte 0x7b', CheckpointError),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            "got a pickle as PyTorch wrote it before 1.6",
            UnsupportedError,
        ),
        (b"<html>", "got a web page", CheckpointError),
        (b"GGUF\x03", "got a GGUF file", CheckpointError),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a Git-LFS pointer", CheckpointError),
    ]:
        path.write_bytes(content)
        refuse(path, what, error)
    refuse(tmp_path / "absent.pth", "must be readable; got No such file")
    refuse(tmp_path, "must be a regular file; got a folder")


def test_archives_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(archive({"word/document.xml": b"<w/>"}))
    refuse(path, "must hold one data.pkl, as torch.save writes it; got archive/word/document.xml")
    path.write_bytes(archive({}))
    refuse(path, 'must begin with "PK", ')
    for more in ("constants.pkl", "code/__torch__.py"):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            path.write_bytes(archive({"data.pkl": dumps({}), more: b""}, method=method))
            refuse(path, "must hold tensors and no code; got a TorchScript archive; save the model's", UnsupportedError)


def test_byte_order(tmp_path: Path) -> None:
    tree = {"x": tensor("0", "U8", 96, (96,))}
    assert open_torch_zip(write(tmp_path, tree, byteorder=b"little"))["x"].nbytes == 96
    refuse(write(tmp_path, tree, byteorder=b"big"), "byteorder must be little; got big", UnsupportedError)
    refuse(write(tmp_path, tree, byteorder=b"\x1b\xff" * 99), 'byteorder must be little; got "', UnsupportedError)


def test_compressed_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(archive({"data.pkl": dumps({})}, method=zipfile.ZIP_DEFLATED))
    refuse(path, "archive/data.pkl must be stored as it is, .* compression method 8; save it again", UnsupportedError)


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def test_damaged_archives(tmp_path: Path) -> None:
    """Each field of the directory and of the local headers that counts, broken in turn."""
    good = archive({"data.pkl": dumps({"x": tensor("0", "U8", 96, (96,))}), "data/0": DATA})
    end = len(good) - 22
    first = good.index(b"PK\1\2")
    second = good.index(b"PK\1\2", first + 1)
    size = struct.unpack_from("<L", good, end + 12)[0]
    path = tmp_path / "x.pth"
    cases: list[tuple[bytes, str, type[InfernoError]]] = [
        (good[:-1], "must end with a zip directory; got none; the file is", CheckpointError),
        (good[: len(good) // 2], "must end with a zip directory; got none", CheckpointError),
        (good[:40], "must end with a zip directory", CheckpointError),
        (good + b"x", "must end with a zip directory", CheckpointError),
        (patched(good, end + 20, b"\x05\x00"), "must be a zip archive in one piece", CheckpointError),
        (patched(good, end + 4, b"\x01\x00"), "must be a zip archive in one piece", CheckpointError),
        (patched(good, end + 8, b"\x01\x00"), "must be a zip archive in one piece", CheckpointError),
        (patched(good, end + 8, b"\x03\x00\x03\x00"), "must list 3 entries; got 2", CheckpointError),
        (patched(good, end + 12, struct.pack("<L", size + 1)), "the zip directory must end by byte", CheckpointError),
        (patched(good, end + 12, struct.pack("<L", size - 1)), "must hold whole entries", CheckpointError),
        (patched(good, end + 16, struct.pack("<L", first - 1)), "must hold entries; got other bytes", CheckpointError),
        (patched(good, end + 16, b"\xff" * 4), "must hold a zip64 record, which its end names", CheckpointError),
        (patched(good, first + 8, b"\x01"), "archive/data.pkl must be plain; got an encrypted", UnsupportedError),
        (patched(good, first + 24, b"\0\0\0\0"), "must have one size; got 0 and", CheckpointError),
        (patched(good, first + 42, b"\1"), "must begin with its own zip header at byte 1;", CheckpointError),
        (patched(good, first + 42, b"\xff\xff\xff\x7f"), "must begin with its own zip header", CheckpointError),
        (patched(good, first + 42, b"\xff" * 4), "must have a zip64 field for its size", CheckpointError),
        (patched(good, first + 46, b"\xff"), "names in the zip directory must be UTF-8", CheckpointError),
        (patched(good, first + 46, b"b"), "brchive/data.pkl must begin with its own", CheckpointError),
        (patched(good, second + 28, b"\xff\xff"), "must hold whole entries", CheckpointError),
        (patched(good, second + 20, b"\xff\xff\0\0\xff\xff\0\0"), "must lie in front of the zip dir", CheckpointError),
    ]
    path.write_bytes(good)
    assert open_torch_zip(path)["x"].nbytes == 96
    for content, what, error in cases:
        path.write_bytes(content)
        refuse(path, what, error)


def test_a_name_twice(tmp_path: Path) -> None:
    good = archive({"data/0": DATA, "data/1": DATA, "data.pkl": dumps({})})
    path = tmp_path / "x.pth"
    path.write_bytes(good.replace(b"data/1", b"data/0"))
    refuse(path, "archive/data/0 must be in the archive once; got it twice")


@pytest.mark.parametrize("behind", [DATA, b""], ids=["bytes", "no bytes"])
def test_entries_that_share_bytes(tmp_path: Path, behind: bytes) -> None:
    """The first storage grows up to the second's bytes, then over the first of them, if there are any."""
    path = tmp_path / "x.pth"
    size = len(DATA)
    for more in (0, 1):
        tree = {"x": tensor("0", "U8", size, (size,)), "y": tensor("1", "U8", len(behind), (len(behind),))}
        good = archive({"data.pkl": dumps(tree), "data/0": DATA, "data/1": behind, "version": b"3"})
        header = good.index(b"PK\3\4", good.index(DATA))
        begin = header + 30 + sum(struct.unpack_from("<2H", good, header + 26))
        size = begin - good.index(DATA) + more
        tree["x"] = tensor("0", "U8", size, (size,))
        good = archive({"data.pkl": dumps(tree), "data/0": DATA, "data/1": behind, "version": b"3"})
        at = good.index(b"PK\1\2", good.index(b"PK\1\2") + 1)
        path.write_bytes(patched(good, at + 20, struct.pack("<2L", size, size)))
        if more and behind:
            what = f"archive/data/1 must lie behind archive/data/0, which ends at byte {begin + 1}; got {begin} to "
            refuse(path, f"{what}{begin + 96}; the file is truncated or damaged")
        else:
            assert open_torch_zip(path)["x"].nbytes == size


def test_a_directory_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    size = MAX_DIRECTORY_BYTES + 1
    path.write_bytes(b"PK\3\4" + bytes(size) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 4, 0))
    refuse(path, f"the zip directory must be at most {MAX_DIRECTORY_BYTES} bytes; got {size}")


def test_sizes_beyond_32_bits(tmp_path: Path) -> None:
    """A sparse file of 5 GB, whose second storage lies behind the first 4 GB: in zip64 fields, as torch.save has it."""
    path = tmp_path / "x.pth"
    big = 5 << 30
    tree = {"big": tensor("0", "U8", big, (big,)), "x": tensor("1", "U8", 96, (96,))}
    raw = dumps(tree)
    with open(path, "wb") as file:
        directory = b""
        for name, content, size in [("a/data.pkl", raw, len(raw)), ("a/data/0", b"", big), ("a/data/1", DATA, 96)]:
            at = file.tell()
            header = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 0)
            file.write(header + name.encode() + content)
            file.seek(at + 30 + len(name) + size)
            extra = struct.pack("<2H2s2H3Q", 9, 2, b"ab", 1, 24, size, size, at)
            directory += struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                45,
                45,
                0,
                0,
                0,
                0,
                0,
                *[0xFFFFFFFF] * 2,
                len(name),
                len(extra),
                *[0] * 4,
                2**32 - 1,
            )
            directory += name.encode() + extra
        begin = file.tell()
        file.write(directory)
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(directory), begin)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, begin + len(directory), 1)
        file.write(end64 + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), 2**32 - 1, 0))
    tensors = open_torch_zip(path)
    assert tensors["big"].nbytes == big
    assert tensors["x"].array.tobytes() == DATA
    assert path.stat().st_blocks * 512 < 1 << 20


# Random damage

GOOD_TREE = {
    "a": tensor("0", "F32", 24, (4, 6)),
    "b": Call("torch._utils", "_rebuild_parameter", tensor("0", "BF16", 48, (3,), offset=2), True, OrderedDict()),
}
GOOD = archive({"data.pkl": dumps(GOOD_TREE), "byteorder": b"little", "data/0": DATA})
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(folder: Path, content: bytes) -> None:
    """Either an InfernoError that may be printed, or views that can be read to their last byte."""
    path = folder / "consolidated.00.pth"
    path.write_bytes(content)
    try:
        tensors = open_torch_zip(path)
    except InfernoError as error:
        text = str(error)
        assert text.isprintable()
        assert text.isascii()
        assert text.startswith(f"{path}: ")
        return
    for found in tensors.values():
        assert len(found.array.tobytes()) == found.nbytes


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(out)))
        kind = draw(st.sampled_from(["change", "change", "cut", "insert", "drop"]))
        if kind == "change" and at < len(out):
            out[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del out[at:]
        elif kind == "insert":
            out[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "drop":
            del out[at : at + draw(st.integers(1, 3))]
    return bytes(out)


@quick
@given(content=mutated(GOOD) | st.binary(max_size=100).map(lambda tail: b"PK\3\4" + tail))
@example(content=GOOD)
def test_mutated_archives(tmp_path: Path, content: bytes) -> None:
    survives(tmp_path, content)


@quick
@given(raw=mutated(dumps(GOOD_TREE)) | st.binary(max_size=60))
def test_mutated_pickles(tmp_path: Path, raw: bytes) -> None:
    survives(tmp_path, archive({"data.pkl": raw, "data/0": DATA}))


opcodes = st.sampled_from(
    [
        b")",
        b"(",
        b"t",
        b"u",
        b"s",
        b"e",
        b"a",
        b"b",
        b"R",
        b"Q",
        b"}",
        b"]",
        b"N",
        b"\x85",
        b"\x86",
        b"\x93",
        b".",
        b"i",
    ]
    + [b"q\x00", b"h\x00", b"h\x01", b"\x94", b"K\x02", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\x7f" * 9, b"\x88"]
    + [dumps(value)[2:-1] for value in ("x", "0", "storage", "cpu", 24, Name("torch", "ByteStorage"), GOOD_TREE)]
    + [dumps(Name("torch._utils", "_rebuild_tensor_v2"))[2:-1], dumps(GOOD_TREE["a"])[2:-1]]
)


@quick
@given(steps=st.lists(opcodes, max_size=30))
def test_random_programs(tmp_path: Path, steps: list[bytes]) -> None:
    survives(tmp_path, archive({"data.pkl": b"".join(steps) + b".", "data/0": DATA}))
