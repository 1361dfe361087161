"""A scan of the values: what it finds in real files, what it promises of memory, hashes and heads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from containers import container, entry
from inferno.analysis import analyze_folder
from inferno.analysis.deep import DeepReport, _Stream, deep_scan, promised_hash
from inferno.checkpoint import Checkpoint
from inferno.findings import Finding
from meta_writer import write_meta
from safetensors_writer import write_safetensors
from sparse_llama import write_sparse_file
from tiny import DEFAULT_CONFIG, stored_tensors, tiny_config, write_tiny

NORM = "model.norm.weight"
GATE = "model.layers.1.mlp.gate_proj.weight"


def scan(folder: Path) -> DeepReport:
    return deep_scan(analyze_folder(folder))


def found(deep: DeepReport, code: str) -> Finding:
    (finding,) = [finding for finding in deep.findings if finding.code == code]
    return finding


def changed(folder: Path, dtype: str = "F32", **config: object) -> dict[str, np.ndarray]:
    """A tiny model in `folder`; its tensors, to be broken and given to `store`."""
    write_tiny(folder, config, dtype)
    return {name: stored.copy() for name, stored in stored_tensors(tiny_config(config, dtype), dtype, 0).items()}


def store(folder: Path, tensors: dict[str, np.ndarray], dtype: str = "F32") -> None:
    write_safetensors(folder / "model.safetensors", tensors, dtype)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_sound_model(tmp_path, dtype):
    folder = write_tiny(tmp_path / "m", dtype=dtype)
    deep = scan(folder)
    assert deep.findings == ()
    assert {tensor.name for tensor in deep.tensors} == set(Checkpoint.open(folder))
    assert all(tensor.elements for tensor in deep.tensors)
    raw = (folder / "model.safetensors").read_bytes()
    (file,) = deep.files
    assert (file.name, file.nbytes, file.sha256) == ("model.safetensors", len(raw), hashlib.sha256(raw).hexdigest())
    assert (file.matches, file.why) == (None, "no link into a hub cache")
    assert deep.nbytes == len(raw)


def test_nan_and_infinity(tmp_path):
    tensors = changed(tmp_path)
    tensors[NORM][3] = np.nan
    tensors[GATE][0, :2] = np.inf, -np.inf
    store(tmp_path, tensors)
    deep = scan(tmp_path)
    nan, inf = found(deep, "deep-nan"), found(deep, "deep-infinite")
    assert (nan.severity, nan.where) == ("warning", NORM)
    assert nan.message == "1 weight is NaN: every answer that meets one is NaN"
    assert (inf.where, inf.message) == (GATE, "2 weights are infinite: every answer that meets one is NaN")
    assert "download the file again" in nan.repair


def test_zero_rows_zero_matrices_and_outliers(tmp_path):
    tensors = changed(tmp_path)
    tensors["model.embed_tokens.weight"][[5, 9]] = 0
    tensors[GATE][:] = 0
    tensors["lm_head.weight"][7] *= 100
    store(tmp_path, tensors)
    deep = scan(tmp_path)
    row = found(deep, "deep-zero-row")
    assert (row.severity, row.where) == ("note", "model.embed_tokens.weight")
    assert row.message.startswith("2 rows are nothing but zeros: of an embedding")
    matrix = found(deep, "deep-zero-matrix")
    assert (matrix.severity, matrix.where) == ("warning", GATE)
    assert matrix.message == "1 matrix is nothing but zeros"
    outlier = found(deep, "deep-outlier-row")
    assert (outlier.severity, outlier.where) == ("note", "lm_head.weight")
    assert outlier.message == "1 row has a root mean square above 20 times that of the median row"


def test_an_end_or_two_of_each_row_is_no_fault(tmp_path):
    """Where the largest weight of a row sets its scale, its code is at the end."""
    write_tiny(tmp_path)
    codes = np.zeros((4, 10), np.int8)
    codes[:, 0], codes[:, 5] = 127, -128
    header = {"l.weight": entry("I8", [4, 10], 0, 40)}
    (tmp_path / "model.safetensors").write_bytes(container(header, codes.tobytes()))
    assert not [finding for finding in scan(tmp_path).findings if finding.code == "deep-saturated"]


def test_scales_and_codes(tmp_path):
    write_tiny(tmp_path)
    codes = np.zeros((4, 10), np.int8)
    codes[:, :3] = 127
    scales = np.array([1, 0, -1, np.nan], np.float32)
    header = {"l.weight": entry("I8", [4, 10], 0, 40), "l.weight_scale": entry("F32", [4], 40, 56)}
    (tmp_path / "model.safetensors").write_bytes(container(header, codes.tobytes() + scales.tobytes()))
    deep = scan(tmp_path)
    ends = found(deep, "deep-saturated")
    assert (ends.severity, ends.where) == ("warning", "l.weight")
    assert ends.message.startswith("up to 30 % of the int8 codes are at an end")
    bad = found(deep, "deep-bad-scale")
    assert (bad.severity, bad.where) == ("warning", "l.weight_scale")
    assert bad.message == "3 scales are NaN, Inf, zero or negative"


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_embedding_and_head_both_stored(tmp_path, equal, tied):
    tensors = changed(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny_config({"tie_word_embeddings": tied})))
    head = tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    if not equal:
        head[-1, -1] += 1
    store(tmp_path, tensors)
    deep = scan(tmp_path)
    assert deep.tied_equal is equal
    codes = {finding.code for finding in deep.findings}
    assert codes == ({"deep-tied-equal" if equal else "deep-tied-differ"} if tied else set())
    if tied:
        assert next(iter(deep.findings)).severity == ("note" if equal else "warning")


def test_one_tied_tensor_is_not_compared(tmp_path):
    write_tiny(tmp_path, {"tie_word_embeddings": True})
    assert scan(tmp_path).tied_equal is None


def blob(folder: Path, name: str) -> Path:
    """Moves the weights into a hub cache's blobs, under `name`, and links to them; returns the snapshot."""
    snapshot = folder / "snapshots" / ("0" * 40)
    write_tiny(snapshot)
    (folder / "blobs").mkdir()
    weights = snapshot / "model.safetensors"
    name = hashlib.sha256(weights.read_bytes()).hexdigest() if name == "sha256" else name
    os.rename(weights, folder / "blobs" / name)
    weights.symlink_to(f"../../blobs/{name}")
    return snapshot


