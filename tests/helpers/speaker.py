"""A checkpoint that says a given text: a real Llama model whose weights make every token follow from the one before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from safetensors_writer import to_stored, write_safetensors
from tiny import tensor_shapes, tiny_config
from tiny_tokenizer import CHAT_TEMPLATE, write_tokenizer

VOCAB = 320
END = 2  # <|im_end|>, an end token of the tiny tokenizer's model
# The last token of a raw prompt that makes the model speak; a chat prompt ends with a newline.
STARTS = (">", "\n")


def write_speaker(folder: Path, text: str, *, ends: bool = True, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Writes the model into `folder`. After ">" or a newline it says `text`, then ends, or begins again.

    The tokens of `text` must be distinct and must not include ">" or a newline. The embedding is the identity, nothing
    but the residual stream reaches the head, and the head is the table of successors.
    """
    config = tiny_config({"vocab_size": VOCAB, "hidden_size": VOCAB, "num_hidden_layers": 1})
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, chat_template)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {
        name: np.full(shape, 1.0 if name.endswith("norm.weight") else 0.0)
        for name, shape in tensor_shapes(config).items()
    }
    tensors["model.embed_tokens.weight"] = np.eye(VOCAB)
    for token, successor in _successors(folder, text, ends).items():
        tensors["lm_head.weight"][successor, token] = 1.0
    stored = {name: to_stored(values, "F32") for name, values in tensors.items()}
    write_safetensors(folder / "model.safetensors", stored, "F32")
    return folder


def _successors(folder: Path, text: str, ends: bool) -> dict[int, int]:
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    chain = library.encode(text).ids
    starts = [library.encode(start).ids[0] for start in STARTS]
    assert len({*chain, *starts}) == len(chain) + len(starts), "every token must have one successor"
    pairs = list(zip(chain, [*chain[1:], END if ends else chain[0]], strict=True))
    return dict(pairs + [(start, chain[0]) for start in starts])
