"""Published models' small files, as facts: what a linter must find nothing wrong with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LLAMA31_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 128256,
}
LLAMA31_GENERATION: dict[str, Any] = {
    "bos_token_id": 128000,
    "do_sample": True,
    "eos_token_id": [128001, 128008, 128009],
    "temperature": 0.6,
    "top_p": 0.9,
    "transformers_version": "4.42.3",
}
LLAMA3_TEMPLATE = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
TINYLLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 5632,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 22,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.35.0",
    "use_cache": True,
    "vocab_size": 32000,
}
TINYLLAMA_GENERATION: dict[str, Any] = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_length": 2048,
    "pad_token_id": 0,
    "transformers_version": "4.35.0",
}
TINYLLAMA_TEMPLATE = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
    "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
    "{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
SMOLLM2_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 49152,
}
SMOLLM2_GENERATION: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LLAMA31_TOKENS = {
    128000: "<|begin_of_text|>",
    128001: "<|end_of_text|>",
    **{128002 + i: f"<|reserved_special_token_{i}|>" for i in range(254)},
    128006: "<|start_header_id|>",
    128007: "<|end_header_id|>",
    128008: "<|eom_id|>",
    128009: "<|eot_id|>",
}


def begins_with(token: str, token_id: int) -> dict[str, Any]:
    """A post-processor that puts `token` before every text."""
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }


def tokenizer_json(
    size: int,
    added: Mapping[int, str],
    post_processor: Any = None,
    inside: bool = True,
    model: str = "BPE",
) -> dict[str, Any]:
    """A tokenizer.json of `size` ordinary tokens; `inside`: added tokens below `size` stand in the vocabulary too."""
    texts = [added[i] if inside and i in added else f"t{i}" for i in range(size)]
    vocab: Any = [[text, -1.5] for text in texts] if model == "Unigram" else {text: i for i, text in enumerate(texts)}
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": text, "special": True} for i, text in added.items()],
        "post_processor": post_processor,
        "model": {"type": model, "vocab": vocab, "merges": []},
    }


def write_texts(
    folder: Path, tokenizer: Mapping[str, Any] | None, settings: Mapping[str, Any], template: str | None = None
) -> Path:
    """tokenizer.json, tokenizer_config.json and, if there is a template, chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def write_llama31(folder: Path) -> Path:
    """Llama 3.1 Instruct's: the template prints BOS, and the post-processor adds it."""
    post = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, begins_with("<|begin_of_text|>", 128000)]}
    settings = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "model_max_length": 131072}
    return write_texts(folder, tokenizer_json(128000, LLAMA31_TOKENS, post), settings, LLAMA3_TEMPLATE)


def write_tinyllama(folder: Path) -> Path:
    """TinyLlama 1.1B Chat's: BOS before raw prompts, none in a chat."""
    added = {0: "<unk>", 1: "<s>", 2: "</s>"}
    settings = {"bos_token": "<s>", "eos_token": "</s>", "model_max_length": 2048, "pad_token": "</s>"}
    return write_texts(folder, tokenizer_json(32000, added, begins_with("<s>", 1)), settings, TINYLLAMA_TEMPLATE)


def write_smollm2(folder: Path) -> Path:
    """SmolLM2 135M Instruct's: no BOS before raw prompts."""
    added = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "model_max_length": 8192}
    return write_texts(folder, tokenizer_json(49152, added, {"type": "ByteLevel"}), settings, SMOLLM2_TEMPLATE)
