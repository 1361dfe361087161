"""`inferno inspect` of 8B parameters in 16 GB of holes; the deep scan of the demo model, on one core."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from inferno.analysis import analyze_folder
from inferno.analysis.deep import deep_scan

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from sparse_llama import write_large_tokenizer, write_sparse

# The system's own figure for the largest size of a child begins with its parent's: the child tells its own.
TELL_PEAK = """
import sys
from inferno.cli import run
code = run(sys.argv[1:])
from inferno.hardware import peak_memory
print(peak_memory(), file=sys.stderr)
sys.exit(code)
"""


def test_inspect_8b(benchmark, report, tmp_path):
    folder = write_sparse(tmp_path / "8b")
    write_large_tokenizer(folder)
    command = [sys.executable, "-c", TELL_PEAK, "inspect", str(folder)]
    seconds, peaks = [], []

    def once() -> None:
        start = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        peaks.append(int(result.stderr.split()[-1]))

    once()  # measures the machine, if it never was
    seconds.clear()
    peaks.clear()
    benchmark.pedantic(once, rounds=7)
    report.append(f"inspect of 8B parameters: {statistics.median(seconds):.2f} s, peak {max(peaks) / 1e6:.0f} MB")


def test_deep_scan(benchmark, report, demo):
    found = analyze_folder(demo)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        deep = benchmark.pedantic(lambda: deep_scan(found), rounds=5, warmup_rounds=1)
    finally:
        os.sched_setaffinity(0, allowed)
    speed = deep.nbytes / benchmark.stats.stats.median
    report.append(f"deep scan of BF16 with SHA-256, one core: {speed / 1e9:.2f} GB/s")
