"""Names, regexes and classes in lists of targets and of exceptions; regexes that would not end."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.config.fields import Fields
from inferno.errors import ConfigError, InfernoError, UnsupportedError
from inferno.quantization.patterns import MAX_PATTERN, MAX_WAYS, compile_pattern
from inferno.quantization.skips import Skips, read_skips
from inferno.quantization.targets import Rank, Targets, fused_name, parts_of_fused, refuse_slow

Q, K, V = (f"model.layers.0.self_attn.{name}_proj" for name in "qkv")
OUT = "model.layers.0.self_attn.o_proj"
GATE, UP, DOWN = (f"model.layers.11.mlp.{name}_proj" for name in ("gate", "up", "down"))
HEAD = "lm_head"
ALL = [Q, K, V, OUT, GATE, UP, DOWN, HEAD]
WHERE = "c.json: targets"


def named(*entries: str) -> list[str]:
    """The short names of the modules that a list names."""
    targets = Targets(list(entries), WHERE)
    return [name.split(".")[-1].removesuffix("_proj") for name in ALL if targets.rank(name) is not None]


EVERY = ["q", "k", "v", "o", "gate", "up", "down", "lm_head"]


@pytest.mark.parametrize(
    ("entry", "modules"),
    [
        ("Linear", EVERY),
        ("linear", []),
        ("Embedding", []),
        ("lm_head", ["lm_head"]),
        (Q, ["q"]),
        ("q_proj", []),
        ("layers.0.self_attn.q_proj", []),
        (r"re:.*self_attn\.q_proj$", ["q"]),
        ("re:.*mlp.*", ["gate", "up", "down"]),
        # anchored at the start only
        ("re:model.layers.1", ["gate", "up", "down"]),
        ("re:layers", []),
        ("re:.*lm_head", ["lm_head"]),
        ("re:^(?!lm_head).*", EVERY[:-1]),
        ("re:(?i).*MLP.*", ["gate", "up", "down"]),
        # of vLLM's fused modules
        ("model.layers.0.self_attn.qkv_proj", ["q", "k", "v"]),
        ("model.layers.0.mlp.gate_up_proj", []),
        ("re:.*gate_up_proj$", ["gate", "up"]),
        (r"re:.*\.(qkv|o)_proj", ["q", "k", "v", "o"]),
        # such a regex does not mean qkv_proj, which it would match
        ("re:(?!.*(q|k|v|o|gate|up|down)_proj).*head", ["lm_head"]),
        ("re:(?!.*[.](q|k|v|o)_proj)model.layers.0.*", []),
    ],
)
def test_what_an_entry_names(entry: str, modules: list[str]) -> None:
    assert named(entry) == modules


def test_ranks() -> None:
    fused = "model.layers.0.self_attn.qkv_proj"
    for entries, rank in (
        ([Q, fused, "re:.*", "Linear"], Rank.EXACT),
        (["Linear", "re:.*", fused], Rank.EXACT_FUSED),
        (["Linear", "re:.*qkv_proj", "re:.*q_proj"], Rank.REGEX),
        (["Linear", "re:.*qkv_proj"], Rank.REGEX_FUSED),
        (["Linear"], Rank.CLASS),
    ):
        assert Targets(entries, WHERE).rank(Q) is rank
    assert [rank.fused for rank in Rank] == [False, True, False, True, False]
    assert sorted(Rank) == list(Rank)
    assert Targets([], WHERE).rank(Q) is None


def test_classes() -> None:
    assert Targets(["Linear", "LlamaAttention", "lm_head", "re:Model", "Model.x"], WHERE).classes() == [
        *("Linear", "LlamaAttention")
    ]


def test_fused_names() -> None:
    assert fused_name(K) == "model.layers.0.self_attn.qkv_proj"
    assert fused_name(OUT) is None
    assert parts_of_fused(UP) == [GATE, UP]
    assert parts_of_fused(HEAD)[0].endswith("lm_head")


@pytest.mark.parametrize("entries", [None, "Linear", [1], {"Linear": 1}, [["Linear"]]])
def test_no_list(entries: object) -> None:
    with pytest.raises(ConfigError, match=r"^c.json: targets: must be a list of names; got "):
        Targets(entries, WHERE)


@pytest.mark.parametrize(
    "pattern",
    [
        r"model\.layers\.(?:[0-9]|1[0-9]|2[0-3])\.(mlp|self_attn)\..*_proj",
        r".*layers\.\d+\.mlp\..*_proj.*",
        r"^(?!.*(lm_head|embed_tokens)).*$",
        r"(?P<block>model\.layers\.\d+)?.*",
        r"[^]x[]+\.\(\*\*",
        r"(?:abc)*d{2,3}?",
        "",
    ],
)
def test_patterns_that_are_used(pattern: str) -> None:
    compiled, ways = compile_pattern(pattern, WHERE)
    assert compiled.pattern == pattern
    assert ways < MAX_WAYS / 30


REPEATED = "a regex must not repeat a group that repeats or has alternatives inside, which can take forever"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", 'must be a regex of Python\'s; got "(": "missing )'),
        ("*", 'must be a regex of Python\'s; got "*": "nothing to repeat'),
        ("a{99999999999999999999}", 'must be a regex of Python\'s; got "a{99999999999999999999}"'),
        ("[\n", 'must be a regex of Python\'s; got "[\\n": "unterminated'),
        ("a" * (MAX_PATTERN + 1), f"a regex must be at most {MAX_PATTERN} characters; got {MAX_PATTERN + 1}: "),
        ("(a+)+b", REPEATED + '; got "(a+)+b"; write the names, or a simpler regex'),
        ("(.*)*", REPEATED),
        ("(a|a)*", REPEATED),
        ("(a?){30}", REPEATED),
        ("((a|b)c)+", REPEATED),
        (r"([\]])(x*){2,}", REPEATED),
        ("(?=(a*))*x", REPEATED),
        ("(?#[)(a+)+]", "groups of a regex must begin with (, (?:, (?=, (?!, (?<=, (?<! or (?P<; got "),
        ("(?x)(a+)+", "groups of a regex must begin with"),
        ("(a)(?(1)b|c)", "groups of a regex must begin with"),
    ],
)
def test_patterns_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_pattern(pattern, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: {message}")
    assert str(caught.value).isprintable()


def refusal(pattern: str) -> str:
    """What a regex is refused with; empty if it is not."""
    try:
        refuse_slow([Targets(["re:" + pattern], WHERE)], WHERE)
    except InfernoError as error:
        return str(error)
    return ""


def test_deep_brackets() -> None:
    # Whether that is too deep is a matter of Python's version.
    told = refusal("(" * 250 + ")" * 250)
    assert not told or "must be a regex" in told


@pytest.mark.parametrize("entry", ["re:" + ".*" * 7 + "x", "re:" + "(a|a)" * 25 + "x", "re:" + "a?" * 25 + "b"])
def test_patterns_with_too_many_ways(entry: str) -> None:
    slow = Targets([entry], WHERE)
    with pytest.raises(ConfigError, match=r"^c.json: the regexes of targets and ignore must be simpler or fewer: "):
        refuse_slow([slow], "c.json")
    refuse_slow([Targets(["re:.*q_proj", "Linear"], WHERE)] * 50, "c.json")


def test_many_patterns_add_up() -> None:
    entries = [f"re:.*{i}.*.*.*" for i in range(100)]
    refuse_slow([Targets(entries[:50], WHERE)], "c.json")
    with pytest.raises(ConfigError, match="must be simpler or fewer"):
        refuse_slow([Targets(entries[:50], WHERE), Targets(entries[50:], WHERE)], "c.json")


PIECES = r"a b . * + ? ( (?: (?! ) | [ab] [^a ] {2} \. ^"
patterns = st.lists(st.sampled_from(PIECES.split(" ")), max_size=14).map("".join)


@settings(max_examples=500, deadline=None)
@given(patterns, st.text("ab.", max_size=12))
def test_random_patterns_end(pattern: str, name: str) -> None:
    told = refusal(pattern)
    assert told.isprintable()
    if not told:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matches = re.match(pattern, name) is not None
        assert (Targets(["re:" + pattern], WHERE).rank(name) is not None) == matches


def test_modules_to_leave_alone() -> None:
    skips = Skips(("lm_head", "model.layers.1", "down_proj", "self_attn.q_proj"))
    for name, left in (
        ("lm_head", True),
        ("model.layers.1.mlp.up_proj", True),
        ("model.layers.11.mlp.up_proj", False),
        ("model.layers.11.mlp.down_proj", True),
        (Q, True),
        (K, False),
    ):
        assert (name in skips) is left
    # AutoAWQ looks for the letters
    assert "model.layers.11.mlp.up_proj" in Skips(("model.layers.1",), anywhere=True)
    assert UP not in Skips(())


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("lm_head", ConfigError, 'skip must be a list of names or null; got "lm_head"'),
        ([1], ConfigError, r"skip must be a list of names or null; got \[1\]"),
        ([""], UnsupportedError, 'skip must hold names of modules, not patterns; got ""'),
        (["re:.*"], UnsupportedError, r'not patterns; got "re:\.\*"; write the names'),
        (["model.layers.*.mlp"], UnsupportedError, "skip must hold names of modules, not patterns"),
    ],
)
def test_bad_lists_to_leave_alone(value: object, kind: type[InfernoError], message: str) -> None:
    with pytest.raises(kind, match=rf"^c.json: .*{message}"):
        read_skips(Fields({"skip": value}, "c.json"), "skip")
    assert read_skips(Fields({}, "c.json"), "skip") is None
