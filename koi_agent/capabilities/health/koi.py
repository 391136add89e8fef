"""The checks at a Koi daemon, which runs them itself; the prober runs those that it can't.

A daemon checks one IPv4 address by TCP, or by HTTP with the Host field of the address. A result is
new if its time differs. The prober also runs a check that gets no new results.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import ceil, inf
from random import uniform
from typing import Any, Final, Never

from koi_agent.bus.address import address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.prober import ProberSession
from koi_agent.capabilities.health.subject import Subject
from koi_agent.core.contracts import Apply
from koi_agent.core.errors import BadInput, ProviderLost, ungrouped
from koi_agent.core.events import Checked
from koi_agent.core.instance import CheckKind, RecordState
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.kinds import HEALTH, elements, text_in, text_of
from koi_agent.host.koi_daemon.session import Entry, KoiSession, Plan, Recorded, keeping
from koi_agent.host.koi_daemon.settings import KoiSettings
from koi_agent.timeouts import set_before

FIRST: Final = 2.0
"""Seconds from a new check to the first reading of its result."""
PATIENCE: Final = 3
"""Intervals without a new result after which the prober runs a check as well."""
STATUS: Final = "/v1/health/status"
MARK: Final = "koi-runtime:"
"""The beginning of the names of all checks of agents."""
MESSAGES: Final = {"up": "up, by the Koi daemon", "down": "down, by the Koi daemon"}
"""The message of each result. The daemon's own message may contain what a peer sent."""
_RESULT: Final = ("name", "status", "last_checked")
_WAITS: Final = (RecordState.WANTED, RecordState.ANNOUNCED)


def body_of(owner: Key, check: HealthCheck) -> Mapping[str, Any] | None:
    """Return the body of a check at a daemon, None if the prober must run it."""
    target = next((one for one in check.targets if ":" not in one.address), None)
    name = f"{MARK}{owner}"
    if target is None or check.host or check.scheme != "http" or not name.isprintable():
        return None
    is_http = check.kind is CheckKind.HTTP
    return {
        "name": name,
        "kind": "http" if is_http else "tcp",
        "target": f"http://{target.text}{check.path}" if is_http else target.text,
        "interval_secs": ceil(check.interval),
        "timeout_secs": ceil(check.timeout),
    }


def planned(checks: Mapping[Key, Sequence[HealthCheck]]) -> Plan:
    """Return the entries of checks that a daemon can run."""
    bodies: dict[str, str] = {}
    entries: dict[Key, Sequence[Entry]] = {}
    for owner, (check,) in checks.items():
        if body := body_of(owner, check):
            bodies[body["name"]] = text_of(body)
            entries[owner] = [Entry(title=check.title, key=body["name"])]
    return Plan(bodies=bodies, entries=entries)


@dataclass(slots=True)
class _Watched:
    """A check at the daemon.

    ``seen`` is the time of its last result there. None means that the results of an earlier run of
    the instance are not known yet. ``due`` is the time of the event loop by which a new result must
    be there. ``is_probed`` is True while the prober runs the check, because the daemon does not.
    """

    subject: Subject
    due: float
    seen: str | None = None
    is_probed: bool = False


Watched = dict[str, _Watched]
"""The checks at the daemon by their names there."""


async def results(daemon: Daemon) -> Sequence[tuple[str, str, str]]:
    """Return name, result and its time of each check that has run; raise ``ProviderLost``."""
    document = await daemon.get(STATUS)
    found: list[tuple[str, str, str]] = []
    try:
        for one in elements(document, "services"):
            with suppress(BadInput):  # a check that has not run has no time
                name, result, when = (text_in(one, key) for key in _RESULT)
                found.append((name, result, when))
    except BadInput as bad:
        raise daemon.lost(str(bad)) from bad
    return found


async def _mark(daemon: Daemon, watched: Watched) -> None:
    """Store the times of results that are older than these checks."""
    new = {name: one for name, one in watched.items() if one.seen is None}
    if new:
        times = {name: when for name, _, when in await results(daemon)}
        for name, one in new.items():
            one.seen = times.get(name, "")


