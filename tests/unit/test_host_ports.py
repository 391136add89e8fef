"""The control groups and listeners of containers on the host's network."""

import asyncio
import resource
import socket
from collections.abc import Iterator

import pytest

from koi_agent.core.instance import KoiMetadata
from koi_agent.host.listeners import FRESH, ListenerTable
from koi_agent.host.owner_ports import HostPorts

# One test binds more sockets than a dump of one control group lists.
pytestmark = pytest.mark.one_at_a_time


async def test_concurrent_scans_share_one_result() -> None:
    async with asyncio.timeout(60):  # a busy machine may part the scans by more than FRESH
        while await scans(ListenerTable(), 9) > 1:
            pass


async def scans(table: ListenerTable, callers: int) -> int:
    """Return how many scans answer callers that ask at one time."""
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(table.read()) for _ in range(callers)]
    results = [look.result() for look in looks]
    assert None not in results
    return len(set(map(id, results)))


async def test_a_later_scan_has_a_result_of_its_own() -> None:
    table = ListenerTable()
    first = await table.read()
    await asyncio.sleep(FRESH)
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = await table.read()
        assert seen is not None
        assert seen is not first
        assert server.getsockname()[1] in {one.port for one in seen}


@pytest.fixture
def no_more_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("no_more_files")
async def test_a_failing_scan_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    table = ListenerTable()
    for _ in range(2):
        assert await table.read() is None
        await asyncio.sleep(FRESH)
    (record,) = caplog.records
    assert record.getMessage().startswith("sock_diag: listening ports can't be read: [Errno 24]")


def has_scanned(table: ListenerTable) -> bool:
    return table._listeners is not None


async def test_nothing_is_scanned_while_no_container_is_followed() -> None:
    table = ListenerTable()
    ports = HostPorts(table, lambda _id: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ports.run())
        await asyncio.sleep(2 * FRESH)
        ports.forget("c1")
        await ports.scan()
        assert not has_scanned(table)
        ports.follow("c1", "/none", KoiMetadata())
        await asyncio.sleep(2 * FRESH)
        assert has_scanned(table)
        running.cancel()
    assert ports.ports_of("c1") == ports.ports_of("c2") == ()
