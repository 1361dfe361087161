"""The step program itself: stages, parts of it, batches that grow, and what run() refuses."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import bits

WIDTH, VOCAB = 24, 50


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def i32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def batch(lengths: list[int], starts: list[int] | None = None, outputs: list[int] | None = None) -> dict[str, Any]:
    """Token ids count up; sequence s has blocks 4 s to 4 s + 3; by default the last token of all gives an output."""
    tokens = sum(lengths)
    return {
        "token_ids": i32(np.arange(tokens) % VOCAB),
        "lengths": i32(lengths),
        "starts": i32(starts or [0] * len(lengths)),
        "block_tables": i32(np.arange(4 * len(lengths))).reshape(-1, 4),
        "output_rows": i32([tokens - 1] if outputs is None else outputs),
    }


def layer(isa: str = "") -> _core.Program:
    """A layer of everything: 3 heads of 8 over 1 KV head, a residual, a norm, a head on chosen rows."""
    p = _core.Program(isa)
    for name in ("h", "x", "q", "attended"):
        p.buffer(name, WIDTH)
    for name in ("k", "v", "angles"):
        p.buffer(name, 8)
    p.buffer("last", WIDTH, outputs=True)
    p.buffer("logits", VOCAB, outputs=True)
    cache = np.zeros((12, 1, 8, 32), np.float32), np.zeros((12, 1, 32, 8), np.float32)
    p.embedding("h", weights(VOCAB, WIDTH))
    p.rope_angles("angles", weights(4), 1.0)
    p.rmsnorm("x", "h", weights(WIDTH), 1e-5)
    p.matmul("q", "x", weights(WIDTH, WIDTH))
    p.matmul("k", "x", weights(8, WIDTH))
    p.matmul("v", "x", weights(8, WIDTH, seed=1))
    p.rope("q", "q", "angles")
    p.rope("k", "k", "angles")
    p.kv_write("k", "v", *cache)
    p.attention("attended", "q", *cache, 0.35)
    p.matmul("h", "attended", weights(WIDTH, WIDTH, seed=2), residual="h")
    p.select_rows("last", "h")
    p.matmul("logits", "last", weights(VOCAB, WIDTH))
    return p


BUFFERS = ["h", "x", "q", "k", "v", "angles", "attended", "last", "logits"]


def contents(p: _core.Program) -> dict[str, np.ndarray]:
    return {name: p.read(name) for name in BUFFERS}


def assert_equal_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    for name in a:
        np.testing.assert_array_equal(bits(a[name]), bits(b[name]), err_msg=name)


def three_buffers(*operations: tuple[str, str, str]) -> int:
    """Stages of a program of (out, x, residual or "") matmuls."""
    p = _core.Program()
    for name in "abcdef":
        p.buffer(name, 4)
    for out, x, residual in operations:
        p.matmul(out, x, weights(4, 4), residual=residual or None)
    return p.stages


@pytest.mark.parametrize(
    ("operations", "stages"),
    [
        ([], 0),
        ([("b", "a", "")], 1),
        ([("b", "a", ""), ("c", "a", ""), ("d", "a", "")], 1),  # q, k and v read one buffer: no barrier between
        ([("b", "a", ""), ("c", "b", "")], 2),  # reads what was written
        ([("b", "a", ""), ("a", "c", "")], 2),  # writes what was read
        ([("b", "a", ""), ("b", "c", "")], 2),  # writes what was written
        ([("b", "a", ""), ("c", "d", "b")], 2),  # a residual is read too
        ([("b", "a", ""), ("d", "c", ""), ("f", "e", "d")], 2),
        ([("b", "a", ""), ("c", "b", ""), ("d", "a", ""), ("e", "b", "")], 2),  # all of it fits in the second stage
    ],
)
def test_a_barrier_stands_only_at_a_hazard(operations: list[tuple[str, str, str]], stages: int) -> None:
    assert three_buffers(*operations) == stages


def test_attention_waits_for_the_write_into_its_own_cache_alone() -> None:
    def stages(same: bool) -> int:
        p = _core.Program()
        for name in "abcd":
            p.buffer(name, 8)
        caches = [(np.zeros((1, 1, 8, 32), np.float32), np.zeros((1, 1, 32, 8), np.float32)) for _ in range(2)]
        p.kv_write("a", "b", *caches[0])
        p.attention("c", "d", *caches[0 if same else 1], 1.0)
        return p.stages

    assert (stages(True), stages(False)) == (2, 1)


def test_stages_of_a_layer(isa: str) -> None:
    p = layer(isa)
    assert p.operations == [
        "embedding", "rope_angles", "rmsnorm", "matmul", "matmul", "matmul", "rope", "rope", "kv_write", "attention",
        "matmul", "select_rows", "matmul",
    ]  # fmt: skip
    # embedding, angles | norm | q k v | rope q, k | write | attention | output | select | head
    assert p.stages == 9


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_operation_by_operation_equals_whole(isa: str, threads: int) -> None:
    whole, eager = layer(isa), layer(isa)
    step = batch([37, 1, 20], [0, 5, 40], outputs=[57, 0, 36, 36])
    whole.run(**step, threads=threads)
    for index in range(len(eager.operations)):
        eager.run(**step, threads=threads, first=index, last=index + 1)
    assert_equal_bits(contents(eager), contents(whole))
    for cut in range(len(eager.operations) + 1):
        eager.run(**step, threads=threads, last=cut)
        eager.run(**step, threads=threads, first=cut)
        assert_equal_bits(contents(eager), contents(whole))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_profile_tells_all_of_the_time(isa: str, threads: int) -> None:
    """No thread is longer in a stage's operations than the stage took, and the bits are those of a run."""
    plain, profiled = layer(isa), layer(isa)
    step = batch([37, 1, 20], [0, 5, 40], outputs=[57, 0, 36])
    plain.run(**step, threads=threads)
    busy, stages, stage_of = profiled.profile(**step, threads=threads)
    assert_equal_bits(contents(profiled), contents(plain))
    assert busy.shape == (threads, len(plain.operations))
    assert stages.shape == (plain.stages,)
    assert stage_of.tolist() == sorted(stage_of.tolist())
    assert set(stage_of.tolist()) == set(range(plain.stages))
    assert busy.sum(axis=0).min() > 0
    for stage, wall in enumerate(stages):
        assert busy[0, stage_of == stage].sum() <= wall


