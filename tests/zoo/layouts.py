"""Other kinds of model, adapters and formats, and what can be wrong with Meta's own layout."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meta_writer import write_meta
from model_edits import CONFIG, WEIGHTS, Edit, all_of, edit_bytes, edit_config, edit_json, fifo, remove, write
from safetensors_writer import write_safetensors
from tiny import stored_tensors, tiny_config
from torch_writer import Call, archive, dumps, tensor
from zoo.case import GOOD, Case, Make, refused, runs
from zoo.containers import POINTER

PARAMS = "params.json"
PTH = "consolidated.00.pth"


def other_model(model_type: str, architecture: str) -> Case:
    return refused(
        f"a {model_type}",
        edit_config(model_type=model_type, architectures=[architecture]),
        *(
            "unsupported",
            "{folder}/" + CONFIG,
            f'model_type must be "llama", the architecture that Inferno runs; got "{model_type}"',
        ),
    )


def instead(name: str, message: str) -> Case:
    """A folder whose only weights are this file."""
    make = all_of(remove(WEIGHTS), write(name, b"x"))
    return refused(f"only {name}", make, "unsupported", "{folder}/" + name, f"must be safetensors; got {message}")


def adapter(name: str, base: str, *edits: Edit) -> Case:
    return refused(
        name, all_of(*edits), "unsupported", "{folder}", f"must hold a whole model; got a LoRA adapter {base}"
    )


def meta(
    *, shards: int = 1, form: str = "pth", dtype: str = "F32", params: Mapping[str, Any] | None = None, **more: Any
) -> Edit:
    """The good model in Meta's layout."""

    def edit(folder: Path) -> None:
        for name in (CONFIG, WEIGHTS, "generation_config.json"):
            (folder / name).unlink()
        config = tiny_config(GOOD)
        tensors = stored_tensors(config, dtype, 0)
        write_meta(folder, tensors, config, dtype, shards=shards, form=form, params=params, **more)

    return edit


def broken_meta(name: str, change: Make, code: str, where: str, message: str, **more: Any) -> Case:
    make = meta(**more)

    def both(folder: Path) -> None:
        make(folder)
        change(folder)

    return refused(name, both, code, where, message)


def params(name: str, message: str, code: str = "config", **changes: Any) -> Case:
    return broken_meta(name, edit_json(PARAMS, changes), code, "{folder}/" + PARAMS, message)


def pickled(name: str, value: object, message: str, code: str = "unsupported") -> Case:
    """A file of torch.save that holds something else."""
    content = archive({"data.pkl": dumps(value), "byteorder": b"little", "data/0": bytes(128)})
    return broken_meta(name, write(PTH, content), code, "{folder}/" + PTH, message)


def zipped(name: str, change: Callable[[bytes], bytes], message: str, code: str = "checkpoint") -> Case:
    return broken_meta(name, edit_bytes(change, PTH), code, "{folder}/" + PTH, message)


def compressed() -> bytes:
    entries = {"data.pkl": dumps({}), "byteorder": b"little"}
    return archive(entries, method=zipfile.ZIP_DEFLATED)


def big_endian() -> bytes:
    return archive({"data.pkl": dumps({}), "byteorder": b"big"})


def with_hugging_faces_names(folder: Path) -> None:
    write_safetensors(folder / "consolidated.00.safetensors", stored_tensors(tiny_config(GOOD), "F32", 0), "F32")


def as_hugging_faces(folder: Path) -> None:
    """Meta's tensors under Hugging Face's file names."""
    (folder / "consolidated.00.safetensors").rename(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(tiny_config(GOOD)))
    (folder / PARAMS).unlink()


def shard_of_another(folder: Path) -> None:
    """The second shard is one of a model twice as wide."""
    config = tiny_config({**GOOD, "hidden_size": 64})
    write_meta(folder / "other", stored_tensors(config, "F32", 0), config, "F32", shards=2)
    (folder / "other" / "consolidated.01.pth").rename(folder / "consolidated.01.pth")


