"""`inferno generate` where it can: what lands on stdout, what on stderr."""

from __future__ import annotations

import json
import re
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fake_limits import make_limits
from inferno import LLM
from inferno.cli.report import compare_with_forecast
from inferno.engine.outputs import Metrics
from inferno.models import load_model
from inferno.progress import LineProgress
from quantized_cases import QUANTIZED
from speaker import write_speaker

SPOKEN = "Hey, wörd!\U0001f600"


def test_text_alone_on_stdout_and_the_rest_on_stderr(cli, speaker):
    result = cli("generate", "-m", speaker, "Hi")
    assert result.code == 0
    assert result.out == SPOKEN + "\n"
    load, closing = result.err.splitlines()
    assert re.fullmatch(
        r"speaker: LlamaForCausalLM, 586\.9K parameters, F32 \(2 MB\); \w+, \d+ threads?; "
        r"context 512 tokens \(f16 cache, up to \d+ KB\)",
        load,
    )
    assert re.fullmatch(
        r"prompt \d+ tokens at [\d.]+ tokens/s; generated 16 tokens at [\d.]+ tokens/s; "
        r"first token after [\d.]+ s; peak memory [\d.]+ [MG]B; greedy",
        closing,
    )


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["Hi"], None),
        (["-p", "Hi"], None),
        (["--prompt", "Hi"], None),
        ([], b"Hi"),
        ([], b"Hi\n"),
        ([], b"\xef\xbb\xbfHi\r\n"),
        (["-"], b"Hi"),
        (["-p", "-"], b"Hi"),
        (["Hi"], b"not read"),
    ],
)
def test_ways_to_give_the_prompt(cli, speaker, arguments, stdin):
    result = cli("generate", "-m", speaker, "--json", "-q", *arguments, stdin=stdin)
    ids = LLM(speaker).tokenizer.encode_chat([{"role": "user", "content": "Hi"}])
    assert json.loads(result.out)["prompt_token_ids"] == ids


def test_quiet_is_silent(cli, speaker):
    result = cli("generate", "-m", speaker, "-q", "Hi")
    assert (result.code, result.out, result.err) == (0, SPOKEN + "\n", "")


def test_a_newline_is_added_only_where_it_lacks(cli, tmp_path):
    folder = write_speaker(tmp_path / "m", "abc", chat_template="x>")
    assert cli("generate", "-m", folder, "-q", "Hi", "--stop", "a").out == "\n"
    # "Ċ" is how a newline is written in a byte-level vocabulary: the token after c
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(
        text.replace('"Ċ": ', '"@@": ').replace('"c": ', '"Ċ": ').replace('"@@": ', '"c": '), encoding="utf-8"
    )
    assert cli("generate", "-m", folder, "-q", "Hi").out == "ab\n"


def test_json(cli, speaker):
    result = cli("generate", "-m", speaker, "--json", "Hi", "--stop", "rd", "--threads", "1", "--isa", "scalar")
    assert len(result.err.splitlines()) == 2
    found = json.loads(result.out)
    assert result.out.endswith("}\n")
    assert found["schema"] == "inferno.generate/1"
    assert (found["text"], found["finish_reason"], found["stop_reason"]) == ("Hey, wö", "stop", "rd")
    assert len(found["token_ids"]) == found["metrics"]["generated_tokens"] == 10
    assert found["seed"] is None
    assert found["sampling"]["temperature"] == 0
    model = found["model"]
    assert (model["name"], model["dtype"], model["isa"], model["threads"]) == ("speaker", "F32", "scalar", 1)
    assert found["metrics"]["peak_memory_bytes"] > 10**6
    assert found["metrics"]["memory_bandwidth"] is None  # weights that fit a cache are not read from memory
    assert found["metrics"]["generation_tokens_per_second"] > 0


def test_raw_prompts(cli, speaker, plain):
    result = cli("generate", "-m", speaker, "-q", "--raw", "--json", "Hi>")
    assert json.loads(result.out)["prompt_token_ids"] == LLM(speaker).tokenizer.encode("Hi>")
    result = cli("generate", "-m", plain, "Hi>")
    assert result.out == "abc\n"
    assert "plain has no chat template: the prompt is continued as it is" in result.err.splitlines()
    assert "no chat template" not in cli("generate", "-m", plain, "--raw", "Hi>").err


