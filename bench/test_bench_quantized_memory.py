"""What a W8A8 model adds to a process beside the file's own pages: `pytest bench/test_bench_quantized_memory.py`.

Needs 3 GB of memory and, once, 1.2 GB of disk. tests/models/test_memory.py holds a small model to the same rule.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = 64e6  # bytes beside keys and values

_SCRIPT = """
import json, sys
import numpy, inferno.analysis, inferno.models, inferno.quantization.resolve
def anonymous():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(fields["RssAnon"].split()[0]) * 1024
before = anonymous()
model = inferno.models.load_model(sys.argv[1], ctx_size=1024)
sequence = model.new_sequence()
model.prefill(sequence, [1] * 600)
for _ in range(4):
    model.forward(sequence, [5])
print(json.dumps({"added": anonymous() - before, "kv": model.kv_bytes, "weights": model.weight_bytes}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_resident_memory(benchmark, report, tinyllama_w8a8: Path) -> None:
    found: dict[str, int] = {}

    def once() -> None:
        command = [sys.executable, "-c", _SCRIPT, str(tinyllama_w8a8)]
        found.update(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))

    benchmark.pedantic(once, rounds=1)
    benchmark.extra_info.update(found)
    report.append(
        f"{found['added'] / 1e6:.0f} MB of anonymous memory added by {found['weights'] / 1e6:.0f} MB of weights, "
        f"{found['kv'] / 1e6:.0f} MB of them for keys and values; {(found['kv'] + ALLOWED) / 1e6:.0f} MB are allowed"
    )
