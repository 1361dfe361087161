"""What an inspection says, before it is text or HTML: sections of facts, bars, tables and findings.

Strings here may come from files: whoever prints them escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inferno.analysis.forecast import Forecast, Speed
from inferno.analysis.inspection import Inspection
from inferno.analysis.plan import Plan
from inferno.analysis.report import Report, TensorInfo
from inferno.checkpoint.expected import TensorMatch, TensorSpec, patterns
from inferno.checkpoint.survey import WeightFile
from inferno.config import LlamaConfig
from inferno.files import show_name, show_some
from inferno.findings import Finding
from inferno.quantization.activation import NUMERICS_TOLD
from inferno.units import count, percent, plural, size

# Rows of a table before the rest is only counted; `--tensors` and JSON have all.
MAX_ROWS = 40
LAYOUTS = {"huggingface": "Hugging Face", "meta": "Meta", None: "unknown"}


@dataclass(frozen=True)
class Facts:
    """Labels and what is to be said of them."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bars:
    """Shares of a whole: (label, share from 0 to 1, the value in words)."""

    label: str
    rows: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; `numbers` are the columns to align right, `wide` the one that may be wrapped."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    wide: int = 0


@dataclass(frozen=True)
class FindingList:
    """Findings, in order."""

    findings: tuple[Finding, ...]


Block = Facts | Bars | Table | FindingList


