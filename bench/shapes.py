"""Checkpoints of real models' shapes with random weights: speed does not depend on what the weights say."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

TINYLLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

_BLOCK = 1 << 26  # elements; larger than any cache, so that repeating it saves generating and nothing else


def write_random(folder: Path, config: dict[str, object]) -> Path:
    """Writes config.json and model.safetensors (BF16, standard deviation about 0.02) unless they are there."""
    done = folder / "config.json"
    if done.exists() and json.loads(done.read_text()) == config:
        return folder
    from inferno.config import LlamaConfig
    from inferno.models.llama import expected_tensors

    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    shapes = {name: spec.shape for name, spec in expected_tensors(LlamaConfig.from_dict(config)).items()}
    offset = 0
    header: dict[str, object] = {}
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # A normal float's upper half: sign and 7 bits of fraction at random, exponent of 0.02.
    noise = np.random.default_rng(0).integers(0, 1 << 16, _BLOCK, dtype=np.uint16)
    values = (noise & np.uint16(0x807F)) | np.uint16(0x3C80)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            piece = values[: offset // 2]
            file.write(piece.tobytes())
            offset -= piece.nbytes
    done.write_text(json.dumps(config))
    return folder