def test_a_blob_is_what_its_name_says(tmp_path):
    (file,) = scan(blob(tmp_path, "sha256")).files
    assert (file.matches, file.promised) == (True, file.sha256)


def test_a_blob_that_is_not_what_its_name_says(tmp_path):
    snapshot = blob(tmp_path, "a" * 64)
    deep = scan(snapshot)
    assert deep.files[0].matches is False
    finding = found(deep, "deep-hash")
    assert finding.where == str(snapshot / "model.safetensors")
    assert finding.message == f"SHA-256 must be {'a' * 64}, by its name in the hub cache; got {deep.files[0].sha256}"
    assert "download it again" in finding.repair


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("b" * 40, "the hub cache knows it by git's hash, which is not checked"),
        ("g" * 64, "its name in the hub cache is no hash"),
    ],
)
def test_blobs_that_promise_nothing(tmp_path, name, why):
    snapshot = blob(tmp_path, name)
    assert promised_hash(snapshot / "model.safetensors") == (None, why)
    assert scan(snapshot).findings == ()


def test_a_link_elsewhere_promises_nothing(tmp_path):
    (tmp_path / ("a" * 64)).write_bytes(b"")
    (tmp_path / "link").symlink_to("a" * 64)
    assert promised_hash(tmp_path / "link") == (None, "no link into a hub cache")


def test_a_broken_shard_does_not_hide_the_others(tmp_path):
    write_tiny(tmp_path)
    raw = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(raw)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(raw[:-4])
    deep = scan(tmp_path)
    assert [file.nbytes for file in deep.files] == [len(raw), len(raw) - 4]
    assert all(tensor.elements for tensor in deep.tensors)
    assert len(deep.tensors) == 21


