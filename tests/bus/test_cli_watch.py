"""The command's ``watch`` against an agent on a bus that comes, goes and changes."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any

from koi_agent.core.events import Lost
from koi_agent.core.instance import InstanceState
from tests.bus.clients import SHOP, WEB, Told, agent, start
from tests.world.bus import PrivateBus

PROBE = replace(WEB, id="probe.service", name="probe", unit="", control_group="/probe")


@asynccontextmanager
async def watching(bus: PrivateBus, told: Told | None, *arguments: str) -> AsyncIterator[Process]:
    """Watch a bus, with an agent on it or none, from when the subscription stands."""
    process = await start(bus.address, "watch", *arguments)
    try:
        await (subscribed(process, told) if told else waiting(process))
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def subscribed(process: Process, told: Told) -> None:
    """Make things happen until the first is written, and read to the last."""
    assert process.stdout is not None
    heard = b""
    for number in count():
        told.see(PROBE, main_pid=number)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                heard = await process.stdout.readline()
        if heard or process.returncode is not None:
            break
    told.lose(PROBE, "heard")
    while heard and b"heard" not in heard:
        heard = await process.stdout.readline()


async def waiting(process: Process) -> None:
    """Read that there is no agent yet."""
    assert process.stderr is not None
    said = await process.stderr.readline()
    assert said.startswith(b"koi-runtime: waiting for the agent on the system bus (")


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(5):
        return (await process.stdout.readline()).decode()


async def event(process: Process) -> dict[str, Any]:
    """Read a happening in JSON, without its time."""
    happening: dict[str, Any] = json.loads(await line(process))
    assert happening.pop("time").endswith("Z")
    return happening


async def ended(process: Process) -> tuple[int, str]:
    async with asyncio.timeout(5):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_watch_writes_a_line_for_what_happens(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as told, watching(bus, told) as process:
        told.see(WEB)
        told.see(WEB, state=InstanceState.PAUSED, ips=("10.0.0.1",))
        told.lose(WEB, "exited")
        lines = [(await line(process)).split()[1:] for _ in range(3)]
        process.terminate()
        assert await ended(process) == (0, "")
    assert lines == [
        ["started", "web", "systemd"],
        ["updated", "web", "systemd", "state=paused", "ips"],
        ["stopped", "web", "systemd", "exited"],
    ]


async def test_watch_in_json_writes_an_object_a_line(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as told, watching(bus, told, "--json=short") as process:
        told.see(SHOP, main_pid=7)
        told.tell(Lost(backend="docker", reason="socket closed"))
        shop = {"id": SHOP.id, "name": "shop", "backend": "docker"}
        assert await event(process) == {
            "event": "updated",
            **shop,
            "changed": ["main_pid"],
            "values": {"main_pid": 7},
        }
        assert await event(process) == {
            "event": "disconnected",
            "backend": "docker",
            "reason": "socket closed",
        }
        assert (await event(process))["values"] == {"stale": True}
        process.send_signal(signal.SIGINT)
        assert await ended(process) == (0, "")


async def test_watch_lives_through_a_restart_of_the_agent(bus: PrivateBus) -> None:
    async with watching(bus, None, "--json=short") as process:
        async with agent(bus):
            assert await event(process) == {"event": "agent-started"}
        assert await event(process) == {"event": "agent-stopped"}
        async with agent(bus) as told:
            assert await event(process) == {"event": "agent-started"}
            told.see(WEB)
            assert (await event(process))["event"] == "started"
        process.terminate()
        assert await ended(process) == (0, "")


async def test_watch_fails_when_the_bus_goes_away(bus: PrivateBus) -> None:
    async with watching(bus, None) as process:
        bus.kill()
        code, err = await ended(process)
    assert code == 1
    assert err.startswith("koi-runtime: the system bus is gone: ")
    bus.start()


async def test_watch_ends_quietly_when_nobody_reads_any_more(bus: PrivateBus) -> None:
    reading, writing = os.pipe()
    async with agent(bus) as told:
        process = await start(bus.address, "watch", stdout=writing)
        os.close(writing)
        os.close(reading)
        async with asyncio.timeout(10):
            for number in count():
                told.see(WEB, main_pid=number)
                await asyncio.sleep(0.05)
                if process.returncode is not None:
                    break
        assert await ended(process) == (0, "")
