"""One capability at work: its planner, and a feed for each of its providers."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Never

from koi_agent.announce.feed import Feed
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability
from koi_agent.core.instance import Instance, RecordState, RecordStatus, copied_status
from koi_agent.core.key import Key
from koi_agent.core.plan.planner import Planned, Planner
from koi_agent.core.plan.records import Decision, Record
from koi_agent.core.plan.requests import Policy


class Lane:
    """Plans for one capability and feeds its providers.

    ``apply`` hands results to the registry. ``changed`` is called with each instance whose record
    status changes.
    """

    def __init__(
        self,
        capability: Capability,
        config: Config,
        policy: Policy,
        apply: Apply,
        changed: Callable[[Key], None],
    ) -> None:
        self.capability = capability
        self._config = config
        self._apply = apply
        self._changed = changed
        self._planner = Planner(capability.rules(policy, config))
        self._before: dict[Key, Planned] = {}
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[Never]] = {}
        self._ending: dict[str, asyncio.Task[Never]] = {}
        self._running = False
        providers = capability.providers(config, apply)
        self._feeds = {name: Feed(name, one, changed) for name, one in providers.items()}

    def set_rules(self, config: Config, policy: Policy) -> bool:
        """Use the rules for a configuration and a policy; return True if they differ."""
        rules = self.capability.rules(policy, config)
        if rules == self._planner.rules:
            return False
        self._planner.rules = rules
        return True

    def set_providers(self, config: Config) -> Sequence[str]:
        """Feed the providers for a configuration; an equal provider is not disturbed.

        Returns the names of the feeds that were added: they have no records yet.
        """
        self._config = config
        providers = self.capability.providers(config, self._apply)
        for name in self._feeds.keys() - providers.keys():
            del self._feeds[name]
            if task := self._tasks.pop(name, None):
                task.cancel()
                self._ending[name] = task
        added = [name for name in providers if name not in self._feeds]
        for name, provider in providers.items():
            if name in added:
                self._feeds[name] = Feed(name, provider, self._changed)
                if self._running:
                    self._start(name)
            elif self._feeds[name].provider != provider:
                self._feeds[name].renew(provider)
        return added

    async def run(self) -> Never:
        """Recover what a killed agent left, then feed the providers until cancelled."""
        await self.capability.recover(self._config)
        async with self._group:
            self._running = True
            for name in self._feeds:
                self._start(name)
            try:
                await asyncio.Event().wait()
            finally:
                self._running = False
        raise AssertionError("a lane runs until it is cancelled")

    def _start(self, name: str) -> None:
        feeding = self._run_after(self._ending.pop(name, None), self._feeds[name])
        self._tasks[name] = self._group.create_task(feeding, name=f"feed {name}")

    async def _run_after(self, ending: asyncio.Task[Never] | None, feed: Feed) -> Never:
        """Run a feed once the previous one of the same name has withdrawn its records."""
        if ending:
            await asyncio.wait([ending])
        await feed.run()

    def put(self, instance: Instance) -> None:
        """Add or replace an instance in the plan."""
        self._planner.put(instance)

    def drop(self, key: Key) -> None:
        """Remove an instance from the plan."""
        self._planner.drop(key)

    def settle(self) -> Sequence[Key]:
        """Decide the contests in which an instance was put or dropped.

        Returns the instances whose plan has changed, in order.
        """
        changed = self._planner.settle()
        for key, before in changed.items():
            self._before.setdefault(key, before)
        return self._ordered(changed)

    def _ordered(self, changed: Mapping[Key, Planned]) -> Sequence[Key]:
        """Order instances so that one gives up a name before the next one gets it."""
        if len(changed) < 2:
            return tuple(changed)
        released: dict[str, Key] = {}
        gained: dict[Key, frozenset[str]] = {}
        for key, before in changed.items():
            names = [_titles(plan) for plan in (before, self._planner.planned(key))]
            released |= dict.fromkeys(names[0] - names[1], key)
            gained[key] = names[1] - names[0]
        graph = {
            key: {released[name] for name in names if name in released} - {key}
            for key, names in gained.items()
        }
        try:
            return tuple(TopologicalSorter(graph).static_order())
        except CycleError:  # two instances exchange their names: one of them is tried again
            return tuple(changed)

    def feed(self, key: Key, *, visible: bool) -> None:
        """Pass the planned records of an instance to the providers.

        An instance that is not visible is between a stop and a start. Its published records stay.
        Its checks end, because a connection could start it through its socket unit.
        """
        records = self._planner.planned(key).records
        if not visible and not self.capability.publishes:
            self.interrupt(key)
            return
        for feed in self._feeds.values():
            feed.want(key, records)

    def complete(self) -> None:
        """Pass on that the records of all instances have been fed."""
        for feed in self._feeds.values():
            feed.complete()

    def records(self) -> Iterator[Record]:
        """Yield the planned records of all instances."""
        for planned in self._planner.all():
            yield from planned.records

    def interrupt(self, key: Key) -> None:
        """End the checks of an instance that has stopped; published records are not affected."""
        if not self.capability.publishes:
            for feed in self._feeds.values():
                feed.interrupt(key)

    def news(self, key: Key) -> Sequence[Decision] | None:
        """Return the decisions on an instance that are new since the last call.

        Returns None if no decision has changed.
        """
        now = self._planner.planned(key)
        before = self._before.pop(key, now)
        if before is now or before.decisions == now.decisions:
            return None
        known = frozenset(before.decisions)
        return self._named([one for one in now.decisions if one not in known])

    def decisions(self, key: Key) -> Sequence[Decision]:
        """Return the decisions on the requests of an instance."""
        return self._named(self._planner.planned(key).decisions)

    def _named(self, decisions: Iterable[Decision]) -> Sequence[Decision]:
        name = self.capability.name
        return [replace(decision, capability=name) for decision in decisions]

    def status(self, key: Key) -> Iterator[RecordStatus]:
        """Yield the status of each record that an instance requests and others can see."""
        if not self.capability.publishes:
            return
        name, planned = self.capability.name, self._planner.planned(key)
        for feed in self._feeds.values():
            for one in feed.status(key):
                yield copied_status(one, capability=name)
        if not self._feeds:
            held = RecordState.HELD
            for record in planned.records:
                reason = "turned off"
                yield RecordStatus(name=record.title, state=held, reason=reason, capability=name)
        for decision in planned.decisions:
            if decision.state is not RecordState.WANTED:
                yield RecordStatus(
                    name=decision.about,
                    state=decision.state,
                    reason=decision.reason,
                    capability=name,
                )


def _titles(planned: Planned) -> frozenset[str]:
    return frozenset(record.title.lower() for record in planned.records)
