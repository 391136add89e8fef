"""TXT records of DNS-SD (RFC 6763 section 6): the rules for a string and for the whole record.

Keys are compared without regard to case (section 6.4) and a string has at most 255 bytes (6.1).
The whole record stays below 1300 bytes, so that it fits into one packet (6.2).
"""

import re
from collections.abc import Iterable
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Refusal
from koi_agent.core.metadata.names import safe_text, shown

Txt = tuple[tuple[str, str], ...]
"""The strings of a TXT record: (key, value), sorted."""

LONGEST_STRING: Final = 255
LONGEST_RECORD: Final = 1300
MDNS: Final = "mdns"
"""Name of the capability that publishes service types and TXT records."""

_KEY = re.compile("[ -<>-~]+")  # printable ASCII without =


def txt_value(key: str, value: str) -> str:
    """Accept the value of a string: it may be empty or begin with spaces. Raises ``BadInput``."""
    if not _KEY.fullmatch(key):
        raise BadInput(f"{shown(key)} is not a TXT key; use printable ASCII without =")
    if _size(key, safe_text(value)) - 1 > LONGEST_STRING:
        raise BadInput(f"key and value together are longer than {LONGEST_STRING} bytes")
    return value


def txt_record(entries: Iterable[tuple[str, str, str]]) -> tuple[Txt, tuple[Refusal, ...]]:
    """Build a record, and a refusal for each string that does not fit.

    An entry is the metadata key for the refusal, the TXT key and the value. Earlier entries take
    precedence.
    """
    kept: dict[str, tuple[str, str]] = {}
    refused: list[Refusal] = []
    room = LONGEST_RECORD
    for metadata_key, key, value in entries:
        size = _size(key, value)
        if same := kept.get(key.lower()):
            reason = f"the TXT key {shown(same[0])} is set already; the case of a key is ignored"
            refused.append(Refusal(key=metadata_key, reason=reason, capability=MDNS))
        elif size > room:
            reason = f"all TXT strings together are longer than {LONGEST_RECORD} bytes"
            refused.append(Refusal(key=metadata_key, reason=reason, capability=MDNS))
        else:
            kept[key.lower()] = (key, value)
            room -= size
    return tuple(sorted(kept.values())), tuple(refused)


def merge_txt(stronger: Txt, weaker: Txt, prefix: str) -> tuple[Txt, tuple[Refusal, ...]]:
    """Merge two records key by key; ``prefix`` is that of the metadata keys in refusals."""
    held = {key.lower() for key, _ in stronger}
    both = [*stronger, *(pair for pair in weaker if pair[0].lower() not in held)]
    return txt_record((prefix + key, key, value) for key, value in both)


def _size(key: str, value: str) -> int:
    """Return the size of ``key=value`` and its length byte, in bytes."""
    return len(key) + 1 + len(value.encode()) + 1
