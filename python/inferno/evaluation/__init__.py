"""How well a model predicts a text, and how far two models differ on it."""

from __future__ import annotations

from inferno.evaluation.divergence import Divergence, divergence
from inferno.evaluation.perplexity import Perplexity, perplexity

__all__ = ["Divergence", "Perplexity", "divergence", "perplexity"]
