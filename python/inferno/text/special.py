"""Special tokens by role: tokenizer_config.json, then special_tokens_map.json where the first is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inferno.errors import TextError
from inferno.text.files import read_optional_json, refuse_surrogates

ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class SpecialTokens:
    """What tokenizer_config.json and special_tokens_map.json say. Texts, not ids.

    `roles` has one entry per role that is set ("bos_token" -> "<s>"), `extra` the tokens without a role. `add_bos` and
    `add_eos` are None where the files do not say; they count where tokenizer.json has no post-processor.
    """

    roles: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    add_bos: bool | None = None
    add_eos: bool | None = None

    @classmethod
    def from_folder(cls, folder: Path, config: Mapping[str, Any] | None = None) -> SpecialTokens:
        """Reads `folder`; `config` is tokenizer_config.json if it has been read already. Raises TextError."""
        config_path = folder / "tokenizer_config.json"
        map_path = folder / "special_tokens_map.json"
        sources = [
            (config_path, read_optional_json(config_path) if config is None else config),
            (map_path, read_optional_json(map_path)),
        ]
        roles: dict[str, str | None] = {}
        extra: dict[str, None] = {}
        for path, values in sources:
            for role in ROLES:
                if role in values and role not in roles:
                    roles[role] = _token_text(path, role, values[role])
            for name in LISTS:
                _collect(path, name, values.get(name), roles, extra)
        return cls(
            roles={role: text for role, text in roles.items() if text},
            extra=tuple(extra),
            add_bos=_switch(config_path, "add_bos_token", sources[0][1]),
            add_eos=_switch(config_path, "add_eos_token", sources[0][1]),
        )

    def with_defaults(self, roles: Mapping[str, str], *, add_bos: bool) -> SpecialTokens:
        """With `roles` and `add_bos` where the files say nothing."""
        own = self.add_bos
        return replace(self, roles={**roles, **self.roles}, add_bos=add_bos if own is None else own)

    def template_variables(self) -> dict[str, Any]:
        """What a chat template sees: bos_token, eos_token, ... and additional_special_tokens."""
        values: dict[str, Any] = dict(self.roles)
        if self.extra:
            values["additional_special_tokens"] = list(self.extra)
        return values


def _token_text(path: Path, role: str, value: Any) -> str | None:
    """A token is stored as its text, or as an object whose `content` is the text, or as null."""
    if isinstance(value, Mapping):
        value = value.get("content")
    if isinstance(value, str):
        refuse_surrogates(f"{path}: {role}", value)
    if value is None or isinstance(value, str):
        return value
    raise TextError(f"{path}: {role} must be a string, an object with `content`, or null; got {value!r}")


def _collect(path: Path, name: str, value: Any, roles: dict[str, str | None], extra: dict[str, None]) -> None:
    """Adds a list of tokens to `extra`; an object maps further role names to tokens (transformers 5)."""
    if isinstance(value, Mapping):
        for role, token in value.items():
            refuse_surrogates(f"{path}: {name}: a name", role)
            roles.setdefault(role, _token_text(path, f"{name}.{role}", token))
    elif isinstance(value, list):
        for index, token in enumerate(value):
            if text := _token_text(path, f"{name}[{index}]", token):
                extra[text] = None
    elif value is not None:
        raise TextError(f"{path}: {name} must be a list or an object; got {value!r}")


def _switch(path: Path, name: str, values: Mapping[str, Any]) -> bool | None:
    value = values.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise TextError(f"{path}: {name} must be true, false or null; got {value!r}")
