"""Brings the zone of the server into agreement with the nodes that are wanted.

What the server has is read first, and again after an update: a server may accept a record and drop
it. Conditions in each transaction guard what changes in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.messages import NOERROR, NOTAUTH, NOTIMP, REFUSED, SERVFAIL
from koi_agent.capabilities.dns.update.claims import Claims
from koi_agent.capabilities.dns.update.messages import same_text
from koi_agent.capabilities.dns.update.nodes import Node, Nodes
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.transactions import (
    Set,
    Transaction,
    change,
    claim,
    drop,
    is_kind,
    mark_name,
    mark_record,
    types_of,
    unlist,
)
from koi_agent.core.instance import RecordState

MARKED: Final = '"koi-runtime '
_UNUSABLE: Final = (SERVFAIL, NOTIMP, NOTAUTH)
"""Responses that concern all updates."""


class Outcome(NamedTuple):
    """The state of a node, and its reason."""

    state: RecordState
    reason: str = ""


class Found(NamedTuple):
    """The content of a node on the server: the texts of its mark, and the data of its records."""

    marks: frozenset[str]
    data: Mapping[str, frozenset[str]]


ANNOUNCED: Final = Outcome(RecordState.ANNOUNCED)
GONE: Final = Outcome(RecordState.WANTED, "it is on the server no longer")


class Writer:
    """Writes ``nodes`` to the server; ``mark`` is that of this agent."""

    def __init__(self, primary: Primary, nodes: Nodes, claims: Claims, mark: str) -> None:
        self._primary = primary
        self._nodes = nodes
        self._claims = claims
        self._mark = mark
        self._written: dict[str, Node] = {}

    def forget(self) -> None:
        """Write all nodes again, also those that the server has: its lease ends."""
        self._written.clear()

    async def write(self, nodes: Sequence[str]) -> Mapping[str, Outcome]:
        """Write some nodes; return the outcome of each. Raises ``ProviderLost``."""
        found = await self._read(nodes)
        # What is wanted from here on is written next time.
        wanted = {node: self._nodes.wanted(node) for node in nodes}
        steps = {node: self._next(node, wanted[node], found[node]) for node in nodes}
        outcomes = {node: step for node, step in steps.items() if isinstance(step, Outcome)}
        todo = [step for step in steps.values() if isinstance(step, Transaction)]
        codes = await self._make(todo)
        outcomes |= {one.node: _failure(one, codes[one.node]) for one in todo}
        written = [node for node, code in codes.items() if code == NOERROR]
        gone = [node for node, outcome in outcomes.items() if outcome == GONE]
        await self._finish_drops([node for node in (*gone, *written) if not wanted[node].records])
        kept = {node: wanted[node] for node in written if wanted[node].records}
        return outcomes | await self._check(kept)

    async def _read(self, nodes: Sequence[str]) -> Mapping[str, Found]:
        if not nodes:
            return {}
        sets = [list(_sets(node)) for node in nodes]
        texts = iter(await self._primary.ask([*chain.from_iterable(sets)]))
        found = {}
        for node, (_, *own) in zip(nodes, sets, strict=True):
            marks = next(texts)
            found[node] = Found(marks, {one.type: next(texts) for one in own})
        return found

    def _next(self, node: str, wanted: Node, found: Found) -> Transaction | Outcome:
        """Return what has to be done about a node, or its outcome without any."""
        ours = same_text(mark_record(node, self._mark))
        if found.marks == {ours}:
            before = self._claims.pointers(node)
            if not wanted.records:
                return drop(node, before, self._mark)
            if self._written.get(node) == wanted and found.data == _data(node, wanted):
                return ANNOUNCED
            self._claims.claim(node, before | {rr.name for rr in wanted.pointers})
            return change(node, wanted, before, self._mark)
        self._written.pop(node, None)
        if not wanted.records:
            return GONE
        if any(text.startswith(MARKED) for text in found.marks):
            return Outcome(RecordState.REFUSED, "another agent has this name on the server")
        self._claims.claim(node, (rr.name for rr in wanted.pointers))
        return claim(node, wanted, self._mark)

    async def _make(self, transactions: Sequence[Transaction]) -> dict[str, str]:
        """Make transactions together; where that fails, find those that can be made.

        Returns the code of the response by node.
        """
        if not transactions:
            return {}
        code = await self._primary.update(transactions)
        if code in _UNUSABLE:
            raise self._primary.lost(f"it responds {code} to updates of {self._primary.zone}")
        if code == NOERROR or len(transactions) == 1:
            return {one.node: code for one in transactions}
        half = len(transactions) // 2
        return await self._make(transactions[:half]) | await self._make(transactions[half:])

    async def _finish_drops(self, nodes: Sequence[str]) -> None:
        """Store what was dropped, and no longer list types of which no service is left."""
        kinds = {name for node in nodes for name in self._claims.pointers(node) if is_kind(name)}
        for kind in sorted(kinds):
            await self._primary.update([unlist(kind)])
        for node in nodes:
            self._written.pop(node, None)
            self._claims.drop(node)

    async def _check(self, accepted: Mapping[str, Node]) -> dict[str, Outcome]:
        """Return the outcome of nodes that the server has accepted."""
        outcomes: dict[str, Outcome] = {}
        for node, found in (await self._read([*accepted])).items():
            self._claims.claim(node, (rr.name for rr in accepted[node].pointers))
            if found.data == _data(node, accepted[node]):
                self._written[node] = accepted[node]
                outcomes[node] = ANNOUNCED
            else:
                text = "the server accepted the records and does not have them"
                outcomes[node] = Outcome(RecordState.FAILED, text)
        return outcomes


def _sets(node: str) -> Iterator[Set]:
    """Yield the sets that are read for a node; that of its mark comes first."""
    yield Set(mark_name(node), "TXT")
    for kind in types_of(node):
        yield Set(node, kind)


def _data(node: str, wanted: Node) -> Mapping[str, frozenset[str]]:
    return {
        kind: frozenset(same_text(rr) for rr in wanted.records if rr.type == kind)
        for kind in types_of(node)
    }


def _failure(transaction: Transaction, code: str) -> Outcome:
    """Return the outcome of a transaction that the server did not make."""
    if code == NOERROR:
        return ANNOUNCED
    if transaction.unused and code == "YXDOMAIN":
        text = "the server has this name, and it is not from this agent"
        return Outcome(RecordState.REFUSED, text)
    if code == REFUSED:
        text = f"the server responds {code}; check which names the key may update"
        return Outcome(RecordState.FAILED, text)
    return Outcome(RecordState.FAILED, f"the server responds {code}")
