"""The command as a process: one entry, exit codes, Ctrl-C, streams that are closed or full, what a start imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import inferno
from speaker import write_speaker

MODULE = [sys.executable, "-m", "inferno"]


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams as users have them: what could not be written is tried again at the interpreter's end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*MODULE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)


def test_a_pipe_in_and_a_pipe_out(speaker):
    done = run("generate", "-m", speaker, input=b"Hi\n")
    assert done.returncode == 0
    assert done.stdout == "Hey, wörd!😀\n".encode()
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_text_is_utf8_whatever_the_locale(speaker, locale):
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    done = run("generate", "-q", "-m", speaker, "Hi", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hey, wörd!😀\n".encode(), b"")


def test_exit_codes_and_no_traceback(tmp_path):
    for arguments, code in ((["-m", tmp_path, "Hi"], 1), (["--temp", "x", "Hi"], 2), ([os.fsdecode(b"\xff")], 1)):
        done = run("generate", *arguments, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (code, b"")
        assert done.stderr.count(b"\n") == 1
        assert done.stderr.startswith(b"inferno: error: ")


def test_version_and_help():
    for arguments in (["--version"], ["generate", "--version"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (0, f"inferno {inferno.__version__}\n".encode())
    assert b"generate" in run("--help").stdout
    text = run("generate", "--help").stdout.decode()
    for flag in ("--max-tokens", "--ctx-size", "--repeat-penalty", "--kv-cache-type", "INFERNO_MAX_TOKENS"):
        assert flag in text


def test_the_script_is_the_same_entry():
    script = Path(sysconfig.get_path("scripts")) / "inferno"
    assert script.exists(), "the package must be installed: pip install -e '.[test]'"
    done = subprocess.run([script, "--version"], capture_output=True, timeout=60, check=False)
    assert done.stdout == run("--version").stdout


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Talks for minutes: to be interrupted."""
    folder = write_speaker(tmp_path_factory.mktemp("slow"), "abc", ends=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1 << 20}))
    return folder


def interrupted(process: subprocess.Popen[bytes], wait_for: int) -> tuple[int, bytes, bytes]:
    assert process.stdout is not None
    text = process.stdout.read(wait_for)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    return process.returncode, text + rest, errors


def start(*arguments: object) -> subprocess.Popen[bytes]:
    # A shell that runs this in the background makes its children ignore SIGINT.
    return subprocess.Popen(
        [*MODULE, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_while_generating(slow):
    code, text, errors = interrupted(start("generate", "-m", slow, "Hi"), wait_for=6)
    assert code == 130
    assert text.startswith(b"abcabc")
    assert text.endswith(b"\n")
    assert b"Traceback" not in errors
    assert b"error" not in errors
    code, text, errors = interrupted(start("generate", "-q", "-m", slow, "Hi"), wait_for=6)
    assert (code, errors) == (130, b"")


def test_ctrl_c_while_reading_stdin(slow):
    process = start("generate", "-q", "-m", slow)
    time.sleep(1.0)
    code, text, errors = interrupted(process, wait_for=0)
    assert (code, text, errors) == (130, b"", b"")


def test_ctrl_c_while_reading_a_long_prompt(slow, tmp_path):
    process = start("generate", "-m", slow, "--raw", "-")
    assert process.stdin is not None
    process.stdin.write(b"x" * 400_000)
    process.stdin.close()
    process.stdin = None
    assert process.stderr is not None
    assert b"speaker" not in process.stderr.readline()  # the load line: the model is there
    time.sleep(0.5)
    code, text, errors = interrupted(process, wait_for=0)
    assert (code, text) == (130, b"")
    assert b"Traceback" not in errors


def test_ctrl_c_while_measuring_perplexity(slow, tmp_path):
    (tmp_path / "text.txt").write_text("a word, " * 100_000)
    process = start("perplexity", slow, "--file", tmp_path / "text.txt")
    assert process.stderr is not None
    assert any(line.startswith(b"Reading ") for line in process.stderr)
    time.sleep(0.5)
    code, text, errors = interrupted(process, wait_for=0)
    assert (code, text, errors) == (130, b"", b"")


def test_a_reader_that_goes_away(slow):
    command = " ".join(MODULE)
    done = shell(f"{command} generate -q -m {slow} Hi | head -c 5; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == b"abcab141\n"
    assert done.stderr == b""
    done = shell(f"{command} generate -q --json -n 3 -m {slow} Hi | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == (b"141\n", b"")


def test_streams_that_are_closed_or_full(speaker):
    command = " ".join(MODULE) + f" generate -m {speaker} "
    done = shell(command + "-q Hi > /dev/full")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"inferno: error: standard output: cannot be written: No space left on device" in done.stderr
    done = shell(command + "-q Hi >&-")
    assert done.returncode == 1
    assert b"inferno: error: standard output: must be open; got a closed one" in done.stderr
    for stderr in ("2>&-", "2>/dev/full"):
        done = shell(command + "Hi " + stderr)
        assert (done.returncode, done.stdout) == (0, "Hey, wörd!😀\n".encode())
    assert shell(command + "-q Hi <&-").stdout == "Hey, wörd!😀\n".encode()
    done = shell(command + "-q <&-")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_a_start_imports_no_more_than_it_needs(speaker):
    """Parsing takes the standard library; a run without progress bars, downloads or imports none of their packages."""
    code = """
import sys
from inferno.cli import build_parser, run
build_parser()
early = {name.partition('.')[0] for name in sys.modules}
code = run(["generate", "-q", "-m", sys.argv[1], "-n", "2", "Hi"])
late = {name.partition('.')[0] for name in sys.modules}
print(sorted(early & {"numpy", "tokenizers", "jinja2", "huggingface_hub", "rich", "gguf", "asyncio"}))
print(sorted(late & {"huggingface_hub", "rich", "gguf", "requests", "httpx", "safetensors", "torch"}))
"""
    done = subprocess.run([sys.executable, "-c", code, speaker], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [b"[]", b"[]"]
