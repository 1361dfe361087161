"""Writes tests/data/quantized: a tiny checkpoint in every quantized scheme, with its logits. See README.md."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "helpers"))

import bitsandbytes
import compressed_tensors
from bitsandbytes_writer import bitsandbytes_logits, write_bitsandbytes
from compressed_tensors_writer import (
    awq_logits,
    check_linears,
    reorder_groups,
    unpacked_logits,
    write_compressed,
)
from transformers_llama import distance, float64_throughout, load, logits, versions

from numpy_quantized import open_quantized
from quantized_cases import CASES, QUANTIZED, QuantizedCase
from safetensors_writer import to_stored, widen, write_safetensors
from tiny import random_tokens, stored_tensors, tiny_config, write_tiny
from weights_digest import weights_digest

TOKENS = 12
TEXTS = 400
NUMERICS = ("vllm", "compressed-tensors")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
TOKEN = {"num_bits": 8, "strategy": "token", "dynamic": True}
STATIC = {"num_bits": 8, "strategy": "tensor"}
ASYMMETRIC = {"symmetric": False}

Write = Callable[[QuantizedCase, Path, Path], None]


def _weights(strategy: str, bits: int = 8, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "strategy": strategy, **more}


def _compressed(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, *, head: bool = False) -> Write:
    group = {"targets": ["Linear"], "weights": dict(weights), "input_activations": inputs and dict(inputs)}
    return _compressed_groups({"group_0": group}, head=head)


def _compressed_groups(groups: Mapping[str, Any], *, head: bool = False) -> Write:
    def write(case: QuantizedCase, base: Path, out: Path) -> None:
        calibration = random_tokens(case.overrides["vocab_size"], 64, 0xCA1)
        write_compressed(base, out, DTYPES[case.dtype], groups, [] if head else ["lm_head"], calibration)

    return write


def _reordered(case: QuantizedCase, base: Path, out: Path) -> None:
    _compressed(_weights("group", 4, group_size=32, **ASYMMETRIC))(case, base, out)
    reorder_groups(base, out, case.seed, 32)


def _bitsandbytes(head: bool = False, **settings: Any) -> Write:
    def write(case: QuantizedCase, base: Path, out: Path) -> None:
        write_bitsandbytes(base, out, DTYPES[case.dtype], ["none"] if head else None, **settings)

    return write


FP8 = {"type": "float"}
# Layers that share an input round it in ways of their own, or not at all.
MIXED = {
    "group_0": {
        "targets": ["re:.*self_attn\\.(q|k)_proj", "re:.*up_proj"],
        "weights": _weights("channel"),
        "input_activations": TOKEN,
    },
    "group_1": {
        "targets": ["re:.*v_proj"],
        "weights": _weights("tensor"),
        "input_activations": {**STATIC, **ASYMMETRIC},
    },
    "group_2": {"targets": ["re:.*gate_proj"], "weights": _weights("group", 4, group_size=32)},
    "group_3": {"targets": ["model.layers.1.mlp.down_proj"], "weights": _weights("channel", 8)},
}
WRITERS: dict[str, Write] = {
    "w8a8_channel": _compressed(_weights("channel"), TOKEN),
    "w8a8_tensor_tied": _compressed(_weights("tensor"), TOKEN),
    "w8a8_group": _compressed(_weights("group", group_size=32), TOKEN),
    "w8a8_block": _compressed(_weights("block", block_structure=[16, 12]), TOKEN),
    "w8a8_asymmetric": _compressed(_weights("channel", **ASYMMETRIC), {**TOKEN, **ASYMMETRIC}),
    "w8a8_asymmetric_block": _compressed(_weights("block", block_structure=[24, 16], **ASYMMETRIC), TOKEN),
    "w8a8_static": _compressed(_weights("channel"), STATIC),
    "w8a8_static_asymmetric_head": _compressed(_weights("tensor", **ASYMMETRIC), {**STATIC, **ASYMMETRIC}, head=True),
    "w4a8_channel": _compressed(_weights("channel", 4), TOKEN),
    "w4a16_group": _compressed(_weights("group", 4, group_size=32)),
    "w4a16_group_asymmetric": _compressed(_weights("group", 4, group_size=32, **ASYMMETRIC)),
    "w4a16_channel_asymmetric_head": _compressed(_weights("channel", 4, **ASYMMETRIC), head=True),
    "w4a16_channel_tied": _compressed(_weights("channel", 4)),
    "w4a16_g_idx": _reordered,
    "w8a16_channel": _compressed(_weights("channel")),
    "w8a16_group_asymmetric": _compressed(_weights("group", group_size=32, **ASYMMETRIC)),
    "fp8_tensor_static": _compressed(_weights("tensor", **FP8), {**STATIC, **FP8}),
    "fp8_channel_dynamic": _compressed(_weights("channel", **FP8), {**TOKEN, **FP8}),
    "fp8_block": _compressed(
        _weights("block", block_structure=[24, 16], **FP8),
        {"num_bits": 8, "strategy": "group", "group_size": 16, "dynamic": True, **FP8},
    ),
    "mixed_precision": _compressed_groups(MIXED),
    "bnb_int8_outliers": _bitsandbytes(load_in_8bit=True),
    "bnb_int8_head": _bitsandbytes(head=True, load_in_8bit=True, llm_int8_threshold=4.5),
    "bnb_nf4": _bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bnb_nf4_nested_head": _bitsandbytes(
        head=True, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    ),
    "bnb_fp4": _bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "bnb_fp4_nested": _bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True),
}


def write_base(case: QuantizedCase, folder: Path) -> Path:
    """The checkpoint to quantize."""
    write_tiny(folder, case.overrides, case.dtype, case.seed)
    if case.outliers:
        stored = stored_tensors(tiny_config(case.overrides, case.dtype), case.dtype, case.seed)
        for name in stored:
            if name.endswith("layernorm.weight"):
                values = widen(stored[name], case.dtype)
                values[[3, 17]] *= 4
                stored[name] = to_stored(values, case.dtype)
        write_safetensors(folder / "model.safetensors", stored, case.dtype)
    return folder


def inv_freq_of(case: QuantizedCase) -> np.ndarray:
    """RoPE's frequencies as torch computes them: a power in float32, whose last bit is its own."""
    head_dim = case.overrides["hidden_size"] // case.overrides["num_attention_heads"]
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    return (1.0 / 10000.0**exponents).numpy()


