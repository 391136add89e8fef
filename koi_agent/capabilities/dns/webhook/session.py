"""One session with a webhook. It ends with the first unexpected answer."""

import asyncio
import logging
from collections.abc import Sequence
from random import uniform
from typing import Final, Never

from koi_agent.capabilities.dns.claims import Claims
from koi_agent.capabilities.dns.outcomes import Outcome
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.webhook.adjuster import Owner
from koi_agent.capabilities.dns.webhook.api import Busy, Webhook
from koi_agent.capabilities.dns.webhook.decisions import PENDING
from koi_agent.capabilities.dns.webhook.names import Names
from koi_agent.capabilities.dns.webhook.trials import Pace
from koi_agent.capabilities.dns.webhook.writer import Writer
from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.timeouts import set_within, timeout

log = logging.getLogger(__name__)

NAME: Final = "webhook"
GATHER: Final = 0.05
"""Seconds from a change to the requests: later changes are sent with it."""
LOOK: Final = 60.0
"""Seconds between two readings of the records of the provider."""
LOOK_OF_NAME: Final = 0.05
"""Seconds by which each name delays the next reading."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds until the next pass if too many requests of a pass fail."""
FINISH: Final = 10.0
"""Seconds within which the last request must end when the session is closed."""
RELEASE: Final = 15.0
"""Seconds to remove all names at the end."""
NO_SERVICES: Final = "a webhook gets its addresses, not its services"
ONLY_HERE: Final = Outcome(RecordState.HELD, "only this host reaches it")


class WebhookSession:
    """The names of a session, and what was reported about each owner."""

    def __init__(
        self, webhook: Webhook, claims: Claims, owner: Owner, report: Report, *, releases: bool
    ) -> None:
        self._webhook = webhook
        self._claims = claims
        self._releases = releases
        self._report = report
        self._names = Names()
        self._pace = Pace()
        self._writer = Writer(webhook, claims, owner, self._names.wanted, self._pace)
        self._reported: dict[Key, Sequence[RecordStatus]] = {}
        self._woken = asyncio.Event()
        self._lost: asyncio.Future[ProviderLost] = asyncio.get_running_loop().create_future()
        self._is_complete = False

    async def open(self) -> None:
        """Negotiate; raise ``ProviderLost``."""
        self._writer.limit(await self._webhook.negotiate())
        self._claims.store()

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Set the names of an owner; they are sent within ``GATHER``.

        Unchanged names are sent when their turn comes.
        """
        for name in self._names.put(owner, records):
            self._writer.forget(name)
            self._woken.set()
        self._reported.pop(owner, None)
        self._report_on(owner)

    def complete(self) -> None:
        """Remove the names of an earlier run that are no longer wanted."""
        self._is_complete = True
        self._woken.set()

    async def run(self) -> Never:
        """Wait until the webhook is lost; raise ``ProviderLost``."""
        raise await asyncio.shield(self._lost)

    async def work(self) -> None:
        """Write what changes here or at the provider, until the session is closed.

        This is not part of ``run``, which may be cancelled during a request: the webhook might then
        add names after the last ones were removed.
        """
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while not self._pace.is_stopped:
                self._woken.clear()
                pause = await self._pass()
                if pause is None:
                    waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
                    await self._wait()
                else:
                    await self._pace.sleep(pause or next(waits))
        except ProviderLost as lost:
            self._lost.set_result(lost)

    async def _pass(self) -> float | None:
        """Write all names once; return the seconds until the next pass, 0 for a growing pause.

        Returns None if there is nothing left to do before the next reading.
        """
        try:
            is_done = await self._writer.converge(
                self._report_changes, is_complete=self._is_complete
            )
        except Busy as busy:
            self._note_busy(str(busy))
            return busy.seconds
        return None if is_done else 0.0

    def _note_busy(self, reason: str) -> None:
        """Report waiting names as such; announced names stay announced."""
        for name in self._names.wanted:
            if self._writer.outcomes.get(name, PENDING).state is RecordState.WANTED:
                self._writer.outcomes[name] = Outcome(RecordState.WANTED, reason)
        self._report_changes()

    async def _wait(self) -> None:
        """Wait for a change or the next reading, whose time differs between agents.

        Without names, nothing is read.
        """
        if self._is_complete and not self._names.wanted and not [*self._claims.all()]:
            await self._woken.wait()
            return
        most = LOOK + LOOK_OF_NAME * len(self._names.wanted)
        pause = uniform(most / 2, most)  # noqa: S311 - jitter needs no secure randomness
        if (due := self._writer.trials.next_due()) is not None:
            pause = min(pause, due)
        await set_within(self._woken, pause)
        await self._pace.sleep(GATHER)

    def stop(self) -> None:
        """Begin no further request; the current one may end."""
        self._pace.stop()
        self._woken.set()

    async def close(self) -> None:
        """Remove all names if that is configured."""
        if not self._releases:
            return
        self._pace.resume()
        for owner in self._names.owners():
            for name in self._names.put(owner, ()):
                self._writer.forget(name)
        reason = "the webhook does not remove them"
        try:
            async with timeout(RELEASE):
                await self._writer.converge(_report_nothing, is_complete=True)
        except (ProviderLost, Busy, TimeoutError) as error:
            reason = str(error) or "the webhook is too slow"
        if left := len([*self._claims.all()]):
            log.warning("%d DNS names stay at the provider of the webhook: %s", left, reason)

    def _report_changes(self) -> None:
        for owner in self._names.owners():
            self._report_on(owner)

    def _report_on(self, owner: Key) -> None:
        names = self._names.of(owner)
        status = [self._status(name) for name in names]
        if names and self._reported.get(owner) != status:
            self._reported[owner] = status
            self._report(owner, status)
        if not names:
            self._reported.pop(owner, None)

    def _status(self, name: Name) -> RecordStatus:
        outcome = ONLY_HERE
        if name.addresses:
            outcome = self._writer.outcomes.get(name.name, PENDING)
        if name.services and outcome.state is RecordState.ANNOUNCED:
            reason = f"{outcome.reason}; {NO_SERVICES}" if outcome.reason else NO_SERVICES
            outcome = outcome._replace(reason=reason)
        return RecordStatus(name=name.title, provider=NAME, **outcome._asdict())


def _report_nothing() -> None:
    """Report no status, because the owners are gone."""
