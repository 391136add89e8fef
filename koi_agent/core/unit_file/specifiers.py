"""Expands the specifiers of unit files.

systemd does not expand specifiers in keys that it does not know (systemd.unit(5), "Specifiers").
The name of the unit is known here. The caller knows the host, and the user and the directories of
the manager.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_ESCAPED = re.compile(rb"-|\\(?:x([0-9a-fA-F]{2}))?")


def expand(
    value: str, name: str, host: Mapping[str, Callable[[], str | None]]
) -> tuple[str, tuple[str, ...]]:
    """Expand a value for the unit of this name; return it and the specifiers left as they are.

    ``host`` has the meanings of further specifiers. As in systemd, a percent sign before anything
    but a letter is not a specifier.
    """
    unexpanded: list[str] = []

    def expanded(found: re.Match[str]) -> str:
        letter = found.group(1)
        if letter == "%":
            return "%"
        text = host[letter]() if letter in host else _meaning(letter, name)
        if text is not None:
            return text
        if letter.isascii() and letter.isalpha():
            unexpanded.append(found.group())
        return found.group()

    return _SPECIFIER.sub(expanded, value), tuple(dict.fromkeys(unexpanded))


def _meaning(letter: str, name: str) -> str | None:
    return _MEANINGS[letter](name) if letter in _MEANINGS else None


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


def _file_name(name: str) -> str | None:
    """Return the path that the instance stands for, or else the prefix."""
    path = unescape(_instance(name) or _prefix(name))
    return None if path is None else "/" + path.removeprefix("/")


_MEANINGS: Final[dict[str, Callable[[str], str | None]]] = {
    "n": str,
    "N": _stem,
    "p": _prefix,
    "P": lambda name: unescape(_prefix(name)),
    "i": _instance,
    "I": lambda name: unescape(_instance(name)),
    "j": _last,
    "f": _file_name,
    "J": lambda name: unescape(_last(name)),
}
