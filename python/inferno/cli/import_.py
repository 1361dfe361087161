"""`inferno import`: a GGUF file becomes a model folder."""

from __future__ import annotations

import argparse

from inferno.cli.flags import Flags
from inferno.cli.terminal import say
from inferno.progress import stderr_progress

NAME = "import"
HELP = "turn a GGUF file into a model folder"
DESCRIPTION = """Turns a GGUF file of a Llama-architecture model into a folder as Hugging Face lays it out.

  inferno import model.Q4_K_M.gguf my-model
  inferno generate -m my-model "What is gravity?"

Quantized weights are widened to what they stand for, then rounded to --dtype."""


def add_flags(flags: Flags) -> None:
    flags.parser.add_argument("source", metavar="MODEL.gguf", help="the file to import")
    flags.parser.add_argument("out", metavar="OUT", help="the folder to make; must be absent or empty")
    flags.add("--dtype", type=str.upper, metavar="TYPE", help="type of the weights: BF16 (default), F16 or F32")


def run(args: argparse.Namespace) -> None:
    from inferno.gguf_import import import_gguf

    folder = import_gguf(args.source, args.out, args.dtype or "BF16", stderr_progress(quiet=bool(args.quiet)))
    if not args.quiet:
        say(f"{folder}: imported; run it with: inferno generate -m {folder} PROMPT")
