"""Numbers as people read them."""

from __future__ import annotations

import pytest

from inferno import units


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 KB"), (999_400, "999 KB"), (10**6, "1 MB"),
     (269_030_016, "269 MB"), (10**9, "1.0 GB"), (16_060_522_496, "16.1 GB")],
)  # fmt: skip
def test_size(nbytes, text):
    assert units.size(nbytes) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0K"), (586_900, "586.9K"), (134_515_008, "134.5M"), (8_030_261_248, "8.0B")],
)
def test_count(number, text):
    assert units.count(number) == text


def test_plural():
    assert [units.plural(number, "thread") for number in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1e-5, "< 0.1 %"),
        (0.0312, "3.1 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.62, "62 %"),
        (1, "100 %"),
    ],
)
def test_percent(share, text):
    assert units.percent(share) == text
