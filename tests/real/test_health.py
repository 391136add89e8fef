"""Health by checks of ours, and what it means to the network: a real unit, a real peer."""

import asyncio
from pathlib import Path
from typing import Any

from tests.lan import Lan
from tests.real.agents import Agent, agent, call, eventually, instance, on_manager
from tests.real.announced import announced, announcements, resolves, settings, web
from tests.world import World

CHECKED = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server {port} --bind :: --directory {folder}
[X-Koi]
Enable=yes
Name={name}
Type=_http._tcp
HealthPath=/up
HealthInterval=1s
"""


async def health(world: World) -> tuple[str, str]:
    shown: dict[str, Any] = await instance(world, "web.service")
    return shown["Health"], shown["HealthDetail"]


async def becomes(world: World, state: str, detail: str) -> None:
    async def has() -> bool:
        return await health(world) == (state, detail)

    await eventually(has, f"it becomes {state}")


async def test_what_is_unhealthy_is_withdrawn_until_it_is_well(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, "[Health]\nUnhealthyAfter=2\n")
    page = world.home / "up"
    page.write_text("yes")
    lan.box.start_avahi()
    async with agent(world, tmp_path) as running:
        await web(world, text=CHECKED.replace("{folder}", str(world.home)))
        await announced(world)
        await becomes(world, "healthy", "HTTP 200")
        page.unlink()
        await becomes(world, "unhealthy", "HTTP 404")
        await eventually(lambda: not lan.peer.browse("_http._tcp"), "it is withdrawn")
        assert set((await announcements(world)).values()) == {"held"}
        page.write_text("yes")
        await becomes(world, "healthy", "HTTP 200")
        await announced(world)
        await resolves(lan, "web.local", "192.0.2.1")
        settings(world, "[Health]\nUnhealthyAfter=2\nWithdrawUnhealthy=no\n")
        running.process.send_signal(1)
        page.unlink()
        await becomes(world, "unhealthy", "HTTP 404")
        await announced(world)


async def test_checks_may_be_turned_off_live(world: World, tmp_path: Path) -> None:
    (world.home / "up").write_text("yes")
    async with agent(world, tmp_path) as running:
        await web(world, text=CHECKED.replace("{folder}", str(world.home)))
        await eventually(lambda: known(world), "it is there")
        await becomes(world, "healthy", "HTTP 200")
        settings(world, "[Capabilities]\nHealth=off\n")
        running.process.send_signal(1)
        await becomes(world, "none", "")


SLEEPER = """\
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd --exit-idle-time=1s 127.0.0.1:9
[X-Koi]
Enable=yes
HealthKind=tcp
HealthInterval=2s
"""


async def test_a_service_that_sleeps_behind_its_socket_is_not_woken(
    world: World, tmp_path: Path
) -> None:
    world.unit("sleeper.socket", "[Socket]\nListenStream=127.0.0.1:8099\n")
    world.unit("sleeper.service", SLEEPER)
    await on_manager(world, "start", "sleeper.socket")
    async with agent(world, tmp_path) as running:
        await on_manager(world, "start", "sleeper.service")
        await eventually(lambda: checked(running), "it is checked")
        await eventually(lambda: sleeps(world), "it sleeps")
        woken = (await shown(world, "sleeper.service", "ActiveEnterTimestampMonotonic"))[0]
        await asyncio.sleep(5)
        assert await sleeps(world)
        assert (await shown(world, "sleeper.service", "ActiveEnterTimestampMonotonic"))[0] == woken


def checked(running: Agent) -> bool:
    return "health check: connect to 127.0.0.1:8099" in running.log()


async def sleeps(world: World) -> bool:
    return (await shown(world, "sleeper.service", "ActiveState"))[0] == "inactive"


async def shown(world: World, unit: str, name: str) -> list[str]:
    arguments = ("show", "--value", f"--property={name}", unit)
    return (await on_manager(world, *arguments)).stdout.split()


READY = """\
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'until test -e {home}/go; do sleep 0.1; done; systemd-notify --ready; \
sleep infinity'
"""


async def test_a_service_that_says_it_is_ready_is_healthy_then(
    world: World, tmp_path: Path
) -> None:
    world.unit("ready.service", READY.format(home=world.home))
    async with agent(world, tmp_path):
        await on_manager(world, "start", "--no-block", "ready.service")
        await eventually(lambda: is_(world, "starting"), "it is starting")
        (world.home / "go").touch()
        await eventually(lambda: is_(world, "healthy"), "it is healthy")


async def is_(world: World, health: str) -> bool:
    rows = (await call(world, "ListInstances"))[0]
    return ("ready.service", health) in {(row[0], row[4]) for row in rows}


async def known(world: World) -> bool:
    return bool(await announcements(world))


STRICT = """\
[Service]
ExecStart=/usr/bin/python3 {program} {port} {accepted}
[X-Koi]
Announce=wiki
HealthPath=/
HealthInterval=1s
"""
PROGRAM = """\
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers["Host"] == sys.argv[2] else 400)
        self.end_headers()

HTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_a_server_that_knows_only_its_name_is_healthy(world: World, tmp_path: Path) -> None:
    program = world.home / "strict.py"
    program.write_text(PROGRAM)
    text = STRICT.replace("{program}", str(program))
    async with agent(world, tmp_path):
        await web(world, text=text.replace("{accepted}", "wiki.local"))
        await eventually(lambda: known(world), "it is there")
        await becomes(world, "healthy", "HTTP 200")
        await on_manager(world, "stop", "web.service")
        await eventually(lambda: gone(world), "it is gone")
        text = text.replace("{accepted}", "shop.example.org")
        await web(world, text=text, more="HealthHost=shop.example.org\n")
        await eventually(lambda: known(world), "it is there")
        await becomes(world, "healthy", "HTTP 200")


async def gone(world: World) -> bool:
    return not await known(world)
