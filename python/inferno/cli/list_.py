"""`inferno list`: the models on this machine, and whether they run."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inferno.cli.flags import Flags, integer
from inferno.cli.terminal import say, stdout_look, use_utf8, write
from inferno.progress import stderr_progress

if TYPE_CHECKING:
    from inferno.catalog import ModelEntry
    from inferno.catalog.check import CheckResult
    from inferno.cli.list_table import Row
    from inferno.progress import Progress

NAME = "list"
HELP = "list the models on this machine, and say whether they run"
DESCRIPTION = """Lists the models on this machine under the names that -m takes, and what keeps one from running.

  inferno list
  inferno list ~/checkpoints /data/models
  inferno list --check

Without a FOLDER: those in the current folder and below, those in the folders that INFERNO_MODEL_PATH
names (a list like PATH; ~/models if it is not set), those in the Hugging Face cache, and the demo
model. With FOLDERs, only what lies in them and below.

Nothing is loaded: file names, headers and small files tell all of it. --check loads every model that
can run, one after the other, and generates 8 tokens with it; the exit code is 1 if one of them fails."""

JSON_SCHEMA = "inferno.list/1"


def add_flags(flags: Flags) -> None:
    flags.parser.add_argument("folders", nargs="*", metavar="FOLDER", help="look here, and nowhere else")
    flags.add("--check", action="store_true", help="load every model that can run and generate 8 tokens with it")
    flags.add("-t", "--threads", type=integer, metavar="N", help="default: the CPUs that this process may use")
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of the table")


def run(args: argparse.Namespace) -> int:
    from inferno.catalog import find_models
    from inferno.cli.list_table import Row

    use_utf8()
    progress = stderr_progress(quiet=bool(args.quiet))
    messages: list[str] = []
    found = find_models(args.folders or None, tell=messages.append, progress=progress, threads=args.threads)
    rows = [Row(entry) for entry in found]
    if not args.quiet:
        for message in messages:
            say(message)
    if args.check:
        rows = _checked(rows, args.threads, progress)
    if args.json:
        write(json.dumps(_json(rows, messages)) + "\n")
    else:
        _show(rows, args)
    return 1 if any(row.check is not None and row.check.error is not None for row in rows) else 0


def _checked(rows: list[Row], threads: int | None, progress: Progress) -> list[Row]:
    """The rows with the checks of those that can run; a failure does not stop the others."""
    from inferno.analysis.render.escape import printable
    from inferno.catalog.check import check_model
    from inferno.cli.list_table import Row

    total = sum(row.entry.can_run for row in rows)
    done: list[Row] = []
    number = 0
    for row in rows:
        check: CheckResult | None = None
        if row.entry.can_run:
            number += 1
            progress.start(f"Checking {printable(row.entry.name)} ({number} of {total})", None)
            try:
                check = check_model(row.entry.path, threads)
            finally:
                progress.finish()
        done.append(Row(row.entry, check))
    return done


def _show(rows: list[Row], args: argparse.Namespace) -> None:
    from inferno.cli.list_table import table

    if rows:
        write(table(rows, checked=bool(args.check), **stdout_look()), clean=True)
    elif not args.quiet:
        say(_nothing(args.folders))


def _nothing(folders: list[str]) -> str:
    from inferno.files import show_some

    where = show_some(folders) if folders else "this machine"
    return (
        f"no models in {where}; a model folder holds config.json and safetensors files, or params.json and "
        "consolidated.*; fetch one with: inferno pull demo"
    )


def _json(rows: list[Row], messages: list[str]) -> dict[str, Any]:
    """Fields may be added to a schema; a changed meaning is a new schema."""
    return {"schema": JSON_SCHEMA, "models": [_model(row.entry, row.check) for row in rows], "messages": messages}


def _model(entry: ModelEntry, check: CheckResult | None) -> dict[str, Any]:
    from inferno.analysis.render.as_json import finding_json

    return {
        "name": entry.name,
        "revision": entry.revision,
        "path": os.path.abspath(entry.path),
        "source": entry.source,
        "layout": entry.layout,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "dtype": entry.dtype,
        "scheme": entry.scheme,
        "weight_bytes": entry.weight_bytes,
        "context": entry.context,
        "status": entry.status,
        "findings": [finding_json(finding) for finding in entry.findings],
        "check": None if check is None else asdict(check),
    }
