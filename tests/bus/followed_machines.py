"""A fake systemd-machined with everything that follows it: backend, follower and registry."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

from koi_agent.backends.machined import Machined
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import MachinedConfig
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendStatus, Change, Event
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from tests.bus.fake_machined import FakeMachine, FakeMachined
from tests.unit.things import Reader, short_forms

PATIENCE = 60.0


class FollowedMachines:
    """A fake, and what is published of it."""

    def __init__(self, fake: FakeMachined, address: str, config: MachinedConfig) -> None:
        self.fake = fake
        self.registry = Registry({"machined": "machined"})
        self.reader = Reader()
        self.events: list[Event] = []
        self.bus = ReconnectingBus(address, lambda *_: None)
        self.units = MachineUnits()
        backend = Machined(self.bus, config, ListenerTable(), self.units)
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=1e6)

    def _apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        self.reader.read(events)
        self.events += events

    @property
    def status(self) -> BackendStatus:
        return self.registry.backends["machined"]

    @property
    def brief(self) -> list[str]:
        """Return the published events as ``+``, ``~`` or ``-`` and the name."""
        return short_forms(self.events)

    @property
    def names(self) -> set[str]:
        return {one.id for one in self.registry.visible.values()}

    def known(self, name: str) -> Instance:
        return self.registry.visible[Key("machined", name)]

    def disagreement(self) -> str:
        """Return the differences between what is published and what runs, or ""."""
        published = {one.id: summary(one) for one in self.registry.visible.values()}
        real = {name: expected(one) for name, one in self.fake.machines.items()}
        return "\n".join(
            f"{name}: published {published.get(name)}, real {real.get(name)}"
            for name in sorted(published.keys() | real.keys())
            if published.get(name) != real.get(name)
        )

    async def settle(self) -> None:
        """List once more, and wait until what is published is what runs."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(BackendLost):
                await self.follower.resync()
                break
            assert time.monotonic() < deadline, f"machined is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await eventually(lambda: not self.disagreement(), self.disagreement)


def summary(instance: Instance) -> Any:
    return instance.state_detail, instance.main_pid, instance.created_at, instance.ips


def expected(machine: FakeMachine) -> Any:
    known = [] if isinstance(machine.addresses, str) else machine.addresses
    addresses = [ip_address(one) for one in known]
    ips = tuple(sorted(str(one) for one in addresses if not one.is_link_local))
    return machine.state, machine.leader, machine.timestamp, ips


async def eventually(condition: Callable[[], Any], what: Callable[[], object] | str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        await asyncio.sleep(0.005)


@asynccontextmanager
async def followed(
    fake: FakeMachined,
    address: str,
    config: MachinedConfig | None = None,
    *,
    settled: bool = True,
) -> AsyncIterator[FollowedMachines]:
    """Follow a fake for as long as the block lasts."""
    machines = FollowedMachines(fake, address, config or MachinedConfig())
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(machines.bus.run()),
            group.create_task(machines.follower.run()),
        ]
        try:
            if settled:
                async with asyncio.timeout(PATIENCE):
                    await machines.follower.settled.wait()
            yield machines
        finally:
            for task in tasks:
                task.cancel()
