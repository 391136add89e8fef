"""Any text as one element of an object path, as sd_bus_path_encode(3) does it."""

import re
from functools import lru_cache

_UNSAFE = re.compile(rb"^[0-9]|[^A-Za-z0-9]")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")


@lru_cache(maxsize=1024)
def encode(text: str) -> str:
    """Escape every byte that is no ASCII letter or digit, and a digit in first place.

    Lone surrogates, which JSON can carry, are bytes as well: no two texts share a label.
    """
    if not text:
        return "_"
    data = text.encode(errors="surrogatepass")
    return _UNSAFE.sub(lambda found: b"_%02x" % found[0][0], data).decode()


@lru_cache(maxsize=1024)
def decode(label: str) -> str:
    """Undo ``encode``; what it can't have made comes back with its escapes as they are."""
    if label == "_":
        return ""
    data = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), label.encode())
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return label
