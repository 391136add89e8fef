"""A JSON array taken apart element by element, so that a long one holds up nobody."""

import json
import re
from collections.abc import Iterator
from typing import Final

_DECODER: Final = json.JSONDecoder()
_BETWEEN: Final = re.compile(r"[\s,]*")


def elements(text: str) -> Iterator[object]:
    """Yield the elements of an array, each decoded when it is asked for.

    ``null`` has none: so Go writes an empty one. Raises ``ValueError`` where there is no array.
    """
    array = text.strip()
    if array == "null":
        return
    if not (array.startswith("[") and array.endswith("]")):
        raise ValueError("no array")
    at = begin(array, 1)
    while at < len(array) - 1:
        record, end = element(array, at)
        yield record
        at = begin(array, end)


def element(array: str, at: int) -> tuple[object, int]:
    """Decode the element that begins there; returns it, and where it ends.

    Raises ``ValueError`` where there is none, or not yet the whole of it.
    """
    return _DECODER.raw_decode(array, at)


def begin(array: str, at: int) -> int:
    """Find where the next element begins."""
    found = _BETWEEN.match(array, at)
    return found.end() if found else at
