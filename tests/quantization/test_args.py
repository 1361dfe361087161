"""Arguments of a tensor as published configs spell them, presets, and which of them weights and inputs may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.errors import ConfigError, InfernoError, UnsupportedError
from inferno.quantization.args import STRATEGIES, QuantArgs, read_args
from inferno.quantization.presets import PRESETS
from inferno.quantization.roles import check_inputs, check_weights

WHERE = "c.json: weights"


def read(**values: Any) -> QuantArgs:
    return read_args(values, WHERE)


def test_defaults_are_those_of_compressed_tensors() -> None:
    assert read() == QuantArgs(8, "int", True, "tensor", None, None, False, None)
    nulls = dict.fromkeys(["num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "actorder"])
    assert read(**nulls) == read()


def test_what_a_writer_of_today_writes() -> None:
    args = read(
        num_bits=4,
        type="int",
        symmetric=False,
        group_size=128,
        strategy="group",
        block_structure=None,
        dynamic=False,
        actorder="static",
        scale_dtype="torch.bfloat16",
        zp_dtype="torch.int8",
        observer="memoryless_minmax",
        observer_kwargs={"averaging_constant": 0.1},
    )
    assert args == QuantArgs(4, symmetric=False, strategy="group", group_size=128, actorder="weight")


@pytest.mark.parametrize(
    ("given", "strategy", "group_size"),
    [
        ({}, "tensor", None),
        ({"group_size": 64}, "group", 64),
        ({"group_size": -1}, "channel", None),
        ({"strategy": "channel", "group_size": -1}, "channel", None),
        ({"strategy": "group", "group_size": -1}, "channel", None),
        ({"strategy": "GROUP", "group_size": 32}, "group", 32),
        ({"strategy": "token", "dynamic": True}, "token", None),
        ({"strategy": "tensor_group", "group_size": 16}, "tensor_group", 16),
        ({"block_structure": [128, 128]}, "block", None),
    ],
)
def test_strategies_are_inferred(given: dict[str, Any], strategy: str, group_size: int | None) -> None:
    args = read(**given)
    assert (args.strategy, args.group_size) == (strategy, group_size)


@pytest.mark.parametrize("value", [[128, 64], "128x64", "128X64"])
def test_block_structures(value: object) -> None:
    assert read(strategy="block", block_structure=value).block_structure == (128, 64)


@pytest.mark.parametrize(
    ("value", "order"),
    [
        *[(None, None), (False, None), (True, "group"), ("group", "group"), ("dynamic", "group")],
        *[("weight", "weight"), ("static", "weight"), ("Static", "weight")],
    ],
)
def test_orders_of_activations(value: object, order: str | None) -> None:
    assert read(group_size=8, actorder=value).actorder == order


def test_bits_of_each_class() -> None:
    assert read(num_bits={"Embedding": 8, "Linear": 4}).num_bits == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_bits": 0}, "num_bits must be an integer from 1 to 32; got 0"),
        ({"num_bits": 8.0}, "num_bits must be an integer from 1 to 32; got 8.0"),
        ({"num_bits": {"Conv2d": 8}}, "num_bits: Linear must be an integer from 1 to 32; got no such field"),
        ({"type": "uint"}, 'type must be "int" or "float"; got "uint"'),
        ({"symmetric": "yes"}, 'symmetric must be true or false; got "yes"'),
        ({"strategy": "row"}, f'strategy must be one of {", ".join(STRATEGIES)}; got "row"'),
        ({"strategy": ["channel"]}, f'strategy must be one of {", ".join(STRATEGIES)}; got ["channel"]'),
        ({"strategy": "group"}, "group_size must be given for the strategy group; got no such field"),
        ({"strategy": "channel", "group_size": 8}, "group_size must be null or -1 for the strategy channel; got 8"),
        ({"group_size": 0}, "group_size must be at least 1, or -1 for one group in a row; got 0"),
        ({"group_size": -2}, "group_size must be an integer from -1 to 2147483647; got -2"),
        ({"strategy": "block"}, "block_structure must be given for the strategy block; got no such field"),
        (
            {"strategy": "tensor", "block_structure": [1, 2]},
            "block_structure must be null for the strategy tensor; got [1, 2]",
        ),
        ({"block_structure": "128"}, "block_structure must be two positive integers, [rows, columns] or"),
        ({"block_structure": "128x"}, 'or "128x128"; got "128x"'),
        ({"block_structure": "axb"}, "block_structure must be two positive integers, [rows, columns] or"),
        ({"block_structure": [0, 128]}, 'or "128x128"; got [0, 128]'),
        ({"block_structure": [True, 1]}, 'or "128x128"; got [true, 1]'),
        ({"block_structure": {"rows": 1}}, 'or "128x128"; got {"rows": 1}'),
        ({"dynamic": "always"}, 'dynamic must be true or false; got "always"'),
        (
            {"actorder": "columns"},
            'actorder must be true, false or one of group, dynamic, weight, static; got "columns"',
        ),
        ({"actorder": 1}, "actorder must be true, false or one of group, dynamic, weight, static; got 1"),
        (
            {"actorder": "group", "strategy": "channel"},
            'actorder must be null or "weight" for the strategy channel; got "group"',
        ),
    ],
)
def test_refused_values(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**given)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert message in str(caught.value)


def test_refused_kinds() -> None:
    with pytest.raises(ConfigError, match=r"^c.json: weights: must be an object or null; got \[8\]$"):
        read_args([8], WHERE)
    with pytest.raises(UnsupportedError, match=r'dynamic must be true or false; got "local" \(NVFP4'):
        read(strategy="tensor_group", group_size=16, dynamic="local")
    with pytest.raises(
        UnsupportedError, match=r'weights: smoothing must be absent or empty, .* got "hadamard"; remove'
    ):
        read(smoothing="hadamard")
    assert read(smoothing=None, other=False) == read()


@pytest.mark.parametrize(
    "args",
    [
        QuantArgs(),
        QuantArgs(4),
        QuantArgs(1, symmetric=False),
        QuantArgs(8, strategy="channel"),
        QuantArgs(4, strategy="group", group_size=128),
        QuantArgs(8, strategy="block", block_structure=(1, 1)),
        QuantArgs(8, "float"),
    ],
)
def test_weights_that_run(args: QuantArgs) -> None:
    check_weights(args, WHERE)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (QuantArgs(dynamic=True), "dynamic must be false, for scales of weights are stored; got true"),
        (QuantArgs(strategy="token"), "strategy must be tensor, channel, group or block for weights; got token"),
        (QuantArgs(strategy="tensor_group"), "or block for weights; got tensor_group"),
        (QuantArgs(strategy="attn_head"), "or block for weights; got attn_head"),
        (QuantArgs(16), "num_bits must be at most 8 for the type int; got 16"),
        (
            QuantArgs(4, "float"),
            "num_bits must be 8 for the type float; got 4: Inferno does not implement NVFP4",
        ),
        (QuantArgs(8, "float", symmetric=False), "symmetric must be true for the type float; got false"),
    ],
)
def test_weights_that_do_not(args: QuantArgs, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        check_weights(args, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "args",
    [
        QuantArgs(strategy="token", dynamic=True),
        QuantArgs(strategy="token", dynamic=True, symmetric=False),
        QuantArgs(strategy="tensor"),
        QuantArgs(8, "float"),
        QuantArgs(8, "float", strategy="token", dynamic=True),
        QuantArgs(8, "float", strategy="group", group_size=128, dynamic=True),
    ],
)
def test_inputs_that_run(args: QuantArgs) -> None:
    check_inputs(args, WHERE)


ONLY = "strategy must be tensor (static), token (dynamic) or, for the type float, group (dynamic) for inputs; got "


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        (
            UnsupportedError,
            QuantArgs(dynamic=True),
            "strategy must be token where dynamic is true, for one scale of a whole batch would let a row depend on "
            "the others; got tensor; quantize the model",
        ),
        (UnsupportedError, QuantArgs(4, strategy="token", dynamic=True), "num_bits must be 8 for inputs; got 4"),
        (UnsupportedError, QuantArgs(4, "float"), "num_bits must be 8 for the type float; got 4"),
        (UnsupportedError, QuantArgs(8, "float", symmetric=False), "symmetric must be true for the type float"),
        (UnsupportedError, QuantArgs(strategy="group", group_size=8, dynamic=True), ONLY + "group (dynamic)"),
        (UnsupportedError, QuantArgs(8, "float", strategy="group", group_size=8), ONLY + "group (static)"),
        (UnsupportedError, QuantArgs(strategy="channel"), ONLY + "channel (static)"),
        (UnsupportedError, QuantArgs(strategy="block", block_structure=(8, 8)), ONLY + "block (static)"),
        (UnsupportedError, QuantArgs(strategy="tensor_group", group_size=16), ONLY + "tensor_group (static)"),
        (UnsupportedError, QuantArgs(strategy="attn_head"), ONLY + "attn_head (static)"),
        (ConfigError, QuantArgs(strategy="token"), "dynamic must be true for the strategy token; got false"),
        (ConfigError, QuantArgs(actorder="weight"), 'actorder must be null for inputs; got "weight"'),
    ],
)
def test_inputs_that_do_not(kind: type[InfernoError], args: QuantArgs, message: str) -> None:
    with pytest.raises(kind) as caught:
        check_inputs(args, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run(name: str) -> None:
    weights, inputs = PRESETS[name]
    if weights is not None:
        check_weights(weights, WHERE)
    if inputs is not None:
        check_inputs(inputs, WHERE)


def test_presets_are_those_of_compressed_tensors() -> None:
    weights, inputs = PRESETS["W8A8"]
    assert weights == read(num_bits=8, strategy="channel")
    assert inputs == read(num_bits=8, strategy="token", dynamic=True)
    assert PRESETS["INT8"] == PRESETS["W8A8"]
    assert PRESETS["W4A16"] == (read(num_bits=4, group_size=128), None)
    assert PRESETS["W4A16_ASYM"] == (read(num_bits=4, group_size=128, symmetric=False), None)
    assert PRESETS["W8A16"] == (read(num_bits=8, group_size=128), None)
    assert PRESETS["FP8"] == (read(type="float"), read(type="float"))
    assert PRESETS["FP8_DYNAMIC"][0] == read(type="float", strategy="channel")
    weights, inputs = PRESETS["FP8_BLOCK"]
    assert weights == read(type="float", block_structure=[128, 128])
    assert inputs == read(type="float", group_size=128, dynamic=True)


KEYS = [
    "num_bits",
    "type",
    "symmetric",
    "strategy",
    "group_size",
    "block_structure",
    "dynamic",
    "actorder",
    "observer",
    "more",
]
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**65)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*STRATEGIES, "int", "float", "local", "group", "8x8", "x"])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def refusal(call: Callable[[], object]) -> str:
    """What a call is refused with; empty if it is not."""
    try:
        call()
    except InfernoError as error:
        return str(error)
    return ""


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=5) | values)
def test_random_arguments(given_values: object) -> None:
    told = refusal(lambda: read_args(given_values, WHERE))
    assert told.isprintable()
    if told:
        return
    args = read_args(given_values, WHERE)
    assert args.strategy in STRATEGIES
    assert (args.group_size is not None) == (args.strategy in ("group", "tensor_group"))
    assert (args.block_structure is not None) == (args.strategy == "block")
    assert refusal(lambda: check_weights(args, WHERE)).isprintable()
    assert refusal(lambda: check_inputs(args, WHERE)).isprintable()
