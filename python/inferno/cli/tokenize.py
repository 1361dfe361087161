"""`inferno tokenize`: a text as a model's tokens, or tokens as text."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.cli.common import add_model, chosen_model
from inferno.cli.flags import Flags
from inferno.cli.prompt import is_terminal, stdin_bytes
from inferno.cli.terminal import say, use_utf8, write
from inferno.cli.text_file import decoded, file_bytes
from inferno.errors import UsageError
from inferno.progress import stderr_progress

if TYPE_CHECKING:
    from inferno.text import Tokenizer

NAME = "tokenize"
HELP = "show a text as a model's tokens"
DESCRIPTION = """Shows a text as the tokens that a model reads: id, piece and text in each line, the count on stderr.

  inferno tokenize "What is gravity?"
  inferno tokenize -m ./my-model --file notes.txt --count
  inferno tokenize -m ./my-model --ids "Hello" | inferno tokenize -m ./my-model --decode -

The text is taken as it is, with the newline at its end: `printf` gives none where `echo` does.
Only the tokenizer is read, no weight. A piece is how the vocabulary writes the token; the text that
became whole with it follows where that is something else."""

SCHEMA = "inferno.tokenize/1"
_LINES_AT_ONCE = 10_000


@dataclass(frozen=True)
class Token:
    """An id, its spelling in the vocabulary, and the text that became whole with it."""

    id: int
    piece: str | None
    text: str


def add_flags(flags: Flags) -> None:
    flags.parser.add_argument("text_argument", nargs="?", metavar="TEXT", help='"-" or a pipe: read from stdin')
    flags.add("-p", "--prompt", metavar="TEXT", help="the same as a flag")
    flags.add("-f", "--file", environment=False, metavar="FILE", help="read the text from a file")
    flags.add("--stdin", environment=False, action="store_true", help="read the text from stdin, as - does")
    add_model(flags)
    flags.add("--no-bos", action="store_true", help="without the tokens that the model puts around a text")
    flags.add("--no-parse-special", action="store_true",
              help="special tokens that are written in the text are ordinary text")  # fmt: skip
    flags.add("--replace-invalid", action="store_true",
              help="U+FFFD for what is not UTF-8, as Python and browsers decode it; default: an error")  # fmt: skip
    flags.add(
        "--decode", environment=False, action="store_true", help="TEXT is ids: print the text that they stand for"
    )
    flags.add("--ids", "--ids-only", action="store_true", help="print [1, 2, 3] alone")
    flags.add("--count", action="store_true", help="print the number of tokens alone")
    flags.add("--show-count", action="store_true", help="print the number of tokens as a last line")
    flags.add("--json", action="store_true", help="one JSON object on stdout instead of lines")


def run(args: argparse.Namespace) -> None:
    use_utf8()
    _check_formats(args)
    data, where = _input(args)
    replace = bool(args.replace_invalid)
    text = data.decode(errors="replace") if replace else decoded(data, where, ", or give --replace-invalid")
    name, tokenizer = _tokenizer(args)
    if args.decode:
        ids = parse_ids(text, tokenizer)
        text = tokenizer.decode(ids, skip_special_tokens=False)
    else:
        ids = tokenizer.encode(text, add_special_tokens=not args.no_bos, parse_special=not args.no_parse_special)
    if args.json:
        write(_json(name, tokenizer, ids, text) + "\n")
    elif args.decode:
        write(text if text.endswith("\n") else text + "\n")
    elif args.count:
        write(f"{len(ids)}\n")
    else:
        _write_tokens(tokenizer, ids, args)
    if not args.quiet:
        say(_summary(name, tokenizer, ids, text))


def parse_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids written with spaces or commas between them, with or without brackets. UsageError for anything else."""
    words = re.split(r"[\s,]+", text.strip().removeprefix("[").removesuffix("]").strip())
    ids = []
    for word in words if words != [""] else []:
        if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) >= tokenizer.vocab_size:
            raise UsageError(
                f"--decode: ids must be whole numbers below {tokenizer.vocab_size}, like 1 2 3 or [1, 2, 3]; "
                f"got {word[:60]!r}"
            )
        ids.append(int(word))
    return ids


