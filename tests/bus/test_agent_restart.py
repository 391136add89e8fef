"""A restart of the agent keeps what other programs have from it, and a stop removes it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.dns.providers import HostsDirectory
from koi_agent.capabilities.proxy.providers import Traefik
from koi_agent.core.instance import RecordState
from tests.bus.host_names import WIKI
from tests.bus.test_dns_hook import restarting
from tests.unit.dns_zones import complete
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.fake_caddy_server import served
from tests.unit.proxy_routes import put, route
from tests.unit.test_proxy_caddy_session import FILE, Reported, reports, servers, session
from tests.world.bus import PrivateBus


@pytest.fixture(autouse=True)
def system_bus(bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)


async def at_caddy(folder: Path) -> int:
    """Run a session with Caddy until its route is there, and end it; return what is left."""
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, folder / "s") as server, session(server, reported) as opened:
        complete(opened)
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
    return len(servers(caddy)) - 1


async def in_directory(folder: Path) -> int:
    """Write a file for dnsmasq, and end the session; return what is left."""
    directory = folder / "hosts"
    directory.mkdir()
    async with HostsDirectory("system", str(directory)).session(lambda *_: None) as session:
        await session.put(WIKI.owner, [WIKI])
    return len([*directory.iterdir()])


async def in_file(folder: Path) -> int:
    """Feed a file for Traefik, and end the feed; return what is left."""
    file, wanted = folder / "koi.yml", route()
    feed = Feed("proxy traefik", Traefik("system", str(file)), lambda _owner: None)
    feed.want(wanted.owner, (wanted,))
    feed.complete()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run())
        while "wiki" not in (file.read_text() if file.exists() else ""):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        feeding.cancel()
    return file.read_text().count("Host(")


Serve = Callable[[Path], Awaitable[int]]
EACH = pytest.mark.parametrize("serve", [at_caddy, in_directory, in_file])


@EACH
async def test_a_restart_takes_nothing_away(tmp_path: Path, bus: PrivateBus, serve: Serve) -> None:
    async with restarting(bus):
        assert await serve(tmp_path) == 1


@EACH
async def test_a_stop_leaves_nothing(tmp_path: Path, serve: Serve) -> None:
    assert await serve(tmp_path) == 0
