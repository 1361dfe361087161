"""Kernels and the step program, in C++. Arrays in, arrays out; knows no file and no model.

The plain functions run one operation on one thread, for tests and benches; csrc/kernels/ holds each one's contract, in
a header of its name. Arrays are C-contiguous; outputs come first and are written in place, and share no memory with
other arguments, except that one may be an input where that is said; nothing is converted or copied. Stored arrays
(weights, the cache) are float32, float16 or, for BF16, uint16; weights may lie at any address. `isa` names a tier;
empty, it is INFERNO_ISA or else the best that this CPU runs. Bad arguments raise ValueError or TypeError.
"""

from collections.abc import Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

_Float32 = npt.NDArray[np.float32]
_Int32 = npt.NDArray[np.int32]
_Stored = npt.NDArray[np.float32 | np.float16 | np.uint16]
_Rows = npt.NDArray[np.uint8]
# In one piece, or cut along `axis` into blocks of rows (0) or of columns (1), in order and of one type.
_Matrix = _Stored | Sequence[_Stored]

KV_BLOCK: Final[int]  # positions in a block of the KV cache
MAX_HEAD_DIM: Final[int]
READ_PATTERNS: Final[tuple[str, ...]]  # ways to stream memory; which is fastest depends on the machine
K_ALIGN: Final[int]  # a matmul's weight is cut along k at multiples of it
LOGIT_GROUP: Final[int]  # logits that group_max and exp_weights treat as one group

def cpu_features() -> dict[str, bool]: ...
def tiers() -> dict[str, bool]:
    """Every tier of this build, plainest first, and whether this CPU runs it."""

def choose_tier(isa: str = "") -> str:
    """The name of the tier that `isa` selects. Raises ValueError for one that this CPU cannot run."""

def kernel_variants() -> dict[str, dict[str, str]]:
    """For every tier of this build, each kernel and the tier whose variant runs: its own, or one below."""

def read_bandwidth(data: npt.NDArray[Any], *, threads: int, pattern: str = "4-streams", isa: str = "") -> float:
    """Bytes per second at which `threads` threads read `data` once, in one of READ_PATTERNS."""

def read_all(data: npt.NDArray[Any], *, pattern: str = "4-streams", isa: str = "") -> int:
    """What read_bandwidth does on one thread: the exclusive or of the data's 64-bit words, the last padded by zeros."""

def fma_peak(*, threads: int, rounds: int, isa: str = "") -> float:
    """Float32 multiply-adds per second of `threads` threads, in registers."""

def madd_peak(*, threads: int, rounds: int, isa: str = "") -> float:
    """Multiply-adds of 16-bit integers into 32 bits per second of `threads` threads, in registers."""

def embedding(out: _Float32, ids: _Int32, table: _Matrix, *, axis: int = 0, isa: str = "") -> None:
    """out: (tokens, dim); ids: (tokens,); table: (vocab, dim), or its pieces along `axis`."""

def rmsnorm(out: _Float32, x: _Float32, weight: _Stored, eps: float, *, isa: str = "") -> None:
    """out, x: (rows, dim); weight: (dim,). out may be x."""

def matmul(
    out: _Float32,
    x: _Float32,
    w: _Matrix,
    *,
    axis: int = 0,
    bias: _Stored | None = None,
    gate: _Float32 | None = None,
    residual: _Float32 | None = None,
    n_begin: int = 0,
    n_end: int | None = None,
    isa: str = "",
) -> None:
    """out = (x w^T + bias) * silu(gate) + residual, columns [n_begin, n_end) alone.

    x: (m, k); w: (n, k), or its pieces along `axis`; bias: (n,); out, gate, residual: (m, n). out may be gate or
    residual. The bits of the result do not depend on how w is cut; along k it is cut at multiples of K_ALIGN.
    """

