"""`inferno perplexity`: what it prints, its JSON, and everything that it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import inferno
from inferno.cli.perplexity import SCHEMA
from inferno.evaluation import divergence, perplexity
from tiny import write_tiny

TEXT = "Call me Ishmael. Some years ago, never mind how long precisely. " * 9


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder / "one", dtype="F32", tokenizer=True)
    write_tiny(folder / "two", dtype="BF16", tokenizer=True)
    write_tiny(folder / "large", {"vocab_size": 330}, tokenizer=True)
    (folder / "text.txt").write_text(TEXT)
    return folder


def test_a_line_for_a_model(cli, models):
    result = cli("perplexity", models / "one", "--file", models / "text.txt", "--window", 64, "-t", 1)
    with inferno.LLM(models / "one", ctx_size=64, threads=1) as llm:
        known = perplexity(llm, TEXT, window=64)
    assert result.code == 0
    assert result.out.startswith(
        f"one: perplexity {known.perplexity:.4f} +- {known.perplexity_error:.4f} over {known.tokens} tokens in "
        f"{known.windows} windows of 64 ("
    )
    assert "one: LlamaForCausalLM" in result.err
    assert f"Reading {known.tokens} tokens in {known.windows} windows" in result.err


def test_two_models_compared(cli, models):
    result = cli("perplexity", models / "one", "-f", models / "text.txt", "--against", models / "two", "--window", 64)
    with inferno.LLM(models / "one", ctx_size=64) as llm, inferno.LLM(models / "two", ctx_size=64) as reference:
        known = divergence(llm, reference, TEXT, window=64)
    one, two, ratio, apart, same = result.out.splitlines()
    assert one.startswith("one: perplexity ")
    assert two.startswith("two: perplexity ")
    assert ratio.startswith(f"ratio of perplexities {known.ratio:.5f} +- {known.ratio_error:.5f} (")
    assert apart.startswith(f"divergence {known.kl_mean:.6f} +- {known.kl_error:.6f} nats; median ")
    assert same == f"same likeliest token {100 * known.top1_agreement:.2f} +- {100 * known.top1_error:.2f} %"


def test_two_models_of_one_name_are_told_by_their_paths(cli, models, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copytree(models / "two", tmp_path / "other" / "one")
    result = cli("perplexity", models / "one", "-f", models / "text.txt", "--against", tmp_path / "other" / "one")
    first, second, *_ = result.out.splitlines()
    assert first.startswith(f"{models / 'one'}: perplexity ")
    assert second.startswith(f"{tmp_path / 'other' / 'one'}: perplexity ")
    assert " in 2 windows of 512" in first


def test_json_has_everything(cli, models):
    result = cli(
        *("perplexity", models / "one", "--file", models / "text.txt", "--against", models / "two"),
        *("--window", 32, "--json", "--quiet", "--numerics", "compressed-tensors"),
    )
    assert result.err == ""
    told = json.loads(result.out)
    assert (told["schema"], told["window"], told["file"]) == (SCHEMA, 32, str(models / "text.txt"))
    assert (told["model"]["name"], told["model"]["scheme"], told["model"]["numerics"]) == (
        "one",
        "float",
        "compressed-tensors",
    )
    assert told["against"]["model"]["name"] == "two"
    assert told["perplexity"] > 1
    assert told["against"]["ratio"] == pytest.approx(told["perplexity"] / told["against"]["perplexity"])
    figures = {"kl_mean", "kl_error", "kl_median", "kl_99th", "kl_max", "top1_agreement", "top1_error", "ratio_error"}
    assert figures <= told["against"].keys()
    assert {"mean", "mean_error", "perplexity_error", "tokens", "windows", "seconds"} <= told.keys()


def test_the_text_may_come_through_a_pipe(cli, models):
    assert cli("perplexity", models / "one", "--file", "-", "--window", 64, stdin=TEXT.encode()).code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--file: must be given: the text to measure on; - reads it from stdin"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
        (
            ["--file", "text.txt", "--window", "1"],
            "--window: must be at least 2 tokens, for the first",
        ),
        (["--file", "text.txt", "--window", "x"], "must be an integer; got 'x'"),
        (["--file", "short.txt"], "text: must be at least 2 tokens, for the first is not scored; got 1"),
        (["--file", "empty.txt"], "text: must be at least 2 tokens, for the first is not scored; got 0"),
        (["--file", "latin.txt"], "latin.txt: must be UTF-8; got byte 0xe9 at offset 3; convert it first"),
        (["--file", "text.txt", "-c", "64"], "tokens: must be at most 64, the context; got 512 tokens"),
        (["--file", "text.txt", "--against", "large", "--window", "64"], "large: vocab_size must be 320, that of one,"),
        (["--file", "text.txt", "--against", "nothing"], "nothing"),
        (
            ["--file", "text.txt", "--numerics", "exact"],
            "must be one of vllm, compressed-tensors; got 'exact'",
        ),
    ],
)
def test_refusals(cli, models, monkeypatch, arguments, told):
    monkeypatch.chdir(models)
    Path("short.txt").write_text("a")
    Path("empty.txt").write_text("")
    Path("latin.txt").write_bytes(b"caf\xe9")
    result = cli("perplexity", "./one", *arguments)
    assert result.code != 0
    assert result.out == ""
    assert told in result.err
    assert "Traceback" not in result.err
