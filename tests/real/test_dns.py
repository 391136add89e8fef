"""Instances that opt in have names that real DNS programs resolve, on this and another host."""

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lan import Lan
from tests.real.agents import agent, call, eventually, on_manager
from tests.real.announced import announcements, settings, web
from tests.real.dns_servers import (
    FORWARDERS,
    PEER,
    PORT,
    PRIMARY,
    SECONDARIES,
    SECRET,
    need,
    server,
)
from tests.real.test_cli import koi_runtime
from tests.world import World

SERVE = "[Capabilities]\nMDNS=off\n[DNS]\nListen=*:5354\nAllowTransfer=key:peer\n"


@dataclass(frozen=True)
class WithKey:
    """A world whose agents have a credential, as from LoadCredential=."""

    world: World
    folder: Path

    @property
    def bus_address(self) -> str:
        return self.world.bus_address

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        (self.folder / "dns-key.peer").write_text(f"hmac-sha256:{SECRET}\n")
        environment = {"CREDENTIALS_DIRECTORY": str(self.folder)}
        return self.world.spawn(*argv, env=environment, **popen)


async def dig(lan: Lan, *arguments: str, at: str = PRIMARY, port: int = 5354) -> str:
    """Return what dig prints on the peer."""
    options = (f"@{at}", "-p", str(port), "+tries=1", "+time=5", *arguments)
    return await asyncio.to_thread(lan.peer.run, "dig", *options)


async def resolved(
    lan: Lan, name: str, expected: str, *, at: str, port: int, seconds: float = 60.0
) -> None:
    async def is_it() -> bool:
        return (await dig(lan, "+short", name, at=at, port=port)).strip() == expected

    await eventually(is_it, f"{name} is {expected or 'gone'}", seconds=seconds)


async def test_another_host_resolves_a_unit_until_it_stops(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, SERVE)
    async with agent(world, tmp_path):

        async def is_answered() -> bool:
            return "status: NXDOMAIN" in await dig(lan, "web.internal")

        await eventually(is_answered, "the server answers before there is a name")
        await web(world)
        await resolved(lan, "web.internal", PRIMARY, at=PRIMARY, port=5354)
        assert (await dig(lan, "+short", "web.internal", "AAAA")).strip() == "2001:db8::1"
        assert (await dig(lan, "+short", "+tcp", "WEB.internal")).strip() == PRIMARY
        found = await dig(lan, "+short", "_http._tcp.internal", "PTR")
        assert found.strip() == "web._http._tcp.internal."
        assert (await dig(lan, "+short", found.strip(), "SRV")).strip() == "0 0 8080 web.internal."
        assert (await dig(lan, "+short", found.strip(), "TXT")).strip() == '"path=/"'
        assert "status: REFUSED" in await dig(lan, "example.com")
        assert "Transfer failed" in await dig(lan, "internal", "AXFR")
        assert (await announcements(world))["web.internal"] == "announced"
        url = ("--unix-socket", "/run/user/0/koi-runtime/http.sock", "http://localhost/v1/dns/zone")
        printed = await asyncio.to_thread(world.run, "curl", "--silent", *url)
        assert "web.internal. 30 IN A 192.0.2.1\n" in printed.stdout
        await on_manager(world, "stop", "web.service")
        await resolved(lan, "web.internal", "", at=PRIMARY, port=5354)
        assert "status: NXDOMAIN" in await dig(lan, "web.internal")


@pytest.mark.parametrize("name", SECONDARIES)
async def test_a_secondary_server_follows_each_change(
    world: World, lan: Lan, tmp_path: Path, name: str
) -> None:
    settings(world, f"{SERVE}Notify={PEER}:{PORT}\n")
    with server(lan, name, SECONDARIES[name], tmp_path) as log:
        async with agent(WithKey(world, tmp_path), tmp_path):
            try:
                await web(world)
                await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
                await web(world, "shop", 8081)
                await resolved(lan, "shop.internal", PRIMARY, at=PEER, port=PORT)
                service = ("shop._http._tcp.internal", "TXT")
                assert '"path=/"' in await dig(lan, "+short", *service, at=PEER, port=PORT)
                await on_manager(world, "stop", "web.service")
                await resolved(lan, "web.internal", "", at=PEER, port=PORT)
                await resolved(lan, "shop.internal", PRIMARY, at=PEER, port=PORT)
            except AssertionError as error:
                raise AssertionError(log.read_text()) from error


