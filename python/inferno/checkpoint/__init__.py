"""What lies on disk: safetensors files as read-only views, checked from their headers alone."""

from __future__ import annotations

from inferno.checkpoint.checkpoint import Checkpoint
from inferno.checkpoint.expected import TensorMatch, TensorSpec, match_tensors, refuse_mismatch
from inferno.checkpoint.tensor import AnyTensor, JoinedTensor, Tensor
from inferno.checkpoint.tied import HeadChoice, resolve_head

__all__ = [
    "AnyTensor",
    "Checkpoint",
    "HeadChoice",
    "JoinedTensor",
    "Tensor",
    "TensorMatch",
    "TensorSpec",
    "match_tensors",
    "refuse_mismatch",
    "resolve_head",
]
