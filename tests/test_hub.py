"""Models by id against a hub on loopback: what is asked for, what is kept, and what each failure says."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hub import COMMIT, FakeHub, serve
from inferno import hub, hub_cache
from inferno.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    InfernoError,
    ModelNotFoundError,
    UnsupportedError,
    UsageError,
)
from inferno.hub import fetch
from inferno.progress import SilentProgress

INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
SHARDED = {
    "config.json": b"{}",
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer.model": b"spm",
    "chat_template.jinja": b"x",
    "additional_chat_templates/tool.jinja": b"y",
    "model.safetensors.index.json": INDEX.encode(),
    "model-00001-of-00002.safetensors": b"1" * 1000,
    "model-00002-of-00002.safetensors": b"2" * 3_000_000,
    "consolidated.safetensors": b"3",
    "pytorch_model.bin": b"pickle",
    "pytorch_model.bin.index.json": b"{}",
    "onnx/config.json": b"{}",
    "README.md": b"hi",
    "modeling_x.py": b"boom",
}
WANTED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "chat_template.jinja",
    "additional_chat_templates/tool.jinja",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
}
SINGLE = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": b"w" * 2_000_000}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "inferno"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # huggingface_hub asks once a day which programs are agents; here it has just asked.
    import huggingface_hub.constants

    registry = tmp_path / "agents.json"
    registry.write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "AGENT_HARNESSES_PATH", str(registry), raising=False)
    with serve(FakeHub({"org/sharded": dict(SHARDED), "org/single": dict(SINGLE)})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_what_a_model_needs_is_fetched(fake: FakeHub, tmp_path: Path) -> None:
    folder = fetch("org/sharded")
    assert folder == tmp_path / "hf" / "hub" / "models--org--sharded" / "snapshots" / COMMIT
    assert files_in(folder) == WANTED
    for name in WANTED:
        assert (folder / name).read_bytes() == SHARDED[name]
    assert fake.fetched() <= {name.rpartition("/")[2] for name in WANTED}


def test_the_second_time_nothing_is_asked(fake: FakeHub) -> None:
    folder = fetch("org/single")
    asked = len(fake.requests)
    assert fetch("org/single") == folder
    assert len(fake.requests) == asked


def test_the_commit_is_pinned_and_on_record(fake: FakeHub, tmp_path: Path) -> None:
    folder = fetch("org/single")
    record = json.loads((tmp_path / "inferno" / "hub" / "org--single.json").read_text())
    sizes = {name: len(data) for name, data in SINGLE.items()}
    assert record == {"main": {"commit": COMMIT, "endpoint": fake.endpoint, "files": sizes}}
    fake.revisions = {"main": "f" * 40}  # upstream moves on
    assert fetch("org/single") == folder
    assert fetch("org/single", COMMIT) == folder


def test_a_tag_means_its_commit(fake: FakeHub) -> None:
    fake.revisions["v1.0"] = COMMIT
    assert fetch("org/single", "v1.0").name == COMMIT


def test_a_config_has_a_megabyte_at_most(fake: FakeHub) -> None:
    fake.models["org/single"]["config.json"] = b"{}".ljust((1 << 20) + 1)
    with pytest.raises(ConfigError, match=r"config.json: must be at most 1048576 bytes; got 1048577$"):
        fetch("org/single")
    assert fake.fetched() == {"config.json"}


def test_config_is_looked_at_before_weights(fake: FakeHub) -> None:
    fake.models["org/single"]["config.json"] = b'{"auto_map": {"AutoModel": "modeling_x.Model"}}'
    with pytest.raises(UnsupportedError, match=r"org/single: config.json must not have auto_map; .*never runs"):
        fetch("org/single")
    assert fake.fetched() == {"config.json"}


def test_weights_come_last(fake: FakeHub) -> None:
    fetch("org/sharded")
    order = [line.rpartition("/")[2] for line in fake.requests if line.startswith("HEAD")]
    assert order[0] == "config.json"
    assert {name.endswith(".safetensors") for name in order[-2:]} == {True}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_download_that_breaks_off_is_completed_by_the_next(fake: FakeHub, name: str) -> None:
    fake.cut_after[name] = 1
    with pytest.raises(DownloadError):
        fetch("org/single")
    assert hub_cache.find_snapshot("org/single", "main") is None
    assert hub_cache.find_snapshot("org/single", COMMIT) is None
    fake.cut_after.clear()
    folder = fetch("org/single")
    assert {name: (folder / name).read_bytes() for name in SINGLE} == SINGLE


def test_a_killed_download_is_completed_by_the_next(fake: FakeHub) -> None:
    code = (
        "import os, signal, sys\n"
        "from inferno import hub\n"
        "real = hub._fetch_weights\n"
        "hub._fetch_weights = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "hub.fetch('org/single')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (hub_cache.model_cache_folder("org/single") / "snapshots" / COMMIT / "config.json").exists()
    assert hub_cache.find_snapshot("org/single", "main") is None
    folder = fetch("org/single")
    assert (folder / "model.safetensors").read_bytes() == SINGLE["model.safetensors"]


def other_program_s_snapshot(files: dict[str, bytes]) -> Path:
    """A snapshot as `hf download` leaves it: no record of Inferno's."""
    folder = hub_cache.model_cache_folder("org/other")
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for name, data in files.items():
        (folder / "blobs" / name).write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_another_program_s_download_is_found_without_network(fake: FakeHub) -> None:
    snapshot = other_program_s_snapshot(SINGLE)
    assert fetch("org/other") == snapshot
    assert fake.requests == []


