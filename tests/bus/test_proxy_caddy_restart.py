"""A restart of the agent keeps its routes at Caddy, and a stop removes them."""

from pathlib import Path

import pytest

from koi_agent.core.instance import RecordState
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


async def serve(folder: Path) -> FakeCaddy:
    """Run a session with Caddy until its route is there, and end it."""
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, folder / "s") as server, session(server, reported) as opened:
        complete(opened)
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
    return caddy


async def test_a_restart_keeps_the_routes(tmp_path: Path, bus: PrivateBus) -> None:
    async with restarting(bus):
        caddy = await serve(tmp_path)
    assert len(servers(caddy)) == 2


async def test_a_stop_removes_the_routes(tmp_path: Path) -> None:
    assert servers(await serve(tmp_path)) == {"srv0"}
