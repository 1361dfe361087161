"""A chat template that is none: a load has no need of it, inspecting tells."""

from __future__ import annotations

from pathlib import Path

from inferno.analysis import analyze_folder
from inferno.analysis.inspection import inspect_report
from tiny import write_tiny


def test_a_template_that_does_not_compile_is_told(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "m", tokenizer=True)
    assert inspect_report(analyze_folder(folder)).chat == ()
    (folder / "chat_template.jinja").write_text("{% for x in %}")
    inspection = inspect_report(analyze_folder(folder))
    (finding,) = inspection.chat
    assert (finding.severity, finding.code) == ("warning", "chat-template-broken")
    assert finding.message == "Expected an expression, got 'end of statement block'"
    assert finding in inspection.findings
    assert inspection.status == "needs attention"
