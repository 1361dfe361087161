"""tokenizer.model of Llama 3: tiktoken's ranks -> a tokenizer of the library `tokenizers`, in memory.

A line holds a token's bytes in base64 and its rank, which is its id. The split, the special tokens and their ids are
not in the file; they are those of Meta's llama-models (models/llama3/tokenizer.py).

tiktoken joins the two neighbours whose union has the lowest rank, of equals the leftmost; a piece of the split that is
a token as a whole stays whole. `tokenizers` takes a ranked list of pairs instead: every way to cut a token into two.
The order of one token's cuts does not matter: two neighbours that make up a token have been joined from its bytes by
the same steps wherever they stand, so of all its cuts only one is ever met.
"""

from __future__ import annotations

import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.errors import TextError, UnsupportedError
from inferno.files import show
from inferno.text.vocabulary import MAX_TOKEN_LENGTH

if TYPE_CHECKING:
    import tokenizers

LLAMA3_TOKENS = 128_000  # ordinary ones
NUM_SPECIAL = 256

# How Llama 3 splits a text before BPE.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The first special tokens; reserved ones follow. These are the names of llama-models 0.3. Llama 3.0 has the same ids
# for what it uses, and reserved ones in other places; 3.1 and 3.2 differ from this list only in 5 and 11 (reserved).
_NAMED = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
)
SPECIAL_TOKENS = (*_NAMED, *(f"<|reserved_special_token_{index + 2}|>" for index in range(NUM_SPECIAL - len(_NAMED))))
ROLES = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|end_of_text|>",
    "pad_token": "<|finetune_right_pad_id|>",
}
# What ends a text, a turn, or a message that waits for a tool's answer.
STOP_TOKENS = ("<|end_of_text|>", "<|eot_id|>", "<|eom_id|>")

# Ranks that are other models', which split text in other ways.
_FOREIGN = {50_256: "GPT-2", 50_280: "p50k", 100_256: "cl100k", 199_998: "o200k", 200_000: "Llama 4"}
_LINE = re.compile(rb"^[ \t]*([A-Za-z0-9+/]+={0,2})[ \t]+([0-9]{1,9})[ \t\r]*$", re.MULTILINE)


def looks_like_ranks(data: bytes) -> bool:
    """Whether the first line of a file that begins with `data` is a token and its rank."""
    return _LINE.match(data) is not None


def read_ranks(path: Path, data: bytes) -> list[bytes]:
    """Tokens by rank, the content `data` of `path`.

    Raises TextError: another line, ranks with gaps, a token twice or too long, a byte that is no token;
    UnsupportedError: as many tokens as show another model's ranks.
    """
    pairs = _LINE.findall(data)
    if len(pairs) != sum(1 for line in data.split(b"\n") if line.strip()):
        raise _bad_line(path, data)
    try:
        tokens = [binascii.a2b_base64(token) for token, _ in pairs]
    except binascii.Error:
        raise _bad_line(path, data) from None
    ranks = [int(rank) for _, rank in pairs]
    if ranks != list(range(len(ranks))):
        wrong = next(index for index, rank in enumerate(ranks) if rank != index)
        raise TextError(f"{path}: ranks must be 0, 1, 2, ...; got {ranks[wrong]} after {wrong}. Download it again")
    if len(set(tokens)) != len(tokens) or b"" in tokens:
        raise TextError(f"{path}: every token must come once; {_twice(tokens)} does not. Download it again")
    longest = max(map(len, tokens), default=0)
    if longest > MAX_TOKEN_LENGTH:
        raise TextError(f"{path}: a token must be at most {MAX_TOKEN_LENGTH} bytes; got {longest}. Download it again")
    missing = {bytes([byte]) for byte in range(256)}.difference(tokens)
    if missing:
        raise TextError(f"{path}: must have every byte as a token; {min(missing)!r} is none. Download it again")
    _refuse_foreign(path, len(tokens))
    return tokens


def tiktoken_tokenizer(tokens: list[bytes]) -> tokenizers.Tokenizer:
    """Llama 3's tokenizer with the ordinary tokens `tokens`; its 256 special tokens get the ids behind them."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    alphabet = _alphabet()
    texts = [token.decode("latin-1").translate(alphabet) for token in tokens]
    vocab = {text: rank for rank, text in enumerate(texts)}
    merges = [
        (left, right)
        for text in texts
        for cut in range(1, len(text))
        if (left := text[:cut]) in vocab and (right := text[cut:]) in vocab
    ]
    library = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL_TOKENS])
    return library


def _alphabet() -> str:
    """GPT-2's visible character for every byte, at the byte's place."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return "".join(chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256))


def _refuse_foreign(path: Path, count: int) -> None:
    if count > LLAMA3_TOKENS or count in _FOREIGN:
        whose = f", as {_FOREIGN[count]} has" if count in _FOREIGN else ""
        raise UnsupportedError(
            f"{path}: must be the ranks of Llama 3, {LLAMA3_TOKENS}; got {count}{whose}; "
            "other models split text in other ways: use the model's tokenizer.json"
        )


def _bad_line(path: Path, data: bytes) -> TextError:
    """The error for the first line that is no token with its rank."""
    lines = [line.strip() for line in data.split(b"\n")]
    number, line = next((n, line) for n, line in enumerate(lines, 1) if line and not _is_rank(line))
    got = show(line[:200].decode(errors="replace"), 60)
    return TextError(f"{path}: line {number} must be a token in base64 and its rank; got {got}. Download it again")


def _is_rank(line: bytes) -> bool:
    match = _LINE.fullmatch(line)
    try:
        return match is not None and bool(binascii.a2b_base64(match[1]))
    except binascii.Error:
        return False


def _twice(tokens: list[bytes]) -> str:
    seen: set[bytes] = {b""}
    for token in tokens:
        if token in seen:
            return show(repr(token))
        seen.add(token)
    return "one"
