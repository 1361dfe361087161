"""Random damage to any small file of a good model: inspecting and loading agree, and only an InfernoError comes out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferno import LLM
from inferno.analysis import analyze_folder, make_plan
from inferno.errors import InfernoError, TextError, UsageError
from meta_writer import write_meta
from model_edits import INDEX, WEIGHTS, shard, to_shards
from tiny import stored_tensors, tiny_config
from zoo.case import GOOD

CONFIG_FILES = ["config.json", "generation_config.json"]
TEXT_FILES = ["tokenizer.json", "tokenizer_config.json"]
PIECES = [
    b"0",
    b"-",
    b"9" * 20,
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"1e999",
    b"NaN",
    b"\\u",
    b"\xff",
    b"\0",
]


@st.composite
def damage(draw: st.DrawFn) -> tuple[float, str, bytes, int]:
    """Where (a share of the file), what, with which bytes, how many."""
    kind = draw(st.sampled_from(["change", "cut", "drop", "insert"]))
    piece = bytes([draw(st.integers(0, 255))]) if kind == "change" else draw(st.sampled_from(PIECES))
    return draw(st.floats(0, 1, exclude_max=True)), kind, piece, draw(st.integers(1, 9))


def damaged(raw: bytes, hurt: tuple[float, str, bytes, int], reach: int) -> bytes:
    """`raw` with the damage done within its first `reach` bytes."""
    share, kind, piece, count = hurt
    at = int(share * reach)
    if kind == "cut":
        return raw[:at]
    return (
        raw[:at]
        + (b"" if kind == "drop" else piece)
        + raw[at if kind == "insert" else at + (count if kind == "drop" else 1) :]
    )


def reach_of(path: Path) -> int:
    """The whole of a small file; of weights the header, and of .pth all, whose directory lies at the end."""
    raw = path.read_bytes()
    return min(len(raw), 8 + int.from_bytes(raw[:8], "little")) if path.suffix == ".safetensors" else len(raw)


def raised_by(call: Callable[[], object]) -> InfernoError | None:
    """What Inferno raised on purpose; everything else is a failure of the test."""
    try:
        call()
    except InfernoError as error:
        return error
    return None


def check(folder: Path) -> None:
    """Report and plan are there, and loading does what they say."""
    report = analyze_folder(folder)
    findings = report.findings if report.errors else make_plan(report, threads=1, ctx_size=32).findings
    expected = next((finding.error for finding in findings if finding.severity == "error"), None)
    for finding in findings:
        assert (finding.error is not None) == (finding.severity == "error")
        assert str(finding).isprintable()
    error = raised_by(lambda: LLM(folder, threads=1, ctx_size=32))
    assert (type(error), str(error)) == (type(expected), str(expected))
    if error is None:
        with LLM(folder, threads=1, ctx_size=32) as llm:
            assert llm.logits([1, 2]).shape == (2, llm.config.vocab_size)
            unspoken = raised_by(lambda: llm.generate("Hi"))
            damaged = "must compute finite logits" in str(unspoken)  # weights may have become any numbers
            assert unspoken is None or damaged or isinstance(unspoken, (TextError, UsageError))


@pytest.fixture(scope="module")
def herd(good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The good model in its three forms."""
    room = tmp_path_factory.mktemp("herd")
    folders = {name: shutil.copytree(good, room / name) for name in ("one", "shards", "meta")}
    to_shards()(folders["shards"])
    for name in ("config.json", WEIGHTS):
        (folders["meta"] / name).unlink()
    config = tiny_config(GOOD)
    write_meta(folders["meta"], stored_tensors(config, "F32", 0), config, "F32")
    return folders


FILES = [
    *(("one", file) for file in [*CONFIG_FILES, *TEXT_FILES, WEIGHTS]),
    *(("shards", file) for file in [INDEX, shard(2, 2)]),
    *(("meta", file) for file in ["params.json", "consolidated.00.pth"]),
]


@pytest.mark.parametrize(("form", "file"), FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hurts=st.lists(damage(), min_size=1, max_size=3))
def test_any_damage(herd: dict[str, Path], form: str, file: str, hurts: list[tuple[float, str, bytes, int]]) -> None:
    path = herd[form] / file
    whole = path.read_bytes()
    reach = reach_of(path)
    try:
        raw = whole
        for hurt in hurts:
            raw = damaged(raw, hurt, min(reach, len(raw)))
        path.unlink()  # what is mapped stays as it is
        path.write_bytes(raw)
        check(herd[form])
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(whole)


def test_the_undamaged_herd_runs(herd: dict[str, Path]) -> None:
    for folder in herd.values():
        check(folder)
        assert not analyze_folder(folder).errors


# Values that no reader of a field expects, and numbers at the ends of what a field can be.
ODD = [
    None,
    [],
    {},
    "x",
    "",
    -1,
    0,
    1.5,
    1e308,
    1e-320,
    float("inf"),
    float("nan"),
    10**30,
    2**63,
    True,
    [[]],
    "\ud800",
]
NEW_KEYS = [
    "rope_scaling",
    "quantization_config",
    "dtype",
    "added_tokens",
    "additional_special_tokens",
    "use_scaled_rope",
]
SETTINGS = [*(("one", file) for file in [*CONFIG_FILES, *TEXT_FILES]), ("shards", INDEX), ("meta", "params.json")]


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every value in a JSON value, of long lists to the first few alone."""
    keys = value if isinstance(value, dict) else range(min(len(value), 4)) if isinstance(value, list) else ()
    return [path for key in keys for path in [(*above, key), *places(value[key], (*above, key))]]


@pytest.mark.parametrize(("form", "file"), SETTINGS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_replaced(herd: dict[str, Path], form: str, file: str, data: st.DataObject) -> None:
    path = herd[form] / file
    raw = path.read_bytes()
    value = json.loads(raw)
    where = data.draw(st.sampled_from([*places(value), *((key,) for key in NEW_KEYS)]))
    place = value
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = data.draw(st.sampled_from(ODD))
    path.write_text(json.dumps(value))
    try:
        check(herd[form])
    finally:
        path.write_bytes(raw)
