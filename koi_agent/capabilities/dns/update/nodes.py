"""The nodes that the zone must have for the names of all instances: pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.zone import SERVICE_TYPES, Rr, records_of
from koi_agent.core.key import Key
from koi_agent.core.plan.full_names import Domains


class Node(NamedTuple):
    """The records at a node, and the PTR records elsewhere that lead to it.

    A node without records is unwanted.
    """

    records: frozenset[Rr] = frozenset()
    pointers: frozenset[Rr] = frozenset()


class Part(NamedTuple):
    """A name with its nodes in the zone; ``is_whole`` is False if others are outside."""

    name: Name
    nodes: frozenset[str]
    is_whole: bool


class Nodes:
    """The nodes of ``zone`` for all names. The cost of a change depends only on its owner."""

    def __init__(self, domains: Domains, zone: str, ttl: int) -> None:
        self.zone = zone
        self._domains = domains
        self._ttl = ttl
        self._parts: dict[Key, Sequence[Part]] = {}
        self._of_owner: dict[Key, Mapping[str, frozenset[Rr]]] = {}
        self._holders: dict[str, dict[Key, frozenset[Rr]]] = {}

    def put(self, owner: Key, names: Sequence[Name]) -> frozenset[str]:
        """Set the names of an owner; return the nodes that were or are the owner's."""
        before = self._of_owner.pop(owner, {})
        for node in before:
            del self._holders[node][owner]
            if not self._holders[node]:
                del self._holders[node]
        after: dict[str, frozenset[Rr]] = {}
        parts = []
        for name in names:
            every = _by_node(self._records(name))
            of_name = {node: records for node, records in every.items() if self._has(node)}
            parts.append(Part(name, frozenset(of_name), is_whole=len(of_name) == len(every)))
            for node, records in of_name.items():
                after[node] = after.get(node, frozenset()) | records
        for node, records in after.items():
            self._holders.setdefault(node, {})[owner] = records
        if names:
            self._of_owner[owner], self._parts[owner] = after, parts
        else:
            self._parts.pop(owner, None)
        return frozenset(before.keys() | after.keys())

    def _records(self, name: Name) -> Iterable[Rr]:
        domain = self._domains.of(name.name)
        return records_of(name, domain, self._ttl) if domain and name.addresses else ()

    def _has(self, node: str) -> bool:
        return node.endswith(f".{self.zone}.")

    def all(self) -> Sequence[str]:
        """Return all nodes that are wanted."""
        return [*self._holders]

    def wanted(self, node: str) -> Node:
        """Return what a node must have; replicas share a node."""
        found = frozenset[Rr]().union(*self._holders.get(node, {}).values())
        records = frozenset(rr for rr in found if rr.name == node)
        return Node(records, found - records)

    def of(self, owner: Key) -> Iterable[str]:
        """Return the nodes of an owner."""
        return [*self._of_owner.get(owner, ())]

    def owners(self, node: str) -> Iterable[Key]:
        """Return the owners of a node."""
        return [*self._holders.get(node, {})]

    def parts(self, owner: Key) -> Sequence[Part]:
        """Return the names of an owner with their nodes."""
        return self._parts.get(owner, ())


def _by_node(records: Iterable[Rr]) -> Mapping[str, frozenset[Rr]]:
    """Return records by their nodes; a PTR record belongs to the node to which it leads.

    The record that lists a type of services leads to no node. It follows from the pointers.
    """
    found: dict[str, set[Rr]] = {}
    for rr in records:
        if rr.type != "PTR":
            found.setdefault(rr.name, set()).add(rr)
        elif not rr.name.startswith(f"{SERVICE_TYPES}."):
            found.setdefault(rr.text, set()).add(rr)
    return {node: frozenset(of_node) for node, of_node in found.items()}
