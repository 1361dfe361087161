"""`inferno pull`: a model is fetched once, to be there when it is wanted."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.cli.common import add_model, chosen_model
from inferno.cli.flags import Flags
from inferno.cli.terminal import say, use_utf8, write
from inferno.errors import UsageError
from inferno.progress import stderr_progress
from inferno.units import size

if TYPE_CHECKING:
    from inferno.progress import Progress

NAME = "pull"
HELP = "fetch a model from Hugging Face, or the demo model"
DESCRIPTION = """Fetches a model, and prints the folder that it lies in.

  inferno pull demo
  inferno pull ORG/NAME --revision v1.0

A model of Hugging Face goes to its own cache (HF_HOME), where other programs find it too: config,
tokenizer and safetensors files, nothing else. The demo model goes to Inferno's (INFERNO_CACHE).
What is there already is not fetched again, and needs no network."""

JSON_SCHEMA = "inferno.pull/1"


@dataclass(frozen=True)
class Pulled:
    """A model that is here now. `bytes` counts all files of the folder; `run` is a command that runs it."""

    model: str
    revision: str | None
    path: str
    bytes: int
    was_here: bool
    status: str
    run: str


def add_flags(flags: Flags) -> None:
    add_model(flags, argument=True, what="a Hugging Face id (ORG/NAME), or demo (default)")
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of the folder's name")


def run(args: argparse.Namespace) -> None:
    use_utf8()
    model = chosen_model(args, (lambda _: None) if args.quiet else say)
    progress = stderr_progress(quiet=bool(args.quiet))
    if model == "demo":
        if args.revision is not None:
            raise UsageError(
                f"--revision: must be left out for the demo model; got {args.revision!r}; it is for Hugging Face ids"
            )
        path, was_here = _demo(progress)
    else:
        path, was_here = _hub(model, args.revision, progress)
    _tell(args, model, path, was_here)


def _demo(progress: Progress) -> tuple[Path, bool]:
    from inferno.demo import ensure_demo, find_demo

    found = find_demo()
    return (ensure_demo(progress), False) if found is None else (found, True)


def _hub(model: str, revision: str | None, progress: Progress) -> tuple[Path, bool]:
    from inferno.hub_cache import DEFAULT_REVISION, MODEL_ID, find_snapshot

    if not MODEL_ID.fullmatch(model):
        folder = os.path.expanduser(model)
        is_here = "; it is a folder on this machine already" if os.path.isdir(folder) else ""
        raise UsageError(f"pull: MODEL must be a Hugging Face id (ORG/NAME) or demo; got {model!r}{is_here}")
    found = find_snapshot(model, revision or DEFAULT_REVISION)
    if found is not None:
        return found, True
    from inferno.hub import fetch

    return fetch(model, revision, progress), False


def _tell(args: argparse.Namespace, model: str, path: Path, was_here: bool) -> None:
    from inferno.analysis import analyze_folder

    report = analyze_folder(path, model)
    pulled = Pulled(
        model, args.revision, str(path), _bytes(path), was_here, report.status, _command(model, args.revision, path)
    )
    if not args.quiet:
        how = "was here already" if was_here else "fetched"
        say(f"{model}: {how} ({size(pulled.bytes)}); run it with: {pulled.run}")
        if report.errors:
            say(f"warning: {model} cannot run: {report.errors[0]}")
    write((json.dumps({"schema": JSON_SCHEMA, **asdict(pulled)}) if args.json else pulled.path) + "\n")


def _command(model: str, revision: str | None, path: Path) -> str:
    from inferno.model_path import find_by_name

    words = ["inferno", "generate", "-m", model, *(() if revision is None else ("--revision", revision))]
    # A folder of the same name comes before the id.
    if model != "demo" and (os.path.lexists(model) or (revision is None and find_by_name(model) is not None)):
        words = ["inferno", "generate", "-m", str(path)]
    return shlex.join([*words, "PROMPT"])


def _bytes(folder: Path) -> int:
    """Of all files below; the hub's snapshots are links to where the bytes lie."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
