"""Random and randomly damaged files: nothing but an InfernoError comes out, and the safetensors library agrees.

Inferno is stricter in the points that `inferno.checkpoint.header` lists; `stricter` below knows each. It is never
laxer.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from containers import container, entry
from inferno.checkpoint import Checkpoint
from inferno.checkpoint.dtypes import DTYPES
from inferno.errors import InfernoError

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    """A valid header of a few tensors, and no more than a few hundred bytes of data."""
    header: dict[str, Any] = {}
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
    end = 0
    for name in draw(st.lists(st.text(max_size=6).filter(lambda s: s != "__metadata__"), unique=True, max_size=4)):
        dtype = draw(st.sampled_from(list(DTYPES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        if DTYPES[dtype].bits < 8:
            shape.append(8)
        begin, end = end, end + math.prod(shape) * DTYPES[dtype].bits // 8
        header[name] = entry(dtype, shape, begin, end)
    return header


odd_numbers = st.sampled_from(
    [-1, 0, 1, 2, 4, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, 10**30, 0.0, 1.5, True, None]
)
odd_values = st.recursive(
    odd_numbers | st.sampled_from(["", "F32", "F4", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "dtype", "shape"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A valid header with one to three values replaced, removed or added."""
    header = draw(tensors())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*header, "new"]))
        value = header.get(name)
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more", None]))
        if key is None or not isinstance(value, dict):
            header[name] = draw(odd_values)
            continue
        old = value.get(key)
        value = dict(value)
        if isinstance(old, list) and old and draw(st.booleans()):
            index = draw(st.integers(0, len(old) - 1))
            value[key] = [*old[:index], draw(odd_numbers), *old[index + 1 :]]
        elif draw(st.booleans()):
            value.pop(key, None)
        else:
            value[key] = draw(odd_values)
        header[name] = value
    return header


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes changed, cut off or put in."""
    header = draw(tensors())
    content = bytearray(container(header, bytes(data_bytes(header))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "drop"]))
        if kind == "change" and at < len(content):
            content[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = draw(
                st.sampled_from([b"0", b"-", b'"', b"{", b"}", b",", b" ", b"1e9", b"\\u", b"\xff", b"[["])
            )
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 3))]
    return bytes(content)


def data_bytes(header: dict[str, Any]) -> int:
    ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
    return max(ends, default=0)


def opened(folder: Path, content: bytes) -> Checkpoint | None:
    """The checkpoint, every view made; None if it is refused."""
    path = folder / "model.safetensors"
    path.write_bytes(content)
    try:
        ckpt = Checkpoint.open(folder)
    except InfernoError as error:
        text = str(error)
        assert text.isprintable()
        assert text.isascii()
        assert text.startswith(f"{path}: ")
        return None
    for tensor in ckpt.values():
        assert len(tensor.array.tobytes()) == tensor.nbytes
    return ckpt


def library_accepts(content: bytes) -> bool:
    try:
        deserialize(content)
    except (SafetensorError, OverflowError):
        return False
    return True


def stricter(content: bytes) -> bool:
    """Whether a file that the library takes has one of the features that Inferno refuses beyond it."""
    length = int.from_bytes(content[:8], "little")
    raw = content[8 : 8 + length]
    twice = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice |= len(dict(pairs)) != len(pairs)
        return dict(pairs)

    header = json.loads(raw, object_pairs_hook=note)
    header.pop("__metadata__", None)
    entries = header.values()
    return (
        not raw.startswith(b"{")
        or twice
        or any(isinstance(value, list) for value in entries)
        or any(value.keys() != {"dtype", "shape", "data_offsets"} for value in entries)
        or any(len(value["shape"]) > 32 or math.prod(n or 1 for n in value["shape"]) > 2**59 for value in entries)
    )


def agree(folder: Path, content: bytes) -> None:
    ours, theirs = opened(folder, content) is not None, library_accepts(content)
    if ours != theirs:
        assert theirs, f"the library refuses {content!r}"
        assert stricter(content), f"the library takes {content!r}"


@quick
@given(header=tensors(), spaces=st.integers(0, 9))
def test_valid_files_are_read_as_the_library_reads_them(tmp_path: Path, header: dict[str, Any], spaces: int) -> None:
    raw = json.dumps(header).encode() + b" " * spaces
    data = bytes(i % 251 for i in range(data_bytes(header)))
    ckpt = opened(tmp_path, container(raw, data))
    assert ckpt is not None
    theirs = dict(deserialize(container(raw, data)))
    assert set(ckpt) == set(theirs)
    for name, tensor in ckpt.items():
        assert list(tensor.shape) == theirs[name]["shape"]
        assert tensor.array.tobytes() == bytes(theirs[name]["data"])


@quick
@given(header=damaged(), extra=st.sampled_from([0, 0, 0, -1, 1, 8]))
def test_damaged_headers(tmp_path: Path, header: dict[str, Any], extra: int) -> None:
    ends = [v["data_offsets"][1] for v in header.values() if isinstance(v, dict) and _has_small_end(v)]
    agree(tmp_path, container(header, bytes(max(0, max(ends, default=0) + extra))))


def _has_small_end(value: dict[str, Any]) -> bool:
    offsets = value.get("data_offsets")
    return isinstance(offsets, list) and len(offsets) == 2 and type(offsets[1]) is int and 0 <= offsets[1] < 10**5


@quick
@given(content=mutated_bytes())
@example(content=b"")
@example(content=container(b' {"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
@example(content=container(b'{"a":["U8",[0],[0,0]]}'))
@example(content=container({"a": entry("U8", [0, 2**63], 0, 0)}))
@example(content=container({"a": entry("U8", [1] * 33, 0, 1)}, b"1"))
@example(content=container({"a": {**entry("U8", [1], 0, 1), "b": 1}}, b"1"))
@example(
    content=container(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    )
)
def test_mutated_files(tmp_path: Path, content: bytes) -> None:
    agree(tmp_path, content)


@quick
@given(content=st.binary(max_size=64))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    agree(tmp_path, content)


@quick
@given(raw=st.binary(max_size=64))
def test_random_headers(tmp_path: Path, raw: bytes) -> None:
    agree(tmp_path, container(raw))


@quick
@given(content=st.binary(max_size=80) | mutated_bytes())
def test_random_indexes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(InfernoError) as caught:
        Checkpoint.open(tmp_path)
    assert str(caught.value).isprintable()
