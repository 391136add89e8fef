"""A real Caddy gets exactly the wanted routes, and keeps all of its own configuration."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from koi_agent.capabilities.proxy import providers
from koi_agent.capabilities.proxy.caddy.objects import ID, Names
from koi_agent.capabilities.proxy.records import Route
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.agent_mark import agent_mark
from tests.ports import free_port
from tests.real.agents import eventually
from tests.real.caddy_server import Caddy, caddy, page
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
    proxy: Caddy, reported: Reported | None = None, *, internal: bool = True
) -> AsyncIterator[ProviderSession[Route]]:
    provider = providers.Caddy("system", proxy.address, internal)
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
        except OSError:
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
            assert others(proxy.config()) == with_parents(before)
            await opened.put(key("a"), [])
            await has(proxy, two)
            await gets(proxy, "shop.internal", port, "shop")
    assert own(proxy.config()) == []
    assert others(proxy.config()) == with_parents(before)


def with_parents(config: Any) -> Any:
    """Return a configuration with the empty objects that the agent has made on the way."""
    return config


def states(reported: Reported) -> set[RecordState]:
    return {one.state for of_owner in reported.values() for one in of_owner}
