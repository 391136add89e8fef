"""TXT records of DNS-SD (RFC 6763 section 6): what one string may hold, and how many fit.

Keys are compared without case (section 6.4), a string has at most 255 bytes (6.1), and the whole
record stays under 1300 bytes, so that it travels in one packet (6.2).
"""

import re
from collections.abc import Iterable

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Refusal
from koi_agent.core.metadata.names import safe_text, shown

Txt = tuple[tuple[str, str], ...]

LONGEST_STRING = 255
LONGEST_RECORD = 1300

_KEY = re.compile("[ -<>-~]+")  # printable ASCII without =


def txt_value(key: str, value: str) -> str:
    """Accept a value for a key; unlike a name it may be empty or begin with spaces."""
    if not _KEY.fullmatch(key):
        raise BadInput(f"{shown(key)} is no TXT key: it is printable ASCII without =")
    if _size(key, safe_text(value)) - 1 > LONGEST_STRING:
        raise BadInput(f"key and value together are longer than {LONGEST_STRING} bytes")
    return value


def fitting(entries: Iterable[tuple[str, str, str]]) -> tuple[Txt, tuple[Refusal, ...]]:
    """Keep what fits into one record of (where it stood, key, value), the first come first."""
    kept: dict[str, tuple[str, str]] = {}
    refused: list[Refusal] = []
    room = LONGEST_RECORD
    for spelled, key, value in entries:
        size = _size(key, value)
        if twin := kept.get(key.lower()):
            reason = f"TXT keys have no case, and {shown(twin[0])} is there already"
            refused.append(Refusal(key=spelled, reason=reason))
        elif size > room:
            reason = f"all TXT strings together are longer than {LONGEST_RECORD} bytes"
            refused.append(Refusal(key=spelled, reason=reason))
        else:
            kept[key.lower()] = (key, value)
            room -= size
    return tuple(sorted(kept.values())), tuple(refused)


def txt_over(stronger: Txt, weaker: Txt, prefix: str) -> tuple[Txt, tuple[Refusal, ...]]:
    """Merge two records key by key; ``prefix`` names where the keys stand."""
    held = {key.lower() for key, _ in stronger}
    both = [*stronger, *(pair for pair in weaker if pair[0].lower() not in held)]
    return fitting((prefix + key, key, value) for key, value in both)


def _size(key: str, value: str) -> int:
    """Count the bytes of ``key=value`` and of the length before it."""
    return len(key) + 1 + len(value.encode()) + 1
