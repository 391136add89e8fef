"""The control groups and listeners of containers on the host's network."""

import asyncio
import resource
import socket
from collections.abc import Iterator

import pytest

from koi_agent.backends.docker.listeners import HostPorts, docker_group, docker_groups
from koi_agent.core.instance import KoiMetadata
from koi_agent.host.cgroups import exists
from koi_agent.host.listeners import FRESH, ListenerTable

# One test binds more sockets than a dump of one control group lists.
pytestmark = pytest.mark.one_at_a_time

MANAGER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("parent", "driver", "expected"),
    [
        ("", "systemd", "/system.slice/docker-0a.scope"),
        ("a.slice", "systemd", "/a.slice/docker-0a.scope"),
        ("a-b-c.slice", "systemd", "/a.slice/a-b.slice/a-b-c.slice/docker-0a.scope"),
        ("-.slice", "systemd", "/docker-0a.scope"),
        ("", "cgroupfs", "/docker/0a"),
        ("a/b", "cgroupfs", "/a/b/0a"),
        ("/a/b/", "cgroupfs", "/a/b/0a"),
        ("", "none", "/docker/0a"),
    ],
)
def test_a_containers_group_follows_from_its_parent_and_the_driver(
    parent: str, driver: str, expected: str
) -> None:
    assert [*docker_groups("0a", parent, driver, "")] == [expected]


@pytest.mark.parametrize(
    ("parent", "below"), [("", "/user.slice"), ("a-b.slice", "/a.slice/a-b.slice")]
)
def test_a_container_of_a_users_engine_is_below_the_users_manager(parent: str, below: str) -> None:
    groups = [*docker_groups("0a", parent, "systemd", MANAGER)]
    assert groups[1:] == [f"{MANAGER}{below}/docker-0a.scope"]


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("parent", ["", "none.slice", "../../proc", "\0", "/"])
def test_a_group_that_does_not_exist_is_empty(parent: str, driver: str) -> None:
    assert docker_group("0a" * 32, parent, driver) == ""


@pytest.mark.parametrize("group", ["", "/", "..", "/system.slice/../..", "none", "/a\0b"])
def test_a_path_outside_the_hierarchy_does_not_exist(group: str) -> None:
    assert not exists(group)


async def test_concurrent_scans_share_one_result() -> None:
    table = ListenerTable()
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(table.read()) for _ in range(9)]
    first = looks[0].result()
    assert first is not None
    assert all(look.result() is first for look in looks)


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
