"""Architectures, a file each, and the loaded model that runs them."""

from __future__ import annotations

from pathlib import Path

from inferno.models.model import PREFILL_CHUNK, Model

__all__ = ["PREFILL_CHUNK", "Model", "load_model"]


def load_model(
    folder: Path | str,
    *,
    threads: int | None = None,
    ctx_size: int | None = None,
    kv_cache_type: str = "f16",
    isa: str | None = None,
    numerics: str = "vllm",
) -> Model:
    """The model in a folder, ready to run: what `inferno.analysis` promises, bound.

    Arguments as in LLM. Raises what makes the model or the call impossible, before a weight is read.
    """
    from inferno.analysis import analyze_folder, make_plan

    report = analyze_folder(folder)
    plan = make_plan(
        report, threads=threads, ctx_size=ctx_size, kv_cache_type=kv_cache_type, isa=isa, numerics=numerics
    )
    return Model(plan)
