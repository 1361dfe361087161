"""What the hub's local cache holds: revisions, partial downloads, and the name under which each is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inferno.catalog.cached import CachedModel, cached_revisions, download_finding
from inferno.hub_cache import find_snapshot, write_record

A, B, C = "a" * 40, "b" * 40, "c" * 40
SMALL = {"config.json": b"{}", "tokenizer.json": b"{}"}
WHOLE = {**SMALL, "model.safetensors": b"w"}
INDEX = json.dumps({"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"}})
FIRST_SHARD = {
    **SMALL,
    "model.safetensors.index.json": INDEX.encode(),
    "model-00001-of-00002.safetensors": b"w",
}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "hf" / "hub"
    folder.mkdir(parents=True)
    return folder


def cache(
    hub: Path, model_id: str, commit: str = A, files: dict[str, bytes] | None = None, *refs: str, unfinished: int = 0
) -> Path:
    """A snapshot as huggingface_hub leaves it: links to blobs, beside refs and unfinished blobs."""
    folder = hub / f"models--{model_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for name, data in (files or {}).items():
        snapshot.mkdir(parents=True, exist_ok=True)
        blob = folder / "blobs" / f"{commit[0]}-{name}"
        blob.write_bytes(data)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    for ref in refs:
        path = folder / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    if unfinished:
        (folder / "blobs" / "1234.incomplete").write_bytes(b"." * unfinished)
    return snapshot


def test_nothing(tmp_path):
    assert cached_revisions() == []
    (tmp_path / "hf").write_text("a file")
    assert cached_revisions() == []


def test_models_and_their_revisions(hub):
    main = cache(hub, "org/b", A, WHOLE, "main")
    tagged = cache(hub, "org/b", B, WHOLE, "v1.0", "refs/pr/1")
    unnamed = cache(hub, "org/b", C, WHOLE)
    first = cache(hub, "org/a", A, WHOLE, "main")
    (hub / "datasets--org--c").mkdir()
    (hub / ".locks").mkdir()
    (hub / "version.txt").touch()
    assert cached_revisions() == [
        CachedModel("org/a", first, None),
        CachedModel("org/b", main, None),
        CachedModel("org/b", unnamed, C),
        CachedModel("org/b", tagged, "v1.0"),
    ]
    for model in cached_revisions():  # what is said to be asked for leads there
        assert find_snapshot(model.model_id, model.revision or "main") == model.path
        assert model.is_whole
        assert download_finding(model, can_run=True) is None


def test_the_record_comes_before_the_refs(hub):
    old = cache(hub, "org/a", A, WHOLE)
    new = cache(hub, "org/a", B, WHOLE, "main")
    write_record("org/a", "main", {"commit": A, "files": {name: len(data) for name, data in WHOLE.items()}})
    assert [(model.path, model.revision) for model in cached_revisions()] == [(old, None), (new, B)]
    (hub / "models--org--a" / "refs" / "v1").write_text(B)
    assert [(model.path, model.revision) for model in cached_revisions()] == [(old, None), (new, "v1")]
    write_record("org/a", "v1", {"commit": A, "files": {name: len(data) for name, data in WHOLE.items()}})
    assert [(model.path, model.revision) for model in cached_revisions()] == [(old, None), (new, B)]


def test_a_model_without_an_owner_goes_by_its_path(hub):
    snapshot = cache(hub, "gpt2", A, WHOLE, "main")
    (model,) = cached_revisions()
    assert (model.model_id, model.name) == ("gpt2", str(snapshot))
    assert download_finding(model, can_run=True) is None


def test_a_download_that_has_only_begun(hub):
    cache(hub, "org/a", unfinished=3_000_000)
    (model,) = cached_revisions()
    assert (model.name, model.path, model.unfinished) == ("org/a", hub / "models--org--a", (3_000_000,))
    finding = download_finding(model, can_run=False)
    assert str(finding) == (
        "org/a: the download must have ended; got 1 file missing (config.json), 1 file unfinished (3 MB so far); "
        "end it with `inferno pull org/a`"
    )
    assert (finding.severity, finding.code) == ("error", "download-incomplete")


def test_shards_that_have_not_arrived(hub):
    cache(hub, "org/a", A, FIRST_SHARD, "main")
    (model,) = cached_revisions()
    assert model.missing == ("model-00002-of-00002.safetensors",)
    assert not model.is_whole
    assert "got 1 file missing (model-00002-of-00002.safetensors); end it with `inferno pull org/a`" in str(
        download_finding(model, can_run=False)
    )


def test_another_revisions_download_is_no_reason_why_this_cannot_run(hub):
    cache(hub, "org/a", A, WHOLE, "main", unfinished=10)
    (model,) = cached_revisions()
    assert (model.unfinished, model.missing) == ((10,), ())
    assert download_finding(model, can_run=False) is None
    finding = download_finding(model, can_run=True)  # its id still asks the network
    assert finding.severity == "warning"
    assert str(finding) == (
        "org/a: the download must have ended; got 1 file unfinished (10 bytes so far); "
        f"end it with `inferno pull org/a`, or give the folder: -m {model.path}"
    )


def test_a_whole_model_that_nothing_records_as_such(hub):
    cache(hub, "org/a", A, {"config.json": b"{}", "model.safetensors": b"w"}, "main")
    (model,) = cached_revisions()
    assert "got no record that it has" in str(download_finding(model, can_run=True))
    assert download_finding(model, can_run=False) is None


def test_files_of_the_record_that_are_gone(hub):
    snapshot = cache(hub, "org/a", A, WHOLE, "v1")
    write_record("org/a", "v1", {"commit": A, "files": {**{name: len(data) for name, data in WHOLE.items()}, "x": 1}})
    (model,) = cached_revisions()
    assert (model.missing, model.revision) == (("x",), "v1")
    (snapshot / "config.json").unlink()
    (model,) = cached_revisions()
    assert model.missing == ("config.json", "x")
    assert str(download_finding(model, can_run=False)).endswith("end it with `inferno pull org/a --revision v1`")


def test_empty_folders_hold_nothing(hub):
    cache(hub, "org/a")
    (hub / "models--org--b" / "snapshots" / A).mkdir(parents=True)
    (hub / "models--org--c" / ".no_exist" / A).mkdir(parents=True)
    assert cached_revisions() == []


@pytest.mark.parametrize(
    "index",
    [b"", b"[", b"[]", b"{}", b'{"weight_map": 1}', b'{"weight_map": {"a": ["b"]}}', b"[" * 100_000, b"\xff"],
)
def test_a_broken_index_is_left_to_the_analysis(hub, index):
    cache(hub, "org/a", A, {**SMALL, "model.safetensors.index.json": index}, "main")
    (model,) = cached_revisions()
    assert set(model.missing) <= {"['b']"}


def test_refs_that_are_not_what_they_should_be(hub):
    snapshot = cache(hub, "org/a", A, WHOLE, "main")
    refs = hub / "models--org--a" / "refs"
    (refs / "huge").write_bytes(b"x" * 10_000)
    (refs / "binary").write_bytes(b"\xff\x00")
    os.mkfifo(refs / "pipe")
    (refs / "nowhere").symlink_to("none")
    assert [(model.path, model.revision) for model in cached_revisions()] == [(snapshot, None)]