NORM32: Any = tensor("0", "F32", 32, [32])
MODELS = [
    other_model("mistral", "MistralForCausalLM"),
    other_model("qwen2", "Qwen2ForCausalLM"),
    other_model("qwen3", "Qwen3ForCausalLM"),
    other_model("mixtral", "MixtralForCausalLM"),
    other_model("gemma2", "Gemma2ForCausalLM"),
    other_model("phi3", "Phi3ForCausalLM"),
    other_model("gpt2", "GPT2LMHeadModel"),
    other_model("llama4", "Llama4ForConditionalGeneration"),
    refused(
        "a Llama that classifies",
        edit_config(architectures=["LlamaForSequenceClassification"]),
        *("unsupported", "{folder}/" + CONFIG, 'architectures must be ["LlamaForCausalLM"]; got ["LlamaForSeq'),
    ),
]
FORMATS = [
    instead("pytorch_model.bin", "PyTorch pickle weights, which can run code when they are read"),
    instead("pytorch_model-00001-of-00002.bin", "PyTorch pickle weights"),
    instead("pytorch_model.bin.index.json", "PyTorch pickle weights"),
    instead("model.ckpt", "PyTorch pickle weights"),
    instead("tf_model.h5", "TensorFlow weights; download the repository's safetensors files"),
    instead("flax_model.msgpack", "Flax weights"),
    instead("model.onnx", "an ONNX graph"),
    instead("weights.npz", "a NumPy archive"),
    instead("m.Q4_K_M.gguf", "a GGUF file; import it with `inferno import"),
    refused(
        "a GGUF alone",
        all_of(remove(CONFIG, WEIGHTS), write("m.gguf", b"GGUF")),
        *("unsupported", "{folder}/m.gguf", "must be safetensors; got a GGUF file; import it with `inferno import"),
    ),
    refused(
        "a GGUF by its path",
        lambda folder: write("m.gguf", b"GGUF")(folder) or folder / "m.gguf",
        *("unsupported", "{folder}", "must be safetensors; got a GGUF file; import it with `inferno import"),
    ),
]
ADAPTERS = [
    adapter(
        "a LoRA adapter",
        "(adapter_model.safetensors) for another model; merge",
        remove(WEIGHTS),
        write("adapter_model.safetensors", b"x"),
    ),
    adapter(
        "a LoRA adapter with its config",
        '(adapter_model.safetensors) for "org/base"; merge',
        remove(WEIGHTS, CONFIG),
        write("adapter_model.safetensors", b"x"),
        write("adapter_config.json", b'{"base_model_name_or_path": "org/base"}'),
    ),
    adapter("an adapter in a whole model", "(adapter_model.bin) for another", write("adapter_model.bin", b"x")),
    adapter(
        "an adapter of nothing",
        "(adapter_config.json) for another model",
        remove(WEIGHTS),
        write("adapter_config.json", b"["),
    ),
    runs("a merged adapter's config", write("adapter_config.json", b"{}")),
]
META_FILES = [
    runs("Meta's layout", meta()),
    runs("Meta's layout in safetensors", meta(form="safetensors", dtype="BF16")),
    runs("Meta's layout beside Hugging Face's", all_of(write(PTH, b"x"), write(PARAMS, b"x"))),
    runs("Meta's unknown vocabulary", meta(params={"vocab_size": -1})),
    broken_meta("Meta's weights without params", remove(PARAMS), "not-found", "{folder}", "must hold params.json; got"),
    broken_meta("params without weights", remove(PTH), "not-found", "{folder}", "must hold weights; got params.json"),
    broken_meta("Meta's weights twice", write("consolidated.pth", b""), "checkpoint", "{folder}", "or numbered"),
    broken_meta(
        "a gap in Meta's shards",
        lambda folder: (folder / PTH).rename(folder / "consolidated.02.pth"),
        *(
            "checkpoint",
            "{folder}",
            "must hold its shards from consolidated.00.pth to consolidated.02.pth; got no cons",
        ),
    ),
    broken_meta(
        "a lost last shard",
        remove("consolidated.01.pth"),
        *("checkpoint", "{folder}", "must hold 2 shards, for dim is 32 in params.json and"),
        shards=2,
    ),
    broken_meta(
        "a shard of another model",
        shard_of_another,
        *("checkpoint", "{folder}/consolidated.01.pth", "must fit that of consolidated.00.pth, which is"),
        shards=2,
    ),
    refused(
        "shards that cut a group of lanes",
        meta(shards=2),
        *("unsupported", "{folder}/" + PTH, "must end at a multiple of 8 columns"),
    ),
    broken_meta(
        "Hugging Face's names in Meta's files",
        with_hugging_faces_names,
        *("checkpoint", "{folder}/consolidated.00.safetensors", "tensors must have Meta's names; got"),
    ),
    broken_meta(
        "Meta's names in Hugging Face's files",
        as_hugging_faces,
        *("checkpoint", "{folder}", "tensors must match config.json; missing"),
        form="safetensors",
    ),
]
META_PARAMS = [
    broken_meta("params not JSON", write(PARAMS, b"{"), "config", "{folder}/" + PARAMS, "must be JSON; line 1"),
    broken_meta("params in a pipe", fifo(PARAMS), "config", "{folder}/" + PARAMS, "must be a regular file; got a pipe"),
    params("params without dim", "dim must be an integer from 1 to", dim=None),
    params("params without heads", "n_heads must be an integer from 1 to", n_heads=None),
    params("params without layers", "n_layers must be an integer from 1 to", n_layers=None),
    params("a dim that heads do not divide", "dim must be a multiple of n_heads (4); got 33", dim=33),
    params("KV heads that do not divide", "n_kv_heads must be a divisor of n_heads (4); got 3", n_kv_heads=3),
    params("a vocabulary of 0", "vocab_size must be an integer from 1 to", vocab_size=0),
    params(
        "scaled rope without its factor",
        "rope_scaling_factor must be given beside use_scaled_rope; got no such field",
        use_scaled_rope=True,
        rope_theta=500000.0,
    ),
    params("scaled rope of text", 'use_scaled_rope must be true or false; got "yes"', use_scaled_rope="yes"),
    params("Meta's LoRA", "lora_args must be absent or null", "unsupported", lora_args={"rank": 16}),
    params(
        "Meta's quantization", "quantization_args must be absent or null", "unsupported", quantization_args={"a": 1}
    ),
    params("Mistral's experts", "moe must be absent or null", "unsupported", moe={"num_experts": 8}),
]
META_PICKLES = [
    pickled(
        "a pickle that runs a command",
        Call("os", "system", "touch /tmp/evil"),
        "got a use of os.system, which was not run",
    ),
    pickled(
        "a pickle that evaluates", {"a": Call("builtins", "eval", "1")}, "got a use of builtins.eval, which was not run"
    ),
    pickled(
        "a pickle of a whole module", Call("torch.nn.modules.linear", "Linear", 3), "which was not run; get the model"
    ),
    pickled("a pickle of a list", [NORM32], "must hold a dict of tensors by name; got"),
    pickled("a pickle of one tensor", NORM32, "must hold a dict of tensors by name; got one tensor"),
    pickled(
        "a training checkpoint", {"model": {"norm.weight": NORM32}, "step": 3}, "save the model's state_dict() alone"
    ),
    pickled(
        "a transposed tensor", {"norm.weight": tensor("0", "F32", 32, [4, 8], [1, 4])}, "tensors must lie contiguous"
    ),
    pickled(
        "a tensor beyond its storage", {"norm.weight": tensor("0", "F32", 32, [33])}, "must lie in their", "checkpoint"
    ),
    pickled("a storage that is not there", {"norm.weight": tensor("9", "F32", 32, [32])}, "got no such", "checkpoint"),
    pickled("a storage of another size", {"norm.weight": tensor("0", "F32", 8, [8])}, "must be 32 bytes", "checkpoint"),
    zipped("a .pth cut by a byte", lambda raw: raw[:-1], "must end with a zip directory; got none"),
    zipped("a .pth cut in half", lambda raw: raw[: len(raw) // 2], "must end with a zip directory; got none"),
    zipped("an empty .pth", lambda raw: b"", 'must begin with "PK", as torch.save writes it; got an empty file'),
    zipped("a .pth that is a pointer", lambda raw: POINTER, "got a Git-LFS pointer to it"),
    zipped("a .pth that is a web page", lambda raw: b"<html>", "got a web page"),
    zipped(
        "a .pth of old PyTorch", lambda raw: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before 1.6", "unsupported"
    ),
    zipped("a .pth of safetensors", lambda raw: (2).to_bytes(8, "little") + b"{}", 'must begin with "PK"'),
    zipped("a compressed .pth", lambda raw: compressed(), "must be stored as it is", "unsupported"),
    zipped(
        "a .pth of big-endian numbers", lambda raw: big_endian(), "byteorder must be little; got big", "unsupported"
    ),
    broken_meta(
        "a .pth that is a pipe", fifo(PTH), "checkpoint", "{folder}/" + PTH, "must be a regular file; got a pipe"
    ),
]
CASES = [*MODELS, *FORMATS, *ADAPTERS, *META_FILES, *META_PARAMS, *META_PICKLES]
