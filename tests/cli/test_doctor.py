"""`inferno doctor`: text, JSON, a failing kernel, flags. The machine's speed is made up."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest

from fake_limits import make_limits
from inferno import diagnosis, hardware
from inferno.cli.doctor_text import sections
from inferno.hardware import measuring
from inferno.selftest import Check


@pytest.fixture(autouse=True)
def made_up_speed(monkeypatch):
    asked = []

    def measure(key, progress):
        asked.append(key)
        progress.start("measuring", None)
        return make_limits(key=key)

    monkeypatch.setattr(measuring, "measure", measure)
    return asked


@pytest.fixture
def broken_kernel(monkeypatch):
    wrong = Check("matmul", "BF16", "avx2", False, "3 of 9 values wrong")
    good = Check("matmul", "BF16", "scalar", True, "equal")
    monkeypatch.setattr(diagnosis, "run_selftest", lambda: [wrong, good])


def test_text(cli):
    result = cli("doctor", "-t", 2)
    assert result.code == 0
    lines = result.out.splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    isa = hardware.check_isa(None)
    limits = f"measured limits ({isa}, 2 threads)"
    assert titles == ["machine", "build", limits, "self-test", "Python", "folders"]
    found = dict(line.strip().split("  ", 1) for line in lines if "  " in line.strip())
    assert found["read bandwidth"].strip() == "10.0 GB/s (10.0 to 10.0), pattern 2-streams"
    assert found["one token, BF16 rows"].strip() == "10.0 at 256, 10.0 at 4096 GB/s"
    assert "pass: scalar" in found["matmul BF16"]
    assert "FAIL" not in result.out
    assert result.err == "measuring\n"


def test_json(cli):
    result = cli("doctor", "--json", "-q")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert found["schema"] == "inferno.doctor/1"
    assert set(found) == {"schema", "machine", "build", "limits", "self_test", "python", "folders"}
    assert found["self_test"]["passed"] is True
    assert found["machine"]["cpus"]["usable"] == hardware.usable_cpus()
    assert hardware.Limits.from_json(found["limits"]).steady


def test_measured_once_unless_asked(cli, made_up_speed):
    cli("doctor", "-q")
    cli("doctor", "-q")
    assert len(made_up_speed) == 1
    cli("doctor", "-q", "--measure")
    assert len(made_up_speed) == 2
    cli("doctor", "-q", "--isa", "scalar", "-t", "1")
    assert (made_up_speed[-1]["isa"], made_up_speed[-1]["threads"]) == ("scalar", "1")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_wrong_kernel_is_an_error_after_all_is_told(cli, broken_kernel, flags):
    result = cli("doctor", "-q", *flags)
    assert result.code == 1
    assert result.error == (
        "self-test: every kernel must compute what it should; got wrong results from avx2 matmul BF16; choose a tier "
        "that passes (INFERNO_ISA), and please report it with the output of `inferno doctor --json`"
    )
    if flags:
        assert json.loads(result.out)["self_test"]["passed"] is False
    else:
        assert "  matmul BF16  pass: scalar\n  matmul BF16  FAIL avx2: 3 of 9 values wrong\n" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-t", "0"], 2, "threads: must be from 1 to 1024; got 0"),
        (["--isa", "mmx"], 1, "this CPU has no mmx"),
        (["extra"], 2, "unrecognized arguments: extra"),
    ],
)
def test_refusals(cli, arguments, code, message):
    result = cli("doctor", *arguments)
    assert result.code == code
    assert message in result.error


def test_a_terminal_gets_no_control_codes_of_a_name(monkeypatch):
    from inferno.cli import doctor

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    text = doctor._rich([("folders", [("cache", "/tmp/\x1b[31m"), ("matmul", "pass: avx2")])])
    assert "/tmp/?[31m" in text
    assert "\x1b" not in text
    assert text.splitlines()[0] == "folders"


def test_what_is_unknown_is_told_so():
    found = diagnosis.diagnose(1, "scalar")
    nothing = hardware.Machine(
        system="Other",
        cpus=replace(found.machine.cpus, model=None, features=(), affinity=(), present=None, quota=0.5, isa=None),
        memory=hardware.Memory(None, None, 4_000_000_000, None),
        numa=(hardware.NumaNode(0, (0, 1, 2, 5), None),),
        caches=(hardware.Cache("L1d", 48 << 10, 4, 1), hardware.Cache("L3", 32 << 20, 1, 4)),
    )
    rows = dict(sections(replace(found, machine=nothing))[0][1])
    assert rows["CPU"] == "unknown"
    assert rows["CPUs"].endswith("affinity unknown, a quota of 0.5")
    assert rows["NUMA node 0"] == "CPUs 0-2,5, unknown"
    assert rows["caches"] == "L1d 4 x 48 KiB; L3 32 MiB, shared by 4 CPUs"
    assert rows["memory"] == "unknown available of unknown, cgroup limit 4.0 GB"


def test_figures_of_a_busy_machine_are_told_so():
    found = diagnosis.diagnose(1, "scalar")
    busy = replace(found, limits=make_limits(spread=2.0))
    assert "busy" not in dict(sections(found)[2][1])["measured"]
    assert dict(sections(busy)[2][1])["measured"].endswith("; the machine was busy then: try again with --measure")
