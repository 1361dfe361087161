"""The small files of /proc and /sys, and the control groups that a process is in. What is absent is None or empty."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
PROC = Path("/proc")
SYS = Path("/sys/devices/system")


def read_text(path: Path) -> str:
    """The file's text; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_words(path: Path) -> list[str]:
    return read_text(path).split()


def read_int(path: Path) -> int | None:
    """The file's first word as a whole number; None if it is none ("max", say)."""
    words = read_words(path)
    return int(words[0]) if words and words[0].removeprefix("-").isdecimal() else None


def kilobytes(table: Path, field: str) -> int | None:
    """A field of /proc/meminfo, /proc/self/status or a node's meminfo, which count in kB, in bytes."""
    for line in read_text(table).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name.split()[-1:] == [field] and words and words[0].isdecimal():
            return int(words[0]) * 1024
    return None


def cpu_list(text: str) -> tuple[int, ...]:
    """The numbers of a kernel list like "0-3,8"; what is no such list is empty."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) >= 1 << 16:
            return ()
        cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def cgroup_folders(cgroups: Path, membership: Path, controller: str) -> list[Path]:
    """This process's cgroup and its parents: v2's one tree, and v1's tree of a controller."""
    folders: list[Path] = []
    for line in read_text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = cgroups
        elif controller in controllers.split(","):
            root = cgroups / controllers if (cgroups / controllers).is_dir() else cgroups / controller
        else:
            continue
        here = root / path.lstrip("/")
        folders += [folder for folder in (here, *here.parents) if folder == root or root in folder.parents]
    return folders
