"""The folder appears whole or not at all, whatever happens on the way."""

from __future__ import annotations

import builtins
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inferno import staging
from inferno.errors import CheckpointError, InfernoError, UnsupportedError, UsageError
from inferno.gguf_import import import_gguf, importer
from tiny_gguf import write_tiny_gguf

FILES = [
    "config.json",
    "generation_config.json",
    "inferno.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]


class Recorder:
    """A progress that remembers, and may do something when the first values are written."""

    def __init__(self, on_advance: Any = None) -> None:
        self.events: list[tuple[str, Any]] = []
        self.done = 0
        self.on_advance = on_advance

    def start(self, label: str, total: int | None) -> None:
        self.events.append((label, total))

    def advance(self, amount: int) -> None:
        self.done += amount
        if self.on_advance is not None:
            self.on_advance()

    def finish(self) -> None:
        self.events.append(("finish", None))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, block_type="Q8_0")
    return path


def test_files_record_and_progress(source: Path, tmp_path: Path) -> None:
    progress = Recorder()
    out = import_gguf(source, str(tmp_path / "deep" / "out"), progress=progress)
    assert sorted(path.name for path in out.iterdir()) == FILES
    record = json.loads((out / "inferno.json").read_text())
    assert (record["source"], record["dtype"]) == ("m.gguf", "BF16")
    assert set(record["imported_with"]) == {"inferno", "gguf"}
    assert record["files"] == {name: (out / name).stat().st_size for name in FILES if name != "inferno.json"}
    (label, total), finish = progress.events
    assert label == "Importing m.gguf"
    assert (
        progress.done == total == sum(record["files"][name] for name in ["model.safetensors"]) // 2 - header(out) // 2
    )
    assert finish == ("finish", None)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def header(out: Path) -> int:
    return 8 + int.from_bytes((out / "model.safetensors").read_bytes()[:8], "little")


def test_permissions_follow_the_umask(source: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        out = import_gguf(source, tmp_path / "out")
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o750


def test_an_empty_folder_is_taken_a_full_one_is_not(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    import_gguf(source, tmp_path / "empty")
    with pytest.raises(UsageError, match=r"empty: must be absent or empty; it holds files. Choose another folder"):
        import_gguf(source, tmp_path / "empty")
    with pytest.raises(
        UsageError, match=r"m.gguf: must be a folder that is absent or empty; it exists and is no folder"
    ):
        import_gguf(source, source)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_nothing(source: Path, tmp_path: Path, failure: type[BaseException]) -> None:
    def fail() -> None:
        assert list(tmp_path.glob(".out.*.partial/model.safetensors"))  # it really is in the middle
        raise failure

    with pytest.raises(failure):
        import_gguf(source, tmp_path / "out", progress=Recorder(fail))
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_kill_in_the_middle_leaves_nothing_under_the_name(source: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from inferno.gguf_import import import_gguf\n"
        "from inferno.progress import SilentProgress\n"
        "class Killer(SilentProgress):\n"
        "    def advance(self, amount): os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_gguf(sys.argv[1], sys.argv[2], progress=Killer())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, source, tmp_path / "out"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in import_gguf(source, tmp_path / "out").iterdir()) == FILES


def test_of_two_at_once_one_wins_and_the_other_says_so(source: Path, tmp_path: Path) -> None:
    def other_is_faster() -> None:
        if not (tmp_path / "out").exists():
            import_gguf(source, tmp_path / "out", "F32")

    with pytest.raises(UsageError, match="out: must be absent or empty; another process has filled it meanwhile"):
        import_gguf(source, tmp_path / "out", progress=Recorder(other_is_faster))
    assert json.loads((tmp_path / "out" / "inferno.json").read_text())["dtype"] == "F32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "out"]


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InfernoError, match="no space left on the disk; free some and start again"):
        import_gguf(source, tmp_path / "out", progress=Recorder(fail))


def test_a_place_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfernoError, match="file: cannot be written: "):
        import_gguf(source, tmp_path / "file" / "out")


def test_without_the_package_gguf(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_gguf(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "gguf":
            raise ModuleNotFoundError("No module named 'gguf'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_gguf)
    with pytest.raises(UnsupportedError, match=r'needs the package gguf; pip install "inferno\[demo\]"'):
        import_gguf(source, tmp_path / "out")


def test_bad_arguments(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dtype must be one of BF16, F16, F32; got 'I8'"):
        import_gguf(source, tmp_path / "out", "I8")
    with pytest.raises(CheckpointError, match=r"none.gguf: cannot be read"):
        import_gguf(tmp_path / "none.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_memory_is_bounded_by_blocks(tmp_path: Path) -> None:
    """The largest tensor is 40 times the block; what is allocated must follow the block."""
    import tracemalloc

    import numpy as np

    from inferno.gguf_import import weights

    rows = 40 * weights._BLOCK_ELEMENTS // 256

    def edit(values: dict[str, np.ndarray]) -> None:
        values["token_embd.weight"] = np.zeros((rows, 256), np.float32)

    write_tiny_gguf(tmp_path / "m.gguf", edit=edit)
    import_gguf(tmp_path / "m.gguf", tmp_path / "warm")  # imports and caches of the libraries
    tracemalloc.start()
    import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # float32, its bits, the rounding term and the result live at once: five float32 blocks are a safe upper bound.
    assert peak < 5 * 4 * weights._BLOCK_ELEMENTS < rows * 256 * 4 / 4


def test_the_staging_folder_lies_beside_its_target(tmp_path: Path) -> None:
    with staging.staged_folder(tmp_path / "out") as stage:
        assert stage.parent == tmp_path
        assert stage.name.startswith(".out.")
        assert stage.name.endswith(".partial")
        (stage / "a").write_text("1")
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_refusals_come_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: Any) -> None:
        raise AssertionError("a file was written")

    monkeypatch.setattr(importer, "write_safetensors", unexpected)
    write_tiny_gguf(source, architecture="gemma")
    with pytest.raises(UnsupportedError):
        import_gguf(source, tmp_path / "out")