def test_profile_refuses_what_run_refuses() -> None:
    with pytest.raises(ValueError, match="output rows must be in"):
        layer().profile(**batch([2], outputs=[2]), threads=1)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_no_bit(isa: str, threads: int) -> None:
    step = batch([37, 1, 20], [0, 5, 40], outputs=[57, 0, 36])
    one, many = layer(isa), layer(isa)
    one.run(**step, threads=1)
    for _ in range(20):
        many.run(**step, threads=threads)
        assert_equal_bits(contents(many), contents(one))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("kv_heads", "group", "head_dim", "dtype"), [(1, 3, 16, np.float32), (2, 8, 20, np.float16)])
def test_attention_in_segments_equals_the_whole(
    isa: str, threads: int, kv_heads: int, group: int, head_dim: int, dtype: Any
) -> None:
    """Over a long context few tokens are computed in segments, many whole; each row's bits are the same.

    Contexts end before, at and after the ends of segments of 512 positions; runs follow one another.
    """
    generator, blocks = np.random.default_rng(3), 56
    shape = (blocks, kv_heads, head_dim, _core.KV_BLOCK)
    keys = generator.standard_normal(shape).astype(dtype)
    values = generator.standard_normal((blocks, kv_heads, _core.KV_BLOCK, head_dim)).astype(dtype)
    width = kv_heads * group * head_dim
    p = _core.Program(isa)
    p.buffer("q", width)
    p.buffer("out", width)
    rows = generator.standard_normal((60, width)).astype(np.float32)
    p.embedding("q", rows)
    p.attention("out", "q", keys, values, 0.3)
    table = generator.permutation(blocks).astype(np.int32)

    def run(lengths: list[int], starts: list[int], ids: list[int]) -> np.ndarray:
        tables = np.stack([table] * len(lengths))
        p.run(i32(ids), i32(lengths), i32(starts), tables, i32([]), threads=threads)
        return p.read("out")

    for end in (511, 512, 513, 1024, 1600):
        whole = run([50], [end - 50], list(range(50)))
        first, last = end - 1, end - 2
        alone = run([1], [first], [49])
        np.testing.assert_array_equal(bits(alone[0]), bits(whole[49]))
        both = run([1, 1, 1], [last, 20, first], [48, 0, 49])  # one short context among them
        np.testing.assert_array_equal(bits(both[0]), bits(whole[48]))
        np.testing.assert_array_equal(bits(both[2]), bits(whole[49]))
        np.testing.assert_array_equal(bits(run([2], [last], [48, 49])), bits(whole[48:]))


