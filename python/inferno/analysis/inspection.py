"""All that `inspect` shows: a report, the plan for this machine, a forecast, a scan of the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno import hardware
from inferno.analysis.plan import Plan, make_plan
from inferno.analysis.report import Report, Status
from inferno.errors import TextError
from inferno.findings import Finding, by_severity
from inferno.kv_cache import check_kv_cache_type
from inferno.quantization.activation import check_numerics

if TYPE_CHECKING:
    from inferno.analysis.deep import DeepReport
    from inferno.analysis.forecast import Forecast


@dataclass(frozen=True)
class Inspection:
    """What is known of a model here. `plan` is None if the report has an error: then there is nothing to plan.

    `chat` holds what is wrong with the chat template.
    """

    report: Report
    plan: Plan | None = None
    forecast: Forecast | None = None
    deep: DeepReport | None = None
    chat: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, errors first, each once."""
        found = [*self.report.findings, *self.chat]
        for more in (self.plan, self.deep):
            found += [] if more is None else more.findings
        return tuple(by_severity(dict.fromkeys(found)))

    @property
    def status(self) -> Status:
        """The verdict over all findings."""
        severities = {finding.severity for finding in self.findings}
        if "error" in severities:
            return "cannot run"
        return "needs attention" if "warning" in severities else "ready"


def inspect_report(
    report: Report,
    *,
    threads: int | None = None,
    ctx_size: int | None = None,
    kv_cache_type: str = "f16",
    isa: str | None = None,
    numerics: str = "vllm",
) -> Inspection:
    """A report with the plan for this machine, if it can be planned. Arguments are those of `make_plan`.

    Raises UsageError or HardwareError for arguments that no model could run with.
    """
    hardware.check_threads(threads)
    hardware.check_isa(isa)
    check_kv_cache_type(kv_cache_type)
    check_numerics(numerics)
    if report.errors:
        return Inspection(report)
    plan = make_plan(
        report, threads=threads, ctx_size=ctx_size, kv_cache_type=kv_cache_type, isa=isa, numerics=numerics
    )
    return Inspection(report, plan, chat=_chat_findings(report))


def _chat_findings(report: Report) -> tuple[Finding, ...]:
    """A chat template that does not compile: a load has no need of it, the first chat has."""
    from inferno.text.chat_template import ChatTemplate

    try:
        template = ChatTemplate.from_folder(report.path)
        if template is not None:
            from inferno.text.sandbox import check_template

            source = template.source()
            check_template(source.text, source.origin)
    except TextError as error:
        found = Finding.from_error(error, report.path)
        if any(known.where == found.where for known in report.findings):
            return ()  # a file that cannot be read is told already
        return (Finding("warning", "chat-template-broken", found.where, found.message, found.repair),)
    return ()
