"""The session of the prober: schedules checks and counts failures.

Thousands of checks share one timer and a few connections. Checks that are due at about the same
time run together. One success makes an instance healthy; several failures in a row make it
unhealthy.
"""

import asyncio
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from random import uniform
from typing import Final, Never

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.probe import Unhealthy, probe
from koi_agent.capabilities.health.subject import Subject
from koi_agent.core.contracts import Apply
from koi_agent.core.events import Checked
from koi_agent.core.instance import Health
from koi_agent.core.key import Key
from koi_agent.timeouts import set_before

AT_ONCE: Final = 64
"""Connections at the same time: a service may have 1024 open files."""
BATCH: Final = 0.25
"""Seconds within which checks that are due run together."""
FIRST: Final = 1.0
"""Seconds within which a new check first runs, at a random moment; its interval if shorter."""


class ProberSession:
    """The checks of all instances; ``apply`` hands results to the registry."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._subjects: dict[Key, Subject] = {}
        self._due: list[tuple[float, int, Subject]] = []
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._rescheduled = asyncio.Event()

    async def put(self, owner: Key, records: Sequence[HealthCheck]) -> None:
        """Check an instance as its record describes; without a record stop checking it."""
        known = self._subjects.get(owner)
        if not records:
            self.interrupt(owner)
            self._apply(Checked(owner, None))
        elif known and known.check.has_same_target(records[0]):
            self._adjust(known, records[0])
        else:
            self._start(owner, records[0], known)

    def _start(self, owner: Key, check: HealthCheck, known: Subject | None) -> None:
        """Start a check. The check of another target keeps the health until it has run."""
        subject = Subject(owner, check)
        if known and not known.check.obstacle:
            subject.health, subject.message = known.health, known.message
        if known:
            self.interrupt(owner)
        self._subjects[owner] = subject
        if check.obstacle:
            subject.health, subject.message = Health.UNKNOWN, check.obstacle
        else:
            self._schedule(subject, _first_wait(check))
        self._apply(Checked(owner, subject.status()))

    def _adjust(self, subject: Subject, check: HealthCheck) -> None:
        """Apply different thresholds to a running check; its results still count."""
        before, subject.check = subject.check, check
        if subject.failures >= check.unhealthy_after:
            subject.health = Health.UNHEALTHY
        if subject.turn and check.interval != before.interval:
            self._schedule(subject, _first_wait(check))
        self._apply(Checked(subject.key, subject.status()))

    def interrupt(self, owner: Key) -> None:
        """Stop the check of an instance at once, without a result."""
        subject = self._subjects.pop(owner, None)
        if subject and subject.probing:
            subject.probing.cancel()

    def _schedule(self, subject: Subject, seconds: float) -> None:
        """Set when a check runs next; an earlier entry of it no longer counts."""
        due = asyncio.get_running_loop().time() + seconds
        subject.turn = next(self._numbers)
        heappush(self._due, (due, subject.turn, subject))
        self._rescheduled.set()

    async def run(self) -> Never:
        """Run checks when they are due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wait_until_due()
                for subject in self._pop_due():
                    await self._slots.acquire()
                    if self._subjects.get(subject.key) is not subject:  # dropped meanwhile
                        self._slots.release()
                        continue
                    task = group.create_task(self._probe(subject), name=f"check {subject.key}")
                    task.add_done_callback(lambda _: self._slots.release())
                    subject.probing = task
                await asyncio.sleep(BATCH)
        raise AssertionError("the prober runs until it is cancelled")

    async def _wait_until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._due or self._due[0][0] > loop.time():
            self._rescheduled.clear()
            await set_before(self._rescheduled, self._due[0][0] if self._due else None)

    def _pop_due(self) -> Iterator[Subject]:
        """Remove and yield the subjects that are due and still wanted."""
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            _, turn, subject = heappop(self._due)
            if self._subjects.get(subject.key) is subject and subject.turn == turn:
                subject.turn = 0
                yield subject

    async def _probe(self, subject: Subject) -> None:
        try:
            message, passed = await probe(subject.check), True
        except Unhealthy as unhealthy:
            message, passed = str(unhealthy), False
        if self._subjects.get(subject.key) is not subject:  # interrupted in this turn of the loop
            return
        subject.probing = None
        subject.count(message, passed=passed)
        self._apply(Checked(subject.key, subject.status(), passed))
        interval = subject.check.interval
        self._schedule(subject, uniform(0.9, 1.1) * interval)  # noqa: S311 - jitter


def _first_wait(check: HealthCheck) -> float:
    """Return the seconds until a new check runs: random, so that checks do not run all at once."""
    return uniform(0, min(FIRST, check.interval))  # noqa: S311 - jitter
