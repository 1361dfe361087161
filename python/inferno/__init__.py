"""Inferno runs Llama-family checkpoints on the CPU, straight from their safetensors files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferno.errors import InfernoError

if TYPE_CHECKING:
    from inferno.analysis.analyze import analyze
    from inferno.analysis.report import Report
    from inferno.engine.llm import LLM
    from inferno.engine.outputs import CompletionOutput, RequestOutput, StreamPiece
    from inferno.engine.sampling import SamplingParams
    from inferno.evaluation.divergence import Divergence, divergence
    from inferno.evaluation.perplexity import Perplexity, perplexity
    from inferno.quantizer import Recipe, quantize_model

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "CompletionOutput",
    "Divergence",
    "InfernoError",
    "Perplexity",
    "Recipe",
    "Report",
    "RequestOutput",
    "SamplingParams",
    "StreamPiece",
    "analyze",
    "divergence",
    "perplexity",
    "quantize_model",
]

# Loaded on first use: `import inferno` costs no more than the interpreter's own work.
_LAZY = {
    "analyze": "inferno.analysis.analyze",
    "Report": "inferno.analysis.report",
    "LLM": "inferno.engine.llm",
    "SamplingParams": "inferno.engine.sampling",
    "CompletionOutput": "inferno.engine.outputs",
    "RequestOutput": "inferno.engine.outputs",
    "StreamPiece": "inferno.engine.outputs",
    "perplexity": "inferno.evaluation",
    "Perplexity": "inferno.evaluation",
    "divergence": "inferno.evaluation",
    "Divergence": "inferno.evaluation",
    "quantize_model": "inferno.quantizer",
    "Recipe": "inferno.quantizer",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'inferno' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "errors"})
