"""What the text files of a model folder say, without building the tokenizer: bounded in time and memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from inferno.errors import TextError
from inferno.files import open_regular, read_json, read_up_to, refuse_lfs_pointer, show
from inferno.text.chat_template import DEFAULT, ChatTemplate
from inferno.text.files import refuse_surrogates
from inferno.text.json_walk import Walk, WalkError, id_of
from inferno.text.special import SpecialTokens

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_MODEL = "tokenizer.model"
TOKENIZER_CONFIG = "tokenizer_config.json"

# The largest tokenizer.json in use have some 35 MB, the largest of the others 6 MB.
MAX_TOKENIZER_BYTES = 64 << 20
MAX_SETTINGS_BYTES = 16 << 20
# A file of these is built whole, and an empty list of two bytes becomes one of 64. Models of speech name 65,000 added
# tokens in 12 MB: an object and seven commas to each.
MAX_BRACKETS = 1 << 18
MAX_COMMAS = 1 << 19

# Texts that end a turn in the chat formats in use; a template may print others, which nothing here can tell.
TURN_ENDS = (
    *("<|eot_id|>", "<|im_end|>", "</s>", "<|end|>", "<|end_of_turn|>", "<end_of_turn>", "<|eot|>", "<|eom_id|>"),
    *("<|end_of_text|>", "<|endoftext|>", "<|END_OF_TURN_TOKEN|>", "<|end_of_role|>", "[EOS]", "<eos>"),
)
_BOS_VARIABLE = re.compile(r"\bbos_token\b")
_EOS_VARIABLE = re.compile(r"\beos_token\b")

TokenizerFile = Literal["tokenizer.json", "tokenizer.model"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class TokenizerSurvey:
    """What tokenizer.json says.

    `model_type` is BPE, Unigram, ... `vocab_size` is the largest id + 1, of the vocabulary and of added tokens;
    `ordinary_size` that of the vocabulary without the added tokens that stand in it too; `entries` counts the
    vocabulary, which may have gaps. `added_tokens` maps ids to texts,
    `special_ids` are those marked special. `prefix` holds the ids that the post-processor puts before a text, None
    where there is no post-processor. `ids` maps those of the texts asked for that are tokens to their ids.
    """

    model_type: str | None
    vocab_size: int
    ordinary_size: int
    entries: int
    added_tokens: Mapping[int, str] = field(default_factory=dict)
    special_ids: frozenset[int] = frozenset()
    prefix: tuple[int, ...] | None = None
    ids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TextSurvey:
    """What tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat templates say.

    `tokenizer_file` is the file that a tokenizer would be read from, `tokenizer` what it says (None for
    tokenizer.model, or if it cannot be followed). `special` has the texts of bos_token, eos_token, ... `template` is
    the text of the chat template in use without its comments, `template_origin` its place, `template_replaces` the
    place of another text that it comes before. `faults` tells which files could not be read.
    """

    folder: Path
    tokenizer_file: TokenizerFile | None = None
    tokenizer: TokenizerSurvey | None = None
    special: SpecialTokens = field(default_factory=SpecialTokens)
    template: str | None = None
    template_origin: str = ""
    template_replaces: str = ""
    model_max_length: int | None = None
    faults: tuple[TextError, ...] = ()

    def token_id(self, role: str) -> int | None:
        """The id of the token with that role ("bos_token"); None if there is no such role, or no such token."""
        text = self.special.roles.get(role)
        return None if text is None else self.id_of(text)

    def id_of(self, text: str) -> int | None:
        """The id of a token with a role, or of one that ends turns; None if it is no token, or not asked for."""
        return None if self.tokenizer is None else self.tokenizer.ids.get(text)

    @property
    def adds_bos(self) -> bool | None:
        """Whether a text's ids begin with BOS: the post-processor's choice; without one, add_bos_token's."""
        if self.tokenizer is None:
            return self.special.add_bos
        bos = self.token_id("bos_token")
        if self.tokenizer.prefix is None:
            return bool(self.special.add_bos and bos is not None)
        return bos in self.tokenizer.prefix if bos is not None else False if not self.tokenizer.prefix else None

    @property
    def template_prints_bos(self) -> bool:
        """Whether the chat template names bos_token, or holds its text."""
        if self.template is None:
            return False
        bos = self.special.roles.get("bos_token")
        return bool(_BOS_VARIABLE.search(self.template)) or bool(bos and bos in self.template)

    @property
    def turn_ends(self) -> tuple[str, ...]:
        """The texts known to end turns that the chat template holds, and eos_token if it names that one."""
        if self.template is None:
            return ()
        eos = self.special.roles.get("eos_token")
        named = [eos] if eos and (_EOS_VARIABLE.search(self.template) or eos in self.template) else []
        return tuple(dict.fromkeys([*named, *(text for text in TURN_ENDS if text in self.template)]))


