"""SentencePiece's BPE as tokenizer.json, whose merges follow from the scores.

SentencePiece joins the two neighbours whose union has the highest score, of equals the leftmost. The library
`tokenizers` wants a ranked list of pairs. Every way to cut a token into two tokens goes into it, best score first. The
order of one token's cuts does not matter: two neighbours that make up a token have been joined from its characters by
the same steps wherever they stand, so of all its cuts only one is ever met. The order between different tokens of
equal score does matter, and `Merges.tie_conflict` says whether it can be expressed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from inferno.text.vocabulary import TokenType, Vocabulary, added_tokens, post_processor

SPACE = "\u2581"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


class Merges:
    """How the normal tokens of a vocabulary are joined from others, by their scores (one per token, finite)."""

    def __init__(self, vocabulary: Vocabulary, scores: Sequence[float]) -> None:
        ids = {vocabulary.tokens[index]: index for index in vocabulary.ids(TokenType.NORMAL)}
        cuts = {
            text: [
                (left, right)
                for cut in range(1, len(text))
                if (left := text[:cut]) in ids and (right := text[cut:]) in ids
            ]
            for text in ids
        }
        self._ids = ids
        self._scores = {text: scores[index] for text, index in ids.items()}
        self._cuts = {text: found for text, found in cuts.items() if found}

    def ranked(self) -> list[tuple[str, str]]:
        """Every cut of every token, best score first.

        Of equal scores the longer token first: a run that has begun so grows to its end before the next begins, as it
        does where the leftmost pair is joined.
        """
        texts = sorted(self._cuts, key=lambda text: (-self._scores[text], -len(text), self._ids[text]))
        return [cut for text in texts for cut in self._cuts[text]]

    def tie_conflict(self) -> tuple[str, str] | None:
        """Two tokens of equal score whose merges a list may put in another order than the text does; None if none.

        Harmless are tokens of equal score if none of them is part of a token of a higher score, and
        - they are the runs of 2, 3, ... n times one character: joined from the left, as `ranked` makes sure; or
        - no part that one begins with is a part that another ends with: then no two of their merges ever overlap, and
          none makes room for a better one, so that their order does not matter.
        """
        best = self._best_unions()
        for score, texts in self._by_score().items():
            if len(texts) < 2:
                continue
            heads = {left for text in texts for left, _ in self._cuts[text]}
            tails = {right for text in texts for _, right in self._cuts[text]}
            troubled = [text for text in texts if best.get(text, score) > score]
            if troubled or not (_are_runs(texts) or heads.isdisjoint(tails)):
                first = troubled[0] if troubled else texts[0]
                return first, next(text for text in texts if text != first)
        return None

    def _best_unions(self) -> dict[str, float]:
        """For each token that is part of others, the best score among those."""
        best: dict[str, float] = {}
        for text, cuts in self._cuts.items():
            score = self._scores[text]
            for part in chain.from_iterable(cuts):
                if score > best.get(part, -math.inf):
                    best[part] = score
        return best

    def _by_score(self) -> dict[float, list[str]]:
        groups: dict[float, list[str]] = {}
        for text in self._cuts:
            groups.setdefault(self._scores[text], []).append(text)
        return groups


def sentencepiece_json(
    vocabulary: Vocabulary,
    merges: Merges,
    *,
    dummy_prefix: bool,
    remove_extra_whitespaces: bool = False,
    byte_fallback: bool = True,
) -> dict[str, Any]:
    """tokenizer.json as the library `tokenizers` reads it.

    dummy_prefix              a text begins with a space, whether it has one or not
    remove_extra_whitespaces  no spaces at either end, and none behind another
    byte_fallback             characters outside the vocabulary become their bytes, which must be tokens
    """
    strip = dummy_prefix or remove_extra_whitespaces
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        # A user-defined token is found behind the dummy prefix only where normalizing it adds no prefix to it.
        "added_tokens": added_tokens(vocabulary, user_defined_normalized=not strip),
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(dummy_prefix, remove_extra_whitespaces)},
        "pre_tokenizer": None,
        "post_processor": post_processor(vocabulary),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                _replace({"String": SPACE}, " "),
                *([{"type": "ByteFallback"}] if byte_fallback else []),
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if strip else []),
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if vocabulary.unk is None else vocabulary.tokens[vocabulary.unk],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": byte_fallback,
            "ignore_merges": False,
            "vocab": {text: index for index, text in enumerate(vocabulary.tokens)},
            "merges": merges.ranked(),
        },
    }


def _normalizers(dummy_prefix: bool, remove_extra_whitespaces: bool) -> list[dict[str, Any]]:
    prefix = [{"type": "Prepend", "prepend": SPACE}] if dummy_prefix else []
    escape = _replace({"String": " "}, SPACE)
    if not remove_extra_whitespaces:
        return [*prefix, escape]
    before = [_replace({"Regex": r"\A +"}, ""), _replace({"Regex": " {2,}"}, " ")]
    return [*before, *prefix, escape, _replace({"Regex": SPACE + r"+\z"}, "")]


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _are_runs(texts: Sequence[str]) -> bool:
    """Whether the texts are one character 2, 3, ... n times."""
    character = texts[0][0]
    return sorted(texts, key=len) == [character * count for count in range(2, len(texts) + 2)]
