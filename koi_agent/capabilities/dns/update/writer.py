"""Brings the zone of the server into agreement with the nodes that are wanted.

The records of the server are read first, and again after an update: a server may accept a record
without keeping it. The conditions of each transaction guard against changes in between.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from koi_agent.capabilities.dns.claims import Claims
from koi_agent.capabilities.dns.marks import MARKED, mark_name
from koi_agent.capabilities.dns.messages import NOERROR, NOTAUTH, NOTIMP, REFUSED, SERVFAIL
from koi_agent.capabilities.dns.outcomes import ANNOUNCED, Outcome
from koi_agent.capabilities.dns.update.messages import TooLong, same_text
from koi_agent.capabilities.dns.update.nodes import Node, Nodes
from koi_agent.capabilities.dns.update.primary import Found, Primary
from koi_agent.capabilities.dns.update.transactions import (
    Set,
    Transaction,
    change,
    claim,
    drop,
    is_kind,
    links,
    list_of,
    mark_record,
    types_of,
    unlist,
)
from koi_agent.capabilities.dns.zone import Rr
from koi_agent.core.instance import RecordState

NXRRSET: Final = "NXRRSET"
YXRRSET: Final = "YXRRSET"
YXDOMAIN: Final = "YXDOMAIN"
TOO_LONG: Final = "too long"
_UNUSABLE: Final = (NOTIMP, NOTAUTH)
"""Response codes that affect all updates."""
_UNMET: Final = (NXRRSET, YXRRSET, YXDOMAIN)
"""Response codes for a transaction whose conditions do not hold."""
TRIES: Final = 3
"""Number of attempts to write nodes that others change between the read and the update."""

GONE: Final = Outcome(RecordState.WANTED, "it is on the server no longer")
NOT_KEPT: Final = Outcome(
    RecordState.FAILED, "the server accepted the records and does not have them"
)

Read = Mapping[Set, Found]
"""The sets that were read."""


class Writer:
    """Writes ``nodes`` to the server; ``mark`` is that of this agent.

    ``made`` counts the updates that changed the zone. An update that may have changed nothing does
    not count. A count that is too low causes a check of the zone, and one that is too high hides
    the change of another client.
    """

    def __init__(self, primary: Primary, nodes: Nodes, claims: Claims, mark: str) -> None:
        self._primary = primary
        self._nodes = nodes
        self._claims = claims
        self._mark = mark
        self.made = 0
        self._written: dict[str, Node] = {}

    def forget(self) -> None:
        """Write all nodes again, including those that the server has, because its lease ends."""
        self._written.clear()

    async def write(self, nodes: Sequence[str]) -> Mapping[str, Outcome]:
        """Write some nodes; return the outcome of each. Raises ``ProviderLost``."""
        # The next call writes what changes from here on.
        wanted = {node: self._nodes.wanted(node) for node in nodes}
        kept = {node: one for node, one in wanted.items() if one.records}
        outcomes = await self._keep(kept)
        outcomes |= await self.drop([node for node in nodes if node not in kept])
        self._claims.store()
        return outcomes

    async def _keep(self, wanted: Mapping[str, Node]) -> dict[str, Outcome]:
        """Write nodes; those that another client changes are read and written again.

        A killed agent is such a client: the server may have its last update later.
        """
        outcomes: dict[str, Outcome] = {}
        known: Read = {}
        for _ in range(TRIES):
            read = await self._read(wanted)
            wanted = {
                node: one
                for node, one in wanted.items()
                if any(known.get(own) != read[own] for own in _own_sets(node))
            }
            written, codes = await self._keep_once(wanted, read)
            outcomes |= written
            wanted = {node: wanted[node] for node, code in codes.items() if code in _UNMET}
            if not wanted:
                break
            known = read
        return outcomes

    async def _keep_once(
        self, wanted: Mapping[str, Node], read: Read
    ) -> tuple[dict[str, Outcome], Mapping[str, str]]:
        """Write what differs from what was read; return all outcomes, and codes by node."""
        steps = {node: self._next(node, one, read) for node, one in wanted.items()}
        outcomes = {node: step for node, step in steps.items() if isinstance(step, Outcome)}
        todo = [step for step in steps.values() if isinstance(step, Transaction)]
        self._claims.store()
        codes = await self._make(todo)
        outcomes |= {one.node: _failure(one, codes[one.node]) for one in todo}
        made = {node: wanted[node] for node, code in codes.items() if code == NOERROR}
        return {**outcomes, **await self._check(made)}, codes

    async def drop(self, nodes: Sequence[str]) -> Mapping[str, Outcome]:
        """Drop our nodes among these; return the outcome of each.

        The server is not asked first, because the condition of each transaction decides.
        """
        claimed = [node for node in nodes if self._claims.has(node)]
        todo = [drop(node, self._claims.details(node), self._mark) for node in claimed]
        codes = await self._make(todo)
        gone = [node for node, code in codes.items() if code in (NOERROR, NXRRSET)]
        listed = await self._unlist(name for node in gone for name in self._claims.details(node))
        for node in nodes:
            self._written.pop(node, None)
        for node in gone:
            if not self._claims.details(node) & listed:
                self._claims.drop(node)
        failed = {one.node: _failure(one, codes[one.node]) for one in todo}
        return dict.fromkeys(nodes, GONE) | {
            node: outcome for node, outcome in failed.items() if node not in gone
        }

    async def _unlist(self, pointers: Iterable[str]) -> frozenset[str]:
        """Remove types without services from the list of types; return those that failed."""
        kinds = sorted({name for name in pointers if is_kind(name)})
        read = await self._ask([one for kind in kinds for one in (Set(kind, "PTR"), list_of(kind))])
        failed = set()
        for kind in kinds:
            listed = read[list_of(kind)]
            if read[Set(kind, "PTR")].texts or not (listed.trouble or kind in listed.texts):
                continue
            codes = await self._make([unlist(kind)._replace(is_change=not listed.trouble)])
            if codes[kind] not in (NOERROR, YXRRSET):
                failed.add(kind)
        return frozenset(failed)

    async def _read(self, wanted: Mapping[str, Node]) -> Read:
        """Read all sets that concern some nodes, each once."""
        return await self._ask(one for node, node_ in wanted.items() for one in _sets(node, node_))

    async def _ask(self, sets: Iterable[Set]) -> Read:
        every = list(dict.fromkeys(sets))
        return dict(zip(every, await self._primary.ask(every), strict=True)) if every else {}

    def _next(self, node: str, wanted: Node, read: Read) -> Transaction | Outcome:
        """Return the transaction that a node needs, or the outcome if it needs none."""
        for one in _own_sets(node):
            if trouble := read[one].trouble:
                text = f"the server responds {trouble} to questions about {one.name}"
                return Outcome(RecordState.FAILED, text)
        marks = read[Set(mark_name(node), "TXT")].texts
        before = self._claims.details(node)
        after = {rr.name for rr in wanted.pointers}
        if marks == {same_text(mark_record(node, self._mark))}:
            agrees = _agrees(node, wanted, read)
            if agrees and self._written.get(node) == wanted:
                return ANNOUNCED
            self._claims.claim(node, before | after)
            step = change(node, wanted, before, self._mark)
            return step._replace(is_change=not agrees)
        self._written.pop(node, None)
        if any(text.startswith(f'"{MARKED}') for text in marks):
            return Outcome(RecordState.REFUSED, "another agent has this name on the server")
        self._claims.claim(node, before | after)
        return claim(node, wanted, self._mark)

    async def _make(self, transactions: Sequence[Transaction]) -> dict[str, str]:
        """Make transactions together; where that fails, find those that can be made.

        Returns the code of the response by node.
        """
        if not transactions:
            return {}
        try:
            code = await self._primary.update(transactions)
        except TooLong:
            code = TOO_LONG
        self.made += code == NOERROR and any(one.is_change for one in transactions)
        if code in _UNUSABLE:
            raise self._primary.lost(f"it responds {code} to updates of {self._primary.zone}")
        if code == NOERROR or len(transactions) == 1:
            return {one.node: code for one in transactions}
        half = len(transactions) // 2
        return await self._make(transactions[:half]) | await self._make(transactions[half:])

    async def _check(self, accepted: Mapping[str, Node]) -> Mapping[str, Outcome]:
        """Return the outcome of nodes that the server has accepted.

        A node without its mark can't be read, as below a delegation. It is removed again.
        """
        read = await self._read(accepted)
        outcomes = {}
        for node, wanted in accepted.items():
            if _agrees(node, wanted, read):
                self._claims.claim(node, (rr.name for rr in wanted.pointers))
                self._written[node] = wanted
                outcomes[node] = ANNOUNCED
                continue
            outcomes[node] = NOT_KEPT
            if not read[Set(mark_name(node), "TXT")].texts:
                await self._make([drop(node, self._claims.details(node), self._mark)])
        return outcomes


def _own_sets(node: str) -> Iterator[Set]:
    yield Set(mark_name(node), "TXT")
    for kind in types_of(node):
        yield Set(node, kind)


def _sets(node: str, wanted: Node) -> Iterator[Set]:
    """Yield the sets that are read for a node."""
    yield from _own_sets(node)
    for rr in links(wanted):
        yield Set(rr.name, rr.type)


def _agrees(node: str, wanted: Node, read: Read) -> bool:
    """Return True if the server has the mark and the records of a node, and what leads to it."""
    return (
        bool(read[Set(mark_name(node), "TXT")].texts)
        and all(
            read[Set(node, kind)].texts
            == {same_text(rr) for rr in wanted.records if rr.type == kind}
            for kind in types_of(node)
        )
        and all(_is_linked(rr, read[Set(rr.name, rr.type)]) for rr in links(wanted))
    )


def _is_linked(rr: Rr, found: Found) -> bool:
    """Return True if a PTR record is present, or if its set is too long to be read."""
    return bool(found.trouble) or same_text(rr) in found.texts


def _failure(transaction: Transaction, code: str) -> Outcome:
    """Return the outcome of a transaction that the server did not make."""
    if code == NOERROR:
        return ANNOUNCED
    if code == TOO_LONG:
        return Outcome(RecordState.REFUSED, "its records have no room in one update")
    if transaction.unused and code == YXDOMAIN:
        text = "the server has this name, and it is not from this agent"
        return Outcome(RecordState.REFUSED, text)
    if code == REFUSED:
        text = f"the server responds {code}; check which names the key may update"
        return Outcome(RecordState.FAILED, text)
    text = f"the server responds {code}"
    if code == SERVFAIL:
        text += "; it may limit the records at a name, see its log"
    return Outcome(RecordState.FAILED, text)