class CheckSession:
    """The checks in one run of a daemon; ``apply`` hands results to the registry."""

    def __init__(self, session: KoiSession[HealthCheck], apply: Apply, watched: Watched) -> None:
        self._session = session
        self._apply = apply
        self._prober = ProberSession(apply)
        self._watched = watched
        self._woken = asyncio.Event()

    async def put(self, owner: Key, records: Sequence[HealthCheck]) -> None:
        """Check an instance as its record describes; without a record stop checking it."""
        name = f"{MARK}{owner}"
        if not records or body_of(owner, records[0]) is None:
            self._drop(owner)
            await self._prober.put(owner, records)
            return
        known = self._watched.get(name)
        if known and known.subject.check == records[0]:
            return
        self._prober.interrupt(owner)
        made = Subject(owner, records[0])
        if known:
            made.health, made.message = known.subject.health, known.subject.message
        self._watched[name] = _Watched(made, due=_due(records[0]))
        self._apply(Checked(owner, made.status()))
        self._session.set(owner, records)
        self._woken.set()

    def complete(self) -> None:
        """Remove the checks of an earlier run that are no longer wanted."""
        self._session.complete()

    def interrupt(self, owner: Key) -> None:
        """Stop the check of an instance at once, without a result."""
        self._drop(owner)
        self._prober.interrupt(owner)

    def _drop(self, owner: Key) -> None:
        if self._watched.pop(f"{MARK}{owner}", None):
            self._session.set(owner, ())

    async def run(self) -> Never:
        """Run checks, until cancelled; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._session.run(), name="Koi checks")
                group.create_task(self._prober.run(), name="checks that Koi can't run")
                group.create_task(self._choose(), name="Koi checks that are refused")
                await self._poll()
        raise AssertionError("results are read until the task is cancelled")

    async def _choose(self) -> Never:
        """Pass checks that the daemon does not run to the prober, after each comparison."""
        while True:
            await self._session.passed.wait()
            self._session.passed.clear()
            for name, one in list(self._watched.items()):
                key = one.subject.key
                is_refused = self._session.keeper.outcome(name).state not in _WAITS
                is_refused = is_refused or one.due <= _now()
                if is_refused and not one.is_probed:
                    await self._prober.put(key, [one.subject.check])
                elif one.is_probed and not is_refused:
                    self._prober.interrupt(key)
                one.is_probed = is_refused

    async def _poll(self) -> Never:
        """Read the results at the shortest interval of all checks, while there are any."""
        loop = asyncio.get_running_loop()
        due: float | None = None
        while True:
            await set_before(self._woken, due)
            if self._woken.is_set():
                self._woken.clear()
                due = min(due or inf, loop.time() + FIRST)
                continue
            await self._read()
            intervals = [one.subject.check.interval for one in self._watched.values()]
            jitter = uniform(0.8, 1)  # noqa: S311 - it needs no secure randomness
            due = loop.time() + jitter * min(intervals) if intervals else None

    async def _read(self) -> None:
        """Read the results of the checks that the daemon runs, and apply the new ones."""
        for name, result, when in await results(self._session.daemon):
            one = self._watched.get(name)
            if one and one.seen not in (None, when) and result in MESSAGES:
                one.seen, one.due = when, _due(one.subject.check)
                if not one.is_probed:
                    one.subject.count(MESSAGES[result], passed=result == "up")
                    status = one.subject.status()
                    self._apply(Checked(one.subject.key, status, result == "up"))
        self._session.passed.set()


def _due(check: HealthCheck) -> float:
    """Return the time by which a daemon that runs a check has a new result."""
    return _now() + PATIENCE * ceil(check.interval) + ceil(check.timeout)


def _now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def checking(settings: KoiSettings, apply: Apply) -> AsyncIterator[CheckSession]:
    """Check until the context is left; raise ``ProviderLost``."""

    async def ends() -> bool:
        return await ends_for_good(address(settings.scope))

    watched: Watched = {}

    async def planner(
        daemon: Daemon, checks: Mapping[Key, Sequence[HealthCheck]], _recorded: Recorded
    ) -> Plan:
        await _mark(daemon, watched)
        return planned(checks)

    async with keeping(settings, HEALTH, planner, lambda _owner, _status: None, ends) as session:
        yield CheckSession(session, apply, watched)
