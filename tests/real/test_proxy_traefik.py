"""A real Traefik takes its routes from the agent, over HTTP and from a file."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from koi_agent.capabilities.proxy import providers
from koi_agent.capabilities.proxy.printed import printed, traefik_document
from koi_agent.capabilities.proxy.records import Route
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.instance import RecordStatus
from koi_agent.core.key import Key
from koi_agent.publishers.http.agent_status import ProxyRoutes
from tests.http.serving import Agent, serving
from tests.real.agents import eventually
from tests.real.caddy_server import page
from tests.real.traefik_server import Traefik, traefik
from tests.unit.certificates import authority
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route


async def gets(proxy: Traefik, host: str, port: int, text: str) -> None:
    found = ""

    async def is_so() -> bool:
        nonlocal found
        try:
            found = await asyncio.to_thread(proxy.get, host, port)
        except (OSError, ssl.SSLError) as error:
            found = str(error)
        return text in found

    await eventually(is_so, f"https://{host}:{port} has {text!r}")


async def serves(proxy: Traefik, *hosts: str) -> None:
    """Wait until Traefik has exactly these routes, without an error."""
    wanted = {f"Host(`{host}`)": "enabled" for host in hosts}

    async def is_so() -> bool:
        return await asyncio.to_thread(proxy.routers) == wanted

    await eventually(is_so, f"Traefik has {wanted}: {proxy.log[-2000:]}")
    assert proxy.errors() == []


async def test_traefik_refuses_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "dynamic/koi.yml"
    path.parent.mkdir()
    found = await traefik_document([route()])
    found["http"]["routers"]["koi-443-wiki.internal"]["unknown"] = 1
    path.write_text(json.dumps(found))
    with traefik(tmp_path / "traefik", {"file": {"directory": str(path.parent)}}) as proxy:
        await eventually(proxy.errors, "Traefik has an error")
        assert proxy.routers() == {}


class Polled:
    """An agent whose routes Traefik requests."""

    def __init__(self) -> None:
        self.routes: Sequence[Route] = ()
        self.agent = Agent()
        shown = ProxyRoutes(
            sites=lambda: printed(self.routes), traefik=lambda: traefik_document(self.routes)
        )
        self.agent.status = replace(self.agent.status, proxy=shown)


async def test_routes_are_polled_over_http(tmp_path: Path) -> None:
    polled = Polled()
    _, tls = await asyncio.to_thread(authority, tmp_path, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/proxy/traefik"
        provider = {"http": {"endpoint": url, "pollInterval": "500ms"}}
        async with (
            page("wiki") as wiki,
            page("shop", tls) as shop,
            serving(polled.agent, listening),
        ):
            polled.routes = [route(to=wiki)]
            with traefik(tmp_path / "traefik", provider) as proxy:
                await serves(proxy, "wiki.internal")
                await gets(proxy, "wiki.internal", proxy.https, "wiki")
                two = route("b", "shop.internal", port=8443, scheme="https", to=shop)
                polled.routes = [route(to=shop, scheme="https"), two]
                await serves(proxy, "wiki.internal", "shop.internal")
                await gets(proxy, "wiki.internal", proxy.https, "shop")
                await gets(proxy, "shop.internal", proxy.other, "shop")
                await gets(proxy, "shop.internal", proxy.https, "404")
                polled.routes = [two]
                await serves(proxy, "shop.internal")
                await gets(proxy, "wiki.internal", proxy.https, "404")


@asynccontextmanager
async def session(path: Path) -> AsyncIterator[ProviderSession[Route]]:
    provider = providers.Traefik("system", str(path))
    report: dict[Key, Sequence[RecordStatus]] = {}
    async with provider.session(report.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        complete(opened)
        yield opened
        running.cancel()


async def test_routes_are_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dynamic/koi.yml"
    path.parent.mkdir()
    provider = {"file": {"directory": str(path.parent), "watch": True}}
    async with page("wiki") as wiki, page("shop") as shop, session(path) as opened:
        await put(opened, route(to=wiki))
        await eventually(path.exists, "the file is written")
        with traefik(tmp_path / "traefik", provider) as proxy:
            await serves(proxy, "wiki.internal")
            await gets(proxy, "wiki.internal", proxy.https, "wiki")
            await put(opened, route("b", "shop.internal", port=8443, to=shop))
            await serves(proxy, "wiki.internal", "shop.internal")
            await gets(proxy, "shop.internal", proxy.other, "shop")
            await opened.put(key("a"), [])
            await serves(proxy, "shop.internal")
            await opened.put(key("b"), [])
            await gets(proxy, "shop.internal", proxy.other, "404")
            assert proxy.errors() == []
