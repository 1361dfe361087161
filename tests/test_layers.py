"""Inputs that linear layers share: what is recorded for layers that round alike, differently, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from inferno.errors import UsageError
from inferno.layers import CodedLinear, FloatLinear, Norm, record_inputs
from inferno.quantization.activation import NUMERICS, Activation, check_numerics

TOKEN = Activation("int8")
ASYMMETRIC = Activation("int8", symmetric=False)
FP8 = Activation("e4m3")
OUTLIERS = Activation("int8", threshold=6.0, one_rule=True)
STATIC = [Activation("int8", dynamic=False, scale=scale) for scale in (0.5, 0.25)]


class Calls:
    """Notes every call of a backend."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.made.append((name, *args, *(kwargs[key] for key in sorted(kwargs))))


def layer(activation: Activation | None) -> Any:
    nothing: Any = None
    if activation is None:
        return FloatLinear(3, 8, nothing)
    operation = "matmul_int8" if activation.kind == "int8" else "matmul_coded"
    return CodedLinear(3, 8, nothing, operation, activation)


def inputs(*activations: Activation | None, norm: bool = True, outputs: bool = False) -> tuple[list[str], list[Any]]:
    calls: Any = Calls()
    weight: Any = "w"
    layers = [layer(activation) for activation in activations]
    buffers = record_inputs(calls, "x", layers, norm=Norm("h", weight, 1e-5) if norm else None, outputs=outputs)
    return buffers, calls.made


def test_plain_layers_read_the_norm() -> None:
    assert inputs(None, None) == (["x", "x"], [("rmsnorm", "x", "h", "w", 1e-5)])
    assert inputs(None, norm=False) == (["x"], [])


def test_a_norm_goes_straight_to_codes_where_all_read_the_same() -> None:
    buffers, calls = inputs(TOKEN, TOKEN, TOKEN)
    assert buffers == ["x.int8"] * 3
    assert calls == [("quantized", "x.int8", 8, False, False), ("rmsnorm_quantize", "x.int8", "h", "w", 1e-5, TOKEN)]


def test_a_layer_that_is_left_alone_keeps_the_norm() -> None:
    buffers, calls = inputs(TOKEN, None, TOKEN)
    assert buffers == ["x.int8", "x", "x.int8"]
    assert [call[0] for call in calls] == ["rmsnorm", "quantized", "quantize"]


def test_layers_that_round_differently_have_buffers_of_their_own() -> None:
    buffers, calls = inputs(*STATIC, STATIC[0])
    assert buffers == ["x.int8", "x.int8.1", "x.int8"]
    assert [call for call in calls if call[0] == "quantize"] == [
        ("quantize", "x.int8", "x", STATIC[0]),
        ("quantize", "x.int8.1", "x", STATIC[1]),
    ]


def test_outliers_need_room_and_float8_a_plain_buffer() -> None:
    assert inputs(OUTLIERS, norm=False, outputs=True)[1] == [
        ("quantized", "x.int8", 8, True, True),
        ("quantize", "x.int8", "x", OUTLIERS),
    ]
    assert inputs(FP8) == (
        ["x.e4m3"],
        [("rmsnorm", "x", "h", "w", 1e-5), ("buffer", "x.e4m3", 8, False), ("round_e4m3", "x.e4m3", "x", FP8)],
    )


@pytest.mark.parametrize(
    ("activation", "rules"),
    [
        (TOKEN, ("absmax127", "absmax127.5")),
        (ASYMMETRIC, ("range-as-served", "range")),
        (STATIC[0], ("static-as-served", "static")),
        (OUTLIERS, ("absmax127", "absmax127")),
        (Activation("int8", one_rule=True), ("absmax127", "absmax127")),
    ],
)
def test_rules_by_numerics(activation: Activation, rules: tuple[str, str]) -> None:
    assert tuple(activation.rule(name) for name in NUMERICS) == rules


def test_activations_tell_of_themselves() -> None:
    assert str(TOKEN) == "int8, dynamic per token"
    assert str(ASYMMETRIC) == "int8, dynamic per token, with zero points"
    assert str(STATIC[0]) == "int8, static per tensor"
    assert str(OUTLIERS) == "int8, dynamic per token, outliers from 6 on in float32"
    assert str(Activation("e4m3", group=128)) == "FP8, dynamic per group of 128"


def test_another_name_is_refused() -> None:
    with pytest.raises(UsageError, match="numerics: must be one of vllm, compressed-tensors; got 'exact'"):
        check_numerics("exact")
