"""What `generate` cannot do: one error that says what, where and what to do; exit code 1 or 2; nothing on stdout."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers import container

WEIGHTS = "model.safetensors"


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return edit


def edit_header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Rewrites the weights' header; the data stay as they are."""

    def edit(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        change(header)
        (folder / WEIGHTS).write_bytes(container(header, raw[8 + size :]))

    return edit


def edit_entry(name: str, **changes: Any) -> Callable[[Path], None]:
    return edit_header(lambda header: header[name].update(changes))


def renamed(old: str, new: str) -> Callable[[Path], None]:
    def change(header: dict[str, Any]) -> None:
        entries = [(new if name == old else name, entry) for name, entry in header.items()]
        header.clear()
        header.update(entries)

    return edit_header(change)


def remove(*names: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return edit


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])


def shards(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def gguf(folder: Path) -> None:
    remove(WEIGHTS, "config.json")(folder)
    (folder / "m.gguf").write_bytes(b"GGUF")


def adapter(folder: Path) -> None:
    remove(WEIGHTS)(folder)
    write("adapter_config.json", b'{"base_model_name_or_path": "org/base"}')(folder)
    write("adapter_model.safetensors", b"x")(folder)


def pickled(folder: Path) -> None:
    remove(WEIGHTS)(folder)
    write("pytorch_model.bin", b"x")(folder)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
NORM = "model.norm.weight"
ROPE = {"rope_type": "yarn2", "rope_theta": 1e4}
CASES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no config": (remove("config.json"), ["{folder}: must hold config.json", "a model folder holds"]),
    "no weights": (remove(WEIGHTS), ["{folder}: must hold weights", "a model folder holds"]),
    "no tokenizer": (remove("tokenizer.json"), ["{folder}/tokenizer.json: must exist", "Download"]),
    "LFS pointer": (write(WEIGHTS, POINTER), ["{folder}/model.safetensors", "Git-LFS pointer", "git lfs pull"]),
    "truncated": (truncate, ["{folder}/model.safetensors", "download"]),
    "header too long": (
        write(WEIGHTS, (100_000_001).to_bytes(8, "little") + b"{" * 64),
        ["{folder}/model.safetensors", "header"],
    ),
    "header not JSON": (write(WEIGHTS, container(b"{nope}")), ["{folder}/model.safetensors", "header", "JSON"]),
    "hole": (edit_entry(NORM, data_offsets=[4, 260]), ["{folder}/model.safetensors"]),
    "negative offset": (edit_entry(NORM, data_offsets=[-4, 252]), ["{folder}/model.safetensors", NORM, "-4"]),
    "overflow": (edit_entry(NORM, shape=[2**62, 2**62]), ["{folder}/model.safetensors", NORM]),
    "overlap": (
        edit_header(lambda header: header.update({NORM: header["model.layers.0.input_layernorm.weight"]})),
        ["{folder}/model.safetensors"],
    ),
    "missing shard": (shards, ["{folder}", "model-00001-of-00001.safetensors"]),
    "missing tensor": (
        edit_config(num_hidden_layers=3),
        ["{folder}: tensors must match config.json; missing model.layers.2."],
    ),
    "misnamed tensor": (
        renamed(NORM, "model.norn.weight"),
        ["missing model.norm.weight (is model.norn.weight meant for model.norm.weight?)", "unexpected"],
    ),
    "misshapen tensor": (
        edit_config(intermediate_size=78),
        ["mlp.gate_proj.weight must be [78, 64]; got [77, 64] in model.safetensors"],
    ),
    "unknown dtype": (edit_entry(NORM, dtype="Q4"), ["{folder}/model.safetensors", NORM, "dtype", "Q4"]),
    "dtype that cannot run": (edit_entry(NORM, dtype="I32"), ["{folder}/model.safetensors: dtype of", "got I32"]),
    "architecture": (
        edit_config(architectures=["MistralForCausalLM"], model_type="mistral"),
        ['{folder}/config.json: model_type must be "llama"', 'got "mistral"'],
    ),
    "activation": (edit_config(hidden_act="gelu"), ['{folder}/config.json: hidden_act must be "silu"; got "gelu"']),
    "rope type": (edit_config(rope_parameters=ROPE), ["{folder}/config.json: rope", "yarn2"]),
    "quantized": (
        edit_config(quantization_config={"quant_method": "torchao"}),
        ["{folder}/config.json: quantization_config: quant_method must be one of", '"torchao"', "get the model in"],
    ),
    "config not JSON": (write("config.json", b"{"), ["{folder}/config.json: must be JSON"]),
    "GGUF": (gguf, ["{folder}/m.gguf: must be safetensors; got a GGUF file; import it with `inferno import"]),
    "adapter": (adapter, ["{folder}: must hold a whole model; got a LoRA adapter", "merge"]),
    "pickle": (pickled, ["{folder}/pytorch_model.bin: must be safetensors", "download"]),
    "broken template": (write("chat_template.jinja", b"{% if %}"), ["{folder}/chat_template.jinja"]),
}