@dataclass(frozen=True)
class Section:
    """A title and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def sections(inspection: Inspection, tensors: bool = False) -> list[Section]:
    """Everything but the verdict. `tensors`: with the table of all tensors."""
    report = inspection.report
    found = [
        Section("Model", (Facts(tuple(_model(report))),)),
        Section("Bytes", tuple(_bytes(report))),
        Section("Files", (_files(report.files),)) if report.files else None,
        Section("Storage", (Facts(tuple(_storage(report))),)) if report.tensors else None,
        *([] if inspection.plan is None else _plan_sections(inspection.plan)),
        None if inspection.forecast is None else _forecast_section(inspection.forecast),
        None if inspection.deep is None else _deep_section(inspection),
        Section("Tensors", (tensor_table(report.tensors),)) if tensors and report.tensors else None,
        Section("Findings", (FindingList(inspection.findings),)) if inspection.findings else None,
    ]
    return [section for section in found if section is not None and section.blocks]


def verdict(inspection: Inspection) -> str:
    """The last line: ready, needs attention or cannot run, and why."""
    counted: dict[str, int] = {}
    for finding in inspection.findings:
        counted[finding.severity] = counted.get(finding.severity, 0) + 1
    why = ", ".join(plural(number, severity) for severity, number in counted.items())
    return inspection.status + (f" ({why})" if why else "")


def _model(report: Report) -> Iterable[tuple[str, str]]:
    yield "name", report.name
    yield "path", str(report.path)
    yield "layout", LAYOUTS.get(report.layout, str(report.layout))
    config = report.config
    if config is not None:
        yield "architecture", _architecture(config)
        yield "RoPE", rope_line(config)
        ends = ", ".join(map(str, sorted(config.eos_token_ids)[:8])) or "none given"
        yield "vocabulary", f"{config.vocab_size} tokens; end of text: {ends}"
    if report.tensors:
        yield "parameters", f"{count(report.parameters)} ({report.parameters})"


def _architecture(config: LlamaConfig) -> str:
    extras = [name for name, on in (("attention bias", config.attention_bias), ("MLP bias", config.mlp_bias)) if on]
    parts = [
        plural(config.num_hidden_layers, "layer"),
        f"hidden {config.hidden_size}",
        plural(config.num_attention_heads, "head"),
        plural(config.num_key_value_heads, "KV head"),
        f"head_dim {config.head_dim}",
        f"FFN {config.intermediate_size}",
        *extras,
    ]
    return f"{config.architectures[0]}: {', '.join(parts)}"


def rope_line(config: LlamaConfig) -> str:
    """The rotary embedding and the context that it was trained for."""
    rope = config.rope
    factor = "" if rope.factor is None else f", factor {rope.factor:g}"
    original = rope.original_max_position_embeddings
    before = "" if original is None else f", {original} before it was stretched"
    return (
        f"{rope.rope_type}, base {rope.rope_theta:g}{factor}; context {config.max_position_embeddings} tokens{before}"
    )


def _bytes(report: Report) -> Iterable[Block]:
    total = report.weight_bytes
    if not report.tensors:
        return
    yield Facts((("weights", f"{size(total)} ({total} bytes) in {plural(len(report.tensors), 'tensor')}"),))
    yield _bars("by type", report.bytes_by_dtype, total)
    yield _bars("by role", report.bytes_by_role, total)


def _bars(label: str, parts: Mapping[str, int], total: int) -> Bars:
    shares = {name: nbytes / total if total else 0.0 for name, nbytes in parts.items()}
    return Bars(
        label, tuple((name, shares[name], f"{size(nbytes)}, {percent(shares[name])}") for name, nbytes in parts.items())
    )


def _files(files: Sequence[WeightFile]) -> Table:
    rows = [
        (
            show_name(file.name),
            "-" if file.nbytes is None else size(file.nbytes),
            str(file.tensors) if file.error is None and file.nbytes is not None else "-",
            file_state(file),
        )
        for file in files
    ]
    return _cut(Table(("file", "size", "tensors", "state"), tuple(rows), frozenset({1, 2}), wide=3))


def file_state(file: WeightFile) -> str:
    """ "ok", "missing", or what is wrong with the file."""
    if file.error is not None:
        return Finding.from_error(file.error, file.path).message
    return "missing" if file.nbytes is None else "ok"


def _cut(table: Table) -> Table:
    rest = len(table.rows) - MAX_ROWS
    if rest <= 1:
        return table
    blank = ("",) * (len(table.header) - 1)
    return Table(table.header, (*table.rows[:MAX_ROWS], (f"and {rest} more", *blank)), table.numbers, table.wide)


def _storage(report: Report) -> Iterable[tuple[str, str]]:
    scheme = report.scheme
    yield "scheme", scheme.name + (f"; {scheme.conflict}" if scheme.conflict else "")
    for evidence in scheme.evidence:
        yield "evidence", evidence
    yield from _quantized(report)
    if report.side_tensors:
        yield "values read", f"{show_some(patterns(report.side_tensors), 5)}"
    if report.match is not None:
        yield from _mapping(report.match, report.specs, report.tensors)
    if report.duplicated:
        told = f"{plural(len(report.duplicated), 'tensor')}: {show_some(patterns(report.duplicated), 8)}"
        yield "duplicated", told
    if report.head is not None:
        yield "head", report.head.reason


def _quantized(report: Report) -> Iterable[tuple[str, str]]:
    """The quantized layers, those that are stored and computed alike together."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for layer, scheme in report.schemes.items():
        inputs = "as they are" if scheme.activation is None else str(scheme.activation)
        groups.setdefault((scheme.name, scheme.weight_type, scheme.operation, inputs), []).append(layer)
    for (name, weight_type, operation, inputs), layers in groups.items():
        yield "quantized", f"{plural(len(layers), 'layer')}: {name}; {operation} with {weight_type}; inputs {inputs}"


def _mapping(
    match: TensorMatch, specs: Mapping[str, TensorSpec], tensors: Sequence[TensorInfo]
) -> Iterable[tuple[str, str]]:
    odd = {*match.unexpected, *match.misshapen, *match.ignored}
    placed = sum(tensor.name not in odd for tensor in tensors)
    yield "mapping", f"{placed} of {plural(len(tensors), 'stored tensor')} have their place and shape"
    for kind in ("missing", "unexpected", "ignored"):
        names = getattr(match, kind)
        if names:
            yield kind, f"{plural(len(names), 'tensor')}: {show_some(patterns(names), 8)}"
    stored = {tensor.name: tensor for tensor in tensors}
    wrong = [
        f"{show_name(name)} is {_stored_form(stored[name], specs[name])}, not {specs[name]}" for name in match.misshapen
    ]
    if wrong:
        yield "misshapen", f"{plural(len(wrong), 'tensor')}: {show_some(wrong, 4)}"
    for missing, near in match.near.items():
        yield "nearest", f"{show_name(near)} may be meant for {show_name(missing)}"


def _stored_form(tensor: TensorInfo, spec: TensorSpec) -> str:
    """The shape, and the type where the spec asks for one."""
    return f"{tensor.dtype} {list(tensor.shape)}" if spec.dtypes else str(list(tensor.shape))