def test_system_message_and_day(cli, tmp_path):
    template = "{{ messages | map(attribute='role') | join(',') }} {{ strftime_now('%Y-%m-%d') }}>"
    folder = write_speaker(tmp_path / "m", "abc", chat_template=template)
    result = cli("generate", "-m", folder, "-q", "--json", "-s", "Be brief.", "--date", "2026-01-31", "Hi")
    ids = json.loads(result.out)["prompt_token_ids"]
    assert LLM(folder).tokenizer.decode(ids) == "system,user 2026-01-31>"


@pytest.mark.parametrize("flag", ["-n", "--max-tokens", "--n-predict", "--max-new-tokens"])
def test_max_tokens(cli, endless, flag):
    result = cli("generate", "-m", endless, flag, "5", "Hi")
    assert result.out == "abcab\n"
    assert "; ended by length; " in result.err


@pytest.mark.parametrize(("flag", "size", "tokens"), [("-c", "64", 64), ("--ctx-size", "64", 64), ("-c", "1k", 1024)])
def test_context(cli, endless, flag, size, tokens):
    result = cli("generate", "-m", endless, flag, size, "--json", "Hi")
    found = json.loads(result.out)
    assert found["model"]["ctx_size"] == tokens
    assert len(found["prompt_token_ids"]) + len(found["token_ids"]) == tokens
    assert ("warning: context: 1024 tokens" in result.err) == (tokens == 1024)


def test_stop_texts(cli, speaker):
    assert cli("generate", "-m", speaker, "-q", "Hi", "--stop", "zz", "--stop", "wö").out == "Hey, \n"


def test_sampling_values_reach_the_engine(cli, tiny):
    values = {
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1,
        "presence_penalty": 0.2, "frequency_penalty": 0.3,
    }  # fmt: skip
    names = {"temperature": "temp", "repetition_penalty": "repeat-penalty"}
    flags = [f"--{names.get(name, name.replace('_', '-'))}={value}" for name, value in values.items()]
    found = json.loads(cli("generate", "-m", tiny, "-q", "--json", "-n", "5", "--seed", "7", *flags, "Hi").out)
    assert found["sampling"] == values
    assert found["seed"] == 7


def test_a_drawn_seed_is_told_and_repeats_the_answer(cli, tiny):
    first = cli("generate", "-m", tiny, "--temp", "1.5", "-n", "30", "Hi")
    seed = re.search(r"; temperature 1.5, seed (\d+)$", first.err.strip())[1]
    again = cli("generate", "-m", tiny, "--temp", "1.5", "-n", "30", "--seed", seed, "Hi")
    assert again.out == first.out
    other = cli("generate", "-m", tiny, "--temp", "1.5", "-n", "30", "--seed", int(seed) + 1, "Hi")
    assert other.out != first.out


@pytest.mark.parametrize(
    ("generation", "flags", "temperature"),
    [
        ({}, [], 0),
        ({}, ["--top-p", "0.9"], 1),
        ({}, ["--seed", "3"], 1),
        ({}, ["--temp", "0.3"], 0.3),
        ({"temperature": 0.6}, [], 0.6),
        ({"do_sample": True}, [], 1),
        ({"do_sample": False, "temperature": 0.6}, [], 0),
        ({"do_sample": False}, ["--temp", "0.3"], 0.3),
    ],
)
def test_what_is_not_given_is_the_models(cli, tiny, tmp_path, generation, flags, temperature):
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps(generation))
    found = json.loads(cli("generate", "-m", folder, "-q", "--json", "-n", "2", *flags, "Hi").out)
    assert found["sampling"]["temperature"] == temperature


def test_warnings_of_the_model(cli, tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "generation_config.json").write_text('{"num_beams": 4}')
    (line,) = (
        line
        for line in cli("generate", "-m", folder, "-n", "2", "Hi").err.splitlines()
        if line.startswith(f"warning: {folder}/generation_config.json: ")
    )
    assert "num_beams" in line
    assert cli("generate", "-m", folder, "-n", "2", "-q", "Hi").err == ""


