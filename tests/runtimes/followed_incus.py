"""A fake Incus with everything that follows it: the backend, the follower and the registry."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from koi_agent.backends.incus import Incus
from koi_agent.backends.incus.activation import Activation
from koi_agent.backends.incus.kinds import KINDS
from koi_agent.backends.incus.projects import Projects
from koi_agent.backends.incus.sockets import find_sockets
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendStatus, Change, Event
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from tests.runtimes.fake_guests import FakeGuest
from tests.runtimes.fake_incus import FakeIncus
from tests.runtimes.followed import PATIENCE, eventually
from tests.unit.things import Reader, short_forms

STATES = {"Running": "running", "Frozen": "paused"}
NO_BUS = "unix:path=/nonexistent/bus"


class FollowedIncus:
    """A server, and what is published of it by the backend ``name``."""

    def __init__(
        self,
        fake: FakeIncus,
        *,
        name: str = "incus",
        kind: str = "incus",
        projects: tuple[str, ...] = ("*",),
        tunables: Tunables | None = None,
        interval: float = 1e6,
    ) -> None:
        self.fake = fake
        self.guests = fake.guests
        self.faults = fake.faults
        self.name = name
        self.projects = Projects(projects)
        self.registry = Registry({name: kind})
        self.reader = Reader()
        self.events: list[Event] = []
        backend = Incus(
            name,
            KINDS[kind],
            find_sockets(KINDS[kind], str(fake.path), "system"),
            self.projects,
            Activation(NO_BUS),
            tunables,
        )
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=interval)

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

    def known(self, guest: FakeGuest) -> Instance:
        return self.registry.visible[Key(self.name, guest.id)]

    def disagreement(self) -> str:
        """Return the differences between what is published and what runs, or ""."""
        published = {one.id: summary(one) for one in self.registry.visible.values()}
        real = {
            id_: expected(one)
            for id_, one in self.guests.running().items()
            if self.projects.include(one.project)
        }
        return "\n".join(
            f"{id_}: published {published.get(id_)}, real {real.get(id_)}"
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
            assert time.monotonic() < deadline, f"the server is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await eventually(lambda: not self.disagreement(), self.disagreement, PATIENCE)


def summary(instance: Instance) -> Any:
    return (
        str(instance.state),
        instance.name,
        instance.project,
        instance.main_pid,
        instance.metadata.name,
        instance.ips,
    )


def expected(guest: FakeGuest) -> Any:
    return (
        STATES[guest.status],
        guest.name,
        guest.project,
        guest.started,
        guest.config.get("user.koi.name"),
        guest.addresses,
    )


@asynccontextmanager
async def followed_incus(
    folder: Path, *, settled: bool = True, member: str = "", **options: Any
) -> AsyncIterator[FollowedIncus]:
    """Follow a fake server for as long as the block lasts."""
    async with (
        FakeIncus(folder / "unix.socket", member=member) as fake,
        following_incus(FollowedIncus(fake, **options), settled=settled) as server,
    ):
        yield server


@asynccontextmanager
async def following_incus(
    server: FollowedIncus, *, settled: bool = True
) -> AsyncIterator[FollowedIncus]:
    """Run the follower of a server; ``settled`` waits for its first list."""
    task = asyncio.create_task(server.follower.run())  # noqa: TID251 - ended below
    try:
        if settled:
            async with asyncio.timeout(20):
                await server.follower.settled.wait()
        yield server
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