def survey_text_files(folder: Path, names: Collection[str]) -> TextSurvey:
    """Surveys the text files of a folder that holds `names`. What is wrong with a file becomes one of the faults."""
    faults: list[TextError] = []

    def attempt(read: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return read()
        except TextError as error:
            faults.append(error)
            return otherwise

    empty: dict[str, Any] = {}
    settings = attempt(lambda: _settings(folder / TOKENIZER_CONFIG, names), empty)
    sized = attempt(lambda: _bounded(folder, names), False)
    special = attempt(lambda: SpecialTokens.from_folder(folder, settings), SpecialTokens()) if sized else None
    special = special or SpecialTokens()
    nothing: _Template = (None, "", "")
    text, origin, replaced = attempt(lambda: _template(folder, settings), nothing) if sized else nothing
    tokenizer_file: TokenizerFile | None = (
        "tokenizer.json" if TOKENIZER_JSON in names else "tokenizer.model" if TOKENIZER_MODEL in names else None
    )
    tokenizer = None
    if tokenizer_file == TOKENIZER_JSON:
        wanted = dict.fromkeys([*special.roles.values(), *(end for end in TURN_ENDS if end in (text or ""))])
        tokenizer = attempt(lambda: survey_tokenizer(folder / TOKENIZER_JSON, tuple(wanted)), None)
    return TextSurvey(
        folder=folder,
        tokenizer_file=tokenizer_file,
        tokenizer=tokenizer,
        special=special,
        template=None if text is None else _without_comments(text),
        template_origin=origin,
        template_replaces=replaced,
        model_max_length=_length(settings.get("model_max_length")),
        faults=tuple(faults),
    )


def survey_tokenizer(path: Path, wanted: Sequence[str] = ()) -> TokenizerSurvey:
    """What a tokenizer.json says, with the ids of the `wanted` texts.

    Members are walked through in any order, and not beyond the last one needed. Raises TextError: unreadable, too
    large, cut short, or not to be followed.
    """
    data = _read(path, MAX_TOKENIZER_BYTES)
    if not data[-4096:].rstrip().endswith(b"}"):
        raise TextError(f"{path}: must be whole; got {len(data)} bytes that do not end with a brace; download it again")
    found = _Found()
    try:
        walk = Walk(data)
        _walk_top(walk, found)
        return found.survey(path, walk, wanted)
    except TextError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        why = str(error) if isinstance(error, WalkError) else "added_tokens or post_processor of another form"
        raise TextError(f"{path}: must be a tokenizer as the tokenizers library writes it; got {why}") from None


class _Found:
    """What a walk has met so far."""

    def __init__(self) -> None:
        self.added: list[Mapping[str, Any]] | None = None
        self.post_processor: Any = ...
        self.model_type: str | None = None
        self.vocabulary: tuple[int, int] | None = None
        self.extent = (0, 0)

    def survey(self, path: Path, walk: Walk, wanted: Sequence[str]) -> TokenizerSurvey:
        if self.vocabulary is None:
            raise WalkError("no vocabulary")
        for place, token in enumerate(self.added or []):
            refuse_surrogates(f"{path}: added_tokens[{place}].content", str(token["content"]))
        added = {int(token["id"]): str(token["content"]) for token in self.added or []}
        entries, largest = self.vocabulary
        ids = {text: token_id for token_id, text in added.items()}
        inside = {text: id_of(walk.data, *self.extent, text) for text in wanted if text not in ids}
        ordinary = largest
        if largest in added:
            walk.position = self.extent[0]
            ordinary = walk.vocabulary(added.keys())[1]
        post = None if self.post_processor is ... else self.post_processor
        return TokenizerSurvey(
            model_type=self.model_type,
            vocab_size=max(largest, *added) + 1 if added else largest + 1,
            ordinary_size=ordinary + 1,
            entries=entries,
            added_tokens=added,
            special_ids=frozenset(int(token["id"]) for token in self.added or [] if token.get("special") is True),
            prefix=None if post is None else tuple(_prefix(post)),
            ids={
                **{text: ids[text] for text in wanted if text in ids},
                **{text: token_id for text, token_id in inside.items() if token_id is not None},
            },
        )


def _walk_top(walk: Walk, found: _Found) -> None:
    model = False
    for key in walk.members():
        if key == "added_tokens":
            found.added = walk.value()
        elif key == "post_processor":
            found.post_processor = walk.value()
        elif key == "model":
            model = True
            rest = found.added is None or found.post_processor is ...
            _walk_model(walk, found, to_the_end=rest)
            if not rest:
                return
    if not model:
        raise WalkError("no model")


def _walk_model(walk: Walk, found: _Found, to_the_end: bool) -> None:
    for key in walk.members():
        if key == "type":
            found.model_type = show(walk.value()).strip('"')
        elif key == "vocab":
            start = walk.position
            found.vocabulary = walk.vocabulary()
            found.extent = (start, walk.position)
        if found.model_type is not None and found.vocabulary is not None and not to_the_end:
            return


def _prefix(processor: Any) -> list[int]:
    """The ids that a post-processor puts before a text."""
    kind = processor["type"]
    if kind == "Sequence":
        # Each processor works on what the one before it made.
        return [token_id for part in reversed(processor["processors"]) for token_id in _prefix(part)]
    if kind in ("BertProcessing", "RobertaProcessing"):
        return [int(processor["cls"][1])]
    ids: list[int] = []
    if kind == "TemplateProcessing":
        for piece in processor["single"]:
            if "SpecialToken" not in piece:
                break
            ids += map(int, processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"])
    return ids


def _settings(path: Path, names: Collection[str]) -> dict[str, Any]:
    if path.name not in names:
        return {}
    _check_members(path)
    return read_json(path, TextError, MAX_SETTINGS_BYTES)


def _check_members(path: Path) -> None:
    """Refuses JSON of so many members that building it would take many times its size. Raises TextError."""
    data = _read(path, MAX_SETTINGS_BYTES)
    for what, limit, got in (
        ("brackets", MAX_BRACKETS, data.count(b"[") + data.count(b"{")),
        ("commas", MAX_COMMAS, data.count(b",")),
    ):
        if got > limit:
            raise TextError(f"{path}: must have at most {limit} {what} to be surveyed; got {got}")


_Template = tuple[str | None, str, str]


def _template(folder: Path, settings: Mapping[str, Any]) -> _Template:
    """The template's text, its place, and the place of another that it replaces ("" if there is none)."""
    templates = ChatTemplate.from_folder(folder, {}, settings)
    if templates is None:
        return None, "", ""
    source = templates.sources.get(DEFAULT) or templates.source()
    older = settings.get("chat_template")
    replaced = isinstance(older, str) and older.strip() != source.text.strip()
    return source.text, source.origin, f"{folder / TOKENIZER_CONFIG}: chat_template" if replaced else ""


def _without_comments(template: str) -> str:
    """Without {# ... #}. One pass: a pattern would look for the end again from every beginning."""
    kept, at = [], 0
    while (begin := template.find("{#", at)) >= 0 and (end := template.find("#}", begin + 2)) >= 0:
        kept.append(template[at:begin])
        at = end + 2
    return "".join([*kept, template[at:]])


def _length(value: object) -> int | None:
    # transformers writes 10^30 for no limit
    return value if type(value) is int and 0 < value < 1 << 31 else None


def _bounded(folder: Path, names: Collection[str]) -> bool:
    """Whether the files that are read elsewhere are of a size to be read. Raises TextError."""
    for name in ("special_tokens_map.json", "chat_template.json"):
        if name in names:
            _check_members(folder / name)
    if "chat_template.jinja" in names:
        os.close(_opened(folder / "chat_template.jinja", MAX_SETTINGS_BYTES)[0])
    return True


def _opened(path: Path, limit: int) -> tuple[int, int]:
    fd, size = open_regular(path, TextError)
    if size > limit:
        os.close(fd)
        raise TextError(f"{path}: must be at most {limit} bytes to be surveyed; got {size}")
    return fd, size


def _read(path: Path, limit: int) -> bytes:
    fd, size = _opened(path, limit)
    try:
        data = read_up_to(fd, size)
    finally:
        os.close(fd)
    refuse_lfs_pointer(path, data, TextError)
    if not data.strip():
        raise TextError(f"{path}: must hold a JSON object; got an empty file; download it again")
    return data
