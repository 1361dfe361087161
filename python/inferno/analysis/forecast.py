"""What a model will cost on this machine, and how fast it will be: from shapes and measured limits alone.

A token's step is taken as the sum of its parts, each at the speed that hardware.limits measured for that part alone:
the matrices (bytes over the speed for their kernel, stored type and row length), attention over the cache so far, and
the barriers between the stages of the step program. A prompt's chunk is its multiply-adds in the same manner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from inferno.analysis.rounding import NO_ROUNDING, Rounding, rounding
from inferno.hardware.rates import SHARED_HEADS, of_codes, rate_name

if TYPE_CHECKING:
    from inferno.analysis.plan import Plan
    from inferno.engine.outputs import Metrics
    from inferno.hardware import Limits, Rate

# Tokens of a prompt that run at once: models/model.py.
CHUNK = 256
# Stages of the step program for a layer, and before and after the layers: docs/architecture.md.
LAYER_STAGES, OTHER_STAGES = 10, 4
# The operations of capability.py that multiply with a matrix.
MATMULS = ("matmul", "matmul_int8", "matmul_coded")


@dataclass(frozen=True)
class MatrixUse:
    """A matrix that a step multiplies with: n rows of k, `nbytes` as stored, its scales and zero points among them.

    `dtype` is the name under which Limits has the matmul's speed (hardware.rates.rate_name).
    `last_only` if of a prompt it meets the last token alone, as the head does.
    """

    name: str
    n: int
    k: int
    dtype: str
    nbytes: int
    last_only: bool = False


@dataclass(frozen=True)
class Workload:
    """What a step does, as far as its time depends on it.

    matrices       every matrix of the step
    weight_bytes   of all tensors, the embedding too
    ctx_size       tokens of prompt and output together
    stages         of the step program
    rounding       what rounding the inputs of quantized layers adds; its stages are among `stages`
    """

    matrices: tuple[MatrixUse, ...]
    weight_bytes: int
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    kv_cache_type: str
    ctx_size: int
    stages: int
    rounding: Rounding = NO_ROUNDING

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the speeds that a forecast needs, each once."""
        return tuple(dict.fromkeys(matrix.dtype for matrix in self.matrices))

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one position takes in all layers."""
        from inferno.kv_cache import kv_bytes_per_token

        return kv_bytes_per_token(self.layers, self.kv_heads, self.head_dim, self.kv_cache_type)

    @property
    def bytes_per_token(self) -> int:
        """Bytes of matrices that one token's step reads."""
        return sum(matrix.nbytes for matrix in self.matrices)

    @property
    def workspace_bytes(self) -> int:
        """Bytes of a step's buffers for a full chunk, the logits of its last token among them."""
        heads = 2 * self.heads + 2 * self.kv_heads + 1
        row = 2 * self.hidden_size + self.intermediate_size + heads * self.head_dim
        plain = 4 * (CHUNK * row + self.hidden_size + 2 * self.vocab_size)
        return plain + CHUNK * self.rounding.row_bytes + self.rounding.last_bytes


def workload(plan: Plan) -> Workload:
    """What a step of the planned model does."""
    config, rounded = plan.config, rounding(plan)
    # A quantized head goes by its layer's name.
    head = (plan.head.head, plan.head.head.removesuffix(".weight"))
    matrices = (
        MatrixUse(
            b.tensor,
            b.shape[0],
            b.shape[1],
            rate_name(b.operation, b.weight_type),
            b.nbytes,
            last_only=b.tensor in head,
        )
        for b in plan.bindings
        if b.operation in MATMULS
    )
    return Workload(
        matrices=tuple(matrices),
        weight_bytes=plan.checkpoint.nbytes,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        kv_cache_type=plan.kv_cache_type,
        ctx_size=plan.ctx_size,
        stages=LAYER_STAGES * config.num_hidden_layers + OTHER_STAGES + rounded.stages,
        rounding=rounded,
    )


