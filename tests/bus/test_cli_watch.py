"""``watch`` with an agent on a bus that starts, stops and changes."""

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

from koi_agent.core.events import Announced, Lost
from koi_agent.core.instance import InstanceState, RecordState, RecordStatus
from tests.bus.clients import SHOP, WEB, Agent, agent, start
from tests.world.bus import PrivateBus

PROBE = replace(WEB, id="probe.service", name="probe", unit="", control_group="/probe")


@asynccontextmanager
async def watching(
    bus: PrivateBus, running: Agent | None, *arguments: str
) -> AsyncIterator[Process]:
    """Start ``watch`` on a bus, with an agent or without; yield once it has subscribed."""
    process = await start(bus.address, "watch", *arguments)
    try:
        await (subscribed(process, running) if running else waiting(process))
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def subscribed(process: Process, running: Agent) -> None:
    """Publish events until ``watch`` writes one, and read to the last."""
    assert process.stdout is not None
    heard = b""
    for number in count():
        running.update(PROBE, main_pid=number)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                heard = await process.stdout.readline()
        if heard or process.returncode is not None:
            break
    running.remove(PROBE, "heard")
    while heard and b"heard" not in heard:
        heard = await process.stdout.readline()


async def waiting(process: Process) -> None:
    """Read the message that there is no agent yet."""
    assert process.stderr is not None
    result = await process.stderr.readline()
    assert result.startswith(b"koi-runtime: waiting for the agent on the system bus (")


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode()


async def event(process: Process) -> dict[str, Any]:
    """Read an event in JSON, without its time."""
    read: dict[str, Any] = json.loads(await line(process))
    assert read.pop("time").endswith("Z")
    return read


async def ended(process: Process) -> tuple[int, str]:
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_watch_writes_line_for_each_event(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running, watching(bus, running) as process:
        running.update(WEB)
        running.update(WEB, state=InstanceState.PAUSED, ips=("10.0.0.1",))
        running.remove(WEB, "exited")
        lines = [(await line(process)).split()[1:] for _ in range(3)]
        process.terminate()
        assert await ended(process) == (0, "")
    assert lines == [
        ["started", "web", "systemd"],
        ["updated", "web", "systemd", "state=paused", "ips"],
        ["stopped", "web", "systemd", "exited"],
    ]


def record(name: str, state: RecordState, reason: str = "") -> RecordStatus:
    return RecordStatus(name=name, state=state, reason=reason)


async def test_watch_names_the_records_that_change(bus: PrivateBus) -> None:
    wiki, host = (record(name, RecordState.WANTED) for name in ("w._http._tcp.local", "w.local"))
    async with agent(bus, WEB) as running, watching(bus, running) as process:
        lines = []
        for records in (
            (wiki, host),
            (replace(wiki, state=RecordState.ANNOUNCED), host),
            (replace(wiki, state=RecordState.ANNOUNCED), record("w.local", RecordState.HELD, "no")),
            (replace(wiki, state=RecordState.ANNOUNCED),),
        ):
            running.apply(Announced(WEB.key, records))
            lines.append(" ".join((await line(process)).split()[4:]))
    assert lines == [
        "w._http._tcp.local wanted, w.local wanted",
        "w._http._tcp.local announced",
        "w.local held (no)",
        "w.local withdrawn",
    ]


async def test_watch_writes_only_events_of_the_named_instances(bus: PrivateBus) -> None:
    words = ("probe", "till.local", "docker:j*", "site")
    web = replace(WEB, aliases=("site.service",))
    job = replace(SHOP, id="9" * 64, name="job")
    async with agent(bus, SHOP, web) as running, watching(bus, running, *words) as process:
        running.update(SHOP, main_pid=7)  # it has another name so far
        running.apply(Lost(backend="docker", reason="gone"))
        running.update(web, main_pid=8)
        lines = [" ".join((await line(process)).split()[1:3])]
        running.update(job)
        running.apply(Announced(SHOP.key, (record("till.local", RecordState.ANNOUNCED),)))
        lines += [" ".join((await line(process)).split()[1:3]) for _ in range(2)]
        running.update(SHOP, main_pid=9)
        running.remove(job, "exited")
        running.remove(SHOP, "exited")
        lines += [" ".join((await line(process)).split()[1:3]) for _ in range(3)]
    assert lines == [
        "updated web",
        "started job",
        "updated shop",
        "updated shop",
        "stopped job",
        "stopped shop",
    ]


async def test_watch_in_json_writes_object_for_each_event(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running, watching(bus, running, "--json=short") as process:
        running.update(SHOP, main_pid=7)
        running.apply(Lost(backend="docker", reason="socket closed"))
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


async def test_watch_continues_over_restart_of_agent(bus: PrivateBus) -> None:
    async with watching(bus, None, "--json=short") as process:
        async with agent(bus):
            assert await event(process) == {"event": "agent-started"}
        assert await event(process) == {"event": "agent-stopped"}
        async with agent(bus) as running:
            assert await event(process) == {"event": "agent-started"}
            running.update(WEB)
            assert (await event(process))["event"] == "started"
        process.terminate()
        assert await ended(process) == (0, "")


async def test_watch_fails_when_bus_is_lost(bus: PrivateBus) -> None:
    async with watching(bus, None) as process:
        bus.kill()
        code, err = await ended(process)
    assert code == 1
    assert err.startswith("koi-runtime: the system bus is gone: ")
    bus.start()


async def test_closed_pipe_ends_watch_silently(bus: PrivateBus) -> None:
    reading, writing = os.pipe()
    async with agent(bus) as running:
        process = await start(bus.address, "watch", stdout=writing)
        os.close(writing)
        os.close(reading)
        async with asyncio.timeout(60):
            for number in count():
                running.update(WEB, main_pid=number)
                await asyncio.sleep(0.05)
                if process.returncode is not None:
                    break
        assert await ended(process) == (0, "")
