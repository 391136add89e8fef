"""Decides what is done for instances that opt in, and reports the status of their records.

The controller notes which instances change, has each lane plan for them a moment later, feeds the
providers, and hands the status of records to the registry. Events arrive in bursts. They are
gathered for a moment, so that no record is published for a state that lasts only that long, and
processed in slices, so that thousands do not block the event loop.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Never

from koi_agent.announce.facts import Facts
from koi_agent.announce.lane import Lane
from koi_agent.announce.plan_log import log_decisions, log_status
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability
from koi_agent.core.events import (
    Announced,
    BackendDisconnected,
    BackendReconnected,
    BackendRemoved,
    Event,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.instance import Instance, RecordStatus, copied_status
from koi_agent.core.key import Key
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.plan.records import Decision, Record
from koi_agent.core.plan.requests import considered
from koi_agent.core.reach.network import UNKNOWN, HostNetwork
from koi_agent.host.own_names import OwnNames

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds from an event to the plan: later events are planned with it."""
SLICE = 25
"""Instances processed at a time: each takes up to 0.3 ms."""
LOOK = 1.0
"""Seconds until the next plan for an instance that restarted, if there is no grace."""
MARGIN = 0.01
"""Seconds that are added to a deadline so that it has certainly passed."""


class Controller:
    """Event sink with a lane for each capability.

    ``apply`` takes results to the registry. ``grace`` receives all events before this sink does.
    """

    def __init__(
        self,
        capabilities: Sequence[Capability],
        config: Config,
        grace: RestartGrace,
        apply: Apply,
        own_names: OwnNames,
    ) -> None:
        self._config = config
        self._own_names = own_names
        self._grace = grace
        self._apply = apply
        self._opted_in: dict[Key, Instance] = {}
        self._lingering: set[Key] = set()
        """Instances that have stopped, and whose plan stays until the grace is over."""
        self._lost: dict[str, float] = {}
        self._network = UNKNOWN
        self._due = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._known_facts = self._facts(0.0)
        self._policy = self._known_facts.policy()
        self._to_plan: dict[Key, None] = {}  # in the order in which they changed
        self._to_feed: dict[Key, None] = {}
        self._to_report: dict[Key, None] = {}
        self._lanes = [
            Lane(one, config, self._policy, apply, self._on_status) for one in capabilities
        ]

    def publish(self, events: Sequence[Event]) -> None:
        """Record which instances change."""
        for event in events:
            match event:
                case Started(new):
                    self._on_change(None, new)
                case Updated(old, new):
                    self._on_change(old, new)
                case Stopped(last):
                    self._on_stop(last)
                case BackendDisconnected(backend):
                    self._lost[backend] = self._now()
                    self._look_later(None, self._config.stale_after)
                case BackendReconnected(backend) | BackendRemoved(backend):
                    if self._lost.pop(backend, None):
                        self._gather()
                case _:
                    pass

    def _on_change(self, old: Instance | None, new: Instance) -> None:
        if old is None and (replaced := self._grace.replace(new)):
            self._look_at(replaced)
        opted_in = new.metadata.enable is True
        if not opted_in and new.key not in self._opted_in:
            if new.key in self._lingering:  # its earlier run had opted in
                self._look_at(new.key)
            return
        if opted_in or new.announcements:
            self._opted_in[new.key] = new
        else:
            del self._opted_in[new.key]
        if old is None or considered(old) != considered(new):
            self._look_at(new.key)

    def _on_stop(self, last: Instance) -> None:
        if self._opted_in.pop(last.key, None):
            for lane in self._lanes:
                lane.interrupt(last.key)
            if self._grace.keeps(last.key):
                self._lingering.add(last.key)
                self._look_later(last.key, self._grace.seconds)
            else:
                self._look_at(last.key)

    def _on_status(self, key: Key) -> None:
        if key in self._opted_in:
            self._to_report[key] = None
            self._gather()

    def _look_at(self, key: Key) -> None:
        self._to_plan[key] = None
        self._gather()

    def _gather(self) -> None:
        """Start a round in a moment, unless one is to start."""
        if self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(GATHER, self._due.set)

    def _look_later(self, key: Key | None, seconds: float) -> None:
        """Schedule a plan for an instance, without one for the policy: time alone may change it."""
        # Instances of a burst get the same moment, and are planned together.
        moment = math.ceil((self._now() + seconds + MARGIN) / GATHER) * GATHER
        asyncio.get_running_loop().call_at(moment, self._on_deadline, key)

    def _on_deadline(self, key: Key | None) -> None:
        if key:
            self._to_plan[key] = None
        if self._gathering is None:
            self._due.set()

    def change(self, config: Config) -> None:
        """Use another configuration; parts with the same settings are not disturbed."""
        self._config = config
        for lane in self._lanes:
            if lane.set_providers(config):
                self._to_feed.update(dict.fromkeys(self._opted_in))
            self._to_report.update(dict.fromkeys(self._opted_in))
        self._to_plan.update(dict.fromkeys(self._lingering))  # the grace may be shorter now
        self._set_rules()
        for backend in self._lost:
            self._look_later(None, config.stale_after)
            log.debug("%s: lost, announced for %g s", backend, config.stale_after)
        self._gather()

    def set_network(self, network: HostNetwork) -> None:
        """Plan for other interfaces or addresses of this host."""
        self._network = network
        self._own_names.refresh()
        self._gather()

    def reconsider(self) -> None:
        """Plan again if the names of this host have changed."""
        self._gather()

    def decisions(self, key: Key) -> Sequence[Decision]:
        """Return the decisions on the requests of an instance, as of now."""
        self._set_policy()
        if key in self._to_plan:
            self._plan([key, *_pop_slice(self._to_plan)])
        if self._to_plan or self._to_feed:
            self._gather()
        return [decision for lane in self._lanes for decision in lane.decisions(key)]

    def records(self, capability: str) -> Sequence[Record]:
        """Return the planned records of all instances for a capability."""
        lanes = (lane for lane in self._lanes if lane.capability.name == capability)
        return [record for lane in lanes for record in lane.records()]

    async def run(self) -> Never:
        """Plan and feed until cancelled; then all records are withdrawn."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run(), name=f"lane {lane.capability.name}")
            while True:
                await self._due.wait()
                self._due.clear()
                if self._gathering:  # this round plans what was gathered
                    self._gathering.cancel()
                    self._gathering = None
                self._set_policy()
                await _in_slices(self._to_plan, self._plan)
                await _in_slices(self._to_feed, self._feed)
                await _in_slices(self._to_report, self._report)
                if self._network.is_known:  # without it, no instance has an address
                    for lane in self._lanes:
                        lane.complete()
        raise AssertionError("the controller runs until it is cancelled")

    def _set_policy(self) -> None:
        """Plan all instances again if the policy has changed."""
        facts = self._facts(self._now())
        if facts == self._known_facts:  # takes less time than making the policy
            return
        self._known_facts = facts
        policy = facts.policy()
        if policy != self._policy:
            self._policy = policy
            self._set_rules()

    def _set_rules(self) -> None:
        changed = [lane.set_rules(self._config, self._policy) for lane in self._lanes]
        if any(changed):
            self._to_plan.update(dict.fromkeys((*self._opted_in, *self._lingering)))

    def _facts(self, now: float) -> Facts:
        over = now - self._config.stale_after
        lost = frozenset(backend for backend, since in self._lost.items() if since <= over)
        return Facts(self._config, self._own_names.current, lost, self._network)

    def _plan(self, keys: Sequence[Key]) -> None:
        """Plan for some instances, and for those that compete with them."""
        for key in keys:
            instance = self._grace.find(key, self._opted_in)
            for lane in self._lanes:
                if instance:
                    lane.put(instance)
                else:
                    lane.drop(key)
            if instance is None or key in self._opted_in:
                self._lingering.discard(key)
            if instance is not self._opted_in.get(key):  # the instance, or a port, may come back
                self._look_later(key, self._grace.seconds or LOOK)
        for lane in self._lanes:
            self._to_feed.update(dict.fromkeys(lane.settle()))
        self._to_feed.update(dict.fromkeys(keys))

    def _feed(self, keys: Sequence[Key]) -> None:
        """Pass plans to the providers, and log new decisions."""
        for key in keys:
            instance = self._opted_in.get(key)
            for lane in self._lanes:
                lane.feed(key, visible=instance is not None)
                if (new := lane.news(key)) is not None:
                    log_decisions(key, new)
                    self._to_report[key] = None
            if instance and not instance.announcements:
                self._to_report[key] = None

    def _report(self, keys: Sequence[Key]) -> None:
        """Pass the status of records to the registry where it has changed."""
        now = time.time_ns() // 1000
        for instance in [self._opted_in[key] for key in keys if key in self._opted_in]:
            known = {one.content: one for one in instance.announcements}
            status = tuple(self._status(instance.key, known, now))
            if status != instance.announcements:
                log_status(instance, [one for one in status if one.content not in known])
                self._apply(Announced(instance.key, status))

    def _status(
        self, key: Key, known: Mapping[tuple[str, ...], RecordStatus], now: int
    ) -> Sequence[RecordStatus]:
        """Return the status of all records; one that has not changed keeps its time."""
        fresh = chain.from_iterable(lane.status(key) for lane in self._lanes)
        return [known.get(one.content) or copied_status(one, since=now) for one in fresh]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _in_slices(todo: dict[Key, None], work: Callable[[Sequence[Key]], None]) -> None:
    """Process all keys, and yield to the event loop between slices."""
    while todo:
        work(_pop_slice(todo))
        if todo:
            await asyncio.sleep(0)


def _pop_slice(todo: dict[Key, None]) -> Sequence[Key]:
    """Remove and return the first slice of keys."""
    keys = list(islice(todo, SLICE))
    for key in keys:
        del todo[key]
    return keys
