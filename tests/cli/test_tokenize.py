"""`inferno tokenize`: what it prints in each form, where it reads from, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inferno.cli import prompt
from inferno.cli.tokenize import SCHEMA
from inferno.text import Tokenizer
from tokenizer_models import LANGUAGES, train_ranks, train_sentencepiece, write_ranks


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and nothing else: Llama 3's kind."""
    folder = tmp_path_factory.mktemp("models") / "bytes"
    write_ranks(folder, train_ranks(200))
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of Llama 2's kind."""
    folder = tmp_path_factory.mktemp("models") / "pieces"
    train_sentencepiece(folder)
    return folder


@pytest.fixture(params=["byte_level", "pieces"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def test_lines_on_stdout_and_the_count_on_stderr(cli, pieces):
    result = cli("tokenize", "-m", pieces, "the \u4e16\u00fe\n")
    tokenizer = Tokenizer.from_folder(pieces)
    ids = tokenizer.encode("the \u4e16\u00fe\n")
    lines = result.out.splitlines()
    assert [int(line.split("->")[0]) for line in lines] == ids
    assert lines[0] == '     1 -> "<s>"'
    assert lines[1].endswith(' -> "\u2581the"  " the"')
    assert lines[-1].endswith(' -> "<0x0A>"  "\u00fe\\n"')  # bytes become text where their run ends
    assert result.err == f"pieces (tokenizer.model): {len(ids)} tokens for 7 characters, 10 bytes\n"
    assert result.code == 0


def test_what_cannot_be_seen_is_escaped(cli, byte_level):
    out = cli("tokenize", "-m", byte_level, "-q", "--no-bos", "\u200f\x1b\u2028").out
    assert out.isascii() or all(line.isprintable() for line in out.splitlines())
    assert "\\u001b" in out
    assert "\\u200f" in out


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["the quick\n"], None),
        (["-p", "the quick\n"], None),
        (["--prompt", "the quick\n"], b"not read"),
        ([], b"the quick\n"),
        (["-"], b"the quick\n"),
        (["--stdin"], b"the quick\n"),
        (["-f", "FILE"], b"not read"),
        (["--file", "FILE"], None),
    ],
)
def test_ways_to_give_the_text(cli, folder, tmp_path, arguments, stdin):
    file = tmp_path / "text.txt"
    file.write_bytes(b"the quick\n")
    given = [str(file) if argument == "FILE" else argument for argument in arguments]
    result = cli("tokenize", "-m", folder, "-q", "--ids", *given, stdin=stdin)
    assert result.out == f"{Tokenizer.from_folder(folder).encode(chr(10).join(['the quick', '']))}\n"


@pytest.mark.parametrize("text", ["", "a", "the quick", *LANGUAGES])
def test_json(cli, folder, text):
    if "\0" in text:
        return
    result = cli("tokenize", "-m", folder, "--json", text)
    found = json.loads(result.out)
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.encode(text, parse_special=True)
    assert found["schema"] == SCHEMA == "inferno.tokenize/1"
    assert (found["model"], found["tokenizer"]) == (folder.name, str(folder / "tokenizer.model"))
    assert (found["text"], found["characters"], found["bytes"]) == (text, len(text), len(text.encode()))
    assert found["token_ids"] == ids == [token["id"] for token in found["tokens"]]
    assert found["count"] == len(ids)
    assert found["vocab_size"] == tokenizer.vocab_size
    assert [token["piece"] for token in found["tokens"]] == [tokenizer.id_to_token(i) for i in ids]
    assert "".join(token["text"] for token in found["tokens"]) == tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("flag", ["--ids", "--ids-only"])
def test_ids_alone(cli, folder, flag):
    result = cli("tokenize", "-m", folder, flag, "the quick")
    assert json.loads(result.out) == Tokenizer.from_folder(folder).encode("the quick")


def test_counts(cli, folder):
    count = len(Tokenizer.from_folder(folder).encode("the quick"))
    assert cli("tokenize", "-m", folder, "--count", "the quick").out == f"{count}\n"
    lines = cli("tokenize", "-m", folder, "--show-count", "the quick").out.splitlines()
    assert len(lines) == count + 1
    assert lines[-1] == f"Total number of tokens: {count}"
    out = cli("tokenize", "-m", folder, "--ids", "--show-count", "the quick").out
    assert out.splitlines()[1] == f"Total number of tokens: {count}"


