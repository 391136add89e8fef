"""A real Caddy gets its routes through the gate, and nothing else."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.proxy import providers
from koi_agent.capabilities.proxy.caddy.session import GATHER
from koi_agent.capabilities.proxy.records import Route
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.gate.caddy_requests import head, sent
from tests.ports import free_port
from tests.real.agents import eventually
from tests.real.caddy_gate import Gate, gate
from tests.real.caddy_server import Caddy, caddy, page
from tests.real.proxy_process import Process
from tests.real.test_proxy_caddy import NAMES, gets, has, ids, others, own, states
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route

Reported = dict[Key, Sequence[RecordStatus]]
PORTS = free_port(), free_port()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Caddy]:
    with caddy(tmp_path / "caddy") as running:
        yield running


@pytest.fixture
def before(tmp_path: Path, proxy: Caddy) -> Iterator[Gate]:
    """The gate before Caddy."""
    with gate(tmp_path / "gate", proxy, PORTS) as running:
        yield running


@asynccontextmanager
async def session(
    before: Gate, reported: Reported | None = None
) -> AsyncIterator[ProviderSession[Route]]:
    provider = providers.Caddy("system", before.address)
    report = reported if reported is not None else {}
    async with provider.session(report.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        yield opened
        running.cancel()


async def test_pages_are_served_with_tls_until_their_routes_go(proxy: Caddy, before: Gate) -> None:
    known = proxy.config()
    reported: Reported = {}
    port = PORTS[0]
    async with page("wiki") as wiki, page("shop") as shop:
        one = route("a", "wiki.internal", port=port, to=wiki)
        two = route("b", "shop.internal", port=port, to=shop)
        async with session(before, reported) as opened:
            complete(opened)
            await put(opened, one, two)
            await gets(proxy, "wiki.internal", port, "wiki")
            await gets(proxy, "shop.internal", port, "shop")
            await gets(proxy, "others.internal", proxy.tls, "of others, with TLS")
            await eventually(lambda: states(reported) == {RecordState.ANNOUNCED}, "it is reported")
            assert others(proxy.config()) == known
            await put(opened, route("a", "wiki.internal", port=port, to=shop))
            await gets(proxy, "wiki.internal", port, "shop")
            await opened.put(key("a"), [])
            await has(proxy, two)
    assert proxy.config() == known


async def test_routes_come_back_after_a_reload_and_a_restart(proxy: Caddy, before: Gate) -> None:
    known = proxy.config()
    one = route(port=PORTS[0])
    provider = providers.Caddy("system", before.address)
    feed = Feed("proxy caddy", provider, lambda _: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        feed.want(one.owner, (one,))
        feed.complete()
        await has(proxy, one)
        for options in ((), ("--resume",)):
            await asyncio.to_thread(proxy.reload)
            await has(proxy, one)
            proxy.kill()
            await asyncio.to_thread(proxy.start, *options)
            await has(proxy, one)
            await eventually(
                lambda: [x.state for x in feed.status(one.owner)] == [RecordState.ANNOUNCED],
                "the route is announced again",
            )
        running.cancel()
    assert others(proxy.config()) == known


async def test_a_killed_agent_leaves_no_orphan_and_no_duplicate(proxy: Caddy, before: Gate) -> None:
    known = proxy.config()
    random = Random(11)
    for _ in range(10):
        wanted = [
            route(f"{n}", f"n{n}.internal", port=random.choice(PORTS), to=random.randrange(1, 9999))
            for n in range(random.randrange(4))
        ]
        killed = Process.start(before.address.path, wanted)
        await asyncio.to_thread(killed.until_open)
        await asyncio.sleep(GATHER + random.uniform(-0.02, 0.1))
        killed.kill()
    async with session(before) as opened:
        complete(opened)
        one = route("x", "last.internal", port=PORTS[0])
        await put(opened, one)
        await has(proxy, one)
        assert others(proxy.config()) == known
    assert proxy.config() == known


async def test_the_administrator_decides_on_ports(proxy: Caddy, before: Gate) -> None:
    reported: Reported = {}
    one, two = route("a", port=free_port()), route("b", "shop.internal", port=PORTS[0])
    async with session(before, reported) as opened:
        complete(opened)
        await put(opened, one, two)
        await eventually(lambda: own(proxy.config()) == sorted({*ids(two)}), "one is served")
        await eventually(
            lambda: [each.state for each in reported[key("a")]] == [RecordState.FAILED], "one fails"
        )
        (failed,) = reported[key("a")]
        text = f"koi-runtime-gate: port {one.port} is not among [Proxy] Ports="
        assert failed.reason == text
        before.allow([*PORTS, one.port])
        await has(proxy, one, two)


async def test_what_others_add_to_a_server_of_the_agent_stays(proxy: Caddy, before: Gate) -> None:
    one = route(port=PORTS[0])
    path = f"/config/apps/http/servers/{NAMES.server(one.port)}"
    theirs = {"match": [{"path": ["/x"]}], "handle": [{"handler": "static_response", "body": "x"}]}
    async with session(before) as opened:
        complete(opened)
        await put(opened, one)
        await has(proxy, one)
        assert proxy.ask("POST", f"{path}/routes", theirs)[0] == 200
        await put(opened, one, route("b", "shop.internal", port=PORTS[0]))
        await has(proxy, one, route("b", "shop.internal", port=PORTS[0]))
        assert theirs in proxy.ask("GET", f"{path}/routes")[1]
    assert proxy.ask("GET", f"{path}/routes")[1] == [theirs]


def attacks(server: Any) -> Iterator[bytes]:
    """Yield requests of a hostile agent, with its server as it is at Caddy."""
    path = f"/config/apps/http/servers/{NAMES.server(PORTS[0])}"
    yield sent("POST", "/load", {"apps": {}})
    yield sent("POST", "/stop")
    yield sent("POST", "/config/", {"apps": {}})
    yield sent("POST", "/config/apps", {"http": {"servers": {NAMES.server(PORTS[0]): server}}})
    yield sent("DELETE", "/config/apps/http/servers/srv0")
    yield sent("GET", "/pki/ca/local/certificates")
    yield head("PATCH", path, {"Transfer-Encoding": "chunked"}) + b"2\r\n{}\r\n0\r\n\r\n"
    for handler in (
        {"handler": "file_server", "root": "/"},
        {"handler": "reverse_proxy", "upstreams": [{"dial": "unix//run/docker.sock"}]},
        {"handler": "reverse_proxy", "upstreams": [{"dial": "{env.HOME}:80"}]},
    ):
        changed = copy.deepcopy(server)
        changed["routes"][0]["handle"] = [handler]
        yield sent("PATCH", path, changed)
    text = json.dumps(server).replace(f'":{PORTS[0]}"', '":{env.PORT}"')
    yield sent("PATCH", path, json.loads(text))


async def test_a_hostile_agent_changes_nothing_of_others(proxy: Caddy, before: Gate) -> None:
    async with session(before) as opened:
        complete(opened)
        await put(opened, route(port=PORTS[0]))
        await has(proxy, route(port=PORTS[0]))
        known = proxy.config()
        server = known["apps"]["http"]["servers"][NAMES.server(PORTS[0])]
        for attack in attacks(server):
            received = await asyncio.to_thread(before.send, attack)
            assert received.split(b" ")[1] in (b"403", b"412"), attack
            assert proxy.config() == known
        received = await asyncio.to_thread(before.send, sent("GET", "/config/"))
        assert b"of others" not in received
        assert b"admin.sock" not in received
