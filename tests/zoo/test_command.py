"""Every case of the zoo at the command line: inspect and generate tell what loading raises; no traceback, no hang."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from command import Cli, Result
from inferno.analysis import analyze_folder
from inferno.cli import run as run_cli
from zoo.case import Case
from zoo.test_zoo import CASES, ModelOf, each_case, expected_error, steady, steady_text


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        code = run_cli([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


def machine(case: Case) -> list[object]:
    flags: list[object] = ["-q", "-t", 1]
    ctx_size = case.options.get("ctx_size", 64)
    if ctx_size is not None:
        flags += ["-c", ctx_size]
    if "kv_cache_type" in case.options:
        flags += ["--kv-cache-type", case.options["kv_cache_type"]]
    return flags


def shown(text: str) -> str:
    """As it comes to a terminal."""
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in text)


@each_case
def test_generate_says_what_loading_raises(case: Case, model_of: ModelOf, cli: Cli) -> None:
    path = model_of(case)
    expected = expected_error(path, case)
    result = cli("generate", "-m", path, *machine(case), "-n", 2, "Hi")
    if expected is not None:
        assert (result.code, result.out) == (1, "")
        assert steady(result.error) == shown(steady(expected))
    elif case.speaks:
        assert (result.code, result.err) == (0, "")
        assert result.out.endswith("\n")
    else:
        assert (result.code, result.out) == (1, "")
        assert len(result.error) < 3000


@each_case
def test_inspect_says_what_loading_raises(case: Case, model_of: ModelOf, cli: Cli, tmp_path: Path) -> None:
    path = model_of(case)
    expected = expected_error(path, case)
    page = tmp_path / "page.html"
    result = cli("inspect", path, *machine(case), "--no-forecast", "--json", "--html", page)
    assert result.code == (0 if case.runs else 1)
    if not result.out:  # there is no such folder
        assert steady(result.error) == shown(steady(expected))
        return
    assert result.err == ""
    told = json.loads(result.out)
    assert (told["status"] == "cannot run") == (not case.runs)
    errors = [finding for finding in told["findings"] if finding["severity"] == "error"]
    assert bool(errors) == (not case.runs)
    if errors:
        first = errors[0]
        text = ": ".join(filter(None, (first["where"], "; ".join(filter(None, (first["message"], first["repair"]))))))
        assert steady_text(text) == steady(expected)
    if case.severity is not None:
        assert (case.severity, case.code) in {(found["severity"], found["code"]) for found in told["findings"]}
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@each_case
def test_the_text_of_inspect(case: Case, model_of: ModelOf, cli: Cli) -> None:
    """Control characters in what a file says do not come out."""
    result = cli("inspect", model_of(case), *machine(case), "--no-forecast", "--tensors")
    assert result.code == (0 if case.runs else 1)
    assert "Traceback" not in result.out + result.err
    assert all(c.isprintable() or c == "\n" for c in result.out)


# What could make a reader wait, recurse, or fill the memory.
HOSTILE = [
    *("header beyond the file", "brackets without end", "10^30 elements", "a name without end", "4096 layers"),
    *(
        "an index that is a pipe",
        "a shard that is a pipe",
        "a link to itself",
        "an endless device",
        "a config that is a pipe",
    ),
    *("a config that is a device", "config nested without end", "a number of 5000 digits", "rms_norm_eps 10^400"),
    *("params in a pipe", "a .pth that is a pipe", "a pickle that runs a command", "tokenizer a pipe"),
    *("tokenizer nested without end", "processors without end", "comments without end", "a template in a pipe"),
]


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_little_memory(name: str, model_of: ModelOf) -> None:
    path = model_of(case_of(name))
    tracemalloc.start()
    try:
        analyze_folder(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A header may have 100 MB; the room for it is asked for, and not used, before the file ends.
    assert peak < 150e6


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_in_a_process_of_their_own(name: str, model_of: ModelOf) -> None:
    """What no signal handler of this process could end would end there."""
    case = case_of(name)
    command = [sys.executable, "-m", "inferno", "inspect", str(model_of(case)), "-q", "-c", "64", "--no-forecast"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == (0 if case.runs else 1), result.stderr
    assert "Traceback" not in result.stderr
