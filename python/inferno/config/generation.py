"""generation_config.json: how the model's makers want it sampled, and where it stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inferno.config.fields import Fields


@dataclass(frozen=True)
class GenerationDefaults:
    """Sampling values of generation_config.json; None where it says nothing. A caller's own values come first.

    `ignored` names the keys that would change what transformers samples and that Inferno does not implement.
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    ignored: tuple[str, ...] = ()


# key: the values at which it changes nothing
_NOT_IMPLEMENTED: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0,),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (),
    "diversity_penalty": (0,),
    "encoder_repetition_penalty": (1,),
    "length_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "force_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({},),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "watermarking_config": (),
    "dola_layers": (),
    "stop_strings": ([],),
}


def parse_generation(values: Mapping[str, Any], where: str) -> tuple[GenerationDefaults, Fields]:
    """The sampling defaults, and the fields for whoever reads token ids. ConfigError for values that make no sense."""
    fields = Fields(values, where)
    defaults = GenerationDefaults(
        do_sample=fields.boolean("do_sample", False) if fields.get("do_sample") is not None else None,
        temperature=fields.optional_number("temperature", zero=True),
        # -1 is another way to write 0: no limit
        top_k=max(0, fields.integer("top_k", low=-1)) if fields.get("top_k") is not None else None,
        top_p=fields.optional_number("top_p", high=1.0, zero=True),
        min_p=fields.optional_number("min_p", high=1.0, zero=True),
        repetition_penalty=fields.optional_number("repetition_penalty"),
        ignored=tuple(
            key
            for key, neutral in _NOT_IMPLEMENTED.items()
            if fields.get(key) is not None and fields.get(key) not in neutral
        ),
    )
    return defaults, fields
