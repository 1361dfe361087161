"""GGUF files of Llama models -> model folders as Hugging Face lays them out."""

from __future__ import annotations

from inferno.gguf_import.importer import import_gguf

__all__ = ["import_gguf"]
