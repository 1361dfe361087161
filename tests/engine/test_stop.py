"""Stop texts: cut where they begin, held back while they may be beginning, the same however the text is cut up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferno.engine.stop import StopFilter


def run(stops: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    """What came out, piece by piece, and the stop text that matched."""
    stop_filter = StopFilter(stops)
    out = []
    for piece in pieces:
        out.append(stop_filter.feed(piece))
        if stop_filter.matched is not None:
            return out, stop_filter.matched
    return [*out, stop_filter.finish()], None


def whole(stops: list[str], text: str) -> tuple[str, str | None]:
    """The definition, on the whole text: the stop that is complete first, of those the longest."""
    ends = [(end, start, text[start:end]) for end in range(len(text) + 1) for start in range(end)]
    for _end, start, candidate in sorted(ends):
        if candidate in stops:
            return text[:start], candidate
    return text, None


@pytest.mark.parametrize(
    ("stops", "pieces", "out", "matched"),
    [
        ([], ["a", "", "b"], ["a", "", "b", ""], None),
        (["END"], ["abc", "E", "N", "D", "x"], ["abc", "", "", ""], "END"),
        (["END"], ["aE", "Nx", "b"], ["a", "ENx", "b", ""], None),
        (["END"], ["aEN"], ["a", "EN"], None),
        (["aab"], ["aaa", "b"], ["a", ""], "aab"),
        (["\n\n"], ["a\n", "b\n", "\nc"], ["a", "\nb", ""], "\n\n"),
        (["bcd", "c"], ["abcd"], ["ab"], "c"),
        (["d", "bcd"], ["abcd"], ["a"], "bcd"),
    ],
)
def test_cases(stops, pieces, out, matched):
    assert run(stops, pieces) == (out, matched)


TEXT = st.text("ab\n", max_size=24)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=5), max_size=3)


@given(STOPS, st.lists(TEXT, max_size=8))
def test_pieces_change_nothing(stops, pieces):
    out, matched = run(stops, pieces)
    text, expected = whole(stops, "".join(pieces))
    assert ("".join(out), matched) == (text, expected)


@given(STOPS, st.text("ab\n", max_size=24))
def test_nothing_is_held_back_in_vain(stops, text):
    """After each character, all is out but the longest end that a stop text begins with."""
    stop_filter = StopFilter(stops)
    out = ""
    for end in range(1, len(text) + 1):
        out += stop_filter.feed(text[end - 1])
        if stop_filter.matched is not None:
            return
        open_ends = [n for n in range(end + 1) if any(s.startswith(text[end - n : end]) for s in stops)]
        assert len(out) == end - max(open_ends, default=0)
