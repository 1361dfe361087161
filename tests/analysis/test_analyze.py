"""A report of what lies in a folder: totals, roles, layouts, and all faults at once. The zoo has every fault alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno import LLM
from inferno.analysis import analyze, analyze_folder
from inferno.analysis.roles import ROLES, layer_of, role_of
from inferno.config import LlamaConfig
from inferno.errors import CheckpointError, ModelNotFoundError
from inferno.models.llama import expected_tensors
from meta_writer import NAMES, write_meta
from model_edits import (
    INDEX,
    WEIGHTS,
    add_tensor,
    drop_tensors,
    edit_bytes,
    edit_config,
    remove,
    shard,
    to_shards,
    write,
)
from tiny import stored_tensors, tensor_shapes, tiny_config, write_tiny

NORM = "model.norm.weight"
INV_FREQ = "model.layers.0.self_attn.rotary_emb.inv_freq"
# 64 wide, 77 inside, 131 tokens, 4 heads over 2 of keys and values.
PER_LAYER = 2 * 64 + 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 77 * 64
PARAMETERS = 2 * 131 * 64 + 2 * PER_LAYER + 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m", dtype="BF16", tokenizer=True, config={"vocab_size": 320})


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m", dtype="BF16")


def test_a_good_model(folder: Path) -> None:
    report = analyze_folder(folder)
    assert (report.path, report.name, report.layout, report.status) == (folder, "m", "huggingface", "ready")
    assert report.errors == ()
    assert report.config == LlamaConfig.from_folder(folder)
    assert report.scheme.name == "float"
    assert report.match is not None
    assert report.match.mapped
    assert report.head is not None
    assert not report.head.tied
    assert not report.interleaved_rope
    assert report.side_tensors == ()
    assert report.checkpoint is not None
    assert report.specs == expected_tensors(report.config)
    (file,) = report.files
    assert (file.name, file.nbytes, file.tensors) == (WEIGHTS, (folder / WEIGHTS).stat().st_size, len(report.tensors))
    report.raise_for_errors()


def test_totals(plain: Path) -> None:
    report = analyze_folder(plain)
    assert report.parameters == PARAMETERS
    assert report.weight_bytes == 2 * PARAMETERS
    assert report.dtype == "BF16"
    assert report.bytes_by_dtype == {"BF16": 2 * PARAMETERS}
    linears = {"attention": 64 * 64 + 2 * 32 * 64 + 64 * 64, "mlp": 3 * 77 * 64}
    assert report.bytes_by_role == {
        **{role: 2 * 2 * count for role, count in sorted(linears.items(), key=lambda item: -item[1])},
        "embedding": 2 * 131 * 64,
        "head": 2 * 131 * 64,
        "norm": 2 * (2 * 2 * 64 + 64),
    }


def test_each_tensor(plain: Path) -> None:
    tensors = {tensor.name: tensor for tensor in analyze_folder(plain).tensors}
    assert {name: tensor.shape for name, tensor in tensors.items()} == tensor_shapes(tiny_config())
    gate = tensors["model.layers.1.mlp.gate_proj.weight"]
    assert (gate.role, gate.layer, gate.dtype, gate.nbytes) == ("mlp", 1, "BF16", 2 * 77 * 64)
    assert (gate.stored_as, gate.files) == (gate.name, (WEIGHTS,))
    assert tensors[NORM].layer is None


@pytest.mark.parametrize("stored", [False, True])
def test_a_tied_head_counts_once(tmp_path: Path, stored: bool) -> None:
    folder = write_tiny(tmp_path, {"tie_word_embeddings": not stored})
    edit_config(tie_word_embeddings=True)(folder)
    assert analyze_folder(folder).parameters == PARAMETERS - (0 if stored else 131 * 64)


def test_constants_are_no_parameters(plain: Path) -> None:
    add_tensor(INV_FREQ, "F32", [8], 4)(plain)
    report = analyze_folder(plain)
    assert report.parameters == PARAMETERS
    assert report.dtype == "BF16+F32"
    assert report.match is not None
    assert report.match.ignored == (INV_FREQ,)


def test_shards(plain: Path) -> None:
    to_shards(3)(plain)
    report = analyze_folder(plain)
    assert [file.name for file in report.files] == [shard(i, 3) for i in (1, 2, 3)]
    assert {tensor.files for tensor in report.tensors} == {(shard(i, 3),) for i in (1, 2, 3)}
    assert report.parameters == PARAMETERS


def test_metas_shards(tmp_path: Path) -> None:
    config = tiny_config({"intermediate_size": 96})
    report = analyze_folder(write_meta(tmp_path, stored_tensors(config, "F32", 0), config, "F32", shards=2))
    assert (report.layout, report.interleaved_rope) == ("meta", True)
    q = next(tensor for tensor in report.tensors if tensor.name == "model.layers.0.self_attn.q_proj.weight")
    assert q.stored_as == "layers.0.attention.wq.weight"
    assert q.files == ("consolidated.00.pth", "consolidated.01.pth")
    assert (q.shape, q.nbytes) == ((64, 64), 4 * 64 * 64)
    assert report.errors == ()


def test_what_the_other_shards_hold_is_told(plain: Path) -> None:
    to_shards(3)(plain)
    remove(shard(2, 3))(plain)
    edit_bytes(lambda raw: raw[:-1], shard(3, 3))(plain)
    report = analyze_folder(plain)
    assert [file.nbytes is None for file in report.files] == [False, True, False]
    assert {tensor.files for tensor in report.tensors} == {(shard(1, 3),)}
    assert [finding.where for finding in report.errors] == [str(plain / INDEX), str(plain / shard(3, 3))]
    assert isinstance(report.files[2].error, CheckpointError)
    assert report.checkpoint is None
    assert report.status == "cannot run"
    with pytest.raises(CheckpointError, match="2 of 3 shards are there"):
        report.raise_for_errors()


def test_all_faults_at_once_in_the_order_of_loading(plain: Path) -> None:
    edit_config(rms_norm_eps=-1)(plain)
    edit_bytes(lambda raw: raw + b"\0")(plain)
    assert [finding.code for finding in analyze_folder(plain).errors] == ["config", "checkpoint"]
    drop_tensors(NORM)(write_tiny(plain))
    edit_config(tie_word_embeddings=False)(plain)
    drop_tensors("lm_head.weight")(plain)
    told = [finding.message for finding in analyze_folder(plain).errors]
    assert len(told) == 2
    assert f"missing {NORM}" in told[0]
    assert "must hold lm_head.weight" in told[1]


def test_a_fault_is_told_once(plain: Path) -> None:
    write("adapter_model.safetensors", b"x")(plain)
    report = analyze_folder(plain)  # both config and weights refuse it
    assert len(report.errors) == 1


def test_parameters_without_a_config(plain: Path) -> None:
    write("config.json", b"{")(plain)
    report = analyze_folder(plain)
    assert report.config is None
    assert report.parameters == PARAMETERS
    assert report.layout == "huggingface"


def test_the_same_folder_gives_the_same_report(folder: Path) -> None:
    assert analyze_folder(folder) == analyze_folder(str(folder))


def test_a_name_of_ones_own(plain: Path) -> None:
    assert analyze_folder(plain, "org/name").name == "org/name"
    assert analyze(plain).name == LLM(plain, ctx_size=32).name


def test_no_such_model(tmp_path: Path) -> None:
    report = analyze_folder(tmp_path / "none")
    assert [finding.code for finding in report.errors] == ["not-found"]
    assert (report.layout, report.files, report.tensors, report.parameters) == (None, (), (), 0)
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        analyze(tmp_path / "none")


def test_every_name_has_its_role_in_both_layouts() -> None:
    roles = {
        "model.embed_tokens.weight": "embedding",
        "model.layers.7.self_attn.q_proj.weight": "attention",
        "model.layers.7.self_attn.q_proj.bias": "attention",
        "model.layers.7.self_attn.k_proj.weight": "attention",
        "model.layers.7.mlp.gate_proj.weight": "mlp",
        "model.layers.7.input_layernorm.weight": "norm",
        "model.layers.7.post_attention_layernorm.weight": "norm",
        NORM: "norm",
        "lm_head.weight": "head",
        INV_FREQ: "rope",
        "rope.freqs": "rope",
        "model.layers.7.self_attn.q_proj.weight_scale": "quantization",
        "model.layers.7.mlp.up_proj.weight.absmax": "quantization",
        "something": "other",
        "": "other",
    }
    assert {name: role_of(name) for name in roles} == roles
    assert set(roles.values()) == set(ROLES)
    for canonical, stored in NAMES.items():
        if not stored.endswith("weight"):
            canonical, stored = f"model.layers.3.{canonical}.weight", f"layers.3.{stored}.weight"
        assert role_of(stored) == role_of(canonical) != "other"
        assert layer_of(stored) == layer_of(canonical)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.mlp.up_proj.weight", 12),
        ("layers.0.attention.wq.weight", 0),
        (NORM, None),
        ("players.3.weight", None),
        ("model.layers.x.weight", None),
        ("model.layers.9999999999.weight", None),
    ],
)
def test_layers(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


def test_weight_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "m")
    assert "weights-unused" not in {finding.code for finding in analyze_folder(folder).findings}
    (folder / "consolidated.safetensors").write_bytes(b"")
    (finding,) = (finding for finding in analyze_folder(folder).findings if finding.code == "weights-unused")
    assert finding.message.endswith("they are not read: consolidated.safetensors")


def test_parameters_where_the_weights_are_broken(tmp_path: Path) -> None:
    whole = analyze_folder(write_tiny(tmp_path / "m"))
    (tmp_path / "m" / "model.safetensors").write_bytes(b"")
    assert analyze_folder(tmp_path / "m").parameters == whole.parameters
    assert repr(whole) == f"Report('m', {whole.parameters} parameters, F32, '{whole.status}')"
