"""Escapes text from outside, which may contain anything, for a bus, a journal or a terminal."""

import re
from collections.abc import Sequence
from typing import Final

# C0 and C1 controls, which start terminal escape sequences; lone surrogates; line and paragraph
# separators; and characters that change the direction of a line.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""A character that must not be shown as it is."""
MOST_REASONS: Final = 10
"""Reasons of one instance that are logged or shown at once: its metadata can cause thousands."""


def printable(text: str, limit: int = 4096) -> str:
    r"""Escape unsafe characters as ``\xNN`` or ``\uNNNN``; cut the text at ``limit`` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return UNSAFE.sub(lambda found: _escaped(ord(found[0])), text)


def bounded(lines: Sequence[str], most: int, hint: str) -> list[str]:
    """Return the first ``most`` lines, and one with the number of the others and a hint."""
    rest = len(lines) - most
    return [*lines[:most], f"{rest} more: {hint}"] if rest > 0 else [*lines]


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
