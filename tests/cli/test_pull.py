"""`inferno pull` against a hub on loopback: what is fetched, what is said, and that a second time asks nobody."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hub import COMMIT, FakeHub, serve
from inferno.demo import demo_folder
from inferno.discovery import resolve_model
from tiny import write_tiny


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    # huggingface_hub asks once a day which programs are agents; here it has just asked.
    import huggingface_hub.constants

    registry = tmp_path / "agents.json"
    registry.write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "AGENT_HARNESSES_PATH", str(registry), raising=False)
    folder = write_tiny(tmp_path / "source", tokenizer=True)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    models = {"org/good": files, "org/odd": {**files, "config.json": b'{"model_type": "qwen2"}'}}
    with serve(FakeHub(models, {"main": COMMIT, "v1": COMMIT}, gated={"org/gated"})) as server:
        server.models["org/gated"] = dict(files)
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def test_fetches_then_asks_nobody(cli, fake, tmp_path):
    result = cli("pull", "org/good")
    path = tmp_path / "hf" / "hub" / "models--org--good" / "snapshots" / COMMIT
    assert (result.code, result.out) == (0, f"{path}\n")
    nbytes = sum(len(data) for data in fake.models["org/good"].values())
    label, done = result.err.splitlines()
    assert label.startswith("Fetching org/good (0.00 GB) at 0123456789ab")
    assert done == f"org/good: fetched ({nbytes / 1000:.0f} KB); run it with: inferno generate -m org/good PROMPT"
    fake.requests.clear()
    again = cli("pull", "-m", "org/good")
    assert (again.code, again.out) == (0, result.out)
    assert again.err.startswith("org/good: was here already (")
    assert fake.requests == []
    assert resolve_model("org/good").path == path


def test_json(cli, fake):
    result = cli("pull", "org/good", "--revision", "v1", "--json", "-q")
    found = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert found == {
        "schema": "inferno.pull/1",
        "model": "org/good",
        "revision": "v1",
        "path": found["path"],
        "bytes": sum(len(data) for data in fake.models["org/good"].values()),
        "was_here": False,
        "status": found["status"],
        "run": "inferno generate -m org/good --revision v1 PROMPT",
    }
    assert found["path"].endswith(COMMIT)
    assert found["status"] in ("ready", "needs attention")
    assert json.loads(cli("pull", "org/good", "--revision", "v1", "--json").out)["was_here"] is True


def test_a_folder_of_the_same_name_comes_first_in_m(cli, fake, tmp_path):
    (tmp_path / "org" / "good").mkdir(parents=True)
    path = cli("pull", "org/good", "-q").out.strip()
    assert cli("pull", "org/good").err.endswith(f"inferno generate -m {path} PROMPT\n")
    (tmp_path / "org" / "good").rmdir()
    (tmp_path / "home" / "models" / "org" / "good").mkdir(parents=True)
    assert cli("pull", "org/good").err.endswith(f"inferno generate -m {path} PROMPT\n")


def test_what_cannot_run_is_said_at_once(cli, fake):
    result = cli("pull", "org/odd")
    assert result.code == 0
    assert result.err.splitlines()[-1].startswith("warning: org/odd cannot run: ")
    assert "model_type must be" in result.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["org/none"], 1, "org/none: is no folder here and no model at"),
        (["org/good", "--revision", "v9"], 1, "has no revision 'v9'"),
        (["org/gated"], 1, "is gated; accept its terms on that page, then log in"),
        (["llama"], 2, "pull: MODEL must be a Hugging Face id (ORG/NAME) or demo; got 'llama'"),
        (["source"], 2, "got 'source'; it is a folder on this machine already"),
        (["org/good", "-m", "demo"], 2, "MODEL: must be given once; got 'org/good' and -m 'demo'"),
        (["demo", "--revision", "v1"], 2, "--revision: must be left out for the demo model; got 'v1'"),
    ],
)
def test_refusals(cli, fake, arguments, code, message):
    result = cli("pull", *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.error


def test_no_network(cli, fake, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = cli("pull", "org/good")
    assert (result.code, result.out) == (1, "")
    assert "org/good: is not in the local cache, and http://127.0.0.1:9 could not be reached" in result.error
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in cli("pull", "org/good").error


def test_a_demo_that_is_here(cli, fake):
    folder = write_tiny(demo_folder(), tokenizer=True)
    names = [path.name for path in folder.iterdir()]
    record = {"files": {name: os.stat(folder / name).st_size for name in names}}
    (folder / "inferno.json").write_text(json.dumps(record))
    result = cli("pull", "demo")
    assert (result.code, result.out) == (0, f"{folder}\n")
    assert result.err.startswith("demo: was here already (")
    assert result.err.splitlines()[0].endswith("run it with: inferno generate -m demo PROMPT")
    default = cli("pull")
    assert default.out == result.out
    assert default.err.startswith("no model given (-m): using the demo model\n")
    listed = json.loads(cli("list", "--json").out)["models"]
    assert [(model["name"], model["path"]) for model in listed if model["source"] == "demo"] == [("demo", str(folder))]