def test_a_batch_grows_and_shrinks(isa: str) -> None:
    """A used program answers as a fresh one, whatever it ran before; its buffers stay as large as they once were."""
    used, size = layer(isa), 0
    for tokens in (1, 40, 3, 90, 90, 1):
        fresh = layer(isa)
        step = batch([tokens], outputs=list(range(0, tokens, 2)))
        used.run(**step, threads=2)
        fresh.run(**step, threads=1)
        assert_equal_bits(contents(used), contents(fresh))
        assert used.workspace_bytes == max(size, fresh.workspace_bytes)
        size = used.workspace_bytes


def test_no_outputs_give_no_rows() -> None:
    p = layer()
    p.run(**batch([5], outputs=[]), threads=2)
    assert p.read("logits").shape == (0, VOCAB)
    assert p.read("h").shape == (5, WIDTH)


def test_a_buffer_without_memory_has_no_rows() -> None:
    p = layer()
    assert p.read("h").shape == (0, WIDTH)
    p.run(**batch([5]), threads=1)
    p.buffer("late", 3)
    assert p.read("late").shape == (0, 3)


def test_memory_that_cannot_be_had_is_an_error() -> None:
    """And leaves no rows to read."""
    p = _core.Program()
    p.buffer("huge", 2**30 - 1)
    p.run(**batch([1]), threads=1)
    tokens = 2**18  # a petabyte
    step = {**batch([tokens]), "block_tables": np.zeros((1, tokens // 32), np.int32)}
    with pytest.raises(MemoryError):
        p.run(**step, threads=1)
    assert p.read("huge").shape == (0, 2**30 - 1)


def test_read_into() -> None:
    p = layer()
    p.run(**batch([5], outputs=[1, 4]), threads=1)
    out = np.empty((2, VOCAB), np.float32)
    p.read_into("logits", out)
    np.testing.assert_array_equal(out, p.read("logits"))
    message = "Program.read_into: out must be (2, 50) to match buffer logits; got (1, 50) float32"
    with pytest.raises(ValueError, match=re.escape(message)):
        p.read_into("logits", out[:1])


GOOD = batch([3, 2])
TABLE = GOOD["block_tables"]
RUN_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"token_ids": i32([])}, "program: a batch must hold at least one token; got none"),
    ({"token_ids": i32([1, 2, 3, 4])}, "program: sequences must cover 4 tokens; got 5"),
    ({"token_ids": i32([0] * 6)}, "program: sequences must cover 6 tokens; got 5"),
    ({"token_ids": i32([1, 2, 3, 4, VOCAB])}, "embedding: token ids must be in [0, 50); got 50"),
    ({"token_ids": i32([1, 2, 3, 4, -1])}, "embedding: token ids must be in [0, 50); got -1"),
    ({"token_ids": np.zeros(5, np.int64)}, "Program.run: token_ids must be a contiguous, aligned 1-d array of int32"),
    ({"lengths": i32([5, 0])}, "Program.run: lengths must be >= 1 and starts >= 0; got 0 and 0"),
    ({"lengths": i32([-3, 8])}, "Program.run: lengths must be >= 1 and starts >= 0; got -3 and 0"),
    ({"starts": i32([0, -1])}, "Program.run: lengths must be >= 1 and starts >= 0; got 2 and -1"),
    ({"starts": i32([0])}, "Program.run: starts must be (2,) to match lengths; got (1,) int32"),
    ({"starts": i32([0, 127])}, "program: sequence 1: block table must cover 129 positions; got 128"),
    ({"starts": i32([2**31 - 1, 0])}, "program: sequence 0: block table must cover 2147483650 positions; got 128"),
    ({"block_tables": TABLE[:1]}, "Program.run: block_tables must be (2, 4) to match lengths; got (1, 4) int32"),
    ({"block_tables": TABLE[:, ::2]}, "Program.run: block_tables must be a contiguous, aligned 2-d array of int32"),
    ({"block_tables": TABLE[:, :0].copy()}, "program: sequence 0: block table must cover 3 positions; got 0"),
    ({"block_tables": TABLE + 12}, "kv_write: block numbers must be in [0, 12); got 12"),
    ({"block_tables": TABLE - 1}, "kv_write: block numbers must be in [0, 12); got -1"),
    ({"block_tables": TABLE + 12, "first": 9}, "attention: block numbers must be in [0, 12); got 12"),
    ({"output_rows": i32([5])}, "program: output rows must be in [0, 5); got 5"),
    ({"output_rows": i32([-1])}, "program: output rows must be in [0, 5); got -1"),
    ({"first": 14}, "Program.run: first and last must select from 13 operations; got 14 and 13"),
    ({"last": 14}, "Program.run: first and last must select from 13 operations; got 0 and 14"),
    ({"first": 3, "last": 2}, "Program.run: first and last must select from 13 operations; got 3 and 2"),
    ({"threads": 0}, "Program.run: threads must be in [1, 1024]; got 0"),
    ({"threads": 1025}, "Program.run: threads must be in [1, 1024]; got 1025"),
]


