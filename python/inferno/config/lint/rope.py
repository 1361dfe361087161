"""Rules on the rotary embedding: its two spellings, its base, its scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inferno.config.lint.rules import Facts, Told, rule
from inferno.config.rope import DEFAULT_THETA, LLAMA3_VOCAB_SIZE
from inferno.files import show

_LARGE_VOCAB = 100_000
# No Llama model with the base of Llama 1 was trained, unscaled, beyond this.
_LONGEST_FOR_DEFAULT_THETA = 8192
_THETA = "rope_theta"


@rule("rope-theta-differs", "warning")
def thetas(facts: Facts) -> Iterator[Told]:
    """rope_theta at the top level (transformers 4) and inside rope_parameters or rope_scaling (5) differ."""
    top = facts.config.get(_THETA)
    for key in ("rope_parameters", "rope_scaling"):
        inner = facts.rope(key).get(_THETA)
        if top is not None and inner is not None and top != inner:
            used = "" if facts.parsed is None else f"; {facts.parsed.rope.rope_theta:g} is used"
            yield Told(
                facts.field(f"{key}.{_THETA}"),
                f"is {show(inner)}, but {_THETA} at the top level is {show(top)}{used}",
                "make them agree: readers of transformers 4's spelling take the one at the top level",
            )


@rule("rope-parameters-replaced", "warning")
def replaced(facts: Facts) -> Iterator[Told]:
    """rope_scaling and rope_parameters are both given and say different things; the first then counts, whole."""
    scaling, parameters = facts.rope("rope_scaling"), facts.rope("rope_parameters")
    if not scaling or not parameters:
        return
    old, new = _plain(scaling), _plain(parameters)
    if old != new:
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        yield Told(
            facts.field("rope_parameters"),
            f"differs from rope_scaling, which replaces it, in {', '.join(show(key) for key in keys[:6])}",
            "remove rope_scaling if rope_parameters is right; else make them agree",
        )


@rule("rope-type-differs", "warning")
def type_names(facts: Facts) -> Iterator[Told]:
    """rope_type and its older name `type` differ. Where that one is used, it is an error of the config."""
    for key in ("rope_scaling", "rope_parameters"):
        values = facts.rope(key)
        names = [values.get(name) for name in ("rope_type", "type")]
        if facts.parsed is not None and None not in names and names[0] != names[1]:
            yield Told(
                facts.field(f"{key}.rope_type"),
                f"is {show(names[0])}, but type, its older name, is {show(names[1])}",
                "remove the wrong one",
            )


@rule("rope-theta-defaulted", "warning")
def large_vocabulary(facts: Facts) -> Iterator[Told]:
    """No rope_theta beside a large vocabulary: such models came after Llama 2, and have another base than 10000."""
    config = facts.parsed
    if config is not None and _THETA in config.defaulted and config.vocab_size > _LARGE_VOCAB:
        yield Told(
            facts.field(_THETA),
            f"is not given, so {DEFAULT_THETA:g} is taken; models with a vocabulary of {config.vocab_size} have, as a "
            "rule, a larger one (Llama 3: 500000), and talk nonsense without it",
            "restore it from the original config.json",
        )


@rule("rope-theta-small", "warning")
def long_context(facts: Facts) -> Iterator[Told]:
    """The base of Llama 1, unscaled, for a context that it does not carry."""
    config = facts.parsed
    if config is None or config.rope.rope_theta != DEFAULT_THETA or config.rope.rope_type != "default":
        return
    if config.max_position_embeddings > _LONGEST_FOR_DEFAULT_THETA:
        yield Told(
            facts.field(_THETA),
            f"is {DEFAULT_THETA:g} without scaling, which does not suit max_position_embeddings "
            f"({config.max_position_embeddings}); models of such contexts have a larger one or a scaling",
            "compare with the original config.json, or keep the context short with -c",
        )


@rule("rope-theta-below-llama3", "warning")
def other_base(facts: Facts) -> Iterator[Told]:
    """Llama 3's vocabulary with another base than Llama 3's."""
    config = facts.parsed
    if config is not None and config.vocab_size == LLAMA3_VOCAB_SIZE and config.rope.rope_theta < 500_000:
        yield Told(
            facts.field(_THETA),
            f"is {config.rope.rope_theta:g}; models of Llama 3's vocabulary ({LLAMA3_VOCAB_SIZE}) have 500000 or more",
            "compare with the original config.json",
        )


@rule("rope-factor-below-one", "warning")
def factor(facts: Facts) -> Iterator[Told]:
    """A factor below 1 shortens the context instead of stretching it."""
    rope = None if facts.parsed is None else facts.parsed.rope
    if rope is not None and rope.factor is not None and rope.factor < 1:
        key = "rope_scaling" if facts.rope("rope_scaling") else "rope_parameters"
        yield Told(
            facts.field(f"{key}.factor"),
            f"is {rope.factor:g}, below 1: positions are spread apart, and the context gets shorter",
            "give the factor by which the context was extended, or remove the scaling",
        )


@rule("rope-original-length", "warning")
def original_length(facts: Facts) -> Iterator[Told]:
    """A scaling whose length of pretraining is not given, so that the whole context is taken for it."""
    if facts.parsed is None or facts.parsed.rope.rope_type not in ("llama3", "yarn", "longrope"):
        return
    rope = facts.parsed.rope
    if rope.original_max_position_embeddings == facts.parsed.max_position_embeddings and (rope.factor or 1) > 1:
        key = "rope_scaling" if facts.rope("rope_scaling") else "rope_parameters"
        yield Told(
            facts.field(f"{key}.original_max_position_embeddings"),
            f"is {rope.original_max_position_embeddings}, as much as max_position_embeddings, though factor is "
            f"{rope.factor:g}",
            "give the length of pretraining (Llama 3.1: 8192), or the longer max_position_embeddings",
        )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Under one name each; null fields are absent, and theta is another rule's."""
    renamed = {"rope_type" if key == "type" else key: value for key, value in values.items()}
    return {key: value for key, value in renamed.items() if value is not None and key != _THETA}
