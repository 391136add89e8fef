"""Texts as elements of object paths, encoded as sd_bus_path_encode(3) does."""

import re
from functools import lru_cache

_UNSAFE = re.compile("[^A-Za-z0-9]")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")


def encode(text: str) -> str:
    """Escape every byte but ASCII letters and digits, and a digit at the start.

    Lone surrogates, which JSON can contain, are escaped too, so no two texts give one label.
    """
    label = _UNSAFE.sub(_escaped, text) or "_"
    # "^[0-9]" in the pattern would make each search three times as slow.
    return f"_{ord(label[0]):02x}{label[1:]}" if "0" <= label[0] <= "9" else label


def _escaped(found: re.Match[str]) -> str:
    return "_" + found[0].encode(errors="surrogatepass").hex("_")


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
