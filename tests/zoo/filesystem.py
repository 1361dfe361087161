"""Paths that are no model, files that are none, and links."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from model_edits import CONFIG, WEIGHTS, Edit, all_of, fifo, link, remove, replace, write
from zoo.case import Case, Make, refused, runs

GENERATION = "generation_config.json"


def no_model(name: str, make: Make, message: str, **more: bool) -> Case:
    return refused(name, make, "not-found", "{folder}", message, **more)


def no_weights(name: str, make: Make, message: str, **more: bool) -> Case:
    return refused(name, make, "checkpoint", "{folder}/" + WEIGHTS, message, **more)


def no_config(name: str, make: Make, message: str, **more: bool) -> Case:
    return refused(name, make, "config", "{folder}/" + CONFIG, message, **more)


def emptied(*names: str) -> Callable[[Path], Path]:
    """A folder of those names alone, each a file of one byte."""

    def make(folder: Path) -> Path:
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"x")
        return folder

    return make


def unreadable(name: str) -> Edit:
    return lambda folder: (folder / name).chmod(0)


def moved_out(name: str) -> Edit:
    """The file lies beside the folder, and a link in its place."""

    def edit(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return edit


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unused:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's address is short
        try:
            unused.bind(path.name)
        finally:
            os.chdir(before)


def circle(folder: Path) -> Path:
    link = folder.parent / "circle"
    link.symlink_to(link)
    return link


def hub_cache(folder: Path) -> Path:
    """As huggingface_hub keeps it: blobs by hash, and a snapshot of links to them."""
    cache = folder.parent / "models--org--name"
    snapshot = cache / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(cache / "blobs" / f"{i:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{i:040x}")
    return snapshot


def colon(folder: Path) -> Path:
    (folder / CONFIG).unlink()
    return folder.rename(folder.parent / "a: b")


def as_link(folder: Path) -> Path:
    link = folder.parent / "link"
    link.symlink_to(folder)
    return link


PATHS = [
    no_model("no folder", lambda folder: folder / "none", "no such folder"),
    no_model("a path below a file", lambda folder: folder / CONFIG / "m", "must be a readable folder; got Not a dir"),
    no_model("a path too long", lambda folder: folder / ("x" * 300), "must be a readable folder; got File name too"),
    no_model("a config for a folder", lambda folder: folder / CONFIG, "must be a model folder; got a file; give the"),
    no_model("weights for a folder", lambda folder: folder / WEIGHTS, "must be a model folder; got a file; give the"),
    no_model("a folder that must not be read", lambda folder: folder.chmod(0), "Permission denied", not_for_root=True),
    no_model("a link in a circle for a folder", circle, "must be a readable folder; got"),
    no_model("an empty folder", emptied(), "must hold config.json; the folder is empty; a model folder holds"),
    no_model("a folder of other things", emptied("a.txt", "b.txt"), "got a.txt, b.txt; a model folder holds"),
    no_model("no config", remove(CONFIG), "must hold config.json; got generation_config.json, model.safetensors,"),
    no_model("no weights", remove(WEIGHTS), "must hold weights; got config.json, generation_config.json"),
    no_model("names with escapes", emptied("\x1b[2J.txt"), r'got "\u001b[2J.txt"; a model folder'),
    no_model("names that are no text", emptied(os.fsdecode(b"\xff\xfe.txt")), r'got "\udcff\udcfe.txt"; a model'),
]
FILES = [
    no_weights("weights that are a folder", replace(WEIGHTS, Path.mkdir), "must be a regular file; got a folder"),
    no_weights("weights that are a pipe", fifo(WEIGHTS), "must be a regular file; got a pipe, a device or a socket"),
    no_weights("weights that are a socket", replace(WEIGHTS, bound_socket), "must be readable; got No such device"),
    no_weights("weights that must not be read", unreadable(WEIGHTS), "got Permission denied", not_for_root=True),
    no_weights("a link to nothing", link(WEIGHTS, "blob"), "is a link to blob, which does not exist; download it"),
    no_weights("a link to itself", link(WEIGHTS, WEIGHTS), "must be"),
    refused("weights elsewhere", moved_out(WEIGHTS), "checkpoint", "{folder}", "files must lie in {folder}; got"),
    refused("an endless device", link(WEIGHTS, "/dev/zero"), "checkpoint", "{folder}", "a link to /dev/zero; put"),
    no_config("a config that is a folder", replace(CONFIG, Path.mkdir), "must be a regular file; got a folder"),
    no_config("a config that is a pipe", fifo(CONFIG), "must be a regular file; got a pipe, a device or a socket"),
    no_config("a config that is a device", link(CONFIG, "/dev/zero"), "must be a regular file; got a pipe"),
    no_config("a config that is a link to nothing", link(CONFIG, "blob"), "is a link to blob, which does not exist"),
    no_config("a config that must not be read", unreadable(CONFIG), "got Permission denied", not_for_root=True),
    refused(
        "generation settings in a pipe",
        fifo(GENERATION),
        *("config", "{folder}/" + GENERATION, "must be a regular file; got a pipe"),
    ),
]
ODD = [
    runs("the hub's cache", hub_cache),
    runs("a link to the folder", as_link),
    no_model("no config below a colon", colon, "must hold config.json"),
    runs("a folder with a colon", lambda folder: folder.rename(folder.parent / "a: b")),
    runs("a folder with an escape", lambda folder: folder.rename(folder.parent / "\x1b[2J")),
    runs("a config elsewhere", moved_out(CONFIG)),
    runs("a hidden folder beside the files", lambda folder: (folder / ".cache").mkdir()),
    runs("a pipe beside the files", lambda folder: os.mkfifo(folder / "pipe")),
    runs("pickles beside the files", all_of(write("pytorch_model.bin", b"x"), write("optimizer.pt", b"x"))),
    runs("a link to nothing beside the files", lambda folder: (folder / "x.safetensors").symlink_to("nothing")),
]
CASES = [*PATHS, *FILES, *ODD]
