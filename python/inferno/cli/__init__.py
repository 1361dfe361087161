"""The command line: verbs, a file each, and what becomes of their errors.

A verb's `run` may return an exit code; None is 0.

Nothing here imports more than the standard library before a verb runs: a start should cost what its verb needs.
Exit codes: 0 done, 1 failed, 2 wrongly called, 130 Ctrl-C, 141 the reader of standard output went away.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

from inferno import __version__
from inferno.cli import doctor, generate, import_, inspect, list_, perplexity, pull, quantize, tokenize
from inferno.cli.flags import Flags, Parser
from inferno.cli.terminal import abandon, flush, open_stderr, say
from inferno.errors import InfernoError, UsageError

_VERBS = (generate, list_, inspect, tokenize, perplexity, pull, import_, quantize, doctor)
_INTERRUPTED = 128 + signal.SIGINT
_READER_GONE = 128 + 13  # SIGPIPE, which not every system has


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code (SystemExit for --help and --version). Prints every error itself."""
    parsed = None
    open_stderr()
    try:
        parsed = _parse(arguments)
        code = parsed.run(parsed)
        flush()
        return int(code or 0)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one should not disturb the way out
        return _INTERRUPTED
    except BrokenPipeError:
        return _READER_GONE
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        return _report(error, debug=parsed is not None and bool(parsed.debug))
    finally:
        abandon()


def build_parser() -> argparse.ArgumentParser:
    """The parser with all verbs. A parsed command has `run`, the verb's function, and `flags`, a Flags."""
    parser = Parser(
        prog="inferno",
        description="Runs Llama checkpoints on the CPU, straight from their safetensors files.",
        epilog="`inferno VERB --help` tells what a verb takes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"inferno {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in _VERBS:
        verb_parser = verbs.add_parser(
            verb.NAME,
            help=verb.HELP,
            description=verb.DESCRIPTION,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        flags = Flags(verb_parser)
        verb.add_flags(flags)
        flags.add("-q", "--quiet", action="store_true", help="on stderr only errors")
        flags.add("--debug", action="store_true", help="show where in the code an error arose")
        verb_parser.add_argument("--version", action="version", version=f"inferno {__version__}")
        verb_parser.set_defaults(run=verb.run, flags=flags)
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parsed = build_parser().parse_args(arguments)
    parsed.flags.read_environment(parsed)
    return parsed


def _report(error: BaseException, debug: bool) -> int:
    if debug:
        import traceback

        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, InfernoError):
        say(f"inferno: error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, MemoryError):
        say("inferno: error: not enough memory; try a smaller context (-c)")
        return 1
    hint = "" if debug else "; run it again with --debug to see where, and please report it"
    say(f"inferno: error: unexpected {type(error).__name__}: {error}{hint}")
    return 1
