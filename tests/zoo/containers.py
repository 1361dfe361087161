"""Every rule of a safetensors file broken in turn, what passes for one and is none, and odd files that are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from containers import container
from model_edits import WEIGHTS, Edit, edit_bytes, edit_entry, edit_header, split, write
from zoo.case import Case, Make, refused, runs

FILE = "{folder}/" + WEIGHTS
NORM = "model.norm.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"


def damaged(name: str, make: Make, message: str) -> Case:
    return refused(name, make, "checkpoint", FILE, message)


def flawed(name: str, message: str, **changes: Any) -> Case:
    """One tensor's entry, changed."""
    return damaged(name, edit_entry(NORM, **changes), f"tensor {NORM}: {message}")


def header_text(change: Callable[[str], str | bytes]) -> Edit:
    """The header's text changed; the data stay."""

    def edit(folder: Path) -> None:
        header, data = split((folder / WEIGHTS).read_bytes())
        text = change(json.dumps(header))
        (folder / WEIGHTS).write_bytes(
            container(text if isinstance(text, bytes) else text.encode(errors="surrogateescape"), data)
        )

    return edit


def with_member(text: str) -> Edit:
    """One more member in the header."""
    return header_text(lambda header: f"{header[:-1]}, {text}}}")


def header_length(n: int) -> Edit:
    return write(WEIGHTS, n.to_bytes(8, "little") + b"{" * 64)


def shift(index: int, begin: int, end: int) -> Edit:
    """Moves the offsets of one tensor, counted in the order of the data."""

    def change(header: dict[str, Any]) -> None:
        offsets = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")[index]
        offsets[0] += begin
        offsets[1] += end

    return edit_header(change)


def grow(index: int) -> Edit:
    """A tensor that reaches 4 bytes into what follows it."""

    def change(header: dict[str, Any]) -> None:
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        entry = sorted(entries, key=lambda entry: entry["data_offsets"])[index]
        begin, end = entry["data_offsets"]
        entry.update(dtype="U8", shape=[end + 4 - begin], data_offsets=[begin, end + 4])

    return edit_header(change)


def twice(header: str) -> str:
    return f"{header[:-1]}, {json.dumps(NORM)}: {json.dumps(json.loads(header)[NORM])}}}"


def backwards(header: dict[str, Any]) -> None:
    entries = list(header.items())[::-1]
    header.clear()
    header.update(entries)


def misaligned(header: str) -> str:
    return header + " " * (1 + len(header) % 2)


