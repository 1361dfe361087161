"""Stores transformers' frequencies of tests/helpers/rope_cases.py: `python tests/oracle/make_rope_references.py`.

Needs the extra `oracle`. rope.npz: per case `<name>.inv_freq` float32 (head_dim / 2,) and `<name>.attention_factor`.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "helpers"))


def main() -> None:
    import numpy as np
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from rope_cases import ROPE_CASES

    stored = {}
    for name, (rope, head_dim, max_positions, length) in ROPE_CASES.items():
        config = LlamaConfig(
            hidden_size=2 * head_dim,
            num_attention_heads=2,
            head_dim=head_dim,
            max_position_embeddings=max_positions,
            rope_parameters=dict(rope),
        )
        rotary = LlamaRotaryEmbedding(config)
        rotary(torch.zeros(1), torch.tensor([[length - 1]]))
        stored[f"{name}.inv_freq"] = rotary.inv_freq.numpy()
        stored[f"{name}.attention_factor"] = np.float64(rotary.attention_scaling)
    np.savez_compressed(HERE.parent / "data" / "references" / "rope.npz", **stored)


if __name__ == "__main__":
    main()
