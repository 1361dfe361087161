"""Smoothing changes no model, only where its outliers are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from folded_model import TEXT, float_weights, folded_weights, numpy_model, write_outliers
from inferno.errors import UsageError
from inferno.quantizer.recipe import Recipe
from inferno.quantizer.smoothing import smooth
from inferno.quantizer.source import open_source
from model_edits import edit_tensors
from safetensors_writer import to_stored
from tiny import random_tokens

CASES = [
    ({}, "BF16"),
    ({"attention_bias": True, "mlp_bias": True}, "BF16"),
    ({"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16}, "F16"),
    ({"num_key_value_heads": 1, "tie_word_embeddings": True}, "F32"),
    ({"num_key_value_heads": 4, "num_hidden_layers": 1}, "F16"),
]
every_case = pytest.mark.parametrize(("config", "dtype"), CASES)


def smoothed(folder, tmp_path, recipe=Recipe(), text=TEXT, threads=1):  # noqa: B008  # frozen
    return smooth(open_source(folder, recipe), recipe, tmp_path, text=text, threads=threads)


@every_case
@pytest.mark.parametrize("recipe", [Recipe(), Recipe(strength=0.5), Recipe("w4a16", group_size=8)])
def test_the_model_stays_what_it_was(tmp_path, config, dtype, recipe):
    """All that is stored anew is a norm, whose rounding the weights make good, and a bias times a power of two."""
    config = {**config, **({} if recipe.group_size is None else {"intermediate_size": 96})}
    folder = write_outliers(tmp_path / "model", config, dtype)
    content = json.loads((folder / "config.json").read_text())
    weights = float_weights(folder)
    folds = smoothed(folder, tmp_path, recipe)
    assert folds.sites == 4 * content["num_hidden_layers"]
    tokens = random_tokens(content["vocab_size"], 20, 1)
    before = numpy_model(content, weights).logits(tokens)
    after = numpy_model(content, folded_weights(weights, folds, dtype)).logits(tokens)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10 * np.abs(before).max())


@every_case
def test_outliers_move(tmp_path, config, dtype):
    """The largest channel of the inputs of each site stands out less than it did."""
    folder = write_outliers(tmp_path / "model", config, dtype)
    content = json.loads((folder / "config.json").read_text())
    folds = smoothed(folder, tmp_path)
    for layer in range(content["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            before = np.abs(float_weights(folder)[f"{at}{norm}.weight"])
            after = np.abs(folded_weights(float_weights(folder), folds, dtype)[f"{at}{norm}.weight"])
            assert after.max() / np.median(after) < 0.6 * before.max() / np.median(before)
        for maker in ("self_attn.v_proj", "mlp.up_proj"):
            factors = folds.rows[at + maker]
            outliers = np.arange(factors.size) % 7 == 0
            assert factors[outliers].mean() < 0.5 * factors[~outliers].mean()


def test_a_site_with_a_layer_left_alone_is_left_alone(tmp_path):
    folder = write_outliers(tmp_path / "model")
    ignore = ("lm_head", "re:.*up_proj", "model.layers.1.self_attn.k_proj")
    folds = smoothed(folder, tmp_path, Recipe(ignore=ignore))
    assert folds.sites == 3
    assert set(folds.vectors) == {"model.layers.0.input_layernorm.weight"}
    assert set(folds.rows) == {f"model.layers.{i}.self_attn.v_proj" for i in (0, 1)}
    assert not any("mlp" in name for name in folds.columns)


def test_nothing_to_smooth(tmp_path):
    folder = write_outliers(tmp_path / "model")
    folds = smoothed(folder, tmp_path, Recipe(ignore=("lm_head", "re:.*(o|up|k)_proj")))
    assert (folds.sites, folds.vectors, folds.rows, folds.columns) == (0, {}, {}, {})


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_weights_of_zero_and_channels_without_input(tmp_path, dtype):
    """A norm of zeros, a matrix of zeros, a row that makes nothing: factors stay finite, and the model the same."""
    folder = write_outliers(tmp_path / "model", None, dtype)

    def zero(tensors):
        for name, rows in (
            ("model.layers.0.input_layernorm.weight", slice(3, 9)),
            ("model.layers.0.mlp.up_proj.weight", slice(5, 20)),
            ("model.layers.1.post_attention_layernorm.weight", slice(None)),
            ("model.layers.1.self_attn.o_proj.weight", slice(None)),
        ):
            kind, shape, data = tensors[name]
            stored = np.frombuffer(data, np.uint16).reshape(shape).copy()
            stored[rows] = 0
            tensors[name] = (kind, shape, stored.tobytes())

    edit_tensors(zero)(folder)
    content = json.loads((folder / "config.json").read_text())
    weights = float_weights(folder)
    folds = smoothed(folder, tmp_path)
    assert all(
        np.isfinite(found).all() and (found > 0).all() for found in (*folds.rows.values(), *folds.columns.values())
    )
    tokens = random_tokens(content["vocab_size"], 12, 1)
    before = numpy_model(content, weights).logits(tokens)
    after = numpy_model(content, folded_weights(weights, folds, dtype)).logits(tokens)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10 * np.abs(before).max())


def test_a_norm_at_the_edge_of_its_type(tmp_path):
    """Where the quotient would be infinite or nothing, the weight stays."""
    folder = write_outliers(tmp_path / "model", {"num_hidden_layers": 1}, "F16")

    def edge(tensors):
        name = "model.layers.0.input_layernorm.weight"
        kind, shape, _ = tensors[name]
        values = np.ones(shape)
        values[:20], values[20:40] = 6e-8, 65000.0
        tensors[name] = (kind, shape, to_stored(values, "F16").tobytes())

    edit_tensors(edge)(folder)
    folds = smoothed(folder, tmp_path, Recipe(strength=0.9))
    norm = folds.vectors["model.layers.0.input_layernorm.weight"].astype(np.float64)
    assert np.isfinite(norm).all()
    assert (norm > 0).all()
    content = json.loads((folder / "config.json").read_text())
    weights = float_weights(folder)
    tokens = random_tokens(content["vocab_size"], 12, 1)
    before = numpy_model(content, weights).logits(tokens)
    after = numpy_model(content, folded_weights(weights, folds, "F16")).logits(tokens)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10 * np.abs(before).max())


def test_threads_change_no_bit(tmp_path):
    folder = write_outliers(tmp_path / "model")
    first, second = (smoothed(folder, tmp_path, threads=threads) for threads in (1, 2))
    for name, found in first.columns.items():
        np.testing.assert_array_equal(found, second.columns[name])


def test_a_text_that_is_too_short(tmp_path):
    folder = write_outliers(tmp_path / "model")
    with pytest.raises(UsageError, match="calibration text: must have at least 64 tokens; got 5; give a longer one"):
        smoothed(folder, tmp_path, text="Hello")


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    folder = write_outliers(tmp_path / "model")
    (tmp_path / "scratch").mkdir()
    smoothed(folder, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
