"""RoPE settings of published models, whose frequencies in transformers are stored in tests/data/references/rope.npz.

Name -> (rope_parameters, head_dim, max_position_embeddings, length of the sequence).
"""

from __future__ import annotations

from typing import Any


def _llama3(factor: float) -> dict[str, Any]:
    bands = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    return {"rope_type": "llama3", "rope_theta": 500000.0, "factor": factor, **bands}


_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 4096}

ROPE_CASES: dict[str, tuple[dict[str, Any], int, int, int]] = {
    "llama2": ({"rope_type": "default", "rope_theta": 10000.0}, 128, 4096, 4096),
    "tinyllama": ({"rope_type": "default", "rope_theta": 10000.0}, 64, 2048, 2048),
    "smollm2": ({"rope_type": "default", "rope_theta": 100000.0}, 64, 8192, 8192),
    "llama3": ({"rope_type": "default", "rope_theta": 500000.0}, 128, 8192, 8192),
    "llama3.1": (_llama3(8.0), 128, 131072, 16000),
    "llama3.2": (_llama3(32.0), 64, 131072, 16000),
    # Here one rounding less in the wavelength shows.
    "llama3_of_theta_10000": ({**_llama3(8.0), "rope_theta": 10000.0}, 128, 131072, 16000),
    "linear": ({"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}, 128, 4096, 4096),
    "yarn": (_YARN, 128, 65536, 16000),
}
