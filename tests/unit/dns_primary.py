"""A DNS server in memory that makes transactions as RFC 2136 says, for tests of what is sent."""

from collections.abc import Callable, Iterable, Sequence

from koi_agent.capabilities.dns.messages import key
from koi_agent.capabilities.dns.update import messages
from koi_agent.capabilities.dns.update.messages import same_text
from koi_agent.capabilities.dns.update.primary import Found
from koi_agent.capabilities.dns.update.transactions import Set, Transaction
from koi_agent.capabilities.dns.zone import Rr
from koi_agent.core.errors import ProviderLost

KEYS = dict([key("peer", "c2VjcmV0IG9mIHNpeHRlZW4gYnl0ZXM=")])


class MemoryPrimary:
    """The records of a zone by name and type; ``refused`` are names that the key may not update.

    After ``fails_after`` more calls it does not answer: the agent was killed, or the server.
    """

    def __init__(self, zone: str = "internal") -> None:
        self.zone = zone
        self.lease = 0
        self.records: dict[tuple[str, str], set[str]] = {}
        self.refused: set[str] = set()
        self.drops: set[str] = set()
        """Types of records that it accepts and does not keep."""
        self.updates: list[Sequence[Transaction]] = []
        self.unreadable: set[str] = set()
        """Names about which it does not answer."""
        self.full: set[tuple[str, str]] = set()
        """Sets that are full: updates that add a record fail with SERVFAIL."""
        self.asked = 0
        self.meanwhile: list[Callable[[], None]] = []
        """What another client does after each update."""
        self.early: list[Callable[[], None]] = []
        """What another client does before each update, after the agent has read the zone."""
        self.number = 1
        self.fails_after = -1

    def lost(self, reason: str) -> ProviderLost:
        return ProviderLost(reason)

    def _count(self) -> None:
        if self.fails_after == 0:
            raise self.lost("no answer")
        self.fails_after -= 1

    async def serial(self) -> int:
        self._count()
        return self.number

    async def ask(self, questions: Sequence[Set]) -> Sequence[Found]:
        self._count()
        self.asked += len(questions)
        return [
            Found(frozenset(), "SERVFAIL")
            if one.name in self.unreadable
            else Found(frozenset(self.records.get(one, ())))
            for one in questions
        ]

    async def update(self, transactions: Iterable[Transaction]) -> str:
        self._count()
        wanted = list(transactions)
        messages.update(self.zone, wanted, KEYS)  # it must have room in a message
        self.updates.append(wanted)
        if self.early:
            self.early.pop()()
        code = self._code(wanted)
        if code == "NOERROR":
            before = {found: set(texts) for found, texts in self.records.items()}
            for one in wanted:
                self._make(one)
            self.number += self.records != before
        if self.meanwhile:
            self.meanwhile.pop()()
        return code

    def _code(self, wanted: Iterable[Transaction]) -> str:
        for one in wanted:
            if any(name in {known for known, _ in self.records} for name in one.unused):
                return "YXDOMAIN"
            if any(found in self.records for found in one.absent):
                return "YXRRSET"
            if any(self._set(rr) != {same_text(rr)} for rr in one.present):
                return "NXRRSET"
            if one.node in self.refused:
                return "REFUSED"
            if any((rr.name, rr.type) in self.full for rr in one.added):
                return "SERVFAIL"
        return "NOERROR"

    def _set(self, rr: Rr) -> set[str]:
        return self.records.get((rr.name, rr.type), set())

    def _make(self, one: Transaction) -> None:
        for found in one.cleared:
            self.records.pop(found, None)
        for rr in one.removed:
            self._set(rr).discard(same_text(rr))
            if not self._set(rr):
                self.records.pop((rr.name, rr.type), None)
        for rr in one.added:
            if rr.type not in self.drops:
                self.records.setdefault((rr.name, rr.type), set()).add(same_text(rr))

    def add(self, name: str, kind: str, text: str) -> None:
        """Add a record by hand."""
        self.records.setdefault((name, kind), set()).add(text)
        self.number += 1
