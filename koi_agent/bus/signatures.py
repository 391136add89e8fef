"""Signatures: parsed by dbus-next, and held to the D-Bus Specification's "Valid Signatures"."""

from functools import lru_cache

from dbus_next.signature import SignatureTree, SignatureType, Variant

__all__ = ["SignatureType", "Variant", "parse"]

DEPTH_LIMIT = 32
"""Nested arrays, and nested structs, that a signature may have."""
SIGNATURES_KEPT = 512
"""Signatures that are remembered. Other clients choose them, so their number is bounded."""


@lru_cache(maxsize=SIGNATURES_KEPT)
def parse(signature: str) -> tuple[SignatureType, ...]:
    """Return the complete types of a signature; raises ``ValueError``."""
    # The constructor: what dbus-next itself looks up by name it keeps forever.
    types = tuple(SignatureTree(signature).types)
    for kind in types:
        if kind.token == "{":
            raise ValueError("a dict entry outside an array")
        _check(kind)
    return types


def _check(kind: SignatureType, *, arrays: int = 0, structs: int = 0) -> None:
    """Check what dbus-next accepts and the specification does not."""
    arrays += kind.token == "a"
    structs += kind.token == "("
    if max(arrays, structs) > DEPTH_LIMIT:
        raise ValueError(f"more than {DEPTH_LIMIT} containers in each other")
    for child in kind.children:
        if child.token == "{" and kind.token != "a":
            raise ValueError("a dict entry outside an array")
        _check(child, arrays=arrays, structs=structs)
    if kind.token == "{" and kind.children[0].token in "av({":
        raise ValueError("a dict entry whose key is not a basic type")
