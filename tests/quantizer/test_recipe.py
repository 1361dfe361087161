"""Recipes that make sense, and what a config says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferno.errors import UsageError
from inferno.quantization.claims import read_claims
from inferno.quantizer import Recipe
from inferno.quantizer.recipe import quantization_config

LIBRARY = Path(__file__).parent.parent / "data" / "quantized"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "w3a3"}, "scheme: must be one of w8a8, w8a16, w4a16; got 'w3a3'"),
        ({"strength": 1.5}, "strength: must be a number from 0 to 1; got 1.5"),
        ({"strength": float("nan")}, "strength: must be a number from 0 to 1; got nan"),
        ({"strength": 0.5, "smooth": False}, "strength: must be left out but for w8a8 with smoothing"),
        ({"strength": 0.5, "scheme": "w4a16"}, "strength: must be left out but for w8a8 with smoothing"),
        ({"group_size": 64}, "group_size: must be left out for w8a8, which has a scale for each row"),
        ({"group_size": 64, "scheme": "w8a16"}, "group_size: must be left out for w8a16"),
        ({"group_size": 0, "scheme": "w4a16"}, "group_size: must be a multiple of 8; got 0"),
        ({"group_size": -8, "scheme": "w4a16"}, "group_size: must be a multiple of 8; got -8"),
        ({"group_size": 12, "scheme": "w4a16"}, "group_size: must be a multiple of 8; got 12"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UsageError) as caught:
        Recipe(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("widths", "asked", "size"),
    [({4096, 14336}, None, 128), ({576, 1536}, None, 64), ({576, 1536}, 32, 32), ({96}, 48, 48), ({48}, None, 16)],
)
def test_group_sizes(widths, asked, size):
    assert Recipe("w4a16", group_size=asked).group_for(widths) == size


@pytest.mark.parametrize(
    ("widths", "asked", "message"),
    [
        (
            {576, 1536},
            128,
            "group_size: 128 must divide the input features of every layer that is quantized; got layers of 576; "
            "take 64",
        ),
        ({36, 45}, None, "one of 128, 64, 32, 16, 8 must divide the input features of every layer that is quantized"),
        ({36, 45}, None, "got layers of 36, 45; take w8a16, which needs no groups"),
    ],
)
def test_groups_that_do_not_fit(widths, asked, message):
    with pytest.raises(UsageError) as caught:
        Recipe("w4a16", group_size=asked).group_for(widths)
    assert message in str(caught.value)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_other_schemes_have_no_groups(scheme):
    assert Recipe(scheme).group_for({45}) is None


@pytest.mark.parametrize(
    ("recipe", "group", "case"),
    [
        (Recipe("w8a8"), None, "w8a8_channel"),
        (Recipe("w8a16"), None, "w8a16_channel"),
        (Recipe("w4a16"), 32, "w4a16_group"),
    ],
)
def test_the_config_is_the_librarys(recipe, group, case):
    """Word for word what compressed-tensors wrote, but for a key that only its latest release knows."""
    theirs = json.loads((LIBRARY / case / "config.json").read_text())["quantization_config"]
    del theirs["moe_sparsity_config"]
    ours = quantization_config(recipe, group, ["lm_head"])
    assert ours == theirs
    claims = read_claims(ours, "here")
    assert claims.of("lm_head") is None
    assert claims.of("model.layers.0.mlp.up_proj") is not None
