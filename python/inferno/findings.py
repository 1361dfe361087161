"""What is worth saying about a model: each finding with where it was found and what would mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inferno.errors import InfernoError

# error: the model cannot run so. warning: it runs, and may not do what its files say. note: worth knowing.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


# Where the repair begins in a message that says it: behind what was got, with what to do.
_REPAIR = re.compile(
    r"; (?=(?:add|ask|check|choose|convert|copy|create|download|export|fetch|free|get|give|import|keep|load|make|merge|"
    r"name|put|raise|remove|rename|restore|run|save|set|shorten|start|take|unpack|use|write|if that is|if the two)\b)"
)


@dataclass(frozen=True)
class Finding:
    """One finding.

    `code` is a stable name for programs ("rope-theta-missing"), `where` the file, field or tensor, `message` what was
    found and what was expected, `repair` what to do. `error` is what loading the model raises for it.
    """

    severity: Severity
    code: str
    where: str
    message: str
    repair: str = ""
    error: InfernoError | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_error(cls, error: InfernoError, folder: Path | None = None) -> Finding:
        """The finding for an exception of a check. Its text begins with the place and ends with the repair.

        `folder`: the model's, whose own name may hold the colon that ends the place.
        """
        text, known = str(error), "" if folder is None else str(folder)
        end = text.find(": ", len(known) if text.startswith(known) else 0)
        where, message = (text[:end], text[end + 2 :]) if end >= 0 else ("", text)
        repair = _REPAIR.search(message)
        if repair is None:
            return cls("error", error.code, where, message, error=error)
        return cls("error", error.code, where, message[: repair.start()], message[repair.end() :], error)

    def __str__(self) -> str:
        """One line, as an error message would say it."""
        return ": ".join(filter(None, (self.where, "; ".join(filter(None, (self.message, self.repair))))))


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
