"""Every case of the zoo: what is found in it, and that inspecting, loading and the command line agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from inferno import LLM
from inferno.analysis import Report, analyze, analyze_folder, make_plan
from inferno.config.keys import CHANGES_ARITHMETIC
from inferno.config.lint import RULES
from inferno.errors import InfernoError
from inferno.findings import SEVERITIES, Finding
from inferno.quantization.recognize import SIGNATURES
from zoo import configs, containers, filesystem, layouts, lint, malformed, mapping, quantized, shards, tokenizers
from zoo.case import Case

HOUSES = [containers, shards, filesystem, configs, quantized, malformed, mapping, layouts, lint, tokenizers]
CASES = [case for house in HOUSES for case in house.CASES]
ModelOf = Callable[[Case], Path]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def options(case: Case) -> dict[str, object]:
    return {"threads": 1, "ctx_size": 64, **case.options}


def found_in(report: Report, case: Case) -> tuple[Finding, ...]:
    """The findings of the report, and of the plan if there can be one."""
    if report.errors:
        return report.findings
    return (*report.findings, *make_plan(report, **options(case)).findings)


def test_every_case_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_nothing_that_can_be_told_is_without_a_case() -> None:
    told = {case.code for case in CASES}
    assert {rule.code for rule in RULES} <= told
    assert {signature.name for signature in SIGNATURES} <= {case.scheme for case in CASES}
    assert {f"with {key}" for key in CHANGES_ARITHMETIC} <= {case.name for case in CASES}


@each_case
def test_what_is_found(case: Case, model_of: ModelOf) -> None:
    path = model_of(case)
    findings = found_in(analyze_folder(path), case)
    errors = [finding for finding in findings if finding.severity == "error"]
    if case.severity is None:
        assert [finding for finding in findings if finding.severity != "note"] == []
        return
    assert bool(errors) == (not case.runs), findings
    candidates = [finding for finding in findings if finding.severity == case.severity]
    candidates = candidates[:1] if case.severity == "error" else candidates
    assert [
        finding
        for finding in candidates
        if (finding.code, finding.where) == (case.code, case.where.format(folder=path))
        and case.message.replace("{folder}", str(path)) in str(finding)
    ], candidates


@each_case
def test_findings_are_fit_to_be_shown(case: Case, model_of: ModelOf) -> None:
    report = analyze_folder(model_of(case))
    for finding in report.findings:
        assert finding.severity in SEVERITIES
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", finding.code), finding.code
        assert (finding.error is not None) == (finding.severity == "error"), finding
        assert finding.error is None or str(finding.error) == str(finding)
        assert finding.message
        assert len(str(finding)) < 3000
    assert len(set(report.findings)) == len(report.findings), "told twice"
    assert report.status == ("cannot run" if report.errors else report.status)
    assert report.parameters >= 0
    assert report.weight_bytes == sum(report.bytes_by_dtype.values()) == sum(report.bytes_by_role.values())


def steady_text(text: str) -> str:
    """Without what changes from moment to moment: how much memory is free."""
    return re.sub(r"[\d.]+( GB are available; ask for at most) \d+", r"N\1 N", text)


def steady(error: InfernoError | None) -> str:
    return steady_text(str(error))


def expected_error(path: Path, case: Case) -> InfernoError | None:
    """What inspecting says that a load will raise."""
    try:
        report = analyze(path)
    except InfernoError as error:  # there is no such model
        return error
    return next((finding.error for finding in found_in(report, case) if finding.severity == "error"), None)


@each_case
def test_loading_agrees(case: Case, model_of: ModelOf) -> None:
    path = model_of(case)
    expected = expected_error(path, case)
    assert (expected is None) == case.runs
    if expected is None:
        with LLM(path, **options(case)) as llm:
            assert llm.logits([1, 2, 3]).shape == (3, llm.config.vocab_size)
        return
    with pytest.raises(InfernoError) as caught:
        LLM(path, **options(case))
    assert type(caught.value) is type(expected)
    assert steady(caught.value) == steady(expected)


@each_case
def test_recognised_scheme(case: Case, model_of: ModelOf) -> None:
    if case.scheme is not None:
        assert analyze_folder(model_of(case)).scheme.name == case.scheme
