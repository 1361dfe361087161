"""A Report and this machine -> a Plan: which kernel runs each tensor, the context and the memory; or why it can't."""

from __future__ import annotations

from dataclasses import dataclass, field

from inferno import hardware
from inferno.analysis.binding import Binding, bind
from inferno.analysis.context import ContextChoice, choose_context
from inferno.analysis.report import Report, raise_first
from inferno.checkpoint import Checkpoint, HeadChoice
from inferno.config import LlamaConfig
from inferno.errors import ConfigError
from inferno.findings import Finding
from inferno.kv_cache import check_kv_cache_type
from inferno.models.listing import uses
from inferno.models.llama import linear_layers
from inferno.quantization.activation import Numerics, check_numerics
from inferno.rope import RopeTable, rope_frequencies


@dataclass(frozen=True)
class Plan:
    """How a model will run here. A plan with an error among its findings cannot be loaded.

    `numerics` names the rule by which inputs of quantized layers are rounded. `rope` holds the rotary frequencies for
    this context; None if they cannot be computed, which is such an error.
    """

    report: Report
    checkpoint: Checkpoint
    config: LlamaConfig
    head: HeadChoice
    isa: str
    threads: int
    kv_cache_type: str
    numerics: Numerics
    context: ContextChoice
    bindings: tuple[Binding, ...]
    rope: RopeTable | None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ctx_size(self) -> int:
        """Tokens of prompt and output together."""
        return self.context.ctx_size

    @property
    def kv_bytes(self) -> int:
        """Bytes reserved for keys and values; they become resident as the context fills."""
        return self.context.ctx_size * self.context.kv_bytes_per_token

    @property
    def rounds_inputs(self) -> bool:
        """Whether some layer rounds its inputs, so that `numerics` matters."""
        return any(scheme.activation is not None for scheme in self.report.schemes.values())

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that a step for one token reads: every weight once, of the embedding one row."""
        rows = [b.nbytes // max(b.shape[0], 1) for b in self.bindings if b.operation == "embedding"]
        return sum(rows) + sum(b.nbytes for b in self.bindings if b.operation != "embedding")

    @property
    def warnings(self) -> list[str]:
        """What a user should know at a load, a line each: the report's warnings, then how the plan departs from it."""
        told = [found for found in self.report.findings if found.severity == "warning"]
        return [str(found) for found in (*told, *self.findings) if found.severity != "error"]

    def raise_for_errors(self) -> None:
        """Raises what loading raises."""
        raise_first(self.findings)


def make_plan(
    report: Report,
    *,
    threads: int | None = None,
    ctx_size: int | None = None,
    kv_cache_type: str = "f16",
    isa: str | None = None,
    numerics: str = "vllm",
) -> Plan:
    """How the model would run here.

    threads None: the CPUs that this process may use. ctx_size None: the model's, or what memory allows. isa None:
    INFERNO_ISA, else the best tier. numerics: one of quantization.activation.NUMERICS. Raises the report's first error
    if it has one, UsageError for arguments out of range and HardwareError for a tier that this CPU lacks; what else
    keeps the model from running is in the findings.
    """
    report.raise_for_errors()
    ckpt, config, head = report.checkpoint, report.config, report.head
    assert ckpt is not None
    assert config is not None
    assert head is not None
    threads = hardware.check_threads(threads)
    tier = hardware.check_isa(isa)
    check_kv_cache_type(kv_cache_type)
    rounding = check_numerics(numerics)
    context = choose_context(config, kv_cache_type, ctx_size, ckpt.nbytes)
    step = uses(config, head, report.interleaved_rope, report.schemes)
    bindings, errors = bind(ckpt, step, kv_cache_type, tier, report.schemes, linear_layers(config))
    rope, where = None, str(report.config_path)
    try:
        rope = rope_frequencies(config.rope, config.head_dim, config.max_position_embeddings, context.ctx_size, where)
    except ConfigError as error:
        errors.append(error)
    findings = (*(Finding.from_error(error, report.path) for error in errors), *context.findings)
    return Plan(
        report, ckpt, config, head, tier, threads, kv_cache_type, rounding, context, tuple(bindings), rope, findings
    )
