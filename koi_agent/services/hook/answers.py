"""Answers a question of systemd-resolved: pure, from the parameters of the call to the reply's."""

import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from koi_agent.core.domain_names import Labels, canonical, parse, wire
from koi_agent.core.errors import BadInput
from koi_agent.services.hook.records import Records, Types

NOERROR: Final = 0
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
IN: Final = 1
ANY: Final = 255
MOST_KEYS: Final = 16
"""Maximum number of keys of one question.

systemd-resolved sends two for the addresses of a name.
"""
NOT_OURS: Final[Mapping[str, Any]] = {}
"""The answer after which systemd-resolved asks DNS servers."""
FAILED: Final[Mapping[str, Any]] = {"rcode": SERVFAIL}
"""The answer after which systemd-resolved asks no server, so that a name stays on the host."""
_FIXED: Final = struct.Struct("!HHIH")


class Key(NamedTuple):
    """One part of a question, of class ``kind`` and type ``type``."""

    labels: Labels
    name: str
    kind: int
    type: int


def answer(records: Records, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of the reply to ResolveRecord; never raise."""
    try:
        keys = [*_keys(parameters.get("question"))]
    except BadInput:
        return FAILED
    ours = [key for key in keys if records.has(key.name)]
    if not ours:
        return NOT_OURS
    try:
        return _answer(records, ours)
    except (BadInput, ValueError, struct.error):
        return FAILED


def _keys(question: object) -> Iterator[Key]:
    """Yield the keys of a question; raise ``BadInput``."""
    if not isinstance(question, list) or not 0 < len(question) <= MOST_KEYS:
        raise BadInput("question: not a list of keys")
    for one in question:
        key = one.get("key") if isinstance(one, dict) else None
        if not isinstance(key, dict) or not isinstance(key.get("name"), str):
            raise BadInput("question: a key has no name")
        kind, number = key.get("class", IN), key.get("type")
        if not isinstance(kind, int) or not isinstance(number, int):
            raise BadInput("question: a key has no type")
        labels = parse(key["name"])
        yield Key(labels, canonical(labels), kind, number)


def _answer(records: Records, keys: Sequence[Key]) -> Mapping[str, Any]:
    found = [(key, types) for key in keys if (types := records.find(key.name)) is not None]
    if not found:
        return {"rcode": NXDOMAIN}
    raw = {one for key, types in found for one in _raw(key, types, records.ttl)}
    return {"rcode": NOERROR, "answer": [{"raw": one} for one in sorted(raw)]}


def _raw(key: Key, types: Types, ttl: int) -> Iterator[str]:
    """Yield the records that a key asks for, in the form of a DNS message and in Base64.

    Their owner is the name as it is spelled in the question, because systemd-resolved compares it.
    """
    if key.kind not in (IN, ANY):
        return
    owner = wire(key.labels)
    for number in types if key.type == ANY else (str(key.type),):
        for text in types.get(number, ()):
            data = b64decode(text, validate=True)
            fixed = _FIXED.pack(int(number), IN, ttl, len(data))
            yield b64encode(owner + fixed + data).decode("ascii")
