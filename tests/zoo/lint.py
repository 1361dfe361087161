"""Every finding of the linter."""

from __future__ import annotations

from typing import Any

from model_edits import CONFIG, Edit, all_of, drop_config, drop_tensors, edit_config, edit_json, remove, write
from zoo.case import Case, Make, noted, refused, warned
from zoo.configs import GENERATION
from zoo.mapping import HEAD, with_heads

FILE = "{folder}/" + CONFIG
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = f"{TOKENIZER_CONFIG}: chat_template"
THETA = {"rope_theta": 1e4}


def warning(code: str, make: Make, field: str, message: str, name: str = "", **more: Any) -> Case:
    return warned(name or code, make, code, f"{FILE}: {field}" if field else FILE, message, **more)


def note(code: str, make: Make, field: str, message: str, **more: Any) -> Case:
    return noted(code, make, code, f"{FILE}: {field}" if field else FILE, message, **more)


def text_warning(code: str, make: Make, where: str, message: str) -> Case:
    return warned(code, make, code, "{folder}" + where, message)


def text_note(code: str, make: Make, where: str, message: str) -> Case:
    return noted(code, make, code, "{folder}" + where, message)


def settings(**changes: Any) -> Edit:
    return edit_json(TOKENIZER_CONFIG, changes)


def ends(*ids: int) -> Edit:
    """Both configs name these end tokens."""
    return all_of(edit_config(eos_token_id=list(ids)), edit_json(GENERATION, {"eos_token_id": list(ids)}))


def ordinary_token(token_id: int) -> Edit:
    return edit_json(TOKENIZER, change=lambda values: values["model"]["vocab"].update(zzz=token_id))


def added_token(token_id: int) -> Edit:
    token = {"id": token_id, "content": "<pad>", "special": True, "normalized": False}
    token |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    return edit_json(TOKENIZER, change=lambda values: values["added_tokens"].append(token))


def begins_with(token: str, token_id: int) -> Edit:
    """The tokenizer puts a token before every text."""
    processor = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }
    return edit_json(TOKENIZER, {"post_processor": processor})


