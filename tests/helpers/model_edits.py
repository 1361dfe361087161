"""Changes to a model folder, each a function of the folder, so that a table of broken models stays a table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from containers import container

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"

Edit = Callable[[Path], None]
Header = dict[str, Any]
# name -> (dtype, shape, data)
Tensors = dict[str, tuple[str, list[int], bytes]]


def edit_json(
    name: str,
    changes: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    change: Callable[[dict[str, Any]], object] = lambda values: None,
) -> Edit:
    """In a JSON file: sets the keys of `changes`, takes those of `without` out, and does `change` to the rest."""

    def edit(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        values.update(changes or {})
        for key in without:
            values.pop(key, None)
        change(values)
        (folder / name).write_text(json.dumps(values))

    return edit


def edit_config(**changes: Any) -> Edit:
    return edit_json(CONFIG, changes)


def drop_config(*keys: str) -> Edit:
    return edit_json(CONFIG, without=keys)


def write(name: str, content: bytes | str) -> Edit:
    raw = content.encode() if isinstance(content, str) else content

    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(raw)

    return edit


def remove(*names: str) -> Edit:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return edit


def rename(old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return edit


def replace(name: str, make: Callable[[Path], object]) -> Edit:
    """Puts what `make` makes in a file's place."""

    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return edit


def fifo(name: str) -> Edit:
    return replace(name, os.mkfifo)


def link(name: str, target: str) -> Edit:
    return replace(name, lambda path: path.symlink_to(target))


def all_of(*edits: Edit) -> Edit:
    def edit(folder: Path) -> None:
        for each in edits:
            each(folder)

    return edit


def split(raw: bytes) -> tuple[Header, bytes]:
    """Header and data of a safetensors file."""
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def edit_header(change: Callable[[Header], object], name: str = WEIGHTS) -> Edit:
    """Rewrites a file's header; the data stay as they are."""

    def edit(folder: Path) -> None:
        header, data = split((folder / name).read_bytes())
        change(header)
        (folder / name).write_bytes(container(header, data))

    return edit


def edit_entry(tensor: str, **changes: Any) -> Edit:
    return edit_header(lambda header: header[tensor].update(changes))


def edit_bytes(change: Callable[[bytes], bytes], name: str = WEIGHTS) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return edit


def rename_tensors(new_name: Callable[[str], str]) -> Edit:
    def change(header: Header) -> None:
        entries = [(new_name(name) if name != "__metadata__" else name, entry) for name, entry in header.items()]
        header.clear()
        header.update(entries)

    return edit_header(change)


def rename_tensor(old: str, new: str) -> Edit:
    return rename_tensors(lambda name: new if name == old else name)


def edit_tensors(change: Callable[[Tensors], object]) -> Edit:
    """Takes the weights apart, and writes what `change` has made of them."""

    def edit(folder: Path) -> None:
        tensors = read_tensors(folder / WEIGHTS)
        change(tensors)
        write_tensors(folder / WEIGHTS, tensors)

    return edit


def read_tensors(path: Path) -> Tensors:
    header, data = split(path.read_bytes())
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()
    }


def write_tensors(path: Path, tensors: Mapping[str, tuple[str, list[int], bytes]]) -> None:
    header: Header = {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    path.write_bytes(container(header, b"".join(data for _, _, data in tensors.values())))


def add_tensor(name: str, dtype: str, shape: list[int], width: float) -> Edit:
    """A tensor of zero bytes, `width` bytes an element."""
    count = 1
    for n in shape:
        count *= n
    return edit_tensors(lambda tensors: tensors.update({name: (dtype, shape, bytes(int(count * width)))}))


def drop_tensors(*names: str) -> Edit:
    def change(tensors: Tensors) -> None:
        for name in names:
            del tensors[name]

    return edit_tensors(change)


def to_shards(files: int = 2, *, index: bool = True) -> Edit:
    """Spreads model.safetensors over so many files; without `index`, only their names tell that they are one model."""

    def edit(folder: Path) -> None:
        tensors = read_tensors(folder / WEIGHTS)
        names = [shard(i, files) for i in range(1, files + 1)]
        weight_map = {name: names[i * files // len(tensors)] for i, name in enumerate(tensors)}
        for file in names:
            write_tensors(folder / file, {name: t for name, t in tensors.items() if weight_map[name] == file})
        (folder / WEIGHTS).unlink()
        if index:
            (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))

    return edit


def shard(number: int, total: int) -> str:
    return f"model-{number:05d}-of-{total:05d}.safetensors"
