"""Architectures, a file each, and the loaded model that runs them."""

from __future__ import annotations

from inferno.models.model import PREFILL_CHUNK, Model

__all__ = ["PREFILL_CHUNK", "Model", "load_model"]

load_model = Model
