"""Stores what transformers computes with the demo model: a text's logits (demo.npz), greedy chats (demo_chats.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_prompts import CHATS, CHATS_KEPT, TEXT
from transformers import AutoTokenizer
from transformers_llama import KV_DTYPES, distance, float64_throughout, load, logits, versions
from weights_digest import weights_digest

TOKENS = 256
TOP, SAMPLED = 16, 112  # entries kept of each row: its largest, and some drawn at random
FULL_ROWS = (0, 127, 255)
MAX_TOKENS = 48


def kept_columns(exact: np.ndarray) -> np.ndarray:
    """uint16 [tokens, TOP + SAMPLED]: the columns of the TOP largest, then a fixed random choice."""
    top = np.argsort(-exact, axis=-1, kind="stable")[:, :TOP]
    raw = np.random.PCG64(2024).random_raw(len(exact) * SAMPLED).reshape(len(exact), SAMPLED)
    return np.concatenate([top, raw % np.uint64(exact.shape[1])], axis=-1).astype(np.uint16)


def summary(exact: np.ndarray, columns: np.ndarray) -> dict[str, np.ndarray]:
    """What is kept of [tokens, vocab_size] logits."""
    first, second = np.sort(exact, axis=-1)[:, :-3:-1].T
    top = exact.max(axis=-1)
    return {
        "values": np.take_along_axis(exact, columns.astype(np.int64), axis=-1).astype(np.float32),
        "logsumexp": top + np.log(np.exp(exact - top[:, None]).sum(axis=-1)),
        "argmax": exact.argmax(axis=-1).astype(np.int32),
        "gap": (first - second).astype(np.float32),
    }


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def make_text_references(folder: Path, out: Path, exact_model: Any, single_model: Any) -> None:
    """Runs the text once per cache type in float64 and in float32."""
    token_ids = AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False)["input_ids"][:TOKENS]
    assert len(token_ids) == TOKENS, f"TEXT must have at least {TOKENS} tokens; got {len(token_ids)}"
    plain = logits(exact_model, token_ids)
    arrays: dict[str, np.ndarray] = {"token_ids": np.array(token_ids, dtype=np.int32)}
    metadata: dict[str, Any] = {"versions": versions(), "weights_sha256": weights_digest(folder / "model.safetensors")}
    for kv_cache_type in KV_DTYPES:
        with float64_throughout(kv_cache_type):
            exact, single = logits(exact_model, token_ids), logits(single_model, token_ids)
        if kv_cache_type == "f32":
            metadata["unpatched_float64_distance"] = distance(plain, exact)
            metadata["unpatched_float32_distance"] = distance(logits(single_model, token_ids), exact)
            plain, columns = exact, kept_columns(exact)
            arrays |= {"columns": columns, "full_rows": exact[list(FULL_ROWS)].astype(np.float32)}
            arrays["full_row_positions"] = np.array(FULL_ROWS, dtype=np.int32)
        arrays |= {f"{kv_cache_type}_{key}": value for key, value in summary(exact, columns).items()}
        metadata[kv_cache_type] = {
            "float32_distance": distance(single, exact),
            "float32_rms": rms(single, exact),
            "rounding_effect": distance(exact, plain),
            "rounding_effect_rms": rms(exact, plain),
        }
    print(json.dumps(metadata, indent=2))
    np.savez_compressed(out / "demo.npz", **arrays, metadata=np.array(json.dumps(metadata, sort_keys=True)))


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
        leads = {kv_cache_type: decided(exact_model, prompt, generated, kv_cache_type) for kv_cache_type in KV_DTYPES}
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
    kept = sorted(chats, key=lambda chat: -min(chat["smallest_lead"].values()))[:CHATS_KEPT]
    found = {"versions": versions(), "max_tokens": MAX_TOKENS, "chats": kept}
    (out / "demo_chats.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_demo(folder: Path, out: Path) -> None:
    exact_model, single_model = load(folder, torch.float64), load(folder, torch.float32)
    make_text_references(folder, out, exact_model, single_model)
    make_chats(folder, out, exact_model, single_model)