@pytest.mark.parametrize("name", FORWARDERS)
async def test_a_resolver_forwards_to_the_agent(
    world: World, lan: Lan, tmp_path: Path, name: str
) -> None:
    settings(world, SERVE)
    with server(lan, name, FORWARDERS[name], tmp_path) as log:
        async with agent(world, tmp_path):
            try:
                await web(world)
                await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
                await on_manager(world, "stop", "web.service")
                await resolved(lan, "web.internal", "", at=PEER, port=PORT)
            except AssertionError as error:
                raise AssertionError(log.read_text()) from error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory that dnsmasq reads."""
    made = tmp_path / "hosts"
    made.mkdir()
    return made


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_dnsmasq_reads_the_files_of_its_directory(
    world: World, lan: Lan, tmp_path: Path, folder: Path
) -> None:
    need("dnsmasq", "dnsmasq")
    settings(world, f"[Capabilities]\nMDNS=off\n[DNS]\nHostsDirectory={folder}\n")
    options = ("--no-hosts", "--no-resolv", "--user=root", "--cache-size=0", "--pid-file")
    dnsmasq = lan.peer.spawn(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", f"--port={PORT}"),
        *(f"--hostsdir={folder}", f"--listen-address={PEER}", "--bind-interfaces", *options),
    )
    try:
        async with agent(world, tmp_path) as running:
            await web(world)
            await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
            await web(world, "shop", 8081)
            await resolved(lan, "shop.internal", PRIMARY, at=PEER, port=PORT)
            await on_manager(world, "stop", "shop.service")
            await resolved(lan, "shop.internal", "", at=PEER, port=PORT)
            await running.kill()
        assert len(files(folder)) == 1
        await on_manager(world, "stop", "web.service")
        async with agent(world, tmp_path):
            await web(world, "news", 8082)
            await resolved(lan, "news.internal", PRIMARY, at=PEER, port=PORT)
            await resolved(lan, "web.internal", "", at=PEER, port=PORT)
        await resolved(lan, "news.internal", "", at=PEER, port=PORT)
        assert files(folder) == []
    finally:
        dnsmasq.terminate()
        dnsmasq.wait(60)


async def test_the_command_lists_outlets_and_records(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, SERVE)
    async with agent(world, tmp_path):
        await web(world)
        await resolved(lan, "web.internal", PRIMARY, at=PRIMARY, port=5354)
        await eventually(lambda: "announced" in koi_runtime(world, "dns").stdout, "it is reported")
        table = koi_runtime(world, "dns", "--no-legend").stdout
        found = json.loads(koi_runtime(world, "dns", "--json=short").stdout)
    lines = [line.split() for line in table.splitlines()]
    assert ["server", "announced", "1"] in [line[:3] for line in lines]
    assert ["web.internal.", "30", "A", PRIMARY] in lines
    (outlet,) = found["outlets"]
    assert (outlet["outlet"], outlet["names"]) == ("server", 1)
    record = {"name": "web.internal.", "ttl": 30, "type": "A", "data": PRIMARY}
    assert record in found["records"]


async def test_a_reload_moves_the_names_to_another_domain(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, SERVE)
    async with agent(world, tmp_path):
        await web(world)
        await resolved(lan, "web.internal", PRIMARY, at=PRIMARY, port=5354)
        settings(world, f"{SERVE}Domain=home.example\n")
        await call(world, "Reload")
        await resolved(lan, "web.home.example", PRIMARY, at=PRIMARY, port=5354)
        assert "status: REFUSED" in await dig(lan, "web.internal")
        settings(world, "[Capabilities]\nMDNS=off\nDNS=off\n[DNS]\nListen=*:5354\n")
        await call(world, "Reload")

        async def is_gone() -> bool:
            return "web.home.example" not in await announcements(world)

        await eventually(is_gone, "it has no name")
        assert "connection refused" in await dig(lan, "web.home.example")
