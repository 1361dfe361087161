"""From process start to the first piece of text, page cache warm."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

_FLOOR = "import numpy, sys; from tokenizers import Tokenizer; Tokenizer.from_file(sys.argv[1] + '/tokenizer.json')"


def first_output(command: list[str]) -> float:
    """Seconds from the start of the process to its first byte on stdout, or to its end if it prints none."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
    return seconds


def test_first_token(benchmark, report, demo):
    floor_command = [sys.executable, "-c", _FLOOR, str(demo)]
    command = [sys.executable, "-m", "inferno", "generate", "-m", str(demo), "What is gravity?", "-n", "4"]
    first_output(command)
    floors, firsts = [], []

    def pair() -> None:
        floors.append(first_output(floor_command))
        firsts.append(first_output(command))

    benchmark.pedantic(pair, rounds=11)
    first, floor = statistics.median(firsts), statistics.median(floors)
    benchmark.extra_info.update(first_token=first, floor=floor)
    report.append(f"first token {first:.2f} s after process start (NumPy and the tokenizer alone: {floor:.2f} s)")


def test_import(benchmark, report):
    """`import inferno` alone, over a bare interpreter."""
    bare, ours = [], []

    def pair() -> None:
        bare.append(first_output([sys.executable, "-c", "pass"]))
        ours.append(first_output([sys.executable, "-c", "import inferno"]))

    benchmark.pedantic(pair, rounds=11)
    report.append(f"import inferno: {1e3 * (statistics.median(ours) - statistics.median(bare)):.0f} ms")
