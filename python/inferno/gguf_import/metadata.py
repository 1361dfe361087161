"""Typed look-ups in a GGUF's metadata, each with an error that names the file and the key."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.errors import ConfigError
from inferno.gguf_import.reader import GgufFile

_MISSING: Any = object()


class Metadata:
    """The metadata of one file; a look-up without default raises ConfigError if the key is absent."""

    def __init__(self, gguf: GgufFile) -> None:
        self.path = gguf.path
        self.values = gguf.metadata

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def integer(self, key: str, default: int | None = None, minimum: int = 1) -> int:
        value = self._find(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self._wrong(key, f"be an integer of at least {minimum}", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive finite number; stored float32 come back as the shortest decimal that names them (1e-05)."""
        value = self._find(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self._wrong(key, "be a positive number", value)
        return float(str(np.float32(value)))

    def boolean(self, key: str, default: bool) -> bool:
        value = self._find(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "be true or false", value)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._find(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "be a string", value)
        return value

    def strings(self, key: str) -> list[str]:
        value = self._find(key, None)
        if not isinstance(value, list):
            raise self._wrong(key, "be a list of strings", value)
        return value

    def array(self, key: str, length: int) -> npt.NDArray[Any]:
        """A list of `length` numbers."""
        value = self._find(key, None)
        if not isinstance(value, np.ndarray) or len(value) != length:
            raise self._wrong(key, f"be a list of {length} numbers", value)
        return value

    def token_id(self, key: str, vocab_size: int, default: int | None = None) -> int | None:
        """An id below vocab_size, or None if the key is absent. 2^32 - 1 also means none: ggml's -1 in uint32."""
        value = self.values.get(key, default)
        if value is None or value == 0xFFFFFFFF:
            return None
        if not isinstance(value, int) or not 0 <= value < vocab_size:
            raise self._wrong(key, f"be a token id below {vocab_size}", value)
        return value

    def _find(self, key: str, default: Any) -> Any:
        value = self.values.get(key, _MISSING if default is None else default)
        if value is _MISSING:
            raise ConfigError(f"{self.path}: metadata has no {key}, which the import needs")
        return value

    def _wrong(self, key: str, expected: str, value: Any) -> ConfigError:
        shown = f"a list of {len(value)}" if isinstance(value, (list, np.ndarray)) else repr(value)
        return ConfigError(f"{self.path}: {key} must {expected}; got {shown}")
