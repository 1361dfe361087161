"""The keys of config.json that are not read: harmless ones, and those that would change the arithmetic.

A key that is in neither list nor read is reported as `LlamaConfig.unknown_keys`.
"""

from __future__ import annotations

from typing import Any

from inferno.config.fields import Fields
from inferno.errors import UnsupportedError
from inferno.files import show

# Values at which such a key changes nothing, beside null.
_OFF: tuple[Any, ...] = (False,)
_ONE: tuple[Any, ...] = (1,)
_NO_EXPERTS: tuple[Any, ...] = (0, 1)
_NULL_ONLY: tuple[Any, ...] = ()

CHANGES_ARITHMETIC: dict[str, tuple[Any, ...]] = {
    # attention
    "sliding_window": _NULL_ONLY,
    "use_sliding_window": _OFF,
    "attention_chunk_size": _NULL_ONLY,
    "attention_multiplier": _NULL_ONLY,
    "query_pre_attn_scalar": _NULL_ONLY,
    "attn_logit_softcapping": _NULL_ONLY,
    "attn_temperature_tuning": _OFF,
    "attn_scale": _NULL_ONLY,
    "floor_scale": _NULL_ONLY,
    "clip_qkv": _NULL_ONLY,
    "qk_norm": _OFF,
    "use_qk_norm": _OFF,
    "qk_layernorm": _OFF,
    "alibi": _OFF,
    "cross_attention_layers": ([],),
    "add_cross_attention": _OFF,
    "is_encoder_decoder": _OFF,
    "pruned_heads": ({}, []),
    # positions
    "no_rope_layers": ([],),
    "no_rope_layer_interval": (0,),
    "nope_layer_interval": (0,),
    "rotary_pct": _ONE,
    "rope_interleaved": _OFF,
    "rope_interleave": _OFF,
    # scales
    "embedding_multiplier": _ONE,
    "residual_multiplier": _ONE,
    "logits_scaling": _ONE,
    "logit_scale": _ONE,
    "lm_head_multiplier": _ONE,
    "scale_emb": _ONE,
    "scale_depth": _NULL_ONLY,
    "dim_model_base": _NULL_ONLY,
    "scale_embedding": _OFF,
    "final_logit_softcapping": _NULL_ONLY,
    # blocks
    "block_configs": _NULL_ONLY,
    "parallel_residual": _OFF,
    "use_parallel_residual": _OFF,
    "bias": _OFF,
    "use_bias": _OFF,
    "qkv_bias": _OFF,
    "add_bias_linear": _OFF,
    "num_local_experts": _NO_EXPERTS,
    "num_experts": _NO_EXPERTS,
    "n_routed_experts": _NO_EXPERTS,
    # weights that are not plain, or code of the model's own
    "quantization": _NULL_ONLY,
    "auto_map": ({},),
}

_READ = {
    "model_type architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads",
    "num_key_value_heads head_dim rms_norm_eps hidden_act attention_bias mlp_bias tie_word_embeddings",
    "max_position_embeddings rope_theta rope_scaling rope_parameters original_max_position_embeddings",
    "partial_rotary_factor bos_token_id eos_token_id torch_dtype dtype quantization_config layer_types",
    "compression_config",
}

_HARMLESS = {
    # of transformers: provenance, training, output shapes
    "_name_or_path _commit_hash _attn_implementation _attn_implementation_autoset transformers_version name_or_path",
    "use_cache initializer_range pad_token_id sep_token_id decoder_start_token_id unk_token_id mask_token_id",
    "attention_dropout hidden_dropout embd_pdrop resid_pdrop dropout layerdrop use_return_dict return_dict",
    "output_attentions output_hidden_states output_scores return_dict_in_generate torchscript use_bfloat16",
    "id2label label2id num_labels problem_type task_specific_params finetuning_task classifier_dropout",
    "tokenizer_class prefix is_decoder cross_attention_hidden_size tie_encoder_decoder chunk_size_feed_forward",
    "gradient_checkpointing tf_legacy_loss keys_to_ignore_at_inference base_model_tp_plan",
    # Llama's: a split of the same products, of no effect since transformers 5
    "pretraining_tp",
    # generation settings of old configs; generation_config.json has them now
    "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k",
    "top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids",
    "num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values suppress_tokens",
    "begin_suppress_tokens exponential_decay_length_penalty max_sequence_length max_window_layers model_max_length",
    # notes of other tools
    "unsloth_version unsloth_fixed unsloth_processed_version transformers.js_config ollama_version",
    "is_llama_config",
}

KNOWN = frozenset(key for line in (*_READ, *_HARMLESS) for key in line.split()) | CHANGES_ARITHMETIC.keys()


def refuse_other_arithmetic(config: Fields) -> None:
    """UnsupportedError for a key that asks for arithmetic beyond Llama's, at a value that is not neutral."""
    for key, neutral in CHANGES_ARITHMETIC.items():
        value = config.get(key)
        if (
            value is not None
            and not any(equals_json(value, n) for n in neutral)
            and not _without_effect(config, key, value)
        ):
            off = " or ".join(["absent", "null", *map(show, neutral)])
            raise UnsupportedError(
                f"{config.where}: {key} must be {off}, for Inferno does not implement it; got {show(value)}"
            )
    layers = config.get("layer_types")
    if layers is not None and (not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)):
        raise UnsupportedError(f'{config.where}: layer_types must all be "full_attention"; got {show(layers)}')


def unknown_keys(config: Fields) -> tuple[str, ...]:
    """The keys that are neither read nor listed here, sorted."""
    return tuple(sorted(key for key in config.values if key not in KNOWN))


def equals_json(value: object, neutral: object) -> bool:
    """Whether two values of JSON are equal: True == 1 in Python, not there."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _without_effect(config: Fields, key: str, value: object) -> bool:
    """Whether the key changes nothing for what another field, or the whole of its list, says."""
    if key == "sliding_window":  # Qwen2's switch, which stays in configs that were turned into Llama's
        return config.get("use_sliding_window") is False
    # SmolLM3's list has 1 where a layer rotates, despite its name.
    return key == "no_rope_layers" and isinstance(value, list) and all(type(n) is int and n == 1 for n in value)
