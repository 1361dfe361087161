"""What can be wrong with tokenizer.json, each with one clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models

from inferno.errors import TextError
from inferno.text import Tokenizer
from inferno.text.library import library_errors, quiet_panics
from text_models import byte_level, write_folder


def refused(folder: Path) -> str:
    with pytest.raises(TextError) as info:
        Tokenizer.from_folder(folder)
    message = str(info.value)
    assert message.startswith(str(folder / "tokenizer.json")), message
    return message


def test_missing_file(tmp_path):
    assert "must exist; got a folder without it or tokenizer.model" in refused(tmp_path)


def test_missing_folder(tmp_path):
    assert f"got no folder {tmp_path / 'none'}" in refused(tmp_path / "none")


def test_link_to_nowhere(tmp_path):
    (tmp_path / "tokenizer.json").symlink_to(tmp_path / "blob")
    assert "which does not exist" in refused(tmp_path)


def test_git_lfs_pointer(tmp_path):
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert "got a Git-LFS pointer" in refused(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, share):
    write_folder(tmp_path)
    data = (tmp_path / "tokenizer.json").read_bytes().rstrip()
    (tmp_path / "tokenizer.json").write_bytes(data[: int(len(data) * share)])
    message = refused(tmp_path)
    assert f"must be whole; got {int(len(data) * share)} bytes that end in the middle. Download it again" in message


def test_not_json(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0",\n "model": oops}')
    assert "must be JSON; line 2 column 11" in refused(tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b'{"version": "\xff"}')
    assert "must be UTF-8; got byte 0xff at 13" in refused(tmp_path)


def test_nested_too_deeply(tmp_path):
    (tmp_path / "tokenizer.json").write_text("[" * 100_000 + "]" * 100_000)
    assert "brackets nested too deeply" in refused(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": {"type": "Alien"}}'])
def test_json_that_is_no_tokenizer(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    message = refused(tmp_path)
    assert "must be a tokenizer that the tokenizers library can read" in message
    assert "a newer one may know more" in message


def test_stored_truncation_and_padding_do_not_apply(tmp_path):
    library = byte_level()
    text = "the system answers the user"
    expected = library.encode(text).ids
    library.enable_truncation(2)
    library.enable_padding(length=64)
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, library))
    assert tokenizer.encode(text) == expected


def test_panic_at_load_becomes_an_error_and_leaves_stderr_clean(tmp_path, capfd):
    description = json.loads(byte_level().to_str())
    description["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    message = refused(tmp_path)
    assert "the tokenizers library failed inside (Precompiled: " in message
    assert capfd.readouterr().err == ""


def test_panic_at_decode_becomes_an_error(tmp_path):
    library = Library(models.BPE({" ": 0, "a": 1}, []))
    library.decoder = decoders.Strip(" ", 1, 2)
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, library))
    assert tokenizer.decode([1]) == "a"
    with pytest.raises(TextError, match="token ids must be decodable: the tokenizers library failed inside"):
        tokenizer.decode([0])


def test_only_panics_and_exceptions_are_caught():
    for signal in (KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(signal), library_errors("here"):
            raise signal
    with pytest.raises(TextError, match="here: nothing"), library_errors("here"):
        raise ValueError("nothing")


def test_a_closed_stderr_is_no_obstacle(tmp_path):
    write_folder(tmp_path)
    load = f"print(t.Tokenizer.from_folder({str(tmp_path)!r}).vocab_size)"
    code = f"import os; os.close(2); import inferno.text as t; {load}"
    assert int(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout) > 256


def test_writes_of_others_during_a_load_reach_stderr(tmp_path, capfd):
    with quiet_panics():
        os.write(2, b"progress\n")
    assert capfd.readouterr().err == "progress\n"


def test_import_and_load_leave_heavy_modules_alone(tmp_path):
    write_folder(tmp_path, chat_template="{{ messages }}")
    code = (
        "import sys, inferno.text as t; assert not {'tokenizers', 'jinja2'} & set(sys.modules);"
        f"t.Tokenizer.from_folder({str(tmp_path)!r}); assert 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
