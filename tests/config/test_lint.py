"""Every finding of the linter: what triggers it, and a near miss that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from inferno.config import LlamaConfig
from inferno.config.lint import RULES, lint
from inferno.config.params import config_from_params
from inferno.errors import ConfigError, InfernoError, TextError
from inferno.findings import Finding
from inferno.text.special import SpecialTokens
from inferno.text.survey import TextSurvey, TokenizerSurvey, survey_text_files
from lint_cases import (
    LLAMA31_CONFIG,
    LLAMA31_GENERATION,
    SMOLLM2_CONFIG,
    SMOLLM2_GENERATION,
    TINYLLAMA_CONFIG,
    TINYLLAMA_GENERATION,
    write_llama31,
    write_smollm2,
    write_tinyllama,
)

FOLDER = Path("/models/small")
PATH = FOLDER / "config.json"
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
ADDED = {0: "<unk>", 1: "<s>", 2: "</s>", 999: "<|im_end|>"}
TOKENIZER = TokenizerSurvey(
    model_type="BPE",
    vocab_size=1000,
    ordinary_size=999,
    entries=999,
    added_tokens=ADDED,
    special_ids=frozenset(ADDED),
    prefix=(1,),
    ids={text: token_id for token_id, text in ADDED.items()},
)
TEXT = TextSurvey(
    folder=FOLDER,
    tokenizer_file="tokenizer.json",
    tokenizer=TOKENIZER,
    special=SpecialTokens({"bos_token": "<s>", "eos_token": "</s>"}),
    template="{{ messages[0].content }}{{ eos_token }}",
    template_origin=f"{FOLDER}/chat_template.jinja",
)
TENSORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "model.embed_tokens.weight": ("BF16", (1000, 64)),
    "model.norm.weight": ("F32", (64,)),
    "lm_head.weight": ("BF16", (1000, 64)),
}


def findings(
    config: Mapping[str, Any] = CONFIG,
    generation: Mapping[str, Any] | None = None,
    text: TextSurvey = TEXT,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] | None = TENSORS,
) -> list[Finding]:
    try:
        parsed = LlamaConfig.from_dict(config, generation)
    except InfernoError:
        parsed = None
    return lint(config, generation or {}, parsed, text, tensors, PATH)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in CONFIG.items() if key not in keys}


def config(**fields: Any) -> dict[str, Any]:
    return {"config": {**CONFIG, **fields}}


def tokenizer(special: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    changed = replace(TEXT, tokenizer=replace(TOKENIZER, **fields))
    return {"text": changed if special is None else replace(changed, special=SpecialTokens(special))}


def text(**fields: Any) -> dict[str, Any]:
    return {"text": replace(TEXT, **fields)}


def tensors(**changes: Any) -> dict[str, Any]:
    return {"tensors": {name: value for name, value in {**TENSORS, **changes}.items() if value is not None}}


class Case(NamedTuple):
    """Arguments of `findings` with which `code` is found, at `where` and with `says` in its text, and some without."""

    code: str
    found: dict[str, Any]
    where: str
    says: str
    missed: dict[str, Any]


def yarn(**fields: Any) -> dict[str, Any]:
    return {"rope_scaling": {**LLAMA3_ROPE, **fields}}


CASES = [
    Case(
        "field-defaulted",
        {"config": without("rms_norm_eps", "mlp_bias")},
        "config.json",
        "leaves to defaults: rms_norm_eps = 1e-06, mlp_bias = false",
        {},
    ),
    Case(
        "field-defaulted",
        {"config": {**without("rope_theta"), "rope_scaling": {**LLAMA3_ROPE, "rope_type": "yarn", "beta_fast": 32}}},
        "config.json",
        "rope_theta = 10000.0, rope beta_slow = 1.0, rope truncate = true",
        config(rope_scaling={**LLAMA3_ROPE}),
    ),
    Case(
        "unknown-arithmetic-field",
        config(residual_gain=3),
        "config.json: residual_gain",
        "is 3, which Inferno does not know; by its name it may change",
        config(colour=3),
    ),
    Case(
        "unknown-field",
        config(colour=3, taste={"a": "\x1b"}),
        "config.json",
        r'does not know, and ignores: colour = 3, taste = {"a": "\u001b"}',
        config(pad_token_id=-1, use_cache=True, residual_gain=3),
    ),
    Case(
        "heads-do-not-fill-hidden-size",
        config(head_dim=32),
        "config.json: head_dim",
        "is 32: 4 heads of it are 128 wide, not hidden_size (64)",
        {},
    ),
    Case("rms-norm-eps-unusual", config(rms_norm_eps=0.1), "config.json: rms_norm_eps", "is 0.1; ", {}),
    Case(
        "rms-norm-eps-unusual", config(rms_norm_eps=1e-12), "config.json: rms_norm_eps", "", config(rms_norm_eps=1e-6)
    ),
    Case(
        "dtype-names-differ",
        config(dtype="float16"),
        "config.json: dtype",
        'is "float16", and torch_dtype is "bfloat16"',
        config(dtype="bfloat16"),
    ),
    Case(
        "dtype-not-stored",
        config(torch_dtype="float16"),
        "config.json: torch_dtype",
        'is "float16", but the matrices are stored as BF16',
        # the norm's type is nobody's claim
        config(torch_dtype="bfloat16"),
    ),
    Case(
        "dtype-not-stored",
        config(torch_dtype="torch.float16"),
        "config.json: torch_dtype",
        "",
        config(torch_dtype="torch.bfloat16"),
    ),
    Case(
        "dtype-not-stored",
        {"config": {**without("torch_dtype"), "dtype": "float32"}},
        "config.json: dtype",
        "",
        {"config": {**without("torch_dtype"), "dtype": "float32"}, **tensors(x=("F32", (2, 2)))},
    ),
    Case(
        "tie-word-embeddings-missing",
        {"config": without("tie_word_embeddings"), **tensors(**{"lm_head.weight": None})},
        "config.json: tie_word_embeddings",
        "is not given, which means false, but no lm_head.weight is stored",
        {"config": without("tie_word_embeddings")},
    ),
    Case(
        "tie-word-embeddings-missing",
        {"config": without("tie_word_embeddings"), **tensors(**{"lm_head.weight": None})},
        "config.json: tie_word_embeddings",
        "",
        {**config(tie_word_embeddings=True), **tensors(**{"lm_head.weight": None})},
    ),
    Case(
        "pretraining-tp",
        config(pretraining_tp=2),
        "config.json: pretraining_tp",
        "added each product up in 2 pieces",
        config(pretraining_tp=1),
    ),
    Case(
        "rope-theta-differs",
        config(rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}),
        "config.json: rope_parameters.rope_theta",
        "is 500000.0, but rope_theta at the top level is 10000.0; 500000 is used",
        config(rope_parameters={"rope_theta": 10000, "rope_type": "default"}),
    ),
    Case(
        "rope-parameters-replaced",
        config(rope_scaling=LLAMA3_ROPE, rope_parameters={**LLAMA3_ROPE, "factor": 32.0}),
        "config.json: rope_parameters",
        'differs from rope_scaling, which replaces it, in "factor"',
        config(
            rope_scaling={**LLAMA3_ROPE, "type": "llama3", "mscale": None},
            rope_parameters={**LLAMA3_ROPE, "rope_theta": 10000.0},
        ),
    ),
    Case(
        "rope-type-differs",
        config(rope_scaling=LLAMA3_ROPE, rope_parameters={**LLAMA3_ROPE, "type": "yarn"}),
        "config.json: rope_parameters.rope_type",
        'is "llama3", but type, its older name, is "yarn"',
        config(rope_scaling={**LLAMA3_ROPE, "type": "llama3"}),
    ),
    Case(
        "rope-theta-defaulted",
        {"config": {**without("rope_theta"), "vocab_size": 102400}},
        "config.json: rope_theta",
        "is not given, so 10000 is taken; models with a vocabulary of 102400",
        {"config": {**without("rope_theta"), "vocab_size": 100000}},
    ),
    Case(
        "rope-theta-small",
        config(max_position_embeddings=16384),
        "config.json: rope_theta",
        "is 10000 without scaling, which does not suit max_position_embeddings (16384)",
        config(max_position_embeddings=8192),
    ),
    Case(
        "rope-theta-small",
        config(max_position_embeddings=16384),
        "config.json: rope_theta",
        "",
        config(max_position_embeddings=16384, rope_scaling={"type": "linear", "factor": 4.0}),
    ),
    Case(
        "rope-theta-below-llama3",
        config(vocab_size=128256),
        "config.json: rope_theta",
        "is 10000; models of Llama 3's vocabulary (128256) have 500000 or more",
        config(vocab_size=128256, rope_theta=5e5),
    ),
    Case(
        "rope-factor-below-one",
        config(rope_scaling={"type": "linear", "factor": 0.25}),
        "config.json: rope_scaling.factor",
        "is 0.25, below 1",
        config(rope_scaling={"type": "linear", "factor": 1.0}),
    ),
    Case(
        "rope-original-length",
        config(rope_parameters={**LLAMA3_ROPE, "original_max_position_embeddings": 2048}),
        "config.json: rope_parameters.original_max_position_embeddings",
        "is 2048, as much as max_position_embeddings, though factor is 8",
        config(rope_scaling=LLAMA3_ROPE),
    ),
    Case(
        "eos-missing",
        {"config": without("eos_token_id"), **text(tokenizer_file=None, tokenizer=None)},
        "config.json: eos_token_id",
        "the tokenizer names none either: no token ends an answer; set it to the id that ends the model's answers",
        {"config": without("eos_token_id")},
    ),
    Case(
        "eos-missing",
        {"config": without("eos_token_id"), **text(tokenizer_file=None, tokenizer=None)},
        "config.json: eos_token_id",
        "no token ends an answer",
        {"config": without("eos_token_id"), **text(tokenizer_file="tokenizer.model", tokenizer=None)},
    ),
    Case(
        "eos-differs",
        {"generation": {"eos_token_id": [999]}},
        "config.json: eos_token_id",
        'is 2 ("</s>"), but generation_config.json has 999 ("<|im_end|>"); an answer ends at any of them',
        {"generation": {"eos_token_id": [2, 999]}},
    ),
    Case(
        "eos-not-the-tokenizers",
        config(eos_token_id=[0, 999]),
        "config.json: eos_token_id",
        'is 0 ("<unk>"), 999 ("<|im_end|>") (with generation_config.json), but the tokenizer\'s eos_token is 2',
        {**config(eos_token_id=0), "generation": {"eos_token_id": 2}},
    ),
    Case(
        "token-id-outside-vocabulary",
        {"generation": {"eos_token_id": [2, 1000]}},
        "generation_config.json: eos_token_id",
        "is 1000, but the model's vocabulary ends at 999",
        {"generation": {"eos_token_id": [2, 999], "pad_token_id": 1000}},
    ),
    Case(
        "bos-differs",
        config(bos_token_id=0),
        "config.json: bos_token_id",
        'is 0 ("<unk>"), but the tokenizer\'s bos_token is 1 ("<s>") (tokenizer_config.json)',
        tokenizer(special={"eos_token": "</s>"}),
    ),
    Case(
        "bos-differs",
        {"generation": {"bos_token_id": 0}},
        "config.json: bos_token_id",
        'is 1 ("<s>"), but generation_config.json has 0 ("<unk>")',
        {"generation": {"bos_token_id": 1}},
    ),
    Case(
        "special-token-unknown",
        tokenizer(special={"bos_token": "<s>", "eos_token": "<\x07>"}),
        "tokenizer_config.json: eos_token",
        r'is "<\u0007>", which is no token of tokenizer.json',
        tokenizer(special={"bos_token": "<s>", "eos_token": "<end>"}, model_type="Unigram"),
    ),
    Case(
        "vocabulary-too-small",
        tokenizer(ordinary_size=1001, vocab_size=1001),
        "config.json: vocab_size",
        "must be at least 1001, the vocabulary of /models/small/tokenizer.json; got 1000",
        tokenizer(ordinary_size=1000, vocab_size=1001, added_tokens={1000: "<pad>"}),
    ),
    Case(
        "added-tokens-outside-vocabulary",
        tokenizer(vocab_size=1002, added_tokens={**ADDED, 1000: "<pad>", 1001: "<x>"}),
        "config.json: vocab_size",
        'has added tokens beyond it: 1000 ("<pad>"), 1001 ("<x>"); a prompt',
        tokenizer(ordinary_size=1001, vocab_size=1001, added_tokens={1001: "<pad>"}),
    ),
    Case(
        "vocabulary-padded",
        {**config(vocab_size=2025)},
        "config.json: vocab_size",
        "is 2025, 1025 more than tokenizer.json has tokens",
        {**config(vocab_size=2024)},
    ),
    Case(
        "context-lengths-differ",
        text(model_max_length=4096),
        "tokenizer_config.json: model_max_length",
        "is 4096, but max_position_embeddings is 2048",
        text(model_max_length=2048),
    ),
    Case(
        "text-file-broken",
        text(faults=(TextError("/models/small/tokenizer.json: must be whole; got 7 bytes"),)),
        "tokenizer.json",
        "must be whole; got 7 bytes",
        {},
    ),
    Case(
        "tokenizer-missing",
        text(tokenizer_file=None, tokenizer=None),
        "",
        "holds no tokenizer.json and no tokenizer.model; prompts can be given as token ids only",
        text(tokenizer_file="tokenizer.model", tokenizer=None),
    ),
    Case(
        "chat-template-missing",
        text(template=None),
        "",
        "holds no chat template",
        text(template=None, tokenizer_file=None, tokenizer=None),
    ),
    Case(
        "chat-templates-differ",
        text(template_replaces="/models/small/tokenizer_config.json: chat_template"),
        "tokenizer_config.json: chat_template",
        "differs from /models/small/chat_template.jinja, which is used",
        {},
    ),
    Case(
        "turn-end-not-a-stop",
        text(template="{{ content }}<|im_end|>"),
        "chat_template.jinja",
        'ends turns with "<|im_end|>" (999), but an answer ends at 2 ("</s>") only; add 999 to eos_token_id',
        text(template="{{ content }}<|im_end|>{{ eos_token }}"),
    ),
    Case(
        "turn-end-not-a-stop",
        text(template="{{ content }}<|im_end|>"),
        "chat_template.jinja",
        "",
        # then eos-not-the-tokenizers says it
        config(eos_token_id=0),
    ),
    Case(
        "turn-end-not-a-token",
        text(template="{{ content }}<|eot_id|>"),
        "chat_template.jinja",
        'ends turns with "<|eot_id|>", which is no token of tokenizer.json',
        text(template="{{ content }}<|eot_id|></s>"),
    ),
    Case(
        "bos-twice",
        text(template="{{ bos_token }}{{ eos_token }}"),
        "chat_template.jinja",
        "prints the begin token, and the tokenizer adds it too",
        tokenizer(prefix=()) | text(template="<s>", tokenizer=replace(TOKENIZER, prefix=())),
    ),
    Case(
        "chat-without-bos",
        {},
        "chat_template.jinja",
        "prints no begin token, though the tokenizer begins every text with one",
        tokenizer(prefix=()),
    ),
    Case(
        "generation-setting-ignored",
        {"generation": {"num_beams": 4}},
        "generation_config.json: num_beams",
        'is "4", which Inferno does not implement',
        {"generation": {"num_beams": 1}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_each_finding_and_a_near_miss(case: Case) -> None:
    (found,) = (finding for finding in findings(**case.found) if finding.code == case.code)
    assert found.where == str(FOLDER / case.where)
    assert case.says in f"{found.message}; {found.repair}"
    assert case.code not in {finding.code for finding in findings(**case.missed)}


def test_every_rule_has_a_case() -> None:
    assert {rule.code for rule in RULES} == {case.code for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_findings_are_one_printable_line(case: Case) -> None:
    for finding in findings(**case.found):
        assert str(finding).isascii()
        assert str(finding).isprintable()
        assert (finding.error is not None) == (finding.severity == "error")


def test_an_error_carries_what_loading_raises() -> None:
    (found,) = (finding for finding in findings(**tokenizer(ordinary_size=1001)) if finding.severity == "error")
    assert isinstance(found.error, ConfigError)
    assert str(found.error) == str(found)
    with pytest.raises(ConfigError, match=r"^/models/small/config.json: vocab_size: must be at least 1001, .*; take "):
        raise found.error


@pytest.mark.parametrize(
    ("config", "generation", "write", "notes"),
    [
        (LLAMA31_CONFIG, LLAMA31_GENERATION, write_llama31, {"bos-twice"}),
        (TINYLLAMA_CONFIG, TINYLLAMA_GENERATION, write_tinyllama, {"chat-without-bos", "field-defaulted"}),
        (SMOLLM2_CONFIG, SMOLLM2_GENERATION, write_smollm2, set()),
    ],
    ids=["llama31", "tinyllama", "smollm2"],
)
def test_published_models_get_notes_only(
    tmp_path: Path, config: dict[str, Any], generation: dict[str, Any], write: Callable[[Path], Path], notes: set[str]
) -> None:
    folder = write(tmp_path)
    survey = survey_text_files(folder, [path.name for path in folder.iterdir()])
    stored = {"model.embed_tokens.weight": ("BF16", (config["vocab_size"], config["hidden_size"]))}
    found = lint(config, generation, LlamaConfig.from_dict(config, generation), survey, stored, folder / "config.json")
    assert [finding for finding in found if finding.severity != "note"] == []
    assert {finding.code for finding in found} - {"field-defaulted"} == notes - {"field-defaulted"}


def test_a_config_of_transformers_5_gets_the_same_findings() -> None:
    config = {key: value for key, value in LLAMA31_CONFIG.items() if key not in ("rope_theta", "rope_scaling")}
    config["rope_parameters"] = {**LLAMA31_CONFIG["rope_scaling"], "rope_theta": 500000.0}
    config["dtype"] = config.pop("torch_dtype")
    text = replace(TEXT, tokenizer=None, special=SpecialTokens())
    old = findings(LLAMA31_CONFIG, LLAMA31_GENERATION, text)
    assert findings(config, LLAMA31_GENERATION, text) == old
    assert all(finding.severity == "note" for finding in old)


WRONG: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    2**70,
    1.5,
    "x",
    "llama",
    [],
    [1, "a", None],
    {},
    {"rope_type": 3, "factor": []},
]


def test_no_value_of_any_field_stops_the_linter() -> None:
    keys = [*CONFIG, "dtype", "rope_scaling", "rope_parameters", "pretraining_tp", "quantization_config", "head_mix"]
    for key in keys:
        for value in WRONG:
            findings({**CONFIG, key: value}, {key: value})
            findings({**CONFIG, "rope_scaling": {"rope_theta": value, key: value}, "rope_parameters": {key: value}})


def test_a_folder_without_anything() -> None:
    nothing = TextSurvey(FOLDER)
    found = lint({}, {}, None, nothing, None, PATH)
    assert {finding.code for finding in found} == {"eos-missing", "tokenizer-missing"}


def test_the_keys_of_params_json_are_its_own(tmp_path: Path) -> None:
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 128, "norm_eps": 1e-5, "wobble": 1}
    parsed = config_from_params(params)
    found = lint(params, {}, parsed, survey_text_files(tmp_path, []), None, tmp_path / "params.json")
    assert {finding.code for finding in found if "n_heads" in finding.message} == set()
    assert [finding.message for finding in found if finding.code == "unknown-field"] == [
        "holds fields that Inferno does not know, and ignores: wobble = 1"
    ]
    assert "unknown-arithmetic-field" not in {finding.code for finding in found}