@dataclass(frozen=True)
class Speed:
    """Tokens per second: what is expected, and a range."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """Costs in bytes and speeds in tokens per second.

    bytes_per_token      of weights, read for each token
    weight_bytes         of all weights: page cache that must stay resident for these speeds
    workspace_bytes      of buffers
    kv_bytes_per_token   that a position of the cache takes
    kv_bytes             of the whole context
    largest_context      tokens whose keys and values fit in memory beside the weights; 0 if those alone do not fit
    decode               one token after another: from a full context to an empty one
    decode_start         with an empty context
    decode_full          with a full context
    prefill              a prompt: from one that fills the context to one of a chunk (256 tokens) or the context
    """

    work: Workload
    limits: Limits
    bytes_per_token: int
    weight_bytes: int
    workspace_bytes: int
    kv_bytes_per_token: int
    kv_bytes: int
    largest_context: int
    decode: Speed
    decode_start: Speed
    decode_full: Speed
    prefill: Speed

    @property
    def of_codes(self) -> bool:
        """Whether some matmul is of codes with codes, so that the machine's integer peak matters."""
        return any(of_codes(name) for name in self.work.types)

    @property
    def fits(self) -> bool:
        """Whether weights, buffers and the whole context fit in memory."""
        return self.largest_context >= self.work.ctx_size

    def decode_at(self, position: int) -> Speed:
        """Decoding with `position` tokens in the context."""
        return decode_speed(self.work, self.limits, position)

    def prefill_of(self, tokens: int, start: int = 0) -> Speed:
        """Reading a prompt of `tokens` tokens after `start` others."""
        return prefill_speed(self.work, self.limits, tokens, start)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps; without the workload, which is the model's, and the limits, the machine's."""
        fields = ("bytes_per_token", "weight_bytes", "workspace_bytes", "kv_bytes_per_token", "kv_bytes")
        speeds = ("decode", "decode_start", "decode_full", "prefill")
        return {
            **{name: getattr(self, name) for name in fields},
            "ctx_size": self.work.ctx_size,
            "largest_context": self.largest_context,
            "fits": self.fits,
            **{name: asdict(getattr(self, name)) for name in speeds},
        }


def forecast(work: Workload, limits: Limits, available_memory: int) -> Forecast:
    """What `work` will cost on a machine of these limits with `available_memory` bytes free for it.

    Raises KeyError for a stored type or cache type whose speed was not measured.
    """
    start, full = decode_speed(work, limits, 0), decode_speed(work, limits, work.ctx_size - 1)
    short = prefill_speed(work, limits, min(CHUNK, work.ctx_size))
    long = prefill_speed(work, limits, work.ctx_size)
    left = available_memory - work.weight_bytes
    per_token = work.kv_bytes_per_token
    return Forecast(
        work=work,
        limits=limits,
        bytes_per_token=work.bytes_per_token,
        weight_bytes=work.weight_bytes,
        workspace_bytes=work.workspace_bytes,
        kv_bytes_per_token=per_token,
        kv_bytes=per_token * work.ctx_size,
        largest_context=max(left // per_token, 0),
        decode=Speed(full.low, start.expected, start.high),
        decode_start=start,
        decode_full=full,
        prefill=Speed(long.low, short.expected, short.high),
    )


def decode_speed(work: Workload, limits: Limits, position: int) -> Speed:
    """One token with `position` tokens before it, in tokens per second. KeyError for a type that was not measured."""
    attention = limits.attention[work.kv_cache_type]
    # Attention's time for a cached position grows with the query heads that share a KV head.
    shared = (work.heads / work.kv_heads - 1) / (SHARED_HEADS - 1)
    nbytes = work.kv_bytes_per_token * (position + 1) * _uneven(work.kv_heads, limits.threads)

    def seconds(pick: Callable[[Rate], float]) -> float:
        alone, many = 1 / pick(attention.decode_alone), 1 / pick(attention.decode_shared)
        matrices = sum(m.nbytes / pick(limits.gemv_rate(m.dtype, m.k)) for m in work.matrices)
        return matrices + nbytes * (alone + (many - alone) * shared) + _overhead(work, limits)

    return _speed(1, seconds)


def prefill_speed(work: Workload, limits: Limits, tokens: int, start: int = 0) -> Speed:
    """A prompt of `tokens` tokens with `start` before it, in tokens per second. KeyError as decode_speed."""
    attention = limits.attention[work.kv_cache_type]
    chunks = -(-tokens // CHUNK)
    # The speed of a full chunk has the reading of the weights in it; fewer tokens wait for the more of it.
    unfilled = chunks - tokens / CHUNK
    pairs = tokens * start + tokens * (tokens + 1) / 2
    attended = 2 * pairs * work.layers * work.heads * work.head_dim
    # Per layer two norms, the rotations of q and k, and the two halves of the cache.
    elements = tokens * work.layers * (2 * work.hidden_size + (work.heads + 3 * work.kv_heads) * work.head_dim)
    elements += tokens * work.rounding.elements

    def seconds(pick: Callable[[Rate], float]) -> float:
        total = attended / pick(attention.prefill) + elements / pick(limits.rows) + chunks * _overhead(work, limits)
        for m in work.matrices:
            read = m.nbytes / pick(limits.gemv_rate(m.dtype, m.k))
            products = tokens * m.n * m.k / pick(limits.gemm_rate(m.dtype, m.k))
            total += read if m.last_only else products + unfilled * read
        return total

    return _speed(tokens, seconds)


def compare(predicted: Forecast, metrics: Metrics) -> Comparison:
    """A real run beside the forecast for the same lengths of prompt and output."""
    prompt, decoded = metrics.prefilled_tokens, metrics.generation_tokens_per_second
    middle = prompt + metrics.decoded_tokens // 2
    read = metrics.prompt_tokens_per_second
    return Comparison(
        decode_measured=decoded,
        decode_expected=None if decoded is None else predicted.decode_at(middle).expected,
        prefill_measured=read,
        prefill_expected=None if read is None else predicted.prefill_of(prompt).expected,
    )


@dataclass(frozen=True)
class Comparison:
    """Tokens per second, measured and expected; None where a run had none."""

    decode_measured: float | None
    decode_expected: float | None
    prefill_measured: float | None
    prefill_expected: float | None

    @property
    def decode_ratio(self) -> float | None:
        """Measured over expected."""
        return _ratio(self.decode_measured, self.decode_expected)

    @property
    def prefill_ratio(self) -> float | None:
        """Measured over expected."""
        return _ratio(self.prefill_measured, self.prefill_expected)

    def __str__(self) -> str:
        parts = []
        if self.decode_ratio is not None:
            parts.append(
                f"decoded at {100 * self.decode_ratio:.0f} % of the forecast {self.decode_expected:.1f} tokens/s"
            )
        if self.prefill_ratio is not None:
            parts.append(
                f"prompt at {100 * self.prefill_ratio:.0f} % of the forecast {self.prefill_expected:.1f} tokens/s"
            )
        return "; ".join(parts)


def _ratio(measured: float | None, expected: float | None) -> float | None:
    return None if measured is None or expected is None else measured / expected


def _uneven(items: int, threads: int) -> float:
    """How much longer `items` equal pieces take than if threads could share them evenly."""
    return -(-items // threads) * threads / items


def _overhead(work: Workload, limits: Limits) -> float:
    return limits.call_seconds + work.stages * limits.stage_seconds


def _speed(tokens: int, seconds: Callable[[Callable[[Rate], float]], float]) -> Speed:
    return Speed(
        low=tokens / seconds(lambda rate: rate.low),
        expected=tokens / seconds(lambda rate: rate.median),
        high=tokens / seconds(lambda rate: rate.high),
    )
