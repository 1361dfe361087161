"""`inferno inspect` as it is called: what it prints where, its exit codes, and that it agrees with a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
from dataclasses import replace

import pytest

from containers import write_f32
from fake_limits import make_limits, rate
from meta_writer import write_meta
from model_edits import edit_bytes, edit_config, edit_entry, edit_json, remove, rename_tensor, write
from quantized_cases import QUANTIZED
from terminals import on_terminal
from tiny import stored_tensors, tiny_config, write_tiny


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    """What a machine can do is not measured for a test."""
    monkeypatch.setenv("INFERNO_NO_FORECAST", "1")


def test_text_on_stdout_and_nothing_else(cli, tiny):
    result = cli("inspect", tiny)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Model\n")
    assert result.out.splitlines()[-1].startswith("tiny: ready")
    assert "Forecast" not in result.out


@pytest.mark.parametrize("form", ["argument", "-m", "variable", "both"])
def test_ways_to_name_the_model(cli, tiny, monkeypatch, form):
    arguments = {"argument": [tiny], "-m": ["-m", tiny], "variable": [], "both": [tiny]}[form]
    if form in ("variable", "both"):
        monkeypatch.setenv("INFERNO_MODEL", str(tiny) if form == "variable" else "/elsewhere")
    assert json.loads(cli("inspect", "--json", *arguments).out)["path"] == str(tiny)


def test_two_models_at_once(cli, tiny):
    result = cli("inspect", tiny, "-m", "other")
    assert result.code == 2
    assert result.error == f"MODEL: must be given once; got '{tiny}' and -m 'other'"


def test_no_model_is_the_demo(cli, demo_folder, monkeypatch):
    monkeypatch.setenv("INFERNO_CACHE", str(demo_folder.parent.parent))
    result = cli("inspect")
    assert result.code == 0
    assert result.err == "no model given (-m): using the demo model\n"
    assert "LlamaForCausalLM: 30 layers, hidden 576, 9 heads, 3 KV heads" in result.out
    assert cli("inspect", "-q").err == ""


def test_flags_reach_the_plan(cli, tiny):
    arguments = ["-t", "1", "-c", "64", "--kv-cache-type", "f32", "--isa", "scalar"]
    plan = json.loads(cli("inspect", tiny, "--json", *arguments).out)["plan"]
    assert (plan["threads"], plan["ctx_size"], plan["kv_cache_type"], plan["isa"]) == (1, 64, "f32", "scalar")


def test_tensors_on_request(cli, tiny):
    assert "\nTensors\n" not in cli("inspect", tiny).out
    assert re.search(r"\n  lm_head\.weight +F32 +\[320, 64\] +81920  head ", cli("inspect", tiny, "--tensors").out)


def test_a_page(cli, tiny, tmp_path):
    page = tmp_path / "page.html"
    result = cli("inspect", tiny, "--html", page)
    assert (result.code, result.out, result.err) == (0, "", f"{page}: written\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.glob("*page*")] == ["page.html"]
    result = cli("inspect", tiny, "--html", page, "--json", "-q")
    assert (json.loads(result.out)["name"], result.err) == ("tiny", "")


def test_a_page_that_cannot_be_written(cli, tiny, tmp_path):
    result = cli("inspect", tiny, "--html", tmp_path / "absent" / "page.html")
    assert result.code == 1
    assert (
        result.error == f"{tmp_path}/absent/page.html: cannot be written: No such file or directory; give another file"
    )


def test_deep(cli, tiny):
    result = cli("inspect", tiny, "--deep")
    assert re.fullmatch(r"Reading every weight of tiny \(\d+ KB\)\n", result.err)
    assert re.search(r"SHA-256 +model\.safetensors: [0-9a-f]{64} \(not checked: no link into a hub cache\)", result.out)
    assert cli("inspect", tiny, "--deep", "-q").err == ""


def test_the_tokenizer_on_request(cli, tiny):
    result = cli("inspect", tiny, "--tokenizer")
    assert result.code == 0
    assert re.fullmatch(r"tiny: the tokenizer works: [0-9]+ tokens; .+\n", result.err)
    words, others = (re.sub("[0-9]+", "0", out) for out in (result.out, cli("inspect", tiny).out))
    assert words == others  # free memory is another each time
    assert cli("inspect", tiny, "--tokenizer", "-q").err == ""


def doubled(built):
    vocabulary = built["model"]["vocab"]
    first, second, *_ = vocabulary
    vocabulary[first] = vocabulary[second]


@pytest.mark.parametrize(
    ("edit", "where", "message"),
    [
        (write("chat_template.jinja", b"{{ nothing.at_all }}"), "chat_template.jinja", "'nothing' is undefined"),
        (edit_json("tokenizer.json", change=lambda t: t["model"].update(dropout=float("nan"))), "tokenizer.json", ""),
        (edit_json("tokenizer.json", change=lambda t: t.update(pre_tokenizer={"type": {}})), "tokenizer.json", ""),
        (edit_json("tokenizer.json", change=doubled), "tokenizer.json", "every entry of the vocabulary must have an"),
    ],
    ids=["template", "NaN", "type", "one id twice"],
)
def test_what_only_building_the_tokenizer_shows(cli, tiny, tmp_path, edit, where, message):
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    edit(folder)
    assert json.loads(cli("inspect", folder, "--json").out)["status"] == "ready"
    result = cli("inspect", folder, "--json", "--tokenizer")
    assert (result.code, result.err) == (0, "")
    shown = json.loads(result.out)
    assert shown["status"] == "needs attention"
    (finding,) = [finding for finding in shown["findings"] if finding["code"] == "tokenizer-broken"]
    assert finding["severity"] == "warning"
    assert finding["where"].startswith(str(folder / where))
    assert finding["message"].startswith(message)
    assert "tokenizer-broken" in cli("inspect", folder, "--tokenizer", "--html", "-").out


def test_a_template_that_does_not_compile_is_told_once(cli, tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text("{% if %}")
    findings = json.loads(cli("inspect", folder, "--json", "--tokenizer").out)["findings"]
    (where,) = [finding["where"] for finding in findings if "chat_template.jinja" in finding["where"]]
    assert where == f"{folder / 'chat_template.jinja'}, line 1"


def test_a_broken_tokenizer_file_is_told_once(cli, tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / "tokenizer_config.json").write_text('{"bos_token": "\\ud800"}')
    plain = json.loads(cli("inspect", folder, "--json").out)["findings"]
    assert [finding["code"] for finding in plain].count("text-file-broken") == 1
    assert json.loads(cli("inspect", folder, "--json", "--tokenizer").out)["findings"] == plain


def test_the_forecast_is_of_what_was_measured(cli, tiny, monkeypatch):
    """Measured once, then taken from the cache; measured again when asked."""
    monkeypatch.delenv("INFERNO_NO_FORECAST")
    asked = []

    def measure(key, progress):
        asked.append(key)
        return make_limits(key=key)

    monkeypatch.setattr("inferno.hardware.measuring.measure", measure)
    for arguments, measurements in ([], 1), ([], 1), (["--measure"], 2), (["--no-forecast"], 2), (["-t", "1"], 3):
        result = cli("inspect", tiny, "--isa", "scalar", "-t", "2", *arguments)
        assert (result.code, result.err) == (0, "")
        assert ("\nForecast\n" in result.out) == (arguments != ["--no-forecast"])
        assert len(asked) == measurements
    assert "10.0 GB/s read, 100.0 G multiply-adds/s; 1 thread of scalar" in result.out


def test_a_type_of_codes_is_measured_for_the_model_that_has_it(cli, monkeypatch):
    monkeypatch.delenv("INFERNO_NO_FORECAST")
    asked = []

    def measure_types(known, types, progress):
        asked.append(types)
        more = {name: {256: rate(1e9)} for name in types}
        return replace(known, gemv={**known.gemv, **more}, gemm={**known.gemm, **more})

    monkeypatch.setattr("inferno.hardware.measuring.measure", lambda key, progress: make_limits(key=key))
    monkeypatch.setattr("inferno.hardware.measuring.measure_types", measure_types)
    for name in "w8a8_channel", "w8a8_channel", "w4a16_group":
        result = cli("inspect", QUANTIZED / name, "--isa", "scalar", "-t", "1")
        assert result.code == 0
        assert ("G multiply-adds/s, 200.0 G of int8; 1 thread" in result.out) == (name == "w8a8_channel")
        assert "\nForecast\n" in result.out
    assert asked == [["I8xI8"], ["U4"]]


BROKEN = {
    "no config": remove("config.json"),
    "config not JSON": write("config.json", b"{"),
    "no weights": remove("model.safetensors"),
    "truncated": edit_bytes(lambda raw: raw[:-4]),
    "too long": edit_bytes(lambda raw: raw + b"1234"),
    "LFS pointer": write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"),
    "misnamed": rename_tensor("model.norm.weight", "model.norn.weight"),
    "misshapen": edit_config(intermediate_size=78),
    "missing tensors": edit_config(num_hidden_layers=3),
    "a type that cannot run": edit_entry("model.norm.weight", dtype="I32"),
    "another model": edit_config(model_type="mistral", architectures=["MistralForCausalLM"]),
    "quantized": edit_config(quantization_config={"quant_method": "gptq", "bits": 4}),
    "rope": edit_config(rope_parameters={"rope_type": "yarn2", "rope_theta": 1e4}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_run_fails_with_the_words_of_inspect(cli, tiny, tmp_path, case):
    folder = shutil.copytree(tiny, tmp_path / "m")
    BROKEN[case](folder)
    told = cli("generate", "-q", "-m", folder, "Hi").error
    result = cli("inspect", folder, "--json")
    assert (result.code, result.err) == (1, "")
    found = json.loads(result.out)
    assert found["status"] == "cannot run"
    assert found["findings"][0]["severity"] == "error"
    assert found["findings"][0]["text"] == told
    text = cli("inspect", folder)
    assert (text.code, text.err) == (1, "")
    # the repair stands on a line of its own
    assert f"  error    {told}\n" in text.out.replace("\n           -> ", "; ")
    assert text.out.splitlines()[-1].startswith("m: cannot run (")


def test_a_context_that_does_not_fit_fails_alike(cli, tiny):
    told = cli("generate", "-q", "-m", tiny, "-c", str(1 << 24), "Hi")
    result = cli("inspect", tiny, "-c", str(1 << 24), "--json")
    found = json.loads(result.out)
    errors = [finding["text"] for finding in found["findings"] if finding["severity"] == "error"]
    assert (told.code, result.code) == ((1, 1) if errors else (0, 0))
    for text in errors:
        assert re.sub(r"[\d.]+", "N", text) == re.sub(r"[\d.]+", "N", told.error)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["/no/such/model"], 1, "/no/such/model: no such folder"),
        (["no-such-model"], 1, "'no-such-model' is no folder in "),
        (["--isa", "mmx"], 1, "isa"),
        (["-t", "0"], 2, "threads"),
        (["-c", "0"], 2, "ctx_size: must be from 1 to"),
        (["--kv-cache-type", "f8"], 2, "kv_cache_type: must be one of f32, f16, bf16; got 'f8'"),
        (["--deeper"], 2, "unrecognized arguments: --deeper"),
    ],
)
def test_what_cannot_be_asked(cli, tiny, arguments, code, message):
    model = [] if arguments[0].startswith(("/", "no")) else [tiny]
    result = cli("inspect", *model, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.error


def test_other_kinds_of_folders(cli, tmp_path):
    """Whatever lies there: an answer, and no traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "m.gguf").write_bytes(b"GGUF")
    config = tiny_config({"intermediate_size": 128, "vocab_size": 128})
    write_meta(tmp_path / "meta", stored_tensors(config, "BF16", 0), config, "BF16")
    (tmp_path / "bare").mkdir()
    write_f32(tmp_path / "bare" / "model.safetensors", {"a": (2, 2)})
    expected = {
        "empty": (1, "config.json"),
        "gguf": (1, "must be safetensors; got a GGUF file"),
        "meta": (0, "layout         Meta"),
        "bare": (1, "must hold config.json"),
    }
    for name, (code, words) in expected.items():
        result = cli("inspect", tmp_path / name)
        assert (result.code, result.err) == (code, ""), name
        assert words in result.out, name


def test_a_terminal_gets_colors_within_its_width(tmp_path):
    folder = write_tiny(tmp_path / "a\x1b[2Jb")
    text = on_terminal([sys.executable, "-m", "inferno", "inspect", str(folder)], 70)
    assert "\x1b[1mModel\x1b[0m" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in plain
    assert "\na\\x1b[2Jb: " in plain
    assert max(map(len, plain.splitlines())) <= 70


def test_a_page_to_stdout_through_a_link_and_into_a_pipe(cli, tiny, tmp_path):
    result = cli("inspect", tiny, "--html", "-")
    assert result.out.startswith("<!DOCTYPE html>")
    (tmp_path / "link").symlink_to(tmp_path / "page.html")
    assert cli("inspect", tiny, "--html", tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    assert cli("inspect", tiny, "--html", tmp_path / "pipe").code == 0
    reader.join()
    assert read[0].startswith("<!DOCTYPE html>")
    assert (tmp_path / "pipe").is_fifo()
