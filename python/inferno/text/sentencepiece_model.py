"""tokenizer.model of Llama 2 and its kin: a SentencePiece model -> tokenizer.json in memory.

The fields are those of sentencepiece_model.proto; the rules those of the library's bpe_model.cc and normalizer.cc. What
tokenizer.json cannot express exactly is refused by name.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferno.errors import TextError, UnsupportedError
from inferno.files import show
from inferno.text.protobuf import Value, WireError, fields
from inferno.text.sentencepiece_bpe import BYTES, Merges, sentencepiece_json
from inferno.text.vocabulary import MAX_TOKEN_LENGTH, TokenType, Vocabulary

# Field numbers, and what holds where a file is silent.
_PIECES, _TRAINER, _NORMALIZER, _DENORMALIZER = 1, 2, 3, 5
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
_MODEL_TYPE, _SPACE_AS_SUFFIX, _BYTE_FALLBACK = 3, 24, 35
_UNK_PIECE, _BOS_PIECE, _EOS_PIECE, _PAD_PIECE = 45, 46, 47, 48
_CHARSMAP, _DUMMY_PREFIX, _REMOVE_EXTRA_SPACES, _ESCAPE_SPACES = 2, 3, 4, 5
_TYPES = frozenset(map(int, TokenType))
_MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_REPAIR = "make a tokenizer.json once: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers"


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says. `settings` and `normalizer` are the messages of the trainer and the normalizer."""

    path: Path
    tokens: list[str]
    scores: list[float]  # float32, widened
    types: list[int]
    settings: dict[int, Value]
    normalizer: dict[int, Value]
    denormalizer: dict[int, Value]


def read_sentencepiece(path: Path, data: bytes) -> SentencePieceModel:
    """Reads `data`, the content of `path`. Raises TextError for what is no SentencePiece model, or a broken one."""
    messages: dict[int, dict[int, Value]] = {}
    pieces: list[tuple[str, float, int]] = []
    try:
        for number, value in fields(data):
            if number == _PIECES:
                pieces.append(_piece(path, len(pieces), value))
            elif number in (_TRAINER, _NORMALIZER, _DENORMALIZER):
                messages.setdefault(number, {}).update(fields(_message(path, value)))
    except WireError as error:
        raise TextError(f"{path}: must be a whole SentencePiece model; {error}. Download it again") from None
    _check_pieces(path, pieces)
    for number, name in ((_TRAINER, "trainer_spec"), (_NORMALIZER, "normalizer_spec")):
        if number not in messages:
            raise TextError(f"{path}: must be a whole SentencePiece model; got one without {name}. Download it again")
    return SentencePieceModel(
        path=path,
        tokens=[text for text, _, _ in pieces],
        scores=[score for _, score, _ in pieces],
        types=[kind for _, _, kind in pieces],
        settings=messages[_TRAINER],
        normalizer=messages[_NORMALIZER],
        denormalizer=messages.get(_DENORMALIZER, {}),
    )


def read_vocabulary(model: SentencePieceModel) -> Vocabulary:
    """Tokens with their roles. BOS, EOS and padding are control pieces by name; the one unknown piece is unknown."""
    control = {model.tokens[index]: index for index, kind in enumerate(model.types) if kind == TokenType.CONTROL}
    unknown = model.types.index(TokenType.UNKNOWN)
    eos = control.get(_text(model, _EOS_PIECE, "</s>"))
    return Vocabulary(
        kind="llama",
        tokens=model.tokens,
        types=model.types,
        bos=control.get(_text(model, _BOS_PIECE, "<s>")),
        eos=eos,
        unk=unknown,
        pad=control.get(_text(model, _PAD_PIECE, "<pad>")),
        ends=[] if eos is None else [eos],
        add_bos=False,  # not the tokenizer's business: SpecialTokens.add_bos says it
        add_eos=False,
    )


