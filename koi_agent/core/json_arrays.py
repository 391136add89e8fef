"""Decodes a JSON array element by element, so that a long one does not block the event loop."""

import json
import re
from collections.abc import Iterator
from typing import Final

_DECODER: Final = json.JSONDecoder()
_SEPARATORS: Final = re.compile(r"[\s,]*")


def elements(text: str) -> Iterator[object]:
    """Yield the elements of an array; each is decoded when it is requested.

    ``null`` counts as an empty array, because Go encodes a nil slice like this. Raises
    ``ValueError`` if the text is not an array.
    """
    array = text.strip()
    if array == "null":
        return
    if not (array.startswith("[") and array.endswith("]")):
        raise ValueError("not a JSON array")
    at = skip_separators(array, 1)
    while at < len(array) - 1:
        record, end = element(array, at)
        yield record
        at = skip_separators(array, end)


def element(array: str, at: int) -> tuple[object, int]:
    """Decode the element at this position; return it and the position after it.

    Raises ``ValueError`` if there is no element, or only a part of it.
    """
    return _DECODER.raw_decode(array, at)


def skip_separators(array: str, at: int) -> int:
    """Return the position of the next element at or after this position."""
    found = _SEPARATORS.match(array, at)
    return found.end() if found else at
