"""One session with the server. It ends with the first unexpected answer."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import uniform
from typing import Final, Never

from koi_agent.capabilities.dns.claims import Claims
from koi_agent.capabilities.dns.outcomes import ANNOUNCED, Outcome
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.update.nodes import Nodes, Part
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.capabilities.dns.update.writer import Writer
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.timeouts import set_within, timeout

log = logging.getLogger(__name__)

NAME: Final = "update"
GATHER: Final = 0.05
"""Seconds from a change to the update: later changes are sent with it."""
TOGETHER: Final = 32
"""Nodes that are written in one update."""
LOOK: Final = 60.0
"""Seconds between two checks of the serial of the zone."""
LOOK_OF_NODE: Final = 0.05
"""Seconds by which each node delays the next check: all are read if the zone has changed."""
ASSERT: Final = 900.0
"""Seconds after which all nodes are read even if the zone has not changed."""
SERIALS: Final = 2**32
"""Number of serials, after which they start again (RFC 1982)."""
SHORTEST_LEASE: Final = 60
"""Shortest lease in seconds: a server with a shorter one would be busy with this agent alone."""
RELEASE: Final = 5.0
"""Seconds to drop all nodes at the end."""
PENDING: Final = Outcome(RecordState.WANTED, "it is sent to the server")
_SEVERITY: Final = (
    *(RecordState.FAILED, RecordState.REFUSED, RecordState.HELD),
    *(RecordState.WANTED, RecordState.ANNOUNCED),
)


class UpdateSession:
    """The nodes of a session, and the outcome of each that was written."""

    def __init__(
        self,
        settings: UpdateSettings,
        primary: Primary,
        claims: Claims,
        mark: str,
        report: Report,
    ) -> None:
        self._releases = settings.release_on_stop
        self._report = report
        self._nodes = Nodes(settings.domains, settings.zone, settings.ttl)
        self._claims = claims
        self._primary = primary
        self._writer = Writer(primary, self._nodes, claims, mark)
        self._outcomes: dict[str, Outcome] = {}
        self._dirty: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._busy = asyncio.Lock()
        self._leased = asyncio.Event()
        self._serial = 0
        self._read_at = self._lease_from = 0.0
        self._is_complete = self._is_changed = False

    async def open(self) -> None:
        """Check that the server has the zone and knows the key; raise ``ProviderLost``."""
        self._serial = await self._primary.serial()
        self._claims.store()
        self._read_at = self._lease_from = _now()

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Set the names of an owner; they are sent within ``GATHER``."""
        before = {node: self._nodes.wanted(node) for node in self._nodes.of(owner)}
        nodes = self._nodes.put(owner, records)
        for node in nodes:
            if before.get(node) != self._nodes.wanted(node):
                self._outcomes.pop(node, None)
        self._write_later(nodes)
        self._report_on(owner)

    def complete(self) -> None:
        """Drop the nodes of an earlier run that are no longer wanted."""
        self._is_complete = True
        self._write_later(self._unwanted())

    def _unwanted(self) -> Iterable[str]:
        return [node for node in self._claims.all() if not self._is_wanted(node)]

    def _is_wanted(self, node: str) -> bool:
        return bool(self._nodes.wanted(node).records)

    def _write_later(self, nodes: Iterable[str]) -> None:
        self._dirty.update(dict.fromkeys(nodes))
        if self._dirty:
            self._woken.set()

    def _write_all_later(self) -> None:
        """Write all nodes again, and drop those that could not be dropped."""
        self._read_at, self._is_changed = _now(), False
        self._write_later(self._nodes.all())
        if self._is_complete:
            self._write_later(self._unwanted())

    async def run(self) -> Never:
        """Write what changes here or on the server, until cancelled; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(), name="DNS updates")
                group.create_task(self._look(), name="DNS zone")
        raise AssertionError("updates are sent until the task is cancelled")

    async def _write(self) -> Never:
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER)
            self._woken.clear()
            async with self._busy:
                await self._notice_others()
                made = self._writer.made
                while self._dirty:
                    await self._write_some()
                await self._notice_others(self._writer.made - made)

    async def _notice_others(self, made: int = 0) -> None:
        """Compare the serial of the zone: the next check acts on changes by other clients.

        Each of the ``made`` updates of this agent that changed the zone adds one to it. If a server
        adds more, all nodes are read.
        """
        before, self._serial = self._serial, await self._primary.serial()
        self._is_changed = self._is_changed or (self._serial - before) % SERIALS > made

    async def _write_some(self) -> None:
        """Write the first nodes, and report those that have not changed meanwhile."""
        nodes = list(islice(self._dirty, TOGETHER))
        for node in nodes:
            del self._dirty[node]
        written = await self._writer.write(nodes)
        self._check_lease()
        for node, outcome in written.items():
            if not self._is_wanted(node):
                self._log_left(node, outcome)
            elif node not in self._dirty:
                self._outcomes[node] = outcome
        for owner in dict.fromkeys(owner for node in nodes for owner in self._nodes.owners(node)):
            self._report_on(owner)

    def _log_left(self, node: str, outcome: Outcome) -> None:
        """Log that a node could not be dropped; the next check tries again."""
        if outcome.state is RecordState.FAILED and node not in self._dirty:
            name = node.removesuffix(".")
            log.warning("DNS name %s stays on the server: %s; trying again", name, outcome.reason)

    def _check_lease(self) -> None:
        """Plan an earlier check if the server limits its leases; raise ``ProviderLost``."""
        lease = self._primary.lease
        if lease and lease < SHORTEST_LEASE:
            raise self._primary.lost(
                f"it keeps names for {lease} s only; {SHORTEST_LEASE} s needed"
            )
        if lease:
            self._leased.set()

    async def _look(self) -> Never:
        """Write all nodes again if the zone has changed, and from time to time."""
        while True:
            await self._pause()
            async with self._busy:
                now = _now()
                if self._primary.lease and now >= self._lease_from + self._primary.lease / 2:
                    self._writer.forget()
                    self._lease_from = now
                    self._write_all_later()
                elif now >= self._read_at + ASSERT:
                    self._write_all_later()
                else:
                    await self._notice_others()
                    if self._is_changed:
                        self._write_all_later()
                    elif self._is_complete:
                        self._write_later(self._unwanted())

    async def _pause(self) -> None:
        """Wait until the next check, whose time differs between agents."""
        most = LOOK + LOOK_OF_NODE * len(self._nodes.all())
        if lease := self._primary.lease:
            most = min(most, lease / 4)
        pause = uniform(most / 2, most)  # noqa: S311 - jitter needs no secure randomness
        if lease:
            await asyncio.sleep(pause)
            return
        await set_within(self._leased, pause)

    async def close(self) -> None:
        """Drop all nodes if that is configured."""
        if not self._releases:
            return
        reason = ""
        try:
            async with timeout(RELEASE):
                for some in _slices(self._claims.all()):
                    await self._writer.drop(some)
                self._claims.store()
        except (ProviderLost, TimeoutError) as error:
            reason = str(error) or "it is too slow"
        if left := len(list(self._claims.all())):
            text = "%d DNS names stay on the server: %s"
            log.warning(text, left, reason or "it does not drop them")

    def _report_on(self, owner: Key) -> None:
        if parts := self._nodes.parts(owner):
            self._report(owner, [self._status(part) for part in parts])

    def _status(self, part: Part) -> RecordStatus:
        """Return the status of a name: the worst one of its nodes."""
        return RecordStatus(name=part.name.title, provider=NAME, **self._outcome(part)._asdict())

    def _outcome(self, part: Part) -> Outcome:
        outside = f"outside the zone {self._nodes.zone} of [DNS] UpdateZone="
        if part.nodes:
            outcomes = [self._outcomes.get(node, PENDING) for node in sorted(part.nodes)]
            worst = min(outcomes, key=lambda one: _SEVERITY.index(one.state))
            is_without = worst == ANNOUNCED and not part.is_whole
            return worst._replace(reason=f"services are {outside}") if is_without else worst
        if part.name.addresses:
            return Outcome(RecordState.HELD, f"it is {outside}")
        return Outcome(RecordState.HELD, "only this host reaches it")


def _slices(nodes: Iterable[str]) -> Iterator[Sequence[str]]:
    waiting = iter(nodes)
    while some := list(islice(waiting, TOGETHER)):
        yield some


def _now() -> float:
    return asyncio.get_running_loop().time()