def sentencepiece_model_json(model: SentencePieceModel, vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer.json that gives the ids that the library sentencepiece gives.

    Raises UnsupportedError for a model of another kind than BPE and for a normalization, a piece or a tie of scores
    that has no exact counterpart; TextError for scores that are no numbers and for missing byte pieces.
    """
    _refuse_kind(model)
    _refuse_normalization(model)
    byte_fallback = _flag(model.settings, _BYTE_FALLBACK, False)
    _check_bytes(model, byte_fallback)
    _check_normal(model, vocabulary)
    dummy_prefix = _flag(model.normalizer, _DUMMY_PREFIX, True)
    remove = _flag(model.normalizer, _REMOVE_EXTRA_SPACES, True)
    _refuse_piece_types(model, plain_spaces=not (dummy_prefix or remove))
    merges = Merges(vocabulary, model.scores)
    conflict = merges.tie_conflict()
    if conflict is not None:
        raise UnsupportedError(
            f"{model.path}: pieces that overlap must have scores of their own; {show(conflict[0])} and "
            f"{show(conflict[1])} share one, so that a list of merges cannot say which is joined first; {_REPAIR}"
        )
    return sentencepiece_json(
        vocabulary,
        merges,
        dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=remove,
        byte_fallback=byte_fallback,
    )


def _piece(path: Path, index: int, value: Value) -> tuple[str, float, int]:
    text, score, kind = b"", 0.0, int(TokenType.NORMAL)
    for number, part in fields(_message(path, value)):
        if number == _PIECE_TEXT and isinstance(part, bytes):
            text = part
        elif number == _PIECE_SCORE and isinstance(part, bytes) and len(part) == 4:
            (score,) = struct.unpack("<f", part)
        elif number == _PIECE_TYPE and isinstance(part, int):
            kind = part
    try:
        return text.decode(), score, kind
    except UnicodeDecodeError:
        raise TextError(f"{path}: piece {index} must be UTF-8; got {show(repr(text))}. Download it again") from None


def _message(path: Path, value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    raise TextError(f"{path}: must be a SentencePiece model; got a number where it holds messages. Download it again")


def _check_pieces(path: Path, pieces: list[tuple[str, float, int]]) -> None:
    if not pieces:
        raise TextError(f"{path}: must be a SentencePiece model; got a file without pieces. Download it again")
    seen: dict[str, int] = {}
    unknown: list[int] = []
    for index, (text, score, kind) in enumerate(pieces):
        if not text or text in seen:
            got = f"that of piece {seen[text]}, {show(text)}" if text else "nothing"
            raise TextError(f"{path}: piece {index} must have a text of its own; got {got}. Download it again")
        seen[text] = index
        size = len(text.encode())
        if size > MAX_TOKEN_LENGTH:
            raise TextError(
                f"{path}: piece {index} must be at most {MAX_TOKEN_LENGTH} bytes; got {size}. Download it again"
            )
        if kind not in _TYPES:
            raise TextError(f"{path}: piece {index} must be of a type from 1 to 6; got {kind}. Download it again")
        if not math.isfinite(score):
            raise TextError(f"{path}: piece {index} must have a finite score; got {score}. Download it again")
        if kind == TokenType.UNKNOWN:
            unknown.append(index)
    if len(unknown) != 1:
        raise TextError(f"{path}: must have one piece for what is unknown; got {len(unknown)}. Download it again")


def _refuse_kind(model: SentencePieceModel) -> None:
    kind = model.settings.get(_MODEL_TYPE, 1)
    if kind != 2:
        name = _MODEL_TYPES.get(kind, f"type {kind}") if isinstance(kind, int) else "nothing"
        raise UnsupportedError(f"{model.path}: must be a BPE model; got {name}; {_REPAIR}")
    if _flag(model.settings, _SPACE_AS_SUFFIX, False):
        raise UnsupportedError(f"{model.path}: treat_whitespace_as_suffix must be false; got true; {_REPAIR}")


def _refuse_normalization(model: SentencePieceModel) -> None:
    for name, message in (("normalizer_spec", model.normalizer), ("denormalizer_spec", model.denormalizer)):
        if message.get(_CHARSMAP):
            raise UnsupportedError(
                f"{model.path}: {name}.precompiled_charsmap must be empty (normalization `identity`); "
                f"got other rules; {_REPAIR}"
            )
    if not _flag(model.normalizer, _ESCAPE_SPACES, True):
        raise UnsupportedError(f"{model.path}: normalizer_spec.escape_whitespaces must be true; got false; {_REPAIR}")


def _check_bytes(model: SentencePieceModel, byte_fallback: bool) -> None:
    found = {text for text, kind in zip(model.tokens, model.types, strict=True) if kind == TokenType.BYTE}
    wrong = sorted(found.symmetric_difference(BYTES if byte_fallback else ()))
    if wrong:
        wanted = "the 256 bytes <0x00> to <0xFF>" if byte_fallback else "none without byte_fallback"
        raise TextError(f"{model.path}: byte pieces must be {wanted}; {show(wrong[0])} differs. Download it again")


def _check_normal(model: SentencePieceModel, vocabulary: Vocabulary) -> None:
    """Every piece must be reachable by joining pieces, since `tokenizers` joins nothing else."""
    normal = {model.tokens[index] for index in vocabulary.ids(TokenType.NORMAL)}
    letters = {text for text in normal if len(text) == 1}
    for text in normal:
        if not letters.issuperset(text):
            missing = next(character for character in text if character not in letters)
            raise UnsupportedError(
                f"{model.path}: the characters of a piece must be pieces too; {show(text)} has {show(missing)}; "
                f"{_REPAIR}"
            )


def _refuse_piece_types(model: SentencePieceModel, plain_spaces: bool) -> None:
    for text, kind in zip(model.tokens, model.types, strict=True):
        if kind == TokenType.UNUSED:
            raise UnsupportedError(f"{model.path}: no piece may be of type UNUSED; {show(text)} is; {_REPAIR}")
        if kind == TokenType.USER_DEFINED and not plain_spaces:
            raise UnsupportedError(
                f"{model.path}: user-defined pieces must come without add_dummy_prefix and remove_extra_whitespaces; "
                f"got {show(text)} with one of them; {_REPAIR}"
            )
        if kind in (TokenType.UNKNOWN, TokenType.CONTROL) and len(text) == 1:
            raise UnsupportedError(
                f"{model.path}: a control piece must be longer than a character, or text would become it; "
                f"got {show(text)}; {_REPAIR}"
            )


def _text(model: SentencePieceModel, number: int, default: str) -> str:
    value = model.settings.get(number)
    return value.decode(errors="replace") if isinstance(value, bytes) else default


def _flag(message: dict[int, Value], number: int, default: bool) -> bool:
    return bool(message.get(number, default))
