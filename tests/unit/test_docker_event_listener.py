"""Each event is applied once, however many streams send it and whenever it is applied."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from koi_agent.backends.docker.api import DockerAPI
from koi_agent.backends.docker.event_listener import TURN, EventListener
from koi_agent.backends.docker.events import Event, EventHistory
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.core.errors import BadInput
from tests.real.agents import eventually

START = time.time_ns() - 10**12


def line(number: int) -> bytes:
    actor = {"ID": f"{number:064x}", "Attributes": {}}
    record = {"Type": "container", "Action": "start", "Actor": actor, "timeNano": START + number}
    return json.dumps(record).encode()


class Engine:
    """An engine with two streams; ``sent`` is set when a stream has been read to its end.

    Each stream begins with the events since the time that is asked for, as dockerd's does.
    """

    engine = SimpleNamespace(kind=SimpleNamespace(exits_when_idle=False))

    def __init__(self, *streams: Sequence[int]) -> None:
        self.streams = list(streams)
        self.history: list[int] = []
        self.since: list[int] = []
        self.sent = asyncio.Event()

    async def open_events(self, since: str) -> "Engine":
        seconds, _, fraction = since.partition(".")
        self.since.append(int(seconds) * 10**9 + int(fraction) - START)
        return self

    async def follow(self, deliver: Callable[[Sequence[bytes]], None]) -> None:
        if not self.streams:
            self.sent.set()
            await asyncio.Event().wait()
        again = [number for number in self.history if number >= self.since[-1]]
        new = self.streams.pop(0)
        self.history += new
        deliver([line(number) for number in [*again, *new]])

    def close(self) -> None:
        pass


class Stream(Engine):
    """A stream that sends what ``send`` is called with."""

    deliver: Callable[[Sequence[bytes]], None]

    def send(self, *numbers: int) -> None:
        self.deliver([line(number) for number in numbers])

    async def follow(self, deliver: Callable[[Sequence[bytes]], None]) -> None:
        self.deliver = deliver
        self.sent.set()
        await asyncio.Event().wait()


class Consumer:
    def __init__(self) -> None:
        self.applied: list[int] = []

    def apply_event(self, event: Event) -> None:
        self.applied.append(event.time - START)

    def bad_event(self, bad: BadInput) -> None:
        raise AssertionError(bad)

    def events_lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def stream_ended(self, reason: str) -> None:
        assert reason


@pytest.mark.parametrize("waiting", [True, False], ids=["applied after all", "applied at once"])
@pytest.mark.parametrize(
    "streams",
    [
        [[1, 2, 3], [4]],
        [[1, 2, 2], [2, 3]],
        [[1], [2], [3]],
        [range(1, 3000), range(3000, 3100)],
    ],
    ids=["one is repeated", "two of one time", "three streams", "more than are remembered"],
)
async def test_each_event_is_applied_once(streams: list[Sequence[int]], *, waiting: bool) -> None:
    engine, consumer = Engine(*streams), Consumer()
    tunables = Tunables(first_poll=0.01, longest_poll=0.01)
    listener = EventListener(cast("DockerAPI", engine), EventHistory(), consumer, tunables)
    await listener.open()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(listener.read())]
        if not waiting:
            tasks.append(group.create_task(listener.apply()))
        async with asyncio.timeout(60):
            await engine.sent.wait()
        if waiting:
            tasks.append(group.create_task(listener.apply()))
        expected = sorted({number for stream in streams for number in stream})
        await eventually(lambda: consumer.applied[-1:] == expected[-1:], "all are applied")
        for task in tasks:
            task.cancel()
    assert sorted(set(consumer.applied)) == expected
    repeated = [n for stream in streams for n in set(stream) if list(stream).count(n) > 1]
    assert len(consumer.applied) == len(expected) + len(repeated)
    assert engine.since[1:] == [max(stream) for stream in streams]


async def test_a_few_events_are_applied_as_they_are_read_and_many_in_turns() -> None:
    engine, consumer = Stream(), Consumer()
    listener = EventListener(cast("DockerAPI", engine), EventHistory(), consumer, Tunables())
    await listener.open()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(listener.read())]
        await engine.sent.wait()
        engine.send(1)
        assert not consumer.applied  # a list comes first
        tasks.append(group.create_task(listener.apply()))
        await eventually(lambda: consumer.applied == [1], "the first one is applied")
        engine.send(2, 3)
        assert consumer.applied == [1, 2, 3]
        many = range(4, 4 + 2 * TURN)
        engine.send(*many)
        engine.send(1000)
        assert consumer.applied == [1, 2, 3]
        await eventually(lambda: consumer.applied[-1] == 1000, "all are applied")
        for task in tasks:
            task.cancel()
    assert consumer.applied == [1, 2, 3, *many, 1000]
