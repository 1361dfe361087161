"""What doctor finds out beside machine and speed: the build, Python, the folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno import __version__, _core, diagnosis


def test_the_build():
    found = diagnosis.build()
    assert (found.version, found.extension) == (__version__, _core.__file__)
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (b"\x00\x7fELFGCC: (Debian 12.2.0-14) 12.2.0\x00more\x00", "GCC: (Debian 12.2.0-14) 12.2.0"),
        (b"\x00Ubuntu clang version 18.1.3 (1)\x00", "Ubuntu clang version 18.1.3 (1)"),
        (b"GCC: (\x1b[31m)\x00", None),
        (b"", None),
    ],
)
def test_the_compiler(image, name):
    assert diagnosis.compiler(image) == name


def test_packages(monkeypatch):
    requirements = [
        "rich>=13",
        "absent-package; extra == 'demo'",
        "inferno[demo]; extra == 'test'",
        "ruff; extra == 'lint'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: requirements)
    packages = {package.name: package for package in diagnosis.python().packages}
    assert list(packages) == ["numpy", "rich", "absent-package"]
    assert packages["absent-package"] == diagnosis.Package("absent-package", "demo", None)
    assert packages["rich"].version is not None


def test_folders(tmp_path):
    there = diagnosis.folder("cache", tmp_path)
    assert (there.exists, there.writable) == (True, True)
    assert there.free > 0
    below = diagnosis.folder("cache", tmp_path / "a" / "b")
    assert (below.exists, below.writable) == (False, True)
    (tmp_path / "file").touch()
    assert not diagnosis.folder("cache", tmp_path / "file" / "cache").writable


def test_the_folders_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert [Path(folder.path).name for folder in diagnosis.folders()] == ["own", "hub"]
