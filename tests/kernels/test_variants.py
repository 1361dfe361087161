"""The list of kernels and of the tiers that bring them is what the tiers' headers declare."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inferno import _core

KERNELS = Path(__file__).parents[2] / "csrc" / "kernels"


def declared(tier: str) -> set[str]:
    """The functions of csrc/kernels/<tier>/kernels.h: "MatMul matmul_f32_f32_f32, matmul_f32_f32_f16;"."""
    text = (KERNELS / tier / "kernels.h").read_text(encoding="utf-8")
    lines = re.findall(r"^[A-Z]\w+ ([\w,\s]+);$", text, re.MULTILINE)
    return {name.strip() for line in lines for name in line.split(",")}


def test_every_tier_of_the_build_is_listed() -> None:
    """Also one that this CPU cannot run."""
    assert list(_core.kernel_variants()) == list(_core.tiers())


@pytest.mark.parametrize("tier", _core.tiers())
def test_a_tier_has_every_kernel(tier: str) -> None:
    """Scalar has all, so its header is the list; the extension refuses to compile with one kernel more."""
    assert set(_core.kernel_variants()[tier]) == declared("scalar")


@pytest.mark.parametrize("tier", _core.tiers())
def test_a_tier_brings_what_its_header_declares(tier: str) -> None:
    variants = _core.kernel_variants()[tier]
    assert {name for name, brought_by in variants.items() if brought_by == tier} == declared(tier)


def test_the_rest_comes_from_scalar() -> None:
    """There is one tier above scalar; with a second, "from below" needs a test of its own."""
    assert len(_core.tiers()) <= 2
    for tier, variants in _core.kernel_variants().items():
        assert set(variants.values()) <= {tier, "scalar"}