def quantized_rows(rows: int, k: int, *, outliers: bool = False) -> _Rows:
    """Room for rows of k int8 codes as csrc/kernels/quantize.h lays them out, all zero: uint8 (rows, bytes of a row).

    A row is its scale (float32), its number of outliers (int32), from byte 64 on its codes (int16, the zero point taken
    off), and where `outliers`, after a multiple of 64 bytes, their columns (int32) and values (float32) in pairs.
    """

def quantize(
    out: _Rows,
    x: _Float32,
    *,
    rule: str,
    scale: float = 1.0,
    zero: int = 0,
    threshold: float = 0.0,
    isa: str = "",
) -> None:
    """Rounds the rows of x (m, k) to int8 codes; out: quantized_rows(m, k, outliers=threshold > 0).

    rule: "absmax127", "absmax127.5", "range-as-served", "range"; or "static-as-served", "static", with `scale` and
    `zero`. threshold: x with |x| of at least this are outliers (0: none).
    """

def rmsnorm_quantize(
    out: _Rows,
    x: _Float32,
    weight: _Stored,
    eps: float,
    *,
    rule: str,
    scale: float = 1.0,
    zero: int = 0,
    threshold: float = 0.0,
    isa: str = "",
) -> None:
    """The bits of rmsnorm and then quantize, without the float32 rows between them."""

def matmul_int8(
    out: _Float32,
    x: _Rows,
    weight: CodedWeight,
    *,
    bias: _Stored | None = None,
    gate: _Float32 | None = None,
    residual: _Float32 | None = None,
    outliers: bool = False,
    n_begin: int = 0,
    n_end: int | None = None,
    isa: str = "",
) -> None:
    """out = (x w^T + bias) * silu(gate) + residual of codes with codes; sums of products are exact in int32.

    x: quantized_rows(m, k, outliers=outliers) as quantize fills them; weight: of kind "i8" or "u8", no block of which
    has so many columns that a sum could leave int32 (33,025; 65,793 for int8 without zero points). Otherwise as matmul.
    """

