"""`inferno list`: the table, JSON, and models that are tried."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from inferno.catalog import ModelEntry
from inferno.catalog.check import CheckResult
from inferno.cli.list_table import Row, table
from inferno.findings import Finding
from inferno.model_path import VARIABLE
from speaker import write_speaker
from terminals import on_terminal
from tiny import write_tiny

FIELDS = {
    *("name", "revision", "path", "source", "layout", "architecture", "parameters", "dtype", "scheme"),
    *("weight_bytes", "context", "status", "findings", "check"),
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of the user's, and an empty current folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def broken(folder: Path) -> Path:
    write_tiny(folder)
    os.truncate(folder / "model.safetensors", 100_000)
    return folder


def test_the_table(cli, home):
    write_tiny(Path("good"), dtype="BF16", tokenizer=True)
    broken(home / "models" / "cut")
    result = cli("list")
    assert (result.code, result.err) == (0, "")
    header, good, *rest = result.out.splitlines()
    assert header.split() == ["name", "architecture", "parameters", "dtype", "scheme", "size", "context", "status"]
    assert re.match(r"good +LlamaForCausalLM +\d[\d.]*[KM] +BF16 +\w+ +\d+ KB +512  (ready|needs attention)$", good)
    cut = next(number for number, line in enumerate(rest) if line.startswith("cut "))
    assert rest[cut].endswith("  cannot run")
    assert re.match(r"    \S+/cut/model.safetensors: .*the file is truncated", rest[cut + 1])
    assert rest[-2].split() == ["demo", "-", "-", "-", "-", "-", "-", "not", "fetched"]
    assert rest[-1] == "    inferno pull demo"
    assert header.index("status") == good.rindex("  ") + 2


def test_folders(cli, tmp_path):
    for name in ("a", "b", "c"):
        write_tiny(tmp_path / name / "m")
    result = cli("list", "../a", tmp_path / "b")
    assert [line.split()[0] for line in result.out.splitlines() if "Llama" in line] == ["../a/m", f"{tmp_path}/b/m"]


def test_nothing_found(cli, tmp_path):
    result = cli("list", tmp_path)
    assert (result.code, result.out) == (0, "")
    assert result.err == (
        f"no models in {tmp_path}; a model folder holds config.json and safetensors files, or params.json and "
        "consolidated.*; fetch one with: inferno pull demo\n"
    )
    assert json.loads(cli("list", tmp_path, "--json").out)["models"] == []
    assert cli("list", tmp_path, "-q").err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 1, "none: no such folder"),
        (["-t", "0"], 2, "threads: must be from 1 to 1024; got 0"),
        (["--deep"], 2, "unrecognized arguments: --deep; see inferno --help"),
    ],
)
def test_refusals(cli, arguments, code, message):
    result = cli("list", *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.error


def test_json(cli, home, monkeypatch):
    write_tiny(Path("good"), dtype="BF16", tokenizer=True)
    broken(home / "models" / "cut")
    monkeypatch.setenv(VARIABLE, f"~/models:{home}/none")
    result = cli("list", "--json")
    assert result.err == f"{VARIABLE}: {home}/none is no folder; left out\n"
    found = json.loads(result.out)
    assert result.out.count("\n") == 1
    assert set(found) == {"schema", "models", "messages"}
    assert found["schema"] == "inferno.list/1"
    assert found["messages"] == [f"{VARIABLE}: {home}/none is no folder; left out"]
    good, cut, demo = found["models"]
    for model in found["models"]:
        assert set(model) == FIELDS
        assert model["check"] is None
        for finding in model["findings"]:
            assert set(finding) == {"severity", "code", "where", "message", "repair", "text"}
    assert (good["name"], good["path"], good["source"]) == ("good", str(Path("good").resolve()), "folder")
    assert (good["layout"], good["dtype"], good["context"]) == ("huggingface", "BF16", 512)
    assert good["weight_bytes"] == 2 * good["parameters"]
    assert (cut["name"], cut["status"], cut["findings"][0]["severity"]) == ("cut", "cannot run", "error")
    assert (demo["name"], demo["source"], demo["status"]) == ("demo", "demo", "not fetched")
    assert demo["parameters"] is None


def test_check(cli, home):
    write_tiny(Path("a"), tokenizer=True)
    write_tiny(Path("b"))
    broken(Path("c"))
    write_speaker(Path("d"), "abc")
    (Path("d") / "tokenizer.json").write_text('{"version": "1.0"}')
    write_tiny(Path("e"), tokenizer=True)
    result = cli("list", "--check", "-t", "1", "--json")
    models = {model["name"]: model for model in json.loads(result.out)["models"]}
    run = [name for name, model in models.items() if model["status"] in ("ready", "needs attention")]
    assert {"a", "b", "e"} <= set(run)
    for name in ("a", "b", "e"):
        check = models[name]["check"]
        assert (check["tokens"], check["error"]) == (8, None)
        assert check["tokens_per_second"] > 0
        assert check["first_token_seconds"] > 0
        assert check["peak_memory_bytes"] > 1_000_000
    assert models["c"]["check"] is None
    assert models["demo"]["check"] is None
    if "d" in run:  # it may be known before that it cannot
        assert "tokenizer.json" in models["d"]["check"]["error"]
    assert result.code == (1 if "d" in run else 0)
    assert result.err.splitlines() == [f"Checking {name} ({i} of {len(run)})" for i, name in enumerate(run, 1)]


def test_check_fails_if_a_model_does(cli, monkeypatch):
    write_tiny(Path("a"), tokenizer=True)
    write_tiny(Path("b"), tokenizer=True)
    folder = Path("a").resolve()
    from inferno.catalog import check

    real = check.check_model
    # the model goes away between the list and its turn
    monkeypatch.setattr(
        check, "check_model", lambda path, threads: (shutil.rmtree(folder, True), real(path, threads))[1]
    )
    result = cli("list", "--check")
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0].endswith("  first token  tokens/s  peak memory  status")
    a = next(number for number, line in enumerate(lines) if line.startswith("a "))
    assert lines[a].endswith("  failed")
    assert "no such folder" in lines[a + 1]
    b = next(line for line in lines if line.startswith("b "))
    assert b.endswith("  ok")
    assert re.search(r" \d[\d.]* m?s +[\d.]+ +\d[\d.]* [MG]B  ok$", b)


def test_check_with_nothing_to_check(cli):
    result = cli("list", "--check")
    assert (result.code, result.err) == (0, "")


def test_names_cannot_steer_the_terminal(cli):
    for name in ("a\x1b[2Jb", "line\nbreak", os.fsdecode(b"\xff"), "\u202eright"):
        write_tiny(Path(name))
    result = cli("list", "--check")
    assert "\x1b" not in result.out + result.err
    names = [line.split()[0] for line in result.out.splitlines() if line.endswith(" ok")]
    assert sorted(names) == sorted(["a\\x1b[2Jb", "line\\x0abreak", "\\udcff", "\\u202eright"])
    listed = {model["name"] for model in json.loads(cli("list", "--json").out)["models"]}
    assert {"a\x1b[2Jb", "line\nbreak", os.fsdecode(b"\xff"), "\u202eright", "demo"} == listed


def test_a_terminal_gets_colors_within_its_width():
    write_tiny(Path("models/with/a/long/name"), tokenizer=True)
    broken(Path("cut"))
    text = on_terminal([sys.executable, "-m", "inferno", "list"], 60)
    assert "\x1b[31mcannot run\x1b[0m" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("models/with/a/long/name ") for line in lines)
    assert "architecture" not in lines[0]
    assert lines[0].split()[-1] == "status"


def entry(name: str, **fields: object) -> ModelEntry:
    return ModelEntry(name, Path(name), "folder", "ready", **fields)


@pytest.mark.parametrize("width", [None, 120, 80, 60, 40])
def test_columns_that_find_no_room_go_and_the_name_stays_whole(width):
    rows = [
        Row(entry("\u6a21\u578b", architecture="LlamaForCausalLM", parameters=8_030_261_248, weight_bytes=16 * 10**9)),
        Row(entry("org/name", revision="v1.0", dtype="I8+BF16", scheme="int8", context=131072)),
    ]
    lines = table(rows, width=width).splitlines()
    assert lines[2].startswith("org/name --revision v1.0  ")
    starts = {line.index("ready") + line.count("\u6a21") + line.count("\u578b") for line in lines[1:]}
    assert starts == {lines[0].index("status")}
    if width is None or width >= 120:
        assert "8.0B" in lines[1]
        assert "128k" in lines[2]
        assert "scheme" in lines[0]
    else:
        assert "scheme" not in lines[0]
        assert all(len(line) <= width for line in lines)


def test_what_stands_below_a_model():
    error, warning = Finding("error", "x", "f", "must be so\nand so", "mend it"), Finding("warning", "y", "g", "odd")
    stopped = ModelEntry("m", Path("m"), "folder", "cannot run", findings=(error, warning))
    text = table([Row(stopped), Row(entry("n", findings=(Finding("note", "z", "h", "fyi"),)))])
    assert text.splitlines()[2] == "    f: must be so and so; mend it"
    assert "fyi" not in text
    failed = CheckResult(error="broke \x1b[1m")
    assert table([Row(entry("m"), failed)], checked=True).splitlines()[2] == "    broke \\x1b[1m"
    long = ModelEntry("m", Path("m"), "folder", "cannot run", findings=(Finding("error", "x", "", "word " * 40),))
    assert all(len(line) <= 50 for line in table([Row(long)], width=50).splitlines())
