"""Which models can be quantized, and which of their layers are."""

from __future__ import annotations

import pytest

from inferno.errors import ConfigError, ModelNotFoundError, UnsupportedError, UsageError
from inferno.quantizer import Recipe
from inferno.quantizer.source import open_source
from meta_writer import write_meta
from model_edits import edit_config
from quantized_cases import QUANTIZED
from tiny import stored_tensors, tiny_config, write_tiny

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def names(source) -> list[str]:
    return [layer.rpartition(".")[2] for layer in source.layers]


@pytest.fixture
def folder(tmp_path):
    return write_tiny(tmp_path / "model", {"num_hidden_layers": 1})


def test_all_layers_but_the_head(folder):
    source = open_source(folder, Recipe())
    assert names(source) == PROJECTIONS
    assert source.left == ("lm_head",)


def test_the_head_too(folder):
    source = open_source(folder, Recipe(ignore=()))
    assert names(source) == [*PROJECTIONS, "lm_head"]
    assert source.left == ()


def test_a_tied_head_is_no_layer(tmp_path):
    folder = write_tiny(tmp_path / "tied", {"num_hidden_layers": 1, "tie_word_embeddings": True})
    source = open_source(folder, Recipe(ignore=()))
    assert names(source) == PROJECTIONS
    assert source.left == ()


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        (["re:.*down_proj"], ["down_proj"]),
        (["model.layers.0.self_attn.q_proj"], ["q_proj"]),
        (["re:.*self_attn"], PROJECTIONS[:4]),
        (["model.layers.0.self_attn.qkv_proj"], PROJECTIONS[:3]),
    ],
)
def test_layers_that_are_left_alone(folder, ignore, left):
    source = open_source(folder, Recipe(ignore=tuple(ignore)))
    assert [layer.rpartition(".")[2] for layer in source.left] == left
    assert names(source) == [name for name in (*PROJECTIONS, "lm_head") if name not in left]


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (["Linear"], "ignore: must leave a layer to quantize; got Linear"),
        (["re:.*"], "ignore: must leave a layer to quantize"),
        (["down_proj"], "ignore: down_proj must name a linear layer of the model; got none of that name; they are"),
        (["re:.*dwon"], "ignore: re:.*dwon must name a linear layer of the model"),
        (["model.norm"], "called model.layers.0.self_attn.q_proj, or `re:` and a regex matches their names"),
        (["re:("], "ignore"),
        (["re:(a+)+b"], "ignore"),
    ],
)
def test_ignore_that_makes_no_sense(folder, ignore, message):
    with pytest.raises(UsageError) as caught:
        open_source(folder, Recipe(ignore=tuple(ignore)))
    assert message in str(caught.value)


@pytest.mark.parametrize(("case", "scheme"), [("w8a8_channel", "int-quantized"), ("bnb_nf4", "bitsandbytes-4bit")])
def test_a_quantized_model(case, scheme):
    with pytest.raises(UnsupportedError) as caught:
        open_source(QUANTIZED / case, Recipe())
    assert f"{case}: must be in floating point to be quantized; got {scheme}; take the checkpoint" in str(caught.value)


def test_metas_layout(tmp_path):
    config = tiny_config()
    folder = write_meta(tmp_path / "meta", stored_tensors(config, "BF16", 0), config, "BF16")
    with pytest.raises(UnsupportedError, match="must be in Hugging Face's layout to be quantized; got Meta's"):
        open_source(folder, Recipe())


def test_what_cannot_be_loaded(folder, tmp_path):
    with pytest.raises(ModelNotFoundError):
        open_source(tmp_path / "none", Recipe())
    edit_config(rms_norm_eps=-1.0)(folder)
    with pytest.raises(ConfigError, match="rms_norm_eps"):
        open_source(folder, Recipe())
