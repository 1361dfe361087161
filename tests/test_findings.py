"""A finding made of an error: where its place ends, and where its repair begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno.errors import CheckpointError, ConfigError
from inferno.findings import Finding, by_severity


@pytest.mark.parametrize(
    ("text", "where", "message", "repair"),
    [
        ("/m/f: must be 8 bytes; got 7; download it again", "/m/f", "must be 8 bytes; got 7", "download it again"),
        ("/m: must hold weights; got none", "/m", "must hold weights; got none", ""),
        ("/m: got x; set a to 1; or b", "/m", "got x", "set a to 1; or b"),
        ("no place at all", "", "no place at all", ""),
        # a word that only begins like one
        ("/m: must be; got settings; settings", "/m", "must be; got settings; settings", ""),
    ],
)
def test_parts(text: str, where: str, message: str, repair: str) -> None:
    finding = Finding.from_error(CheckpointError(text))
    assert (finding.where, finding.message, finding.repair) == (where, message, repair)
    assert str(finding) == text
    assert (finding.severity, finding.code) == ("error", "checkpoint")


def test_a_folder_whose_name_holds_a_colon() -> None:
    finding = Finding.from_error(ConfigError("/a: b/config.json: head_dim must be even"), Path("/a: b"))
    assert (finding.where, finding.message) == ("/a: b/config.json", "head_dim must be even")


def test_the_worst_first() -> None:
    findings = [Finding(severity, severity, "", "") for severity in ("note", "error", "warning", "note")]
    assert [finding.severity for finding in by_severity(findings)] == ["error", "warning", "note", "note"]
