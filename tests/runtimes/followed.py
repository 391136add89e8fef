"""A fake engine with everything that follows it: the backend, the follower and the registry."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.kinds import KINDS
from koi_agent.backends.docker.sockets import find_candidates
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendStatus, Change, Event
from koi_agent.core.instance import Instance, InstanceState
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from tests.runtimes.fake_containers import FakeContainer
from tests.runtimes.fake_docker import FakeDocker
from tests.unit.things import Reader, short_forms

PATIENCE = 60.0
"""Seconds after a list within which all containers must be known; an inspection may fail once."""
SCRIPTS = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Settings of scripts of faults. A script that fails has waited for ``PATIENCE``: it is not made
smaller, for that would take hours."""


class Followed:
    """An engine, and what is published of it by the backend ``name``."""

    def __init__(
        self,
        fake: FakeDocker,
        kind: str,
        *,
        name: str = "",
        tunables: Tunables | None = None,
        image_labels: bool = True,
    ) -> None:
        self.fake = fake
        self.containers = fake.containers
        self.faults = fake.faults
        self.name = name or kind
        self.registry = Registry({self.name: kind})
        self.reader = Reader()
        self.events: list[Event] = []
        candidates = find_candidates(KINDS[kind], str(fake.path), "system", {})
        backend = Docker(
            self.name,
            KINDS[kind],
            candidates,
            ListenerTable(),
            tunables,
            image_labels=image_labels,
        )
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=1e6)

    def _apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        self.reader.read(events)
        self.events += events

    @property
    def status(self) -> BackendStatus:
        return self.registry.backends[self.name]

    @property
    def brief(self) -> list[str]:
        """Return the published events as ``+``, ``~`` or ``-`` and the last digit of the id."""
        return [one[0] + one[-1] for one in short_forms(self.events)]

    def known(self, container: FakeContainer) -> Instance:
        return self.registry.visible[Key(self.name, container.id)]

    def disagreement(self) -> str:
        """Return the differences between what is published and what runs, or ""."""
        published = {one.id: summary(one) for one in self.registry.visible.values()}
        real = {id_: expected(one) for id_, one in self.containers.running().items()}
        return "\n".join(
            f"{id_[-3:]}: published {published.get(id_)}, real {real.get(id_)}"
            for id_ in sorted(published.keys() | real.keys())
            if published.get(id_) != real.get(id_)
        )

    async def settle(self) -> None:
        """List once more, and wait until what is published is what runs."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(BackendLost):
                await self.follower.resync()
                break
            assert time.monotonic() < deadline, f"the engine is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await eventually(lambda: not self.disagreement(), self.disagreement, PATIENCE)


def summary(instance: Instance) -> Any:
    ports = {(port.host_port, port.host_ip) for port in instance.ports if port.host_port}
    state = (str(instance.state), instance.name, str(instance.health), instance.main_pid)
    if instance.state is InstanceState.RESTARTING:
        return state  # its ports are those of its last run, if that was seen
    return (*state, ports, sorted(instance.ips))


def expected(container: FakeContainer) -> Any:
    pid = container.inspected()["State"]["Pid"]
    addresses = (one["IPAddress"] for one in container.addresses().values())
    ports = {(container.port, "::")} if list(container.ports()) else set()
    state = (container.state, container.name, container.health or "none", pid)
    if container.state == "restarting":
        return state
    return (*state, ports, sorted(filter(None, addresses)))


async def eventually(
    condition: Callable[[], Any], what: Callable[[], object] | str, seconds: float = 20.0
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds:g} s: {text}")
        await asyncio.sleep(0.005)


@asynccontextmanager
async def followed(
    folder: Path,
    kind: str = "docker",
    *,
    settled: bool = True,
    tunables: Tunables | None = None,
    image_labels: bool = True,
) -> AsyncIterator[Followed]:
    """Follow a fake engine for as long as the block lasts."""
    async with (
        FakeDocker(folder / "docker.sock", podman=kind == "podman") as fake,
        following(
            Followed(fake, kind, tunables=tunables, image_labels=image_labels), settled=settled
        ) as engine,
    ):
        yield engine


@asynccontextmanager
async def following(engine: Followed, *, settled: bool = True) -> AsyncIterator[Followed]:
    """Run the follower of an engine; ``settled`` waits for its first list."""
    task = asyncio.create_task(engine.follower.run())  # noqa: TID251 - ended below
    try:
        if settled:
            async with asyncio.timeout(20):
                await engine.follower.settled.wait()
        yield engine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
