"""Signatures, parsed by the D-Bus Specification's "Valid Signatures".

Not by dbus-next: it accepts more, and the command starts faster without it.
"""

from functools import lru_cache
from typing import Final, NamedTuple

DEPTH_LIMIT: Final = 32
"""Nested arrays, and nested structs, that a signature may have."""
LENGTH_LIMIT: Final = 255
"""Bytes that a signature may have."""
SIGNATURES_KEPT: Final = 512
"""Signatures that are remembered. Other clients choose them, so their number is bounded."""
BASIC: Final = frozenset("ybnqiuxtdsogh")
"""The tokens of basic types."""


class SignatureType(NamedTuple):
    """A complete type; ``token`` is its first character, "{" for a dict entry."""

    token: str
    children: tuple["SignatureType", ...] = ()

    @property
    def signature(self) -> str:
        """The signature of the type."""
        end = {"(": ")", "{": "}"}.get(self.token, "")
        return self.token + "".join(child.signature for child in self.children) + end


@lru_cache(maxsize=SIGNATURES_KEPT)
def parse(signature: str) -> tuple[SignatureType, ...]:
    """Return the complete types of a signature; raises ``ValueError``."""
    if len(signature) > LENGTH_LIMIT:
        raise ValueError(f"a signature of {len(signature)} bytes: the limit is {LENGTH_LIMIT}")
    types: list[SignatureType] = []
    at = 0
    while at < len(signature):
        kind, at = _complete(signature, at, arrays=0, structs=0)
        types.append(kind)
    return tuple(types)


def _complete(text: str, at: int, *, arrays: int, structs: int) -> tuple[SignatureType, int]:
    """Return the complete type at an offset, and the offset after it.

    ``arrays`` and ``structs`` count the containers around it.
    """
    token = text[at : at + 1]
    if max(arrays + (token == "a"), structs + (token == "(")) > DEPTH_LIMIT:
        raise ValueError(f"more than {DEPTH_LIMIT} containers in each other")
    match token:
        case "a":
            read = _entry if text.startswith("{", at + 1) else _complete
            item, at = read(text, at + 1, arrays=arrays + 1, structs=structs)
            return SignatureType("a", (item,)), at
        case "(":
            return _struct(text, at, arrays=arrays, structs=structs + 1)
        case "{":
            raise ValueError("a dict entry outside an array")
        case _ if token in BASIC or token == "v":
            return SignatureType(token), at + 1
        case _:
            raise ValueError(f"{text!r}: unexpected token {token!r} after {text[:at]!r}")


def _struct(text: str, at: int, *, arrays: int, structs: int) -> tuple[SignatureType, int]:
    members: list[SignatureType] = []
    at += 1
    while not members or not text.startswith(")", at):
        if at >= len(text):
            raise ValueError('missing closing ")" of a struct')
        member, at = _complete(text, at, arrays=arrays, structs=structs)
        members.append(member)
    return SignatureType("(", tuple(members)), at + 1


def _entry(text: str, at: int, *, arrays: int, structs: int) -> tuple[SignatureType, int]:
    """Return the dict entry at an offset, which stands in an array; its key is a basic type."""
    key, at = _complete(text, at + 1, arrays=arrays, structs=structs)
    value, at = _complete(text, at, arrays=arrays, structs=structs)
    if not text.startswith("}", at):
        raise ValueError('missing closing "}" of a dict entry')
    if key.token not in BASIC:
        raise ValueError("a dict entry whose key is not a basic type")
    return SignatureType("{", (key, value)), at + 1
