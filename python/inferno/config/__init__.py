"""config.json, in transformers' v4 and v5 spellings: one checked LlamaConfig."""

from __future__ import annotations

from inferno.config.generation import GenerationDefaults
from inferno.config.llama import LlamaConfig
from inferno.config.rope import RopeConfig

__all__ = ["GenerationDefaults", "LlamaConfig", "RopeConfig"]
