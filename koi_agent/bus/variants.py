"""Variants that keep their signature: values of dbus-next."""

from collections.abc import Callable
from typing import Any

from dbus_next.signature import SignatureTree, Variant

__all__ = ["Variant", "kept"]


def kept(
    signature: str, read_value: Callable[[bytes, int], tuple[Any, int]]
) -> Callable[[bytes, int], tuple[Variant, int]]:
    """Return a reader of ``Variant`` from a reader of values of this signature."""
    # The constructor: what dbus-next itself looks up by name it keeps forever.
    (kind,) = SignatureTree(signature).types

    def read(data: bytes, at: int) -> tuple[Variant, int]:
        value, at = read_value(data, at)
        return Variant(kind, value), at

    return read
