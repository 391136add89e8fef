"""Two agents with one mark at one Caddy: this one reports it, and stops writing."""

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from koi_agent.capabilities.proxy.caddy.rival import MOST, REASON, REST, WINDOW, Rival
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.caddy.configuration import Configuration
from tests.real.agents import eventually
from tests.unit.caddy_configurations import FILE, NAMES, converge, wanted
from tests.unit.dns_zones import complete, key
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.fake_caddy_server import served
from tests.unit.proxy_routes import put, route
from tests.unit.test_proxy_caddy_session import FILE as PLAIN
from tests.unit.test_proxy_caddy_session import NAMES as OWN
from tests.unit.test_proxy_caddy_session import session
from tests.unit.virtual_time import in_virtual_time


def found(*routes: Any) -> Configuration:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted(routes))
    return Configuration(root=copy.deepcopy(caddy.root), names=NAMES)


OURS, THEIRS, NOTHING = found(route(to=1)), found(route(to=2)), found()


async def fight(rival: Rival, times: int, pause: float = 1.0) -> list[bool]:
    """Change what the agent writes, as another agent does, and return whether it is noticed."""
    seen = []
    for _ in range(times):
        rival.on_written(OURS)
        await asyncio.sleep(pause)
        seen.append(rival.is_here(THEIRS))
    return seen


@in_virtual_time
async def test_some_changes_of_others_are_undone_and_many_are_not() -> None:
    rival = Rival()
    assert not rival.is_here(THEIRS), "objects of an earlier run do not count"
    assert await fight(rival, MOST) == [*[False] * (MOST - 1), True]
    await asyncio.sleep(REST - 1)
    assert rival.is_here(THEIRS)
    await asyncio.sleep(2)
    assert not rival.is_here(THEIRS)


@in_virtual_time
async def test_a_rest_lasts_until_the_other_agent_is_quiet() -> None:
    rival = Rival()
    await fight(rival, MOST)
    for one in (OURS, THEIRS, OURS):
        await asyncio.sleep(REST - 1)
        assert rival.is_here(one)


@in_virtual_time
async def test_seldom_changes_and_reloads_are_no_other_agent() -> None:
    rival = Rival()
    assert not any(await fight(rival, 3 * MOST, WINDOW / (MOST - 2)))
    for _ in range(3 * MOST):
        rival.on_written(OURS)
        assert not rival.is_here(NOTHING)
        assert not rival.is_here(NOTHING)


async def test_routes_say_that_another_agent_has_the_mark(tmp_path: Path) -> None:
    caddy = FakeCaddy(PLAIN)
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with served(caddy, tmp_path / "s") as server:
        async with session(server, reported) as opened:
            complete(opened)
            await put(opened, route(to=1))

            def has_failed() -> bool:
                if dial(caddy) == "127.0.0.1:1":
                    change(caddy)
                    server.change()
                return [one.state for one in reported[key("a")]] == [RecordState.FAILED]

            await eventually(has_failed, "the route fails")
            assert reported[key("a")][0].reason == REASON
            writes = caddy.writes
        assert caddy.writes == writes, "the objects of the other agent stay"
        assert dial(caddy) == "127.0.0.1:2"


def routes(caddy: FakeCaddy) -> Any:
    servers = caddy.root["apps"]["http"]["servers"]
    return servers.get(OWN.server(443), {}).get("routes", [])


def dial(caddy: FakeCaddy) -> str:
    return next((one["handle"][0]["upstreams"][0]["dial"] for one in routes(caddy)), "")


def change(caddy: FakeCaddy) -> None:
    """Change the route as another agent does."""
    routes(caddy)[0]["handle"][0]["upstreams"] = [{"dial": "127.0.0.1:2"}]
