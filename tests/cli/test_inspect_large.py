"""A checkpoint of 8B parameters, 16 GB in 4 shards of holes, beside a tokenizer of 128k tokens: headers tell it all."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparse_llama import write_large_tokenizer, write_sparse

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads Linux's /proc")

# What the kernel may read ahead of a header on its own account.
_READ_AHEAD = 1 << 20
# The process's own peak: what getrusage tells of a child begins with the size of its parent.
_RUN = """
import sys
from inferno.cli import run
code = run(["inspect", sys.argv[1], "--no-forecast", "--json"])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, int(peak.split()[1]) * 1024, file=sys.stderr)
"""
_MAPPED = """
import sys
from inferno.analysis import analyze_folder
from inferno.analysis.inspection import inspect_report
from inferno.analysis.render import as_json, as_text, page
inspection = inspect_report(analyze_folder(sys.argv[1]))
assert inspection.plan is not None
as_json(inspection), as_text(inspection, tensors=True), page(inspection, tensors=True)
files, resident, here = 0, 0, False
for line in open("/proc/self/smaps"):
    first = line.split(" ", 1)[0]
    if not first.endswith(":"):
        here = line.rstrip().endswith(".safetensors")
        files += here
    elif first == "Rss:" and here:
        resident += int(line.split()[1])
print(files, resident, "tokenizers" in sys.modules)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    folder = write_sparse(tmp_path_factory.mktemp("m") / "8b")
    write_large_tokenizer(folder)
    return folder


def cached_bytes(path: Path) -> int:
    """Bytes of a file that lie in the page cache."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    flags = np.zeros(pages, np.uint8)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(flags.ctypes.data)
        )
        del view
    assert done == 0, os.strerror(ctypes.get_errno())
    return int((flags & 1).sum()) * mmap.PAGESIZE


def test_no_weight_is_read_and_memory_stays_small(large):
    done = subprocess.run([sys.executable, "-c", _RUN, str(large)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    code, peak = map(int, done.stderr.split())
    assert found["weight_bytes"] == 16_060_522_496
    assert found["parameters"] == 8_030_261_248
    assert (code, found["status"]) in ((0, "ready"), (0, "needs attention"))
    assert peak < 150e6
    shards = sorted(large.glob("*.safetensors"))
    assert len(shards) == 4
    for shard in shards:
        assert cached_bytes(shard) < _READ_AHEAD


def test_no_page_of_a_weight_is_touched_and_no_tokenizer_is_built(large):
    done = subprocess.run([sys.executable, "-c", _MAPPED, str(large)], capture_output=True, text=True, check=True)
    assert done.stdout == "4 0 False\n"


def test_a_page_that_is_read_is_seen(large):
    """The measure can fail."""
    shard = max(large.glob("*.safetensors"))
    before = cached_bytes(shard)
    with shard.open("rb") as file:
        os.pread(file.fileno(), 4 << 20, 2 << 30)
    assert cached_bytes(shard) >= before + (4 << 20)
