"""Measured limits: what is measured, how it is kept, when it is measured anew. Nothing is said of how fast it is."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from fake_limits import make_limits, rate
from inferno import hardware
from inferno.capability import KERNELS
from inferno.errors import HardwareError, UsageError
from inferno.hardware import Limits, Rate, cached, measuring
from inferno.hardware import bench as bench_module
from inferno.hardware.bench import Bench
from inferno.hardware.code_matrices import CODED
from inferno.hardware.matmul_probes import element_bytes, matmul_probe
from inferno.hardware.rates import interpolated, rate_name
from inferno.hardware.stand_in import Pages
from inferno.progress import SilentProgress

KEY = {"cpu": "made up", "cpus": "1", "isa": "scalar", "threads": "1", "version": "0", "build": "0"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch):
    """Stands in for the measurement; holds the keys that it was asked for."""
    keys = []

    def measure(key, progress):
        keys.append(key)
        return make_limits(key=key)

    monkeypatch.setattr(measuring, "measure", measure)
    return keys


def now(seconds_ago: float = 0) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)).isoformat()


def test_every_part_is_measured(isa):
    told = []

    class Progress(SilentProgress):
        def start(self, label, total):
            told.append((label, total))

        def advance(self, amount):
            told.append(amount)

        def finish(self):
            told.append("end")

    key = {**KEY, "isa": isa}
    found = measuring.measure(key, Progress(), rounds=1, pages=Pages(8 << 20))
    assert found.key == key
    for tables in (found.gemv, found.gemm):
        assert {dtype: tuple(rates) for dtype, rates in tables.items()} == dict.fromkeys(
            ("F32", "F16", "BF16"), measuring.ROW_LENGTHS
        )
    assert set(found.attention) == {"f32", "f16", "bf16"}
    assert Limits.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert told == [("Measuring this machine's speed (a few seconds, once)", 1), 1, "end"]


def test_types_of_codes_are_measured_when_asked_for(isa):
    known = make_limits(key={**KEY, "isa": isa}, cpu_share=0.5)
    found = measuring.measure_types(known, list(CODED), SilentProgress(), rounds=1, pages=Pages(8 << 20))
    for before, after in (known.gemv, found.gemv), (known.gemm, found.gemm):
        assert list(after) == [*before, *CODED]
        assert all(tuple(after[name]) == measuring.CODED_LENGTHS for name in CODED)
    assert Limits.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert replace(found, gemv=known.gemv, gemm=known.gemm, cpu_share=0.5) == known
    assert found.cpu_share <= 0.5


def test_every_matmul_of_codes_can_be_measured():
    assert [rate_name(*cell) for cell in KERNELS if cell[0] in ("matmul_int8", "matmul_coded")] == list(CODED)
    assert all(rate_name("matmul", dtype) in make_limits().gemv for op, dtype in KERNELS if op == "matmul")


def test_bytes_of_codes_are_counted_with_their_scales():
    bench = Bench(1, "scalar", Pages(8 << 20))
    elements = {name: element_bytes(bench, name, 1024) for name in CODED}
    channel, group, points = 4 / 1024, 2 / 128, 1 / 1024
    assert elements == {
        "I8xI8": 1 + channel, "U8xI8": 1 + channel + points, "I8": 1 + channel, "U8": 1 + channel + points,
        "U4": 0.5 + group, "LUT4": pytest.approx(0.5 + 4 / 64, abs=1e-2), "E4M3": 1 + channel,
        "GPTQ4": 0.5 + group + 0.5 / 128, "GPTQ8": 1 + group + 1 / 128, "AWQ4": 0.5 + group + 0.5 / 128,
    }  # fmt: skip


def test_codes_meet_the_kernel_of_their_name():
    bench = Bench(1, "scalar", Pages(8 << 20))
    recorded = []
    seconds = bench.seconds
    bench.seconds = lambda program, *more: recorded.append(program.operations) or seconds(program, *more)
    for name, operations in {
        "BF16": ["embedding", "matmul"],
        "I8": ["embedding", "matmul_coded"],
        "I8xI8": ["embedding", "quantize", "matmul_int8"],
    }.items():
        recorded.clear()
        matmul_probe(bench, name, 256, 1, 1e-4)
        assert recorded[0] == operations


def test_bytes_and_products_are_counted_for_what_they_are():
    """One matrix, two units: a token's bytes and a prompt's multiply-adds are those of n rows of k."""
    bench = Bench(1, "scalar", Pages(8 << 20))
    seen = []
    bench.seconds = lambda program, first, last, tokens=1, position=0: seen.append((first, tokens)) or 1.0
    probe = matmul_probe(bench, "BF16", 256, 1, 1.0)
    # A trial of 16 strips of 24 columns takes a second, as the measurement shall: the size stays.
    assert probe() == 16 * 24 * 256
    assert seen[-1] == (1, 1)
    prompt = matmul_probe(bench, "BF16", 256, 256, 1.0)
    assert prompt() == 24 * 256 * 256
    alone = measuring._attention_probe(bench, "F16", 1)
    layer = 2 * 1024 * 2 * 64 * 2  # keys and values, positions, KV heads, head_dim, bytes
    assert alone() == layer


def test_a_trial_that_was_held_up_sets_no_size():
    bench = Bench(1, "scalar", Pages(8 << 20))
    # A warm-up, then the trials: the machine was busy in the first; then the measurement's own warm-up, and its run.
    times = iter([1.0, 100.0, 1.0, 1.0, 1.0, 1.0])
    bench.seconds = lambda *_: next(times)
    assert matmul_probe(bench, "BF16", 256, 1, 1.0)() == 16 * 24 * 256


def test_cpu_time_is_counted_for_every_thread(monkeypatch):
    bench = Bench(2, "scalar", Pages(1 << 20))
    assert bench.cpu_share == 1.0
    wall, cpu = iter([10.0, 14.0]), iter([1.0, 5.0])
    monkeypatch.setattr(bench_module, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(bench_module, "process_time", lambda: next(cpu))
    assert bench.counted(lambda: 7.0) == 7.0
    assert bench.cpu_share == 0.5  # 4 seconds of CPU where 2 threads had 4 seconds each


def test_pages_are_a_file_without_a_name(own_cache):
    pages = Pages(1 << 20)
    assert pages.bytes.size == 1 << 20
    assert not pages.bytes.any()
    assert list(own_cache.iterdir()) == []
    first = pages.take(np.dtype(np.float32), 3, 5)
    again = [pages.take(np.dtype(np.uint8), 1 << 18) for _ in range(4)][-1]
    assert (first.shape, first.dtype) == ((3, 5), np.float32)
    assert again.ctypes.data == first.ctypes.data  # the fourth no longer fits: from the beginning


def test_pages_without_a_place_for_a_file(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "none"))
    assert Pages(1 << 16).bytes.size == 1 << 16


def test_measured_once_and_kept(measured, own_cache):
    first = hardware.limits(2, "scalar")
    assert hardware.limits(2, "scalar") == first
    assert len(measured) == 1
    (path,) = (own_cache / "limits").iterdir()
    assert path.name.startswith("scalar-2-")
    assert path.suffix == ".json"
    assert cached.known_limits(2, "scalar") == first
    assert cached.known_limits(3, "scalar") is None


def test_measured_again_on_request_and_for_other_threads(measured):
    hardware.limits(2, "scalar")
    hardware.limits(2, "scalar", measure_again=True)
    hardware.limits(1, "scalar")
    assert [key["threads"] for key in measured] == ["2", "2", "1"]


def test_a_new_build_is_measured_anew_in_the_old_one_s_place(measured, own_cache, monkeypatch):
    hardware.limits(1, "scalar")
    monkeypatch.setattr(cached, "build_hash", lambda: "another")
    hardware.limits(1, "scalar")
    assert len(measured) == 2
    assert len(list((own_cache / "limits").iterdir())) == 1


def test_a_type_is_measured_once_and_kept_beside_the_others(measured, own_cache, monkeypatch):
    asked = []

    def measure_types(known, types, progress):
        asked.append(types)
        more = {name: {256: rate(1e9)} for name in types}
        return replace(known, gemv={**known.gemv, **more}, gemm={**known.gemm, **more})

    monkeypatch.setattr(measuring, "measure_types", measure_types)
    plain = hardware.limits(1, "scalar", types=["BF16", "F32"])
    assert asked == []
    coded = hardware.limits(1, "scalar", types=["I8xI8", "BF16", "I8xI8"])
    assert coded.gemv_rate("I8xI8", 512) == rate(1e9)
    assert cached.known_limits(1, "scalar") == hardware.limits(1, "scalar", types=["I8xI8"]) == coded
    assert plain.missing(["I8xI8", "F16"]) == ["I8xI8"]
    hardware.limits(1, "scalar", types=["U4", "I8xI8"])
    assert asked == [["I8xI8"], ["U4"]]
    assert len(measured) == 1
    assert len(list((own_cache / "limits").iterdir())) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": 1}', "[" * 100_000, "\xff"])
def test_a_broken_cache_is_made_anew(measured, own_cache, text):
    hardware.limits(1, "scalar")
    (path,) = (own_cache / "limits").iterdir()
    path.write_bytes(text.encode("latin-1"))
    hardware.limits(1, "scalar")
    assert len(measured) == 2
    assert Limits.from_json(json.loads(path.read_text())).isa == "scalar"


def test_a_cache_that_cannot_be_written_is_no_error(measured, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "file" / "cache"))
    assert hardware.limits(1, "scalar").threads == 1
    assert hardware.limits(1, "scalar").threads == 1
    assert len(measured) == 2


def test_figures_of_a_busy_machine_are_kept_for_ten_minutes(monkeypatch):
    found = []

    def measure(key, progress):
        found.append(make_limits(key=key, fma_peak=Rate(100e9, 50e9, 110e9), measured=now(seconds_ago)))
        return found[-1]

    monkeypatch.setattr(measuring, "measure", measure)
    seconds_ago = 500
    assert not hardware.limits(1, "scalar").steady
    hardware.limits(1, "scalar")
    assert len(found) == 1
    seconds_ago = 700
    hardware.limits(1, "scalar", measure_again=True)
    hardware.limits(1, "scalar")
    assert len(found) == 3


@pytest.mark.parametrize("measured_at", ["yesterday", "2026-01-01T00:00:00", now(-9999)])
def test_an_age_that_cannot_be_told_is_old(measured_at):
    assert cached._age(make_limits(measured=measured_at)) == float("inf")


def test_steady():
    assert make_limits(spread=1.1).steady
    assert not make_limits(cpu_share=0.5).steady  # figures that agree, all of half a machine
    assert not make_limits(spread=1.3).steady
    assert not make_limits(gemv={"F32": {256: rate(15e9)}}).steady
    assert not make_limits(gemm={"F32": {256: rate(150e9)}}).steady
    # Products of codes have a peak of their own: 200 G here.
    assert make_limits(gemm={"I8xI8": {256: rate(150e9)}}).steady
    assert not make_limits(gemm={"I8xI8": {256: rate(300e9)}}).steady
    assert not make_limits(madd_peak=Rate(200e9, 100e9, 210e9)).steady


def test_arguments_that_cannot_be():
    with pytest.raises(UsageError, match=r"threads: must be from 1 to 1024; got 0"):
        hardware.limits(0)
    with pytest.raises(HardwareError, match=r"this CPU has no mmx"):
        hardware.limits(1, "mmx")


@pytest.mark.parametrize(
    "change",
    [
        {"stage_seconds": 0},
        {"cpu_share": 0},
        {"call_seconds": -1.0},
        {"call_seconds": True},
        {"rows": {"median": float("nan"), "low": 1, "high": 1}},
        {"fma_peak": {"median": float("inf"), "low": 1, "high": 1}},
        {"fma_peak": {"median": 1, "low": 1}},
        {"madd_peak": None},
        {"gemv": {"F32": {}}},
        {"gemv": {"F32": {"-1": {"median": 1, "low": 1, "high": 1}}}},
        {"key": {"threads": "many"}},
        {"attention": None},
    ],
)
def test_what_no_measurement_wrote_is_refused(change):
    data = json.loads(json.dumps(make_limits().as_json()))
    assert Limits.from_json(data) == make_limits()
    with pytest.raises(ValueError, match=r"limits|invalid literal"):
        Limits.from_json({**data, **change})


def test_a_rate_is_median_and_quartiles():
    assert Rate.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Rate(3, 2, 4)
    assert Rate.of([7.0]) == Rate(7, 7, 7)


def test_rates_between_the_measured_lengths():
    rates = {256: Rate(10, 8, 12), 1024: Rate(20, 16, 24)}
    assert interpolated(rates, 512) == Rate(15, 12, 18)
    assert interpolated(rates, 1) == interpolated(rates, 256) == rates[256]
    assert interpolated(rates, 99999) == interpolated(rates, 1024) == rates[1024]


def test_a_killed_write_leaves_no_half_file(measured, own_cache, monkeypatch):
    def fail(*_):
        raise OSError

    monkeypatch.setattr(os, "replace", fail)
    hardware.limits(1, "scalar")
    assert list((own_cache / "limits").iterdir()) == []


def test_the_key_names_all_that_a_speed_depends_on():
    assert set(cached.limits_key(1, "scalar")) == set(KEY)
    assert replace(make_limits(), key=KEY).isa == "scalar"
