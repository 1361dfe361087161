"""Text and HTML of an inspection: the same facts, at any width, from files that mean harm too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from containers import container, entry
from inferno.analysis import analyze_folder
from inferno.analysis.deep import deep_scan
from inferno.analysis.inspection import Inspection, inspect_report
from inferno.analysis.render import as_json, as_text, page
from inferno.analysis.render.escape import markup, printable
from inferno.analysis.render.sections import sections
from inferno.findings import Finding
from tiny import DEFAULT_CONFIG, write_tiny

HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x07",
    "\u202etxt.exe",
    "a\nb",
    "'\" onload=x",
    "&lt;",
    "\u4e2d\u6587" * 30,
]


class Checked(HTMLParser):
    """Fails for a tag that is not closed, and keeps what a reader would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.seen: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.seen.append(data)


@pytest.fixture(scope="module")
def tiny_inspection(tmp_path_factory) -> Inspection:
    return inspect_report(analyze_folder(write_tiny(tmp_path_factory.mktemp("m") / "tiny", dtype="BF16")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Inspection:
    """Tensors, a key and a folder with names that would like to be something else."""
    folder = tmp_path_factory.mktemp("m") / "<b>x\x1b[2J"
    folder.mkdir()
    config = {**DEFAULT_CONFIG, "rope_theta": 10000.0, "<i>key</i>\x1b": 1, "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    header = {name: entry("F32", [1, 2], 8 * i, 8 * i + 8) for i, name in enumerate(HOSTILE)}
    (folder / "model.safetensors").write_bytes(container(header, bytes(8 * len(HOSTILE))))
    report = analyze_folder(folder)
    shown = replace(report, findings=(*report.findings, Finding("note", "x", HOSTILE[0], HOSTILE[1], HOSTILE[2])))
    return replace(inspect_report(shown), deep=deep_scan(report))


def test_what_a_sound_model_is_told_to_be(tiny_inspection):
    text = as_text(tiny_inspection)
    for line in (
        "architecture   LlamaForCausalLM: 2 layers, hidden 64, 4 heads, 2 KV heads, head_dim 16, FFN 77",
        "RoPE           default, base 10000; context 512 tokens",
        "vocabulary     131 tokens; end of text: 2",
        "mapping        21 of 21 stored tensors have their place and shape",
        "head           untied: lm_head.weight is stored",
        "scheme         float",
    ):
        assert f"  {line}\n" in text
    weights = tiny_inspection.report.weight_bytes
    assert re.search(rf"weights +\d+ KB \({weights} bytes\) in 21 tensors\n", text)
    assert re.search(r"by role +mlp +\u2588+\S* +\d+ KB, \d+ %\n", text)
    assert re.search(r"\n  model\.safetensors +\d+ KB +21  ok\n", text)
    assert re.search(r"matmul +BF16 +matmul_f32_f32_bf16 +15 ", text)
    assert text.splitlines()[-1].startswith(f"tiny: {tiny_inspection.status}")
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_every_tensor_on_request(tiny_inspection):
    assert "model.layers.1.mlp.up_proj.weight" not in as_text(tiny_inspection)
    text = as_text(tiny_inspection, tensors=True)
    for tensor in tiny_inspection.report.tensors:
        shape = re.escape(str(list(tensor.shape)))
        assert re.search(rf"{re.escape(tensor.name)} +BF16 +{shape} +{tensor.nbytes}  {tensor.role} +model.saf", text)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("which", ["tiny_inspection", "hostile"])
def test_lines_fit_the_terminal(request, which, width):
    from rich.cells import cell_len

    text = as_text(request.getfixturevalue(which), width=width, tensors=True)
    body = text.splitlines()[:-1]
    assert max(map(cell_len, body)) <= width


def test_a_narrow_terminal_gets_all_the_same(tiny_inspection):
    text = as_text(tiny_inspection, width=24)
    assert "kernel: " in text
    assert "embedding_f32_bf16" in text


def test_colors_are_nothing_but_colors(tiny_inspection, hostile):
    for inspection in (tiny_inspection, hostile):
        colored = as_text(inspection, color=True)
        assert "\x1b[1m" in colored
        assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == as_text(inspection)


def test_a_hostile_model_steers_nothing(hostile):
    text = as_text(hostile, tensors=True)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\u001b[31mred" in text
    assert "\\u202e" in text
    html = page(hostile, tensors=True)
    assert all(character.isprintable() or character == "\n" for character in html)
    checked = Checked(html)
    assert checked.tags <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "p", "b", "code"),
        *("dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "div", "i", "ul", "li"),
        *("figure", "figcaption", "span", "svg", "rect", "line", "text"),
    }
    assert not any(name.startswith("on") for name in checked.attributes)
    seen = "".join(checked.seen)
    for name in ("<script>alert(1)</script>", "<b>x\\x1b[2J"):
        assert name in seen
    assert json.loads(json.dumps(as_json(hostile)))["name"] == "<b>x\x1b[2J"


def test_the_page_needs_nothing_else(tiny_inspection):
    html = page(tiny_inspection)
    assert html.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in html
    for foreign in ("<script", "<link", "<img", "src=", "href=", "url(", "@import", "http:", "https:"):
        assert foreign not in html
    assert "prefers-color-scheme:dark" in html


def test_text_and_page_tell_the_same(tiny_inspection, hostile):
    for inspection in (tiny_inspection, hostile):
        seen = "".join(Checked(page(inspection)).seen)
        for section in sections(inspection):
            assert section.title in seen
            for block in section.blocks:
                for row in getattr(block, "rows", ()):
                    for cell in row:
                        assert not isinstance(cell, str) or printable(cell) in seen, cell
        for finding in inspection.findings:
            for part in (finding.code, finding.where, finding.message, finding.repair):
                assert printable(part) in seen


def test_the_picture_stacks_every_byte(tiny_inspection):
    html = page(tiny_inspection)
    titles = re.findall(r"<title>([^<]*), (\w+): ", html.split("<svg")[1])
    assert ("layer 0", "attention") in titles
    assert ("layer 1", "mlp") in titles
    assert ("embedding", "embedding") in titles
    assert ("after the layers", "head") in titles
    heights = {
        (place, role): float(height)
        for height, place, role in re.findall(r'height="([\d.]+)"><title>([^<]*), (\w+): ', html)
    }
    by_role: dict[str, int] = {}
    for tensor in tiny_inspection.report.tensors:
        if tensor.layer == 1:
            by_role[tensor.role] = by_role.get(tensor.role, 0) + tensor.nbytes
    scale = heights["layer 1", "mlp"] / by_role["mlp"]
    assert heights["layer 1", "attention"] == pytest.approx(scale * by_role["attention"], abs=0.02)


def test_many_tensors(tmp_path):
    """Twenty thousand tensors in five thousand layers: columns are shared, rows are counted, nothing is lost."""
    count = 20_000
    names = [f"model.layers.{i // 4}.mlp.{'abcd'[i % 4]}.weight" for i in range(count)]
    header = {name: entry("F16", [1, 2], 4 * i, 4 * i + 4) for i, name in enumerate(names)}
    (tmp_path / "model.safetensors").write_bytes(container(header, bytes(4 * count)))
    (tmp_path / "config.json").write_text(json.dumps({**DEFAULT_CONFIG, "rope_theta": 1e4}))
    inspection = inspect_report(analyze_folder(tmp_path))
    html = page(inspection)
    assert html.count("<rect") <= 128
    assert len(html) < 60_000
    assert len(as_text(inspection).splitlines()) < 60
    text = as_text(inspection, width=80, tensors=True)
    assert sum(line.startswith("  model.layers.") for line in text.splitlines()) == count
    assert len(as_json(inspection)["tensors"]) == count


def test_layers_that_are_numbered_wildly(tmp_path):
    header = {f"model.layers.{n}.mlp.up_proj.weight": entry("F16", [1, 2], 0, 4) for n in (999_999_999,)}
    (tmp_path / "model.safetensors").write_bytes(container(header, bytes(4)))
    (tmp_path / "config.json").write_text("{}")
    assert "layer 999999999, mlp" in page(inspect_report(analyze_folder(tmp_path)))


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_folders_with_little_in_them(tmp_path, content):
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    inspection = inspect_report(analyze_folder(tmp_path))
    text = as_text(inspection)
    assert text.splitlines()[-1].startswith(f"{tmp_path.name}: cannot run (")
    Checked(page(inspection))
    assert inspection.plan is None


def test_missing_and_truncated_files_are_told_apart(tmp_path):
    write_tiny(tmp_path)
    raw = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model-00001-of-00003.safetensors").write_bytes(raw)
    (tmp_path / "model-00002-of-00003.safetensors").write_bytes(raw[:-10])
    text = as_text(inspect_report(analyze_folder(tmp_path)))
    assert re.search(r"model-00001-of-00003\.safetensors +\d+ KB +21  ok\n", text)
    assert re.search(r"model-00002-of-00003\.safetensors +\d+ KB +-  must be .* truncated, 10 bytes are missing", text)
    assert re.search(r"model-00003-of-00003\.safetensors +- +-  missing\n", text)


def test_a_mapping_with_faults_names_the_nearest(tmp_path):
    write_tiny(tmp_path)
    raw = (tmp_path / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header["model.norn.weight"] = header.pop("model.norm.weight")
    (tmp_path / "model.safetensors").write_bytes(container(header, raw[8 + size :]))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 78}))
    text = as_text(inspect_report(analyze_folder(tmp_path)))
    assert "missing        1 tensor: model.norm.weight\n" in text
    assert "unexpected     1 tensor: model.norn.weight\n" in text
    assert "nearest        model.norn.weight may be meant for model.norm.weight\n" in text
    assert "misshapen      6 tensors: model.layers.0.mlp.gate_proj.weight is [77, 64], not [78, 64]" in text
    assert "mapping        14 of 21 stored tensors have their place and shape\n" in text


def test_tensors_in_several_shards(tmp_path):
    """One error and one line for all of them."""
    write_tiny(tmp_path)
    raw = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    for number in (1, 2):
        (tmp_path / f"model-{number:05d}-of-00002.safetensors").write_bytes(raw)
    inspection = inspect_report(analyze_folder(tmp_path))
    assert len(inspection.report.duplicated) == 21
    (error,) = inspection.report.errors
    assert f"{error.message}; {error.repair}" == (
        "tensor model.embed_tokens.weight must be in one shard; got it in model-00001-of-00002.safetensors and "
        "model-00002-of-00002.safetensors (20 more tensors are in several); keep only the files that "
        "model.safetensors.index.json names"
    )
    assert "duplicated     21 tensors: model.embed_tokens.weight, " in as_text(inspection)
    assert len(as_json(inspection)["mapping"]["duplicated"]) == 21


def test_a_notebook_shows_the_report(tmp_path):
    report = analyze_folder(write_tiny(tmp_path / "m"))
    html = report._repr_html_()
    checked = Checked(html)
    assert not {"On this machine", "Files", "Tensors"} & set(checked.seen)
    assert "mapping" in checked.seen
    assert html.count("<svg") == 1
    # rules that reach no further than their own output
    rules = re.sub(r"@media[^{]*\{(.*?\})\}", r"\1", re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1])
    for selector in re.findall(r"([^{}]+)\{", rules):
        assert all(part.strip().startswith(".inferno") for part in selector.split(",")), selector


