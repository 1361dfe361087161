"""Flags that several verbs share: the model, and how it is to run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from inferno.cli.flags import Flags, integer, token_count
from inferno.errors import UsageError

_MODEL = "a folder, a name in ~/models or INFERNO_MODEL_PATH, a Hugging Face id (ORG/NAME), or demo (default)"


def add_model(flags: Flags, *, argument: bool = False, what: str = _MODEL) -> None:
    """-m and --revision. With `argument`, the model may stand alone, as it does where a verb is about a model.

    `what` tells what a model may be.
    """
    if argument:
        flags.parser.add_argument("model_argument", nargs="?", metavar="MODEL", help=what)
    flags.add("-m", "--model", help="the same as a flag" if argument else what)
    flags.add("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face id")


def chosen_model(args: argparse.Namespace, notes: Callable[[str], object]) -> str:
    """The model that was asked for; none is the demo model, and told. UsageError for two different ones."""
    argument = getattr(args, "model_argument", None)
    # INFERNO_MODEL is what to take where nothing is given: it does not contradict an argument.
    if argument is not None and args.model not in (None, argument, os.environ.get("INFERNO_MODEL")):
        raise UsageError(f"MODEL: must be given once; got {argument!r} and -m {args.model!r}")
    chosen: str | None = argument if argument is not None else args.model
    if chosen is None:
        notes("no model given (-m): using the demo model")
        return "demo"
    return chosen


def add_machine(flags: Flags, context: str = "the model's") -> None:
    """Threads, context, cache type, tier, numerics: what `machine` reads. context: what its default is."""
    flags.add("-t", "--threads", type=integer, metavar="N", help="default: the CPUs that this process may use")
    flags.add("-c", "--ctx-size", "--max-model-len", type=token_count, metavar="N",
              help=f"tokens of prompt and answer together, like 4096 or 4k; default: {context}")  # fmt: skip
    flags.add("--kv-cache-type", metavar="TYPE", help="how keys and values are stored: f16 (default), f32 or bf16")
    # The variable INFERNO_ISA is read by the library itself, for every program that uses it.
    flags.add("--isa", environment=False, metavar="TIER", help="kernels to use: scalar, avx2; default: the best here")
    flags.add("--numerics", metavar="NAME",
              help="rounding of inputs to int8 in quantized models: vllm (default) or compressed-tensors")  # fmt: skip


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What add_machine's flags say, as the arguments of LLM, make_plan and inspect_report."""
    return {
        "threads": args.threads,
        "ctx_size": args.ctx_size,
        "kv_cache_type": args.kv_cache_type or "f16",
        "isa": args.isa,
        "numerics": args.numerics or "vllm",
    }
