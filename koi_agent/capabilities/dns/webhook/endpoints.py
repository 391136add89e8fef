"""The endpoints of external-dns: the records of one type at one name, as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from koi_agent.capabilities.dns.marks import MARKED
from koi_agent.capabilities.dns.webhook.spelling import plain_text, same_address, same_name
from koi_agent.core.errors import BadInput

LARGEST: Final = 64 * 2**10
"""Maximum number of characters of an endpoint that is kept."""
ADDRESSES: Final = ("A", "AAAA")
TXT: Final = "TXT"

Json = Mapping[str, Any]


class Data(NamedTuple):
    """The type and the data of one record: an address in its usual form."""

    type: str
    text: str


class Endpoint(NamedTuple):
    """An endpoint that can be read. ``data`` has one item for each target of ``raw``.

    ``raw`` is as the provider sent it, of ``size`` characters as JSON.
    """

    type: str
    data: tuple[Data, ...]
    raw: Json
    size: int


def name_of(element: object) -> str:
    """Return the name of an endpoint; raise ``BadInput`` if it has none."""
    name = element.get("dnsName") if isinstance(element, Mapping) else None
    if not isinstance(name, str) or not name:
        raise BadInput("an endpoint has no name")
    return same_name(name)


def read(element: object) -> Endpoint:
    """Read an endpoint of addresses or texts; raise ``BadInput`` for any other.

    An endpoint with an identifier is one of several sets at a name, which are never the agent's.
    """
    if not isinstance(element, Mapping) or element.get("setIdentifier"):
        raise BadInput("not an endpoint of this agent")
    kind, targets = element.get("recordType"), element.get("targets")
    if not isinstance(kind, str) or kind.upper() not in (*ADDRESSES, TXT):
        raise BadInput("a record of another type")
    if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
        raise BadInput("an endpoint without targets")
    size = _size(element)
    if not targets or size > LARGEST:
        raise BadInput("an endpoint without targets, or a very long one")
    kind = kind.upper()
    data = tuple(Data(kind, _same_target(kind, one)) for one in targets)
    return Endpoint(kind, data, element, size)


def _size(element: Json) -> int:
    try:
        return len(json.dumps(element))
    except RecursionError as error:
        raise BadInput("an endpoint that is nested too deep") from error


def _same_target(kind: str, target: str) -> str:
    return plain_text(target) if kind == TXT else same_address(kind, target)


def is_mark(text: str) -> bool:
    """Return True for the text of a mark, of any agent."""
    return text.startswith(MARKED)


def address_endpoint(name: str, kind: str, ttl: int, addresses: Sequence[str]) -> Json:
    """Return the endpoint of some addresses of one type."""
    return {"dnsName": name, "recordType": kind, "recordTTL": ttl, "targets": list(addresses)}


def text_endpoint(name: str, text: str, ttl: int) -> Json:
    """Return the endpoint of a text, which is quoted as external-dns quotes its own."""
    return {"dnsName": name, "recordType": TXT, "recordTTL": ttl, "targets": [f'"{text}"']}