def test_bos_and_special_tokens(cli, byte_level):
    tokenizer = Tokenizer.from_folder(byte_level)
    text = "a<|eot_id|>"

    def ids(*flags: str) -> list[int]:
        found: list[int] = json.loads(cli("tokenize", "-m", byte_level, "--ids", *flags, text).out)
        return found

    assert ids() == tokenizer.encode(text, parse_special=True)
    assert ids("--no-bos") == tokenizer.encode(text, add_special_tokens=False, parse_special=True)
    assert ids("--no-parse-special") == tokenizer.encode(text)
    assert tokenizer.token_to_id("<|eot_id|>") not in ids("--no-parse-special")


@pytest.mark.parametrize("form", ["{}", "[{}]", "{}\n", " [ {} ] "])
def test_decode_is_the_way_back(cli, byte_level, form):
    tokenizer = Tokenizer.from_folder(byte_level)
    text = "the <|eot_id|>\U0001f600"
    ids = tokenizer.encode(text, parse_special=True)
    for separator in (" ", ", ", ",", "\n"):
        given = form.format(separator.join(map(str, ids)))
        result = cli("tokenize", "-m", byte_level, "--decode", "-", stdin=given.encode())
        assert result.out == f"<|begin_of_text|>{text}\n"
    found = json.loads(cli("tokenize", "-m", byte_level, "--decode", "--json", str(ids)).out)
    assert (found["token_ids"], found["text"]) == (ids, f"<|begin_of_text|>{text}")


def test_decode_nothing(cli, folder):
    for text in ("", "[]", " \n"):
        assert cli("tokenize", "-m", folder, "--decode", "-q", text).out == "\n"


@pytest.mark.parametrize("word", ["x", "1.5", "-1", "9999999", "1" * 5000, "\u0661", "[1"])
def test_ids_that_are_none(cli, folder, word):
    result = cli("tokenize", "-m", folder, "--decode", "-p", f"1 {word} 2")
    assert result.code == 2
    size = Tokenizer.from_folder(folder).vocab_size
    assert re.match(
        rf"--decode: ids must be whole numbers below {size}, like 1 2 3 or \[1, 2, 3\]; got '", result.error
    )
    assert len(result.error) < 200


@pytest.mark.parametrize("stdin", [b"", None])
def test_nothing_to_tokenize(cli, folder, stdin):
    arguments = [] if stdin is not None else [""]
    bos = Tokenizer.from_folder(folder).bos_token_id
    assert cli("tokenize", "-m", folder, "--ids", *arguments, stdin=stdin).out == f"[{bos}]\n"
    result = cli("tokenize", "-m", folder, "--no-bos", *arguments, stdin=stdin)
    assert result.out == ""
    assert result.err == f"{folder.name} (tokenizer.model): 0 tokens for 0 characters, 0 bytes\n"


