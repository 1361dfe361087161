"""Memory, as the kernel counts it: weights stay in the page cache, and a run adds keys, values and small buffers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_llama import write_sparse_w8a8

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")

_MEASURE = """
import json, sys
def resident(path):
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    mapped, here = 0, False
    for line in open("/proc/self/smaps"):
        first = line.split(" ", 1)[0]
        if not first.endswith(":"):
            here = line.rstrip().endswith(path)
        elif first == "Rss:" and here:
            mapped += int(line.split()[1]) * 1024
    return {"anonymous": int(fields["RssAnon"].split()[0]) * 1024, "mapped": mapped}
"""
# The same modules and the same tokenizer, no model.
_BASE = """
import numpy, inferno.engine.llm, inferno.models
from inferno.text import Tokenizer
from inferno import SamplingParams
tokenizer = Tokenizer.from_folder(sys.argv[1])
tokenizer.encode_chat([{"role": "user", "content": "What is gravity?"}])
print(json.dumps(resident("model.safetensors")))
"""
_GENERATE = """
import inferno
llm = inferno.LLM(sys.argv[1], ctx_size=1024, threads=2)
params = inferno.SamplingParams(temperature=0, max_tokens=16)
llm.chat([{"role": "user", "content": "What is gravity? " * 100}], params)
print(json.dumps(resident("model.safetensors") | {"kv": llm.model.kv_bytes, "weights": llm.model.weight_bytes}))
"""
# The same modules, no model.
_NO_MODEL = """
import numpy, inferno.analysis, inferno.models, inferno.quantization.resolve
print(json.dumps(resident("model.safetensors")))
"""
_STEPS = """
from inferno.models import load_model
model = load_model(sys.argv[1], ctx_size=1024, threads=2)
sequence = model.new_sequence()
model.prefill(sequence, [1] * 600)
for _ in range(4):
    model.forward(sequence, [5])
print(json.dumps(resident("model.safetensors") | {"kv": model.kv_bytes, "weights": model.weight_bytes}))
"""


def measure(script: str, folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE + script, str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_run_adds_keys_values_and_little_else(demo_folder):
    base, run = measure(_BASE, demo_folder), measure(_GENERATE, demo_folder)
    added = run["anonymous"] - base["anonymous"]
    assert added <= run["kv"] + 64e6
    # the weights are there, and they are the file's own pages
    size = (demo_folder / "model.safetensors").stat().st_size
    assert 0.9 * run["weights"] <= run["mapped"] <= size + 4096


def test_codes_are_multiplied_where_they_lie(tmp_path):
    """W8A8: neither a copy of the codes nor what they widen to would fit in what is allowed."""
    folder = write_sparse_w8a8(tmp_path / "model")
    base, run = measure(_NO_MODEL, folder), measure(_STEPS, folder)
    added = run["anonymous"] - base["anonymous"]
    assert run["weights"] > 100e6
    assert added <= run["kv"] + 64e6
    size = (folder / "model.safetensors").stat().st_size
    assert 0.9 * run["weights"] <= run["mapped"] <= size + 4096