LENGTH = [
    damaged("empty file", write(WEIGHTS, b""), "must be at least 8 bytes; got 0: the file is truncated"),
    damaged("seven bytes", write(WEIGHTS, b"\x02" + bytes(6)), "must be at least 8 bytes; got 7"),
    damaged("no header", header_length(0), 'the header must begin with "{"; got nothing'),
    damaged("header over 100 MB", header_length(100_000_001), "must be at most 100000000 bytes; got 100000001"),
    damaged("header of 2^64 - 1", header_length(2**64 - 1), f"must be at most 100000000 bytes; got {2**64 - 1}"),
    damaged("header beyond the file", header_length(99_999_999), "must be at least 100000007 bytes, as its header"),
    damaged("cut in the header", edit_bytes(lambda raw: raw[:100]), "the file is truncated"),
    damaged("cut behind the header", edit_bytes(lambda raw: raw[: -len(split(raw)[1])]), "the file is truncated"),
    damaged("cut by a byte", edit_bytes(lambda raw: raw[:-1]), "truncated, 1 bytes are missing; download it again"),
    damaged("cut in half", edit_bytes(lambda raw: raw[: len(raw) // 2]), "the file is truncated"),
    damaged("a byte too many", edit_bytes(lambda raw: raw + b"\0"), ": 1 bytes too many; download it again"),
    damaged("written twice", edit_bytes(lambda raw: raw + raw), "bytes too many; download it again"),
]
HEADER = [
    damaged("header not JSON", header_text(lambda _: "{nope}"), "the header must be JSON"),
    damaged("header a list", header_text(lambda text: f"[{text}]"), 'must begin with "{"; got byte 0x5b'),
    damaged("header behind a space", header_text(lambda text: " " + text), 'must begin with "{"; got byte 0x20'),
    damaged("more behind the header", header_text(lambda text: text + " {}"), "the header must be JSON; Extra data"),
    damaged("header not UTF-8", header_text(lambda text: text.encode("utf-16")[2:]), "the header must be"),
    damaged("a byte that is no UTF-8", with_member('"\udcff": 1'), "the header must be UTF-8"),
    damaged("a lone surrogate", with_member(r'"\ud800": 1'), "the header must be UTF-8"),
    damaged("NaN in the header", with_member('"x": NaN'), "the header must be JSON; NaN is not JSON"),
    damaged("a tensor twice", header_text(twice), f'the key "{NORM}" must be given once; got it twice'),
    damaged("a key of a tensor twice", with_member('"x": {"dtype": "F32", "dtype": "I8"}'), '"dtype" must be given'),
    damaged("brackets without end", header_text(lambda _: '{"a":' + "[" * 100_000), "the header must be JSON"),
    damaged("metadata that is no map", edit_header(lambda h: h.update(__metadata__=[1])), "__metadata__ must map"),
    damaged("metadata with numbers", edit_header(lambda h: h.update(__metadata__={"a": 1})), "strings to strings"),
]
ENTRY = [
    damaged("an entry that is a list", with_member('"x": []'), "tensor x: must have dtype, shape and data_offsets"),
    damaged("an entry that is null", with_member('"x": null'), "tensor x: must have dtype, shape and data_offsets"),
    damaged("no shape", edit_header(lambda h: h[NORM].pop("shape")), f"tensor {NORM}: must have dtype, shape and"),
    flawed("an unknown key", "must have dtype, shape and data_offsets; got", strides=[1]),
    refused("unknown dtype", edit_entry(NORM, dtype="Q4_0"), "unsupported", FILE, "dtype must be one of BOOL, F4,"),
    refused("dtype a number", edit_entry(NORM, dtype=3), "unsupported", FILE, "F64, I64, U64; got 3"),
    refused("dtype in small letters", edit_entry(NORM, dtype="f32"), "unsupported", FILE, 'got "f32"'),
    flawed("shape a number", "shape must be a list of at most 32 integers", shape=32),
    flawed("a negative dimension", "shape must be a list of at most 32 integers from 0 up; got [-32]", shape=[-32]),
    flawed(
        "two negative dimensions", "shape must be a list of at most 32 integers from 0 up; got [-8, -4]", shape=[-8, -4]
    ),
    flawed(
        "a fraction of a dimension", "shape must be a list of at most 32 integers from 0 up; got [32.0]", shape=[32.0]
    ),
    flawed(
        "a true dimension", "shape must be a list of at most 32 integers from 0 up; got [true, 32]", shape=[True, 32]
    ),
    flawed("33 dimensions", "shape must be a list of at most 32 integers", shape=[1] * 33),
    flawed("2^62 x 2^62 elements", "shape must multiply to less than 2^63 bytes", shape=[2**62, 2**62]),
    flawed("2^63 elements", "shape must multiply to less than 2^63 bytes", shape=[2**63]),
    flawed("10^30 elements", "shape must be a list of at most 32 integers from 0 up; got [1e+30]", shape=[10**30]),
    flawed(
        "an empty shape that overflows",
        "shape must multiply to less than 2^63 bytes",
        shape=[0, 2**62, 4],
        data_offsets=[0, 0],
    ),
    flawed("one offset", "data_offsets must be two integers; got [0]", data_offsets=[0]),
    flawed("offsets a string", 'data_offsets must be two integers; got "0:4"', data_offsets="0:4"),
    flawed("a negative offset", "data_offsets must be 0 <= begin <= end < 2^64; got [-4, 124]", data_offsets=[-4, 124]),
    flawed(
        "offsets turned round", "data_offsets must be 0 <= begin <= end < 2^64; got [128, 0]", data_offsets=[128, 0]
    ),
    flawed("offsets with a fraction", "data_offsets must be two integers; got [0.0, 128.0]", data_offsets=[0.0, 128.0]),
    flawed("an offset of 2^64", "data_offsets must be 0 <= begin <= end < 2^64", data_offsets=[0, 2**64]),
    flawed("a shape larger than its data", "data_offsets must span 132 bytes for F32 [33]; got 128", shape=[33]),
    flawed("a shape smaller than its data", "data_offsets must span 124 bytes for F32 [31]; got 128", shape=[31]),
    flawed("half bytes", "data_offsets must span 15.5 bytes for F4 [31]; got 128", dtype="F4", shape=[31]),
]
LAYOUT = [
    damaged("a hole", shift(3, 4, 4), ": a hole before it"),
    damaged("a hole at the start", shift(0, 4, 4), "data_offsets must begin at 0; got 4: a hole before it"),
    damaged("an overlap", grow(3), ": an overlap with the tensor before it"),
    damaged("an end beyond the file", grow(-1), "truncated, 4 bytes are missing; download it again"),
    damaged(
        "two tensors in one place",
        edit_header(lambda h: h.update({NORM: h["model.layers.0.input_layernorm.weight"]})),
        "an overlap with the tensor before it",
    ),
]
OTHER_FILES = [
    damaged(
        "a zip archive", write(WEIGHTS, b"PK\x03\x04" + b"\xff" * 60), "got a zip archive, as torch.save writes it"
    ),
    damaged("a GGUF", write(WEIGHTS, b"GGUF\x03\0\0\0" + bytes(60)), "got a GGUF file; import it with `inferno import"),
    damaged("a pickle", write(WEIGHTS, b"\x80\x02}q\0(X\x04\0\0\0abcdq\x01K\x01u."), "got a Python pickle; convert it"),
    damaged("an HDF5 file", write(WEIGHTS, b"\x89HDF\r\n\x1a\n" + bytes(60)), "got an HDF5 file"),
    damaged("a web page", write(WEIGHTS, b"<!DOCTYPE html><html>"), "got a web page; it may need a login"),
    damaged("a short web page", write(WEIGHTS, b"<html>"), "got a web page; it may need a login"),
    damaged("a Git-LFS pointer", write(WEIGHTS, POINTER), "got a Git-LFS pointer to it; run `git lfs install"),
    damaged("zeros", write(WEIGHTS, bytes(4096)), 'the header must begin with "{"; got nothing'),
]
ODD = [
    runs("tensors at odd addresses", header_text(misaligned)),
    runs("a header in no order", edit_header(backwards)),
    runs("a header of many spaces", header_text(lambda text: text + " " * 100_000)),
    runs("a header on many lines", header_text(lambda text: json.dumps(json.loads(text), indent=4))),
    runs("metadata of odd texts", edit_header(lambda h: h.update(__metadata__={"\x1b[2J": "<script>", "": "\u202e"}))),
    runs("no metadata", edit_header(lambda h: h.pop("__metadata__"))),
    refused("no tensors", write(WEIGHTS, container(b"{}")), "checkpoint", "{folder}", "missing model.norm.weight"),
]
CASES = [*LENGTH, *HEADER, *ENTRY, *LAYOUT, *OTHER_FILES, *ODD]
