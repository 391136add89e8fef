"""Makes the network know what it should of what opted in, and says on each instance how that went.

The acting side in one place: it notes who wants to be known, plans for them, feeds the
capabilities, and hands what becomes of it back to the registry. Events are taken at once, and
acted on a moment later, for they come in flocks: in slices, so that thousands hold nobody up, and
as one, so that nobody is told of what is settled by halves.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import islice
from typing import Never

from koi_agent.announce.feed import Feed
from koi_agent.capabilities import mdns
from koi_agent.capabilities.health.checker import Checker
from koi_agent.config import Config
from koi_agent.core.events import (
    Announced,
    BackendDisconnected,
    BackendReconnected,
    BackendRemoved,
    Change,
    Checked,
    Event,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.instance import Announcement, Health, Instance, Standing
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.plan.planner import Planned, Planner
from koi_agent.core.plan.records import Decision, Outcome
from koi_agent.core.plan.requests import CHECK, Policy, considered

log = logging.getLogger(__name__)

PAUSE = 0.05
"""Seconds from an event to the plan: what comes meanwhile is planned with it."""
SLICE = 100
"""Instances looked at in one go: each takes up to 0.1 ms."""
MARGIN = 0.01
"""Seconds after which what was over at a moment is surely over."""
STANDINGS = {Outcome.HELD: Standing.HELD, Outcome.REFUSED: Standing.REFUSED}


class Controller:
    """An event sink; ``apply`` takes results to the registry, ``grace`` gets all events first."""

    def __init__(
        self, config: Config, grace: RestartGrace, apply: Callable[[Change], None]
    ) -> None:
        self._config = config
        self._grace = grace
        self._apply = apply
        self._there: dict[str, Instance] = {}
        self._lost: dict[str, float] = {}
        self._planner = Planner(self._policy(0.0))
        self._dirty: dict[str, None] = {}  # in the order in which it happened
        self._due: dict[str, None] = {}
        self._before: dict[str, Planned] = {}
        self._reports: dict[str, None] = {}
        self._moments: list[tuple[float, str]] = []
        self._woken = asyncio.Event()
        self.checker = Checker(self._found, config.health.unhealthy_after)
        self._mdns = Feed("mdns", mdns.provider(config.capabilities.mdns), self._report)

    def publish(self, events: Sequence[Event]) -> None:
        """Note who wants to be known."""
        for event in events:
            match event:
                case Started(new):
                    self._note(None, new)
                case Updated(old, new):
                    self._note(old, new)
                case Stopped(last):
                    self._leave(last)
                case BackendDisconnected(backend):
                    self._lost[backend] = self._now()
                    self._later("", self._config.stale_after)
                case BackendReconnected(backend) | BackendRemoved(backend):
                    if self._lost.pop(backend, None):
                        self._woken.set()
                case _:
                    pass

    def _note(self, old: Instance | None, new: Instance) -> None:
        if old is None and (left := self._grace.give_up_for(new)):
            self._look_at(left)
        asks = new.metadata.enable is True
        if not asks and new.key not in self._there:
            return
        if asks or new.announcements:
            self._there[new.key] = new
        else:
            del self._there[new.key]
        if old is None or considered(old) != considered(new):
            self._look_at(new.key)

    def _leave(self, last: Instance) -> None:
        self.checker.forget(last.key)
        if self._there.pop(last.key, None):
            self._look_at(last.key)

    def _look_at(self, key: str) -> None:
        self._dirty[key] = None
        self._woken.set()

    def _later(self, key: str, seconds: float) -> None:
        """Look at an instance, or if it is "" at the policy, when time alone may change it."""
        when = self._now() + seconds + MARGIN
        heappush(self._moments, (when, key))
        self._woken.set()

    def _report(self, key: str) -> None:
        self._reports[key] = None
        self._woken.set()

    def _found(self, key: str, health: Health, detail: str) -> None:
        self._apply(Checked(key, health, detail))

    def change(self, config: Config) -> None:
        """Announce as configured now; what is configured as before is not disturbed."""
        before, self._config = self._config, config
        if before.capabilities.mdns != config.capabilities.mdns:
            self._mdns.renew(mdns.provider(config.capabilities.mdns))
        self.checker.unhealthy_after = config.health.unhealthy_after
        for backend in self._lost:
            self._later("", config.stale_after)
            log.debug("%s: lost, and believed for %g s", backend, config.stale_after)
        self._woken.set()

    def decisions(self, key: str) -> Sequence[Decision]:
        """Tell what was decided of an instance, and why, as of now."""
        self._take_policy()
        if key in self._dirty:
            self._plan([key, *_first(self._dirty)])
            self._woken.set()
        return self._planner.of(key).decisions

    async def run(self) -> Never:
        """Announce until cancelled; then all is withdrawn."""
        await mdns.clear_leftovers()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mdns.run(), name="feed mdns")
            group.create_task(self.checker.run(), name="health checks")
            while True:
                await self._wake()
                await asyncio.sleep(PAUSE)
                self._woken.clear()
                self._take_policy()
                await _in_slices(self._dirty, self._plan)
                await _in_slices(self._due, self._act)
                await _in_slices(self._reports, self._tell)
        raise AssertionError("announcing has no end")

    async def _wake(self) -> None:
        """Wait for news, or for the moment from which time alone changes what is wanted."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._moments[0][0] if self._moments else None):
                await self._woken.wait()
        while self._moments and self._moments[0][0] <= self._now():
            _, key = heappop(self._moments)
            if key:
                self._dirty[key] = None

    def _take_policy(self) -> None:
        """Look at everybody again, if there are other rules now."""
        policy = self._policy(self._now())
        if policy != self._planner.policy:
            self._planner.policy = policy
            self._dirty.update(dict.fromkeys(self._there))

    def _plan(self, keys: Sequence[str]) -> None:
        """Decide on some, and on those that have to make way for them, or may take their place."""
        for key in keys:
            if instance := self._grace.of(key, self._there):
                self._planner.put(instance)
            else:
                self._planner.drop(key)
            if instance is not self._there.get(key):  # it, or a port of it, may come back yet
                self._later(key, self._grace.seconds)
        self._due.update(dict.fromkeys(keys))
        for key, before in self._planner.settle().items():
            self._due[key] = None
            self._before.setdefault(key, before)

    def _act(self, keys: Sequence[str]) -> None:
        """Have done what is planned now; who is as planned before costs nothing."""
        for key in keys:
            planned, instance = self._planner.of(key), self._there.get(key)
            self._mdns.want(key, planned.records)
            # Who is on his way back is not asked: where a socket waits for him, that starts him.
            self.checker.want(key, planned.check if instance else None)
            self._log_news(key, planned)
            if planned.decisions and instance and not instance.announcements:
                self._reports[key] = None

    def _log_news(self, key: str, planned: Planned) -> None:
        before = self._before.pop(key, planned).decisions
        if before != planned.decisions:
            known = set(before)
            _log_decisions(key, [one for one in planned.decisions if one not in known])
            self._reports[key] = None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _policy(self, now: float) -> Policy:
        over = now - self._config.stale_after
        return Policy(
            host_name=socket.gethostname().partition(".")[0],
            partner_labels=self._config.capabilities.partner_labels,
            withdraw_unhealthy=self._config.health.withdraw_unhealthy,
            checks=self._config.capabilities.health == "auto",
            interval=self._config.health.interval,
            timeout=self._config.health.timeout,
            lost=frozenset(backend for backend, since in self._lost.items() if since <= over),
        )

    def _tell(self, keys: Sequence[str]) -> None:
        """Say on instances what became of their wishes, where that has changed."""
        for instance in [self._there[key] for key in keys if key in self._there]:
            said = {_said(one): one for one in instance.announcements}
            now = time.time_ns() // 1000
            fresh = self._announcements(instance.key, now)
            announcements = tuple(said.get(_said(one), one) for one in fresh)
            if announcements != instance.announcements:
                _log_announcements(instance, [a for a in announcements if _said(a) not in said])
                self._apply(Announced(instance.key, announcements))

    def _announcements(self, key: str, now: int) -> Iterator[Announcement]:
        capability = self._mdns.capability
        for told in self._mdns.standing(key):
            yield Announcement(
                capability=capability,
                provider=told.provider,
                name=told.name,
                status=told.status,
                reason=told.reason,
                since=now,
            )
        for decision in self._planner.of(key).decisions:
            if decision.about != CHECK and (status := STANDINGS.get(decision.outcome)):
                yield Announcement(
                    capability=capability,
                    name=decision.about,
                    status=status,
                    reason=decision.reason,
                    since=now,
                )


