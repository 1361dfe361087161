"""The config linter: what config.json and the files around it say wrongly, doubtfully, or only by default.

Every rule is one function in a file of this package, entered in one table; what each finds is described in
docs/findings.md. A finding of severity error carries the exception that loading raises for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferno.config.lint import chat, fields, rope, tokens  # noqa: F401  (their rules enter themselves)
from inferno.config.lint.rules import RULES, Facts, Rule, Told
from inferno.errors import ConfigError
from inferno.findings import Finding

if TYPE_CHECKING:
    from inferno.config.llama import LlamaConfig
    from inferno.text.survey import TextSurvey

__all__ = ["RULES", "Rule", "lint"]


def lint(
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    parsed: LlamaConfig | None,
    survey: TextSurvey,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] | None,
    where: Path | str,
) -> list[Finding]:
    """What is worth saying about a model's small files, in the order of the rules. Reads nothing, raises nothing.

    config, generation   the JSON objects of config.json and generation_config.json, as they stand there
    parsed               what LlamaConfig made of them; None if it refused them, which is then not said again
    survey               what the text files say
    tensors              name -> (dtype, shape) of all weights; None if they could not be read
    where                the path of config.json
    """
    facts = Facts(Path(where), config, generation, parsed, survey, tensors)
    return [_finding(rule, told) for rule in RULES for told in rule.check(facts)]


def _finding(rule: Rule, told: Told) -> Finding:
    finding = Finding(rule.severity, rule.code, told.where, told.message, told.repair)
    return replace(finding, error=ConfigError(str(finding))) if rule.severity == "error" else finding
