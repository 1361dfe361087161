"""All models of a machine, each once, under a name that leads back to it, judged as a load would judge it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inferno.catalog import ModelEntry, find_models
from inferno.discovery import resolve_model
from inferno.errors import HardwareError, ModelNotFoundError, UsageError
from inferno.hub_cache import hub_cache_folder
from tiny import DEFAULT_CONFIG, write_tiny

A, B = "a" * 40, "b" * 40


def snapshot(model_id: str, commit: str = A, *refs: str) -> Path:
    folder = hub_cache_folder() / f"models--{model_id.replace('/', '--')}"
    write_tiny(folder / "snapshots" / commit, tokenizer=True)
    for ref in refs:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return folder / "snapshots" / commit


def find(*folders: str | Path) -> dict[str, ModelEntry]:
    """By name; and every name of a model leads back to it."""
    entries = list(find_models(list(folders) or None, tell=pytest.fail))
    for entry in entries:
        if entry.status != "not fetched" and entry.path.suffix != ".gguf":
            assert resolve_model(entry.name, revision=entry.revision).path.samefile(entry.path)
    found = {entry.name: entry for entry in entries}
    assert len(found) == len(entries)
    return found


def test_an_empty_machine_has_the_demo_to_offer(tmp_path):
    (demo,) = find().values()
    assert (demo.name, demo.source, demo.status) == ("demo", "demo", "not fetched")
    assert str(demo.findings[0]) == "demo: SmolLM2-135M-Instruct is not on this machine yet; inferno pull demo"
    assert not demo.can_run


def test_what_is_told_of_a_model():
    write_tiny(Path("m"), dtype="BF16", tokenizer=True)
    entry = find()["m"]
    assert entry.can_run
    assert (entry.source, entry.path, entry.revision) == ("folder", Path("m"), None)
    assert (entry.layout, entry.architecture) == ("huggingface", "LlamaForCausalLM")
    assert (entry.dtype, entry.context) == ("BF16", DEFAULT_CONFIG["max_position_embeddings"])
    assert entry.parameters * 2 == entry.weight_bytes
    assert entry.scheme
    assert all(finding.severity != "error" for finding in entry.findings)


def test_all_places(tmp_path, monkeypatch):
    write_tiny(tmp_path / "here" / "a" / "m")
    write_tiny(tmp_path / "first" / "n")
    write_tiny(tmp_path / "second" / "org" / "name")
    monkeypatch.setenv("INFERNO_MODEL_PATH", f"{tmp_path}/first::{tmp_path}/second:")
    snapshot("hub/model", A, "main")
    assert list(find()) == ["a/m", "n", "org/name", "hub/model", "demo"]


def test_the_default_model_path(tmp_path):
    write_tiny(tmp_path / "home" / "models" / "m")
    assert list(find()) == ["m", "demo"]


def test_a_folder_of_the_model_path_that_is_not_there_is_told_of_if_it_was_named(tmp_path, monkeypatch):
    messages: list[str] = []
    assert len(list(find_models(tell=messages.append))) == 1
    assert messages == []
    monkeypatch.setenv("INFERNO_MODEL_PATH", f"{tmp_path}/none")
    assert len(list(find_models(tell=messages.append))) == 1
    assert messages == [f"INFERNO_MODEL_PATH: {tmp_path}/none is no folder; left out"]


def test_folders_given_are_the_only_ones(tmp_path):
    write_tiny(Path("m"))
    snapshot("hub/model", A, "main")
    write_tiny(tmp_path / "other" / "x")
    (tmp_path / "other" / "x" / "extra.gguf").write_bytes(b"GGUF")
    assert list(find(tmp_path / "other")) == [f"{tmp_path}/other/x", f"{tmp_path}/other/x/extra.gguf"]
    assert list(find("m", ".")) == ["m"]
    cached = f"hub/models--hub--model/snapshots/{A}"  # by its path, where only this folder is looked at
    assert list(find(tmp_path / "hf", "m")) == [f"{tmp_path}/hf/{cached}", "m"]


def test_a_folder_given_that_is_none(tmp_path):
    (tmp_path / "file.txt").touch()
    with pytest.raises(ModelNotFoundError, match=r"none: no such folder"):
        find_models([tmp_path / "none"])
    with pytest.raises(ModelNotFoundError, match=r"file.txt: must be a model folder; got a file"):
        find_models([tmp_path / "file.txt"])
    assert list(find(tmp_path)) == []


def test_arguments_and_variables_that_no_model_could_run_with(monkeypatch):
    with pytest.raises(UsageError, match="threads"):
        find_models(threads=0)
    monkeypatch.setenv("INFERNO_ISA", "nonsense")
    with pytest.raises((UsageError, HardwareError), match="nonsense"):
        find_models()


def test_one_model_by_many_ways_is_listed_once(tmp_path, monkeypatch):
    target = snapshot("hub/model", A, "main")
    write_tiny(tmp_path / "home" / "models" / "m")
    Path("to-hub").symlink_to(target)
    Path("to-home").symlink_to(tmp_path / "home" / "models")
    monkeypatch.setenv("INFERNO_MODEL_PATH", f"{tmp_path}/home/models:{tmp_path}/home:{tmp_path}/hf")
    assert list(find()) == ["to-home/m", "hub/model", "demo"]


def test_names_lead_back(tmp_path, monkeypatch):
    models = tmp_path / "home" / "models"
    for name in ("demo", "taken", "plain", "-m", "~", "deep/er/m", "a b", "wörd", "x\n\x1b[2J", os.fsdecode(b"\xff")):
        write_tiny(models / name)
    Path("taken").mkdir()  # comes before the model path
    write_tiny(Path("demo"))
    write_tiny(Path("-n"))
    write_tiny(Path("~"))
    names = set(find()) - {"demo"}
    assert names == {
        *("./demo", "./-n", "./~"),
        *("plain", "a b", "wörd", "x\n\x1b[2J", os.fsdecode(b"\xff")),
        *(f"{models}/{name}" for name in ("demo", "taken", "-m", "~", "deep/er/m")),
    }


def test_the_current_folder_itself():
    write_tiny(Path())
    assert list(find()) == [".", "demo"]


def test_a_name_of_the_model_path_that_an_earlier_folder_has(tmp_path, monkeypatch):
    write_tiny(tmp_path / "first" / "m")
    write_tiny(tmp_path / "second" / "m")
    monkeypatch.setenv("INFERNO_MODEL_PATH", f"{tmp_path}/first:{tmp_path}/second")
    assert list(find()) == ["m", f"{tmp_path}/second/m", "demo"]


def test_revisions_of_the_hub():
    snapshot("hub/model", A, "main")
    snapshot("hub/model", B, "v1")
    entries = [entry for entry in find_models() if entry.source == "hub"]
    assert [(entry.name, entry.revision) for entry in entries] == [("hub/model", None), ("hub/model", "v1")]
    for entry in entries:
        assert resolve_model(entry.name, revision=entry.revision).path == entry.path
        assert entry.can_run


def test_partial_downloads():
    shard = snapshot("hub/shards", A, "main")
    (shard / "model.safetensors").rename(shard / "model-00001-of-00002.safetensors")
    files = {"model.norm.weight": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"}
    (shard / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    begun = hub_cache_folder() / "models--hub--begun" / "blobs"
    begun.mkdir(parents=True)
    (begun / "1.incomplete").write_bytes(b"1234")
    entries = {entry.name: entry for entry in find_models()}
    for name in ("hub/shards", "hub/begun"):
        assert entries[name].status == "cannot run"
        assert entries[name].first_error.code == "download-incomplete"
        assert entries[name].first_error.repair == f"end it with `inferno pull {name}`"
    assert len(entries["hub/shards"].findings) > 1  # the analysis' own words come after


def test_a_download_beside_a_model_that_runs_by_its_folder_only():
    path = snapshot("hub/model", A, "main")
    (path.parent.parent / "blobs").mkdir()
    (path.parent.parent / "blobs" / "1.incomplete").write_bytes(b"1234")
    entry = next(entry for entry in find_models() if entry.source == "hub")
    assert entry.status == "needs attention"
    assert "download-incomplete" in {finding.code for finding in entry.findings}


def test_models_that_cannot_run():
    write_tiny(Path("other"))
    config = json.loads(Path("other/config.json").read_text())
    Path("other/config.json").write_text(json.dumps(config | {"model_type": "qwen2", "architectures": ["Qwen2"]}))
    write_tiny(Path("cut"))
    os.truncate("cut/model.safetensors", 1000)
    Path("bare").mkdir()
    Path("bare/model.safetensors").symlink_to("gone")
    found = find()
    assert {name: found[name].status for name in ("other", "cut", "bare")} == dict.fromkeys(
        ("other", "cut", "bare"), "cannot run"
    )
    assert "model_type must be" in str(found["other"].first_error)
    assert found["other"].architecture == "Qwen2"
    assert "truncated" in str(found["cut"].first_error)
    assert found["bare"].architecture is None


def test_gguf_files():
    Path("a b.gguf").write_bytes(b"GGUF" + bytes(96))
    Path("broken.gguf").write_bytes(b"<html>")
    os.mkfifo("pipe.gguf")
    found = find()
    good = found["a b.gguf"]
    assert (good.status, good.weight_bytes, good.dtype) == ("can be imported", 100, "GGUF")
    assert good.findings[0].repair == "import it with `inferno import 'a b.gguf' 'a b'`"
    assert str(found["broken.gguf"].first_error) == 'broken.gguf: must begin with "GGUF"; download it again'
    assert "must be a regular file; got a pipe" in str(found["pipe.gguf"].first_error)
    assert list(find("a b.gguf")) == ["a b.gguf"]


def test_an_entry_keeps_no_file_open():
    for number in range(20):
        write_tiny(Path(str(number)))
        os.truncate(f"{number}/model.safetensors", 50_000)
        write_tiny(Path(f"good{number}"))
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("model.safetensors")
    entries = list(find_models())
    gc.collect()
    after = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("model.safetensors")
    assert len(entries) == 41
    assert after == before
    # an exception would hold on to every frame that it went through
    assert all(finding.error is None for entry in entries for finding in entry.findings)


AUDITED = """
import collections, json, os, sys
from inferno.catalog import find_models
import inferno.analysis.inspection
root = os.path.realpath(sys.argv[1])
opened, scanned = collections.Counter(), collections.Counter()

