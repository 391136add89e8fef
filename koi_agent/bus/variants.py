"""Variants that keep their signature: values of dbus-next."""

from dbus_next.signature import SignatureTree, Variant

from koi_agent.bus.reader import Read

__all__ = ["Variant", "kept"]


def kept(signature: str, read_value: Read) -> Read:
    """Return a reader of ``Variant`` from a reader of values of this signature."""
    # The constructor: what dbus-next itself looks up by name it keeps forever.
    (kind,) = SignatureTree(signature).types

    def read(data: bytes, at: int) -> tuple[Variant, int]:
        value, at = read_value(data, at)
        return Variant(kind, value), at

    return read
