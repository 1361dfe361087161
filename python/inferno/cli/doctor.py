"""`inferno doctor`: the machine, the build, the measured limits, and whether the kernels compute what they should."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inferno.cli.flags import Flags, integer
from inferno.cli.terminal import use_utf8, write
from inferno.errors import HardwareError
from inferno.progress import stderr_progress

if TYPE_CHECKING:
    from inferno.diagnosis import Diagnosis
    from inferno.selftest import Check

NAME = "doctor"
HELP = "check this machine and this build"
DESCRIPTION = """Tells what this machine has and what Inferno may use of it, how fast it is, and tries every kernel.

  inferno doctor
  inferno doctor --measure -t 4
  inferno doctor --json

The speed is measured once, which takes a few seconds, and then kept; --measure does it again.
The exit code is 1 if a kernel computes what it should not."""

JSON_SCHEMA = "inferno.doctor/1"


def add_flags(flags: Flags) -> None:
    flags.add("--measure", action="store_true", help="measure the machine's speed again")
    flags.add("-t", "--threads", type=integer, metavar="N", help="default: the CPUs that this process may use")
    # The variable INFERNO_ISA is read by the library itself, for every program that uses it.
    flags.add(
        "--isa", environment=False, metavar="TIER", help="kernels to measure: scalar, avx2; default: the best here"
    )
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of the text")


def run(args: argparse.Namespace) -> None:
    from inferno.diagnosis import diagnose

    use_utf8()
    found = diagnose(
        args.threads, args.isa, measure_again=bool(args.measure), progress=stderr_progress(quiet=bool(args.quiet))
    )
    if args.json:
        write(json_text(found) + "\n")
    else:
        _show(found)
    failed = [check for check in found.checks if not check.passed]
    if failed:
        raise _wrong(failed)


def json_text(found: Diagnosis) -> str:
    """One object on one line. Fields may be added to a schema; a changed meaning is a new schema."""
    import json

    fields: dict[str, Any] = {
        "machine": found.machine.as_json(),
        "build": asdict(found.build),
        "limits": found.limits.as_json(),
        "self_test": {"passed": found.passed, "checks": [asdict(check) for check in found.checks]},
        "python": asdict(found.python),
        "folders": [asdict(folder) for folder in found.folders],
    }
    return json.dumps({"schema": JSON_SCHEMA, **fields})


def _show(found: Diagnosis) -> None:
    from inferno.cli.doctor_text import sections

    if sys.stdout is not None and sys.stdout.isatty():
        write(_rich(sections(found)), clean=True)
    else:
        write("\n".join(_plain(title, rows) for title, rows in sections(found)))


def _plain(title: str, rows: list[tuple[str, str]]) -> str:
    width = max((len(label) for label, _ in rows), default=0)
    return "".join([f"{title}\n", *(f"  {label:<{width}}  {value}".rstrip() + "\n" for label, value in rows)])


def _rich(all_sections: list[tuple[str, list[tuple[str, str]]]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    with console.capture() as captured:
        for title, rows in all_sections:
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            for label, value in rows:
                style = "green" if value.startswith("pass:") else "bold red" if value.startswith("FAIL") else ""
                table.add_row(Text(f"  {_printable(label)}", style="dim"), Text(_printable(value), style=style))
            console.print(Text(title, style="bold"))
            console.print(table)
    return captured.get()


def _printable(text: str) -> str:
    """A folder's name shall not steer the user's terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _wrong(failed: list[Check]) -> HardwareError:
    from inferno.files import show_some

    names = [f"{check.tier} {check.operation} {check.weight_type}".rstrip(" -") for check in failed]
    return HardwareError(
        f"self-test: every kernel must compute what it should; got wrong results from {show_some(names)}; choose a "
        "tier that passes (INFERNO_ISA), and please report it with the output of `inferno doctor --json`"
    )
