"""Texts as elements of object paths, encoded as sd_bus_path_encode(3) does."""

import re
from functools import lru_cache

ENCODED = 16 * 1024
"""Texts whose labels are kept: more than instances, as each list of them asks for all labels."""
_UNSAFE = re.compile(rb"^[0-9]|[^A-Za-z0-9]")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")


@lru_cache(maxsize=ENCODED)
def encode(text: str) -> str:
    """Escape every byte but ASCII letters and digits, and a digit at the start.

    Lone surrogates, which JSON can contain, are escaped too, so no two texts give one label.
    """
    if not text:
        return "_"
    data = text.encode(errors="surrogatepass")
    return _UNSAFE.sub(lambda found: b"_%02x" % found[0][0], data).decode()


@lru_cache(maxsize=1024)
def decode(label: str) -> str:
    """Decode a label; escapes that ``encode`` cannot have made stay as they are."""
    if label == "_":
        return ""
    data = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), label.encode())
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return label
