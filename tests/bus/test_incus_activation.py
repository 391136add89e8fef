"""The units of a server show whether a connection would start it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koi_agent.backends.incus import Incus, activation
from koi_agent.backends.incus.activation import Activation
from koi_agent.backends.incus.kinds import Kind
from koi_agent.backends.incus.projects import Projects
from koi_agent.backends.incus.sockets import find_sockets
from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import Emits, ErrorReply, Interface, Method, Property, interface
from koi_agent.bus.object_paths import encode
from koi_agent.core.errors import BackendAbsent, BackendLost
from tests.bus.small_tree import served
from tests.bus.tables import Table
from tests.runtimes.fake_incus import FakeIncus
from tests.runtimes.followed import eventually
from tests.world.bus import PrivateBus

SYSTEMD = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
SOCKET, SERVICE = "incus.socket", "incus.service"


class Systemd:
    """A fake systemd with the units of a server."""

    def __init__(self) -> None:
        self.states = {SOCKET: ["active", "running"], SERVICE: ["active", "running"]}
        self.subscriptions = 0
        self._units = {path(unit): self._unit(unit) for unit in self.states}
        manager = interface(
            f"{SYSTEMD}.Manager",
            Method(name="GetUnit", handle=self._get, takes=(("n", "s"),), returns=(("u", "o"),)),
            Method(name="Subscribe", handle=self._subscribe, acts=True),
        )
        self._table = Table({ROOT: manager, **self._units})
        self._link: Connection | None = None

    def _unit(self, unit: str) -> Interface:
        def state(at: int) -> Any:
            return lambda _subject: self.states[unit][at]

        return interface(
            f"{SYSTEMD}.Unit",
            Property("ActiveState", "s", Emits.TRUE, state(0)),
            Property("SubState", "s", Emits.TRUE, state(1)),
        )

    def _get(self, _call: object, unit: str) -> Sequence[str]:
        if unit not in self.states:
            raise ErrorReply(f"{SYSTEMD}.NoSuchUnit", unit)
        return (path(unit),)

    def _subscribe(self, _call: object) -> Sequence[Any]:
        self.subscriptions += 1
        return ()

    @asynccontextmanager
    async def playing(self, address: str) -> AsyncIterator["Systemd"]:
        """Serve on the bus meanwhile."""
        async with served(address, self._table, name=SYSTEMD) as self._link:
            yield self

    def set(self, unit: str, active: str, sub: str) -> None:
        """Change the state of a unit, and emit the signal."""
        self.states[unit] = [active, sub]
        if self._link:
            names = ("ActiveState", "SubState")
            where = path(unit)
            self._table.managed.changed(self._link, where, self._units[where], None, names)


def path(unit: str) -> str:
    return f"{ROOT}/unit/{encode(unit)}"


@pytest.mark.parametrize(
    ("socket", "service", "stopped"),
    [
        (("active", "running"), ("active", "running"), ""),
        (("active", "running"), ("activating", "start"), ""),
        (("active", "running"), ("deactivating", "stop-sigterm"), SERVICE),
        (("active", "running"), ("inactive", "dead"), SERVICE),
        (("active", "running"), ("failed", "failed"), SERVICE),
        (("active", "listening"), ("inactive", "dead"), SERVICE),
        (("active", "listening"), ("failed", "failed"), SERVICE),
        (("inactive", "dead"), ("active", "running"), ""),
        (("inactive", "dead"), ("inactive", "dead"), ""),
    ],
)
async def test_the_states_of_both_units_decide(
    bus: PrivateBus, socket: tuple[str, str], service: tuple[str, str], stopped: str
) -> None:
    systemd = Systemd()
    systemd.states = {SOCKET: [*socket], SERVICE: [*service]}
    async with systemd.playing(bus.address):
        assert await Activation(bus.address).stopped_unit(SOCKET) == stopped


async def test_units_that_are_not_loaded_decide_nothing(bus: PrivateBus) -> None:
    async with Systemd().playing(bus.address):
        assert await Activation(bus.address).stopped_unit("lxd.socket") == ""


def ignore(_change: object) -> None:
    """Deliver a change to nothing."""


class PackagedTwice:
    """Two packages of LXD in a folder: one is stopped, the other one runs."""

    def __init__(self, folder: Path) -> None:
        self.stopped, self.running = folder / "stopped.socket", folder / "running.socket"
        self._kind = Kind(
            name="lxd",
            title="LXD",
            socket_units={str(self.stopped): SOCKET, str(self.running): "lxd.socket"},
        )

    def backend(self, address: str) -> Incus:
        sockets = find_sockets(self._kind, "", "system")
        return Incus("lxd", self._kind, sockets, Projects(("*",)), Activation(address))


async def test_a_stopped_package_does_not_stop_the_other_one(
    bus: PrivateBus, tmp_path: Path
) -> None:
    both, systemd = PackagedTwice(tmp_path), Systemd()
    systemd.states[SOCKET] = ["active", "listening"]
    both.stopped.touch()
    backend = both.backend(bus.address)
    async with systemd.playing(bus.address), asyncio.timeout(30):
        with pytest.raises(BackendAbsent, match=f"{SERVICE} is stopped"):
            await backend.session(ignore).__aenter__()
        async with FakeIncus(both.running, server="lxd") as fake, backend.session(ignore):
            assert fake.is_followed()
        with pytest.raises(BackendAbsent):
            await backend.session(ignore).__aenter__()
        systemd.set(SOCKET, "active", "running")
        await backend.arrival()


async def test_a_stopped_package_is_named_if_another_one_is_not_installed(
    bus: PrivateBus, tmp_path: Path
) -> None:
    units = {
        str(tmp_path / "absent.socket"): "lxd.socket",
        str(tmp_path / "stopped.socket"): SOCKET,
    }
    kind, systemd = Kind(name="lxd", title="LXD", socket_units=units), Systemd()
    systemd.states[SOCKET] = ["active", "listening"]
    (tmp_path / "stopped.socket").touch()
    sockets = find_sockets(kind, "", "system")
    backend = Incus("lxd", kind, sockets, Projects(("*",)), Activation(bus.address))
    async with systemd.playing(bus.address), asyncio.timeout(30):
        with pytest.raises(BackendAbsent, match=f"{SERVICE} is stopped"):
            await backend.session(ignore).__aenter__()


async def test_a_host_without_the_server_asks_nothing(tmp_path: Path) -> None:
    asked: list[object] = []

    def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.close()

    both = PackagedTwice(tmp_path)
    backend = both.backend(f"unix:path={tmp_path}/bus")
    async with await asyncio.start_unix_server(refuse, tmp_path / "bus"):
        with pytest.raises(BackendAbsent):
            await backend.session(ignore).__aenter__()
        assert not asked
        both.stopped.touch()
        with pytest.raises(BackendLost):
            await backend.session(ignore).__aenter__()
        assert asked


async def test_without_a_bus_or_systemd_nothing_is_known(bus: PrivateBus) -> None:
    assert await Activation(bus.address).stopped_unit(SOCKET) == ""
    assert await Activation("unix:path=/nonexistent").stopped_unit(SOCKET) == ""


async def test_a_stop_and_a_start_are_seen_at_once(bus: PrivateBus) -> None:
    async with Systemd().playing(bus.address) as systemd, asyncio.timeout(30):
        activation = Activation(bus.address)
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(activation.stop(SOCKET))
            await eventually(lambda: systemd.subscriptions == 1, "the stop is awaited")
            systemd.set(SERVICE, "reloading", "reload")
            systemd.set(SERVICE, "deactivating", "stop-sigterm")
            assert await stop == SERVICE
            start = group.create_task(activation.start([SOCKET]))
            await eventually(lambda: systemd.subscriptions == 2, "the start is awaited")
            systemd.set(SERVICE, "inactive", "dead")
            systemd.set(SOCKET, "active", "listening")
            await asyncio.sleep(0.05)
            assert not start.done()
            systemd.set(SERVICE, "activating", "start")
            systemd.set(SOCKET, "active", "running")
            await start


async def test_a_stop_is_seen_after_the_bus_was_lost(bus: PrivateBus) -> None:
    async with asyncio.TaskGroup() as group:
        stop = group.create_task(Activation(bus.address).stop(SOCKET))
        async with Systemd().playing(bus.address) as systemd:
            await eventually(lambda: systemd.subscriptions == 1, "the stop is awaited")
        bus.kill()
        bus.start()
        systemd = Systemd()
        systemd.states[SOCKET] = ["active", "listening"]
        async with systemd.playing(bus.address), asyncio.timeout(30):
            assert await stop == SERVICE


def test_the_service_of_the_snap_has_another_name() -> None:
    assert activation.service_of("snap.lxd.daemon.unix.socket") == "snap.lxd.daemon.service"
    assert activation.service_of("lxd.socket") == "lxd.service"
