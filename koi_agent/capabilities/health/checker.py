"""Keeps time and score: who is to be asked when, and what comes of the last few answers.

Thousands of checks share a few connections at a time and one timer; what is due at about the same
time is asked in one go. One success makes healthy, several failures in a row make unhealthy.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import uniform
from typing import Final, Never

from koi_agent.capabilities.health.prober import Unwell, probe
from koi_agent.core.checks import CheckStatus, HealthCheck
from koi_agent.core.instance import Health

AT_ONCE: Final = 64
"""Connections at one time: a service has 1024 files."""
BATCH: Final = 0.25
"""Seconds within which what is due is asked together."""
FIRST: Final = 1.0
"""Seconds within which something new is asked first, if its interval is no shorter."""


@dataclass(slots=True)
class _Subject:
    """Somebody who is asked again and again."""

    key: str
    check: HealthCheck
    health: Health = Health.STARTING
    detail: str = ""
    failures: int = 0
    last_checked: int = 0
    last_ok: int = 0
    asking: asyncio.Task[None] | None = None


class Checker:
    """Asks who is to be asked; ``found`` is told the key, its health and why, when that changes."""

    def __init__(self, found: Callable[[str, Health, str], None], unhealthy_after: int) -> None:
        self.unhealthy_after = unhealthy_after
        self.counts: Counter[str] = Counter()
        self._found = found
        self._subjects: dict[str, _Subject] = {}
        self._due: list[tuple[float, int, _Subject]] = []
        self._numbers = count()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._woken = asyncio.Event()

    def want(self, key: str, check: HealthCheck | None) -> None:
        """Say how somebody is to be asked from now on, if at all."""
        known = self._subjects.get(key)
        if check is None:
            if known:
                self.forget(key)
                self._found(key, Health.NONE, "")
        elif known is None or known.check != check:
            health, detail = (known.health, known.detail) if known else (Health.STARTING, "")
            self.forget(key)
            subject = self._subjects[key] = _Subject(key, check, health, detail)
            self._wish(subject, uniform(0, min(FIRST, check.interval)))  # noqa: S311 - jitter
            self._found(key, health, detail)

    def forget(self, key: str) -> None:
        """Ask somebody no more, who has gone: nothing is said of him."""
        subject = self._subjects.pop(key, None)
        if subject and subject.asking:
            subject.asking.cancel()

    def status(self) -> Iterator[CheckStatus]:
        """Tell where each check stands."""
        for key, one in sorted(self._subjects.items()):
            yield CheckStatus(
                key=key,
                check=one.check,
                health=one.health,
                last_checked=one.last_checked,
                last_ok=one.last_ok,
                message=one.detail,
            )

    def _wish(self, subject: _Subject, seconds: float) -> None:
        due = asyncio.get_running_loop().time() + seconds
        heappush(self._due, (due, next(self._numbers), subject))
        self._woken.set()

    async def run(self) -> Never:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._until_due()
                for subject in self._take():
                    await self._slots.acquire()
                    if self._subjects.get(subject.key) is not subject:  # it went meanwhile
                        self._slots.release()
                        continue
                    task = group.create_task(self._ask(subject), name=f"check {subject.key}")
                    task.add_done_callback(lambda _: self._slots.release())
                    subject.asking = task
                await asyncio.sleep(BATCH)
        raise AssertionError("checking has no end")

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._due or self._due[0][0] > loop.time():
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                    await self._woken.wait()

    def _take(self) -> Iterator[_Subject]:
        """Take out who is due and still to be asked."""
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            _, _, subject = heappop(self._due)
            if self._subjects.get(subject.key) is subject:
                yield subject

    async def _ask(self, subject: _Subject) -> None:
        try:
            answer, well = await probe(subject.check), True
        except Unwell as unwell:
            answer, well = str(unwell), False
        self.counts["success" if well else "failure"] += 1
        subject.asking = None
        self._note(subject, answer, well=well)
        interval = subject.check.interval
        self._wish(subject, uniform(0.9, 1.1) * interval)  # noqa: S311 - jitter

    def _note(self, subject: _Subject, answer: str, *, well: bool) -> None:
        before = subject.health, subject.detail
        subject.last_checked = time.time_ns() // 1000
        if well:
            subject.last_ok = subject.last_checked
            subject.failures = 0
            subject.health = Health.HEALTHY
        else:
            subject.failures += 1
            if subject.failures >= self.unhealthy_after:
                subject.health = Health.UNHEALTHY
        subject.detail = answer
        if before != (subject.health, subject.detail):
            self._found(subject.key, subject.health, subject.detail)
