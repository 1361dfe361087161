"""A report: everything that headers and small files tell of a model folder, and what to think of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inferno.analysis.roles import Role, layer_of
from inferno.checkpoint.survey import WeightFile
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.findings import Finding
from inferno.model_folder import CONFIG, PARAMS
from inferno.quantization.recognize import UNKNOWN, Scheme

if TYPE_CHECKING:
    from inferno.checkpoint import Checkpoint, HeadChoice, TensorMatch, TensorSpec
    from inferno.config import LlamaConfig
    from inferno.quantization.scheme import LinearScheme

Status = Literal["ready", "needs attention", "cannot run"]


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the model knows it.

    `name` is transformers' name, `stored_as` the name in the files (`files`: more than one if shards join to it),
    `shape` counts elements, `nbytes` bytes on disk.
    """

    name: str
    stored_as: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    files: tuple[str, ...]
    role: Role

    @property
    def layer(self) -> int | None:
        """The decoder layer that it belongs to; None outside the layers."""
        return layer_of(self.name)


@dataclass(frozen=True, repr=False)
class Report:
    """What lies in a model folder.

    `layout` is "huggingface", "meta" or None if it cannot be told; `config` is None if it cannot be read; `match` and
    `head` are None without both config and tensors; `specs` are what the match compared with. `schemes` holds the
    quantized layers by name. `side_tensors` names the tensors whose values were looked at,
    `duplicated` those that several files hold and one should.
    `checkpoint` is there if every weight file could be opened; it is what a load binds.
    """

    path: Path
    name: str
    layout: str | None = None
    files: tuple[WeightFile, ...] = ()
    tensors: tuple[TensorInfo, ...] = ()
    config: LlamaConfig | None = None
    scheme: Scheme = field(default_factory=lambda: Scheme(UNKNOWN))
    match: TensorMatch | None = None
    specs: Mapping[str, TensorSpec] = field(default_factory=dict)
    schemes: Mapping[str, LinearScheme] = field(default_factory=dict)
    head: HeadChoice | None = None
    side_tensors: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    checkpoint: Checkpoint | None = field(default=None, repr=False, compare=False)

    @property
    def config_path(self) -> Path:
        """Where the config lies: config.json, or Meta's params.json."""
        return self.path / (PARAMS if self.layout == "meta" else CONFIG)

    @property
    def interleaved_rope(self) -> bool:
        """Whether rows of q_proj and k_proj lie in Meta's order, pairs beside each other."""
        return self.layout == "meta"

    @property
    def parameters(self) -> int:
        """Numbers that the model consists of, a tied head counted once: from the config's shapes, else as stored.

        Where files are missing or broken, the config tells whether a head is among what they hold.
        """
        if self.specs and self.config is not None:
            present = {tensor.name for tensor in self.tensors}
            if any(file.error is not None or file.nbytes is None for file in self.files):
                present |= {EMBEDDING} if self.config.tie_word_embeddings else {EMBEDDING, HEAD}
            from inferno.models.llama import expected_tensors

            present |= {HEAD} if HEAD.removesuffix(".weight") in self.schemes else set()
            plain = expected_tensors(self.config)
            return sum(prod(spec.shape) for name, spec in plain.items() if name in present or not spec.optional)
        return sum(prod(tensor.shape) for tensor in self.tensors if tensor.role != "quantization")

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, as stored."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def bytes_by_dtype(self) -> dict[str, int]:
        """Bytes of each stored type, the most first."""
        return _totals((tensor.dtype, tensor.nbytes) for tensor in self.tensors)

    @property
    def bytes_by_role(self) -> dict[str, int]:
        """Bytes of each role, the most first."""
        return _totals((tensor.role, tensor.nbytes) for tensor in self.tensors)

    @property
    def dtype(self) -> str:
        """What weights are stored in, the type with the most bytes first: "BF16", "U4+BF16".

        A quantized layer counts whole as the type of its codes, whatever words and scales they lie in.
        """
        from inferno.quantization.recognize import side_suffix

        def kind(tensor: TensorInfo) -> str:
            suffix = side_suffix(tensor.name) or tensor.name.rpartition(".")[2]
            scheme = self.schemes.get(tensor.name.removesuffix("." + suffix))
            return tensor.dtype if scheme is None or suffix == "bias" else scheme.weight_type

        return "+".join(_totals((kind(tensor), tensor.nbytes) for tensor in self.tensors))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which the model cannot run."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def status(self) -> Status:
        """In a word: "cannot run" with an error, "needs attention" with a warning, else "ready"."""
        if self.errors:
            return "cannot run"
        return "needs attention" if any(finding.severity == "warning" for finding in self.findings) else "ready"

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        from inferno.analysis.render import report_html

        return report_html(self)

    def __repr__(self) -> str:
        return f"Report({self.name!r}, {self.parameters} parameters, {self.dtype or 'no weights'}, {self.status!r})"

    def raise_for_errors(self) -> None:
        """Raises what loading the model raises: the error of the first finding that has one."""
        raise_first(self.findings)


def raise_first(findings: Iterable[Finding]) -> None:
    """Raises the error of the first finding that has one."""
    for finding in findings:
        if finding.error is not None:
            raise finding.error


def _totals(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for key, nbytes in pairs:
        totals[key] = totals.get(key, 0) + nbytes
    return dict(sorted(totals.items(), key=lambda item: -item[1]))