def test_a_folder_without_weights(tmp_path):
    assert scan(tmp_path) == DeepReport()
    assert scan(tmp_path / "absent") == DeepReport()


def test_a_file_that_vanished_meanwhile(tmp_path):
    report = analyze_folder(write_tiny(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    deep = deep_scan(report)
    finding = found(deep, "deep-unreadable")
    assert finding.where == str(tmp_path / "model.safetensors")
    assert "could not be read to its end" in finding.message


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_metas_layout(tmp_path, shards, kind):
    config = tiny_config({"hidden_size": 64, "intermediate_size": 128, "vocab_size": 128})
    tensors = stored_tensors(config, "BF16", 0)
    write_tiny(tmp_path / "hf", config, "BF16")
    write_meta(tmp_path / "m", tensors, config, "BF16", shards=shards, form=kind)
    deep, flat = scan(tmp_path / "m"), scan(tmp_path / "hf")
    assert deep.findings == ()
    assert len(deep.files) == shards
    for file in deep.files:  # of an archive, tensors are only a part
        assert file.sha256 == hashlib.sha256((tmp_path / "m" / file.name).read_bytes()).hexdigest()
    of = {tensor.name: tensor for tensor in flat.tensors}
    for tensor in deep.tensors:
        other = of[tensor.name]
        assert (tensor.elements, tensor.minimum, tensor.maximum) == (other.elements, other.minimum, other.maximum)


def test_copies_in_several_shards_that_differ(tmp_path):
    config = tiny_config({"intermediate_size": 128, "vocab_size": 128})
    folder = write_meta(tmp_path / "m", stored_tensors(config, "F32", 0), config, "F32", shards=2, form="safetensors")
    path = folder / "consolidated.01.safetensors"
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    raw[8 + size + json.loads(raw[8 : 8 + size])["norm.weight"]["data_offsets"][0]] ^= 1
    path.write_bytes(raw)
    deep = scan(folder)
    assert deep.unequal_replicas == (NORM,)
    finding = found(deep, "deep-replicas-differ")
    assert (finding.severity, finding.where) == ("warning", NORM)
    assert finding.message == "must be equal in every shard; got copies that differ"


def test_bytes_that_tensors_share_are_hashed_once(tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(100)))
    digest, progress = hashlib.sha256(), Counted()
    with (tmp_path / "f").open("rb") as file:
        stream = _Stream(file.fileno(), digest, progress)
        stream.skip_to(10)
        for begin, nbytes in ((10, 40), (10, 40), (20, 5), (40, 30)):
            assert b"".join(map(bytes, stream.read(begin, nbytes))) == bytes(range(begin, begin + nbytes))
        stream.skip_to(100)
    assert digest.digest() == hashlib.sha256(bytes(range(100))).digest()
    assert progress.done == 100


class Counted:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.finished = False

    def start(self, label: str, total: int | None) -> None:
        assert label.startswith("Reading every weight of ")
        self.total = total

    def advance(self, amount: int) -> None:
        self.done += amount

    def finish(self) -> None:
        self.finished = True


def test_progress_counts_every_byte_once(tmp_path):
    progress = Counted()
    deep = deep_scan(analyze_folder(write_tiny(tmp_path)), progress)
    assert progress.total == progress.done == deep.nbytes == (tmp_path / "model.safetensors").stat().st_size
    assert progress.finished


_PEAK = """
import resource, sys
from inferno.analysis import analyze_folder
from inferno.analysis.deep import deep_scan
report = analyze_folder(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
deep = deep_scan(report)
assert deep.nbytes > 400 << 20, deep
assert sum(tensor.elements for tensor in deep.tensors) == 200 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 420 MB adds one buffer of 4 MiB and what NumPy needs beside it."""
    config = {**DEFAULT_CONFIG, "vocab_size": 65536, "hidden_size": 1600, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(tiny_config(config)))
    shapes = {"model.embed_tokens.weight": (65536, 1600), "lm_head.weight": (65536, 1600)}
    write_sparse_file(tmp_path / "model.safetensors", shapes)
    command = [sys.executable, "-c", _PEAK, str(tmp_path)]
    added = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024
    assert added < 40 << 20
