"""One line of the list of models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inferno.findings import Finding, by_severity

Status = Literal["ready", "needs attention", "cannot run", "can be imported", "not fetched"]
Source = Literal["folder", "hub", "demo"]


@dataclass(frozen=True)
class ModelEntry:
    """A model on this machine, or the demo model that could be.

    `name` is what `-m` takes, with `revision` beside it if that is not None. `architecture` is as config.json says it.
    `weight_bytes` is the size of all tensors, of a GGUF file its own; `context` counts tokens. What is not known is
    None. `findings` begin with the errors, and hold no exception: an entry keeps no file open.
    """

    name: str
    path: Path
    source: Source
    status: Status
    revision: str | None = None
    layout: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    dtype: str | None = None
    scheme: str | None = None
    weight_bytes: int | None = None
    context: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether it can be loaded as it lies there."""
        return self.status in ("ready", "needs attention")

    @property
    def first_error(self) -> Finding | None:
        """What has to be mended first."""
        return next((finding for finding in self.findings if finding.severity == "error"), None)

    def with_finding(self, finding: Finding) -> ModelEntry:
        """The same model with one more finding, before the others of its severity."""
        status: Status = self.status
        if finding.severity == "error":
            status = "cannot run"
        elif finding.severity == "warning" and status == "ready":
            status = "needs attention"
        return replace(self, status=status, findings=tuple(by_severity((finding, *self.findings))))
