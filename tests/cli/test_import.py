"""`inferno import`: a GGUF becomes a folder that `generate` runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_gguf import write_tiny_gguf


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    write_tiny_gguf(path, block_type="Q8_0")
    return path


def test_imports_and_runs(cli, source, tmp_path):
    out = tmp_path / "out"
    result = cli("import", source, out)
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1] == f"{out}: imported; run it with: inferno generate -m {out} PROMPT"
    found = json.loads(cli("generate", "-m", out, "-q", "--json", "-n", "2", "Hi").out)
    assert found["model"]["dtype"] == "BF16+F32" or found["model"]["dtype"] == "BF16"


@pytest.mark.parametrize("dtype", ["F32", "f16"])
def test_dtype(cli, source, tmp_path, dtype):
    result = cli("import", source, tmp_path / "out", "--dtype", dtype, "-q")
    assert (result.code, result.out, result.err) == (0, "", "")
    found = json.loads(cli("generate", "-m", tmp_path / "out", "-q", "--json", "-n", "1", "Hi").out)
    assert found["model"]["dtype"] == dtype.upper()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["SOURCE", "OUT", "--dtype", "q8"], 2, "dtype must be one of BF16, F16, F32; got 'Q8'"),
        (["SOURCE", "FULL"], 2, "FULL: must be absent or empty; it holds files"),
        (["NONE", "OUT"], 1, "NONE"),
        (["BROKEN", "OUT"], 1, "BROKEN"),
        (["SOURCE"], 2, "the following arguments are required: OUT; see inferno import --help"),
    ],
)
def test_refusals(cli, source, tmp_path, arguments, code, message):
    names = {"SOURCE": source}
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "x").touch()
    (tmp_path / "BROKEN").write_bytes(source.read_bytes()[:1000])
    paths = [names.get(name, tmp_path / name) if name.isupper() else name for name in arguments]
    result = cli("import", *paths)
    assert result.code == code
    assert result.out == ""
    assert message in result.error
    assert not (tmp_path / "OUT").exists()
