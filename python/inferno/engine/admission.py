"""Who may use the KV cache: a generation begins only when it can also end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inferno.errors import ContextLengthError

if TYPE_CHECKING:
    from inferno.kv_cache import Sequence
    from inferno.models import Model


class Admission:
    """Hands out sequences of `model`, each with the room that it may come to need; threads wait for their turn.

    `lock` is to be held for each step of the model, and no longer.
    """

    def __init__(self, model: Model, lock: threading.RLock) -> None:
        from inferno._core import KV_BLOCK

        self.model = model
        self.lock = lock
        self._block = KV_BLOCK
        self._free = -(-model.ctx_size // KV_BLOCK)
        self._holders: Counter[int] = Counter()
        self._turn = threading.Condition(lock)

    @contextmanager
    def sequence(self, positions: int) -> Iterator[Sequence]:
        """A sequence with room for `positions` tokens (at most the context), released at the end.

        Waits while other threads hold that room. Raises ContextLengthError if this thread itself holds it, in a
        generation that it has begun and not ended: waiting would be forever.
        """
        blocks, thread = -(-positions // self._block), threading.get_ident()
        with self._turn:
            while self._free < blocks:
                if self._holders[thread]:
                    raise ContextLengthError(
                        f"KV cache: {positions} more tokens must fit beside the generations that are still open; "
                        f"{self._free * self._block} of {self.model.ctx_size} are free; end or close those first, set "
                        "max_tokens, or load the model with a larger ctx_size"
                    )
                self._turn.wait()
            self._free -= blocks
            self._holders[thread] += 1
            sequence = self.model.new_sequence()
        try:
            yield sequence
        finally:
            with self._turn:
                sequence.release()
                self._free += blocks
                self._holders[thread] -= 1
                self._turn.notify_all()