def test_analysis_alone_loads_no_face():
    code = "import sys, inferno.analysis; print([m for m in sys.modules if 'render' in m or m.startswith('rich')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "[]\n"


def test_escapes():
    assert printable("a\x1b\x9b\u202e\U000e0001\udc80") == "a\\x1b\\x9b\\u202e\\U000e0001\\udc80"
    assert printable("caf\xe9 \u4e2d") == "caf\xe9 \u4e2d"
    assert markup("<a href='x'>&\"\n") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;\\x0a"


def test_findings_are_sorted_and_told_once(tmp_path):
    report = analyze_folder(write_tiny(tmp_path))
    note, warning = Finding("note", "n", "a", "b"), Finding("warning", "w", "a", "b", "c")
    inspection = Inspection(replace(report, findings=(note, warning, note)))
    assert inspection.findings == (warning, note)
    assert inspection.status == "needs attention"
    text = as_text(inspection)
    assert "  warning  a: b\n           -> c\n  note     a: b\n" in text
    assert text.endswith(": needs attention (1 warning, 1 note)\n")


@pytest.mark.parametrize("name", ["gptq", "int-quantized"])
def test_quantized_models_show_their_evidence(tmp_path, name):
    suffixes = {
        "gptq": {"qweight": "I32", "qzeros": "I32", "scales": "F16", "g_idx": "I32"},
        "int-quantized": {"weight": "I8", "weight_scale": "BF16"},
    }[name]
    header, end = {}, 0
    for suffix, dtype in suffixes.items():
        nbytes = {"I32": 4, "F16": 2, "BF16": 2, "I8": 1}[dtype]
        header[f"model.layers.0.mlp.up_proj.{suffix}"] = entry(dtype, [1, 1], end, end + nbytes)
        end += nbytes
    (tmp_path / "model.safetensors").write_bytes(container(header, bytes(end)))
    method = {"gptq": "gptq", "int-quantized": "compressed-tensors"}[name]
    config = {**DEFAULT_CONFIG, "rope_theta": 1e4, "quantization_config": {"quant_method": method}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = as_text(inspect_report(analyze_folder(tmp_path)))
    assert f"scheme         {name}\n" in text
    assert f'evidence       quantization_config: quant_method "{method}"\n' in text
    assert f"-> {name}\n" in text
    assert "cannot run" in text.splitlines()[-1]


def test_metas_layout_shows_both_names(tmp_path):
    from meta_writer import write_meta
    from tiny import stored_tensors, tiny_config

    config = tiny_config({"intermediate_size": 128, "vocab_size": 128})
    folder = write_meta(tmp_path / "m", stored_tensors(config, "BF16", 0), config, "BF16", shards=2)
    text = as_text(inspect_report(analyze_folder(folder)), tensors=True)
    assert "layout         Meta\n" in text
    assert re.search(r"q_proj\.weight +layers\.0\.attention\.wq\.weight +BF16 .*consolidated\.00\.pth, cons", text)
