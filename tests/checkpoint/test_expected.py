"""A checkpoint's tensors against those that its model needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from containers import write_f32
from inferno.checkpoint import Checkpoint, TensorSpec, match_tensors, refuse_mismatch
from inferno.errors import CheckpointError

Shapes = dict[str, tuple[int, ...]]


def layers(count: int) -> Shapes:
    shapes: Shapes = {"model.embed_tokens.weight": (5, 4)}
    for layer in range(count):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (4, 4)
        shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (6, 4)
    return {**shapes, "model.norm.weight": (4,)}


def specs(shapes: Shapes) -> dict[str, TensorSpec]:
    return {name: TensorSpec(shape) for name, shape in shapes.items()}


def store(folder: Path, shapes: Shapes, dtype: str = "F32") -> Checkpoint:
    write_f32(folder / "model.safetensors", shapes, dtype)
    return Checkpoint.open(folder)


def check_tensors(ckpt: Checkpoint, expected: dict[str, TensorSpec]) -> None:
    refuse_mismatch(match_tensors(ckpt, expected), ckpt, expected, ckpt.folder)


def refuse(ckpt: Checkpoint, expected: dict[str, TensorSpec], what: str) -> str:
    with pytest.raises(CheckpointError, match=what) as caught:
        check_tensors(ckpt, expected)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1200
    return text


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_matching_set(tmp_path: Path, dtype: str) -> None:
    check_tensors(store(tmp_path, layers(3), dtype), specs(layers(3)))


def test_missing(tmp_path: Path) -> None:
    shapes = layers(2)
    del shapes["model.norm.weight"]
    refuse(
        store(tmp_path, shapes),
        specs(layers(2)),
        rf"^{re.escape(str(tmp_path))}: tensors must match config.json; missing model.norm.weight$",
    )


def test_unexpected(tmp_path: Path) -> None:
    shapes = {**layers(2), "model.extra": (1,)}
    refuse(store(tmp_path, shapes), specs(layers(2)), r"tensors must match config.json; unexpected model.extra$")


def test_the_nearest_name_is_suggested(tmp_path: Path) -> None:
    shapes = layers(2)
    shapes["model.layers.1.self_attn.q_porj.weight"] = shapes.pop("model.layers.1.self_attn.q_proj.weight")
    refuse(
        store(tmp_path, shapes),
        specs(layers(2)),
        r"missing model.layers.1.self_attn.q_proj.weight \(is model.layers.1.self_attn.q_porj.weight meant for "
        r"model.layers.1.self_attn.q_proj.weight\?\); unexpected model.layers.1.self_attn.q_porj.weight$",
    )


def test_nothing_is_suggested_where_nothing_is_near(tmp_path: Path) -> None:
    text = refuse(store(tmp_path, {"zzz": (1,)}), specs({"model.norm.weight": (4,)}), "missing model.norm.weight; ")
    assert "meant" not in text


def test_names_beyond_any_real_length_are_not_searched(tmp_path: Path) -> None:
    for length, is_near in ((200, True), (201, False)):
        text = refuse(store(tmp_path, {"x" * length: (4,)}), specs({"x" * 199: (4,)}), "missing x")
        assert ("meant" in text) == is_near


def test_another_prefix_gives_a_summary_and_a_hint(tmp_path: Path) -> None:
    shapes = {f"language_model.{name}": shape for name, shape in layers(80).items()}
    text = refuse(
        store(tmp_path, shapes),
        specs(layers(80)),
        r"missing model.embed_tokens.weight, model.layers.\*.self_attn.q_proj.weight \(80 tensors\), "
        r"model.layers.\*.mlp.up_proj.weight \(80 tensors\) and 1 more "
        r"\(is language_model.model.embed_tokens.weight meant for model.embed_tokens.weight\?\); "
        r"unexpected language_model.model.embed_tokens.weight, language_model.model.layers.\*.self_attn.q_proj.weight ",
    )
    assert text.count("layers") == 4


def test_misshapen(tmp_path: Path) -> None:
    shapes = {**layers(2), "model.layers.0.mlp.up_proj.weight": (4, 6), "model.norm.weight": (4, 1)}
    refuse(
        store(tmp_path, shapes),
        specs(layers(2)),
        r"config.json; model.layers.0.mlp.up_proj.weight must be \[6, 4\]; got \[4, 6\] in model.safetensors and 1 "
        "more misshapen$",
    )


def test_all_kinds_are_told_at_once(tmp_path: Path) -> None:
    shapes = {**layers(1), "model.norm.weight": (5,), "stray": (1,)}
    del shapes["model.embed_tokens.weight"]
    refuse(
        store(tmp_path, shapes),
        specs(layers(1)),
        r"missing model.embed_tokens.weight; unexpected stray; model.norm.weight must be \[4\]; got \[5\]",
    )


def test_quantized_tensors_without_a_config_are_guessed_at(tmp_path: Path) -> None:
    shapes = {**layers(1), "model.layers.0.mlp.up_proj.weight_scale": (6, 1)}
    refuse(
        store(tmp_path, shapes),
        specs(layers(1)),
        r"unexpected model.layers.0.mlp.up_proj.weight_scale \(these look quantized, but config.json has no quant",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model.embed_tokens.weight_scale", r" \(the embedding must be stored in F32, F16 or BF16\)"),
        ("model.layers.0.mlp.up_proj.weight_scale", ""),
    ],
)
def test_of_a_quantized_model_the_config_is_not_missed(tmp_path: Path, name: str, hint: str) -> None:
    ckpt, expected = store(tmp_path, {**layers(1), name: (6, 1)}), specs(layers(1))
    with pytest.raises(CheckpointError, match=f"unexpected {name}{hint}$"):
        refuse_mismatch(match_tensors(ckpt, expected), ckpt, expected, ckpt.folder, quantized=True)


def test_inverse_frequencies_are_ignored(tmp_path: Path) -> None:
    shapes = {**layers(2), "model.layers.0.self_attn.rotary_emb.inv_freq": (8,)}
    check_tensors(store(tmp_path, shapes), specs(layers(2)))


@pytest.mark.parametrize("name", ["inv_freq", "model.rotary_emb.inv_freqs", "model.rotary_emb.inv_freq.x"])
def test_only_inverse_frequencies_are_ignored(tmp_path: Path, name: str) -> None:
    refuse(store(tmp_path, {**layers(1), name: (8,)}), specs(layers(1)), f"unexpected {name}$")


def test_an_optional_tensor_may_be_absent_but_not_misshapen(tmp_path: Path) -> None:
    expected = {**specs(layers(1)), "lm_head.weight": TensorSpec((5, 4), optional=True)}
    check_tensors(store(tmp_path, layers(1)), expected)
    check_tensors(store(tmp_path, {**layers(1), "lm_head.weight": (5, 4)}), expected)
    wrong = store(tmp_path, {**layers(1), "lm_head.weight": (6, 4)})
    refuse(wrong, expected, r"lm_head.weight must be \[5, 4\]; got \[6, 4\]")


def test_names_from_a_file_are_escaped(tmp_path: Path) -> None:
    refuse(store(tmp_path, {**layers(1), "\x1b[2J": (1,)}), specs(layers(1)), r'unexpected "\\u001b\[2J"$')


def test_a_huge_name_is_cut(tmp_path: Path) -> None:
    refuse(store(tmp_path, {"x" * 100_000: (1,)}), specs({"x": (1,)}), r"unexpected \"x+\.\.\.$")


def test_the_match_names_each_kind(tmp_path: Path) -> None:
    shapes = {**layers(2), "model.layers.0.self_attn.rotary_emb.inv_freq": (2,), "model.extra": (1,)}
    shapes["model.layers.1.mlp.up_porj.weight"] = shapes.pop("model.layers.1.mlp.up_proj.weight")
    shapes["model.norm.weight"] = (5,)
    match = match_tensors(store(tmp_path, shapes), specs(layers(2)))
    assert match.missing == ("model.layers.1.mlp.up_proj.weight",)
    assert match.unexpected == ("model.extra", "model.layers.1.mlp.up_porj.weight")
    assert match.misshapen == ("model.norm.weight",)
    assert match.ignored == ("model.layers.0.self_attn.rotary_emb.inv_freq",)
    assert match.near == {"model.layers.1.mlp.up_proj.weight": "model.layers.1.mlp.up_porj.weight"}
    assert not match.mapped
