"""Quantizing a model: a floating-point folder -> a folder as compressed-tensors writes it, in bounded memory."""

from __future__ import annotations

from inferno.quantizer.quantize import Quantized, quantize_model
from inferno.quantizer.recipe import SCHEMES, Recipe

__all__ = ["SCHEMES", "Quantized", "Recipe", "quantize_model"]
