"""A session with a fake systemd: all its work is done in run(), and its end has a reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from koi_agent.backends.systemd.session import REEXEC_TIMEOUT, Session
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import Gone, Seen
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from tests.unit.unit_table_harness import FakeConnection, changed, manager_signal, row
from tests.unit.virtual_time import now, run

RUNNING = changed("active/running", pid=100, run=b"a", restarts=0)
AWAY = Signal("", "", "NameOwnerChanged", ["org.freedesktop.systemd1", ":1.0", ""])
BACK = Signal("", "", "NameOwnerChanged", ["org.freedesktop.systemd1", "", ":1.9"])


class Delivered(list[Seen | Gone]):
    """The changes that a session has delivered; each one sets ``arrived``."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()

    def deliver(self, change: Seen | Gone) -> None:
        self.append(change)
        self.arrived.set()


async def opened(systemd: FakeConnection, delivered: Delivered) -> Session:
    """Return an open session that receives the signals of a fake systemd."""
    connection = cast("Connection", systemd)
    files = UnitFileReader({})
    session = Session(
        *(connection, SystemdConfig(), delivered.deliver, files),
        *(ListenerTable(), MachineUnits()),
    )
    systemd.receive = session.subscription.deliver
    await session.open()
    return session


@asynccontextmanager
async def running(session: Session) -> AsyncIterator[None]:
    """Run a session until the context is left."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.run())
        yield
        task.cancel()


async def test_opening_subscribes_and_starts_no_task() -> None:
    systemd = FakeConnection()
    before = asyncio.all_tasks()
    session = await opened(systemd, Delivered())
    assert systemd.calls == ["Subscribe"]
    assert asyncio.all_tasks() == before
    session.close()


async def test_signals_before_run_are_answered_in_run() -> None:
    systemd, delivered = FakeConnection(), Delivered()
    session = await opened(systemd, delivered)
    systemd.receive(RUNNING)
    assert (await session.list()).touched == {"web.service"}
    assert delivered == []
    async with asyncio.timeout(60), running(session):
        await delivered.arrived.wait()
    assert [type(change) for change in delivered] == [Seen]
    session.close()


async def test_unit_stops_by_the_timer_of_run() -> None:
    systemd, delivered = FakeConnection(), Delivered()
    session = await opened(systemd, delivered)
    systemd.rows = [row("web.service")]
    assert [instance.id for instance in (await session.list()).instances] == ["web.service"]
    systemd.rows = [row("web.service", "inactive/dead")]
    systemd.receive(changed("inactive/dead", pid=0))
    async with asyncio.timeout(60), running(session):
        await delivered.arrived.wait()
    assert [type(change) for change in delivered] == [Gone]
    session.close()


async def test_new_unit_is_read_by_calls_that_are_sent_together() -> None:
    systemd, delivered = FakeConnection(), Delivered()
    session = await opened(systemd, delivered)
    names = [f"new{number}.service" for number in range(10)]
    systemd.receive([one for name in names for one in changed("active/running", name, pid=1)])
    async with asyncio.timeout(60), running(session):
        while len(delivered) < len(names):
            delivered.arrived.clear()
            await delivered.arrived.wait()
    assert systemd.together == [4] * len(names)
    session.close()


async def test_closed_session_delivers_nothing() -> None:
    systemd, delivered = FakeConnection(), Delivered()
    session = await opened(systemd, delivered)
    systemd.rows = [row("web.service")]
    await session.list()
    session.close()
    systemd.receive(changed("active/running", pid=9))
    assert delivered == []


async def test_end_of_a_daemon_reload_asks_for_a_list() -> None:
    systemd = FakeConnection()
    session = await opened(systemd, Delivered())
    systemd.receive([manager_signal("Reloading", 1)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await session.doubt()
    systemd.receive([manager_signal("Reloading", 0)])
    async with asyncio.timeout(60):
        assert await session.doubt() == "systemd has reloaded"
    session.close()


async def test_systemd_that_returns_to_the_bus_is_subscribed_to_and_listed_again() -> None:
    systemd = FakeConnection()
    session = await opened(systemd, Delivered())
    systemd.calls.clear()
    async with running(session):
        systemd.receive([AWAY])
        systemd.receive([BACK])
        async with asyncio.timeout(60):
            assert await session.doubt() == "systemd is back on the bus"
    assert systemd.calls == ["Subscribe"]
    session.close()


def test_systemd_that_stays_away_from_the_bus_is_lost() -> None:
    async def scenario() -> float:
        systemd = FakeConnection()
        session = await opened(systemd, Delivered())
        systemd.receive([AWAY])
        began = now()
        with pytest.raises(BackendLost, match="systemd left the bus"):
            await session.run()
        session.close()
        return now() - began

    assert run(scenario()) == pytest.approx(REEXEC_TIMEOUT)


async def test_lost_bus_ends_the_session() -> None:
    systemd = FakeConnection()
    session = await opened(systemd, Delivered())
    systemd.is_lost.set()
    with pytest.raises(BackendLost, match="bus: closed"):
        await session.run()
    session.close()


@pytest.mark.usefixtures("leak_check")
@pytest.mark.parametrize("version", ["252.38-1~deb12u1", "257.9-1", "258~rc2", "unknown"])
def test_session_of_any_version_leaves_nothing_open(version: str) -> None:
    async def scenario() -> None:
        session = await opened(FakeConnection(version), Delivered())
        async with running(session):
            await asyncio.sleep(1)
        session.close()

    run(scenario())
