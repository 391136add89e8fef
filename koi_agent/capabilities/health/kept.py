"""Health checks by a Koi daemon, or by the prober: a change between them keeps the health."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from typing import Any, Final, Never

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.provider import Prober
from koi_agent.core.contracts import (
    Apply,
    Completable,
    Interruptible,
    ProviderSession,
    Report,
)
from koi_agent.core.events import Change, Checked, CheckStatus
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Health
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.preferred import Preferred
from koi_agent.host.koi_daemon.settings import KoiSettings

_FOUND: Final = (Health.HEALTHY, Health.UNHEALTHY)


class Results:
    """The last result for each instance, which is kept when another provider begins to check it."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._last: dict[Key, CheckStatus] = {}
        self._dropped: set[Key] = set()

    def __call__(self, change: Change) -> None:
        """Apply a result; until a new check has run, the health is the last one."""
        if isinstance(change, Checked):
            change = replace(change, status=self._merged(change))
        self._apply(change)

    def _merged(self, checked: Checked) -> CheckStatus | None:
        status, last = checked.status, self._last.get(checked.key)
        if status is None:
            self.forget(checked.key)
        elif status.health in _FOUND:
            self._last[checked.key] = status
        elif status.health is Health.STARTING and last:
            message = status.message or last.message
            return replace(status, health=last.health, message=message)
        return status

    def forget(self, owner: Key) -> None:
        """Drop the last result for an instance: its next run begins without one."""
        self._last.pop(owner, None)

    def drop(self, owner: Key) -> None:
        """Drop the check of an instance; ``apply_dropped`` applies that it has none."""
        self.forget(owner)
        self._dropped.add(owner)

    def apply_dropped(self) -> None:
        """Apply that these instances have no check; those that are wanted again are put later."""
        dropped, self._dropped = self._dropped, set()
        for owner in dropped:
            self._apply(Checked(owner, None))


@frozen()
class Koi:
    """A Koi daemon that runs checks; ``apply`` hands results to the registry."""

    settings: KoiSettings
    apply: Apply

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return self.settings.absence

    @asynccontextmanager
    async def session(self, _report: Report) -> AsyncIterator[ProviderSession[HealthCheck]]:
        """Connect, and find the checks that an earlier agent left; raise ``ProviderLost``."""
        from koi_agent.capabilities.health.koi import checking  # noqa: PLC0415 - few hosts have it

        async with checking(self.settings, self.apply) as session:
            yield session


@frozen()
class Checks:
    """The provider: a Koi daemon, and the prober while it can't be used."""

    settings: KoiSettings
    apply: Apply
    _results: Results = field(init=False, compare=False)
    _preferred: Preferred = field(init=False, compare=False)

    def __post_init__(self) -> None:
        results = Results(self.apply)
        koi, prober = Koi(self.settings, results), Prober(results)
        object.__setattr__(self, "_results", results)
        object.__setattr__(self, "_preferred", Preferred("health", self.settings, koi, prober))

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return self._preferred.absence

    @property
    def is_always_open(self) -> bool:
        """True if the daemon may have checks of an earlier run."""
        return self._preferred.is_always_open

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[HealthCheck]]:
        """Use the daemon if it can be used now, and the prober until then."""
        async with self._preferred.session(report) as session:
            self._results.apply_dropped()
            yield _Session(session, self._results)

    def interrupt(self, owner: Key) -> None:
        """End the check of an instance without a session: the next run gets no result of it."""
        self._results.drop(owner)


class _Session:
    """The session of either provider."""

    def __init__(self, session: ProviderSession[HealthCheck], results: Results) -> None:
        self._session = session
        self._results = results

    async def put(self, owner: Key, records: Sequence[HealthCheck]) -> None:
        await self._session.put(owner, records)

    async def run(self) -> Never:
        await self._session.run()

    def complete(self) -> None:
        session: Any = self._session
        if isinstance(session, Completable):
            session.complete()

    def interrupt(self, owner: Key) -> None:
        session: Any = self._session
        if isinstance(session, Interruptible):
            session.interrupt(owner)
        self._results.forget(owner)