def _plan_sections(plan: Plan) -> Iterable[Section]:
    context = plan.context
    yield Section(
        "On this machine",
        (
            Facts(
                (
                    ("tier", f"{plan.isa}, {plural(plan.threads, 'thread')}"),
                    (
                        "context",
                        f"{plural(plan.ctx_size, 'token')} of the {plan.config.max_position_embeddings} that the model "
                        f"was made for; memory holds {context.largest} beside the weights",
                    ),
                    (
                        "KV cache",
                        f"{plan.kv_cache_type}: {size(context.kv_bytes_per_token)} a token, up to "
                        f"{size(plan.kv_bytes)} of {size(context.available_bytes)} available",
                    ),
                    *((("numerics", NUMERICS_TOLD[plan.numerics]),) if plan.rounds_inputs else ()),
                    ("read per token", f"{size(plan.bytes_per_token)} of weights"),
                )
            ),
            _kernels(plan),
        ),
    )


def _kernels(plan: Plan) -> Table:
    groups: dict[tuple[str, ...], tuple[int, int]] = {}
    for binding in plan.bindings:
        kernel = binding.kernel
        ran_by = kernel.tier if kernel.cost is None else f"{kernel.tier}: {kernel.cost}"
        key = (binding.operation, binding.weight_type, kernel.name, ran_by)
        number, nbytes = groups.get(key, (0, 0))
        groups[key] = (number + 1, nbytes + binding.nbytes)
    rows = [
        (operation, weight, kernel, str(number), size(nbytes) if nbytes else "-", ran_by)
        for (operation, weight, kernel, ran_by), (number, nbytes) in groups.items()
    ]
    header = ("operation", "stored", "kernel", "uses", "weights", "tier that runs it")
    return Table(header, tuple(rows), frozenset({3, 4}), wide=5)


def _forecast_section(forecast: Forecast) -> Section:
    limits = forecast.limits
    needed = f"weights {size(forecast.weight_bytes)}, buffers {size(forecast.workspace_bytes)}"
    room = (
        f"{size(forecast.kv_bytes)} for a full context, which fit"
        if forecast.fits
        else f"{size(forecast.kv_bytes)} for a full context: more than the memory that is available, so that weights "
        "will be read from disk again and again"
    )
    integers = f", {limits.madd_peak.median / 1e9:.1f} G of int8" if forecast.of_codes else ""
    rows = (
        ("decode", f"{_speed(forecast.decode)}; {_speed(forecast.decode_full)} at the end of the context"),
        ("prompt", _speed(forecast.prefill)),
        ("memory", f"{needed}; {room}"),
        (
            "measured",
            f"{limits.read_bandwidth.median / 1e9:.1f} GB/s read, "
            f"{limits.fma_peak.median / 1e9:.1f} G multiply-adds/s{integers}; "
            f"{plural(limits.threads, 'thread')} of {limits.isa}, on {limits.measured}",
        ),
    )
    return Section("Forecast", (Facts(rows),))


def _speed(speed: Speed) -> str:
    return f"{_figure(speed.expected)} tokens/s ({_figure(speed.low)} to {_figure(speed.high)})"


def _figure(number: float) -> str:
    """Three digits, and no power of ten."""
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def _deep_section(inspection: Inspection) -> Section:
    from inferno.analysis.render.deep_section import deep_section

    assert inspection.deep is not None
    return deep_section(inspection.deep)


def tensor_table(tensors: Sequence[TensorInfo]) -> Table:
    """Every tensor: its name, its name in the file if that is another, type, shape, bytes, files, role."""
    renamed = any(tensor.name != tensor.stored_as for tensor in tensors)
    rows = [
        (
            show_name(tensor.name),
            *((show_name(tensor.stored_as),) if renamed else ()),
            tensor.dtype,
            str(list(tensor.shape)),
            str(tensor.nbytes),
            tensor.role,
            show_some([show_name(file) for file in tensor.files], 2),
        )
        for tensor in tensors
    ]
    header = ("tensor", *(("stored as",) if renamed else ()), "type", "shape", "bytes", "role", "file")
    return Table(header, tuple(rows), frozenset({header.index("bytes")}))
