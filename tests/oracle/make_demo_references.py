"""Stores what transformers computes with the demo model: a text's logits (demo.npz), greedy chats (demo_chats.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_prompts import CHATS, LEAST_LEAD, TEXT
from transformers import AutoTokenizer
from transformers_llama import KV_DTYPES, distance, float64_throughout, load, logits, versions

from weights_digest import weights_digest

TOKENS = 256
TOP, SAMPLED = 16, 112  # entries kept of each row: its largest, and some drawn at random
FULL_ROWS = (0, 127, 255)
DITHERS = 4
MAX_TOKENS = 48


def kept_columns(exact: np.ndarray) -> np.ndarray:
    """uint16 [tokens, TOP + SAMPLED]: the columns of the TOP largest, then a fixed random choice."""
    top = np.argsort(-exact, axis=-1, kind="stable")[:, :TOP]
    raw = np.random.PCG64(2024).random_raw(len(exact) * SAMPLED).reshape(len(exact), SAMPLED)
    return np.concatenate([top, raw % np.uint64(exact.shape[1])], axis=-1).astype(np.uint16)


def whole_rows(exact: np.ndarray) -> dict[str, np.ndarray]:
    """Of [tokens, vocab_size] logits: the log of the sum of their exponentials, the best token and its lead."""
    second, first = np.partition(exact, -2, axis=-1)[:, -2:].T
    return {
        "logsumexp": first + np.log(np.exp(exact - first[:, None]).sum(axis=-1)),
        "argmax": exact.argmax(axis=-1).astype(np.int32),
        "gap": (first - second).astype(np.float32),
    }


def rounding_effect(model: Any, token_ids: list[int], kv_cache_type: str, exact: np.ndarray) -> dict[str, list[float]]:
    """How far rounding keys and values moves the logits: as a cache rounds, then with DITHERS random errors as large.

    The largest |difference| of each run, over all entries, and the root mean square over those that are kept.
    """
    columns = kept_columns(exact).astype(np.int64)
    found: dict[str, list[float]] = {"max": [], "kept_rms": []}
    for seed in range(1 + DITHERS):
        dither = torch.Generator().manual_seed(seed) if seed else None
        with float64_throughout(kv_cache_type, dither):
            moved = logits(model, token_ids) - exact
        found["max"].append(float(np.abs(moved).max()))
        found["kept_rms"].append(float(np.sqrt(np.mean(np.take_along_axis(moved, columns, axis=-1) ** 2))))
    return found


def make_text_references(folder: Path, out: Path, exact_model: Any, single_model: Any) -> None:
    """Runs the text in float64, in float32, and with keys and values rounded."""
    token_ids = AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False)["input_ids"][:TOKENS]
    assert len(token_ids) == TOKENS, f"TEXT must have at least {TOKENS} tokens; got {len(token_ids)}"
    with float64_throughout():
        exact = logits(exact_model, token_ids)
    columns = kept_columns(exact)
    metadata = {
        "versions": versions(),
        "weights_sha256": weights_digest(folder / "model.safetensors"),
        "float32_distance": distance(logits(single_model, token_ids), exact),
        "unpatched_float64_distance": distance(logits(exact_model, token_ids), exact),
        "rounding_effect": {key: rounding_effect(exact_model, token_ids, key, exact) for key in KV_DTYPES},
    }
    print(json.dumps(metadata, indent=2))
    np.savez_compressed(
        out / "demo.npz",
        token_ids=np.array(token_ids, dtype=np.int32),
        columns=columns,
        values=np.take_along_axis(exact, columns.astype(np.int64), axis=-1).astype(np.float32),
        full_row_positions=np.array(FULL_ROWS, dtype=np.int32),
        full_rows=exact[list(FULL_ROWS)].astype(np.float32),
        metadata=np.array(json.dumps(metadata, sort_keys=True)),
        **whole_rows(exact),
    )


def greedy(model: Any, prompt: list[int], stop: set[int]) -> list[int]:
    """Up to MAX_TOKENS most likely tokens, the end-of-sequence token among them; ties go to the lower id."""
    generated: list[int] = []
    ids, past = torch.tensor([prompt]), None
    with torch.inference_mode():
        while len(generated) < MAX_TOKENS and not (generated and generated[-1] in stop):
            result = model(ids, past_key_values=past, use_cache=True)
            past, row = result.past_key_values, result.logits[0, -1]
            generated.append(int((row == row.max()).nonzero()[0, 0]))
            ids = torch.tensor([generated[-1:]])
    return generated


def decided(exact_model: Any, prompt: list[int], generated: list[int], kv_cache_type: str) -> float:
    """The smallest lead, in float64, of a generated token over the best other; negative if one is not the best."""
    with float64_throughout(kv_cache_type):
        rows = logits(exact_model, [*prompt, *generated[:-1]])[len(prompt) - 1 :]
    chosen = rows[np.arange(len(rows)), generated].copy()
    rows[np.arange(len(rows)), generated] = -np.inf
    return float((chosen - rows.max(axis=-1)).min())


def make_chats(folder: Path, out: Path, exact_model: Any, single_model: Any) -> None:
    """Greedy continuations by transformers as it is, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = single_model.generation_config.eos_token_id
    stop = {end} if isinstance(end, int) else set(end)
    chats = []
    for messages in CHATS:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        generated = greedy(single_model, prompt, stop)
        leads = {key: decided(exact_model, prompt, generated, key) for key in ("f32", *KV_DTYPES)}
        assert min(leads.values()) > LEAST_LEAD, f"{messages}: not clearly decided: {leads}"
        chats.append(
            {
                "messages": messages,
                "prompt_token_ids": prompt,
                "token_ids": generated,
                "ended": generated[-1] in stop,
                "text": tokenizer.decode(generated, skip_special_tokens=True),
                "smallest_lead": leads,
            }
        )
        print(json.dumps(leads), repr(chats[-1]["text"]))
    found = {"versions": versions(), "max_tokens": MAX_TOKENS, "chats": chats}
    (out / "demo_chats.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_demo(folder: Path, out: Path) -> None:
    exact_model, single_model = load(folder, torch.float64), load(folder, torch.float32)
    make_text_references(folder, out, exact_model, single_model)
    make_chats(folder, out, exact_model, single_model)