class CodedWeight:
    """A weight matrix (n, k) of codes, checked once and used where it lies: csrc/kernels/coded.h. Keeps its arrays.

    w[j, p] = (value(code[j, p]) - zero) * scale. A scale and a zero stand for `block`'s rows and columns: (1, k) is per
    channel, (n, k) per tensor, (1, g) groups along k; block_of (k,) names each column's block where they are not in
    order. Arrays may lie at any address.

    kind: "i8", "u8", "u4", "e4m3" (float8 e4m3fn), "lut4" (bitsandbytes: value is levels[code], levels (16,)): rows of
    codes; "u4" and "u8" may be padded to whole int32 words. "gptq4", "gptq8", "awq4": int32 words, (k / 8, n),
    (k / 4, n) and (k, n / 8). codes: int8, uint8 or int32, any shape of the right size.
    scales: float32, float16 or uint16 (BF16), (row blocks, column blocks), for the kinds of words (column blocks, n);
    dimensions of one may be left out. Each counts `factor` times. With nested_levels (256,), uint8:
    nested_levels[scale] * nested_scales[index // nested_block] + nested_offset.
    zeros: int8 or uint8 as the scales; int32, packed as the method of the kind packs them ("u4", "u8": along n, as
    compressed-tensors); none: `zero` everywhere. `zero` is added to packed ones.
    """

    def __init__(
        self,
        kind: str,
        codes: npt.NDArray[np.int8 | np.uint8 | np.int32],
        n: int,
        k: int,
        scales: _Stored | npt.NDArray[np.uint8],
        *,
        block: tuple[int, int],
        zeros: npt.NDArray[np.int8 | np.uint8 | np.int32] | None = None,
        zero: int = 0,
        block_of: _Int32 | None = None,
        levels: _Float32 | None = None,
        factor: float = 1.0,
        nested_levels: _Float32 | None = None,
        nested_scales: _Float32 | None = None,
        nested_block: int = 0,
        nested_offset: float = 0.0,
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """Of codes, scales and zeros."""

def matmul_coded(
    out: _Float32,
    x: _Float32,
    weight: CodedWeight,
    *,
    bias: _Stored | None = None,
    gate: _Float32 | None = None,
    residual: _Float32 | None = None,
    n_begin: int = 0,
    n_end: int | None = None,
    isa: str = "",
) -> None:
    """matmul with a weight of codes: each is widened to the float32 nearest to (value - zero) * scale."""

def round_e4m3(
    out: _Float32,
    x: _Float32,
    *,
    scale: float | None = None,
    group: int = 0,
    reciprocal: bool = True,
    isa: str = "",
) -> None:
    """out = e4m3(x / s) * s, clamped to 448 s: what float8 activations stand for. out, x: (rows, dim); out may be x.

    s: `scale`, or absmax / 448 of each `group` columns of a row; 0: of the row. reciprocal: x * (1 / s), not x / s.
    """

def rope_angles(out: _Float32, positions: _Int32, inv_freq: _Float32, factor: float, *, isa: str = "") -> None:
    """out: (tokens, 2 half), cosines and then sines; positions: (tokens,); inv_freq: (half,)."""

def rope(out: _Float32, x: _Float32, angles: _Float32, *, interleaved: bool = False, isa: str = "") -> None:
    """out, x: (tokens, heads, head_dim); angles: (tokens, head_dim). out may be x unless interleaved."""

def kv_write(
    keys: _Stored,
    values: _Stored,
    block_table: _Int32,
    first_position: int,
    k: _Float32,
    v: _Float32,
    *,
    isa: str = "",
) -> None:
    """keys: (blocks, kv_heads, head_dim, KV_BLOCK); values: (blocks, kv_heads, KV_BLOCK, head_dim).

    k, v: (tokens, kv_heads, head_dim), of consecutive positions; block_table: (blocks of the sequence,).
    """

def attention(
    out: _Float32,
    q: _Float32,
    keys: _Stored,
    values: _Stored,
    block_table: _Int32,
    first_position: int,
    scale: float,
    *,
    isa: str = "",
) -> None:
    """out, q: (tokens, heads, head_dim); the cache as in kv_write, keys and values of these tokens in it."""

def silu_mul(out: _Float32, gate: _Float32, up: _Float32, *, isa: str = "") -> None:
    """All: (n,). out may be gate or up."""

def argmax(logits: _Float32, *, isa: str = "") -> int:
    """The place of the largest of (vocab_size,) logits; the lowest of equals."""

def group_max(maxima: _Float32, x: _Float32, *, isa: str = "") -> tuple[float, bool]:
    """maxima: (groups of x,). Returns the maximum of all, and whether x holds a NaN."""

def collect(ids: _Int32, x: _Float32, maxima: _Float32, threshold: float, *, isa: str = "") -> int:
    """Writes the places of x that reach threshold to ids, ascending, and returns how many; maxima as of group_max."""

def exp_weights(
    weights: _Float32, sums: npt.NDArray[np.uint64], x: _Float32, peak: float, scale: float, *, isa: str = ""
) -> None:
    """weights, x: (n,); sums: (groups of x,). weights = exp((x - peak) * scale) and their integer masses by group."""

def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox-4x32-10 (Salmon et al., 2011): four words from a counter of four and a key of two."""

class Sampler:
    """Chooses the tokens of one sequence. Draws are keyed by (seed, sample, position). Threads may share it."""

    def __init__(
        self,
        vocab_size: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        seed: int = 0,
        sample: int = 0,
        isa: str = "",
    ) -> None: ...
    @property
    def vocab_size(self) -> int: ...
    def observe_prompt(self, ids: Sequence[int]) -> None:
        """Counts the prompt's tokens for the repetition penalty."""

    @overload
    def sample(self, logits: _Float32, position: int) -> int: ...
    @overload
    def sample(self, logits: _Float32, position: int, logprobs: int) -> tuple[int, float, list[tuple[int, float]]]:
        """The token, its log-probability, and the `logprobs` likeliest tokens with theirs."""

    def distribution(self, logits: _Float32) -> tuple[_Int32, npt.NDArray[np.float64]]:
        """(ids, probabilities) of what sample would draw from, ascending by id."""

class Program:
    """One forward pass: operations over named buffers, recorded once, run in one call.

    A buffer has a row for each token, or with `outputs` one for each output row; it holds float32, or `quantized` rows
    as quantized_rows makes them, `outliers` with room for those. Each recording method takes buffers by name and keeps
    the arrays that it is given. One run at a time: RuntimeError if another thread uses the program meanwhile.
    """

    def __init__(self, isa: str = "") -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def operations(self) -> list[str]: ...
    @property
    def regions(self) -> int:
        """Parallel regions of the last run: one, and one more for each pause of a long run."""
    @property
    def stages(self) -> int:
        """Groups of operations between two barriers."""

    @property
    def workspace_bytes(self) -> int: ...
    def buffer(
        self, name: str, width: int, *, outputs: bool = False, quantized: bool = False, outliers: bool = False
    ) -> None: ...
    def embedding(self, out: str, table: _Matrix, *, axis: int = 0) -> None: ...
    def rmsnorm(self, out: str, x: str, weight: _Stored, eps: float) -> None: ...
    def matmul(
        self,
        out: str,
        x: str,
        w: _Matrix,
        *,
        axis: int = 0,
        bias: _Stored | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None: ...
    def matmul_coded(
        self,
        out: str,
        x: str,
        weight: CodedWeight,
        *,
        bias: _Stored | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None: ...
    def round_e4m3(
        self, out: str, x: str, *, scale: float | None = None, group: int = 0, reciprocal: bool = True
    ) -> None: ...
    def quantize(
        self, out: str, x: str, *, rule: str, scale: float = 1.0, zero: int = 0, threshold: float = 0.0
    ) -> None: ...
    def rmsnorm_quantize(
        self,
        out: str,
        x: str,
        weight: _Stored,
        eps: float,
        *,
        rule: str,
        scale: float = 1.0,
        zero: int = 0,
        threshold: float = 0.0,
    ) -> None: ...
    def matmul_int8(
        self,
        out: str,
        x: str,
        weight: CodedWeight,
        *,
        bias: _Stored | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None: ...
    def rope_angles(self, out: str, inv_freq: _Float32, factor: float) -> None: ...
    def rope(self, out: str, x: str, angles: str, *, interleaved: bool = False) -> None: ...
    def kv_write(self, k: str, v: str, keys: _Stored, values: _Stored) -> None: ...
    def attention(self, out: str, q: str, keys: _Stored, values: _Stored, scale: float) -> None: ...
    def select_rows(self, out: str, x: str) -> None:
        """Copies the output rows, from a buffer of tokens to one of outputs."""

    def run(
        self,
        token_ids: _Int32,
        lengths: _Int32,
        starts: _Int32,
        block_tables: _Int32,
        output_rows: _Int32,
        *,
        threads: int,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        """Runs operations [first, last) on a batch, without the GIL.

        token_ids: (tokens,), of one sequence after the other; lengths, starts: (sequences,), each one's tokens and the
        position of the first; block_tables: (sequences, blocks); output_rows: (outputs,), each in [0, tokens).
        """

    def profile(
        self,
        token_ids: _Int32,
        lengths: _Int32,
        starts: _Int32,
        block_tables: _Int32,
        output_rows: _Int32,
        *,
        threads: int,
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Runs all operations, and tells where the time went, in nanoseconds.

        Returns (threads, operations), of each thread inside each operation; (stages,), of each stage until all threads
        have left its barrier; and (operations,), the stage of each.
        """

    def read(self, buffer: str) -> _Float32:
        """A copy of a buffer after the last run: (rows, width); no rows before the first. Of codes: scale * code."""

    def read_into(self, buffer: str, out: _Float32) -> None: ...