@pytest.mark.parametrize("case", CASES)
def test_models_that_cannot_run(cli, tiny, tmp_path, case):
    folder = shutil.copytree(tiny, tmp_path / "m")
    edit, fragments = CASES[case]
    edit(folder)
    result = cli("generate", "-q", "-m", folder, "Hi")
    assert (result.code, result.out) == (1, "")
    for fragment in fragments:
        assert fragment.format(folder=folder) in result.error


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "/no/such/model", "Hi"], 1, "/no/such/model: no such folder"),
        (["-m", "no-such-model", "Hi"], 1, "'no-such-model' is no folder in "),
        (["-m", "", "Hi"], 2, "model must be a folder, a Hugging Face id or 'demo'; got an empty name"),
        (["--revision", "x", "Hi"], 2, "revision must be left out"),
        (["--temp", "nan", "Hi"], 2, "SamplingParams: temperature must be a finite number at least 0; got nan"),
        (["--temp", "-1", "Hi"], 2, "SamplingParams: temperature must be a finite number at least 0; got -1.0"),
        (["--temp", "warm", "Hi"], 2, "argument --temp/--temperature: must be a number; got 'warm'"),
        (["--top-p", "0", "Hi"], 2, "SamplingParams: top_p must be a finite number above 0 and at most 1; got 0"),
        (["--top-k", "-2", "Hi"], 2, "SamplingParams: top_k must be an integer from -1 to 2147483647; got -2"),
        (["--top-k", "1.5", "Hi"], 2, "argument --top-k: must be an integer; got '1.5'"),
        (["--min-p", "2", "Hi"], 2, "SamplingParams: min_p must be a finite number at least 0 and at most 1; got 2"),
        (["--repeat-penalty", "0", "Hi"], 2, "SamplingParams: repetition_penalty must be a finite number above 0;"),
        (["--repeat-penalty", "1e300", "Hi"], 2, "repetition_penalty must be above 0, finite and within float32"),
        (["--presence-penalty", "3", "Hi"], 2, "SamplingParams: presence_penalty must be a finite number at least -2"),
        (["--frequency-penalty", "inf", "Hi"], 2, "SamplingParams: frequency_penalty must be a finite number"),
        (["--seed", "-1", "Hi"], 2, "SamplingParams: seed must be an integer from 0 to 18446744073709551615; got -1"),
        (["--seed", str(2**64), "Hi"], 2, "SamplingParams: seed must be an integer from 0 to 18446744073709551615;"),
        (["--stop", "", "Hi"], 2, "SamplingParams: stop must be a text that is not empty"),
        (["-n", "0", "Hi"], 2, "SamplingParams: max_tokens must be an integer of at least 1; got 0"),
        (["-c", "0", "Hi"], 2, "ctx_size: must be from 1 to"),
        (["-c", "x", "Hi"], 2, "argument -c/--ctx-size/--max-model-len: must be a number of tokens, like 4096 or 4k;"),
        (["-c", "8", "Hello there"], 1, "prompt: must be at most 7 tokens, one less than the context; got"),
        (["-t", "0", "Hi"], 2, "threads: must be from 1 to"),
        (["--kv-cache-type", "q4", "Hi"], 2, "kv_cache_type: must be one of f32, f16, bf16; got 'q4'"),
        (["--isa", "avx9", "Hi"], 1, "isa=avx9: this CPU has no avx9 in this build; it can run scalar"),
        (["--date", "1.2.2026", "Hi"], 2, "argument --date: must be a date like 2026-01-31; got '1.2.2026'"),
        (["--raw", "-s", "Be brief", "Hi"], 2, "--system: must come with a chat template; --raw is given; leave it"),
        (["--raw", "--date", "2026-01-31", "Hi"], 2, "--date: must come with a chat template; --raw is given"),
        ([], 2, 'prompt: must be given: inferno generate "What is gravity?", or -p, or through a pipe'),
        (["Hi", "-p", "Ho"], 2, "prompt: must be given once; got it both as an argument and with -p"),
        (["--raw", ""], 2, "prompt: must hold at least one token; got none"),
        (["\udcff"], 1, "prompt: must be valid text in UTF-8; got byte 0xff at character 0"),
        (["\ud800"], 1, "prompt: must be valid text in UTF-8; got a lone surrogate at character 0"),
        (["--tmp", "0"], 2, "unrecognized arguments: --tmp; see inferno --help"),
        (["Hi", "Ho"], 2, "unrecognized arguments: Ho; see inferno --help"),
    ],
)
def test_calls_that_cannot_be(cli, tiny, arguments, code, message):
    model = [] if "-m" in arguments else ["-m", tiny]
    result = cli("generate", "-q", *model, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.error


def test_a_system_message_without_a_template(cli, plain):
    result = cli("generate", "-q", "-m", plain, "-s", "Be brief", "Hi")
    assert result.code == 2
    assert result.error == "--system: must come with a chat template; plain has none; leave it out"


@pytest.mark.parametrize(
    ("stdin", "code", "message"),
    [
        (b"ab\xffcd", 1, "standard input: must be UTF-8; got byte 0xff at offset 2; convert it first"),
        (b"\xf0\x9f", 1, "standard input: must be UTF-8; got byte 0xf0 at offset 0"),
        (b"", 2, "standard input: must hold a prompt; got nothing"),
        (b"x" * ((64 << 20) + 1), 1, "standard input: must be a prompt of at most 64 MB; got more"),
    ],
    ids=["invalid", "cut", "empty", "endless"],
)
@pytest.mark.parametrize("arguments", [[], ["-"], ["-p", "-"]])
def test_stdin_that_is_no_prompt(cli, tiny, stdin, code, message, arguments):
    result = cli("generate", "-q", "-m", tiny, *arguments, stdin=stdin)
    assert (result.code, result.out) == (code, "")
    assert message in result.error


def test_no_network_for_a_hub_id(cli, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        result = cli("generate", "-q", "-m", "some-org/some-model", "Hi")
    assert (result.code, result.out) == (1, "")
    assert "some-org/some-model" in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB; see inferno --help"),
        (["sing"], "argument VERB: invalid choice: 'sing' (choose from "),
        (["--quiet"], "unrecognized arguments: --quiet"),
    ],
)
def test_no_such_verb(cli, arguments, message):
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "see inferno --help" in result.error
    if arguments != ["--quiet"]:
        assert message in result.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("boom"), "unexpected RuntimeError: boom; run it again with --debug to see where"),
        (MemoryError(), "not enough memory; try a smaller context (-c)"),
    ],
)
def test_the_unexpected_is_one_line_too(cli, tiny, monkeypatch, error, message):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("inferno.engine.llm.LLM.__init__", fails)
    result = cli("generate", "-q", "-m", tiny, "Hi")
    assert result.code == 1
    assert message in result.error


def test_debug_shows_where(cli, monkeypatch):
    result = cli("generate", "-q", "--debug", "-m", "/no/such/model", "Hi")
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("inferno: error: /no/such/model: no such folder")
    monkeypatch.setenv("INFERNO_DEBUG", "1")
    assert cli("generate", "-q", "-m", "/no/such/model", "Hi").err.splitlines()[0] == lines[0]


def test_control_codes_in_a_message_are_shown(cli):
    assert "/a\\x1b[2Jb: no such folder" in cli("generate", "-q", "-m", "/a\x1b[2Jb", "Hi").error
