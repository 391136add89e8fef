"""Event streams: they agree with the lists, lose no event, repeat no event, and are bounded."""

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.core.events import Lost
from koi_agent.core.instance import Instance
from koi_agent.publishers.http.limits import DEFAULTS, Limits
from tests.costs import best, used
from tests.http.serving import Agent, Events, ask, client, events, serving, until
from tests.unit.things import container, listing, unit

WEB = unit("web.service")
DB = unit("db.service")
KEPT = DEFAULTS.kept_events
STREAMS = DEFAULTS.streams


class Known:
    """The state that a client computes from events."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.last_id = ""
        self.snapshots = 0

    async def read(self, stream: Events, until: Callable[[], bool]) -> None:
        while not until():
            self.take(await stream.next())

    def take(self, event: dict[str, Any]) -> None:
        sent = event["data"]
        assert (sent["event_v"], sent["event_type"], sent["id"]) == (
            1,
            event["event"],
            event["id"],
        )
        self.last_id = event["id"]
        data = sent["data"]
        match event["event"]:
            case "runtime.snapshot":
                self.snapshots += 1
                self.instances = {shown["key"]: shown for shown in data["instances"]}
            case "runtime.started":
                assert data["key"] not in self.instances
                self.instances[data["key"]] = data
            case "runtime.updated":
                assert data["key"] in self.instances
                self.instances[data["key"]] = data
            case "runtime.stopped":
                del self.instances[f"{data['backend']}:{data['id']}"]
            case _:
                pass

    @property
    def number(self) -> int:
        return int(self.last_id.partition("-")[2] or -1)


def pid(known: Known, instance: Instance) -> object:
    return known.instances.get(str(instance.key), {}).get("main_pid")


async def test_stream_has_snapshot_and_then_events(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path), events(path) as stream:
        snapshot = await stream.next()
        assert snapshot["event"] == "runtime.snapshot"
        assert snapshot["data"]["data"] == {
            "instances": (await ask(path, "/v1/runtime/instances")).json
        }
        agent.update(DB)
        agent.update(replace(DB, main_pid=7))
        agent.remove(DB, "exited")
        agent.apply(Lost(backend="podman", reason="its socket is gone"))
        agent.apply(listing("podman"))
        heard = [await stream.next() for _ in range(5)]
    assert [event["event"] for event in heard] == [
        "runtime.started",
        "runtime.updated",
        "runtime.stopped",
        "runtime.disconnected",
        "runtime.reconnected",
    ]
    started, updated, stopped, disconnected, reconnected = (e["data"]["data"] for e in heard)
    assert (started["id"], started["main_pid"]) == ("db.service", None)
    assert (updated["id"], updated["main_pid"]) == ("db.service", 7)
    assert stopped == {"id": DB.id, "name": "db", "backend": "systemd", "reason": "exited"}
    assert disconnected == {"backend": "podman", "reason": "its socket is gone"}
    assert reconnected == {"backend": "podman"}
    starts = {event["id"].partition("-")[0] for event in heard}
    assert len(starts) == 1
    numbers = [int(event["id"].partition("-")[2]) for event in [snapshot, *heard]]
    assert numbers == list(range(numbers[0], numbers[0] + 6))


async def test_snapshot_without_instances_is_empty(path: socket.socket) -> None:
    async with serving(Agent(), path), events(path) as stream:
        assert (await stream.next())["data"]["data"] == {"instances": []}


async def test_reconnected_stream_has_missed_events_once(path: socket.socket) -> None:
    agent = Agent(WEB)
    known = Known()
    async with serving(agent, path):
        async with events(path) as stream:
            known.take(await stream.next())
        agent.update(DB)
        for number in range(1, 101):
            agent.update(replace(WEB, main_pid=number))
        async with events(path, known.last_id) as stream:
            seen = []
            while pid(known, WEB) != 100:
                event = await stream.next()
                seen.append(event["event"])
                known.take(event)
    assert seen == ["runtime.started", *["runtime.updated"] * 100]


@pytest.mark.parametrize(
    "last_id", ["", "1-1", "x", "-", "{start}-999", "{start}-", "{start}-\xb2"]
)
async def test_unknown_last_id_gets_snapshot(path: socket.socket, last_id: str) -> None:
    agent = Agent(WEB)
    async with serving(agent, path):
        async with events(path) as stream:
            start = (await stream.next())["id"].partition("-")[0]
        async with events(path, last_id.format(start=start)) as stream:
            assert (await stream.next())["event"] == "runtime.snapshot"


async def test_late_reconnect_gets_snapshot(path: socket.socket) -> None:
    agent = Agent(WEB)
    known = Known()
    async with serving(agent, path):
        async with events(path) as stream:
            known.take(await stream.next())
        for number in range(1, KEPT + 2):
            agent.update(replace(WEB, main_pid=number))
        async with events(path, known.last_id) as stream:
            known.take(await stream.next())
    assert known.snapshots == 2
    assert pid(known, WEB) == KEPT + 1


async def test_oldest_kept_event_is_enough_to_continue(path: socket.socket) -> None:
    agent = Agent(WEB)
    known = Known()
    async with serving(agent, path):
        async with events(path) as stream:
            known.take(await stream.next())
        for number in range(1, KEPT + 1):
            agent.update(replace(WEB, main_pid=number))
        async with events(path, known.last_id) as stream:
            await known.read(stream, lambda: pid(known, WEB) == KEPT)
    assert known.snapshots == 1


def storm(agent: Agent, seed: int, turns: int) -> Iterator[int]:
    """Change instances at random, turn by turn."""
    chance = random.Random(seed)
    there = [unit(f"u{number}.service") for number in range(20)]
    for turn in range(turns):
        for _ in range(chance.randrange(1, 80)):
            thing = replace(chance.choice(there), main_pid=turn)
            if thing.key in agent.registry.visible and chance.random() < 0.3:
                agent.remove(thing)
            else:
                agent.update(thing)
        yield turn


@pytest.mark.parametrize("seed", range(4))
async def test_events_and_list_agree(path: socket.socket, seed: int) -> None:
    """Clients connect, disconnect, reconnect and read slowly while instances change."""
    agent = Agent(WEB)
    known = Known()
    chance = random.Random(seed)
    async with serving(agent, path):
        storms = storm(agent, seed, 60)
        more = True
        while more:
            async with events(path, known.last_id) as stream:
                for _ in range(chance.randrange(20)):
                    more = next(storms, None) is not None
                    if chance.random() < 0.5 and known.number < agent.streams.last:
                        known.take(await stream.next())
        async with events(path, known.last_id) as stream:
            agent.update(replace(WEB, main_pid=4711))
            await known.read(stream, lambda: pid(known, WEB) == 4711)
        listed = (await ask(path, "/v1/runtime/instances")).json
    assert known.instances == {shown["key"]: shown for shown in listed}


async def test_slow_client_gets_new_snapshot(path: socket.socket) -> None:
    agent = Agent(*(unit(f"u{number}.service") for number in range(1000)))
    known = Known()
    async with serving(agent, path), events(path) as stream:
        known.take(await stream.next())
        for number in range(1, 4 * KEPT):
            agent.update(replace(WEB, main_pid=number))
            if number % 100 == 0:
                await asyncio.sleep(0)
        await known.read(stream, lambda: pid(known, WEB) == 4 * KEPT - 1)
    assert known.snapshots >= 2
    assert len(known.instances) == 1001


async def test_stream_that_is_not_read_is_closed(
    path: socket.socket,
) -> None:
    many = [unit(f"u{number}.service") for number in range(3000)]
    agent = Agent(*many, limits=Limits(write_timeout=0.3))
    async with serving(agent, path), client(path) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.send("/v1/runtime/events")
        await until(lambda: len(agent.streams) == 1)
        await until(lambda: len(agent.streams) == 0)


async def test_number_of_streams_is_limited(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path), AsyncExitStack() as opened:
        for _ in range(STREAMS - 1):
            await (await opened.enter_async_context(events(path))).next()
        async with events(path) as stream:
            await stream.next()
            reply = await ask(path, "/v1/runtime/events")
            assert (reply.status, reply.json["error"]) == (503, "too_many_streams")
            assert reply.headers["retry-after"] == "5"
        await until(lambda: len(agent.streams) == STREAMS - 1)
        async with events(path) as stream:
            await stream.next()


async def test_silent_stream_sends_heartbeats(
    path: socket.socket,
) -> None:
    agent = Agent(limits=Limits(heartbeat=0.05))
    async with serving(agent, path), events(path) as stream:
        await stream.next()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(stream.next())
            await until(lambda: len(stream.comments) >= 3)
            agent.update(WEB)
        assert following.result()["event"] == "runtime.started"


async def test_stream_ends_with_comment_at_stop(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path) as task, events(path) as stream:
        await stream.next()
        agent.update(DB)
        task.cancel()
        assert (await stream.next())["event"] == "runtime.started"
        assert await stream.next() == {}
    assert stream.comments == ["koi-runtime stops serving this stream"]


async def test_stream_works_over_http_1_0(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path), client(path) as one:
        one.writer.write(b"GET /v1/runtime/events HTTP/1.0\r\n\r\n")
        head = await one.head()
        assert "transfer-encoding" not in head.headers
        async with asyncio.timeout(60):
            await one.reader.readuntil(b"\ndata: ]}}\n\n")


async def test_events_cost_little_without_streams(path: socket.socket) -> None:
    agent = Agent()
    started = listing("systemd", *(unit(f"u{number}.service") for number in range(100)))
    happened = agent.registry.apply(started, 1)
    unheard = best(lambda: agent.publisher.publish(happened))
    async with serving(agent, path), events(path) as stream:
        await stream.next()
        with used() as heard:
            agent.publisher.publish(happened)
            for _ in range(100):
                await stream.next()
    assert unheard < heard.seconds / 5


async def test_instance_of_two_runtimes_is_published_once(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path), events(path) as stream:
        known = Known()
        known.take(await stream.next())
        agent.update(container("c1", claims="web.service"))
        await known.read(stream, lambda: "podman:c1" in known.instances)
    assert known.instances.keys() == {"podman:c1"}
