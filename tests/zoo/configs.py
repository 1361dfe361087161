"""config.json and generation_config.json: each field missing or senseless, and what would change the arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inferno.config.keys import CHANGES_ARITHMETIC
from model_edits import CONFIG, all_of, drop_config, edit_bytes, edit_config, edit_json, write
from zoo.case import Case, Make, refused, runs
from zoo.containers import POINTER

FILE = "{folder}/" + CONFIG
GENERATION = "generation_config.json"
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 256}


def senseless(name: str, make: Make, message: str) -> Case:
    return refused(name, make, "config", FILE, message)


def value(key: str, value: Any, message: str, name: str = "") -> Case:
    return senseless(name or f"{key} {json.dumps(value)}"[:60], edit_config(**{key: value}), f"{key} must be {message}")


def unsupported(name: str, make: Make, message: str) -> Case:
    return refused(name, make, "unsupported", FILE, message)


def other_arithmetic(key: str, value: Any) -> Case:
    return unsupported(f"with {key}", edit_config(**{key: value}), f"{key} must be absent or null")


def rope(name: str, message: str, **parameters: Any) -> Case:
    return senseless(name, edit_config(rope_parameters={"rope_theta": 1e4, **parameters}), message)


def other_rope(name: str, message: str, **parameters: Any) -> Case:
    return unsupported(name, edit_config(rope_parameters={"rope_theta": 1e4, **parameters}), message)


def v4(folder: Path) -> None:
    """As transformers 4 writes it."""
    config = json.loads((folder / CONFIG).read_text())
    config.update(config.pop("rope_parameters"), torch_dtype=config.pop("dtype"), rope_scaling=None)
    del config["rope_type"]
    (folder / CONFIG).write_text(json.dumps(config))


def generation(name: str, message: str, **changes: Any) -> Case:
    return refused(name, edit_json(GENERATION, changes), "config", "{folder}/" + GENERATION, message)


FILES = [
    senseless("config empty", write(CONFIG, b""), "must hold a JSON object; got an empty file; download it again"),
    senseless("config of spaces", write(CONFIG, b" \n "), "must hold a JSON object; got an empty file"),
    senseless("config cut short", edit_bytes(lambda raw: raw[:-5], CONFIG), "must be JSON; line"),
    senseless("config a list", write(CONFIG, b"[]"), "must hold a JSON object; got []"),
    senseless("config null", write(CONFIG, b"null"), "must hold a JSON object; got null"),
    senseless("config in UTF-16", edit_bytes(lambda raw: raw.decode().encode("utf-16"), CONFIG), "must be UTF-8; got"),
    senseless("config a pointer", write(CONFIG, POINTER), "must be the file itself; got a Git-LFS pointer to it"),
    senseless("config a web page", write(CONFIG, b"<!DOCTYPE html>"), "must be JSON; line 1 column 1"),
    senseless("config nested without end", write(CONFIG, b'{"a":' * 100_000), "must be JSON of moderate depth"),
    senseless(
        "a field twice", edit_bytes(lambda raw: raw[:-1] + b', "vocab_size": 3}', CONFIG), '"vocab_size" must be'
    ),
    senseless(
        "a number of 5000 digits", write(CONFIG, b'{"vocab_size": ' + b"9" * 5000 + b"}"), "must be JSON; Exceeds"
    ),
    senseless("config without fields", write(CONFIG, b"{}"), "model_type must be"),
    runs("config with a byte-order mark", edit_bytes(lambda raw: b"\xef\xbb\xbf" + raw, CONFIG)),
]
FIELDS = [
    *(senseless(f"no {key}", drop_config(key), f"{key} must be an integer from 1 to") for key in SIZES),
    *(value(key, 0, "an integer from 1 to") for key in SIZES),
    *(value(key, -1, "an integer from 1 to") for key in SIZES),
    *(value(key, "32", "an integer from 1 to") for key in SIZES),
    *(value(key, 2**40, "an integer from 1 to") for key in SIZES),
    value("hidden_size", 32.0, "an integer from 1 to"),
    value("vocab_size", True, "an integer from 1 to"),
    value("num_hidden_layers", [2], "an integer from 1 to"),
    value("hidden_size", 33, "a multiple of num_attention_heads (4), or head_dim given; got 33"),
    value("head_dim", 7, "even and at least 2, for RoPE rotates pairs; got 7"),
    value("head_dim", 0, "even and at least 2"),
    value("head_dim", -8, "an integer from 0 to"),
    value("head_dim", 8192, "an integer from 0 to 4096; got 8192"),
    value("num_key_value_heads", 3, "a divisor of num_attention_heads (4); got 3"),
    value("num_key_value_heads", 8, "a divisor of num_attention_heads (4); got 8"),
    value("num_key_value_heads", 0, "an integer from 1 to"),
    value("rms_norm_eps", 0, "a finite number above 0 and at most 1; got 0"),
    value("rms_norm_eps", -1e-5, "a finite number above 0"),
    value("rms_norm_eps", "1e-5", "a finite number above 0"),
    value("rms_norm_eps", float("nan"), "a finite number above 0"),
    value("rms_norm_eps", 10**400, "a finite number above 0", "rms_norm_eps 10^400"),
    value("max_position_embeddings", 0, "an integer from 1 to"),
    value("max_position_embeddings", "4k", "an integer from 1 to"),
    value("attention_bias", "yes", 'true or false; got "yes"'),
    value("tie_word_embeddings", 1, "true or false; got 1"),
    value("hidden_act", 3, "a string; got 3"),
    value("eos_token_id", "</s>", "a token id from 0 to"),
    value("eos_token_id", [2, -1], "a token id from 0 to"),
    value("bos_token_id", 1.5, "a token id from 0 to"),
    value("architectures", "LlamaForCausalLM", "a list of strings"),
    value("quantization_config", "int8", 'an object or null; got "int8"'),
    value("dtype", 16, "a string; got 16"),
    unsupported("activation", edit_config(hidden_act="gelu"), 'hidden_act must be "silu"; got "gelu"'),
]
ROPE = [
    rope("rope without a factor", "factor must be", rope_type="linear"),
    rope("a factor of nothing", "factor must be a finite number above 0; got 0", rope_type="linear", factor=0),
    rope("a dynamic factor below 1", "factor must be at least 1; got 0.5", rope_type="dynamic", factor=0.5),
    rope("llama3 without its factors", "low_freq_factor must be a finite number above 0", rope_type="llama3", factor=8),
    rope(
        "llama3 turned round", "high_freq_factor must be above low_freq_factor (1)", **LLAMA3 | {"high_freq_factor": 1}
    ),
    rope("llama3 with a text", 'factor must be a finite number above 0; got "8"', **LLAMA3 | {"factor": "8"}),
    rope("yarn with a negative beta", "beta_fast must be a finite number", **YARN, beta_fast=-1),
    rope("yarn with an odd switch", 'truncate must be true or false; got "no"', **YARN, truncate="no"),
    rope("longrope without factors", "short_factor must be a list of 4 finite numbers", **LONGROPE),
    rope("longrope of another width", "got a list of 1: [1.0]", **LONGROPE, short_factor=[1.0], long_factor=[1.0]),
    rope("a negative theta", "rope_theta must be a finite number above 1", rope_theta=-1e4),
    rope(
        "a theta of text", 'rope_theta must be a finite number above 1 and at most 3.4e+38; got "1e4"', rope_theta="1e4"
    ),
    rope("an infinite theta", "rope_theta must be a finite number", rope_theta=float("inf")),
    senseless(
        "rope that is a list", edit_config(rope_parameters=[]), "rope_parameters must be an object or null; got []"
    ),
    senseless("scaling that is a text", edit_config(rope_scaling="linear"), "rope_scaling must be an object or null"),
    senseless(
        "a theta that scaling hides",
        edit_config(rope_scaling={"type": "linear", "factor": 2.0}),
        "rope_theta is given only in rope_parameters, which rope_scaling replaces",
    ),
    senseless(
        "Llama 3 without its theta",
        all_of(edit_config(vocab_size=128256), drop_config("rope_parameters")),
        "rope_theta must be given for a vocab_size of 128256 (Llama 3 uses 500000)",
    ),
    other_rope("an unknown rope type", "rope_type must be one of default, linear, dynamic, llama3,", rope_type="yarn2"),
    other_rope("a rope type that is a number", "rope_type must be one of", rope_type=3),
    other_rope("a rope type that is no number", "rope_type must be one of", rope_type=float("nan")),
    rope("frequencies of nothing", "must give positive finite frequencies", rope_type="linear", factor=1e60),
    rope("two rope types", 'type must agree; got "linear" and "yarn"', rope_type="linear", type="yarn", factor=2.0),
    other_rope("an unknown rope key", 'must hold known keys only; got "spin": 2', spin=2),
    other_rope("ropes by layer type", "must be one set for all layers; got one of its own for", full_attention={}),
    other_rope("half of a head rotated", "partial_rotary_factor must be 1", partial_rotary_factor=0.5),
]
# A value that some model has; of the other keys, one that cannot be neutral.
KEYS: dict[str, Any] = {
    **dict.fromkeys(CHANGES_ARITHMETIC, "odd"),
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "query_pre_attn_scalar": 256,
    "clip_qkv": 8.0,
    "use_qk_norm": True,
    "no_rope_layers": [1, 0],
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
    "num_local_experts": 8,
    "parallel_residual": True,
    "block_configs": [{}],
    "quantization": {"group_size": 64, "bits": 4},
    "auto_map": {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"},
}
ARITHMETIC = [
    *(other_arithmetic(key, value) for key, value in KEYS.items()),
    unsupported(
        "sliding layers",
        edit_config(layer_types=["full_attention", "sliding_attention"]),
        'layer_types must all be "full_attention"; got ["full_attention", "sliding_attention"]',
    ),
    unsupported("layer types that are no list", edit_config(layer_types=3), 'layer_types must all be "full_attention"'),
    runs(
        "keys at their neutral values",
        edit_config(sliding_window=None, embedding_multiplier=1.0, num_experts=0, layer_types=["full_attention"] * 2),
    ),
]
GENERATIONS = [
    refused("settings not JSON", write(GENERATION, b"{"), "config", "{folder}/" + GENERATION, "must be JSON; line 1"),
    generation("a negative temperature", "temperature must be a finite number 0 or above 0; got -1", temperature=-1),
    generation("top_p above 1", "top_p must be a finite number 0 or above 0 and at most 1; got 2", top_p=2),
    generation("top_k a fraction", "top_k must be an integer from -1 to", top_k=1.5),
    generation("a sampling switch of text", 'do_sample must be true or false; got "yes"', do_sample="yes"),
    generation("an end token of text", "eos_token_id must be a token id from 0 to", eos_token_id=["</s>"]),
    generation(
        "a penalty of nothing", "repetition_penalty must be a finite number above 0; got 0", repetition_penalty=0
    ),
]
ODD = [
    runs("transformers 4's names", v4),
    runs("llama3 rope", edit_config(rope_parameters=LLAMA3 | {"original_max_position_embeddings": 128})),
    runs("yarn rope", edit_config(rope_parameters=YARN | {"original_max_position_embeddings": 256})),
    runs("longrope", edit_config(rope_parameters=LONGROPE | {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4})),
    runs(
        "numbers that are integers",
        edit_config(rope_parameters={"rope_type": "linear", "factor": 2, "rope_theta": 10000}),
    ),
    runs("dynamic rope", edit_config(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})),
    runs(
        "a model made for three tokens",
        edit_config(max_position_embeddings=3),
        options={"ctx_size": None},
        speaks=False,
    ),
    runs("half as many heads, twice as wide", edit_config(num_attention_heads=2, num_key_value_heads=1)),
]
CASES = [*FILES, *FIELDS, *ROPE, *ARITHMETIC, *GENERATIONS, *ODD]
