"""What a command says of a model before, and of a generation after: lines for people, JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from inferno.units import count, plural, size

if TYPE_CHECKING:
    from inferno.analysis.forecast import Comparison
    from inferno.engine.generation import Generation
    from inferno.engine.llm import LLM
    from inferno.engine.outputs import Metrics

JSON_SCHEMA = "inferno.generate/1"
_CACHED = 64 << 20
_SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty"),
)


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second that the memory gives (read from the weights themselves), and the part that decoding used."""

    bytes_per_second: float
    share: float


def load_line(llm: LLM) -> str:
    """Model, architecture, size, and how it will run."""
    m = llm.model
    return (
        f"{llm.name}: {llm.config.architectures[0]}, {count(llm.num_parameters)} parameters, {llm.dtype} "
        f"({size(m.weight_bytes)}); {m.isa}, {plural(m.threads, 'thread')}; context {m.ctx_size} tokens "
        f"({m.kv_cache_type} cache, up to {size(m.kv_bytes)})"
    )


def measure_bandwidth(llm: LLM, metrics: Metrics) -> Bandwidth | None:
    """Reads the weights once more, now that nothing waits for it.

    None if there was no decoding to compare with, or if the weights are so small that caches hold them.
    """
    from inferno.engine.traffic import memory_runs, tensors_per_step

    speed = metrics.generation_tokens_per_second
    read = tensors_per_step(llm.checkpoint)
    nbytes = sum(tensor.nbytes for tensor in read)
    if speed is None or nbytes < _CACHED:
        return None
    from inferno import hardware

    measured = hardware.read_bandwidth(memory_runs(read), llm.model.threads, llm.model.isa)
    return Bandwidth(measured, nbytes * speed / measured)


def compare_with_forecast(llm: LLM, metrics: Metrics) -> Comparison | None:
    """The run beside what was to be expected of it; None if this machine has not been measured yet."""
    from inferno.analysis.forecast import compare, forecast, workload
    from inferno.hardware.cached import known_limits

    plan = llm.model.plan
    limits = known_limits(plan.threads, plan.isa)
    if limits is None:
        return None
    try:
        return compare(forecast(workload(plan), limits, plan.context.available_bytes), metrics)
    except KeyError:
        return None


def closing_line(generation: Generation, bandwidth: Bandwidth | None, comparison: Comparison | None) -> str:
    """Speeds, the wait for the first token, memory, and what repeats the answer."""
    from inferno import hardware

    metrics, completion = generation.output.metrics, generation.output.outputs[0]
    parts = [
        f"prompt {plural(metrics.prompt_tokens, 'token')}{_speed(metrics.prompt_tokens_per_second)}",
        f"generated {plural(metrics.generated_tokens, 'token')}{_speed(metrics.generation_tokens_per_second)}",
        f"first token after {metrics.time_to_first_token or 0:.2f} s",
        f"peak memory {size(hardware.peak_memory())}",
    ]
    if bandwidth is not None:
        measured = f"{bandwidth.bytes_per_second / 1e9:.1f} GB/s"
        parts.append(f"{100 * bandwidth.share:.0f} % of the measured memory bandwidth ({measured})")
    if comparison is not None and comparison.decode_ratio is not None:
        expected = f"{comparison.decode_expected:.1f} tokens/s"
        parts.append(f"{100 * comparison.decode_ratio:.0f} % of the forecast ({expected})")
    if completion.finish_reason == "length":
        parts.append("ended by length")
    parts.append(_how(generation.sampling.temperature, completion.seed))
    return "; ".join(parts)


def json_text(llm: LLM, generation: Generation, bandwidth: Bandwidth | None, comparison: Comparison | None) -> str:
    """One object on one line. Fields may be added to a schema; a changed meaning is a new schema."""
    import json

    from inferno import hardware

    output, m = generation.output, llm.model
    completion, metrics, sampling = output.outputs[0], output.metrics, generation.sampling
    return json.dumps(
        {
            "schema": JSON_SCHEMA,
            "model": {
                "name": llm.name,
                "path": str(llm.path),
                "architecture": llm.config.architectures[0],
                "parameters": llm.num_parameters,
                "dtype": llm.dtype,
                "weight_bytes": m.weight_bytes,
                "isa": m.isa,
                "threads": m.threads,
                "ctx_size": m.ctx_size,
                "kv_cache_type": m.kv_cache_type,
                "scheme": m.plan.report.scheme.name,
                "numerics": m.numerics,
                "warnings": llm.warnings,
            },
            "prompt_token_ids": output.prompt_token_ids,
            "text": completion.text,
            "token_ids": completion.token_ids,
            "finish_reason": completion.finish_reason,
            "stop_reason": completion.stop_reason,
            "seed": completion.seed,
            "sampling": {name: getattr(sampling, name) for name in _SAMPLING},
            "metrics": {
                **asdict(metrics),
                "prompt_tokens_per_second": metrics.prompt_tokens_per_second,
                "generation_tokens_per_second": metrics.generation_tokens_per_second,
                "peak_memory_bytes": hardware.peak_memory(),
                "memory_bandwidth": None if bandwidth is None else asdict(bandwidth),
                "forecast": None if comparison is None else asdict(comparison),
            },
        }
    )


def _how(temperature: float, seed: int | None) -> str:
    return "greedy" if temperature == 0 else f"temperature {temperature:g}, seed {seed}"


def _speed(tokens_per_second: float | None) -> str:
    return "" if tokens_per_second is None else f" at {tokens_per_second:.1f} tokens/s"
