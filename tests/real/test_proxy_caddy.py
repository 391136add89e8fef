"""A real Caddy gets exactly the wanted routes, and keeps all of its own configuration."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.proxy import providers
from koi_agent.capabilities.proxy.caddy.session import GATHER
from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.agent_mark import agent_mark
from koi_agent.host.caddy.objects import ID, Names
from tests.ports import free_port
from tests.real.agents import eventually
from tests.real.caddy_server import Caddy, caddy, page
from tests.real.proxy_process import Process
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route

NAMES: Final = Names(agent_mark("system"))
Reported = dict[Key, Sequence[RecordStatus]]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Caddy]:
    with caddy(tmp_path / "caddy") as running:
        yield running


@asynccontextmanager
async def session(
    proxy: Caddy, reported: Reported | None = None
) -> AsyncIterator[ProviderSession[Route]]:
    provider = providers.Caddy("system", proxy.address)
    report = reported if reported is not None else {}
    async with provider.session(report.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        yield opened
        running.cancel()


def others(config: Any) -> Any:
    """Return a configuration without the objects of the agent."""
    if isinstance(config, list):
        return [others(one) for one in config if not NAMES.has(one)]
    if isinstance(config, dict):
        return {name: others(one) for name, one in config.items() if not NAMES.has(one)}
    return config


def own(config: Any) -> list[str]:
    """Return the identifiers of all objects of the agent, wherever they are."""
    if isinstance(config, list):
        return sorted(id_ for one in config for id_ in own(one))
    if isinstance(config, dict):
        found = [config[ID]] if NAMES.has(config) else []
        return sorted([*found, *(id_ for one in config.values() for id_ in own(one))])
    return []


def ids(*routes: Route) -> list[str]:
    """Return the identifiers of the objects for routes."""
    found = {f"{NAMES.prefix}{one.port}" for one in routes}
    found |= {f"{NAMES.prefix}{one.port}-{one.host}" for one in routes}
    return sorted(found | {NAMES.policy} if routes else found)


async def has(proxy: Caddy, *routes: Route) -> None:
    """Wait until Caddy has exactly these routes."""

    async def is_so() -> bool:
        try:
            return own(await asyncio.to_thread(proxy.config)) == ids(*routes)
        except (OSError, HTTPException):
            return False

    await eventually(is_so, f"Caddy has {ids(*routes)}")


async def gets(proxy: Caddy, host: str, port: int, text: str) -> None:
    async def is_so() -> bool:
        try:
            return await asyncio.to_thread(proxy.get, host, port) == text
        except (OSError, ssl.SSLError):
            return False

    await eventually(is_so, f"https://{host}:{port} has {text!r}")


async def test_a_page_is_served_with_tls_until_its_route_goes(proxy: Caddy) -> None:
    before = proxy.config()
    port = free_port()
    reported: Reported = {}
    async with page("wiki") as wiki, page("shop") as shop:
        one = route("a", "wiki.internal", port=port, to=wiki)
        two = route("b", "shop.internal", port=port, to=shop)
        async with session(proxy, reported) as opened:
            complete(opened)
            await put(opened, one, two)
            await gets(proxy, "wiki.internal", port, "wiki")
            await gets(proxy, "shop.internal", port, "shop")
            await gets(proxy, "others.internal", proxy.tls, "of others, with TLS")
            await eventually(lambda: states(reported) == {RecordState.ANNOUNCED}, "it is reported")
            assert others(proxy.config()) == before
            await opened.put(key("a"), [])
            await has(proxy, two)
            await gets(proxy, "shop.internal", port, "shop")
    assert proxy.config() == before


def states(reported: Reported) -> set[RecordState]:
    return {one.state for of_owner in reported.values() for one in of_owner}


async def test_routes_come_back_after_a_reload_and_a_restart(proxy: Caddy) -> None:
    before = proxy.config()
    one = route(port=free_port())
    async with fed(proxy) as feed:
        feed.want(one.owner, (one,))
        feed.complete()
        await has(proxy, one)
        for number in range(3):
            await asyncio.to_thread(proxy.reload)
            await has(proxy, one)
            proxy.kill()
            await asyncio.to_thread(proxy.start, *((), ("--resume",))[number % 2])
            await has(proxy, one)
            await eventually(
                lambda: [x.state for x in feed.status(one.owner)] == [RecordState.ANNOUNCED],
                "the route is announced again",
            )
    assert others(proxy.config()) == before


@asynccontextmanager
async def fed(proxy: Caddy) -> AsyncIterator[Feed]:
    """Feed Caddy as the agent does, also when it is lost."""
    feed = Feed("proxy caddy", providers.Caddy("system", proxy.address), lambda _: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        yield feed
        running.cancel()


async def test_a_killed_agent_leaves_no_orphan_and_no_duplicate(proxy: Caddy) -> None:
    before = proxy.config()
    ports = free_port(), free_port()
    random = Random(7)
    unfinished = 0
    for _ in range(40):
        wanted = [
            route(f"{n}", f"n{n}.internal", port=random.choice(ports), to=random.randrange(1, 9999))
            for n in range(random.randrange(4))
        ]
        killed = Process.start(proxy.address.path, wanted)
        await asyncio.to_thread(killed.until_open)
        await asyncio.sleep(GATHER + random.uniform(-0.02, 0.06))
        killed.kill()
        unfinished += own(proxy.config()) != ids(*wanted)
    assert unfinished, "no agent was killed before it had sent all"
    async with session(proxy) as opened:
        complete(opened)
        one = route("x", "last.internal", port=ports[0])
        await put(opened, one)
        await has(proxy, one)
        assert others(proxy.config()) == before
    assert proxy.config() == before


async def test_a_port_of_another_server_is_not_taken_from_it(proxy: Caddy) -> None:
    before = proxy.config()
    reported: Reported = {}
    one, two = route("a", port=proxy.tls), route("b", "shop.internal", port=free_port())
    async with session(proxy, reported) as opened:
        complete(opened)
        await put(opened, one, two)
        await has(proxy, two)
        await eventually(lambda: "of Caddy's own" in reported[key("a")][0].reason, "it is held")
        assert reported[key("a")][0].state is RecordState.HELD
        await gets(proxy, "others.internal", proxy.tls, "of others, with TLS")
    assert proxy.config() == before


async def test_a_port_of_another_program_is_reported_until_it_is_free(proxy: Caddy) -> None:
    reported: Reported = {}
    port = free_port()
    async with session(proxy, reported) as opened:
        complete(opened)
        with socket.create_server(("0.0.0.0", port)):
            await put(opened, route(port=port))
            await eventually(lambda: states(reported) == {RecordState.FAILED}, "it fails")
            assert "address already in use" in reported[key("a")][0].reason
            await gets(proxy, "others.internal", proxy.tls, "of others, with TLS")
        await eventually(lambda: states(reported) == {RecordState.ANNOUNCED}, "it is served")


async def test_duplicates_and_lost_identifiers_are_repaired(proxy: Caddy) -> None:
    before = proxy.config()
    one = route(port=free_port())
    path = f"/config/apps/http/servers/{NAMES.server(one.port)}"
    async with session(proxy) as opened:
        complete(opened)
        await put(opened, one)
        await has(proxy, one)
        routes = proxy.ask("GET", f"{path}/routes")[1]
        assert proxy.ask("POST", f"{path}/routes", routes[0])[0] == 200
        await has(proxy, one)
        assert proxy.ask("PATCH", f"/id/{NAMES.server(one.port)}", {"listen": []})[0] == 200
        await has(proxy, one)
    assert proxy.config() == before


async def test_a_name_with_a_policy_of_others_is_served_by_it(proxy: Caddy) -> None:
    port = free_port()
    async with page("ours") as to, session(proxy) as opened:
        one = route("a", "others.internal", port=port, to=to)
        complete(opened)
        await put(opened, one)
        await gets(proxy, "others.internal", port, "ours")
        await gets(proxy, "others.internal", proxy.tls, "of others, with TLS")


@pytest.mark.parametrize("config", [None, {}, {"apps": {}}, {"apps": {"http": {}}}])
async def test_a_caddy_without_a_configuration_gets_all_parents(
    tmp_path: Path, config: Any
) -> None:
    with caddy(tmp_path / "caddy") as running:
        running.kill()
        start = running.folder / "start.json"
        admin = {"admin": {"listen": running.admin}}
        start.write_text(json.dumps(admin | trusted_by_nothing(running, config)))
        await asyncio.to_thread(running.start, "--config", str(start))
        one = route(port=free_port())
        async with page("wiki") as to, session(running) as opened:
            complete(opened)
            await put(opened, replace(one, upstream=route(to=to).upstream))
            await gets(running, "wiki.internal", one.port, "wiki")
        assert own(running.config()) == []


def trusted_by_nothing(running: Caddy, config: Any) -> Any:
    """Return a configuration whose authority is not added to those that this host trusts."""
    pki = {"certificate_authorities": {"local": {"install_trust": False}}}
    storage = {"storage": {"module": "file_system", "root": str(running.storage)}}
    return (config or {}) | storage | {"apps": {**(config or {}).get("apps", {}), "pki": pki}}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_admin_api_is_reached_at_a_loopback_address(tmp_path: Path, host: str) -> None:
    one = route(port=free_port())
    with caddy(tmp_path / "caddy", AdminAddress(host=host, port=free_port())) as running:
        before = running.config()
        async with session(running) as opened:
            complete(opened)
            await put(opened, one)
            await has(running, one)
            await asyncio.to_thread(running.reload)
            await has(running, one)
        assert running.config() == before


async def test_nothing_is_sent_without_a_difference(proxy: Caddy) -> None:
    one = route(port=free_port())
    async with session(proxy) as opened:
        complete(opened)
        await put(opened, one)
        await has(proxy, one)
        await asyncio.sleep(2)
        sent = changes(proxy)
        await put(opened, one, one)
        await asyncio.sleep(2)
        assert changes(proxy) == sent


def changes(proxy: Caddy) -> int:
    """Return how many requests have changed the configuration, by the log of Caddy."""
    lines = (proxy.folder / "caddy.log").read_text().splitlines()
    requests = [json.loads(line) for line in lines if "received request" in line]
    return sum(one["method"] != "GET" for one in requests)
