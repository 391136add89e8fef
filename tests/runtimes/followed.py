"""A fake engine and all that follows it: the backend, the engine of the in side, the registry."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.session import RETRY
from koi_agent.config import Config
from koi_agent.config.settings import EngineConfig
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendStatus, Change, Event
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from tests.runtimes.fake_docker import FakeDocker
from tests.runtimes.truth import Box
from tests.unit.things import Reader, told

PATIENCE = 1.5 * RETRY
"""Seconds after a list within which all must be known: an inspection may fail once."""


class Followed:
    """An engine, and what is known of it."""

    def __init__(self, fake: FakeDocker, name: str) -> None:
        socket = EngineConfig(socket=str(fake.path))
        config = Config(scope="system", docker=socket, podman=socket)
        self.fake = fake
        self.truth = fake.truth
        self.faults = fake.faults
        self.name = name
        self.registry = Registry({name: name})
        self.reader = Reader()
        self.events: list[Event] = []
        backend = Docker(name, config, ListenerTable())
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=1e6)

    def _apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        self.reader.read(events)
        self.events += events

    @property
    def status(self) -> BackendStatus:
        return self.registry.backends[self.name]

    @property
    def told(self) -> list[str]:
        """Write what was told shortly, with the last digit of ids."""
        return [f"{one[0]}{one[-1]}" for one in told(self.events)]

    def known(self, box: Box) -> Instance:
        return self.registry.visible[Key(self.name, box.id)]

    def disagreement(self) -> str:
        """Say what is published that is not so, or the other way round."""
        published = {one.id: shown(one) for one in self.registry.visible.values()}
        real = {id_: wanted(box) for id_, box in self.truth.running().items()}
        ids = sorted(published.keys() | real.keys())
        return "\n".join(
            f"{id_[-3:]}: published {published.get(id_)}, real {real.get(id_)}"
            for id_ in ids
            if published.get(id_) != real.get(id_)
        )

    async def settle(self) -> None:
        """List once more, and wait until all that is published is what runs."""
        deadline = time.monotonic() + 20
        while True:
            with suppress(BackendLost):
                await self.follower.resync()
                break
            assert time.monotonic() < deadline, f"it is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await eventually(lambda: not self.disagreement(), self.disagreement, PATIENCE)


def shown(instance: Instance) -> Any:
    ports = {(port.host_port, port.host_ip) for port in instance.ports if port.host_port}
    stated = (str(instance.state), instance.name, str(instance.health), instance.main_pid)
    return (*stated, ports, sorted(instance.ips))


def wanted(box: Box) -> Any:
    inspected = box.inspected()
    ips = sorted(one["IPAddress"] for one in box.addresses().values() if one["IPAddress"])
    ports = {(box.port, "::")} if list(box.ports()) else set()
    return box.state, box.name, box.health or "none", inspected["State"]["Pid"], ports, ips


async def eventually(
    true: Callable[[], Any], what: Callable[[], object] | str, seconds: float = 5.0
) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {seconds:g} s: {what if isinstance(what, str) else what()}"
            )
        await asyncio.sleep(0.005)


@asynccontextmanager
async def followed(
    folder: Path, name: str = "docker", *, settled: bool = True
) -> AsyncIterator[Followed]:
    """Have an engine followed for as long as the block lasts."""
    async with FakeDocker(folder / "docker.sock", podman=name == "podman") as fake:
        engine = Followed(fake, name)
        task = asyncio.create_task(engine.follower.run())  # noqa: TID251 - ended below
        try:
            if settled:
                async with asyncio.timeout(5):
                    await engine.follower.settled.wait()
            yield engine
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
