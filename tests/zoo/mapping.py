"""Tensors against the config: missing, strange, misshapen, of other types; tied heads; what memory does not hold."""

from __future__ import annotations

from model_edits import (
    CONFIG,
    WEIGHTS,
    Edit,
    Tensors,
    add_tensor,
    all_of,
    drop_tensors,
    edit_config,
    edit_tensors,
    rename_tensor,
    rename_tensors,
)
from zoo.case import Case, Make, refused, runs, warned

NORM, EMBEDDING, HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"
Q = "model.layers.0.self_attn.q_proj.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
BIASES = [f"{kind}_proj.bias" for kind in "qkvo"]
INV_FREQ = "model.layers.0.self_attn.rotary_emb.inv_freq"


def unfitting(name: str, make: Make, message: str) -> Case:
    return refused(name, make, "checkpoint", "{folder}", message)


def typed(dtype: str, numpy_bytes: float, *names: str) -> Edit:
    """The tensors stored in another type, of so many bytes an element, all zero."""

    def change(tensors: Tensors) -> None:
        for name in names or list(tensors):
            _, shape, _ = tensors[name]
            count = 1
            for n in shape:
                count *= n
            tensors[name] = (dtype, shape, bytes(int(count * numpy_bytes)))

    return edit_tensors(change)


def no_kernel(dtype: str, numpy_bytes: float, why: str, *names: str) -> Case:
    message = f"must be one of F32, F16, BF16; got {dtype}: {why}"
    what = f"{dtype} " + (names[0] if names else "throughout")
    return refused(what, typed(dtype, numpy_bytes, *names), "unsupported", "{folder}/" + WEIGHTS, message)


def reshaped(name: str, *shape: int) -> Edit:
    def change(tensors: Tensors) -> None:
        dtype, _, data = tensors[name]
        tensors[name] = (dtype, list(shape), data)

    return edit_tensors(change)


def prefixed(prefix: str) -> Edit:
    return rename_tensors(lambda name: prefix + name)


def without_prefix(name: str) -> str:
    return name.removeprefix("model.")


def fused(tensors: Tensors) -> None:
    """q, k and v in one, as Phi-3 has them."""
    for layer in range(2):
        parts = [tensors.pop(f"model.layers.{layer}.self_attn.{kind}_proj.weight") for kind in "qkv"]
        rows = sum(shape[0] for _, shape, _ in parts)
        joined = ("F32", [rows, parts[0][1][1]], b"".join(data for _, _, data in parts))
        tensors[f"model.layers.{layer}.self_attn.qkv_proj.weight"] = joined


def with_biases(tensors: Tensors) -> None:
    for layer in range(2):
        for kind in "qkvo":
            name = f"model.layers.{layer}.self_attn.{kind}_proj"
            tensors[f"{name}.bias"] = (
                "F32",
                [tensors[f"{name}.weight"][1][0]],
                bytes(4 * tensors[f"{name}.weight"][1][0]),
            )


def with_heads(count: int, head_dim: int) -> Edit:
    """Attention of so many heads, each with keys and values of its own."""

    def change(tensors: Tensors) -> None:
        width = count * head_dim
        for layer in range(2):
            for kind, shape in {"q": [width, 32], "k": [width, 32], "v": [width, 32], "o": [32, width]}.items():
                tensors[f"model.layers.{layer}.self_attn.{kind}_proj.weight"] = ("F32", shape, bytes(128 * width))

    heads = edit_config(head_dim=head_dim, num_attention_heads=count, num_key_value_heads=count)
    return all_of(heads, edit_tensors(change))


