"""What `inferno quantize` writes, read by transformers and compressed-tensors: `pytest tests/oracle`.

That Inferno computes the same is tested in tests/quantizer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from compressed_tensors_writer import check_linears
from transformers_llama import float64_throughout, frequencies, load, logits

from folded_model import TEXT, write_outliers
from inferno.quantizer import Recipe, quantize_model
from model_edits import edit_tensors, to_shards
from numpy_quantized import open_quantized
from safetensors_writer import to_stored, widen
from tiny import random_tokens

RECIPES = {
    "w8a8": Recipe(),
    "w8a8 rounded": Recipe(smooth=False),
    "w8a16": Recipe("w8a16"),
    "w4a16": Recipe("w4a16"),
    "w8a8 with the head": Recipe(ignore=()),
    "w8a16 but for some": Recipe("w8a16", ignore=("lm_head", "re:.*down_proj", "model.layers.0.self_attn.o_proj")),
}
# Rows of 64 and 96: groups of 32.
CONFIG = {"intermediate_size": 96}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_outliers(tmp_path_factory.mktemp("model") / "model", CONFIG)


@pytest.fixture(params=RECIPES, scope="module")
def written(request, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = RECIPES[request.param]
    out = tmp_path_factory.mktemp("written") / "out"
    quantize_model(model, out, recipe, calibration=TEXT if recipe.smooths else None)
    return out


def check_same(folder: Path, read: Path | None = None) -> None:
    """Each layer with rounded inputs on the inputs that transformers gives it, else the logits, in float64.

    read: what transformers reads in the place of `folder`.
    """
    opened = open_quantized(folder, "compressed-tensors")
    token_ids = random_tokens(opened.config["vocab_size"], 12, 7)
    if opened.rules:
        # float32 sums of 64 to 96 products of order 0.1 err by 1e-6; another code would be 1e-3 or more.
        assert check_linears(load(read or folder, torch.float32), folder, token_ids) < 2e-5
        return
    with float64_throughout():
        wide = load(read or folder, torch.float64)
        expected = logits(wide, token_ids)
    found = opened.model(frequencies(wide)[0]).logits(token_ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_transformers_reads_the_same_model(written: Path) -> None:
    check_same(written)


def test_transformers_generates(written: Path) -> None:
    """The whole way of a user: the folder's own type, its tokenizer, and text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(written), AutoTokenizer.from_pretrained(written)
    ids = tokenizer("Hello", return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (1, ids.shape[1] + 3)


def test_transformers_reads_shards(model: Path, tmp_path: Path) -> None:
    recipe = Recipe("w8a16")
    sharded = shutil.copytree(model, tmp_path / "shards")
    to_shards(3)(sharded)
    quantize_model(sharded, tmp_path / "whole", recipe)
    quantize_model(sharded, tmp_path / "out", recipe, shard_bytes=40_000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    check_same(tmp_path / "whole", read=tmp_path / "out")


def test_another_scale_is_seen(written: Path, tmp_path: Path) -> None:
    """The comparison fails where one layer's scales are a fiftieth off."""

    def grow(tensors) -> None:
        name = "model.layers.1.self_attn.q_proj.weight_scale"
        dtype, shape, data = tensors[name]
        tensors[name] = (dtype, shape, to_stored(widen(np.frombuffer(data, np.uint16), dtype) * 1.02, dtype).tobytes())

    other = shutil.copytree(written, tmp_path / "other")
    edit_tensors(grow)(other)
    with pytest.raises(AssertionError):
        check_same(written, other)
