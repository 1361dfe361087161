"""Checkpoints of real models' shapes with random weights: speed does not depend on what the weights say."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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

# As published for vLLM: int8 weights with a scale for each channel, inputs rounded for each token, the head left alone.
TINYLLAMA_W8A8 = {
    **TINYLLAMA,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
                "input_activations": {
                    "num_bits": 8,
                    "type": "int",
                    "strategy": "token",
                    "symmetric": True,
                    "dynamic": True,
                },
            }
        },
    },
}

_BLOCK = 1 << 26  # elements; larger than any cache, so that repeating it saves generating and nothing else
_ITEM_BYTES = {"BF16": 2, "I8": 1}
_SCALE = "weight_scale"


def write_random(folder: Path, config: dict[str, Any]) -> Path:
    """Writes config.json and model.safetensors (standard deviation about 0.02) unless they are there.

    BF16; with a quantization_config, which must be TINYLLAMA_W8A8's, linear layers are I8 and have scales in BF16.
    """
    done = folder / "config.json"
    if done.exists() and json.loads(done.read_text()) == config:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    offset = 0
    header: dict[str, object] = {}
    for name, (dtype, shape) in _tensors(config).items():
        end = offset + _ITEM_BYTES[dtype] * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = np.random.default_rng(0).integers(0, 1 << 16, _BLOCK, dtype=np.uint16)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (dtype, shape) in _tensors(config).items():
            left = int(np.prod(shape))
            while left > 0:
                piece = _values(name, dtype, noise[:left])
                file.write(piece[:left].tobytes())
                left -= piece.size
    done.write_text(json.dumps(config))
    return folder


def _tensors(config: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> type and shape of what is written."""
    from inferno.config import LlamaConfig
    from inferno.models.llama import expected_tensors, linear_layers
    from inferno.quantization.activation import Activation
    from inferno.quantization.blocks import Blocks
    from inferno.quantization.compressed_int8 import CompressedInt8

    llama = LlamaConfig.from_dict(config)
    w8a8 = CompressedInt8(Blocks("channel"), zero_points=False, activation=Activation("int8"))
    quantized = "quantization_config" in config
    schemes = {layer: w8a8 for layer in linear_layers(llama) if quantized and layer != "lm_head"}
    return {
        name: ("I8" if spec.dtypes == ("I8",) else "BF16", spec.shape)
        for name, spec in expected_tensors(llama, schemes).items()
        if not name.endswith("zero_point")  # optional, and all zeros
    }


def _values(name: str, dtype: str, noise: npt.NDArray[np.uint16]) -> npt.NDArray[Any]:
    """Random weights or scales of a tensor from random bits."""
    if dtype == "I8":
        return noise.view(np.int8)
    if name.endswith(_SCALE):
        # Fractions at random, the exponent such that codes times scales have a deviation of about 0.02.
        return (noise & np.uint16(0x007F)) | np.uint16(0x3980)
    # A normal float's upper half: sign and 7 bits of fraction at random, exponent of 0.02.
    return (noise & np.uint16(0x807F)) | np.uint16(0x3C80)
