"""Events as they come: one truth with the lists, nothing lost, nothing twice, and bounded."""

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
from koi_agent.publishers.http.sse import KEPT, STREAMS
from tests.costs import best, used
from tests.http.serving import Events, Told, ask, client, events, serving, until
from tests.unit.things import container, listing, unit
from tests.unit.virtual_time import in_virtual_time

WEB = unit("web.service")
DB = unit("db.service")


class Known:
    """The view of a listener that applies each event."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.last_id = ""
        self.snapshots = 0

    async def read(self, stream: Events, until: Callable[[], bool]) -> None:
        while not until():
            self.take(await stream.next())

    def take(self, event: dict[str, Any]) -> None:
        said = event["data"]
        assert (said["event_v"], said["event_type"], said["id"]) == (1, event["event"], event["id"])
        self.last_id = event["id"]
        data = said["data"]
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


async def test_a_listener_gets_all_there_is_and_then_what_happens(path: socket.socket) -> None:
    told = Told(WEB)
    async with serving(told, path), events(path) as stream:
        snapshot = await stream.next()
        assert snapshot["event"] == "runtime.snapshot"
        assert snapshot["data"]["data"] == {
            "instances": (await ask(path, "/v1/runtime/instances")).json
        }
        told.see(DB)
        told.see(replace(DB, main_pid=7))
        told.lose(DB, "exited")
        told.apply(Lost(backend="podman", reason="its socket is gone"))
        told.apply(listing("podman"))
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


async def test_a_snapshot_of_nothing_is_empty(path: socket.socket) -> None:
    async with serving(Told(), path), events(path) as stream:
        assert (await stream.next())["data"]["data"] == {"instances": []}


async def test_a_listener_that_reconnects_gets_each_missed_event_once(path: socket.socket) -> None:
    told = Told(WEB)
    known = Known()
    async with serving(told, path):
        async with events(path) as stream:
            known.take(await stream.next())
        told.see(DB)
        for number in range(1, 101):
            told.see(replace(WEB, main_pid=number))
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
async def test_a_listener_with_an_unknown_id_gets_a_snapshot(
    path: socket.socket, last_id: str
) -> None:
    told = Told(WEB)
    async with serving(told, path):
        async with events(path) as stream:
            start = (await stream.next())["id"].partition("-")[0]
        async with events(path, last_id.format(start=start)) as stream:
            assert (await stream.next())["event"] == "runtime.snapshot"


async def test_a_listener_that_reconnects_too_late_gets_a_snapshot(path: socket.socket) -> None:
    told = Told(WEB)
    known = Known()
    async with serving(told, path):
        async with events(path) as stream:
            known.take(await stream.next())
        for number in range(1, KEPT + 2):
            told.see(replace(WEB, main_pid=number))
        async with events(path, known.last_id) as stream:
            known.take(await stream.next())
    assert known.snapshots == 2
    assert pid(known, WEB) == KEPT + 1


async def test_the_last_event_that_is_kept_is_enough_to_go_on(path: socket.socket) -> None:
    told = Told(WEB)
    known = Known()
    async with serving(told, path):
        async with events(path) as stream:
            known.take(await stream.next())
        for number in range(1, KEPT + 1):
            told.see(replace(WEB, main_pid=number))
        async with events(path, known.last_id) as stream:
            await known.read(stream, lambda: pid(known, WEB) == KEPT)
    assert known.snapshots == 1


def storm(told: Told, seed: int, turns: int) -> Iterator[int]:
    """Change things at random, turn by turn."""
    chance = random.Random(seed)
    there = [unit(f"u{number}.service") for number in range(20)]
    for turn in range(turns):
        for _ in range(chance.randrange(1, 80)):
            thing = replace(chance.choice(there), main_pid=turn)
            if thing.key in told.registry.visible and chance.random() < 0.3:
                told.lose(thing)
            else:
                told.see(thing)
        yield turn


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_heard_ends_at_what_is_listed(path: socket.socket, seed: int) -> None:
    """Listeners come, go, come back and dawdle while much happens."""
    told = Told(WEB)
    known = Known()
    chance = random.Random(seed)
    async with serving(told, path):
        storms = storm(told, seed, 60)
        more = True
        while more:
            async with events(path, known.last_id) as stream:
                for _ in range(chance.randrange(20)):
                    more = next(storms, None) is not None
                    if chance.random() < 0.5 and known.number < told.streams.last:
                        known.take(await stream.next())
        async with events(path, known.last_id) as stream:
            told.see(replace(WEB, main_pid=4711))
            await known.read(stream, lambda: pid(known, WEB) == 4711)
        listed = (await ask(path, "/v1/runtime/instances")).json
    assert known.instances == {shown["key"]: shown for shown in listed}


async def test_a_slow_listener_gets_a_snapshot_for_what_it_missed(path: socket.socket) -> None:
    told = Told(*(unit(f"u{number}.service") for number in range(1000)))
    known = Known()
    async with serving(told, path), events(path) as stream:
        known.take(await stream.next())
        for number in range(1, 4 * KEPT):
            told.see(replace(WEB, main_pid=number))
            if number % 100 == 0:
                await asyncio.sleep(0)
        await known.read(stream, lambda: pid(known, WEB) == 4 * KEPT - 1)
    assert known.snapshots >= 2
    assert len(known.instances) == 1001


@in_virtual_time
async def test_a_listener_that_reads_nothing_is_cut_off(path: socket.socket) -> None:
    told = Told(*(unit(f"u{number}.service") for number in range(3000)))
    async with serving(told, path), client(path) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.send("/v1/runtime/events")
        await until(lambda: len(told.streams) == 1)
        await until(lambda: len(told.streams) == 0)


async def test_streams_are_bounded_and_each_place_is_given_back(path: socket.socket) -> None:
    told = Told(WEB)
    async with serving(told, path), AsyncExitStack() as opened:
        for _ in range(STREAMS - 1):
            await (await opened.enter_async_context(events(path))).next()
        async with events(path) as stream:
            await stream.next()
            reply = await ask(path, "/v1/runtime/events")
            assert (reply.status, reply.json["error"]) == (503, "too_many_streams")
            assert reply.headers["retry-after"] == "5"
        await until(lambda: len(told.streams) == STREAMS - 1)
        async with events(path) as stream:
            await stream.next()


@in_virtual_time
async def test_a_silent_stream_says_that_it_is_there(path: socket.socket) -> None:
    told = Told()
    async with serving(told, path), events(path) as stream:
        await stream.next()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(stream.next())
            await until(lambda: len(stream.comments) >= 3)
            told.see(WEB)
        assert following.result()["event"] == "runtime.started"


async def test_a_stream_ends_with_a_word_when_serving_does(path: socket.socket) -> None:
    told = Told(WEB)
    async with serving(told, path) as task, events(path) as stream:
        await stream.next()
        told.see(DB)
        task.cancel()
        assert (await stream.next())["event"] == "runtime.started"
        assert await stream.next() == {}
    assert stream.comments == ["koi-runtime stops serving this stream"]


async def test_a_stream_goes_over_http_1_0_too(path: socket.socket) -> None:
    told = Told(WEB)
    async with serving(told, path), client(path) as one:
        one.writer.write(b"GET /v1/runtime/events HTTP/1.0\r\n\r\n")
        head = await one.head()
        assert "transfer-encoding" not in head.headers
        async with asyncio.timeout(60):
            await one.reader.readuntil(b"\ndata: ]}}\n\n")


async def test_events_cost_little_without_a_listener(path: socket.socket) -> None:
    told = Told()
    started = listing("systemd", *(unit(f"u{number}.service") for number in range(100)))
    happened = told.registry.apply(started, 1)
    unheard = best(lambda: told.publisher.publish(happened))
    async with serving(told, path), events(path) as stream:
        await stream.next()
        with used() as heard:
            told.publisher.publish(happened)
            for _ in range(100):
                await stream.next()
    assert unheard < heard.seconds / 5


async def test_an_instance_of_two_runtimes_is_reported_once(path: socket.socket) -> None:
    told = Told(WEB)
    async with serving(told, path), events(path) as stream:
        known = Known()
        known.take(await stream.next())
        told.see(container("c1", claims="web.service"))
        await known.read(stream, lambda: "podman:c1" in known.instances)
    assert known.instances.keys() == {"podman:c1"}
