"""The tables of the two layouts, and how a folder's layout is told from the names in it."""

from __future__ import annotations

import pytest

from inferno.checkpoint.layouts import COLUMNS, HUGGING_FACE, META, ROWS, layout_of
from inferno.config import LlamaConfig
from inferno.models.llama import expected_tensors
from tiny import tiny_config

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("stored", "canonical", "axes"),
    [
        ("tok_embeddings.weight", "model.embed_tokens.weight", (ROWS, COLUMNS)),
        ("layers.0.attention.wq.weight", "model.layers.0.self_attn.q_proj.weight", (ROWS,)),
        ("layers.125.attention.wk.weight", "model.layers.125.self_attn.k_proj.weight", (ROWS,)),
        ("layers.3.attention.wv.weight", "model.layers.3.self_attn.v_proj.weight", (ROWS,)),
        ("layers.3.attention.wo.weight", "model.layers.3.self_attn.o_proj.weight", (COLUMNS,)),
        ("layers.3.feed_forward.w1.weight", "model.layers.3.mlp.gate_proj.weight", (ROWS,)),
        ("layers.3.feed_forward.w2.weight", "model.layers.3.mlp.down_proj.weight", (COLUMNS,)),
        ("layers.3.feed_forward.w3.weight", "model.layers.3.mlp.up_proj.weight", (ROWS,)),
        ("layers.3.attention_norm.weight", "model.layers.3.input_layernorm.weight", ()),
        ("layers.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight", ()),
        ("norm.weight", "model.norm.weight", ()),
        ("output.weight", "lm_head.weight", (ROWS,)),
    ],
)
def test_metas_names(stored: str, canonical: str, axes: tuple[int, ...]) -> None:
    found = META.find(stored)
    assert found is not None
    assert (found[0], found[1].axes) == (canonical, axes)
    assert META.is_canonical(canonical)
    assert not META.is_canonical(stored)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "rope.freqs",
        "layers.{i}.ffn_norm.weight.",
        "layers.01.ffn_norm.weight",
        "layers.-1.ffn_norm.weight",
        "layers.1.norm.weight",
        "layers.{i}.ffn_norm.weight",
        "layers..ffn_norm.weight",
        "model.norm.weight",
        "norm.weight.scales",
        "layers.0.attention.wq.bias",
    ],
)
def test_names_that_the_table_does_not_have(name: str) -> None:
    assert META.find(name) is None


def test_the_table_leads_to_every_tensor_of_the_model() -> None:
    config = LlamaConfig.from_dict(tiny_config())
    stored = [rule.stored.replace("{i}", str(i)) for rule in META.rules for i in range(config.num_hidden_layers)]
    reached = {found[0] for found in map(META.find, stored) if found}
    assert reached == expected_tensors(config).keys()


def test_hugging_face_has_no_rules() -> None:
    assert HUGGING_FACE.rules == ()
    assert HUGGING_FACE.find("model.norm.weight") is None
    assert (HUGGING_FACE.interleaved_rope, META.interleaved_rope) == (False, True)
    assert (HUGGING_FACE.config_file, META.config_file) == ("config.json", "params.json")


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["config.json", "model.safetensors"], HUGGING_FACE),
        (["model.safetensors"], HUGGING_FACE),
        (["config.json", INDEX], HUGGING_FACE),
        (["config.json", "model-00001-of-00002.safetensors"], HUGGING_FACE),
        # both: the config that says more
        (["config.json", "consolidated.safetensors", "model.safetensors", "params.json"], HUGGING_FACE),
        (["config.json", INDEX, "params.json"], HUGGING_FACE),
        (["model.safetensors", "params.json"], HUGGING_FACE),
        (["consolidated.00.pth", "model.safetensors"], HUGGING_FACE),
        (["consolidated.00.pth", "params.json"], META),
        (["consolidated.00.pth", "model.safetensors", "params.json"], META),
        (["config.json", "consolidated.00.pth", "params.json"], META),
        (["consolidated.07.safetensors"], META),
        (["config.json", "consolidated.pth"], META),
        (["params.json"], META),
        (["config.json", "params.json"], None),
        (["config.json"], None),
        (["consolidated.0.pth"], None),
        (["consolidated.00.pt"], None),
        ([], None),
    ],
)
def test_layout_of_a_folder(names: list[str], layout: object) -> None:
    assert layout_of(names) is layout


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("tok_embeddings.weight", "model.embed_tokens.weight"),
        ("layers.31.attention.wo.weight", "model.layers.31.self_attn.o_proj.weight"),
        ("output.weight", "lm_head.weight"),
    ],
)
def test_names_lead_back(stored: str, name: str) -> None:
    assert META.stored(name) == stored
    assert HUGGING_FACE.stored(name) == name
    assert META.stored("model.rotary") == "model.rotary"
