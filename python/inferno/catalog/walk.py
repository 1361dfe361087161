"""Model folders and GGUF files below a folder, recognised by their names.

Symbolic links are followed, each folder is read once, and hidden folders and those of package managers are left out.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inferno.catalog.signs import ORIGINAL, is_sign, model_signs
from inferno.errors import ConfigError, InfernoError
from inferno.files import MAX_CONFIG_BYTES, read_json, show_name
from inferno.model_folder import CONFIG, PARAMS

# Levels below the folder that is searched: enough for DISK/models/ORG/NAME/REVISION, and for the hub's own cache.
MAX_DEPTH = 6
# A home folder with this many names takes about a second; a whole file system would take minutes.
MAX_NAMES = 200_000
MAX_MODELS = 1000

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages", "lost+found"})
_SYSTEM = frozenset({"proc", "sys", "dev"})  # of the root folder
_LATER_PART = re.compile(r"-(?!0*1-)\d{5}-of-\d{5}\.gguf")

Identity = tuple[int, int]
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Found:
    """A model folder or a GGUF file. `identity`: device and inode, the same by whatever path it is reached."""

    path: Path
    kind: Literal["model", "gguf"]
    identity: Identity


def walk(root: Path, tell: Tell) -> list[Found]:
    """What lies in `root` and below it, sorted by path, each once.

    `tell` gets a line for every folder that cannot be read, and one if the search was cut short. A root that is not
    there is told of as well.
    """
    search = _Search(tell)
    found: list[Found] = []
    for item in search.run(root):
        if len(found) == MAX_MODELS:
            tell(f"{show_path(root)}: only the first {MAX_MODELS} models are listed; give a folder further in")
            break
        found.append(item)
    return sorted(found, key=lambda item: item.path)


def show_path(path: Path | str) -> str:
    """A path as a message may print it."""
    return show_name(str(path), 4096) if not str(path).isprintable() else str(path)


class _Search:
    """One walk, breadth first: what lies near comes before the search is cut short."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._left = MAX_NAMES
        self._seen: set[Identity] = set()

    def run(self, root: Path) -> Iterator[Found]:
        waiting = deque([(os.fspath(root), 0)])
        deep = 0
        while waiting:
            folder, depth = waiting.popleft()
            identity = self._enter(folder)
            if identity is None:
                continue
            names, inside = self._scan(folder)
            sign = model_signs(names) or ("part" if _describes_model(Path(folder), names) else None)
            if sign is not None:
                yield Found(Path(folder), "model", identity)
            yield from _gguf_files(folder, names)
            if sign == "whole":
                inside = [path for path in inside if os.path.basename(path) == ORIGINAL]
            if depth < MAX_DEPTH:
                waiting += [(path, depth + 1) for path in inside]
            else:
                deep += len(inside)
            if self._left <= 0:
                self._tell(
                    f"{show_path(root)}: the search ended after {MAX_NAMES} names, in {show_path(folder)}; "
                    "give a folder further in"
                )
                return
        if deep:
            self._tell(f"{show_path(root)}: {deep} folders more than {MAX_DEPTH} levels down were not searched")

    def _enter(self, folder: str) -> Identity | None:
        """The folder's identity, if it can be read and was not before."""
        try:
            status = os.stat(folder)
        except (OSError, ValueError) as problem:
            self._cannot(folder, problem)
            return None
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return None
        self._seen.add(identity)
        return identity

    def _scan(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of files that tell of models, and paths of folders to go into; both sorted."""
        names: list[str] = []
        inside: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0:
                        break
                    if _is_folder(entry):
                        if not _is_skipped(entry):
                            inside.append(entry.path)
                    elif is_sign(entry.name):
                        names.append(entry.name)
        except OSError as problem:
            self._cannot(folder, problem)
        return sorted(names), sorted(inside)

    def _cannot(self, folder: str, problem: Exception) -> None:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        self._tell(f"{show_path(folder)}: cannot be read ({reason}); left out")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return name.startswith(".") or name in _SKIPPED or (name in _SYSTEM and os.path.abspath(entry.path) == f"/{name}")


def _describes_model(folder: Path, names: Collection[str]) -> bool:
    """Whether a config that stands alone is a model's: many programs have a config.json."""
    if any(name.endswith(".gguf") for name in names):
        return False
    for file, fields in ((CONFIG, {"model_type", "architectures"}), (PARAMS, {"n_layers", "n_heads"})):
        if file in names:
            with suppress(InfernoError):
                return bool(fields & read_json(folder / file, ConfigError, MAX_CONFIG_BYTES).keys())
    return False


def _gguf_files(folder: str, names: Collection[str]) -> Iterator[Found]:
    for name in names:
        if name.endswith(".gguf") and not _LATER_PART.search(name):
            path = os.path.join(folder, name)
            with suppress(OSError):
                status = os.stat(path)
                yield Found(Path(path), "gguf", (status.st_dev, status.st_ino))
