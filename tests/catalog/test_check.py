"""Models that are loaded and made to generate: with a tokenizer, without, broken, one after the other."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inferno.catalog import find_models
from inferno.catalog.check import TOKENS, check_model
from speaker import write_speaker
from tiny import write_tiny


def mapped() -> int:
    gc.collect()
    return Path("/proc/self/maps").read_text().count("model.safetensors")


@pytest.mark.parametrize("tokenizer", [True, False])
def test_a_model_that_runs(tmp_path, tokenizer):
    folder = write_tiny(tmp_path / "m", tokenizer=tokenizer)
    before = mapped()
    result = check_model(folder, threads=1)
    assert (result.error, result.tokens) == (None, TOKENS)
    for number in (result.load_seconds, result.first_token_seconds, result.tokens_per_second, result.peak_memory_bytes):
        assert number > 0
    assert mapped() == before  # closed


def test_end_tokens_do_not_end_it(tmp_path):
    assert check_model(write_speaker(tmp_path / "m", "ab")).tokens == TOKENS


@pytest.mark.parametrize("ctx_size", [1, 2, 5])
def test_a_short_context_without_a_tokenizer(tmp_path, ctx_size):
    folder = write_tiny(tmp_path / "m", {"max_position_embeddings": ctx_size})
    result = check_model(folder)
    assert result.error is None
    assert 1 <= result.tokens <= ctx_size


def test_a_small_vocabulary_without_a_tokenizer(tmp_path):
    folder = write_tiny(tmp_path / "m", {"vocab_size": 2, "bos_token_id": 0, "eos_token_id": 1})
    assert check_model(folder).error is None


PEAKS = """
import sys
from pathlib import Path
import numpy as np
from inferno.catalog.check import check_model

folder = Path(sys.argv[1])
first = check_model(folder).peak_memory_bytes
held = np.ones(100 << 20, np.uint8)
assert held[-1] == 1
del held
print(check_model(folder).peak_memory_bytes - first)
"""


def test_the_peak_is_this_models_own(tmp_path):
    """In a process of its own: what other tests leave to the allocator would count."""
    command = [sys.executable, "-c", PEAKS, str(write_tiny(tmp_path / "m"))]
    grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(grown) < 50 << 20


def test_failures_are_told(tmp_path):
    cut = write_tiny(tmp_path / "cut")
    os.truncate(cut / "model.safetensors", 100_000)
    assert "the file is truncated" in check_model(cut).error
    broken = write_tiny(tmp_path / "broken", tokenizer=True)
    (broken / "tokenizer.json").write_text("{")
    result = check_model(broken)
    assert "tokenizer.json" in result.error
    assert (result.tokens, result.tokens_per_second) == (0, None)
    assert "no such folder" in check_model(tmp_path / "none").error


def test_a_fault_of_ours_hides_no_other_model(tmp_path, monkeypatch):
    folder = write_tiny(tmp_path / "m")
    monkeypatch.setattr(sys.modules["inferno.analysis.analyze"], "recognize", lambda *_: 1 // 0)
    assert check_model(folder).error == "unexpected ZeroDivisionError: integer division or modulo by zero"
    (entry,) = (entry for entry in find_models([tmp_path]) if entry.source == "folder")
    assert (entry.status, entry.findings[0].code) == ("cannot run", "internal-error")
