"""Chat templates: where a model folder keeps them, and what they render to."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferno.errors import TextError, UsageError
from inferno.text.files import read_optional_json, read_text

DEFAULT = "default"
TOOL_USE = "tool_use"
_RESERVED = frozenset({"messages", "add_generation_prompt", "raise_exception", "strftime_now"})


@dataclass(frozen=True)
class TemplateSource:
    """A template's text and the place it came from, for messages."""

    text: str
    origin: str


class ChatTemplate:
    """The chat templates of one model: one, as a rule, or several by name.

    sources     name -> TemplateSource; "default" is used, or "tool_use" if there is one and tools are given
    variables   what every rendering sees besides its arguments: bos_token, eos_token, ...
    """

    def __init__(self, sources: Mapping[str, TemplateSource], variables: Mapping[str, Any] | None = None) -> None:
        self.sources = dict(sources)
        self.variables = dict(variables or {})

    @classmethod
    def from_string(
        cls, text: str, variables: Mapping[str, Any] | None = None, origin: str = "template"
    ) -> ChatTemplate:
        """A single template; `origin` names it in error messages."""
        return cls({DEFAULT: TemplateSource(text, origin)}, variables)

    @classmethod
    def from_folder(
        cls, folder: Path, variables: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None
    ) -> ChatTemplate | None:
        """The templates of a model folder; None if it has none. `config` is tokenizer_config.json if already read.

        chat_template.jinja and additional_chat_templates/NAME.jinja come before the chat_template of
        tokenizer_config.json (a text, or a list of {"name", "template"}), and that before chat_template.json.

        Raises TextError: a file that cannot be read or holds something else.
        """
        config_path = folder / "tokenizer_config.json"
        legacy_path = folder / "chat_template.json"
        config = read_optional_json(config_path) if config is None else config
        sources = {
            **_embedded(legacy_path, read_optional_json(legacy_path).get("chat_template")),
            **_embedded(config_path, config.get("chat_template")),
            **_files(folder),
        }
        return cls(sources, variables) if sources else None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        date: datetime.date | None = None,
        **variables: Any,
    ) -> str:
        """The chat as text.

        messages                mappings with at least `role`; `content` may be text or what else the template takes
        add_generation_prompt   ends with what opens the assistant's turn
        date                    the day that strftime_now (at midnight) and date_string show; today if None
        variables               tools, documents and whatever else the template knows

        Raises TextError that names the template's file and line: a syntax error, raise_exception, something undefined,
        what the sandbox forbids, or too much work or output. UsageError: a variable with a reserved name.
        """
        return self.render_at(self.moment(date), messages, add_generation_prompt, **variables)

    def render_at(
        self, moment: Moment, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool, **variables: Any
    ) -> str:
        """`render` for a fixed moment, so that renderings of one chat agree."""
        _check_messages(messages)
        if reserved := _RESERVED.intersection(variables):
            raise UsageError(f"chat template: variables must not replace its own; got {', '.join(sorted(reserved))}")
        from inferno.text.sandbox import render_template

        source = self.source(tools=bool(variables.get("tools")))
        values = {
            "tools": None,
            "documents": None,
            **self.variables,
            **moment.variables,
            **variables,
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
        }
        return render_template(source.text, source.origin, values, moment.now)

    def source(self, tools: bool = False) -> TemplateSource:
        """The template that applies. Raises TextError if there are several and none is the default."""
        for name in (TOOL_USE, DEFAULT) if tools else (DEFAULT,):
            if name in self.sources:
                return self.sources[name]
        first = next(iter(self.sources.values()))
        if len(self.sources) == 1:
            return first
        names = ", ".join(sorted(self.sources))
        raise TextError(f"{first.origin}: chat templates must include one named {DEFAULT!r}; got {names}")

    @staticmethod
    def moment(date: datetime.date | None) -> Moment:
        """What a rendering takes for now: the clock, or midnight of `date`."""
        if date is None:
            return Moment(datetime.datetime.now(), {})
        midnight = datetime.datetime(date.year, date.month, date.day)
        return Moment(midnight, {"date_string": midnight.strftime("%d %b %Y")})


@dataclass(frozen=True)
class Moment:
    """The time that a rendering shows, and the variables that follow from a fixed day."""

    now: datetime.datetime
    variables: Mapping[str, str]


def _embedded(path: Path, value: Any) -> dict[str, TemplateSource]:
    """The chat_template field of a JSON file."""
    origin = f"{path}: chat_template"
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT: TemplateSource(value, origin)}
    entries = value if isinstance(value, list) else [value]
    sources = {}
    for entry in entries:
        name, text = (entry.get("name"), entry.get("template")) if isinstance(entry, Mapping) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str):
            raise TextError(f'{origin} must be a string or a list of {{"name", "template"}}; got {_short(entry)}')
        sources[name] = TemplateSource(text, f"{origin} {name!r}")
    return sources


def _files(folder: Path) -> dict[str, TemplateSource]:
    paths = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    main = folder / "chat_template.jinja"
    if os.path.lexists(main):
        paths[DEFAULT] = main
    return {name: TemplateSource(read_text(path), str(path)) for name, path in paths.items()}


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise TextError(f"messages: must be a list of messages; got {_short(messages)}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise TextError(
                f'messages[{index}]: must be a mapping with `role` and `content`, like {{"role": "user", '
                f'"content": "Hello"}}; got {_short(message)}'
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
