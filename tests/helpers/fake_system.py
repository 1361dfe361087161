"""Trees of small files as /proc and /sys have them."""

from __future__ import annotations

from pathlib import Path


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """Writes files by their path under root."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def cgroups(tmp_path: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A tree of control groups, and the file that tells which one the process is in."""
    root = write_tree(tmp_path / "cgroup", files)
    (tmp_path / "membership").write_text(membership)
    return root, tmp_path / "membership"