def test_a_snapshot_may_have_tokenizer_model_instead(fake: FakeHub) -> None:
    files = {"tokenizer.model" if name == "tokenizer.json" else name: data for name, data in SINGLE.items()}
    snapshot = other_program_s_snapshot(files)
    assert fetch("org/other") == snapshot
    assert fake.requests == []


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_program_s_partial_download_is_completed(fake: FakeHub, missing: str) -> None:
    other_program_s_snapshot({name: data for name, data in SINGLE.items() if name != missing})
    fake.models["org/other"] = dict(SINGLE)
    assert files_in(fetch("org/other")) == set(SINGLE)
    assert missing in fake.fetched()


def test_an_unfinished_blob_or_a_dangling_link_means_partial(fake: FakeHub) -> None:
    snapshot = other_program_s_snapshot(SINGLE)
    blobs = snapshot.parents[1] / "blobs"
    (blobs / "abc.incomplete").write_bytes(b"")
    assert hub_cache.find_snapshot("org/other", "main") is None
    (blobs / "abc.incomplete").unlink()
    assert hub_cache.find_snapshot("org/other", "main") == snapshot
    (blobs / "model.safetensors").unlink()
    assert hub_cache.find_snapshot("org/other", "main") is None


def test_a_recorded_file_that_shrank_is_not_taken(fake: FakeHub) -> None:
    folder = fetch("org/single")
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(b"short")
    (folder / "tokenizer.json").unlink()
    assert hub_cache.find_snapshot("org/single", "main") is None


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode(fake: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(DownloadError, match=r"org/single: is not \(or not completely\) in .*and HF_HUB_OFFLINE is set"):
        fetch("org/single")
    assert fake.requests == []


def test_no_network(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    expected = r"org/single: is not in the local cache, and http://127.0.0.1:9 could not be reached \(ConnectionRefused"
    with pytest.raises(DownloadError, match=expected):
        fetch("org/single")


def test_a_silent_network_is_told_in_time(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.CONNECT_TIMEOUT <= 5
    monkeypatch.setattr(hub, "CONNECT_TIMEOUT", 0.3)
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):  # a full queue: the next connection gets no answer
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(DownloadError, match=r"could not be reached \(TimeoutError"):
            fetch("org/single")
    assert time.monotonic() - begin < 3


def test_a_server_that_accepts_and_says_nothing(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "CONNECT_TIMEOUT", 0.3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DownloadError, match=r"could not be reached .*[Tt]ime"):
            fetch("org/single")


def test_unknown_models_and_revisions(fake: FakeHub) -> None:
    with pytest.raises(ModelNotFoundError, match="org/none: is no folder here and no model at http://127"):
        fetch("org/none")
    with pytest.raises(ModelNotFoundError, match="org/single: has no revision 'v9'"):
        fetch("org/single", "v9")


def test_gated_models(fake: FakeHub) -> None:
    fake.gated.add("org/single")
    with pytest.raises(DownloadError, match="org/single: is gated; accept its terms on that page, then log in"):
        fetch("org/single")


@pytest.mark.parametrize(
    ("status", "message"), [(503, "answered 503; try again later"), (429, "answered 429; too many requests")]
)
def test_a_server_in_trouble(fake: FakeHub, status: int, message: str) -> None:
    fake.status = status
    with pytest.raises(DownloadError, match=message):
        fetch("org/single")


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"m-Q4_0.gguf": b""}, ModelNotFoundError, "got GGUF files.*inferno import m-Q4_0.gguf FOLDER"),
        ({"adapter_config.json": b"", "adapter_model.safetensors": b""}, UnsupportedError, "got a LoRA adapter"),
        (
            {"config.json": b"", "pytorch_model.bin": b""},
            ModelNotFoundError,
            r"must hold model.safetensors or model.safetensors.index.json; it does not; its weights are pickles",
        ),
        ({"model.safetensors": b""}, ModelNotFoundError, "must hold config.json; it does not"),
        (
            {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../x.safetensors"}}'},
            CheckpointError,
            "names ../x.safetensors, which is no weight file of the repository",
        ),
        (
            {"config.json": b"{}", "model.safetensors.index.json": b"[]"},
            CheckpointError,
            "must map tensor names to files under weight_map",
        ),
    ],
)
def test_repositories_that_hold_no_usable_model(
    fake: FakeHub, files: dict[str, bytes], error: type[InfernoError], message: str
) -> None:
    fake.models["org/odd"] = files
    with pytest.raises(error, match=message):
        fetch("org/odd")
    assert not any(name.endswith(".safetensors") for name in fake.fetched())


