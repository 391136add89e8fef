"""The control groups of containers on the host's network, and the reading of listeners."""

import asyncio
import resource
import socket
from collections.abc import Iterator

import pytest

from koi_agent.backends.docker.listeners import HostPorts, docker_group, docker_groups
from koi_agent.core.instance import KoiMetadata
from koi_agent.host.cgroups import exists
from koi_agent.host.listeners import FRESH, ListenerTable

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
def test_group_of_a_container_follows_from_its_parent_and_the_driver(
    parent: str, driver: str, expected: str
) -> None:
    assert [*docker_groups("0a", parent, driver, "")] == [expected]


@pytest.mark.parametrize(
    ("parent", "below"), [("", "/user.slice"), ("a-b.slice", "/a.slice/a-b.slice")]
)
def test_container_of_a_users_own_engine_is_below_the_users_manager(
    parent: str, below: str
) -> None:
    groups = [*docker_groups("0a", parent, "systemd", MANAGER)]
    assert groups[1:] == [f"{MANAGER}{below}/docker-0a.scope"]


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("parent", ["", "none.slice", "../../proc", "\0", "/"])
def test_group_that_is_not_there_is_none(parent: str, driver: str) -> None:
    assert docker_group("0a" * 32, parent, driver) == ""


@pytest.mark.parametrize("group", ["", "/", "..", "/system.slice/../..", "none", "/a\0b"])
def test_no_group_is_no_folder_of_the_hierarchy(group: str) -> None:
    assert not exists(group)


async def test_readings_at_one_time_are_one() -> None:
    census = ListenerTable()
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(census.read()) for _ in range(9)]
    first = looks[0].result()
    assert first is not None
    assert all(look.result() is first for look in looks)


async def test_listeners_are_read_again_after_a_while() -> None:
    census = ListenerTable()
    first = await census.read()
    await asyncio.sleep(FRESH)
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = await census.read()
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
async def test_reading_that_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    census = ListenerTable()
    for _ in range(2):
        assert await census.read() is None
        await asyncio.sleep(FRESH)
    (record,) = caplog.records
    assert record.getMessage().startswith("sock_diag: listening ports can't be read: [Errno 24]")


def looked(census: ListenerTable) -> bool:
    return census._listeners is not None


async def test_nobody_looks_while_nobody_is_followed() -> None:
    census = ListenerTable()
    ports = HostPorts(census, lambda _id: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ports.run())
        await asyncio.sleep(2 * FRESH)
        ports.forget("c1")
        await ports.look()
        assert not looked(census)
        ports.follow("c1", "/none", KoiMetadata())
        await asyncio.sleep(2 * FRESH)
        assert looked(census)
        running.cancel()
    assert ports.of("c1") == ports.of("c2") == ()