def hook(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(root):
            (opened if event == "open" else scanned)[os.path.relpath(path, root)] += 1

sys.addaudithook(hook)
names = [entry.name for entry in find_models([sys.argv[1]])]
print(json.dumps([sorted(names), opened, scanned]))
"""


def test_of_five_thousand_files_only_headers_are_opened(tmp_path):
    root = tmp_path / "many"
    for folder in range(50):
        for number in range(100):
            path = (
                root / f"d{folder % 7}" / f"e{folder}" / f"{number}.{('bin', 'txt', 'json', 'pth', 'jpg')[number % 5]}"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    for name in ("d0/model", "d1/e1/model"):
        write_tiny(root / name, tokenizer=True)
        (root / name / "optimizer.pt").write_bytes(b"x")
        (root / name / "training.log").write_bytes(b"x")
    command = [sys.executable, "-c", AUDITED, str(root)]
    names, opened, scanned = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert names == [f"{root}/d0/model", f"{root}/d1/e1/model"]
    assert {os.path.dirname(path) for path in opened} == {"d0/model", "d1/e1/model"}
    assert {os.path.basename(path) for path in opened} <= {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    more_than_once = {".", "d0/model", "d1/e1/model"}
    assert set(scanned) == {"."} | {os.path.relpath(folder, root) for folder, _, _ in os.walk(root)}
    assert {count for path, count in scanned.items() if path not in more_than_once} == {1}
