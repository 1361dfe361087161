"""Stores transformers' logits of the tiny checkpoints in tests/data/references, a file per case."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers_llama import distance, float64_throughout, frequencies, load, logits, versions

from tiny import tiny_config, write_tiny
from tiny_cases import CASES, Case
from weights_digest import weights_digest


def stored_rows(length: int) -> list[int]:
    """The positions whose logits are kept: the first, those around likely block borders, the middle, the last."""
    wanted = {0, 1, 2, 15, 16, 31, 32, 63, 64, 65, 127, 128, length // 2, *range(length - 4, length)}
    return sorted(row for row in wanted if 0 <= row < length)


def plain_rope_distance(case: Case, reference: np.ndarray) -> float:
    """How far the logits move if the RoPE type is ignored: what a test of it must be able to see. 0 for `default`."""
    overrides = {key: value for key, value in case.overrides.items() if key not in ("rope_scaling", "rope_parameters")}
    rope = tiny_config(case.overrides, case.dtype).get("rope_parameters") or {}
    overrides["rope_theta"] = rope.get("rope_theta", overrides.get("rope_theta", 10000.0))
    with tempfile.TemporaryDirectory() as folder, float64_throughout():
        model = load(write_tiny(Path(folder), overrides, case.dtype, case.seed), torch.float64)
        return distance(logits(model, case.token_ids), reference)


def make(case: Case, out: Path) -> dict[str, Any]:
    """Runs one case in float64 and float32, writes its file, and returns its metadata."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny(Path(name), case.overrides, case.dtype, case.seed)
        digest = weights_digest(folder / "model.safetensors")
        exact_model, model32 = load(folder, torch.float64), load(folder, torch.float32)
        as_shipped = logits(exact_model, case.token_ids)
        with float64_throughout():
            exact = logits(exact_model, case.token_ids)
        single = logits(model32, case.token_ids)
        inv_freq, attention_factor = frequencies(exact_model)
    metadata = {
        "case": case.name,
        "ctx_size": case.ctx_size,
        "weights_sha256": digest,
        "float32_distance": distance(single, exact),
        "unpatched_float64_distance": distance(as_shipped, exact),
        "plain_rope_distance": plain_rope_distance(case, exact),
        "logits_std": float(exact.std()),
        "versions": versions(),
    }
    rows = stored_rows(case.ctx_size)
    np.savez_compressed(
        out / f"{case.name}.npz",
        token_ids=np.array(case.token_ids, dtype=np.int32),
        rows=np.array(rows, dtype=np.int32),
        logits=exact[rows].astype(np.float32),
        inv_freq=inv_freq,
        attention_factor=np.float64(attention_factor),
        metadata=np.array(json.dumps(metadata, sort_keys=True)),
    )
    return metadata


def make_all(out: Path) -> None:
    for case in CASES:
        found = make(case, out)
        figures = (f"{key} {value:.1e}" for key, value in found.items() if isinstance(value, float))
        print(f"{case.name:28}", *figures)
