"""From a model's name or path to its folder, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno import demo, hub
from inferno.discovery import ModelLocation, resolve_model
from inferno.errors import DownloadError, InfernoError, ModelNotFoundError, UnsupportedError, UsageError
from inferno.progress import Progress


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("INFERNO_MODEL_PATH", raising=False)


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_folders(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "models" / "llama-3")
    for name in (str(folder), folder, "models/llama-3", "./models/llama-3/", Path("models/llama-3")):
        location = resolve_model(name)
        assert location.path.resolve() == folder
        assert (location.name, location.source, location.revision) == ("llama-3", "folder", None)


def test_home_and_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "home" / "m")
    assert resolve_model("~/m").path == folder
    monkeypatch.chdir(folder)
    assert resolve_model(".").name == "m"


@pytest.mark.parametrize("name", [None, "demo"])
def test_the_demo_model(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ensure_demo", lambda progress: Path("/cache/demo/x"))
    make_model(Path("demo"))  # a folder of that name has to be written ./demo
    assert resolve_model(name) == ModelLocation(Path("/cache/demo/x"), "SmolLM2-135M-Instruct", "demo")
    assert resolve_model("./demo").source == "folder"
    assert resolve_model(Path("demo")).source == "folder"


def test_ids_go_to_the_hub_unless_they_are_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(model_id: str, revision: str | None, progress: Progress | None) -> Path:
        asked.append((model_id, revision))
        return Path("/hub/snapshots/abc123")

    monkeypatch.setattr(hub, "fetch", fetch)
    location = resolve_model("org/name", revision="v1")
    assert location == ModelLocation(Path("/hub/snapshots/abc123"), "org/name", "hub", "abc123")
    make_model(Path("org/name"))
    assert resolve_model("org/name").source == "folder"
    assert asked == [("org/name", "v1")]


@pytest.mark.parametrize("error", [DownloadError, ModelNotFoundError])
def test_a_failing_id_that_is_nearly_a_path(monkeypatch: pytest.MonkeyPatch, error: type[InfernoError]) -> None:
    def fetch(*_: object) -> Path:
        raise error("models/llama-2: cannot")

    monkeypatch.setattr(hub, "fetch", fetch)
    with pytest.raises(error, match=r"^models/llama-2: cannot$"):
        resolve_model("models/llama-2")
    make_model(Path("models/llama-3"))
    with pytest.raises(error, match=r"cannot. Near models/llama-2 on this machine: models/llama-3"):
        resolve_model("models/llama-2")


def test_no_such_folder(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "llama-3")
    with pytest.raises(ModelNotFoundError, match=r"models/lama-3: no such folder. Near it: \S*/models/llama-3$"):
        resolve_model(str(tmp_path / "models" / "lama-3"))
    with pytest.raises(ModelNotFoundError, match=r"zzz: no such folder; \S*models holds the models \S*llama-3$"):
        resolve_model(tmp_path / "models" / "zzz")
    with pytest.raises(ModelNotFoundError, match=rf"^a/b/c: no such folder; the path exists as far as {tmp_path}$"):
        resolve_model("./a/b/c")
    for name in ("~/nothing", "../nothing", "x/y/z", "name/", Path("name")):
        with pytest.raises(ModelNotFoundError, match="no such folder"):
            resolve_model(name)


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=r"'llama' is no folder in \S+ or \S+/home/models, no Hugging Face id .* and not 'demo'.$",
    ):
        resolve_model("llama")
    with pytest.raises(ModelNotFoundError, match=r"Did you mean demo?"):
        resolve_model("Demo")
    make_model(tmp_path / "tiny-llama")
    with pytest.raises(ModelNotFoundError, match=r"Did you mean tiny-llama\?"):
        resolve_model("tinyllama")
    with pytest.raises(ModelNotFoundError, match=r"Models here: \S*tiny-llama$"):
        resolve_model("qwen")
    (tmp_path / "hub" / "models--HuggingFaceTB--SmolLM2-360M").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match=r"Did you mean HuggingFaceTB/SmolLM2-360M\?"):
        resolve_model("smollm2-360m")


def test_files_are_named_as_what_they_are(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    with pytest.raises(ModelNotFoundError, match=r"model.safetensors: must be a model folder; got a file"):
        resolve_model(folder / "model.safetensors")
    (folder / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnsupportedError, match=r"x.gguf: .*GGUF.*import"):
        resolve_model("m/x.gguf")


def test_a_folder_of_models(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "a")
    make_model(tmp_path / "models" / "b")
    with pytest.raises(
        ModelNotFoundError, match=r"models: holds no model itself, but folders that do; give one of .*/a,"
    ):
        resolve_model(tmp_path / "models")
    make_model(tmp_path / "hub" / "models--o--n" / "snapshots" / "abc")
    with pytest.raises(ModelNotFoundError, match=r"give one of \S*/snapshots/abc$"):
        resolve_model("hub/models--o--n")


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name(name: str) -> None:
    with pytest.raises(UsageError, match="model must be a folder, a Hugging Face id or 'demo'; got an empty name"):
        resolve_model(name)


def test_a_revision_is_for_ids(tmp_path: Path) -> None:
    make_model(tmp_path / "m")
    for name in ("m", "demo"):
        with pytest.raises(UsageError, match=r"revision must be left out for .*; it is for Hugging Face ids; got 'v1'"):
            resolve_model(name, revision="v1")


@pytest.mark.parametrize("name", ["What is gravity? " * 500, "a\0b", "~nobody-here/x", "/" + "x" * 5000])
def test_strange_names_are_errors_of_ours(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        resolve_model(name)


def test_the_model_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    a, b, nested = (make_model(folder) for folder in (first / "a", second / "b", second / "org" / "name"))
    make_model(second / "a")
    monkeypatch.setenv("INFERNO_MODEL_PATH", f"{first}:: {tmp_path / 'none'}:{second}")
    assert resolve_model("a") == ModelLocation(a, "a", "folder")
    assert resolve_model("b").path == b
    assert resolve_model("org/name") == ModelLocation(nested, "name", "folder")
    make_model(tmp_path / "b")
    assert resolve_model("b").path == Path("b")  # what lies here comes first
    for name in (Path("a"), "./a", "a/", "../first/a/.."):
        with pytest.raises(ModelNotFoundError):
            resolve_model(name)
    with pytest.raises(ModelNotFoundError, match=r"folders that do; give one of .*/second/org/name$"):
        resolve_model("org")
    with pytest.raises(UsageError, match=r"revision must be left out for .*/first/a, a folder"):
        resolve_model("a", revision="v1")


def test_the_default_model_path_is_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "home" / "models" / "m")
    assert resolve_model("m").path == folder
    monkeypatch.setenv("INFERNO_MODEL_PATH", "")
    assert resolve_model("m").path == folder
    make_model(tmp_path / "home" / "other" / "x")
    monkeypatch.setenv("INFERNO_MODEL_PATH", "~/other")
    assert resolve_model("x").path == tmp_path / "home" / "other" / "x"
    with pytest.raises(ModelNotFoundError, match=r"'m' is no folder in \S+ or \S+/home/other, no Hugging Face id"):
        resolve_model("m")


def test_an_id_with_a_revision_is_the_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "home" / "models" / "org" / "name")
    monkeypatch.setattr(hub, "fetch", lambda *_: Path("/hub/snapshots/abc"))
    assert resolve_model("org/name").source == "folder"
    assert resolve_model("org/name", revision="v1").source == "hub"


def test_suggestions_from_the_model_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "home" / "models" / "Tiny-Llama")
    with pytest.raises(ModelNotFoundError, match=r"Did you mean Tiny-Llama\?$"):
        resolve_model("tinyllama")
    with pytest.raises(ModelNotFoundError, match=rf"Models here: {folder}$"):
        resolve_model("qwen")

    def fetch(*_: object) -> Path:
        raise DownloadError("no network")

    monkeypatch.setattr(hub, "fetch", fetch)
    make_model(tmp_path / "home" / "models" / "org" / "llama-3")
    with pytest.raises(DownloadError, match=r"Near org/llama-2 on this machine: \S*/home/models/org/llama-3$"):
        resolve_model("org/llama-2")


def make_meta(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    (folder / "consolidated.00.pth").write_bytes(b"")
    return folder


def test_metas_folder_in_a_repository(tmp_path: Path) -> None:
    original = make_meta(tmp_path / "repo" / "original")
    assert resolve_model(original).path == original
    with pytest.raises(ModelNotFoundError, match=rf"repo: holds no model itself, but .*give one of {original}$"):
        resolve_model(tmp_path / "repo")
    (tmp_path / "repo" / "config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=rf"repo: holds no weights itself; {original} does, .*; give that"):
        resolve_model(tmp_path / "repo")
    (tmp_path / "repo" / "model.safetensors").write_bytes(b"")
    assert resolve_model(tmp_path / "repo").path == tmp_path / "repo"


def test_a_stray_file_makes_no_model_of_a_folder_of_models(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "a")
    (tmp_path / "models" / "lora.safetensors").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="models: holds no model itself, but folders that do"):
        resolve_model(tmp_path / "models")


def test_a_link_that_leads_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "model").symlink_to(tmp_path / "gone")
    for name in ("org/model", tmp_path / "org" / "model"):
        with pytest.raises(ModelNotFoundError, match=r"model: is a link to .*/gone, which does not exist$"):
            resolve_model(name)
