"""Flags, their aliases, and their variables."""

from __future__ import annotations

import argparse
import datetime
import json

import pytest

from inferno.cli import build_parser
from inferno.cli.flags import day, token_count
from inferno.errors import UsageError

VALUES = {
    "PROMPT": "Hi", "MODEL": "m", "REVISION": "r", "SYSTEM": "s", "RAW": "1", "DATE": "2026-01-31", "MAX_TOKENS": "3",
    "TEMP": "0.5", "TOP_P": "0.5", "TOP_K": "4", "MIN_P": "0.5", "REPEAT_PENALTY": "1.5", "PRESENCE_PENALTY": "0.5",
    "FREQUENCY_PENALTY": "0.5", "SEED": "5", "STOP": "x", "THREADS": "2", "CTX_SIZE": "4k", "KV_CACHE_TYPE": "f32",
    "JSON": "1", "QUIET": "true", "DEBUG": "on", "NUMERICS": "vllm",
}  # fmt: skip
ALIASES = {
    "N_PREDICT": "MAX_TOKENS", "MAX_NEW_TOKENS": "MAX_TOKENS", "TEMPERATURE": "TEMP", "MAX_MODEL_LEN": "CTX_SIZE",
    "REPETITION_PENALTY": "REPEAT_PENALTY",
}  # fmt: skip


def parse(*arguments: str) -> dict[str, object]:
    parsed = build_parser().parse_args(["generate", *arguments])
    parsed.flags.read_environment(parsed)
    return {name: value for name, value in vars(parsed).items() if name not in ("run", "flags")}


@pytest.mark.parametrize("name", [*VALUES, *ALIASES])
def test_a_variable_is_its_flag(name, monkeypatch):
    canonical = ALIASES.get(name, name)
    value = VALUES[canonical]
    flag = "--" + name.lower().replace("_", "-")
    given = parse(flag) if canonical in ("RAW", "JSON", "QUIET", "DEBUG") else parse(flag, value)
    monkeypatch.setenv("INFERNO_" + name, value)
    assert parse() == given
    assert given != parse_without(monkeypatch, "INFERNO_" + name)


def parse_without(monkeypatch: pytest.MonkeyPatch, variable: str) -> dict[str, object]:
    monkeypatch.delenv(variable)
    return parse()


def test_every_flag_has_a_variable():
    parsed = build_parser().parse_args(["generate"])
    names = {name for name in vars(parsed) if name not in ("run", "flags", "prompt_argument", "isa")}
    assert names == {name.lower() for name in VALUES}


def test_the_command_line_comes_first(monkeypatch):
    monkeypatch.setenv("INFERNO_TEMP", "0.5")
    monkeypatch.setenv("INFERNO_STOP", "a")
    assert parse("--temp", "0.7")["temp"] == 0.7
    assert parse("--temp", "0")["temp"] == 0
    assert parse("--stop", "b")["stop"] == ["b"]
    assert parse()["stop"] == ["a"]


@pytest.mark.parametrize(("text", "value"), [("1", True), ("YES", True), ("0", None), ("off", None), ("", None)])
def test_switches(text, value, monkeypatch):
    monkeypatch.setenv("INFERNO_RAW", text)
    assert parse()["raw"] is value


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("INFERNO_TOP_K", "a", "variable INFERNO_TOP_K: must be an integer; got 'a'"),
        ("INFERNO_TEMP", "warm", "variable INFERNO_TEMP: must be a number; got 'warm'"),
        ("INFERNO_RAW", "maybe", "variable INFERNO_RAW: must be 1 or 0; got 'maybe'"),
        ("INFERNO_CTX_SIZE", "4m", "variable INFERNO_CTX_SIZE: must be a number of tokens, like 4096 or 4k; got '4m'"),
        ("INFERNO_DATE", "today", "variable INFERNO_DATE: must be a date like 2026-01-31; got 'today'"),
    ],
)
def test_a_bad_variable_is_named(variable, text, message, monkeypatch):
    monkeypatch.setenv(variable, text)
    with pytest.raises(UsageError) as caught:
        parse()
    assert str(caught.value) == message


def test_the_isa_variable_is_the_librarys(cli, tiny, monkeypatch):
    monkeypatch.setenv("INFERNO_ISA", "scalar")
    assert parse()["isa"] is None
    result = cli("generate", "-m", tiny, "--json", "-n", "1", "Hi")
    assert json.loads(result.out)["model"]["isa"] == "scalar"


@pytest.mark.parametrize(("text", "tokens"), [("1", 1), ("4096", 4096), ("4k", 4096), ("32K", 32768), (" 8k ", 8192)])
def test_token_counts(text, tokens):
    assert token_count(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "-1", "4.5k", "4kk", "1e3", "4 k", "٤", "1" * 16])
def test_no_token_counts(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number of tokens"):
        token_count(text)


def test_days():
    assert day("2026-01-31") == datetime.date(2026, 1, 31)
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be a date like 2026-01-31; got '31\.1\.2026'"):
        day("31.1.2026")