def test_no_text_at_all(cli, folder):
    result = cli("tokenize", "-m", folder)
    assert (result.code, result.out) == (2, "")
    assert result.error.startswith(
        'text: must be given: inferno tokenize "What is gravity?", --file, or through a pipe'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "-p", "b"], "text: must be given once; got it by TEXT and by --prompt"),
        (["-f", "x", "--stdin"], "text: must be given once; got it by --file and by --stdin"),
        (["a", "--json", "--ids"], "--json: must stand without --ids; leave one of them out"),
        (["a", "--ids", "--count"], "--ids: must stand without --count; leave one of them out"),
        (["a", "--decode", "--no-bos"], "--no-bos: must stand without --decode; leave it out"),
        (["a", "--decode", "--no-parse-special"], "--no-parse-special: must stand without --decode; leave it out"),
        (["a", "--decode", "--count"], "--count: must stand without --decode; leave it out"),
        (["a", "--json", "--show-count"], "--show-count: must stand without --json and --count, which tell the number"),
    ],
)
def test_contradictions(cli, folder, arguments, message):
    result = cli("tokenize", "-m", folder, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error.startswith(message)


@pytest.mark.parametrize("way", ["argument", "stdin", "file"])
def test_what_is_not_utf8(cli, pieces, tmp_path, way):
    data = b"the \xe2\x82 \xff"
    file = tmp_path / "text"
    file.write_bytes(data)
    given = {"argument": [data.decode(errors="surrogateescape")], "stdin": ["-"], "file": ["-f", file]}[way]
    where = {"argument": "text", "stdin": "standard input", "file": str(file)}[way]
    result = cli("tokenize", "-m", pieces, *given, stdin=data)
    assert (result.code, result.out) == (1, "")
    assert result.error == (
        f"{where}: must be UTF-8; got byte 0xe2 at offset 4; convert it first, for instance with iconv -t UTF-8, "
        "or give --replace-invalid"
    )
    result = cli("tokenize", "-m", pieces, "--replace-invalid", "--json", *given, stdin=data)
    assert json.loads(result.out)["text"] == "the \ufffd \ufffd"


def test_a_lone_surrogate_is_not_utf8(cli, pieces):
    assert "must be UTF-8; got byte 0xed at offset 1" in cli("tokenize", "-m", pieces, "a\ud800").error


def test_files_that_cannot_be_read(cli, pieces, tmp_path):
    assert cli("tokenize", "-m", pieces, "-f", tmp_path / "none").error == (
        f"{tmp_path / 'none'}: must be readable; got No such file or directory"
    )
    assert "must be a regular file; got a folder" in cli("tokenize", "-m", pieces, "-f", tmp_path).error


def test_texts_without_end(cli, pieces, tmp_path, monkeypatch):
    with (tmp_path / "long").open("wb") as file:
        file.truncate(prompt.MAX_PROMPT_BYTES + 1)
    assert cli("tokenize", "-m", pieces, "-f", tmp_path / "long").error == (
        f"{tmp_path / 'long'}: must be a text of at most 64 MB; got {prompt.MAX_PROMPT_BYTES + 1} bytes"
    )
    monkeypatch.setattr(prompt, "MAX_PROMPT_BYTES", 1 << 20)
    result = cli("tokenize", "-m", pieces, stdin=bytes((1 << 20) + 1))
    assert result.error == "standard input: must be a text of at most 1 MB; got more"


def test_a_long_text(cli, byte_level):
    """More lines than are written at once, all of them and in order."""
    text = "the quick brown fox, " * 10_000
    ids = Tokenizer.from_folder(byte_level).encode(text)
    assert len(ids) > 50_000
    out = cli("tokenize", "-m", byte_level, stdin=text.encode()).out
    assert [int(line.split("->")[0]) for line in out.splitlines()] == ids


def test_the_weights_are_not_opened(cli, tiny, tmp_path):
    """A model folder whose weights cannot be read at all."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    (folder / "model.safetensors").symlink_to(tmp_path / "nowhere")
    (folder / "config.json").write_text("broken")
    result = cli("tokenize", "-m", folder, "--ids", "in the")
    assert json.loads(result.out) == Tokenizer.from_folder(tiny).encode("in the", parse_special=True)
    assert result.err.startswith("model (tokenizer.json): ")


def test_the_demo_model_is_the_default(cli, monkeypatch, byte_level):
    from inferno import demo

    monkeypatch.setattr(demo, "ensure_demo", lambda progress=None: byte_level)
    result = cli("tokenize", "--count", "the")
    assert result.err.splitlines()[0] == "no model given (-m): using the demo model"
    assert int(result.out) == len(Tokenizer.from_folder(byte_level).encode("the"))
    assert cli("tokenize", "--count", "-q", "the").err == ""


def test_a_folder_without_a_tokenizer(cli, tmp_path):
    result = cli("tokenize", "-m", tmp_path, "a")
    assert result.code == 1
    assert result.error.startswith(f"{tmp_path}/tokenizer.json: must exist; got a folder without it or tokenizer.model")


def test_variables(cli, folder, monkeypatch):
    monkeypatch.setenv("INFERNO_MODEL", str(folder))
    monkeypatch.setenv("INFERNO_NO_BOS", "1")
    assert cli("tokenize", "--ids", "a").out == f"{Tokenizer.from_folder(folder).encode('a', False)}\n"


def test_heavy_modules_stay_away(folder):
    code = (
        "import sys; from inferno.cli import run; "
        f"run(['tokenize', '-m', {str(folder)!r}, '-q', '--count', 'a']); "
        "print({'numpy', 'jinja2', 'torch', 'inferno._core', 'inferno.engine', 'inferno.models'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.splitlines()[1] == "set()"
