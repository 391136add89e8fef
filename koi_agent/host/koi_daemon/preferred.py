"""Prefers a Koi daemon; another provider is used while no daemon can be used."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import field
from typing import Any, Final

from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Provider, ProviderSession, Report
from koi_agent.core.errors import ProviderChanged, ProviderLost, ungrouped
from koi_agent.core.frozen import frozen
from koi_agent.host.koi_daemon.credential import source_of
from koi_agent.host.koi_daemon.settings import KoiSettings
from koi_agent.timeouts import Timeout, timeout

RETURN: Final = 3.0
"""Seconds for a lost daemon to return before the other provider is used."""
STEADY: Final = 60.0
"""Seconds that a session must last for its loss to count as the first one."""
_FIRST, _LONGEST = 5.0, 600.0
"""Seconds until a daemon is used again that was lost shortly after its session began."""


class _Losses:
    """Decides when the daemon may be used again: one that answers may still refuse all services."""

    def __init__(self) -> None:
        self.has_lost = False
        self._not_before = 0.0
        self._waits: Iterator[float] = pauses(_FIRST, _LONGEST)

    def add(self, began: float) -> None:
        """Add the loss of a session that began at a time."""
        self.has_lost = True
        if (now := _now()) > began + STEADY:
            self._waits, self._not_before = pauses(_FIRST, _LONGEST), now
        else:
            self._not_before = now + next(self._waits)

    def may_use(self) -> bool:
        """Return True if the daemon may be used."""
        return self._not_before <= _now()

    async def wait(self) -> None:
        """Wait until the daemon may be used."""
        await asyncio.sleep(max(0.0, self._not_before - _now()))


@frozen()
class Preferred:
    """A provider: ``koi``, or ``fallback`` while no daemon can be used for this ``kind``."""

    kind: str
    settings: KoiSettings
    koi: Provider[Any]
    fallback: Provider[Any]
    _losses: _Losses = field(default_factory=_Losses, compare=False)

    @property
    def absence(self) -> str:
        """The reasons of both."""
        return ", and ".join(filter(None, (self.koi.absence, self.fallback.absence)))

    @property
    def is_always_open(self) -> bool:
        """True if the daemon may have entries of an earlier run."""
        return self.settings.has_intents(self.kind)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Any]]:
        """Use the daemon if it can be used now, and the other provider until then."""
        if await self._is_present():
            began = _now()
            try:
                async with self.koi.session(report) as session:
                    yield session
            except ProviderLost:
                self._losses.add(began)
                raise
            return
        scope = timeout(None)
        try:
            async with (
                scope,
                self._until_arrival(scope),
                self.fallback.session(report) as session,
            ):
                yield session
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise ProviderChanged("the Koi daemon is available now") from error

    async def _is_present(self) -> bool:
        """Return True if the daemon can be used, or was lost a moment ago and may return."""
        # aiohttp takes several MB: an agent without a record does not import it.
        from koi_agent.host.koi_daemon.kinds import KINDS  # noqa: PLC0415
        from koi_agent.host.koi_daemon.presence import is_usable  # noqa: PLC0415

        source = source_of(self.settings, os.environ)
        if self._losses.may_use() and await is_usable(source, KINDS[self.kind].listing):
            return True
        if self._losses.has_lost:
            self._losses.has_lost = False
            with suppress(TimeoutError):
                async with timeout(RETURN):
                    await self._arrival()
                    return True
        return False

    async def _arrival(self) -> None:
        """Wait until the daemon can be used."""
        from koi_agent.host.koi_daemon.kinds import KINDS  # noqa: PLC0415 - as above
        from koi_agent.host.koi_daemon.presence import wait_until_usable  # noqa: PLC0415

        await self._losses.wait()
        source = source_of(self.settings, os.environ)
        await wait_until_usable(source, KINDS[self.kind].listing)

    @asynccontextmanager
    async def _until_arrival(self, scope: Timeout) -> AsyncIterator[None]:
        """End the block with a timeout when the daemon can be used."""

        async def end() -> None:
            await self._arrival()
            scope.reschedule(_now())

        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(end(), name="Koi daemon that is preferred")
                try:
                    yield
                finally:
                    watch.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
