"""What can be wrong with model.safetensors.index.json and the files that it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from model_edits import (
    INDEX,
    WEIGHTS,
    Edit,
    all_of,
    edit_bytes,
    edit_header,
    edit_json,
    fifo,
    link,
    read_tensors,
    remove,
    rename,
    shard,
    to_shards,
    write,
    write_tensors,
)
from zoo.case import Case, refused, runs
from zoo.containers import NORM, POINTER

FIRST, SECOND = shard(1, 2), shard(2, 2)
MAP = "weight_map must map tensor names to file names; got"
NOTHING = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
NAME = f"weight_map of {NORM} must be the name of a .safetensors file; got"


def index(name: str, change: Edit, message: str) -> Case:
    """Two shards whose index is changed."""
    return refused(name, all_of(to_shards(), change), "checkpoint", "{folder}/" + INDEX, message)


def second(name: str, change: Edit, message: str) -> Case:
    """Two shards of which the second is changed."""
    return refused(name, all_of(to_shards(), change), "checkpoint", "{folder}/" + SECOND, message)


def with_map(change: Callable[[dict[str, object]], object]) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        change(content["weight_map"])
        (folder / INDEX).write_text(json.dumps(content))

    return edit


def names(file: object) -> Edit:
    """The index names another file for one tensor."""
    return with_map(lambda weight_map: weight_map.update({NORM: file}))


def copied_tensor(folder: Path) -> None:
    """The first shard holds a tensor of the second, too."""
    tensors = read_tensors(folder / FIRST)
    write_tensors(folder / FIRST, {**tensors, NORM: read_tensors(folder / SECOND)[NORM]})


def into_subfolder(folder: Path) -> None:
    (folder / "weights").mkdir()
    (folder / SECOND).rename(folder / "weights" / SECOND)
    with_map(lambda m: m.update({k: f"weights/{v}" for k, v in m.items() if v == SECOND}))(folder)


CASES = [
    index("a missing shard", remove(SECOND), f"names {SECOND}, which is not in {{folder}}; 1 of 2 shards are there"),
    index("no shard at all", remove(FIRST, SECOND), f"names {FIRST}, {SECOND}, which are not in"),
    index("a shard that never was", names("model-00003-of-00002.safetensors"), "2 of 3 shards are there; download"),
    index("a tensor in another shard", names(FIRST), f"says that {NORM} is in {FIRST}; it is in {SECOND}; the index"),
    index("a tensor in no shard", with_map(lambda m: m.update(lost=FIRST)), f"says that lost is in {FIRST}; no shard"),
    index("a shard outside", names("../m.safetensors"), "files must lie in"),
    index("a shard at an absolute path", names("/etc/m.safetensors"), "got /etc/m.safetensors"),
    index("a file that is no shard", names("tokenizer.json"), f'{NAME} "tokenizer.json"'),
    index("a number for a file", names(2), f"{NAME} 2"),
    index("null for a file", names(None), f"{NAME} null"),
    index("an escape in a file's name", names("\x1b[2J.safetensors"), rf'{NAME} "\u001b[2J.safetensors"'),
    index("a file name without end", names("x" * 300 + ".safetensors"), NAME),
    # 200 characters, and more bytes than a file system allows in a name
    index("a file name too long to exist", names("\u4e2d" * 180 + ".safetensors"), "which is not in"),
    index("a map that is a list", write(INDEX, '{"weight_map": ["a"]}'), f'{MAP} ["a"]'),
    index("an empty map", write(INDEX, '{"weight_map": {}}'), f"{MAP} {{}}"),
    index("no map", write(INDEX, '{"metadata": {}}'), f"{MAP} null"),
    index("an index that is a list", write(INDEX, "[]"), "must hold a JSON object; got []"),
    index("an empty index", write(INDEX, ""), "must hold a JSON object; got an empty file"),
    index("an index cut short", edit_bytes(lambda raw: raw[:-20], INDEX), "must be JSON; line 1"),
    index("a tensor twice in the index", write(INDEX, '{"weight_map": {"a": "b", "a": "c"}}'), 'key "a" must be given'),
    index("an index that is a pointer", write(INDEX, POINTER), "got a Git-LFS pointer to it"),
    index("an index that is a pipe", fifo(INDEX), "must be a regular file; got a pipe"),
    index("an index not UTF-8", write(INDEX, b"\xff\xfe{"), "must be UTF-8; got byte 0xff at 0"),
    second("a shard cut by a byte", edit_bytes(lambda raw: raw[:-1], SECOND), "truncated, 1 bytes are missing"),
    second("an empty shard", write(SECOND, b""), "must be at least 8 bytes; got 0"),
    second("a shard that is a pointer", write(SECOND, POINTER), "got a Git-LFS pointer to it"),
    second("a shard that is a pipe", fifo(SECOND), "must be a regular file; got a pipe"),
    refused(
        "a shard that is a link to nothing",
        all_of(to_shards(), link(SECOND, "nowhere")),
        *("checkpoint", "{folder}/" + INDEX, f"names {SECOND}, which is not in"),
    ),
    refused(
        "a tensor in two shards",
        all_of(to_shards(), copied_tensor),
        *("checkpoint", "{folder}", f"tensor {NORM} must be in one shard; got it in {FIRST} and {SECOND}"),
    ),
    refused(
        "a tensor beside those of the index",
        all_of(to_shards(), edit_header(lambda h: h.update(extra=NOTHING), FIRST)),
        *("checkpoint", "{folder}", "unexpected extra"),
    ),
    refused(
        "numbered shards of which one is missing",
        all_of(to_shards(3, index=False), remove(shard(2, 3))),
        *("checkpoint", "{folder}", f"must hold {INDEX} and all of its 3 shards; got neither the index nor"),
    ),
    refused(
        "shards of two models",
        all_of(to_shards(2, index=False), rename(SECOND, shard(2, 3))),
        *("checkpoint", "{folder}", "must hold"),
    ),
    runs("two shards", to_shards()),
    runs("five shards without an index", to_shards(5, index=False)),
    runs("a shard in a folder of its own", all_of(to_shards(), into_subfolder)),
    runs("an index without metadata", all_of(to_shards(), edit_json(INDEX, without=("metadata",)))),
    runs("one file beside an index that lies", write(INDEX, '{"weight_map": {"a": "b.safetensors"}}')),
    refused(
        "weights under another name",
        rename(WEIGHTS, "llama.safetensors"),
        *("not-found", "{folder}", f"got llama.safetensors; if that is the whole model, rename it to {WEIGHTS}"),
    ),
]
