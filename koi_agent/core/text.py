"""Foreign text made fit to show: on a bus, in a journal, on a terminal."""

import re

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""C0 and C1 controls (terminal escapes among them), lone surrogates, and characters that turn
the direction of a line."""


def printable(text: str, limit: int = 4096) -> str:
    r"""Spell what can't be shown as ``\xNN``, and cut at ``limit`` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return UNSAFE.sub(lambda found: _spelled(ord(found[0])), text)


def _spelled(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
