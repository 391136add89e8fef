"""The agent is killed at random moments, and the next start brings a real Caddy to the truth."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from koi_agent.host.caddy.objects import ID
from tests.real.agents import Agent, agent, answers, eventually, on_manager
from tests.real.announced import announcements, settings
from tests.real.caddy_server import Caddy, caddy
from tests.world import World

KILLS: Final = 200
CHECKED: Final = 25
"""Kills after which an agent runs until Caddy has all routes, and is killed then."""
STARTED: Final = 0.3
"""The part of the agents that are killed after their start."""
PORTS: Final = (8443, 9443)
NAMES: Final = [f"web{number}" for number in range(6)]
UNIT: Final = """\
[Service]
ExecStart=/bin/busybox httpd -f -p 127.0.0.1:{port}
[X-Koi]
Enable=yes
ProxyPort={tls}
"""
SETTINGS: Final = """\
[Capabilities]
MDNS=off
DNS=off
Health=off
[Proxy]
Ports={ports}
Caddy={socket}
"""
OWN: Final = re.compile("koi-([0-9a-f]{16})-(.+)")


def port_of(name: str) -> int:
    return 8000 + NAMES.index(name)


def tls_of(name: str) -> int:
    return PORTS[NAMES.index(name) % 2]


def is_own(value: Any) -> bool:
    """Return True for an object with the mark of an agent."""
    return isinstance(value, dict) and bool(OWN.fullmatch(str(value.get(ID))))


def others(config: Any) -> Any:
    """Return a configuration without the objects of agents."""
    if isinstance(config, list):
        return [others(one) for one in config if not is_own(one)]
    if isinstance(config, dict):
        return {name: others(one) for name, one in config.items() if not is_own(one)}
    return config


def own(config: Any) -> Iterator[Any]:
    """Yield the objects of agents, wherever they are, and what is in these without a mark."""
    if is_own(config):
        yield config
        yield from (one for one in config.get("routes", ()) if not is_own(one))
    inner = config.values() if isinstance(config, dict) else config
    for one in inner if isinstance(config, dict | list) else ():
        yield from own(one)


def shown(value: Any) -> str:
    """Return an object of an agent without its mark, and with the upstreams of a route."""
    found = OWN.fullmatch(str(value.get(ID)))
    to = [one["dial"] for handler in value.get("handle", ()) for one in handler["upstreams"]]
    return " ".join([found[2] if found else json.dumps(value), *to])


def wanted(running: set[str]) -> list[str]:
    """Return all objects for the running units, each once."""
    servers = {str(tls_of(one)) for one in running}
    routes = {f"{tls_of(one)}-{one}.internal 127.0.0.1:{port_of(one)}" for one in running}
    return sorted(servers | routes | ({"certificates"} if running else set()))


class Proxy:
    """A Caddy with a configuration of its own, to which the agent adds routes."""

    def __init__(self, server: Caddy) -> None:
        self.server = server
        self._foreign = json.dumps(server.config())

    async def has(self) -> list[str]:
        """Return all objects of the agent. All else must be as it was."""
        config = await eventually(self._config, "Caddy answers")
        assert json.dumps(others(config)) == self._foreign
        return sorted(map(shown, own(config)))

    async def _config(self) -> Any:
        """Return the configuration, None while a change of it ends the connection."""
        try:
            return await asyncio.to_thread(self.server.config)
        except (OSError, HTTPException):
            return None

    async def _reload(self) -> bool:
        try:
            await asyncio.to_thread(self.server.reload)
        except subprocess.CalledProcessError:  # as above
            return False
        return True

    async def is_disturbed(self, random: Random) -> None:
        """Restart Caddy or load its Caddyfile now and then, as an administrator does."""
        await asyncio.sleep(random.uniform(0, 0.5))
        match random.randrange(20):
            case 0 | 1:
                await eventually(self._reload, "Caddy loads its Caddyfile")
            case 2 | 3 as number:
                await asyncio.to_thread(self.server.kill)
                await asyncio.to_thread(self.server.start, *((), ("--resume",))[number - 2])
            case _:
                pass


async def toggle(world: World, random: Random, running: set[str]) -> None:
    """Start or stop some units."""
    some = set(random.sample(NAMES, random.randint(0, 2)))
    for verb, names in {"stop": some & running, "start": some - running}.items():
        if names:
            await on_manager(world, verb, *(f"{name}.service" for name in sorted(names)))
    running ^= some


async def killed(world: World, random: Random, folder: Path) -> None:
    """Run an agent, and kill it at a random moment of its start or of its work."""
    with (folder / "killed.log").open("a") as log:
        argv = (sys.executable, "-m", "koi_agent", "run", "--user")
        process = world.spawn(*argv, stderr=log, stdout=subprocess.DEVNULL)
    if random.random() < STARTED:
        await eventually(lambda: answers(world), "the agent answers")
    await asyncio.sleep(random.uniform(0, 0.8))
    process.kill()
    await asyncio.to_thread(process.wait, 60)


async def untrue(world: World, running: set[str]) -> Mapping[str, Any]:
    """Return the routes of the running units that are not exactly the announced one of each."""
    found = {one: await announcements(world, one) for one in sorted(running)}
    routes = {one: {url: of[url] for url in of if "://" in url} for one, of in found.items()}
    urls = {one: f"https://{one}.internal:{tls_of(one)}" for one in found}
    return {one: of for one, of in routes.items() if of != {urls[one]: "announced"}}


async def agree(world: World, proxy: Proxy, running: set[str]) -> None:
    """Wait until Caddy has the routes of the running units, and the agent reports the same."""

    async def is_right() -> bool:
        return await proxy.has() == wanted(running) and not await untrue(world, running)

    try:
        await eventually(is_right, "Caddy and the agent agree", seconds=120)
    except AssertionError as error:
        seen = await proxy.has(), await untrue(world, running)
        raise AssertionError(f"{seen} instead of {wanted(running)}") from error


@pytest.mark.timeout(900)
async def test_a_killed_agent_leaves_nothing_behind_at_caddy(world: World, tmp_path: Path) -> None:
    random, running, unfinished = Random(17), set[str](), 0
    for one in NAMES:
        world.unit(f"{one}.service", UNIT.format(port=port_of(one), tls=tls_of(one)))
    with caddy(tmp_path / "caddy", spawn=world.spawn) as server:
        socket, ports = server.address.path, " ".join(map(str, PORTS))
        settings(world, SETTINGS.format(ports=ports, socket=socket))
        proxy = Proxy(server)
        for number in range(1, KILLS + 1):
            async with asyncio.TaskGroup() as group:
                group.create_task(killed(world, random, tmp_path))
                group.create_task(toggle(world, random, running))
                group.create_task(proxy.is_disturbed(random))
            unfinished += await proxy.has() != wanted(running)
            if number % CHECKED:
                continue
            async with agent(world, tmp_path) as last:
                await agree(world, proxy, running)
                await ended(last, is_killed=number < KILLS)
        assert await proxy.has() == []
    assert "Traceback" not in (tmp_path / "killed.log").read_text()
    assert 0 < unfinished < KILLS, "kills at all stages of an agent's work"


async def ended(last: Agent, *, is_killed: bool) -> None:
    """Kill the agent, unless it is to end by itself, which removes its routes."""
    if is_killed:
        await last.kill()
