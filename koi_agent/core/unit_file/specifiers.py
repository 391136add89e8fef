"""Expands the specifiers of unit files that stand for the name of the unit.

systemd does not expand specifiers in keys that it does not know (systemd.unit(5), "Specifiers").
Specifiers for the host or the manager are not expanded, and they are reported.
"""

import re
from collections.abc import Callable
from typing import Final

KNOWN: Final = "%%, %n, %N, %p, %P, %i, %I, %j and %J"

_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_ESCAPED = re.compile(rb"-|\\(?:x([0-9a-fA-F]{2}))?")


def expand(value: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Expand a value for the unit of this name; return it and the specifiers left as they are.

    As in systemd, a percent sign before anything but a letter or a digit is not a specifier.
    """
    unexpanded: list[str] = []

    def expanded(found: re.Match[str]) -> str:
        letter = found.group(1)
        if letter == "%":
            return "%"
        text = _MEANINGS[letter](name) if letter in _MEANINGS else None
        if text is not None:
            return text
        if letter.isascii() and letter.isalnum():
            unexpanded.append(found.group())
        return found.group()

    return _SPECIFIER.sub(expanded, value), tuple(dict.fromkeys(unexpanded))


def unescape(text: str) -> str | None:
    r"""Unescape as systemd's ``unit_name_unescape``: ``-`` is a slash, ``\x2d`` a byte.

    Returns None if the text is not valid.
    """
    try:
        return _ESCAPED.sub(_unescaped, text.encode()).decode()
    except (UnicodeDecodeError, ValueError):
        return None


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found.group() == b"-":
        return b"/"
    byte = int(found.group(1) or b"0", 16)
    if byte == 0:
        raise ValueError("incomplete escape sequence")
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
