"""Whole folders: every weight is the code next to it, everything else is as it was, and a failure leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections import namedtuple

import numpy as np
import pytest

import inferno
from folded_model import TEXT, float_weights, folded_weights, write_outliers
from inferno.errors import CheckpointError, InfernoError, UsageError
from inferno.progress import SilentProgress
from inferno.quantizer import Recipe, quantize_model
from inferno.quantizer.smoothing import smooth
from inferno.quantizer.source import open_source
from model_edits import edit_tensors, to_shards
from numpy_codes import read_safetensors, spread
from numpy_quantized import open_quantized
from safetensors_writer import NUMPY_DTYPES, to_stored
from tiny import random_tokens, write_tiny
from weights_digest import weights_digest

RECIPES = {
    "w8a8": Recipe(smooth=False),
    "w8a16": Recipe("w8a16"),
    "w4a16": Recipe("w4a16", smooth=False),
    "w4a16 of 16": Recipe("w4a16", smooth=False, group_size=16),
    "with the head": Recipe("w8a16", ignore=()),
}
EVEN = {"intermediate_size": 96}  # a multiple of 32, for groups


@pytest.fixture(scope="module", params=["BF16", "F16", "F32"])
def model(request, tmp_path_factory):
    config = {**EVEN, "attention_bias": request.param == "F16", "tie_word_embeddings": request.param == "F32"}
    return write_tiny(tmp_path_factory.mktemp("models") / "model", config, request.param, tokenizer=True)


def check_nearest(found, given, steps, bits):
    """Off by half a step at most, but at the end of the scale, which may cut: of 8 bits by a quarter of a step more."""
    error = np.abs(found - given) / steps
    codes = np.rint(found / steps)
    end = (codes == 2 ** (bits - 1) - 1) | (codes == -(2 ** (bits - 1)))
    assert error[~end].max() <= 0.5 + 1e-9
    assert error[end].max() <= (0.75 if bits == 8 else 4)


@pytest.mark.parametrize("name", RECIPES)
def test_every_weight_is_next_to_its_code(model, tmp_path, name):
    recipe = RECIPES[name]
    made = quantize_model(model, tmp_path / "out", recipe)
    given = read_safetensors(model / "model.safetensors")
    written = read_safetensors(tmp_path / "out" / "model.safetensors")
    found = open_quantized(tmp_path / "out").weights
    head = "lm_head.weight" in given and not recipe.ignore
    assert made.layers == 14 + head
    assert set(found) == set(given)
    for tensor, stored in given.items():
        layer = tensor.removesuffix(".weight")
        if not tensor.endswith("proj.weight") and not (head and tensor == "lm_head.weight"):
            assert written[tensor].dtype == stored.dtype
            np.testing.assert_array_equal(written[tensor].array, stored.array)
            continue
        n, k = stored.array.shape
        scale = written[f"{layer}.weight_scale"]
        assert scale.dtype == stored.dtype
        group = made.group_size or k
        assert scale.array.shape == (n, k // group)
        steps = spread(scale.floats, n, k, (1, group))
        check_nearest(found[tensor], stored.floats, steps, recipe.bits)


@pytest.mark.parametrize("name", RECIPES)
def test_the_folder_runs(model, tmp_path, name):
    """Inferno's logits are those of the float64 definition of what was written, and near the model's own."""
    quantize_model(model, tmp_path / "out", RECIPES[name])
    before, after = (inferno.LLM(folder, ctx_size=64, threads=1) for folder in (model, tmp_path / "out"))
    tokens = random_tokens(320, 16, 1)
    near = {"w4a16": 0.5, "w4a16 of 16": 0.5}.get(name, 0.15)
    logits = after.logits(tokens)
    assert np.abs(logits - before.logits(tokens)).std() < near * logits.std()
    head_dim = 16
    inv_freq = (10000.0 ** -(np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
    exact = open_quantized(tmp_path / "out").model(inv_freq, "f16").logits(tokens)
    assert np.abs(logits - exact).std() < 0.02 * logits.std()


def test_smoothed(tmp_path):
    """What is rounded is the smoothed weight; norms are the smoothed ones."""
    folder = write_outliers(tmp_path / "model")
    recipe = Recipe()
    made = quantize_model(folder, tmp_path / "out", recipe, calibration=TEXT, threads=1)
    assert (made.smoothed, made.scheme, made.group_size) == (8, "w8a8", None)
    folds = smooth(open_source(folder, recipe), recipe, tmp_path, text=TEXT, threads=1)
    expected = folded_weights(float_weights(folder), folds, "BF16")
    opened = open_quantized(tmp_path / "out")
    written = read_safetensors(tmp_path / "out" / "model.safetensors")
    for name, values in opened.weights.items():
        layer = name.removesuffix(".weight")
        if layer not in opened.rules:
            np.testing.assert_array_equal(values, expected[name])
        else:
            check_nearest(values, expected[name], written[f"{layer}.weight_scale"].floats, 8)


def test_smoothing_brings_the_model_nearer(tmp_path):
    folder = write_outliers(tmp_path / "model")
    tokens = random_tokens(320, 200, 1)
    before = inferno.LLM(folder, ctx_size=256, threads=1).logits(tokens)

    def distance(recipe: Recipe) -> float:
        out = tmp_path / f"{recipe.smooth} {recipe.strength}"
        quantize_model(folder, out, recipe, calibration=TEXT if recipe.smooth else None, threads=1)
        return float((inferno.LLM(out, ctx_size=256, threads=1).logits(tokens) - before).std())

    plain, smoothed, fixed = distance(Recipe(smooth=False)), distance(Recipe()), distance(Recipe(strength=0.5))
    assert smoothed < 0.4 * plain
    assert fixed < 0.6 * plain


def test_salience_brings_the_model_nearer(tmp_path):
    """Of the four-bit errors, those that large inputs would carry on are made small."""
    folder = write_outliers(tmp_path / "model", EVEN)
    tokens = random_tokens(320, 200, 1)
    before = inferno.LLM(folder, ctx_size=256, threads=1).logits(tokens)

    def distance(out: str, recipe: Recipe) -> float:
        quantize_model(folder, tmp_path / out, recipe, calibration=TEXT if recipe.smooth else None, threads=1)
        return float((inferno.LLM(tmp_path / out, ctx_size=256, threads=1).logits(tokens) - before).std())

    assert distance("salient", Recipe("w4a16")) < 0.8 * distance("plain", Recipe("w4a16", smooth=False))


def test_config_and_companions(model, tmp_path):
    (model / "LICENSE").write_text("of the model")
    (model / "inferno.json").write_text("{}")
    (model / "additional_chat_templates").mkdir(exist_ok=True)
    (model / "additional_chat_templates" / "rag.jinja").write_text("{{ messages }}")
    (model / "pytorch_model.bin").write_bytes(b"weights in another form")
    (model / "pytorch_model.bin.index.json").write_text("{}")
    out = tmp_path / "a" / "b" / "out"
    quantize_model(str(model), str(out), Recipe(smooth=False))
    config, given = (json.loads((folder / "config.json").read_text()) for folder in (out, model))
    assert config.pop("quantization_config")["ignore"] == ["lm_head"]
    assert config == given
    same = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "LICENSE"]
    for name in [*same, "additional_chat_templates/rag.jinja"]:
        assert (out / name).read_bytes() == (model / name).read_bytes()
    listed = {path.name for path in out.iterdir()}
    assert listed == {*same, "additional_chat_templates", "config.json", "model.safetensors"}


@pytest.mark.parametrize("index", [True, False])
def test_shards_as_source(model, tmp_path, index):
    sharded = shutil.copytree(model, tmp_path / "sharded")
    to_shards(3, index=index)(sharded)
    for folder in (model, sharded):
        quantize_model(folder, tmp_path / f"from {folder.name}", Recipe(smooth=False))
    first, second = (weights_digest(tmp_path / f"from {name}" / "model.safetensors") for name in ("model", "sharded"))
    assert first == second
    assert not list((tmp_path / "from sharded").glob("*.index.json"))


def test_shards_as_result(model, tmp_path):
    recipe = Recipe("w8a16")
    quantize_model(model, tmp_path / "whole", recipe)
    quantize_model(model, tmp_path / "shards", recipe, shard_bytes=30_000)
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 2
    tokens = random_tokens(320, 8, 1)
    logits = [inferno.LLM(tmp_path / name, ctx_size=64).logits(tokens) for name in ("whole", "shards")]
    np.testing.assert_array_equal(*logits)


class Watched(SilentProgress):
    """Counts; raises `error` at the first step of the piece of work whose name holds `at`."""

    def __init__(self, at: str = "-", error: BaseException | None = None) -> None:
        self.at, self.error, self.labels, self.totals, self.done = at, error, [], [], []

    def start(self, label, total):
        self.labels.append(label)
        self.totals.append(total)
        self.done.append(0)

    def advance(self, amount):
        self.done[-1] += amount
        if self.error is not None and self.at in self.labels[-1]:
            raise self.error


def test_progress_reaches_its_end(tmp_path):
    folder = write_outliers(tmp_path / "model")
    progress = Watched()
    quantize_model(folder, tmp_path / "out", calibration=TEXT, threads=1, progress=progress)
    assert [label.split()[0] for label in progress.labels] == ["Reading", "Balancing", "Quantizing"]
    assert progress.done == progress.totals


@pytest.mark.parametrize("at", ["Reading", "Balancing", "Quantizing"])
def test_interrupted(tmp_path, at):
    folder = write_outliers(tmp_path / "model")
    (tmp_path / "place").mkdir()
    with pytest.raises(KeyboardInterrupt):
        quantize_model(
            folder, tmp_path / "place" / "out", calibration=TEXT, threads=1, progress=Watched(at, KeyboardInterrupt())
        )
    assert list((tmp_path / "place").iterdir()) == []


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("name", "count"), [("posix_fallocate", 0), ("pwrite", 0), ("pwrite", 25), ("fsync", 0)])
def test_a_full_disk(tmp_path, monkeypatch, name, count):
    folder = write_outliers(tmp_path / "model")
    (tmp_path / "place").mkdir()
    real, left = getattr(os, name), iter(range(count))

    def sometimes(*arguments: object) -> object:
        return full() if next(left, None) is None else real(*arguments)

    monkeypatch.setattr(os, name, sometimes)
    with pytest.raises(InfernoError) as caught:
        quantize_model(folder, tmp_path / "place" / "out", calibration=TEXT, threads=1)
    assert str(caught.value) == f"{tmp_path / 'place'}: no space left on the disk; free some and start again"
    assert list((tmp_path / "place").iterdir()) == []


def test_a_disk_that_is_too_small_is_seen_beforehand(model, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5_000_000, 5_000_000))
    progress = Watched()
    with pytest.raises(InfernoError) as caught:
        quantize_model(model, tmp_path / "out", calibration=TEXT, progress=progress)
    assert re.search(r"out: needs 67 MB on its disk; got 5 MB free; free some, or give a", str(caught.value))
    assert progress.labels == []
    assert not (tmp_path / "out").exists()


def spoiled(folder, tensor, value):
    """With `value` as the last number of a tensor."""

    def spoil(tensors):
        kind, shape, data = tensors[tensor]
        values = np.frombuffer(data, NUMPY_DTYPES[kind]).copy()
        values[-1] = to_stored(np.array([value]), kind)[0]
        tensors[tensor] = (kind, shape, values.tobytes())

    edit_tensors(spoil)(folder)
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "tensor",
    [
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ],
)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_weights_that_are_not_finite(tmp_path, tensor, value, dtype):
    folder = spoiled(write_tiny(tmp_path / "model", EVEN, dtype, tokenizer=True), tensor, value)
    for recipe in (Recipe(smooth=False), Recipe("w8a16")):
        with pytest.raises(CheckpointError, match="must hold finite numbers to be quantized; got a NaN or an infinity"):
            quantize_model(folder, tmp_path / "out", recipe)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize("recipe", [Recipe(), Recipe("w4a16")])
@pytest.mark.parametrize("tensor", ["model.layers.0.input_layernorm.weight", "model.layers.0.self_attn.v_proj.weight"])
def test_a_model_that_computes_nan_is_seen_on_the_way(tmp_path, tensor, recipe):
    """In the first window of the text, and with no warning from NumPy."""
    folder = spoiled(write_tiny(tmp_path / "model", EVEN, tokenizer=True), tensor, np.nan)
    progress = Watched()
    with pytest.raises(CheckpointError, match="must get finite inputs from the calibration text; got NaN or infinity"):
        quantize_model(folder, tmp_path / "out", recipe, progress=progress)
    assert [label.split()[0] for label in progress.labels] == ["Reading"]
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_place_that_is_taken(model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError, match="out: must be absent or empty; it holds files"):
        quantize_model(model, tmp_path / "out", Recipe(smooth=False))
    with pytest.raises(UsageError, match="model: must be absent or empty"):
        quantize_model(model, model, Recipe(smooth=False))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_the_current_folder(model, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    quantize_model(model, ".", Recipe("w8a16"))
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("out", ["/proc/x", "n" * 300, "model/config.json/out"])
def test_a_place_that_cannot_be_written_is_seen_beforehand(tmp_path, out):
    write_outliers(tmp_path / "model")
    progress = Watched()
    with pytest.raises(InfernoError, match="cannot be written"):
        quantize_model(tmp_path / "model", tmp_path / out, calibration=TEXT, progress=progress)
    assert progress.labels == []


def test_folders_above_vanish_again(tmp_path):
    folder = write_outliers(tmp_path / "model")
    out = tmp_path / "a" / "b" / "out"
    with pytest.raises(KeyboardInterrupt):
        quantize_model(folder, out, calibration=TEXT, progress=Watched("Quantizing", KeyboardInterrupt()))
    assert not (tmp_path / "a").exists()
    quantize_model(folder, out, calibration=TEXT)
    assert (out / "model.safetensors").exists()


def test_an_empty_folder_is_filled(model, tmp_path):
    (tmp_path / "out").mkdir()
    quantize_model(model, tmp_path / "out", Recipe("w8a16"))
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("recipe", [Recipe(smooth=False), Recipe("w8a16"), Recipe("w4a16", smooth=False)])
def test_a_text_for_nothing(model, tmp_path, recipe):
    with pytest.raises(UsageError, match="calibration: must be left out where nothing is smoothed"):
        quantize_model(model, tmp_path / "out", recipe, calibration=TEXT)


def test_equal_bytes_each_time(tmp_path):
    folder = write_outliers(tmp_path / "model")
    for name, threads in (("a", 1), ("b", 2)):
        quantize_model(folder, tmp_path / name, calibration=TEXT, threads=threads)
    first, second = (tmp_path / name / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