@pytest.mark.parametrize(("changes", "message"), RUN_ERRORS)
def test_run_refuses(changes: dict[str, Any], message: str) -> None:
    p = layer()
    p.run(**GOOD, threads=2)
    before = contents(p)
    with pytest.raises(ValueError, match=re.escape(message)):
        p.run(**{**GOOD, "threads": 2, **changes})
    assert_equal_bits(contents(p), before)
    p.run(**GOOD, threads=2)
    assert_equal_bits(contents(p), before)


def cache_of(*keys: int) -> tuple[np.ndarray, np.ndarray]:
    blocks, heads, head_dim = keys
    return np.zeros((blocks, heads, head_dim, 32), np.float32), np.zeros((blocks, heads, 32, head_dim), np.float32)


ROWS = "must have a row for each token; got out, which has one for each output"
RECORD_ERRORS: list[tuple[Callable[[_core.Program], None], str]] = [
    (lambda p: p.buffer("a", 4), "program: there is already a buffer named a"),
    (lambda p: p.buffer("n", 0), "program: buffer n must be at least 1 and less than 1073741824 wide; got 0"),
    (
        lambda p: p.buffer("n", 2**30),
        "program: buffer n must be at least 1 and less than 1073741824 wide; got 1073741824",
    ),
    (lambda p: p.read("none"), "program: there is no buffer named none"),
    (lambda p: p.embedding("none", weights(3, 4)), "program: there is no buffer named none"),
    (lambda p: p.embedding("a", weights(3, 5)), "embedding: out: buffer a must be 5 wide; got 4"),
    (lambda p: p.embedding("a", weights(3)), "embedding: table must be (vocab, dim); got (3,) float32"),
    (lambda p: p.embedding("out", weights(3, 4)), "embedding: out " + ROWS),
    (lambda p: p.rmsnorm("a", "wide", weights(4), 1e-5), "rmsnorm: x: buffer wide must be 4 wide; got 8"),
    (lambda p: p.rmsnorm("a", "b", weights(4, 1), 1e-5), "rmsnorm: weight must be (dim,); got (4, 1) float32"),
    (lambda p: p.rmsnorm("out", "b", weights(4), 1e-5), "rmsnorm: out and x must have the same rows; got out, b"),
    (lambda p: p.matmul("a", "a", weights(4, 4)), "matmul: out and x must be different buffers; got a twice"),
    (lambda p: p.matmul("a", "b", weights(8, 4)), "matmul: out: buffer a must be 8 wide; got 4"),
    (lambda p: p.matmul("a", "b", weights(4, 8)), "matmul: x: buffer b must be 8 wide; got 4"),
    (lambda p: p.matmul("a", "b", weights(4, 4), gate="wide"), "matmul: gate: buffer wide must be 4 wide; got 8"),
    (lambda p: p.matmul("a", "b", weights(4, 4), bias=weights(5)), "matmul: bias must be (4,) to match w; got (5,)"),
    (
        lambda p: p.matmul("out", "b", weights(4, 4)),
        "matmul: out, gate and residual must have the rows of x, buffer b",
    ),
    (
        lambda p: p.matmul("a", "b", weights(4, 4), residual="out"),
        "matmul: out, gate and residual must have the rows of x, buffer b",
    ),
    (lambda p: p.rope_angles("a", weights(3), 1.0), "rope_angles: out: buffer a must be 6 wide; got 4"),
    (lambda p: p.rope_angles("out", weights(2), 1.0), "rope_angles: out " + ROWS),
    (lambda p: p.rope("a", "b", "odd"), "rope: angles must be an even number wide; got 3"),
    (lambda p: p.rope("a", "b", "wide"), "rope: x must be a multiple of 8 wide; got 4"),
    (lambda p: p.rope("out", "b", "a"), "rope: out " + ROWS),
    (lambda p: p.rope("b", "out", "a"), "rope: x " + ROWS),
    (lambda p: p.rope("b", "a", "out"), "rope: angles " + ROWS),
    (lambda p: p.rope("b", "b", "a", interleaved=True), "rope: out must not be x in interleaved order"),
    (lambda p: p.kv_write("wide", "b", *cache_of(1, 2, 2)), "kv_write: k: buffer wide must be 4 wide; got 8"),
    (lambda p: p.kv_write("a", "out", *cache_of(1, 2, 2)), "kv_write: v " + ROWS),
    (lambda p: p.attention("a", "b", *cache_of(1, 3, 2), 1.0), "attention: q must be a multiple of 6 wide; got 4"),
    (lambda p: p.attention("a", "b", *cache_of(1, 0, 2), 1.0), "attention: keys must have at least one head"),
    (lambda p: p.attention("wide", "a", *cache_of(1, 2, 2), 1.0), "attention: out: buffer wide must be 4 wide; got 8"),
    (lambda p: p.attention("a", "out", *cache_of(1, 2, 2), 1.0), "attention: q " + ROWS),
    (lambda p: p.attention("out", "a", *cache_of(1, 2, 2), 1.0), "attention: out " + ROWS),
    (
        lambda p: p.attention("a", "a", *cache_of(1, 2, 2), 1.0),
        "attention: out and q must be different buffers; got a twice",
    ),
    (
        lambda p: p.select_rows("a", "b"),
        "select_rows: x must have a row for each token and out one for each output; got b, a",
    ),
]


