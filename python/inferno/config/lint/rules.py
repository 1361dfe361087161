"""What a rule of the linter is, what it may look at, and the table of all rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferno.findings import Severity

if TYPE_CHECKING:
    from inferno.config.llama import LlamaConfig
    from inferno.text.survey import TextSurvey


class Told(NamedTuple):
    """What a rule has found: where, what, and what to do. The rule's own name and severity make it a finding."""

    where: str
    message: str
    repair: str = ""


@dataclass(frozen=True)
class Facts:
    """What the rules look at.

    `config` and `generation` are the JSON objects of config.json (at `path`) and generation_config.json ({} if there is
    none), `parsed` is what became of them, None if they were refused. `tensors` maps names to (dtype, shape); None if
    the weights could not be read.
    """

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    parsed: LlamaConfig | None
    text: TextSurvey
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] | None

    def field(self, key: str) -> str:
        """The place of a field of config.json, for messages."""
        return f"{self.path}: {key}"

    def beside(self, name: str) -> str:
        """The place of another file of the folder."""
        return str(self.path.with_name(name))

    def rope(self, key: str) -> Mapping[str, Any]:
        """rope_scaling or rope_parameters; {} if it is absent or no object."""
        value = self.config.get(key)
        return value if isinstance(value, dict) else {}

    def integer(self, key: str) -> int | None:
        """A field of config.json if it is an integer."""
        value = self.config.get(key)
        return value if type(value) is int else None

    @property
    def vocab_size(self) -> int | None:
        """The rows of the embedding; params.json may have -1, which the weights stand in for."""
        if self.parsed is not None:
            return self.parsed.vocab_size
        given = self.integer("vocab_size")
        return given if given is not None and given > 0 else None

    def ids(self, values: Mapping[str, Any], key: str) -> tuple[int, ...]:
        """A field of token ids, one or a list of them; () if it is absent or something else."""
        value = values.get(key)
        items = value if isinstance(value, list) else [value]
        return tuple(item for item in items if type(item) is int)

    def stop_ids(self) -> frozenset[int]:
        """The end tokens as generation takes them: those of the config files, and the tokenizer's eos_token."""
        eos = self.text.token_id("eos_token")
        return self.configured_stops() | (frozenset() if eos is None else {eos})

    def configured_stops(self) -> frozenset[int]:
        """The end tokens of config.json and of generation_config.json together."""
        if self.parsed is not None:
            return self.parsed.eos_token_ids
        return frozenset(self.ids(self.config, "eos_token_id") + self.ids(self.generation, "eos_token_id"))

    def named(self, token_id: int) -> str:
        """An id, with the token's text where it is an added token."""
        text = None if self.text.tokenizer is None else self.text.tokenizer.added_tokens.get(token_id)
        return str(token_id) if text is None else f"{token_id} ({quoted(text)})"


@dataclass(frozen=True)
class Rule:
    """A check with the code and the severity of what it finds; `docs/findings.md` says what each code means."""

    code: str
    severity: Severity
    check: Callable[[Facts], Iterator[Told]]


RULES: list[Rule] = []


def rule(
    code: str, severity: Severity
) -> Callable[[Callable[[Facts], Iterator[Told]]], Callable[[Facts], Iterator[Told]]]:
    """Enters a function into the table of rules. Rules run in the order in which they stand in their files."""

    def enter(check: Callable[[Facts], Iterator[Told]]) -> Callable[[Facts], Iterator[Told]]:
        assert code not in {known.code for known in RULES}
        RULES.append(Rule(code, severity, check))
        return check

    return enter


def quoted(text: str) -> str:
    """A text from a file as a message may print it."""
    from inferno.files import show

    return show(text, 60)
