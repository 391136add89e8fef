"""Text from outside is escaped before it is shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — ünïcödé 🙂", "plain — ünïcödé 🙂"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\ud800", "\\ud800"),
        ("abc\u202etxt", "abc\\u202etxt"),
        ("\u2028\u2066", "\\u2028\\u2066"),
    ],
)
def test_unsafe_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable("a" * 10, limit=4) == "aaa…"
    assert printable("aaaa", limit=4) == "aaaa"


@given(st.text(st.characters(), max_size=50))
def test_printable_text_has_no_controls_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert printable(shown) == shown
