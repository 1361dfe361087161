"""A plan: the kernel for each tensor, what a token reads, what is refused before anything is bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno import _core
from inferno.analysis import analyze_folder, make_plan
from inferno.errors import CheckpointError, HardwareError, UsageError
from meta_writer import write_meta
from model_edits import WEIGHTS, edit_bytes, edit_config
from tiny import stored_tensors, tiny_config, write_tiny

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m", dtype="BF16")


def test_each_tensor_has_its_kernel(folder: Path, isa: str) -> None:
    plan = make_plan(analyze_folder(folder), threads=3, ctx_size=64, kv_cache_type="f32", isa=isa)
    assert (plan.isa, plan.threads, plan.kv_cache_type, plan.ctx_size) == (isa, 3, "f32", 64)
    assert plan.findings == ()
    read = [binding.tensor for binding in plan.bindings if binding.tensor]
    assert sorted(read) == sorted(plan.checkpoint)
    for binding in plan.bindings:
        assert binding.kernel.name in _core.kernel_variants()[isa]
        if binding.tensor:
            tensor = plan.checkpoint[binding.tensor]
            assert (binding.weight_type, binding.shape, binding.nbytes) == ("BF16", tensor.shape, tensor.nbytes)
            assert binding.kernel.name.endswith("_bf16")
            assert binding.kernel.tier == isa
    in_cache = {b.kernel.name for b in plan.bindings if b.operation in ("kv_write", "attention")}
    assert in_cache == {"kv_write_f32_f32", "attention_f32_f32_f32"}


def test_what_a_token_reads(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(analyze_folder(folder), ctx_size=64)
    table = plan.checkpoint[EMBEDDING]
    assert plan.bytes_per_token == plan.checkpoint.nbytes - table.nbytes + table.nbytes // 131
    # A tied table is the head, too.
    tied = make_plan(analyze_folder(write_tiny(tmp_path / "t", {"tie_word_embeddings": True}, "BF16")), ctx_size=64)
    assert tied.head.tied
    assert tied.bytes_per_token == tied.checkpoint.nbytes + tied.checkpoint[EMBEDDING].nbytes // 131


@pytest.mark.parametrize(("kind", "nbytes"), [("f32", 4), ("f16", 2), ("bf16", 2)])
def test_bytes_of_the_cache(folder: Path, kind: str, nbytes: int) -> None:
    plan = make_plan(analyze_folder(folder), ctx_size=64, kv_cache_type=kind)
    assert plan.kv_bytes == 64 * 2 * 2 * 2 * 16 * nbytes


def test_metas_order_has_its_rotation(tmp_path: Path) -> None:
    config = tiny_config({"intermediate_size": 80})
    folder = write_meta(tmp_path, stored_tensors(config, "F32", 0), config, "F32", shards=1)
    operations = {binding.operation for binding in make_plan(analyze_folder(folder), ctx_size=64).bindings}
    assert "rope_interleaved" in operations
    assert "rope_half_split" not in operations


def test_pieces_of_a_matrix_count_whole(tmp_path: Path) -> None:
    config = tiny_config({"intermediate_size": 96})
    one, two = (
        write_meta(tmp_path / str(n), stored_tensors(config, "F32", 0), config, "F32", shards=n) for n in (1, 2)
    )
    whole, halves = (make_plan(analyze_folder(folder), ctx_size=64) for folder in (one, two))
    assert [b.shape for b in whole.bindings] == [b.shape for b in halves.bindings]
    assert whole.bytes_per_token == halves.bytes_per_token


def test_warnings_of_report_and_plan(folder: Path) -> None:
    edit_config(colour="red")(folder)
    plan = make_plan(analyze_folder(folder), ctx_size=513)
    assert any("colour" in warning for warning in plan.warnings)
    assert plan.warnings[-1] == (
        "context: 513 tokens are more than the 512 that the model was made for; expect nonsense beyond those"
    )
    assert not any(finding.severity == "error" for finding in plan.findings)
    plan.raise_for_errors()


def test_a_report_with_an_error_has_no_plan(folder: Path) -> None:
    edit_bytes(lambda raw: raw[:-1])(folder)
    report = analyze_folder(folder)
    with pytest.raises(CheckpointError, match="truncated, 1 bytes are missing") as caught:
        make_plan(report)
    assert caught.value is report.errors[0].error


def test_an_error_of_the_plan_is_raised_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferno.hardware.available_memory", lambda: 1000)
    plan = make_plan(analyze_folder(folder), ctx_size=64)
    with pytest.raises(HardwareError, match=r"^ctx_size: 64 tokens need"):
        plan.raise_for_errors()


@pytest.mark.parametrize("threads", [0, -1, 10**9, True, "2"])
def test_threads_that_cannot_be(folder: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=r"^threads: must be"):
        make_plan(analyze_folder(folder), threads=threads)


def test_a_tier_that_is_not_here(folder: Path) -> None:
    with pytest.raises(HardwareError, match="isa=avx9"):
        make_plan(analyze_folder(folder), isa="avx9")


def test_a_plan_reads_no_weight(folder: Path) -> None:
    """The file may vanish behind the map; what is planned stays."""
    report = analyze_folder(folder)
    (folder / WEIGHTS).unlink()
    assert make_plan(report, ctx_size=64).checkpoint is report.checkpoint
