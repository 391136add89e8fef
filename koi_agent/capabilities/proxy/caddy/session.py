"""One session with Caddy. It ends with the first unexpected answer."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, NamedTuple, Never

from koi_agent.capabilities.proxy.caddy.admin_api import AdminAPI
from koi_agent.capabilities.proxy.caddy.convergence import Convergence, Result
from koi_agent.capabilities.proxy.caddy.steps import EVERYTHING, Wanted
from koi_agent.capabilities.proxy.caddy.watch import watching
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import Site, sites
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.caddy.objects import Names
from koi_agent.timeouts import set_before, timeout

log = logging.getLogger(__name__)

NAME: Final = "caddy"
GATHER: Final = 0.2
"""Seconds from a change to the requests: later changes are sent with it."""
PERIOD: Final = 2.0
"""Seconds between two changes of Caddy's configuration: each one may cut connections of others."""
CALM: Final = 1.0
"""Seconds between two checks that follow changes of Caddy's configuration."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds until what Caddy refused is sent again."""
RETURN: Final = 2.0
"""Seconds within which Caddy accepts a connection again after a reload."""
RELEASE: Final = 5.0
"""Seconds to remove all objects at the end."""


class Outcome(NamedTuple):
    """The state of the routes on a port, and the reason to show."""

    state: RecordState
    reason: str = ""


PENDING: Final = Outcome(RecordState.WANTED, "it is sent to Caddy")


_Place = tuple[int, str]
"""The port and the host name of a site."""


class CaddySession:
    """The routes of a session, and the outcome of each site.

    ``issuer`` is that of the certificates, as in the settings.
    """

    def __init__(
        self,
        api: AdminAPI,
        address: AdminAddress,
        names: Names,
        report: Report,
        *,
        issuer: str,
    ) -> None:
        self._api = api
        self._address = address
        self._report = report
        self._issuer = issuer
        self._convergence = Convergence(api, names)
        self._routes: dict[Key, Sequence[Route]] = {}
        self._outcomes: Mapping[_Place, Outcome] = {}
        self._pending: dict[Key, None] = {}
        self._woken = asyncio.Event()
        self._is_complete = False

    async def put(self, owner: Key, records: Sequence[Route]) -> None:
        """Set the routes of an owner; they are sent within ``GATHER``."""
        if self._routes.get(owner, ()) != records:
            self._pending[owner] = None
            self._woken.set()
        if records:
            self._routes[owner] = records
        else:
            self._routes.pop(owner, None)
        self._report_on([owner])

    def complete(self) -> None:
        """Remove the routes of an earlier run that are no longer wanted."""
        self._is_complete = True
        self._woken.set()

    async def run(self) -> Never:
        """Send what changes here or at Caddy, until cancelled; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(), name="Caddy routes")
                group.create_task(self._look(), name="Caddy changes")
        raise AssertionError("routes are sent until the task is cancelled")

    async def _look(self) -> Never:
        """Compare after each change of the configuration; raise ``ProviderLost``."""
        while True:
            await self._watch(asyncio.get_running_loop().time() + RETURN)
            await asyncio.sleep(CALM)

    async def _watch(self, until: float) -> None:
        """Wait for one change on a connection, which must be made by ``until``."""
        while True:
            try:
                async with watching(self._address) as watch:
                    self._woken.set()  # there may have been a change before the connection
                    await watch.end()
                    return
            except OSError as error:  # TimeoutError is a subclass
                if asyncio.get_running_loop().time() > until:
                    raise self._api.lost(error.strerror or "no answer") from error
                await asyncio.sleep(GATHER)

    async def _send(self) -> Never:
        retries = pauses(FIRST_RETRY, LONGEST_RETRY)
        retry_at: float | None = None
        while True:
            is_due = not await set_before(self._woken, retry_at)  # failed steps are sent again
            await asyncio.sleep(GATHER)
            self._woken.clear()
            result = await self._converge(again=is_due)
            if result.is_clean:
                retries, retry_at = pauses(FIRST_RETRY, LONGEST_RETRY), None
            elif not result.is_old:
                retry_at = asyncio.get_running_loop().time() + next(retries)
            if result.has_changed:
                await asyncio.sleep(PERIOD)

    async def _converge(self, *, again: bool) -> Result:
        """Send what differs, and report."""
        sent, self._pending = self._pending, {}
        routes = (one for of_owner in self._routes.values() for one in of_owner)
        wanted = Wanted(
            sites=tuple(sites(routes)),
            is_complete=self._is_complete,
            issuer=self._issuer,
        )
        result = await self._convergence.run(wanted, again=again)
        before, self._outcomes = self._outcomes, _outcomes(wanted, result)
        changed = {place for place, one in self._outcomes.items() if before.get(place) != one}
        self._report_on(dict.fromkeys([*sent, *self._on(changed)]))
        return result

    def _on(self, places: Set[_Place]) -> Sequence[Key]:
        """Return the owners of routes for some sites."""
        owners = self._routes.items()
        return [key for key, routes in owners if any(_place(one) in places for one in routes)]

    async def close(self) -> None:
        """Remove all objects of this agent."""
        reason = ""
        try:
            async with timeout(RELEASE):
                await self._api.settle()
                result = await self._convergence.run(Wanted(sites=()), again=True)
            reason = next(iter(result.failed.values()), "")
        except (ProviderLost, TimeoutError) as error:
            reason = str(error) or "it is too slow"
        if reason:
            log.warning("routes stay at Caddy: %s; remove them from its configuration", reason)

    def _report_on(self, owners: Iterable[Key]) -> None:
        for owner in owners:
            if routes := self._routes.get(owner):
                self._report(owner, [self._status(owner, one) for one in routes])

    def _status(self, owner: Key, route: Route) -> RecordStatus:
        outcome = PENDING if owner in self._pending else self._outcomes.get(_place(route), PENDING)
        return RecordStatus(name=route.title, provider=NAME, **outcome._asdict())


def _place(of: Route | Site) -> _Place:
    return of.port, of.host


def _outcomes(wanted: Wanted, result: Result) -> Mapping[_Place, Outcome]:
    """Return the outcome of each site."""
    return {place: _outcome(place, result) for place in map(_place, wanted.sites)}


def _outcome(place: _Place, result: Result) -> Outcome:
    port, _ = place
    if reason := result.held.get(port):
        return Outcome(RecordState.HELD, reason)
    failed = result.failed.get(EVERYTHING) or result.failed.get(port)
    if reason := failed or result.refused.get(place):
        return Outcome(RecordState.FAILED, reason)
    return Outcome(RecordState.ANNOUNCED)