@pytest.mark.parametrize(("record", "message"), RECORD_ERRORS)
def test_recording_refuses(record: Callable[[_core.Program], None], message: str) -> None:
    p = _core.Program()
    for name, width in [("a", 4), ("b", 4), ("wide", 8), ("odd", 3)]:
        p.buffer(name, width)
    p.buffer("out", 4, outputs=True)
    with pytest.raises(ValueError, match=re.escape(message)):
        record(p)
    assert p.operations == []


def test_a_program_keeps_its_arrays() -> None:
    """Recorded arrays outlive their names."""
    p = _core.Program()
    p.buffer("h", 1024)
    table = np.full((VOCAB, 1024), 3, np.float32)
    p.embedding("h", table)
    del table
    junk = [np.full((VOCAB, 1024), 4, np.float32) for _ in range(4)]
    p.run(**batch([5]), threads=1)
    assert (p.read("h") == 3).all()
    assert len(junk) == 4


def test_one_program_runs_once_at_a_time() -> None:
    """A second thread gets an error, never half of another's batch; the run that was first is whole."""
    p, size = _core.Program(), 3000
    for name in ("x", "y", "z"):
        p.buffer(name, size)
    w = weights(size, size)
    p.embedding("x", weights(VOCAB, size))
    p.matmul("y", "x", w)
    p.matmul("z", "y", w)
    step = batch([60])
    p.run(**step, threads=1)
    expected = p.read("z")
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def use() -> None:
        barrier.wait()
        for _ in range(4):
            try:
                p.run(**step, threads=1)
                outcomes.append("ran")
            except RuntimeError as error:
                outcomes.append(str(error))

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    refusal = (
        "Program: run must wait until this program's run has ended; another thread is running it. "
        "A program of its own for each thread would work"
    )
    assert set(outcomes) == {"ran", refusal}
    np.testing.assert_array_equal(bits(p.read("z")), bits(expected))