async def _in_slices(todo: dict[str, None], do: Callable[[Sequence[str]], None]) -> None:
    """Do what is to be done, and let others have their turn in between."""
    while todo:
        do(_first(todo))
        await asyncio.sleep(0)


def _first(todo: dict[str, None]) -> Sequence[str]:
    """Take the first slice of what is to be done."""
    keys = list(islice(todo, SLICE))
    for key in keys:
        del todo[key]
    return keys


def _said(announcement: Announcement) -> tuple[str, ...]:
    """Tell all that an announcement says but when."""
    one = announcement
    return one.capability, one.provider, one.name, one.status, one.reason


def _log_decisions(key: str, decisions: Sequence[Decision]) -> None:
    for one in decisions:
        text = "%s: %s, %s: %s"
        log.info(
            text, key, one.outcome, one.about, one.reason, extra=_about(MessageId.DECIDED, key)
        )


def _log_announcements(instance: Instance, announcements: Sequence[Announcement]) -> None:
    for one in announcements:
        if one.status is Standing.ANNOUNCED:
            extra = _about(MessageId.ANNOUNCED, instance.key, KOI_NAME=instance.name)
            reason = f" ({one.reason})" if one.reason else ""
            log.info("announced %s for %s%s", one.name, instance.key, reason, extra=extra)
        elif one.status is Standing.FAILED:
            extra = _about(MessageId.NOT_ANNOUNCED, instance.key, KOI_NAME=instance.name)
            text = "can't announce %s for %s: %s; trying again"
            log.warning(text, one.name, instance.key, one.reason, extra=extra)


def _about(kind: MessageId, key: str, **fields: str) -> Mapping[str, Mapping[str, object]]:
    backend = key.partition(":")[0]
    return journal_fields(kind, KOI_INSTANCE=key, KOI_BACKEND=backend, **fields)
