"""What a unit's name says, and the few specifiers that stand for parts of it.

systemd does not expand specifiers in keys it does not know, so we do (systemd.unit(5),
"Specifiers"). Those that stand for the host or the manager are left alone and reported.
"""

import re
from collections.abc import Callable
from typing import Final

KNOWN: Final = "%%, %n, %N, %p, %P, %i, %I, %j and %J"

_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_ESCAPED = re.compile(rb"-|\\(?:x([0-9a-fA-F]{2}))?")


def expand(value: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Expand a value for the unit of this name; also say which specifiers were left.

    A percent sign before anything but a letter or a digit means itself, as it does to systemd.
    """
    left: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        letter = found.group(1)
        if letter == "%":
            return "%"
        text = _MEANINGS[letter](name) if letter in _MEANINGS else None
        if text is not None:
            return text
        if letter.isascii() and letter.isalnum():
            left.append(found.group())
        return found.group()

    return _SPECIFIER.sub(replaced, value), tuple(dict.fromkeys(left))


def unescape(text: str) -> str | None:
    r"""``unit_name_unescape``: ``-`` is a slash, ``\x2d`` a byte; ``None`` if it can't be."""
    try:
        return _ESCAPED.sub(_unescaped, text.encode()).decode()
    except (UnicodeDecodeError, ValueError):
        return None


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found.group() == b"-":
        return b"/"
    byte = int(found.group(1) or b"0", 16)
    if byte == 0:
        raise ValueError("a backslash that escapes nothing")
    return bytes((byte,))


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _prefix(name: str) -> str:
    return _stem(name).partition("@")[0]


def _instance(name: str) -> str:
    return _stem(name).partition("@")[2]


def _last(name: str) -> str:
    return _prefix(name).rpartition("-")[2]


_MEANINGS: Final[dict[str, Callable[[str], str | None]]] = {
    "n": str,
    "N": _stem,
    "p": _prefix,
    "P": lambda name: unescape(_prefix(name)),
    "i": _instance,
    "I": lambda name: unescape(_instance(name)),
    "j": _last,
    "J": lambda name: unescape(_last(name)),
}
