"""config.json and generation_config.json of a Llama checkpoint, read, checked and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inferno.config.fields import Fields
from inferno.config.generation import GenerationDefaults, parse_generation
from inferno.config.keys import refuse_other_arithmetic, unknown_keys
from inferno.config.rope import RopeConfig, parse_rope
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import MAX_CONFIG_BYTES, read_json, show
from inferno.model_folder import (
    CONFIG,
    PARAMS,
    is_meta,
    list_folder,
    missing_config,
    missing_params,
    refuse_adapter,
)

GENERATION_CONFIG = "generation_config.json"
_ARCHITECTURE = "LlamaForCausalLM"
# swish is transformers' other name for SiLU
_SILU = ("silu", "swish")

# Far above every model there is, and low enough that no product of two overflows 64 bits.
MAX_VOCAB = 1 << 24
MAX_WIDTH = 1 << 22
MAX_LAYERS = 1 << 12
MAX_HEADS = 1 << 14
MAX_HEAD_DIM = 1 << 12


@dataclass(frozen=True)
class LlamaConfig:
    """A Llama model's config under transformers' names; every value that the arithmetic needs is set and checked.

    `eos_token_ids` unites the end tokens of config.json and generation_config.json. `dtype` is what config.json claims;
    the tensors' own types count. `quantization_config` is as it stands there: analysis judges it. `defaulted` names
    the fields that config.json leaves to transformers' defaults, `unknown_keys` those of its keys that are not known to
    be harmless.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    rope: RopeConfig
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    model_type: str = "llama"
    architectures: tuple[str, ...] = (_ARCHITECTURE,)
    bos_token_id: int | None = None
    eos_token_ids: frozenset[int] = frozenset()
    generation: GenerationDefaults = field(default_factory=GenerationDefaults)
    dtype: str | None = None
    quantization_config: Mapping[str, Any] | None = None
    defaulted: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()

    @classmethod
    def from_folder(cls, folder: Path | str, vocab_size: int | None = None) -> LlamaConfig:
        """Reads config.json and, if there is one, generation_config.json; of a folder in Meta's layout, params.json.

        `vocab_size` is for Meta's: the rows of the embedding, which stand in for a vocab_size of -1. Raises
        ModelNotFoundError if the folder or its config is missing, ConfigError for a value that makes no
        sense, UnsupportedError for a model that Inferno cannot run.
        """
        return cls.from_files(read_config_files(Path(folder)), vocab_size)

    @classmethod
    def from_files(cls, files: ConfigFiles, vocab_size: int | None = None) -> LlamaConfig:
        """The config in files that were read. Raises as from_folder."""
        if files.path.name == PARAMS:
            from inferno.config.params import config_from_params

            return config_from_params(files.config, str(files.path), vocab_size=vocab_size)
        return cls.from_dict(
            files.config, files.generation, str(files.path), str(files.path.with_name(GENERATION_CONFIG))
        )

    @classmethod
    def from_dict(
        cls,
        config: Mapping[str, Any],
        generation: Mapping[str, Any] | None = None,
        where: str = CONFIG,
        generation_where: str = GENERATION_CONFIG,
    ) -> LlamaConfig:
        """The config in two JSON objects; `where` and `generation_where` name them in errors. Raises as from_folder."""
        fields = Fields(config, where)
        architectures = _refuse_other_models(fields)
        refuse_other_arithmetic(fields)
        heads = fields.integer("num_attention_heads", high=MAX_HEADS)
        head_dim = _head_dim(fields, heads)
        vocab_size = fields.integer("vocab_size", high=MAX_VOCAB)
        max_position_embeddings = fields.integer("max_position_embeddings", 2048)
        defaults, generation_fields = parse_generation(generation or {}, generation_where)
        bos = fields.token_ids("bos_token_id") or generation_fields.token_ids("bos_token_id")
        return cls(
            vocab_size=vocab_size,
            hidden_size=fields.integer("hidden_size", high=MAX_WIDTH),
            intermediate_size=fields.integer("intermediate_size", high=MAX_WIDTH),
            num_hidden_layers=fields.integer("num_hidden_layers", high=MAX_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=_key_value_heads(fields, heads),
            head_dim=head_dim,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6, high=1.0),
            max_position_embeddings=max_position_embeddings,
            rope=parse_rope(fields, head_dim, vocab_size, max_position_embeddings),
            attention_bias=fields.boolean("attention_bias", False),
            mlp_bias=fields.boolean("mlp_bias", False),
            tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
            architectures=architectures,
            bos_token_id=bos[0] if bos else None,
            eos_token_ids=frozenset(fields.token_ids("eos_token_id") + generation_fields.token_ids("eos_token_id")),
            generation=defaults,
            dtype=_dtype(fields),
            quantization_config=_quantization(fields),
            defaulted=tuple(fields.defaulted),
            unknown_keys=unknown_keys(fields),
        )


