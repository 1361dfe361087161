"""The two layouts of a Llama checkpoint, each as a table: stored name -> name under which models know the tensor.

Names, axes and the order of rows in Meta's layout: llama-models' models/llama3/model.py (which layers are split over
GPUs, and how) and transformers' convert_llama_weights_to_hf.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from inferno.model_folder import CONFIG, INDEX, PARAMS, SINGLE, is_meta, shard_names

_LAYER = re.compile(r"^layers\.(0|[1-9]\d{0,8})\.")
_CANONICAL_LAYER = re.compile(r"^model\.layers\.(\d{1,9})\.")

ROWS, COLUMNS = 0, 1


@dataclass(frozen=True)
class Rule:
    """Where one kind of tensor goes; `{i}` stands for the layer's number.

    `axes`: the axis along which shards hold pieces of it; none if each shard holds all of it; two if it depends on the
    model, and the shapes tell.
    """

    stored: str
    canonical: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a checkpoint's tensors are named, ordered and spread over files.

    `interleaved_rope`: rows of q_proj and k_proj hold the two halves of each rotated pair next to each other (2i and
    2i + 1), not half a head apart. A layout without rules stores the names that models use. `ignored` are constants
    that follow from the config.
    """

    name: Literal["huggingface", "meta"]
    config_file: str
    interleaved_rope: bool
    rules: tuple[Rule, ...] = ()
    ignored: tuple[str, ...] = ()

    @cached_property
    def _by_stored(self) -> dict[str, Rule]:
        return {rule.stored: rule for rule in self.rules}

    @cached_property
    def _by_canonical(self) -> dict[str, Rule]:
        return {rule.canonical: rule for rule in self.rules}

    def find(self, stored: str) -> tuple[str, Rule] | None:
        """The canonical name of a stored one, and its rule; None if the table does not know it."""
        layer = _LAYER.match(stored)
        rule = self._by_stored.get(_LAYER.sub("layers.{i}.", stored))
        if rule is None or "{" in stored:
            return None
        return (rule.canonical.replace("{i}", layer[1]) if layer else rule.canonical), rule

    def stored(self, name: str) -> str:
        """The name under which files have the tensor that models know by `name`; itself where the table is empty."""
        layer = _CANONICAL_LAYER.match(name)
        rule = self._by_canonical.get(_CANONICAL_LAYER.sub("model.layers.{i}.", name))
        if rule is None:
            return name
        return rule.stored.replace("{i}", layer[1]) if layer else rule.stored

    def is_canonical(self, name: str) -> bool:
        """Whether a name is one that the table leads to."""
        return _CANONICAL_LAYER.sub("model.layers.{i}.", name) in self._by_canonical


HUGGING_FACE = Layout("huggingface", CONFIG, interleaved_rope=False)

META = Layout(
    "meta",
    PARAMS,
    interleaved_rope=True,
    rules=(
        # Llama 1 and 2 split the embedding by columns, Llama 3 by rows.
        Rule("tok_embeddings.weight", "model.embed_tokens.weight", (ROWS, COLUMNS)),
        Rule("layers.{i}.attention_norm.weight", "model.layers.{i}.input_layernorm.weight", ()),
        Rule("layers.{i}.attention.wq.weight", "model.layers.{i}.self_attn.q_proj.weight", (ROWS,)),
        Rule("layers.{i}.attention.wk.weight", "model.layers.{i}.self_attn.k_proj.weight", (ROWS,)),
        Rule("layers.{i}.attention.wv.weight", "model.layers.{i}.self_attn.v_proj.weight", (ROWS,)),
        Rule("layers.{i}.attention.wo.weight", "model.layers.{i}.self_attn.o_proj.weight", (COLUMNS,)),
        Rule("layers.{i}.ffn_norm.weight", "model.layers.{i}.post_attention_layernorm.weight", ()),
        Rule("layers.{i}.feed_forward.w1.weight", "model.layers.{i}.mlp.gate_proj.weight", (ROWS,)),
        Rule("layers.{i}.feed_forward.w3.weight", "model.layers.{i}.mlp.up_proj.weight", (ROWS,)),
        Rule("layers.{i}.feed_forward.w2.weight", "model.layers.{i}.mlp.down_proj.weight", (COLUMNS,)),
        Rule("norm.weight", "model.norm.weight", ()),
        Rule("output.weight", "lm_head.weight", (ROWS,)),
    ),
    ignored=("rope.freqs",),
)


def layout_of(names: Sequence[str]) -> Layout | None:
    """The layout of a folder that holds `names`, told from these alone; None if it holds no weights of either."""
    if is_meta(names):
        return META
    return HUGGING_FACE if SINGLE in names or INDEX in names or shard_names(names) else None
