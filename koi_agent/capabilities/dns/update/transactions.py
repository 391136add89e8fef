"""The transactions that claim, change and drop a node: pure.

A server makes all changes of a transaction, or none if one of its conditions does not hold (RFC
2136 section 2).
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.marks import mark_name, mark_text
from koi_agent.capabilities.dns.update.nodes import Node
from koi_agent.capabilities.dns.zone import SERVICE_TYPES, Rr

MARK_TTL: Final = 60
"""The TTL of marks in seconds. Only agents read marks."""
_HOST: Final = ("A", "AAAA")
_SERVICE: Final = ("SRV", "TXT")


class Set(NamedTuple):
    """The records of one type at a name."""

    name: str
    type: str


class Transaction(NamedTuple):
    """Conditions, and what is changed if all of them hold.

    ``unused`` are names without any record, ``absent`` are empty sets, and each of ``present`` is
    the only record of its set. ``cleared`` sets lose all records, and ``removed`` and ``added`` are
    single records. ``is_change`` is False if the zone may have all of this already: servers then
    keep their serial.
    """

    node: str
    unused: tuple[str, ...] = ()
    absent: tuple[Set, ...] = ()
    present: tuple[Rr, ...] = ()
    cleared: tuple[Set, ...] = ()
    removed: tuple[Rr, ...] = ()
    added: tuple[Rr, ...] = ()
    is_change: bool = True


def mark_record(node: str, mark: str) -> Rr:
    """Return the mark of a node: the same length for each owner."""
    return Rr(mark_name(node), MARK_TTL, "TXT", f'"{mark_text(mark)}"')


def types_of(node: str) -> tuple[str, ...]:
    """Return the types of the records at a node. Names of hosts have no label for a protocol."""
    return _SERVICE if "._tcp." in node or "._udp." in node else _HOST


def claim(node: str, wanted: Node, mark: str) -> Transaction:
    """Return the transaction that takes a node that does not exist."""
    return Transaction(
        node,
        unused=(node,),
        absent=(Set(mark_name(node), "TXT"),),
        added=(mark_record(node, mark), *_added(wanted)),
    )


def change(node: str, wanted: Node, before: Iterable[str], mark: str) -> Transaction:
    """Return the transaction that replaces the records of our node.

    ``before`` are the names of the PTR records that lead to it.
    """
    kept = {rr.name for rr in wanted.pointers}
    return Transaction(
        node,
        present=(mark_record(node, mark),),
        cleared=tuple(Set(node, kind) for kind in types_of(node)),
        removed=tuple(_pointer(name, node) for name in sorted(set(before) - kept)),
        added=tuple(_added(wanted)),
    )


def drop(node: str, before: Iterable[str], mark: str) -> Transaction:
    """Return the transaction that removes our node; see ``change``."""
    return Transaction(
        node,
        present=(mark_record(node, mark),),
        cleared=(*(Set(node, kind) for kind in types_of(node)), Set(mark_name(node), "TXT")),
        removed=tuple(_pointer(name, node) for name in sorted(before)),
    )


def unlist(kind: str) -> Transaction:
    """Return the transaction that no longer lists a type of services if none is left."""
    return Transaction(kind, absent=(Set(kind, "PTR"),), removed=(_listed(kind, 0),))


def list_of(kind: str) -> Set:
    """Return the set that lists a type of services."""
    return Set(_listed(kind, 0).name, "PTR")


def is_kind(pointer: str) -> bool:
    """Return True if the name of a PTR record is a type of services, and not a subtype."""
    return "._sub." not in pointer


def links(wanted: Node) -> Iterator[Rr]:
    """Yield the PTR records that lead to a node, and those that list its types of services."""
    for rr in sorted(wanted.pointers):
        yield rr
        if is_kind(rr.name):
            yield _listed(rr.name, rr.ttl)


def _added(wanted: Node) -> Iterator[Rr]:
    yield from sorted(wanted.records)
    yield from links(wanted)


def _listed(kind: str, ttl: int) -> Rr:
    """Return the record that lists a type of services, such as ``_http._tcp.internal.``."""
    domain = kind.split(".", 2)[-1]
    return Rr(f"{SERVICE_TYPES}.{domain}", ttl, "PTR", kind)


def _pointer(name: str, node: str) -> Rr:
    return Rr(name, 0, "PTR", node)
