"""Text to token ids and back: tokenizer.json, chat templates, the incremental detokenizer.

Importing this package imports neither `tokenizers` nor `jinja2`; the functions that need them do.
"""

from __future__ import annotations

from inferno.text.chat_template import ChatTemplate
from inferno.text.detokenizer import Detokenizer
from inferno.text.special import SpecialTokens
from inferno.text.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Detokenizer", "SpecialTokens", "Tokenizer"]
