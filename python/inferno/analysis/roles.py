"""What a tensor is for, told from its name."""

from __future__ import annotations

import re
from typing import Literal

from inferno.quantization.recognize import side_suffix

Role = Literal["embedding", "attention", "mlp", "norm", "head", "quantization", "rope", "other"]
ROLES: tuple[Role, ...] = ("embedding", "attention", "mlp", "norm", "head", "quantization", "rope", "other")

_PATTERNS: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("rope", re.compile(r"(rotary_emb|rope)\.")),
    ("norm", re.compile(r"(norm|layernorm)\.weight$")),
    ("attention", re.compile(r"\.(self_attn|attention)\.")),
    ("mlp", re.compile(r"\.(mlp|feed_forward)\.")),
    ("embedding", re.compile(r"(^|\.)(embed_tokens|tok_embeddings)\.")),
    ("head", re.compile(r"^(lm_head|output)\.")),
)
_LAYER = re.compile(r"(^|\.)layers\.(\d{1,9})\.")


def role_of(name: str) -> Role:
    """The role of the tensor of that name, in either layout's spelling."""
    if side_suffix(name) is not None:
        return "quantization"
    for role, pattern in _PATTERNS:
        if pattern.search(name):
            return role
    return "other"


def layer_of(name: str) -> int | None:
    """The decoder layer that a tensor belongs to; None outside the layers."""
    found = _LAYER.search(name)
    return int(found[2]) if found else None