def test_a_long_prompt_tells_its_progress(cli, tiny, monkeypatch):
    monkeypatch.setattr("inferno.cli.generate._LONG_PREFILL", 5e7)
    line = "Reading the prompt ("
    assert line in cli("generate", "-m", tiny, "-n", "2", "x" * 400).err
    assert line not in cli("generate", "-m", tiny, "-n", "2", "x").err
    assert line not in cli("generate", "-m", tiny, "-n", "2", "-q", "x" * 400).err


@pytest.mark.parametrize("fails", [False, True])
def test_the_progress_of_a_long_prompt_ends_before_the_text(cli, tiny, monkeypatch, fails):
    told: list[object] = []

    class Told(LineProgress):
        def start(self, label, total):
            told.append((label, total))

        def advance(self, amount):
            told.append(amount)
            if fails:
                raise KeyboardInterrupt

        def finish(self):
            told.append("finish")

    monkeypatch.setattr("inferno.cli.generate._LONG_PREFILL", 0.0)
    monkeypatch.setattr("inferno.cli.generate.stderr_progress", lambda quiet=False: Told(sys.stderr))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    result = cli("generate", "-m", tiny, "-n", "2", "--raw", "x" * 300)
    assert told == [("Reading the prompt (300 tokens)", 300), 256, *([] if fails else [44]), "finish"]
    assert result.code == (130 if fails else 0)


def test_control_codes_reach_no_terminal(cli, tmp_path, monkeypatch, capsys):
    folder = write_speaker(tmp_path / "m", "a\x1b[2Jb")
    assert cli("generate", "-m", folder, "-q", "Hi").out == "a\x1b[2Jb\n"
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    assert cli("generate", "-m", folder, "-q", "Hi").out == "a\\x1b[2Jb\n"


def test_the_demo_model_is_the_default(cli, demo_folder, monkeypatch):
    """DESIGN: with nothing but a prompt, a real model answers."""
    monkeypatch.setenv("INFERNO_CACHE", str(demo_folder.parent.parent))
    result = cli("generate", "What is gravity?", "-n", "12")
    assert result.code == 0
    assert result.out == "Gravity is a fundamental concept in physics that describes the curvature\n"
    said, load, closing = result.err.splitlines()
    assert re.search(r"; \d+ % of the measured memory bandwidth \([\d.]+ GB/s\); ", closing)
    assert said == "no model given (-m): using the demo model"
    assert load.startswith("SmolLM2-135M-Instruct: LlamaForCausalLM, 134.5M parameters, BF16 (269 MB); ")
    assert cli("generate", "-m", "demo", "-n", "1", "Hi").err.startswith("SmolLM2")


def test_a_run_is_set_beside_the_forecast(cli, speaker, monkeypatch):
    monkeypatch.setattr("inferno.hardware.cached.known_limits", lambda threads, isa: make_limits(threads))
    result = cli("generate", "-m", speaker, "--json", "Hi")
    forecast = json.loads(result.out)["metrics"]["forecast"]
    assert forecast["decode_expected"] > 0
    part = forecast["decode_measured"] / forecast["decode_expected"]
    assert f"; {100 * part:.0f} % of the forecast ({forecast['decode_expected']:.1f} tokens/s); " in result.err
    monkeypatch.setattr("inferno.hardware.cached.known_limits", lambda threads, isa: None)
    result = cli("generate", "-m", speaker, "--json", "Hi")
    assert json.loads(result.out)["metrics"]["forecast"] is None
    assert "forecast" not in result.err


def test_no_forecast_of_a_type_that_was_not_measured(monkeypatch):
    model = load_model(QUANTIZED / "w8a8_channel", ctx_size=64, threads=1)
    run: Any = SimpleNamespace(model=model)
    known = make_limits()
    monkeypatch.setattr("inferno.hardware.cached.known_limits", lambda threads, isa: known)
    assert compare_with_forecast(run, Metrics()) is None
    more = {"I8xI8": known.gemv["F32"]}
    known = make_limits(gemv={**known.gemv, **more}, gemm={**known.gemm, **more})
    assert compare_with_forecast(run, Metrics()) is not None
