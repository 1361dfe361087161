"""Forecasts from limits in round numbers, by hand; and that the workload is what the step program does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fake_limits import make_limits, rate
from inferno.analysis import analyze_folder, make_plan
from inferno.analysis.forecast import Forecast, MatrixUse, Workload, compare, forecast, workload
from inferno.analysis.rounding import Rounding
from inferno.engine.outputs import Metrics
from inferno.hardware import AttentionRates
from inferno.models import Model
from quantized_cases import CASES as QUANTIZED_CASES
from tiny import write_tiny

# 1 GB of BF16 in the layers and 0.2 GB in the head; 65.5 kB of keys and values a token.
WORK = Workload(
    matrices=(
        MatrixUse("up", 125_000, 4_000, "BF16", 1_000_000_000),
        MatrixUse("lm_head", 50_000, 2_000, "BF16", 200_000_000, last_only=True),
    ),
    weight_bytes=1_400_000_000,
    layers=16,
    hidden_size=2_000,
    intermediate_size=4_000,
    heads=8,
    kv_heads=8,
    head_dim=128,
    vocab_size=50_000,
    kv_cache_type="f16",
    ctx_size=1024,
    stages=164,
)
PER_TOKEN = 2 * 16 * 8 * 128 * 2


def test_decode_by_hand():
    found = forecast(WORK, make_limits(), 10**10)
    seconds = 1.2e9 / 10e9 + PER_TOKEN / 5e9  # matrices at 10 GB/s, one cached position at 5 GB/s
    assert found.decode_start.expected == pytest.approx(1 / seconds)
    seconds = 1.2e9 / 10e9 + 1024 * PER_TOKEN / 5e9
    assert found.decode_full.expected == pytest.approx(1 / seconds)
    assert found.decode_at(1023) == found.decode_full
    assert found.decode.low == found.decode_full.low
    assert found.decode.high == found.decode_start.high


def test_heads_that_share_keys_cost_more():
    """9 query heads for a KV head lie an eighth of the way further than the 8 that were measured."""
    attention = 1024 * PER_TOKEN / 8 * (1 / 5e9 + 8 / 7 * (1 / 1e9 - 1 / 5e9))
    found = forecast(replace(WORK, kv_heads=1, heads=9), make_limits(), 10**10)
    assert found.kv_bytes_per_token == PER_TOKEN / 8
    assert found.decode_full.expected == pytest.approx(1 / (0.12 + attention))


def test_heads_that_threads_cannot_share_evenly_cost_more():
    """3 KV heads on 2 threads take as long as 4 would."""
    found = forecast(replace(WORK, kv_heads=3, heads=3), make_limits(threads=2), 10**10)
    assert found.decode_full.expected == pytest.approx(1 / (0.12 + 1024 * PER_TOKEN / 8 * 4 / 5e9))


def test_a_token_waits_at_every_barrier():
    found = forecast(WORK, make_limits(stage_seconds=1e-4, call_seconds=2e-3), 10**10)
    assert found.decode_start.expected == pytest.approx(1 / (0.12 + PER_TOKEN / 5e9 + 164e-4 + 2e-3))


def test_prefill_by_hand():
    found = forecast(WORK, make_limits(), 10**10)
    attended = 2 * (256 * 257 / 2) * 16 * 8 * 128
    seconds = 256 * 5e8 / 100e9 + 0.2e9 / 10e9 + attended / 50e9  # the head meets the last token alone
    assert found.prefill_of(256).expected == pytest.approx(256 / seconds)
    assert found.prefill.high == found.prefill_of(256).high
    assert found.prefill.low == found.prefill_of(1024).low


def test_a_prompt_after_others_attends_to_them():
    found = forecast(WORK, make_limits(), 10**10)
    longer = 256 / found.prefill_of(256, 700).expected - 256 / found.prefill_of(256).expected
    assert longer == pytest.approx(2 * 256 * 700 * 16 * 8 * 128 / 50e9)


def test_a_short_prompt_waits_for_the_weights():
    found = forecast(WORK, make_limits(), 10**10)
    seconds = 8 / found.prefill_of(8).expected
    attended = 2 * 36 * 16 * 8 * 128 / 50e9
    assert seconds == pytest.approx(8 * 5e8 / 100e9 + 248 / 256 * 0.1 + 0.02 + attended)


def test_operations_between_matmuls_count():
    elements = 256 * 16 * (2 * 2000 + (8 + 3 * 8) * 128)
    slow, fast = (forecast(WORK, make_limits(rows=rate(r)), 10**10) for r in (1e9, 1e18))
    longer = 256 / slow.prefill_of(256).expected - 256 / fast.prefill_of(256).expected
    assert longer == pytest.approx(elements / 1e9)


def test_the_range_is_that_of_the_measurements():
    found = forecast(WORK, make_limits(spread=1.25), 10**10)
    assert found.decode_start.low == pytest.approx(found.decode_start.expected / 1.25)
    assert found.decode_start.high == pytest.approx(found.decode_start.expected * 1.25)
    assert found.decode.low < found.decode_full.expected < found.decode_start.expected < found.decode.high


def test_row_length_and_type_decide_the_speed():
    gemv = {"BF16": {1000: rate(1e9), 2000: rate(10e9), 4000: rate(20e9)}}
    found = forecast(WORK, make_limits(gemv=gemv), 10**10)
    assert found.decode_start.expected == pytest.approx(1 / (1 / 20 + 0.2 / 10 + PER_TOKEN / 5e9))


def test_memory():
    found = forecast(WORK, make_limits(), 10**10)
    assert (found.bytes_per_token, found.weight_bytes) == (1_200_000_000, 1_400_000_000)
    assert (found.kv_bytes_per_token, found.kv_bytes) == (PER_TOKEN, 1024 * PER_TOKEN)
    # 256 rows of h and x, q and attended, k and v, angles, gate; one of last, and logits twice.
    assert found.workspace_bytes == 4 * (256 * (4000 + 4 * 1024 + 128 + 4000) + 2000 + 100_000)
    assert found.largest_context == (10**10 - 1_400_000_000) // PER_TOKEN
    assert found.fits


@pytest.mark.parametrize(("available", "largest"), [(0, 0), (1_400_000_000, 0)])
def test_what_does_not_fit(available, largest):
    found = forecast(WORK, make_limits(), available)
    assert (found.largest_context, found.fits) == (largest, False)


def test_a_type_that_was_not_measured():
    with pytest.raises(KeyError, match="I8"):
        forecast(replace(WORK, matrices=(MatrixUse("a", 1, 1, "I8", 1),)), make_limits(), 10**10)


def test_codes_are_judged_by_the_kernel_that_multiplies_them():
    """The same int8 weights with inputs as they are, and with inputs that are rounded to codes."""
    matrices = (MatrixUse("a", 1000, 1000, "I8", 10**6), MatrixUse("b", 1000, 1000, "I8xI8", 10**6))
    gemv = {"I8": {256: rate(4e9)}, "I8xI8": {256: rate(8e9)}}
    gemm = {"I8": {256: rate(50e9)}, "I8xI8": {256: rate(150e9)}}
    at_once = AttentionRates(rate(1e18), rate(1e18), rate(1e18))
    work = replace(WORK, matrices=matrices, ctx_size=256)
    found = forecast(work, make_limits(gemv=gemv, gemm=gemm, attention={"f16": at_once}), 10**10)
    assert found.decode_start.expected == pytest.approx(1 / (1e-3 / 4 + 1e-3 / 8))
    assert found.prefill_of(256).expected == pytest.approx(256 / (256e6 / 50e9 + 256e6 / 150e9))
    assert found.of_codes
    assert not forecast(replace(work, matrices=matrices[:1]), found.limits, 10**10).of_codes


def test_rounding_inputs_takes_time():
    work = replace(WORK, rounding=Rounding(elements=1000))
    plain, longer = (forecast(w, make_limits(rows=rate(1e6)), 10**10).prefill_of(100) for w in (WORK, work))
    assert 100 / longer.expected - 100 / plain.expected == pytest.approx(100 * 1000 / 1e6)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("quantized")


@pytest.mark.parametrize("case", QUANTIZED_CASES, ids=lambda case: case.name)
def test_a_quantized_workload_is_what_the_program_does(case, scratch):
    model = Model(make_plan(analyze_folder(case.folder(scratch)), threads=1, ctx_size=512))
    work, program = workload(model.plan), model.program._recorded
    model.prefill(model.new_sequence(), [1] * 256)
    # Where neighbours round differently a matmul may share a stage with a rounding.
    spared = model.config.num_hidden_layers if case.name == "mixed_precision" else 0
    assert 0 <= work.stages - program.stages <= spared
    assert len(work.matrices) == sum(name.startswith("matmul") for name in program.operations)
    assert [m.name.removesuffix(".weight") for m in work.matrices if m.last_only] == [
        model.plan.head.head.removesuffix(".weight")
    ]
    assert program.workspace_bytes + 4 * model.config.vocab_size == work.workspace_bytes
    rounded = sum(name in ("quantize", "round_e4m3") for name in program.operations)
    assert (work.rounding.elements > 0) == (rounded > 0)


@pytest.fixture
def model(tmp_path):
    folder = write_tiny(tmp_path / "tiny", {"tie_word_embeddings": False})
    return Model(make_plan(analyze_folder(folder), threads=1, ctx_size=64, kv_cache_type="bf16"))


def test_the_workload_is_what_the_program_does(model):
    work = workload(model.plan)
    model.prefill(model.new_sequence(), [1] * 5)
    program = model.program._recorded
    assert work.stages == program.stages
    assert len(work.matrices) == program.operations.count("matmul")
    assert [m.name for m in work.matrices if m.last_only] == ["lm_head.weight"]
    assert work.weight_bytes == model.weight_bytes
    embedding = model.checkpoint["model.embed_tokens.weight"].nbytes
    norms = sum(tensor.nbytes for name, tensor in model.checkpoint.items() if "norm" in name)
    assert work.bytes_per_token == model.weight_bytes - embedding - norms
    assert work.kv_bytes_per_token * 64 == model.kv_bytes


def test_the_workspace_is_what_the_program_takes(tmp_path):
    folder = write_tiny(tmp_path / "tiny", {})
    model = Model(make_plan(analyze_folder(folder), threads=1, ctx_size=512))
    model.prefill(model.new_sequence(), [1] * 256)
    # One copy of the logits is the model's own, outside the program.
    logits = 4 * model.config.vocab_size
    assert model.program.workspace_bytes + logits == workload(model.plan).workspace_bytes


def test_a_run_beside_its_forecast():
    found = forecast(WORK, make_limits(), 10**10)
    metrics = Metrics(
        prompt_tokens=256, prefilled_tokens=256, generated_tokens=101, decoded_tokens=100, prefill_seconds=2.0,
        decode_seconds=20.0,
    )  # fmt: skip
    compared = compare(found, metrics)
    assert compared.decode_expected == found.decode_at(306).expected
    assert compared.decode_ratio == pytest.approx(5 / found.decode_at(306).expected)
    assert compared.prefill_ratio == pytest.approx(128 / found.prefill_of(256).expected)
    assert str(compared) == (
        f"decoded at {100 * compared.decode_ratio:.0f} % of the forecast {compared.decode_expected:.1f} tokens/s; "
        f"prompt at {100 * compared.prefill_ratio:.0f} % of the forecast {compared.prefill_expected:.1f} tokens/s"
    )


def test_a_run_without_decoding():
    compared = compare(forecast(WORK, make_limits(), 10**10), Metrics())
    assert (compared.decode_ratio, compared.prefill_ratio, str(compared)) == (None, None, "")


def test_json():
    found: Forecast = forecast(WORK, make_limits(), 10**10)
    as_json = json.loads(json.dumps(found.as_json()))
    assert as_json["decode"] == {
        "low": found.decode.low,
        "expected": found.decode.expected,
        "high": found.decode.high,
    }
    assert as_json["largest_context"] == found.largest_context
    assert as_json["fits"] is True
