"""An agent with a real Koi daemon: both are killed and started, and others' entries stay."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.lan import Lan
from tests.real.agents import agent, eventually, instance, on_manager
from tests.real.announced import announcements, settings, web
from tests.real.koi_daemon import RealKoi, koi_daemon
from tests.world import World

SETTINGS: Final = "[Capabilities]\nMDNS=koi\nDNS=koi\nProxy=koi\nHealth=koi\n[Proxy]\nPorts=8443\n"
METADATA: Final = "ProxyPort=8443\nHealthKind=tcp\nHealthInterval=1\n"
ADDRESS: Final = "10.77.0.1"
OTHERS: Final = (
    ("/v1/dns/add", {"name": "printer", "ip": "10.77.0.9"}),
    ("/v1/health/add", {"name": "printer", "kind": "tcp", "target": "127.0.0.1:9"}),
    ("/v1/proxy/add", {"name": "printer", "listen_port": 9443, "backend": "http://127.0.0.1:9"}),
)
RECORDS: Final = {
    "web._http._tcp.local": "announced",
    "web.local": "refused",
    "web.internal": "announced",
    "https://web.internal:8443": "announced",
}


def held(koi: RealKoi) -> Mapping[str, Any]:
    """Return the keys and places of all entries, without what the daemon announces itself."""
    services = [one for one in koi.get("/v1/mdns/admin/ls") if one["type"] != "_mcp._tcp"]
    return {
        "mdns": sorted((one["name"], one["port"]) for one in services),
        "dns": sorted((one["name"], one["ip"]) for one in koi.get("/v1/dns/entries")["entries"]),
        "proxy": sorted(one["name"] for one in koi.get("/v1/proxy/list")["entries"]),
        "health": sorted(one["target"] for one in koi.get("/v1/health/list")["checks"]),
    }


BEFORE: Final[Mapping[str, Any]] = {
    "mdns": [],
    "dns": [("printer.internal.", "10.77.0.9")],
    "proxy": ["printer"],
    "health": ["127.0.0.1:9"],
}
BOTH: Final[Mapping[str, Any]] = {
    "mdns": [("web", 8080)],
    "dns": [("printer.internal.", "10.77.0.9"), ("web.internal.", ADDRESS)],
    "proxy": ["printer", "web.internal"],
    "health": ["127.0.0.1:8080", "127.0.0.1:9"],
}


async def has(koi: RealKoi, wanted: Mapping[str, Any]) -> None:
    found: Mapping[str, Any] = {}

    def is_it() -> bool:
        nonlocal found
        found = held(koi)
        return found == wanted

    try:
        await eventually(is_it, "the daemon has the entries", seconds=120)
    except AssertionError as error:
        raise AssertionError(f"{found} is not {wanted}") from error


async def is_announced(world: World) -> None:
    found: dict[str, str] = {}

    async def is_it() -> bool:
        nonlocal found
        found = await announcements(world)
        return found == RECORDS

    try:
        await eventually(is_it, "all is announced", seconds=120)
    except AssertionError as error:
        raise AssertionError(f"{found}") from error


async def is_healthy(world: World, health: str) -> None:
    async def is_it() -> bool:
        return bool((await instance(world, "web.service"))["Health"] == health)

    await eventually(is_it, f"it is {health}", seconds=120)


async def test_a_daemon_has_what_the_agent_wants_and_what_others_made(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    world.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "lan0")
    settings(world, SETTINGS)
    with koi_daemon(world, tmp_path) as koi:
        koi.start()
        for path, body in OTHERS:
            assert koi.call("POST", path, body).status == 200
        async with agent(world, tmp_path) as running:
            await web(world, more=METADATA)
            await is_announced(world)
            await is_healthy(world, "healthy")
            await has(koi, BOTH)
            for end in (signal.SIGKILL, signal.SIGINT):
                await asyncio.to_thread(koi.end, end)
                await asyncio.to_thread(koi.start)
                await has(koi, BOTH)
                await is_announced(world)
            ids = {one["id"] for one in koi.get("/v1/mdns/admin/ls")}
            await running.kill()
        async with agent(world, tmp_path) as running:
            await is_announced(world)
            assert {one["id"] for one in koi.get("/v1/mdns/admin/ls")} == ids
            await running.kill()
        await on_manager(world, "stop", "web.service")
        async with agent(world, tmp_path):
            await has(koi, BEFORE)
            await web(world, more=METADATA)
            await has(koi, BOTH)
        await has(koi, BEFORE)
