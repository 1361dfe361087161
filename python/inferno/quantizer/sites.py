"""The four places of a decoder layer where a factor can move from inputs into weights, without changing the model.

What feeds a linear layer is the output of a norm, whose weight takes the factor away, or of another linear layer, whose
rows do: the values go through attention and through the product with the gate channel by channel.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from inferno.config import LlamaConfig

# Buffers of the step program (models/llama.py) that hold inputs of linear layers.
Buffer = Literal["x", "attended", "gate"]


@dataclass(frozen=True)
class Site:
    """One such place in decoder layer `index`: what makes the inputs, and the layers that take them.

    `makes`: the norm, or the linear layer, by name; `norm` says which. `buffer`: what holds the inputs. `heads`: how
    often each channel that is made is taken, by query heads in a row that share it, `width` channels each.
    """

    index: int
    makes: str
    takes: tuple[str, ...]
    norm: bool
    buffer: Buffer
    heads: int = 1
    width: int = 1


def sites_of(config: LlamaConfig) -> list[Site]:
    """The sites of all layers, in the order in which a step comes by them."""
    heads = config.num_attention_heads // config.num_key_value_heads
    found = []
    for i in range(config.num_hidden_layers):
        at, mlp = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        norm, second = (f"model.layers.{i}.{name}" for name in ("input_layernorm", "post_attention_layernorm"))
        found += [
            Site(i, norm, (f"{at}q_proj", f"{at}k_proj", f"{at}v_proj"), True, "x"),
            Site(i, f"{at}v_proj", (f"{at}o_proj",), False, "attended", heads, config.head_dim),
            Site(i, second, (f"{mlp}gate_proj", f"{mlp}up_proj"), True, "x"),
            Site(i, f"{mlp}up_proj", (f"{mlp}down_proj",), False, "gate"),
        ]
    return found


def quantized_sites(config: LlamaConfig, layers: Collection[str]) -> list[Site]:
    """The sites all of whose linear layers are quantized: elsewhere a factor would have to be rounded into a weight."""
    return [
        site
        for site in sites_of(config)
        if all(name in layers for name in (*site.takes, *(() if site.norm else (site.makes,))))
    ]
