"""What Inferno cannot run is refused by name, from config.json alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inferno.config import LlamaConfig
from inferno.config.keys import CHANGES_ARITHMETIC
from inferno.errors import ConfigError, UnsupportedError
from tiny import DEFAULT_CONFIG


def read(**overrides: Any) -> LlamaConfig:
    return LlamaConfig.from_dict({**DEFAULT_CONFIG, **overrides})


@pytest.mark.parametrize("model_type", ["mistral", "qwen2", "gemma3", "", 1])
def test_other_model_types(model_type: object) -> None:
    got = re.escape(f'"{model_type}"' if isinstance(model_type, str) else str(model_type))
    with pytest.raises(UnsupportedError, match=rf'^config.json: model_type must be "llama", .*; got {got}$'):
        read(model_type=model_type)


@pytest.mark.parametrize(
    "architectures",
    [["LlamaForSequenceClassification"], ["LlamaModel"], [], ["LlamaForCausalLM", "MistralForCausalLM"]],
)
def test_other_architectures(architectures: list[str]) -> None:
    with pytest.raises(UnsupportedError, match=r'architectures must be \["LlamaForCausalLM"\]; got \['):
        read(architectures=architectures)


@pytest.mark.parametrize("value", ["LlamaForCausalLM", [1], {}, True], ids=repr)
def test_architectures_are_a_list_of_names(value: object) -> None:
    with pytest.raises(ConfigError, match=r"architectures must be a list of strings; got "):
        read(architectures=value)


def test_model_type_or_architectures_must_say_llama() -> None:
    assert read(model_type=None).model_type == "llama"
    assert read(architectures=None).architectures == ("LlamaForCausalLM",)
    with pytest.raises(ConfigError, match=r'model_type must be "llama"; got no such field$'):
        read(model_type=None, architectures=None)


@pytest.mark.parametrize("act", ["gelu", "gelu_pytorch_tanh", "relu2", ""])
def test_other_activations(act: str) -> None:
    with pytest.raises(UnsupportedError, match=rf'^config.json: hidden_act must be "silu"; got "{act}"$'):
        read(hidden_act=act)


def test_swish_is_silu() -> None:
    assert read(hidden_act="swish").hidden_act == "silu"


def test_a_quantization_config_is_kept_for_the_analysis() -> None:
    assert read(quantization_config={"quant_method": "gptq"}).quantization_config == {"quant_method": "gptq"}


def test_a_null_quantization_config_is_no_quantization() -> None:
    assert read(quantization_config=None) == read()
    assert read().quantization_config is None


@pytest.mark.parametrize("value", [True, [], "gptq"], ids=repr)
def test_a_quantization_config_is_an_object(value: object) -> None:
    with pytest.raises(ConfigError, match=r"quantization_config must be an object or null; got "):
        read(quantization_config=value)


@pytest.mark.parametrize("key", CHANGES_ARITHMETIC)
def test_keys_of_other_arithmetic_are_refused_unless_neutral(key: str) -> None:
    for value in (7.5, 4096, "yes", [3], {"a": 1}):
        with pytest.raises(UnsupportedError, match=rf"^config.json: {key} must be absent or null.*; got ") as caught:
            read(**{key: value})
        assert "does not implement it" in str(caught.value)
    for neutral in (None, *CHANGES_ARITHMETIC[key]):
        accepted = read(**{key: neutral})
        assert accepted == read()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sliding_window", 4096),
        ("sliding_window", 0),
        ("use_sliding_window", True),
        ("attention_multiplier", 0.0078125),
        ("embedding_multiplier", 12.0),
        ("embedding_multiplier", True),
        ("residual_multiplier", 0.22),
        ("logits_scaling", 8.0),
        ("logit_scale", 0.0625),
        ("no_rope_layers", [1, 1, 1, 0]),
        ("no_rope_layers", [True]),
        ("qk_norm", True),
        ("qk_norm", 0),
        ("num_local_experts", 8),
        ("auto_map", {"AutoModelForCausalLM": "modeling_x.X"}),
    ],
)
def test_known_traps(key: str, value: object) -> None:
    with pytest.raises(UnsupportedError, match=rf"^config.json: {key} must be "):
        read(**{key: value})


def test_a_window_that_is_switched_off_is_none() -> None:
    assert read(sliding_window=4096, use_sliding_window=False) == read()
    for switch in (None, True, 0):
        with pytest.raises(UnsupportedError, match=r"^config.json: (use_)?sliding_window must be "):
            read(sliding_window=4096, use_sliding_window=switch)


def test_layers_that_all_rotate_are_llamas() -> None:
    assert read(no_rope_layers=[1, 1]) == read()


def test_layer_types() -> None:
    assert read(layer_types=["full_attention"] * 2) == read()
    for value in (["full_attention", "sliding_attention"], "full_attention", 1):
        with pytest.raises(UnsupportedError, match=r'layer_types must all be "full_attention"; got '):
            read(layer_types=value)


def test_unknown_keys_are_listed_and_harmless_ones_are_not() -> None:
    accepted = read(
        pretraining_tp=2, use_cache=False, attention_dropout=0.1, zzz=1, frobnicate={"a": 1}, pad_token_id=-1
    )
    assert accepted.unknown_keys == ("frobnicate", "zzz")
