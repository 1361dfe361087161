"""`inferno quantize`: a folder that runs, or a line that says why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from folded_model import TEXT, write_outliers
from quantized_cases import QUANTIZED
from tiny import write_tiny


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_outliers(tmp_path / "model")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_quantizes_and_runs(cli, source, tmp_path):
    out = tmp_path / "out"
    result = cli("quantize", source, out)
    assert (result.code, result.out) == (0, "")
    told = result.err.splitlines()
    assert told[:3] == ["Reading the calibration text", "Balancing inputs and weights", "Quantizing model to w8a8"]
    assert told[3].startswith(f"{out}: 14 layers as w8a8, 191 KB -> 138 KB")
    assert told[3].endswith(f"; run it with: inferno generate -m {out} PROMPT")
    assert len(told) == 4
    found = json.loads(cli("generate", "-m", out, "-q", "--json", "-n", "2", "Hi").out)
    assert found["model"]["dtype"] == "BF16+I8"


def test_json(cli, source, tmp_path):
    out = tmp_path / "out"
    result = cli("quantize", source, out, "--json", "-q", "--ignore", "re:.*layers.1.*o_proj")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    written = found.pop("written_bytes")
    assert 100_000 < written < found["read_bytes"] < 2 * written
    del found["read_bytes"]
    assert found == {
        "schema": "inferno.quantize/1",
        "path": str(out),
        "scheme": "w8a8",
        "group_size": None,
        "layers": 13,
        "head": False,
        "left": ["model.layers.1.self_attn.o_proj", "lm_head"],
        "smoothed": 7,
        "run": f"inferno generate -m {out} PROMPT",
    }


@pytest.mark.parametrize(
    ("flags", "scheme", "smoothed", "layers"),
    [
        (["--round-to-nearest"], "w8a8", 0, 14),
        (["--alpha", "0.6", "--quantize-head"], "w8a8", 8, 15),
        (["--calibration", "TEXT", "-t", "1", "--isa", "scalar"], "w8a8", 8, 14),
        (["--scheme", "W8A16"], "w8a16", 0, 14),
    ],
)
def test_flags(cli, source, text, tmp_path, flags, scheme, smoothed, layers):
    flags = [text if flag == "TEXT" else flag for flag in flags]
    result = cli("quantize", source, tmp_path / "out", "--json", "-q", *flags)
    found = json.loads(result.out)
    assert (found["scheme"], found["smoothed"], found["layers"]) == (scheme, smoothed, layers)


def test_the_text_makes_a_difference(cli, source, text, tmp_path):
    cli("quantize", source, tmp_path / "a", "-q")
    cli("quantize", source, tmp_path / "b", "-q", "--calibration", text)
    cli("quantize", source, tmp_path / "c", "-q", "--calibration", "-", stdin=TEXT.encode())
    first, second, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first != second == third


def test_groups(cli, tmp_path):
    model = write_tiny(tmp_path / "model", {"intermediate_size": 96})
    result = cli("quantize", model, tmp_path / "out", "--scheme", "w4a16", "--round-to-nearest", "--json")
    assert json.loads(result.out)["group_size"] == 32
    assert "groups of 32 columns share a scale, for 128 does not divide all rows" in result.err
    result = cli(
        "quantize", model, tmp_path / "16", "--scheme", "w4a16", "--round-to-nearest", "--group-size", "16", "--json"
    )
    assert json.loads(result.out)["group_size"] == 16
    assert "does not divide" not in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["MODEL"], 2, "the following arguments are required: OUT; see inferno quantize --help"),
        (["MODEL", "FULL"], 2, "FULL: must be absent or empty; it holds files. Choose another folder, or empty it"),
        (["NONE", "OUT"], 1, "NONE: no such folder"),
        (["W8A8", "OUT"], 1, "must be in floating point to be quantized; got int-quantized; take the checkpoint that"),
        (["MODEL", "OUT", "--scheme", "w2"], 2, "--scheme: must be one of w8a8, w8a16, w4a16; got 'w2'"),
        (["MODEL", "OUT", "--scheme", ""], 2, "--scheme: must be one of w8a8, w8a16, w4a16; got ''"),
        (["MODEL", ""], 2, "OUT: must name a folder; got an empty name"),
        (["MODEL", "OUT", "--quantize-head", "--ignore", "lm_head"], 2, "--quantize-head: must stand without --ignore"),
        (["MODEL", "OUT", "--group-size", "32"], 2, "--group-size: must be left out for w8a8"),
        (["MODEL", "OUT", "--alpha", "2"], 2, "--alpha: must be a number from 0 to 1; got 2.0"),
        (["MODEL", "OUT", "--alpha", "x"], 2, "argument --alpha: must be a number; got 'x'"),
        (
            ["MODEL", "OUT", "--alpha", "0.5", "--round-to-nearest"],
            2,
            "--alpha: must be left out with --round-to-nearest",
        ),
        (
            ["MODEL", "OUT", "--group-size", "64"],
            2,
            "--group-size: must be left out for w8a8, which has a scale for each",
        ),
        (
            ["MODEL", "OUT", "--scheme", "w4a16", "--round-to-nearest", "--group-size", "7"],
            2,
            "--group-size: must be a multiple of 8; got 7",
        ),
        (
            ["MODEL", "OUT", "--scheme", "w4a16", "--round-to-nearest"],
            2,
            "must divide the input features of every layer that is quantized",
        ),
        (
            ["MODEL", "OUT", "--ignore", "up_proj"],
            2,
            "--ignore: up_proj must name a linear layer of the model; got none",
        ),
        (["MODEL", "OUT", "--ignore", "re:("], 2, "--ignore"),
        (
            ["MODEL", "OUT", "--scheme", "w8a16", "--calibration", "TEXT"],
            2,
            "--calibration: must be left out for w8a16 and --round-to-nearest, which read no text",
        ),
        (["MODEL", "OUT", "--calibration", "NONE"], 2, "NONE: must be readable; got No such file or directory"),
        (["MODEL", "OUT", "--calibration", "LATIN"], 1, "LATIN: must be UTF-8; got byte 0xe9 at offset 3"),
        (["MODEL", "OUT", "--calibration", "SHORT"], 2, "calibration text: must have at least 64 tokens; got 5"),
        (["MODEL", "OUT", "--isa", "neon"], 1, "neon"),
        (["MODEL", "OUT", "-t", "0"], 2, "threads"),
        (["MODEL", "OUT", "--revision", "v1"], 2, "revision must be left out for"),
        (["MUTE", "OUT"], 1, "tokenizer.json"),
    ],
)
def test_refusals(cli, source, text, tmp_path, arguments, code, message):
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "x").touch()
    (tmp_path / "LATIN").write_bytes(b"caf\xe9" * 100)
    (tmp_path / "SHORT").write_text("Hello")
    names = {"MODEL": source, "TEXT": text, "W8A8": QUANTIZED / "w8a8_channel", "MUTE": write_tiny(tmp_path / "mute")}
    paths = [names.get(name, tmp_path / name) if name.isupper() else name for name in arguments]
    before = {path.name for path in tmp_path.iterdir()}
    result = cli("quantize", *paths, "-q")
    assert (result.code, result.out) == (code, "")
    assert message in result.error
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_head_that_is_the_embedding(cli, tmp_path):
    model = write_tiny(tmp_path / "model", {"tie_word_embeddings": True})
    result = cli("quantize", model, tmp_path / "out", "--scheme", "w8a16", "--quantize-head", "--json")
    assert json.loads(result.out)["head"] is False
    assert "the head is the embedding, and stays as it is\n" in result.err


def test_what_needs_no_tokenizer(cli, tmp_path):
    model = write_tiny(tmp_path / "mute")
    assert cli("quantize", model, tmp_path / "out", "--round-to-nearest", "-q").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("at", ["Reading", "Quantizing"])
def test_stopped(tmp_path, number, code, at):
    """A model large enough to be stopped in the midst of it."""
    large = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 8}
    model = write_tiny(tmp_path / "model", large, "BF16", tokenizer=True)
    (tmp_path / "place").mkdir()
    command = [sys.executable, "-m", "inferno", "quantize", str(model), str(tmp_path / "place" / "out")]
    command += ["--round-to-nearest"] if at == "Quantizing" else []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs this in the background makes its children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    assert any(line.startswith(at) for line in process.stderr)
    time.sleep(0.05)
    process.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err == f"{tmp_path / 'place' / 'out'}: stopped; nothing is left behind\n"
    assert os.listdir(tmp_path / "place") == []
