"""Tensors compared byte by byte: in bounded memory, and with files that change meanwhile."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inferno.analysis.stored_bytes import PIECE, equal_bytes, unequal_replicas
from inferno.checkpoint.meta import open_weight_file
from inferno.checkpoint.survey import survey_weights
from inferno.checkpoint.tensor import JoinedTensor, Tensor
from inferno.model_folder import list_folder
from meta_writer import write_meta
from safetensors_writer import write_safetensors
from sparse_llama import write_sparse_file
from tiny import stored_tensors, tiny_config
from torch_writer import write_pth

NORM = "model.norm.weight"


def stored(path: Path, values: np.ndarray) -> Tensor:
    write_safetensors(path, {"x": values}, "F32")
    return open_weight_file(path)["x"]


def numbers(count: int = 2 * PIECE // 4 + 3) -> np.ndarray:
    """Two whole pieces and a part of a third, unless told otherwise."""
    return np.arange(count, dtype=np.float32)


def test_copies_in_the_shards(tmp_path: Path) -> None:
    config = tiny_config({"intermediate_size": 96, "vocab_size": 128})
    write_meta(tmp_path, stored_tensors(config, "F32", 0), config, "F32", shards=2)
    survey = survey_weights(tmp_path, list_folder(tmp_path))
    assert len(survey.replicas) == 5
    assert unequal_replicas(survey.replicas) == ()
    norm = np.ones(64, np.float32)
    norm[5] = np.nan
    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    for path in (first, second):
        write_pth(path, {"norm.weight": ("F32", norm)})
    copies = open_weight_file(first)["norm.weight"], open_weight_file(second)["norm.weight"]
    assert unequal_replicas({**survey.replicas, NORM: copies}) == ()  # a NaN equals itself
    norm[63] = 2
    write_pth(second, {"norm.weight": ("F32", norm)})
    copies = copies[0], open_weight_file(second)["norm.weight"]
    assert unequal_replicas({**survey.replicas, NORM: copies}) == (NORM,)
    assert unequal_replicas({"a": copies[:1], "b": (copies[0], *copies)}) == ("b",)


@pytest.mark.parametrize("at", [0, PIECE // 4 - 1, PIECE // 4, 2 * PIECE // 4 + 2])
def test_every_byte_counts(tmp_path: Path, at: int) -> None:
    values = numbers()
    first = stored(tmp_path / "a.safetensors", values)
    assert equal_bytes(first, stored(tmp_path / "b.safetensors", values)) is True
    values.view(np.uint8)[4 * at + 3] ^= 1
    assert equal_bytes(first, stored(tmp_path / "b.safetensors", values)) is False


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    values = numbers(64).reshape(8, 8)
    first, second = (stored(tmp_path / f"{name}.safetensors", values) for name in "ab")
    assert equal_bytes(first, second) is True
    assert equal_bytes(first, replace(second, dtype="I32")) is None
    assert equal_bytes(first, replace(second, shape=(4, 16))) is None
    assert unequal_replicas({"x": (first, stored(tmp_path / "c.safetensors", numbers(8)))}) == ("x",)
    # Blocks of columns lie in another order than the whole.
    rows, columns = (JoinedTensor.of("x", (first, second), axis) for axis in (0, 1))
    assert equal_bytes(rows, rows) is True
    assert equal_bytes(rows, columns) is None
    whole = stored(tmp_path / "d.safetensors", np.concatenate([values, values]))
    assert whole.shape == rows.shape
    assert equal_bytes(rows, whole) is None


@pytest.mark.parametrize("cut", [PIECE // 2, PIECE + 200, 0])
def test_files_cut_short_after_they_were_opened(tmp_path: Path, cut: int) -> None:
    """Both at once: two ends of a file are equal, and tell nothing. To read a mapping here would end the process."""
    tensors = tuple(stored(tmp_path / f"{name}.safetensors", numbers()) for name in "ab")
    for tensor in tensors:
        with tensor.file.open("r+b") as file:
            file.truncate(cut)
    assert equal_bytes(*tensors) is None
    assert unequal_replicas({"x": tensors}) == ()


def test_a_file_that_vanished(tmp_path: Path) -> None:
    first, second = (stored(tmp_path / f"{name}.safetensors", numbers(8)) for name in "ab")
    second.file.unlink()
    assert equal_bytes(first, second) is None
    assert unequal_replicas({"x": (first, second)}) == ()


_PEAK = """
import sys
from pathlib import Path
from inferno.analysis.stored_bytes import unequal_replicas
from inferno.checkpoint.meta import open_weight_file
from inferno.hardware import peak_memory
copies = tuple(open_weight_file(Path(path))["norm.weight"] for path in sys.argv[1:])
before = peak_memory()
assert copies[0].nbytes == 100 << 20
assert unequal_replicas({"norm": copies}) == ()
print(peak_memory() - before)
"""


def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    """Two copies of 100 MiB: a piece of each, once more while they are put together."""
    paths = [str(tmp_path / f"consolidated.0{number}.safetensors") for number in range(2)]
    for path in paths:
        write_sparse_file(Path(path), {"norm.weight": (50 << 20,)})
    done = subprocess.run([sys.executable, "-c", _PEAK, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8 * PIECE
