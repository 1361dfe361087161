"""Every field of config.json and generation_config.json: its type, its bounds, and what an error says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from inferno.config import LlamaConfig
from inferno.config.llama import read_config_files
from inferno.errors import ConfigError, InfernoError, UnsupportedError
from inferno.files import MAX_CONFIG_BYTES
from tiny import DEFAULT_CONFIG

NOT_INTEGERS = [True, False, -1, 2**31, 2**63, 10**400, 1.0, "4", [], {}, float("nan"), float("inf")]
NOT_NUMBERS = [True, -1.0, float("nan"), float("inf"), 10**400, "1", [], {}]
INTEGERS = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
]


def config(**overrides: Any) -> dict[str, Any]:
    return {**DEFAULT_CONFIG, "rope_theta": 10000.0, **overrides}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in config().items() if name != key}


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
@pytest.mark.parametrize("key", INTEGERS)
def test_sizes_are_positive_integers_of_sane_magnitude(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^config.json: {key} must be an integer from [01] to \d+; got "):
        LlamaConfig.from_dict(config(**{key: value}))


@pytest.mark.parametrize("key", [name for name in INTEGERS if name != "head_dim"])
def test_no_size_is_zero(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^config.json: {key} must be an integer from 1 to \d+; got 0$"):
        LlamaConfig.from_dict(config(**{key: 0}))


@pytest.mark.parametrize("key", INTEGERS[:5])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_sizes_without_a_default_are_required(key: str, how: str) -> None:
    values = without(key) if how == "absent" else config(**{key: None})
    with pytest.raises(ConfigError, match=rf"^config.json: {key} must be an integer from 1 to \d+; got no such field$"):
        LlamaConfig.from_dict(values)


@pytest.mark.parametrize("how", ["absent", "null"])
def test_defaults_are_those_of_transformers_and_are_listed(how: str) -> None:
    required = {*INTEGERS[:5], "model_type"}
    keep = {name: value for name, value in config().items() if name in required}
    optional = [
        "architectures",
        "num_key_value_heads",
        "head_dim",
        "rms_norm_eps",
        "hidden_act",
        "attention_bias",
        "mlp_bias",
        "tie_word_embeddings",
        "max_position_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "bos_token_id",
        "eos_token_id",
        "torch_dtype",
        "dtype",
        "quantization_config",
        "pretraining_tp",
    ]
    read = LlamaConfig.from_dict(keep if how == "absent" else {**keep, **dict.fromkeys(optional)})
    assert (read.num_key_value_heads, read.head_dim) == (4, 16)
    assert (read.rms_norm_eps, read.max_position_embeddings, read.hidden_act) == (1e-6, 2048, "silu")
    assert (read.attention_bias, read.mlp_bias, read.tie_word_embeddings) == (False, False, False)
    assert (read.rope.rope_type, read.rope.rope_theta) == ("default", 10000.0)
    assert (read.bos_token_id, read.eos_token_ids, read.dtype) == (None, frozenset(), None)
    assert set(read.defaulted) == set(optional[1:10])


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0, 1.5], ids=repr)
def test_rms_norm_eps_is_a_small_positive_number(value: object) -> None:
    with pytest.raises(ConfigError, match=r"rms_norm_eps must be a finite number above 0 and at most 1; got "):
        LlamaConfig.from_dict(config(rms_norm_eps=value))


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias", "tie_word_embeddings"])
@pytest.mark.parametrize("value", [0, 1, "false", [], {}], ids=repr)
def test_flags_are_booleans(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be true or false; got "):
        LlamaConfig.from_dict(config(**{key: value}))


def test_heads_must_share_key_value_heads_evenly() -> None:
    with pytest.raises(
        ConfigError, match=r"^config.json: num_key_value_heads must be a divisor of num_attention_heads \(4\); got 3$"
    ):
        LlamaConfig.from_dict(config(num_key_value_heads=3))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_and_single_key_value_heads(kv_heads: int) -> None:
    assert LlamaConfig.from_dict(config(num_key_value_heads=kv_heads)).num_key_value_heads == kv_heads


def test_head_dim_need_not_be_hidden_size_over_heads() -> None:
    read = LlamaConfig.from_dict(config(hidden_size=63, num_attention_heads=3, num_key_value_heads=3, head_dim=20))
    assert (read.hidden_size, read.head_dim) == (63, 20)


def test_hidden_size_must_divide_where_head_dim_is_not_given() -> None:
    with pytest.raises(
        ConfigError, match=r"hidden_size must be a multiple of num_attention_heads \(3\), or head_dim given; got 64$"
    ):
        LlamaConfig.from_dict(config(num_attention_heads=3, num_key_value_heads=3))


@pytest.mark.parametrize("overrides", [{"head_dim": 15}, {"head_dim": 0}, {"hidden_size": 60}, {"hidden_size": 4}])
def test_odd_heads_are_refused(overrides: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"head_dim must be even and at least 2, for RoPE rotates pairs; got \d+$"):
        LlamaConfig.from_dict(config(**overrides))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({"dtype": "float16", "torch_dtype": "bfloat16"}, "float16"),
        ({"dtype": None, "torch_dtype": "bfloat16"}, "bfloat16"),
        ({}, None),
    ],
)
def test_dtype_under_both_names(fields: dict[str, Any], expected: str | None) -> None:
    assert LlamaConfig.from_dict(config(**fields)).dtype == expected


def test_dtype_is_a_string() -> None:
    with pytest.raises(ConfigError, match=r"torch_dtype must be a string; got 16$"):
        LlamaConfig.from_dict(config(torch_dtype=16))


@pytest.mark.parametrize(
    ("own", "generation", "expected"),
    [
        (2, None, {2}),
        ([2, 7], None, {2, 7}),
        (2, 9, {2, 9}),
        (128001, [128001, 128008, 128009], {128001, 128008, 128009}),
        (None, [5], {5}),
        ([], None, set()),
    ],
)
def test_end_tokens_are_the_union(own: object, generation: object, expected: set[int]) -> None:
    read = LlamaConfig.from_dict(config(eos_token_id=own), {"eos_token_id": generation})
    assert read.eos_token_ids == expected


@pytest.mark.parametrize("value", [-1, True, 2**31, 2**63, 1.5, "2", [2, -1], [True], [[2]], {}], ids=repr)
@pytest.mark.parametrize("where", ["config.json", "generation_config.json"])
def test_end_tokens_are_token_ids(where: str, value: object) -> None:
    own, generation = (value, None) if where == "config.json" else (2, value)
    with pytest.raises(
        ConfigError, match=rf"^{where}: eos_token_id must be a token id from 0 to 2147483647, or a list of them; got "
    ):
        LlamaConfig.from_dict(config(eos_token_id=own), {"eos_token_id": generation})


def test_bos_comes_from_the_config_first() -> None:
    assert LlamaConfig.from_dict(config(bos_token_id=0), {"bos_token_id": 3}).bos_token_id == 0
    assert LlamaConfig.from_dict(config(bos_token_id=None), {"bos_token_id": 3}).bos_token_id == 3


def test_generation_defaults() -> None:
    values = {
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 50,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
    }
    generation = LlamaConfig.from_dict(config(), values).generation
    assert {key: getattr(generation, key) for key in values} == values
    assert generation.ignored == ()


@pytest.mark.parametrize("values", [None, {}, {"do_sample": None, "temperature": None, "top_k": None, "min_p": None}])
def test_generation_defaults_are_none_where_nothing_is_said(values: dict[str, Any] | None) -> None:
    generation = LlamaConfig.from_dict(config(), values).generation
    assert {getattr(generation, key) for key in ("do_sample", "temperature", "top_k", "top_p", "min_p")} == {None}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("temperature", 0, 0.0), ("top_k", 0, 0), ("top_k", -1, 0), ("top_p", 1, 1.0), ("min_p", 0.0, 0.0)],
)
def test_neutral_generation_values(key: str, value: float, expected: float) -> None:
    assert getattr(LlamaConfig.from_dict(config(), {key: value}).generation, key) == expected


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        *[("temperature", value, "a finite number 0 or above 0") for value in NOT_NUMBERS],
        *[("top_k", value, "an integer from -1 to 2147483647") for value in NOT_INTEGERS if value != -1],
        *[
            (key, value, "a finite number 0 or above 0 and at most 1")
            for key in ("top_p", "min_p")
            for value in (-0.1, 1.1)
        ],
        *[("repetition_penalty", value, "a finite number above 0") for value in (0, -1, "1", True)],
        ("do_sample", 1, "true or false"),
    ],
    ids=repr,
)
def test_senseless_generation_values_are_refused(key: str, value: object, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^generation_config.json: {key} must be {re.escape(what)}; got "):
        LlamaConfig.from_dict(config(), {key: value})


def test_sampling_that_is_not_implemented_is_listed() -> None:
    values = {"num_beams": 4, "typical_p": 1.0, "no_repeat_ngram_size": 3, "suppress_tokens": [], "min_length": 0}
    assert LlamaConfig.from_dict(config(), values).generation.ignored == ("num_beams", "no_repeat_ngram_size")


def test_messages_are_one_short_line_whatever_the_value() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("\x1b[31m\n" * 1000, deep, {"a": "é" * 5000}, "\ud800"):
        with pytest.raises(ConfigError) as caught:
            LlamaConfig.from_dict(config(hidden_size=value))
        text = str(caught.value)
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 200


def write(folder: Path, name: str, content: bytes | dict[str, Any]) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "params.json"])
def test_a_file_has_a_megabyte_at_most(tmp_path: Path, file: str) -> None:
    if file == "params.json":
        (tmp_path / "consolidated.00.pth").touch()
    else:
        write(tmp_path, "config.json", config())
    text = json.dumps({"a": 1})
    (tmp_path / file).write_text(text + " " * (MAX_CONFIG_BYTES - len(text)))
    read_config_files(tmp_path)
    (tmp_path / file).write_text(text + " " * (MAX_CONFIG_BYTES + 1 - len(text)))
    with pytest.raises(ConfigError, match=rf"/{file}: must be at most {MAX_CONFIG_BYTES} bytes; got 1048577$"):
        read_config_files(tmp_path)


def test_an_adapter_s_config_has_a_megabyte_at_most(tmp_path: Path) -> None:
    """Of a larger one, the model that it is for is not read."""
    text = json.dumps({"base_model_name_or_path": "org/base"})
    (tmp_path / "adapter_model.safetensors").touch()
    for size, base in ((MAX_CONFIG_BYTES, '"org/base"'), (MAX_CONFIG_BYTES + 1, "another model")):
        (tmp_path / "adapter_config.json").write_text(text.ljust(size))
        with pytest.raises(UnsupportedError, match=f"for {base}"):
            read_config_files(tmp_path)


def test_from_folder_reads_both_files(tmp_path: Path) -> None:
    write(tmp_path, "config.json", config())
    assert LlamaConfig.from_folder(tmp_path) == LlamaConfig.from_dict(config())
    write(tmp_path, "generation_config.json", {"eos_token_id": 9, "temperature": 0.25})
    read = LlamaConfig.from_folder(str(tmp_path))
    assert read.eos_token_ids == {2, 9}
    assert read.generation.temperature == 0.25


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "config.json", config(vocab_size="big"))
    with pytest.raises(ConfigError, match=rf'^{re.escape(str(path))}: vocab_size must be .*; got "big"$'):
        LlamaConfig.from_folder(tmp_path)
    write(tmp_path, "config.json", config())
    path = write(tmp_path, "generation_config.json", {"top_p": 2})
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: top_p must be .*; got 2$"):
        LlamaConfig.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "must hold a JSON object; got an empty file"),
        (b" \n", "must hold a JSON object; got an empty file"),
        (b"[1]", r"must hold a JSON object; got \[1\]"),
        (b'{"a": 1,}', "must be JSON; line 1 column 9: "),
        (b'{"a": 1', "must be JSON; line 1 column 8: "),
        (b'{"a": "\xff"}', "must be UTF-8; got byte 0xff at 7"),
        (b'{"a": 1, "a": 2}', 'must be JSON; the key "a" must be given once; got it twice'),
        (b'{"a":' * 100_000, "must be JSON of moderate depth; got brackets nested too deeply"),
        (b'{"a":' + b"1" * 10_000 + b"}", "must be JSON; "),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "got a Git-LFS pointer to it; run `git",
        ),
    ],
    ids=["empty", "blank", "list", "comma", "cut", "utf8", "twice", "deep", "digits", "lfs"],
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_files_that_hold_no_json_object(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    write(tmp_path, "config.json", config())
    path = write(tmp_path, name, content)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: .*{what}"):
        LlamaConfig.from_folder(tmp_path)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path, "config.json", b"\xef\xbb\xbf" + json.dumps(config()).encode())
    assert LlamaConfig.from_folder(tmp_path).vocab_size == 131


def test_every_error_of_a_random_value_is_of_the_family() -> None:
    values = [None, True, -1, 0, 1, 2**31, 2**63, 1.5, float("nan"), float("inf"), "", "silu", [], [0], {}, {"a": []}]
    for key in {
        **config(),
        "head_dim": 1,
        "rope_scaling": 1,
        "rope_parameters": 1,
        "quantization_config": 1,
        "dtype": 1,
    }:
        for value in values:
            try:
                LlamaConfig.from_dict(config(**{key: value}), {key: value})
            except InfernoError as error:
                assert key in str(error) or "head_dim" in str(error)  # noqa: PT017
