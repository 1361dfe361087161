"""The rotary embedding's fields under transformers v4 and v5 names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inferno.config import LlamaConfig, RopeConfig
from inferno.errors import ConfigError, UnsupportedError
from tiny import DEFAULT_CONFIG

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
EIGHT = [1.0, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]
LONGROPE = {"short_factor": EIGHT, "long_factor": EIGHT, "original_max_position_embeddings": 64}
FULL: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "llama3": LLAMA3,
    "yarn": {
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "attention_factor": 1.2,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.0,
        "truncate": False,
    },
    "longrope": {**LONGROPE, "factor": 8.0, "attention_factor": 1.1},
}


def rope(**fields: Any) -> RopeConfig:
    return LlamaConfig.from_dict({**DEFAULT_CONFIG, **fields}).rope


def v5(rope_type: str, **fields: Any) -> RopeConfig:
    return rope(rope_parameters={"rope_type": rope_type, "rope_theta": 5e5, **fields})


def expected(rope_type: str) -> RopeConfig:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in FULL[rope_type].items()}
    return RopeConfig(rope_type, 5e5, **fields)


@pytest.mark.parametrize("rope_type", FULL)
def test_every_type_in_v5_names(rope_type: str) -> None:
    assert v5(rope_type, **FULL[rope_type]) == expected(rope_type)


@pytest.mark.parametrize("alias", ["rope_type", "type"])
@pytest.mark.parametrize("rope_type", FULL)
def test_every_type_in_v4_names(rope_type: str, alias: str) -> None:
    assert rope(rope_theta=5e5, rope_scaling={alias: rope_type, **FULL[rope_type]}) == expected(rope_type)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 500000, "rope_scaling": None},
        {"rope_theta": 5e5, "rope_scaling": {}},
        {"rope_parameters": {"rope_theta": 5e5}},
        {"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default"}},
        {"rope_theta": 5e5, "rope_parameters": None},
        {"rope_theta": 5e5, "rope_scaling": {"type": "default", "factor": 4.0}},
    ],
    ids=repr,
)
def test_theta_comes_from_the_dict_then_from_the_top(fields: dict[str, Any]) -> None:
    assert rope(**fields) == RopeConfig("default", 5e5)


def test_rope_scaling_replaces_rope_parameters() -> None:
    parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    assert rope(
        rope_theta=5e5,
        rope_scaling={"rope_type": "linear", "factor": 4.0, "rope_theta": 6e5},
        rope_parameters=parameters,
    ) == RopeConfig("linear", 6e5, factor=4.0)


def test_a_theta_that_only_the_replaced_dict_has_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"rope_theta is given only in rope_parameters, which rope_scaling replaces; "
    ):
        rope(rope_scaling={"rope_type": "linear", "factor": 4.0}, rope_parameters={"rope_theta": 5e5})


def test_theta_defaults_to_10000_and_says_so() -> None:
    read = LlamaConfig.from_dict(DEFAULT_CONFIG)
    assert read.rope.rope_theta == 10000.0
    assert "rope_theta" in read.defaulted


@pytest.mark.parametrize("fields", [{}, {"rope_parameters": {"rope_type": "default"}}, {"rope_theta": None}])
def test_llama3s_vocabulary_without_theta_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^config.json: rope_theta must be given for a vocab_size of 128256 .*; got no such field; "
    ):
        rope(vocab_size=128256, **fields)
    assert rope(vocab_size=128256, rope_theta=5e5).rope_theta == 5e5


@pytest.mark.parametrize("value", [True, "1e6", 0, 1, -1e4, float("nan"), float("inf"), 1e39, 10**400, []], ids=repr)
@pytest.mark.parametrize("where", ["top", "dict"])
def test_theta_is_a_number_above_one(where: str, value: object) -> None:
    fields = {"rope_theta": value} if where == "top" else {"rope_parameters": {"rope_theta": value}}
    with pytest.raises(ConfigError, match=r"rope_theta must be a finite number above 1 and at most 3.4e\+38; got "):
        rope(**fields)


@pytest.mark.parametrize("rope_type", ["yarn2", "su", "mrope", "proportional", "", 1, ["linear"], {"a": 1}], ids=repr)
def test_other_types_are_refused_by_name(rope_type: object) -> None:
    with pytest.raises(UnsupportedError) as caught:
        rope(rope_scaling={"rope_type": rope_type, "factor": 2.0})
    if not isinstance(rope_type, dict):
        assert "rope_scaling: rope_type must be one of default, linear, dynamic, llama3, yarn, longrope; got" in str(
            caught.value
        )


def test_a_scaling_without_a_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rope_scaling: rope_type must be given beside factor; got no such field$"):
        rope(rope_scaling={"factor": 8.0})


def test_the_two_spellings_of_the_type_must_agree() -> None:
    assert rope(rope_scaling={"type": "linear", "rope_type": "linear", "factor": 2.0}).rope_type == "linear"
    with pytest.raises(ConfigError, match=r'rope_type and type must agree; got "llama3" and "linear"$'):
        rope(rope_scaling={"type": "linear", "rope_type": "llama3", **LLAMA3})


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("value", [True, 2.0, "linear", ["linear"]], ids=repr)
def test_the_dicts_are_dicts(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be an object or null; got "):
        rope(**{key: value})


@pytest.mark.parametrize(
    ("rope_type", "key"),
    [
        ("linear", "factor"),
        ("dynamic", "factor"),
        ("llama3", "factor"),
        ("llama3", "low_freq_factor"),
        ("llama3", "high_freq_factor"),
    ],
)
def test_numbers_without_a_default_are_required(rope_type: str, key: str) -> None:
    fields = {name: value for name, value in FULL[rope_type].items() if name != key}
    with pytest.raises(
        ConfigError, match=rf"rope_parameters: {key} must be a finite number above 0; got no such field$"
    ):
        v5(rope_type, **fields)


NUMBERS = [
    (rope_type, key)
    for rope_type, fields in FULL.items()
    for key in fields
    if key not in ("short_factor", "long_factor", "truncate", "original_max_position_embeddings")
]


@pytest.mark.parametrize("value", [True, "4", -1.0, float("nan"), float("inf"), 10**400, [4.0]], ids=repr)
@pytest.mark.parametrize(("rope_type", "key"), NUMBERS)
def test_numbers_are_finite_and_positive(rope_type: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"rope_parameters: {key} must be a finite number (0 or )?above 0; got "):
        v5(rope_type, **{**FULL[rope_type], key: value})


@pytest.mark.parametrize("value", [True, 0, -1, 2**31, 2**63, 64.0, "64"], ids=repr)
@pytest.mark.parametrize("rope_type", ["llama3", "yarn", "longrope"])
def test_the_length_of_pretraining_is_an_integer(rope_type: str, value: object) -> None:
    with pytest.raises(
        ConfigError, match=r"original_max_position_embeddings must be an integer from 1 to 2147483647; got"
    ):
        v5(rope_type, **{**FULL[rope_type], "original_max_position_embeddings": value})


@pytest.mark.parametrize("rope_type", ["llama3", "yarn", "longrope"])
def test_the_length_of_pretraining_at_the_top_comes_first_and_the_models_length_last(rope_type: str) -> None:
    fields = FULL[rope_type]
    without = {key: value for key, value in fields.items() if key != "original_max_position_embeddings"}
    at_top = rope(rope_parameters={"rope_type": rope_type, **fields}, original_max_position_embeddings=96)
    absent = rope(rope_parameters={"rope_type": rope_type, **without})
    assert at_top.original_max_position_embeddings == 96
    assert absent.original_max_position_embeddings == DEFAULT_CONFIG["max_position_embeddings"]


@pytest.mark.parametrize("rope_type", ["yarn", "longrope"])
def test_the_factor_defaults_to_the_ratio_of_lengths(rope_type: str) -> None:
    fields = {key: value for key, value in FULL[rope_type].items() if key != "factor"}
    assert v5(rope_type, **fields).factor == DEFAULT_CONFIG["max_position_embeddings"] / 64


def test_a_beta_of_zero_is_absent() -> None:
    read = v5("yarn", factor=2.0, beta_fast=0, beta_slow=None)
    assert (read.beta_fast, read.beta_slow) == (32.0, 1.0)


def test_truncate_is_a_boolean() -> None:
    with pytest.raises(ConfigError, match=r"truncate must be true or false; got 1$"):
        v5("yarn", factor=2.0, truncate=1)


def test_llama3s_bands_must_be_in_order() -> None:
    with pytest.raises(ConfigError, match=r"high_freq_factor must be above low_freq_factor \(1\); got 1.0$"):
        v5("llama3", **{**LLAMA3, "high_freq_factor": 1.0})


def test_dynamic_needs_a_factor_of_one_and_heads_of_four() -> None:
    with pytest.raises(ConfigError, match=r"rope_parameters: factor must be at least 1; got 0.5$"):
        v5("dynamic", factor=0.5)
    with pytest.raises(ConfigError, match=r"head_dim must be at least 4 for dynamic RoPE; got 2$"):
        rope(head_dim=2, rope_parameters={"rope_type": "dynamic", "factor": 2.0})


def test_longrope_needs_a_length_of_two() -> None:
    with pytest.raises(ConfigError, match=r"original_max_position_embeddings must be at least 2 for longrope; got 1$"):
        v5("longrope", **{**LONGROPE, "original_max_position_embeddings": 1})


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "null"),
        (4.0, "4.0"),
        ([1.0] * 7, "a list of 7: [1.0, 1.0, "),
        ([1.0] * 9, "a list of 9: [1.0, 1.0, "),
        ([1.0] * 7 + [0.0], "a list of 8: "),
        ([1.0] * 7 + [True], "a list of 8: "),
        ([1.0] * 7 + ["1"], "a list of 8: "),
        ([1.0] * 7 + [float("nan")], "a list of 8: "),
        ([10**400] * 8, "a list of 8: "),
    ],
)
@pytest.mark.parametrize("key", ["short_factor", "long_factor"])
def test_longropes_lists_have_a_number_per_pair(key: str, value: object, got: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be a list of 8 finite numbers above 0; got {re.escape(got)}"):
        v5("longrope", **{**LONGROPE, key: value})


@pytest.mark.parametrize("where", ["top", "rope_scaling", "rope_parameters"])
def test_partial_rotation_is_refused_and_a_full_one_accepted(where: str) -> None:
    def fields(value: object) -> dict[str, Any]:
        partial = {"partial_rotary_factor": value}
        return partial if where == "top" else {where: {"rope_type": "default", **partial}}

    assert rope(**fields(1.0)) == rope(**fields(1)) == rope(**fields(None)) == RopeConfig()
    for value in (0.5, True, "1", [1]):
        with pytest.raises(
            UnsupportedError, match=r"partial_rotary_factor must be 1 \(all of a head is rotated\); got "
        ):
            rope(**fields(value))


def test_a_set_for_each_layer_type_is_refused() -> None:
    with pytest.raises(
        UnsupportedError, match=r'must be one set for all layers; got one of its own for "full_attention"$'
    ):
        rope(rope_parameters={"full_attention": {"rope_type": "default"}})


def test_unknown_keys_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r'must hold known keys only; got "mrope_section": \[1, 2\]$'):
        v5("linear", factor=2.0, mrope_section=[1, 2])
    assert v5("linear", factor=2.0, mrope_section=None, finetuned=True).factor == 2.0


def test_what_the_rope_leaves_open_is_listed() -> None:
    parameters = {"rope_type": "yarn", "rope_theta": 1e4, "beta_fast": 32, "truncate": True}
    read = LlamaConfig.from_dict({**DEFAULT_CONFIG, "rope_parameters": parameters})
    assert {"rope factor", "rope original_max_position_embeddings", "rope beta_slow"} <= set(read.defaulted)
    assert "rope beta_fast" not in read.defaulted
