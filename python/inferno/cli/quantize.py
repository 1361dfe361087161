"""`inferno quantize`: a model's weights as int8 or int4 codes, in a folder as compressed-tensors writes it."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from inferno.cli.flags import Flags, integer, number
from inferno.cli.terminal import say, use_utf8, write
from inferno.cli.text_file import read_text_file
from inferno.errors import UsageError
from inferno.progress import stderr_progress

if TYPE_CHECKING:
    from inferno.quantizer import Quantized, Recipe

NAME = "quantize"
HELP = "write a model with int8 or int4 weights"
DESCRIPTION = """Writes a model anew with quantized weights, in the form of compressed-tensors, which Inferno, vLLM and
transformers run.

  inferno quantize ./my-model ./my-model-w8a8
  inferno quantize ./my-model ./my-model-w4a16 --scheme w4a16

w8a8 rounds weights to int8, a scale for each output, and has inputs rounded while the model runs.
w8a16 and w4a16 round weights alone. For w8a8 and w4a16 a text is read first, and factors are moved
between inputs and weights so that rounding errs least (as SmoothQuant and AWQ do). Embedding, norms
and head stay as they are."""

# A recipe's fields -> the flags that set them.
_FLAGS = {"scheme": "--scheme", "strength": "--alpha", "group_size": "--group-size", "ignore": "--ignore"}
SCHEMA = "inferno.quantize/1"


class _Stopped(KeyboardInterrupt):
    """The process was asked to end, by Ctrl-C, SIGTERM, or a terminal that went away."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def add_flags(flags: Flags) -> None:
    parser = flags.parser
    parser.add_argument("model", metavar="MODEL", help="a folder, a Hugging Face id (ORG/NAME), or demo; not quantized")
    parser.add_argument("out", metavar="OUT", help="the folder to make; must be absent or empty")
    flags.add("--scheme", metavar="NAME", help="w8a8 (default), w8a16 or w4a16")
    flags.add("--round-to-nearest", action="store_true", help="move no factors, and read no text")
    flags.add("--alpha", type=number, metavar="A",
              help="w8a8: SmoothQuant's strength for all layers, 0 to 1; default: what errs least")  # fmt: skip
    flags.add("--calibration", environment=False, metavar="FILE",
              help="the text to read, in UTF-8; - is stdin; default: one in the package")  # fmt: skip
    flags.add("--group-size", type=integer, metavar="N",
              help="w4a16: columns that share a scale; default: 128, or the next smaller that fits")  # fmt: skip
    flags.add("--ignore", action="append", environment=False, metavar="NAME",
              help="a layer to leave as it is, by name or as re:REGEX; may be given more than once")  # fmt: skip
    flags.add("--quantize-head", action="store_true", help="quantize lm_head too, where it is not the embedding")
    flags.add("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face id")
    flags.add("-t", "--threads", type=integer, metavar="N", help="default: the CPUs that this process may use")
    flags.add("--isa", environment=False, metavar="TIER", help="kernels to use: scalar, avx2; default: the best here")
    flags.add("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    use_utf8()
    if not args.out:
        raise UsageError("OUT: must name a folder; got an empty name")
    try:
        return _run(args)
    except UsageError as error:
        field, colon, rest = str(error).partition(":")
        raise UsageError(_FLAGS.get(field, field) + colon + rest) from error


def _run(args: argparse.Namespace) -> int:
    from inferno.quantizer import quantize_model

    recipe = _recipe(args)
    text = None
    if args.calibration is not None:
        if not recipe.smooths:
            raise UsageError("--calibration: must be left out for w8a16 and --round-to-nearest, which read no text")
        text = read_text_file(args.calibration)
    try:
        with _stopped_by_signals():
            made = quantize_model(
                args.model,
                args.out,
                recipe,
                calibration=text,
                threads=args.threads,
                isa=args.isa,
                revision=args.revision,
                progress=stderr_progress(quiet=bool(args.quiet)),
            )
    except _Stopped as stop:
        say(f"{args.out}: stopped; nothing is left behind")
        return 128 + stop.number
    _tell(args, recipe, made)
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    from inferno.quantizer import Recipe
    from inferno.quantizer.recipe import HEAD

    head = () if args.quantize_head else (HEAD,)
    if args.quantize_head and HEAD in (args.ignore or ()):
        raise UsageError(f"--quantize-head: must stand without --ignore {HEAD}; leave one of them out")
    if args.round_to_nearest and args.alpha is not None:
        raise UsageError("--alpha: must be left out with --round-to-nearest, which smooths nothing")
    return Recipe(
        scheme=("w8a8" if args.scheme is None else args.scheme).lower(),
        smooth=not args.round_to_nearest,
        strength=args.alpha,
        group_size=args.group_size,
        ignore=(*head, *(args.ignore or ())),
    )


def _tell(args: argparse.Namespace, recipe: Recipe, made: Quantized) -> None:
    from inferno.units import plural, size

    command = shlex.join(["inferno", "generate", "-m", str(made.path), "PROMPT"])
    if not args.quiet:
        if args.quantize_head and not made.head:
            say("the head is the embedding, and stays as it is")
        if made.group_size is not None and recipe.group_size is None and made.group_size != 128:
            say(f"groups of {made.group_size} columns share a scale, for 128 does not divide all rows")
        how = f"{plural(made.layers, 'layer')} as {made.scheme}, {size(made.read_bytes)} -> {size(made.written_bytes)}"
        say(f"{made.path}: {how}; run it with: {command}")
    if args.json:
        write(json.dumps(_as_json(made, command)) + "\n")


def _as_json(made: Quantized, command: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "path": str(made.path),
        "scheme": made.scheme,
        "group_size": made.group_size,
        "layers": made.layers,
        "head": made.head,
        "left": list(made.left),
        "smoothed": made.smoothed,
        "read_bytes": made.read_bytes,
        "written_bytes": made.written_bytes,
        "run": command,
    }


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Has SIGTERM, like Ctrl-C, end the work by an exception, so that it cleans up; a second one changes nothing."""
    # What is ignored stays so: a shell's background job ignores SIGINT, nohup SIGHUP.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in wanted if signal.getsignal(number) != signal.SIG_IGN]

    def stop(number: int, _: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = [signal.signal(each, stop) for each in numbers]
    try:
        yield
    finally:
        for each, handler in zip(numbers, before, strict=True):
            signal.signal(each, handler)