@dataclass(frozen=True)
class ConfigFiles:
    """The JSON objects of a folder's config (at `path`: config.json or params.json) and of generation_config.json."""

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]


def read_config_files(folder: Path) -> ConfigFiles:
    """Reads config.json and generation_config.json, if there is one; of a folder in Meta's layout, params.json.

    Raises ModelNotFoundError if the folder or its config is missing, ConfigError if a file holds no JSON object or is
    larger than MAX_CONFIG_BYTES, UnsupportedError for a LoRA adapter.
    """
    names = list_folder(folder)
    refuse_adapter(folder, names)
    if is_meta(names):
        if PARAMS not in names:
            raise missing_params(folder, names)
        return ConfigFiles(folder / PARAMS, _read(folder / PARAMS), {})
    if CONFIG not in names:
        raise missing_config(folder, names)
    generation = _read(folder / GENERATION_CONFIG) if GENERATION_CONFIG in names else {}
    return ConfigFiles(folder / CONFIG, _read(folder / CONFIG), generation)


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, ConfigError, MAX_CONFIG_BYTES)


def _refuse_other_models(fields: Fields) -> tuple[str, ...]:
    architectures = fields.get("architectures")
    if architectures is None:
        architectures = [_ARCHITECTURE]
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise fields.bad("architectures", "a list of strings", architectures)
    model_type = fields.get("model_type")
    if model_type is None:
        if fields.get("architectures") != [_ARCHITECTURE]:
            raise fields.bad("model_type", '"llama"', None)
    elif model_type != "llama":
        raise UnsupportedError(
            f'{fields.where}: model_type must be "llama", the architecture that Inferno runs; got {show(model_type)}'
        )
    if architectures != [_ARCHITECTURE]:
        raise UnsupportedError(f'{fields.where}: architectures must be ["{_ARCHITECTURE}"]; got {show(architectures)}')
    act = fields.string("hidden_act", "silu")
    if act not in _SILU:
        raise UnsupportedError(f'{fields.where}: hidden_act must be "silu"; got {show(act)}')
    return tuple(architectures)


def _quantization(fields: Fields) -> Mapping[str, Any] | None:
    from inferno.quantization.claims import quantization_settings

    return quantization_settings(fields.values, fields.where)


def _key_value_heads(fields: Fields, heads: int) -> int:
    kv_heads = fields.integer("num_key_value_heads", heads, high=MAX_HEADS)
    if heads % kv_heads != 0:
        raise fields.bad("num_key_value_heads", f"a divisor of num_attention_heads ({heads})", kv_heads)
    return kv_heads


def _head_dim(fields: Fields, heads: int) -> int:
    hidden_size = fields.integer("hidden_size", high=MAX_WIDTH)
    if fields.get("head_dim") is None and hidden_size % heads != 0:
        raise fields.bad("hidden_size", f"a multiple of num_attention_heads ({heads}), or head_dim given", hidden_size)
    head_dim = fields.integer("head_dim", hidden_size // heads, low=0, high=MAX_HEAD_DIM)
    if head_dim < 2 or head_dim % 2 != 0:
        raise fields.bad("head_dim", "even and at least 2, for RoPE rotates pairs", head_dim)
    return head_dim


def _dtype(fields: Fields) -> str | None:
    key = "dtype" if fields.get("dtype") is not None else "torch_dtype"
    return None if fields.get(key) is None else fields.string(key, "")
