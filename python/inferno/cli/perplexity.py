"""`inferno perplexity`: how well a model predicts a text, and how far it lies from another."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inferno.cli.common import add_machine, add_model, chosen_model, machine
from inferno.cli.flags import Flags, integer
from inferno.cli.terminal import say, use_utf8, write
from inferno.cli.text_file import read_text_file
from inferno.errors import UsageError
from inferno.progress import stderr_progress
from inferno.units import plural

if TYPE_CHECKING:
    from inferno.engine.llm import LLM
    from inferno.evaluation import Divergence, Perplexity

NAME = "perplexity"
HELP = "measure how well a model predicts a text"
DESCRIPTION = """Measures how well a model predicts a text, and with --against how far it lies from another model.

  inferno perplexity ./my-model --file text.txt
  inferno perplexity ./my-model-w8a8 --file text.txt --against ./my-model

The text's tokens, without BOS, are cut into windows that do not overlap; each is read by itself, and
every token of it but the first is scored. The error is the standard error as if tokens were
independent. --against compares the two models' predictions for each token: Kullback-Leibler
divergence in nats, how often both think the same token the likeliest, and the ratio of perplexities."""

SCHEMA = "inferno.perplexity/1"
DEFAULT_WINDOW = 512


def add_flags(flags: Flags) -> None:
    add_model(flags, argument=True)
    flags.add("-f", "--file", environment=False, metavar="FILE", help="the text, in UTF-8; - is stdin")
    flags.add("--window", type=integer, metavar="N", help=f"tokens of a window; default: {DEFAULT_WINDOW}")
    flags.add("--against", metavar="OTHER", help="a second model to compare with, the reference")
    add_machine(flags, context="the window")
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of the text")


def run(args: argparse.Namespace) -> None:
    from inferno.evaluation import divergence, perplexity

    use_utf8()
    if args.file is None:
        raise UsageError("--file: must be given: the text to measure on; - reads it from stdin")
    window = DEFAULT_WINDOW if args.window is None else args.window
    if window < 2:
        raise UsageError(f"--window: must be at least 2 tokens, for the first is not scored; got {window}")
    text = read_text_file(args.file)
    notes = (lambda _: None) if args.quiet else say
    progress = stderr_progress(quiet=bool(args.quiet))
    llm = _load(args, chosen_model(args, notes), window, notes, args.revision)
    if args.against is None:
        found = perplexity(llm, text, window=window, progress=progress)
        line = f"{_line(llm.name, found)} ({found.seconds:.1f} s, {found.tokens_per_second:.0f} tokens/s)"
        write((json.dumps({**_head(llm, args), **_json(found)}) if args.json else line) + "\n")
        return
    reference = _load(args, args.against, window, notes)
    apart = divergence(llm, reference, text, window=window, progress=progress)
    if args.json:
        write(json.dumps({**_head(llm, args), **_json(apart.model), "against": _against(reference, apart)}) + "\n")
    else:
        same = llm.name == reference.name
        name, other = (str(model.path) if same else model.name for model in (llm, reference))
        write(_comparison(name, other, apart))


def _load(args: argparse.Namespace, model: str, window: int, notes: Any, revision: str | None = None) -> LLM:
    from inferno.cli.report import load_line
    from inferno.engine.llm import LLM

    options = machine(args)
    if options["ctx_size"] is None:
        options["ctx_size"] = window  # a window is all that is ever in the cache
    llm = LLM(model, **options, revision=revision, progress=stderr_progress(quiet=bool(args.quiet)))
    notes(load_line(llm))
    for warning in llm.warnings:
        notes(f"inferno: warning: {warning}")
    return llm


def _line(name: str, found: Perplexity) -> str:
    return (
        f"{name}: perplexity {found.perplexity:.4f} +- {found.perplexity_error:.4f} over {found.tokens} tokens in "
        f"{plural(found.windows, 'window')} of {found.window}"
    )


def _comparison(name: str, reference: str, found: Divergence) -> str:
    return (
        f"{_line(name, found.model)}\n{_line(reference, found.reference)}\n"
        f"ratio of perplexities {found.ratio:.5f} +- {found.ratio_error:.5f} ({100 * (found.ratio - 1):+.2f} %)\n"
        f"divergence {found.kl_mean:.6f} +- {found.kl_error:.6f} nats; median {found.kl_median:.6f}, "
        f"99th percentile {found.kl_99th:.6f}, largest {found.kl_max:.6f}\n"
        f"same likeliest token {100 * found.top1_agreement:.2f} +- {100 * found.top1_error:.2f} %\n"
    )


def _head(llm: LLM, args: argparse.Namespace) -> dict[str, Any]:
    return {"schema": SCHEMA, "file": args.file, "model": _model(llm)}


def _model(llm: LLM) -> dict[str, Any]:
    m = llm.model
    return {
        "name": llm.name,
        "path": str(llm.path),
        "parameters": llm.num_parameters,
        "scheme": m.plan.report.scheme.name,
        "numerics": m.numerics,
        "kv_cache_type": m.kv_cache_type,
        "isa": m.isa,
        "threads": m.threads,
    }


def _json(found: Perplexity) -> dict[str, Any]:
    return {
        "perplexity": found.perplexity,
        "perplexity_error": found.perplexity_error,
        "tokens_per_second": found.tokens_per_second,
        **asdict(found),
    }


def _against(reference: LLM, found: Divergence) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(found).items() if name not in ("model", "reference")}
    return {"model": _model(reference), **_json(found.reference), **figures}