FIELDS = [
    note("field-defaulted", drop_config("rms_norm_eps"), "", "leaves to defaults: head_dim = 8, rms_norm_eps = 1e-06"),
    warning("unknown-arithmetic-field", edit_config(rope_trick=2), "rope_trick", "is 2, which Inferno does not know"),
    warning("unknown-field", edit_config(colour="red"), "", 'and ignores: colour = "red"'),
    note("heads-do-not-fill-hidden-size", with_heads(2, 8), "head_dim", "is 8: 2 heads of it are 16 wide"),
    warning("rms-norm-eps-unusual", edit_config(rms_norm_eps=1), "rms_norm_eps", "is 1; Llama models have 1e-05"),
    warning("dtype-names-differ", edit_config(torch_dtype="float16"), "dtype", 'torch_dtype is "float16"'),
    note("dtype-not-stored", edit_config(dtype="bfloat16"), "dtype", "but the matrices are stored as F32"),
    note("pretraining-tp", edit_config(pretraining_tp=2), "pretraining_tp", "is 2: transformers 4 added each product"),
    warning(
        "tie-word-embeddings-missing",
        all_of(drop_config("tie_word_embeddings"), drop_tensors(HEAD)),
        *("tie_word_embeddings", f"is not given, which means false, but no {HEAD} is stored"),
        fatal=True,
    ),
]
ROPE = [
    warning(
        "rope-theta-differs",
        edit_config(rope_theta=500000.0),
        *("rope_parameters.rope_theta", "is 10000.0, but rope_theta at the top level is 500000.0; 10000 is used"),
    ),
    warning(
        "rope-parameters-replaced",
        edit_config(rope_scaling={"rope_type": "linear", "factor": 2.0, **THETA}),
        *("rope_parameters", 'differs from rope_scaling, which replaces it, in "factor", "rope_type"'),
    ),
    warning(
        "rope-type-differs",
        edit_config(
            rope_scaling={"rope_type": "default", **THETA},
            rope_parameters={"rope_type": "linear", "type": "yarn", "factor": 2.0, **THETA},
        ),
        *("rope_parameters.rope_type", 'is "linear", but type, its older name, is "yarn"'),
    ),
    warning(
        "rope-theta-defaulted",
        all_of(edit_config(vocab_size=100_001), drop_config("rope_parameters")),
        *("rope_theta", "is not given, so 10000 is taken; models with a vocabulary of 100001 have"),
        fatal=True,
    ),
    warning(
        "rope-theta-small",
        edit_config(max_position_embeddings=8193),
        *("rope_theta", "is 10000 without scaling, which does not suit max_position_embeddings (8193)"),
    ),
    warning(
        "rope-theta-below-llama3",
        edit_config(vocab_size=128_256),
        *("rope_theta", "is 10000; models of Llama 3's vocabulary (128256) have 500000 or more"),
        fatal=True,
    ),
    warning(
        "rope-factor-below-one",
        edit_config(rope_parameters={"rope_type": "linear", "factor": 0.5, **THETA}),
        *("rope_parameters.factor", "is 0.5, below 1: positions are spread apart"),
    ),
    warning(
        "rope-original-length",
        edit_config(rope_parameters={"rope_type": "yarn", "factor": 2.0, **THETA}),
        *("rope_parameters.original_max_position_embeddings", "is 512, as much as max_position_embeddings, though"),
    ),
]
TOKENS = [
    warning(
        "eos-missing",
        all_of(
            drop_config("eos_token_id"),
            edit_json(GENERATION, without=("eos_token_id",)),
            edit_json(TOKENIZER_CONFIG, without=("eos_token",)),
        ),
        *(
            "eos_token_id",
            "nor in generation_config.json, and the tokenizer names none either: no token ends an answer",
        ),
    ),
    warning("eos-differs", edit_config(eos_token_id=[2, 3]), "eos_token_id", "an answer ends at any of them"),
    warning("eos-not-the-tokenizers", ends(0), "eos_token_id", f'the tokenizer\'s eos_token is 2 ("{IM_END}"); an'),
    warning(
        "token-id-outside-vocabulary",
        edit_config(eos_token_id=[2, 0, 320]),
        *("eos_token_id", "is 320, but the model's vocabulary ends at 319"),
    ),
    warning("bos-differs", edit_config(bos_token_id=3), "bos_token_id", "texts begin with the tokenizer's"),
    text_warning(
        "special-token-unknown",
        settings(bos_token="<s>"),
        *(f"/{TOKENIZER_CONFIG}: bos_token", 'is "<s>", which is no token of tokenizer.json'),
    ),
    refused(
        "vocabulary-too-small",
        ordinary_token(320),
        *("vocabulary-too-small", f"{FILE}: vocab_size", "must be at least 321, the vocabulary of {folder}/tokenizer"),
    ),
    warning(
        "added-tokens-outside-vocabulary",
        added_token(320),
        *("vocab_size", "is 320, but tokenizer.json has added tokens beyond it: 320"),
    ),
    note(
        "vocabulary-padded",
        edit_config(vocab_size=1292),
        *("vocab_size", "is 1292, 1025 more than tokenizer.json has tokens: padding, or"),
        fatal=True,
    ),
    text_note(
        "context-lengths-differ",
        settings(model_max_length=1024),
        *(f"/{TOKENIZER_CONFIG}: model_max_length", "is 1024, but max_position_embeddings is 512; the latter counts"),
    ),
]
CHAT = [
    warned(
        "tokenizer-missing",
        remove(TOKENIZER),
        *("tokenizer-missing", "{folder}", "holds no tokenizer.json and no tokenizer.model"),
        speaks=False,
    ),
    text_note(
        "chat-template-missing",
        edit_json(TOKENIZER_CONFIG, without=("chat_template",)),
        *("", "holds no chat template: prompts are continued as raw text"),
    ),
    text_note(
        "chat-templates-differ",
        write("chat_template.jinja", f"{{{{ messages[0]['content'] }}}}{IM_END}"),
        *(f"/{TEMPLATE}", "differs from {folder}/chat_template.jinja, which is used"),
    ),
    text_warning(
        "turn-end-not-a-stop",
        all_of(ends(0), settings(eos_token=END_OF_TEXT)),
        *(f"/{TEMPLATE}", f'ends turns with "{IM_END}" (2), but an answer ends at 0 ("{END_OF_TEXT}") only'),
    ),
    text_warning(
        "turn-end-not-a-token",
        settings(chat_template="{{ messages[0]['content'] }}<|eot_id|>"),
        *(f"/{TEMPLATE}", 'ends turns with "<|eot_id|>", which is no token of tokenizer.json'),
    ),
    text_note(
        "bos-twice",
        begins_with(IM_START, 1),
        *(f"/{TEMPLATE}", "prints the begin token, and the tokenizer adds it too; Inferno does not add it"),
    ),
    text_note(
        "chat-without-bos",
        all_of(begins_with(END_OF_TEXT, 0), settings(bos_token=END_OF_TEXT), edit_config(bos_token_id=0)),
        *(f"/{TEMPLATE}", "prints no begin token, though the tokenizer begins every text with one"),
    ),
    warned(
        "generation-setting-ignored",
        edit_json(GENERATION, {"num_beams": 4}),
        *("generation-setting-ignored", "{folder}/" + GENERATION + ": num_beams", 'is "4", which Inferno does not'),
    ),
]
CASES = [*FIELDS, *ROPE, *TOKENS, *CHAT]
