"""Stop texts in a stream: nothing that may turn out to belong to one is let out."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Passes text on up to the first stop text; `matched` is that text once it has come.

    The stop text that is complete first counts, and of several that end there the longest: so the outcome depends on
    the text alone, not on how it was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.matched: str | None = None
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be let out now. After a match there is nothing more to feed."""
        if not self._stops:
            return text
        if not text:
            return ""
        pending = self._held + text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := pending.find(stop)) >= 0]
        if found:
            _, start, self.matched = min(found)
            self._held = ""
            return pending[:start]
        cut = self._open_end(pending)
        self._held = pending[cut:]
        return pending[:cut]

    def finish(self) -> str:
        """What was held back in vain: the text ends here."""
        held, self._held = self._held, ""
        return held

    def _open_end(self, text: str) -> int:
        """Where the longest suffix begins that a stop text begins with."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(text)