NAMES = [
    unfitting("a missing norm", drop_tensors(NORM), f"tensors must match config.json; missing {NORM}"),
    unfitting("a missing projection", drop_tensors(Q), f"missing {Q}"),
    unfitting("a strange tensor", add_tensor("strange", "F32", [4], 4), "unexpected strange"),
    unfitting("a strange empty tensor", add_tensor("", "F32", [0], 4), 'unexpected ""'),
    unfitting("an escape for a name", add_tensor("\x1b[2J", "F32", [4], 4), r'unexpected "\u001b[2J"'),
    unfitting("a name without end", add_tensor("x" * 100_000, "F32", [4], 4), "unexpected " + '"' + "x" * 190),
    unfitting("a misspelt norm", rename_tensor(NORM, "model.norn.weight"), f"(is model.norn.weight meant for {NORM}?)"),
    unfitting(
        "a misspelt layer",
        rename_tensors(lambda name: name.replace("self_attn", "attn")),
        "missing model.layers.*.self_attn.q_proj.weight (2 tensors)",
    ),
    unfitting("names behind a prefix", prefixed("base_model.model."), "unexpected base_model.model.model.embed_tokens"),
    unfitting("names of a wrapped model", prefixed("_orig_mod."), "(is _orig_mod.model.norm.weight meant for"),
    unfitting("names without their prefix", rename_tensors(without_prefix), "(is norm.weight meant for"),
    unfitting("more layers than tensors", edit_config(num_hidden_layers=3), "missing model.layers.2."),
    unfitting("fewer layers than tensors", edit_config(num_hidden_layers=1), "unexpected model.layers.1."),
    unfitting("4096 layers", edit_config(num_hidden_layers=4096), "q_proj.weight (4094 tensors)"),
    unfitting("norms of q and k", add_tensor("model.layers.0.self_attn.q_norm.weight", "F32", [8], 4), "unexpected"),
    unfitting("q, k and v in one", edit_tensors(fused), "unexpected model.layers.*.self_attn.qkv_proj.weight (2"),
    unfitting("biases without a word", edit_tensors(with_biases), "unexpected model.layers.*.self_attn.q_proj.bias"),
    unfitting("biases that are not there", edit_config(attention_bias=True), "missing model.layers.*.self_attn.q_proj"),
    unfitting("a rope constant elsewhere", add_tensor("model.rotary_emb.freqs", "F32", [4], 4), "unexpected model.rot"),
    runs("a rope constant", add_tensor(INV_FREQ, "F32", [4], 4)),
    runs("a rope constant of another type", add_tensor(INV_FREQ, "I64", [4], 8)),
    runs("biases", all_of(edit_tensors(with_biases), edit_config(attention_bias=True))),
]
SHAPES = [
    unfitting("a narrower norm", reshaped(NORM, 16, 2), f"{NORM} must be [32]; got [16, 2] in {WEIGHTS}"),
    unfitting("a transposed weight", reshaped(GATE, 32, 40), f"{GATE} must be [40, 32]; got [32, 40]"),
    unfitting("a flat weight", reshaped(Q, 1024), f"{Q} must be [32, 32]; got [1024]"),
    unfitting("a weight of three dimensions", reshaped(Q, 1, 32, 32), f"{Q} must be [32, 32]; got [1, 32, 32]"),
    unfitting("another width inside", edit_config(intermediate_size=41), f"{GATE} must be [41, 32]; got [40, 32]"),
    unfitting("another vocabulary", edit_config(vocab_size=321), f"{EMBEDDING} must be [321, 32]; got [320, 32]"),
    unfitting("another head size", edit_config(head_dim=16), f"{Q} must be [64, 32]; got [32, 32]"),
    unfitting(
        "more KV heads",
        edit_config(num_key_value_heads=4),
        "model.layers.0.self_attn.k_proj.weight must be [32, 32]; got [16, 32] in model.safetensors and 3 more",
    ),
]
TIED = [
    runs("tied, one stored", all_of(drop_tensors(HEAD), edit_config(tie_word_embeddings=True))),
    runs("tied, the head stored", all_of(drop_tensors(EMBEDDING), edit_config(tie_word_embeddings=True))),
    unfitting(
        "untied, no head", drop_tensors(HEAD), f"must hold {HEAD}, for config.json says that tie_word_embeddings"
    ),
    unfitting("untied, no embedding", drop_tensors(EMBEDDING), f"must hold {EMBEDDING}, for config.json says"),
    unfitting("neither embedding nor head", drop_tensors(EMBEDDING, HEAD), f"must hold {EMBEDDING} or {HEAD}; got"),
]
SCHEMELESS = "says nothing of the numbers that it stands for without a scheme"
TYPES = [
    no_kernel("F64", 8, "float64 weights are not implemented, and no checkpoint needs them; save the model in F32"),
    no_kernel("C64", 8, "complex weights have no place in a Llama"),
    no_kernel("BOOL", 1, "truth values are no weights", NORM),
    no_kernel("U8", 1, f"U8 {SCHEMELESS}", Q),
    no_kernel("I8", 1, f"I8 {SCHEMELESS}"),
    no_kernel("I16", 2, f"I16 {SCHEMELESS}", EMBEDDING),
    no_kernel("U16", 2, f"U16 {SCHEMELESS}", HEAD),
    no_kernel("I32", 4, f"I32 {SCHEMELESS}", NORM),
    no_kernel("U32", 4, f"U32 {SCHEMELESS}", Q),
    no_kernel("I64", 8, f"I64 {SCHEMELESS}", Q),
    no_kernel("U64", 8, f"U64 {SCHEMELESS}", Q),
    no_kernel("F8_E4M3", 1, f"F8_E4M3 {SCHEMELESS}"),
    no_kernel("F8_E5M2", 1, f"F8_E5M2 {SCHEMELESS}", GATE),
    no_kernel("F8_E8M0", 1, f"F8_E8M0 {SCHEMELESS}", GATE),
    no_kernel("F8_E4M3FNUZ", 1, f"F8_E4M3FNUZ {SCHEMELESS}", GATE),
    no_kernel("F8_E5M2FNUZ", 1, f"F8_E5M2FNUZ {SCHEMELESS}", GATE),
    no_kernel("F4", 0.5, f"F4 {SCHEMELESS}", GATE),
    no_kernel("F6_E2M3", 0.75, f"F6_E2M3 {SCHEMELESS}", GATE),
    no_kernel("F6_E3M2", 0.75, f"F6_E3M2 {SCHEMELESS}", GATE),
    refused(
        "biases of integers",
        all_of(
            edit_tensors(with_biases),
            edit_config(attention_bias=True),
            typed("I32", 4, *(f"model.layers.{i}.self_attn.{kind}" for i in range(2) for kind in BIASES)),
        ),
        *("unsupported", "{folder}/" + WEIGHTS, "dtype of model.layers.*.self_attn.q_proj.bias (2 tensors)"),
    ),
    runs("BF16 with norms in F32", typed("BF16", 2, Q, GATE, EMBEDDING)),
    runs("F16 among F32", typed("F16", 2, Q)),
    runs("BF16 throughout", typed("BF16", 2)),
]
LIMITS = [
    refused(
        "heads of 520", with_heads(1, 520), "unsupported", "{folder}/" + CONFIG, "head_dim must be at most 512; got 520"
    ),
    refused(
        "a context beyond all memory",
        with_heads(8, 512),
        *("hardware", "ctx_size", "GB for keys and values"),
        options={"ctx_size": 1 << 24, "kv_cache_type": "f32"},
    ),
    warned(
        "a context beyond the model",
        lambda folder: None,
        *("context-beyond-model", "context", "513 tokens are more than the 512 that the model was made for"),
        options={"ctx_size": 513},
    ),
    runs(
        "a model of long contexts",
        edit_config(max_position_embeddings=2**31 - 1, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    ),
]
CASES = [*NAMES, *SHAPES, *TIED, *TYPES, *LIMITS]