def test_too_little_space(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"org/single: needs 0.0 GB in .*; 0.0 GB are free. Free some"):
        fetch("org/single")
    assert "model.safetensors" not in fake.fetched()


@pytest.mark.parametrize("model_id", ["llama", "a/b/c", "../x", "org/", "org/na me", "-org/x", "org/x\n"])
def test_what_is_no_id(model_id: str) -> None:
    with pytest.raises(UsageError, match="model id must be ORG/NAME as on Hugging Face; got"):
        fetch(model_id)


def test_progress_names_the_model_and_its_size(fake: FakeHub) -> None:
    events = []

    class Listener(SilentProgress):
        def start(self, label: str, total: int | None) -> None:
            events.append((label, total))

        def finish(self) -> None:
            events.append(("finish", None))

    fetch("org/single", progress=Listener())
    assert events == [(f"Fetching org/single (0.00 GB) at {COMMIT[:12]}", 2_000_000), ("finish", None)]


def test_a_cached_model_costs_no_import_of_the_library(fake: FakeHub) -> None:
    folder = fetch("org/single")
    code = "import sys; from inferno.hub import fetch; print(fetch('org/single'), 'huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder} False\n"


def test_the_cache_lies_where_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    for chosen in ((), ("XDG_CACHE_HOME",), ("HF_HOME",), ("HF_HOME", "HUGGINGFACE_HUB_CACHE"), names):
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for name in chosen:
            monkeypatch.setenv(name, f"~/some/{name}")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert str(hub_cache.hub_cache_folder()) == done.stdout.strip()


def test_cached_models_are_listed(fake: FakeHub) -> None:
    assert hub_cache.cached_models() == []
    fetch("org/single")
    assert hub_cache.cached_models() == ["org/single"]