def tokens(tokenizer: Tokenizer, ids: list[int]) -> Iterator[Token]:
    """The tokens one by one; their texts joined are the text of all, special tokens included."""
    from inferno.text import Detokenizer

    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    for index, token_id in enumerate(ids):
        text = detokenizer.add(token_id)
        rest = detokenizer.finish() if index == len(ids) - 1 else ""
        yield Token(token_id, tokenizer.id_to_token(token_id), text + rest)


def _check_formats(args: argparse.Namespace) -> None:
    formats = [flag for flag in ("json", "ids", "count") if getattr(args, flag)]
    if len(formats) > 1:
        raise UsageError(f"--{formats[0]}: must stand without --{formats[1]}; leave one of them out")
    for flag in ("ids", "count", "show_count", "no_bos", "no_parse_special") if args.decode else ():
        if getattr(args, flag):
            raise UsageError(f"--{flag.replace('_', '-')}: must stand without --decode; leave it out")
    if args.show_count and (args.json or args.count):
        raise UsageError("--show-count: must stand without --json and --count, which tell the number; leave it out")


def _input(args: argparse.Namespace) -> tuple[bytes, str]:
    """The bytes to tokenize, and where they come from. UsageError if there are none, or two sources."""
    given = {
        "TEXT": args.text_argument,
        "--prompt": args.prompt,
        "--file": args.file,
        "--stdin": "-" if args.stdin else None,
    }
    sources = [name for name, value in given.items() if value is not None]
    if len(sources) > 1:
        raise UsageError(f"text: must be given once; got it by {' and by '.join(sources)}")
    if not sources and is_terminal():
        raise UsageError('text: must be given: inferno tokenize "What is gravity?", --file, or through a pipe')
    value = given[sources[0]] if sources else "-"
    if value == "-":
        return stdin_bytes("a text"), "standard input"
    if sources == ["--file"]:
        return file_bytes(Path(value)), value
    # How Python passes on a byte that it could not decode, and, where a program calls, half a character.
    try:
        return value.encode(errors="surrogateescape"), "text"
    except UnicodeEncodeError:
        return value.encode(errors="surrogatepass"), "text"


def _tokenizer(args: argparse.Namespace) -> tuple[str, Tokenizer]:
    """The model's name and its tokenizer, which is all of it that is opened."""
    from inferno.discovery import resolve_model
    from inferno.text import Tokenizer

    model = chosen_model(args, (lambda _: None) if args.quiet else say)
    progress = stderr_progress(quiet=bool(args.quiet))
    location = resolve_model(model, revision=args.revision, progress=progress)
    return location.name, Tokenizer.from_folder(location.path)


def _write_tokens(tokenizer: Tokenizer, ids: list[int], args: argparse.Namespace) -> None:
    if args.ids:
        write(f"{ids}\n")
    else:
        lines = map(_line, tokens(tokenizer, ids))
        while block := "".join(islice(lines, _LINES_AT_ONCE)):
            write(block)
    if args.show_count:
        write(f"Total number of tokens: {len(ids)}\n")


def _line(token: Token) -> str:
    text = "" if token.text == token.piece else f"  {_quoted(token.text)}"
    return f"{token.id:6d} -> {_quoted(token.piece)}{text}\n"


def _quoted(piece: str | None) -> str:
    """A text as a JSON string; what cannot be seen, or turns the line around, is escaped."""
    quoted = json.dumps(piece, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(piece)


def _json(name: str, tokenizer: Tokenizer, ids: list[int], text: str) -> str:
    return json.dumps(
        {
            "schema": SCHEMA,
            "model": name,
            "tokenizer": str(tokenizer.source),
            "vocab_size": tokenizer.vocab_size,
            "text": text,
            "count": len(ids),
            "characters": len(text),
            "bytes": len(text.encode()),
            "token_ids": ids,
            "tokens": [asdict(token) for token in tokens(tokenizer, ids)],
        }
    )


def _summary(name: str, tokenizer: Tokenizer, ids: list[int], text: str) -> str:
    def counted(number: int, what: str) -> str:
        return f"{number} {what}" + ("" if number == 1 else "s")

    size = counted(len(text), "character") + ", " + counted(len(text.encode()), "byte")
    return f"{name} ({tokenizer.source.name}): {counted(len(ids), 'token')} for {size}"
