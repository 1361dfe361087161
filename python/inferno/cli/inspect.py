"""`inferno inspect`: what a model is, whether and how it runs here, and what is wrong with it; no weight is read."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.cli.common import add_machine, add_model, chosen_model, machine
from inferno.cli.flags import Flags
from inferno.cli.terminal import say, stdout_look, use_utf8, write
from inferno.errors import InfernoError
from inferno.progress import stderr_progress

if TYPE_CHECKING:
    from inferno.analysis.forecast import Forecast
    from inferno.analysis.inspection import Inspection
    from inferno.analysis.plan import Plan
    from inferno.progress import Progress

NAME = "inspect"
HELP = "say what a model is, and whether and how it runs here"
DESCRIPTION = """Says what a model is, how it would run on this machine, and what is wrong with it.

  inferno inspect ./my-model
  inferno inspect demo --tensors
  inferno inspect ./my-model --deep --html report.html

Headers and small files tell all of it: no weight is read, unless --deep asks for their values, and no tokenizer is
built, unless --tokenizer asks for that.
The exit code is 0 if the model can run and 1 if it cannot."""


def add_flags(flags: Flags) -> None:
    add_model(flags, argument=True)
    flags.add("--tensors", action="store_true", help="list every tensor")
    flags.add("--deep", action="store_true",
              help="read all values too: NaN, zero and outlier rows, bad scales, SHA-256 of each file")  # fmt: skip
    flags.add("--tokenizer", action="store_true", help="build the tokenizer too, and render a chat of one message")
    add_machine(flags)
    flags.add("--measure", action="store_true", help="measure this machine again before the forecast of speed")
    flags.add("--no-forecast", action="store_true", help="leave the forecast out; it needs a measurement, once")
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of the text")
    flags.add("--html", metavar="FILE", help="write a page that needs nothing else, instead of the text; - is stdout")


def run(args: argparse.Namespace) -> int:
    from inferno.analysis import analyze
    from inferno.analysis.inspection import inspect_report

    use_utf8()
    progress = stderr_progress(quiet=bool(args.quiet))
    model = chosen_model(args, (lambda _: None) if args.quiet else say)
    report = analyze(model, revision=args.revision, progress=progress)
    inspection = inspect_report(report, **machine(args))
    if args.tokenizer:
        inspection = _with_tokenizer(inspection, (lambda _: None) if args.quiet else say)
    if inspection.plan is not None and not args.no_forecast:
        inspection = replace(inspection, forecast=_forecast(inspection.plan, bool(args.measure), progress))
    if args.deep:
        from inferno.analysis.deep import deep_scan

        inspection = replace(inspection, deep=deep_scan(report, progress))
    _show(args, inspection)
    return 1 if inspection.status == "cannot run" else 0


def _with_tokenizer(inspection: Inspection, tell: Callable[[str], None]) -> Inspection:
    """The inspection with what building the tokenizer shows, unless it has been told; if it works, `tell` is called."""
    from inferno.text.trial import try_tokenizer

    report = inspection.report
    trial = try_tokenizer(report.path)
    finding = trial.finding
    if finding is None:
        tell(f"{report.name}: {trial}")
        return inspection
    if any((told.where, told.message) == (finding.where, finding.message) for told in inspection.findings):
        return inspection
    return replace(inspection, report=replace(report, findings=(*report.findings, finding)))


def _forecast(plan: Plan, measure_again: bool, progress: Progress) -> Forecast | None:
    """None where the speed of a stored type is not known, or where the context does not fit."""
    if any(finding.severity == "error" for finding in plan.findings):
        return None
    from inferno import hardware
    from inferno.analysis.forecast import forecast, workload

    work = workload(plan)
    limits = hardware.limits(plan.threads, plan.isa, types=work.types, measure_again=measure_again, progress=progress)
    try:
        return forecast(work, limits, plan.context.available_bytes)
    except KeyError:
        return None


def _show(args: argparse.Namespace, inspection: Inspection) -> None:
    if args.html is not None:
        from inferno.analysis.render import page

        html = page(inspection, tensors=bool(args.tensors))
        if args.html == "-":
            write(html)
        else:
            _write_file(Path(args.html), html)
            if not args.quiet:
                say(f"{args.html}: written")
    if args.json:
        import json

        from inferno.analysis.render import as_json

        write(json.dumps(as_json(inspection)) + "\n")
    elif args.html is None:
        from inferno.analysis.render import as_text

        write(as_text(inspection, tensors=bool(args.tensors), **stdout_look()), clean=True)


def _write_file(path: Path, text: str) -> None:
    """Written beside its place and renamed, so that a page is whole or not there; into a device or a pipe as it is."""
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InfernoError(f"{path}: cannot be written: {error.strerror or error}; give another file") from None
