"""Escapes text from outside, which may contain anything, for a bus, a journal or a terminal."""

import re

# C0 and C1 controls, which start terminal escape sequences; lone surrogates; line and paragraph
# separators; and characters that change the direction of a line.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""A character that must not be shown as it is."""


def printable(text: str, limit: int = 4096) -> str:
    r"""Escape unsafe characters as ``\xNN`` or ``\uNNNN``; cut the text at ``limit`` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return UNSAFE.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