def choose_text(folder: Path, inv_freq: np.ndarray, vocab_size: int) -> tuple[list[int], float]:
    """The text, of TEXTS, whose activations stay farthest from where a code would change.

    A float32 engine and a float64 definition then round every activation to the same code, and all that parts them is
    float32's rounding of sums.
    """
    model = open_quantized(folder).model(inv_freq)

    def slack(token_ids: list[int]) -> float:
        model.logits(token_ids)
        return model.slack

    texts = [random_tokens(vocab_size, TOKENS, seed) for seed in range(TEXTS if model.rules else 1)]
    best = max(texts, key=slack)
    return best, slack(best)


def by_library(case: QuantizedCase, folder: Path, token_ids: list[int], metadata: dict[str, Any]) -> np.ndarray | None:
    """Logits in float64 from a library's own reading of the folder; None where none of today's reads the scheme."""
    if case.name.startswith("bnb"):
        return bitsandbytes_logits(folder, token_ids)
    if case.name.startswith("awq"):
        return awq_logits(folder, token_ids)
    if case.writer is not None or case.name == "w4a16_g_idx":
        return None
    if "a16" in case.name:
        return unpacked_logits(folder, token_ids)  # transformers cannot load packed zero points
    with float64_throughout():
        written = logits(load(folder, torch.float64), token_ids)
    single = load(folder, torch.float32)
    metadata["float32_distance"] = distance(logits(single, token_ids), written)
    metadata["linears_distance"] = check_linears(single, folder, token_ids)
    return written


def write(case: QuantizedCase, out: Path, scratch: Path) -> Path:
    """The case's folder: under `out` if a library writes it."""
    if case.writer is not None:
        return case.folder(scratch)
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    WRITERS[case.name](case, write_base(case, scratch), folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    return folder


def make(case: QuantizedCase, out: Path, scratch: Path) -> dict[str, Any]:
    """Writes one case's files and returns its metadata."""
    folder = write(case, out, scratch)
    inv_freq = inv_freq_of(case)
    token_ids, slack = choose_text(folder, inv_freq, case.overrides["vocab_size"])
    by_name = {numerics: open_quantized(folder, numerics).model(inv_freq).logits(token_ids) for numerics in NUMERICS}
    metadata: dict[str, Any] = {
        "case": case.name,
        "weights_sha256": weights_digest(folder / "model.safetensors"),
        "slack": slack,
        "logits_std": float(by_name["vllm"].std()),
        "numerics_distance": distance(by_name["vllm"], by_name["compressed-tensors"]),
        "versions": {
            **versions(),
            "compressed_tensors": compressed_tensors.__version__,
            "bitsandbytes": bitsandbytes.__version__,
        },
    }
    written = by_library(case, folder, token_ids, metadata)
    if written is not None:
        metadata["numpy_distance"] = distance(written, by_name["compressed-tensors"])
        by_name["compressed-tensors"] = written
    stored = {numerics: values.astype(np.float32) for numerics, values in by_name.items()}
    if metadata["numerics_distance"] < 1e-12:
        del stored["vllm"]  # inputs are rounded alike, or not at all
    np.savez_compressed(
        out / f"{case.name}.npz",
        token_ids=np.array(token_ids, dtype=np.int32),
        **stored,
        inv_freq=inv_freq,
        metadata=np.array(json.dumps(metadata, sort_keys=True)),
    )
    return metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="make the cases whose names hold this")
    parser.add_argument("--out", type=Path, default=QUANTIZED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        if arguments.only and arguments.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            found = make(case, arguments.out, Path(scratch))
        figures = (f"{key} {value:.1e}" for key, value in found.items() if isinstance(value, float))
        print(f"{case.name:30}", *figures, flush=True)


if __name__ == "__main__":
    main()
