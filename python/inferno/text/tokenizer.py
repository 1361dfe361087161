"""The tokenizer of a model folder: prompts and chats to ids, ids to text."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferno.errors import TextError
from inferno.files import show
from inferno.text.chat_template import ChatTemplate
from inferno.text.encoder import Encoder
from inferno.text.files import read_optional_json
from inferno.text.library import library_errors, load_library_tokenizer
from inferno.text.origin import separate
from inferno.text.special import SpecialTokens

if TYPE_CHECKING:
    import tokenizers


class Tokenizer:
    """tokenizer.json (or tokenizer.model) with the special tokens and the chat template that lie beside it.

    Safe to share between threads.

    source           the file that it was read from
    vocab_size       tokens, added ones included
    special_tokens   SpecialTokens: the texts by role
    chat_template    ChatTemplate, or None if the folder has none
    """

    def __init__(
        self,
        library: tokenizers.Tokenizer,
        source: Path,
        special_tokens: SpecialTokens | None = None,
        chat_template: ChatTemplate | None = None,
        stop_tokens: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.special_tokens = special_tokens or SpecialTokens()
        self.chat_template = chat_template
        with library_errors(f"{source}: special tokens must be declarable"):
            _declare_special(library, self.special_tokens)
        self.vocab_size: int = library.get_vocab_size(with_added_tokens=True)
        self._library = library
        self._encoder = Encoder(library, source)
        self._stop_tokens = tuple(stop_tokens)

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Reads the tokenizer and, where present, tokenizer_config.json, special_tokens_map.json and chat templates.

        The tokenizer is tokenizer.json; in a folder without it tokenizer.model, a SentencePiece model (Llama 2) or
        tiktoken's ranks (Llama 3). Where the other files are silent, tokenizer.model says what is BOS, EOS, unknown and
        padding, and a text begins with BOS.

        Raises TextError that names the file: missing, a Git-LFS pointer, truncated, not JSON, not a tokenizer.
        UnsupportedError: a tokenizer.model that cannot be read exactly.
        """
        folder = Path(folder)
        path, model = folder / "tokenizer.json", folder / "tokenizer.model"
        config = read_optional_json(folder / "tokenizer_config.json")
        special_tokens = SpecialTokens.from_folder(folder, config)
        stop_tokens: Sequence[str] = ()
        if os.path.lexists(path) or not os.path.lexists(model):
            library = load_library_tokenizer(path)
        else:
            from inferno.text.model_file import load_model_file

            path = model
            found = load_model_file(model)
            library, stop_tokens = found.library, found.stop_tokens
            special_tokens = special_tokens.with_defaults(found.roles, add_bos=True)
        template = ChatTemplate.from_folder(folder, special_tokens.template_variables(), config)
        return cls(library, path, special_tokens, template, stop_tokens)

    def encode(self, text: str, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Ids of a raw prompt.

        add_special_tokens   adds what the tokenizer's post-processor adds (BOS, as a rule), unless the text has brought
                             its own BOS
        parse_special        recognises special tokens written in the text; otherwise they are ordinary text

        Raises TextError: a lone surrogate, or text that the vocabulary cannot express.
        """
        ids = self._encoder.parsed(text) if parse_special else self._encoder.literal(text)
        if not add_special_tokens:
            return ids
        before, after = self._frame
        if before and ids[:1] == before[-1:] == [self.bos_token_id]:
            before = before[:-1]
        return [*before, *ids, *after]

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        date: datetime.date | None = None,
        **variables: Any,
    ) -> list[int]:
        """Ids of a chat: the template's own special tokens count, those written in messages are ordinary text.

        The ids are those of the rendered text with nothing added: a template prints its BOS itself. For `date` and
        `variables` see ChatTemplate.render; tools and documents are treated like messages.

        Raises TextError: no chat template, or as ChatTemplate.render and encode do.
        """
        template = self.chat_template
        if template is None:
            raise TextError(
                f"{self.source.parent}: must have a chat template (chat_template.jinja, or in tokenizer_config.json); "
                "got none. Give the prompt as raw text instead"
            )
        moment = template.moment(date)

        def render(values: Any) -> str:
            return template.render_at(moment, values["messages"], add_generation_prompt, **values["variables"])

        try:
            text, probe = separate(
                render,
                {"messages": messages, "variables": variables},
                self._encoder.special.values(),
                self._variants,
            )
        except RecursionError as error:
            raise TextError("messages: must be of reasonable depth; got too many nested levels") from error
        return self._encoder.mixed(text, probe)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of `ids`; ids in no vocabulary are left out. Raises TextError: an id that is no natural number."""
        hidden = self._encoder.guard_ids
        if skip_special_tokens:  # the library would leave special tokens in that are marked as normalized
            hidden = hidden | self._encoder.special.keys()
        with library_errors(f"{self.source}: token ids must be decodable"):
            return self._library.decode([i for i in ids if i not in hidden], skip_special_tokens=False)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token given as it is written in the vocabulary; None if there is no such token."""
        with library_errors(f"{self.source}: a token must be valid Unicode; got {token!r}"):
            token_id = self._library.token_to_id(token)
        return None if token_id in self._encoder.guard_ids else token_id

    def id_to_token(self, token_id: int) -> str | None:
        """The token as it is written in the vocabulary; None if there is no such id."""
        if token_id in self._encoder.guard_ids:
            return None
        with library_errors(f"{self.source}: token id must be a natural number; got {token_id!r}"):
            token: str | None = self._library.id_to_token(token_id)
            return token

    def check_ids(self) -> None:
        """Raises TextError if two entries of the vocabulary share an id, so that decoding gives only one of them."""
        owners: dict[int, str] = {}
        for token, token_id in sorted(self._library.get_vocab(with_added_tokens=False).items()):
            other = owners.setdefault(token_id, token)
            if other != token:
                raise TextError(
                    f"{self.source}: every entry of the vocabulary must have an id of its own; got {token_id} for "
                    f"{show(other)} and {show(token)}; download it again"
                )

    def is_special(self, token_id: int) -> bool:
        """Whether decode leaves the token out by default."""
        return token_id in self._encoder.special

    @property
    def decoder_json(self) -> str:
        """The decoder of tokenizer.json, as the library writes it; "null" if there is none."""
        decoder = self._library.decoder
        return "null" if decoder is None else decoder.__getstate__().decode()

    @cached_property
    def bos_token_id(self) -> int | None:
        """Id of tokenizer_config.json's bos_token; None if it names none or one that is in no vocabulary."""
        return self._role_id("bos_token")

    @cached_property
    def eos_token_id(self) -> int | None:
        """Like bos_token_id. A model may have more end tokens than this one: LlamaConfig.eos_token_ids has all."""
        return self._role_id("eos_token")

    @cached_property
    def stop_token_ids(self) -> frozenset[int]:
        """Ids that end generation, as far as the tokenizer knows: EOS, and what tokenizer.model means to end a turn.

        Empty if it names no EOS. A config may name more: LlamaConfig.eos_token_ids.
        """
        known = (self.token_to_id(text) for text in self._stop_tokens)
        return frozenset(token_id for token_id in (self.eos_token_id, *known) if token_id is not None)

    @cached_property
    def unk_token_id(self) -> int | None:
        """Like bos_token_id."""
        return self._role_id("unk_token")

    @cached_property
    def pad_token_id(self) -> int | None:
        """Like bos_token_id."""
        return self._role_id("pad_token")

    @property
    def bos_token(self) -> str | None:
        """The text of the token that begins a sequence."""
        return self.special_tokens.roles.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """The text of the token that ends a sequence."""
        return self.special_tokens.roles.get("eos_token")

    def _role_id(self, role: str) -> int | None:
        text = self.special_tokens.roles.get(role)
        return None if text is None else self.token_to_id(text)

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """Ids before and after a text: the post-processor's; without one, what add_bos_token and add_eos_token ask for.

        That is transformers' rule: a post-processor in tokenizer.json wins over tokenizer_config.json.
        """
        if self._library.post_processor is None:
            return (
                _flagged(self.bos_token_id, self.special_tokens.add_bos),
                _flagged(self.eos_token_id, self.special_tokens.add_eos),
            )
        with library_errors(f"{self.source}: post_processor must work on a short text"):
            encoding = self._library.encode("a")
        ids, added = list(encoding.ids), list(encoding.special_tokens_mask)
        start = added.index(0) if 0 in added else len(ids)
        end = len(added) - added[::-1].index(0) if 0 in added else len(ids)
        return ids[:start], ids[end:]

    @cached_property
    def _variants(self) -> Callable[[str], str] | None:
        """What the normalizer makes of a character; None unless special tokens are looked up in normalized text."""
        normalizer = self._library.normalizer
        if normalizer is None or not any(t.special and t.normalized for t in self._encoder.added.values()):
            return None
        normalize: Callable[[str], str] = normalizer.normalize_str
        return normalize


def _flagged(token_id: int | None, wanted: bool | None) -> list[int]:
    return [token_id] if wanted and token_id is not None else []


def _declare_special(library: tokenizers.Tokenizer, special_tokens: SpecialTokens) -> None:
    """Makes BOS, EOS and the extra special tokens special also where tokenizer.json holds them as ordinary tokens."""
    from tokenizers import AddedToken

    added = library.get_added_tokens_decoder()
    named = [special_tokens.roles.get("bos_token"), special_tokens.roles.get("eos_token"), *special_tokens.extra]
    tokens = []
    for text in named:
        token_id = None if text is None else library.token_to_id(text)
        if text is None or token_id is None or (token_id in added and added[token_id].special):
            continue
        known = added.get(token_id)
        flags = {} if known is None else {"lstrip": known.lstrip, "rstrip": known.rstrip}
        tokens.append(AddedToken(text, normalized=False, special=True, **flags))
    if tokens:
        library.add_special_tokens(tokens)
