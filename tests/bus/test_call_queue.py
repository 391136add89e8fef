"""The order and the bounds of queued calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from koi_agent.bus.call_queue import (
    CALL_OVERHEAD,
    KEPT,
    QUEUE_LIMIT,
    SENDER_LIMIT,
    TIME_SLICE,
    UNKNOWN_SENDER_LIMIT,
    USER_LIMIT,
    CallQueue,
)
from koi_agent.bus.client import Connection
from koi_agent.bus.messages import Header, Message, MessageType
from koi_agent.core.ration import BURST, SHARE
from tests.http.serving import PATIENCE, until

BIG = bytes(SENDER_LIMIT - CALL_OVERHEAD)
"""The arguments of the largest call that a sender can queue."""

COST = TIME_SLICE / 2
"""Seconds that an answer takes."""


class Link:
    """A connection whose bus reads at once."""

    async def drain(self) -> None:
        pass


LINK = cast("Connection", Link())


class Queue:
    """A queue, and the senders of the calls that it answered; root is privileged."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.held: set[int] = set()
        self.time = 0.0
        self.large: dict[str, asyncio.Future[None]] = {}
        self.queue = CallQueue(self._answer, (0,), self.held.__contains__, lambda: self.time)
        self.assign, self.drop = self.queue.assign, self.queue.drop

    def _answer(
        self, _connection: Connection, message: Message, uid: int
    ) -> asyncio.Future[None] | None:
        self.answered.append(f"{uid}{message.header.sender}")
        self.time += COST
        return self.large.get(message.header.sender)

    def call(self, sender: str, uid: int | None, body: bytes = b"") -> bool:
        message = Message(Header(kind=MessageType.CALL, sender=sender), body, 108)
        return self.queue.add(LINK, message, uid)

    async def all(self) -> list[str]:
        """Answer all calls; return their users and senders."""
        async with self.running():
            await until(lambda: not self.queue._calls)
        return self.answered

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.queue.run())
            yield
            task.cancel()

    async def exhausted(self) -> int:
        """Wait until all calls wait for a ration; return how many were answered."""
        await until(lambda: bool(self.queue._calls) and self.queue._first() is None)
        return len(self.answered)


async def test_user_with_many_connections_has_one_turn() -> None:
    queue = Queue()
    for number in range(50):
        for _ in range(4):
            assert queue.call(f":a{number}", 1)
    for _ in range(3):
        assert queue.call(":b", 2)
    answered = await queue.all()
    assert len(answered) == 203
    assert [at for at, one in enumerate(answered) if one == "2:b"] == [1, 3, 5]


async def test_connections_of_user_have_turns_and_keep_their_order() -> None:
    queue = Queue()
    for sender in (":a", ":a", ":a", ":b"):
        queue.call(sender, 1)
    assert await queue.all() == ["1:a", "1:b", "1:a", "1:a"]


async def test_call_waits_for_its_user() -> None:
    queue = Queue()
    for sender in (":a", ":a", ":b"):
        assert queue.call(sender, None)
    queue.call(":c", 1)
    assert await queue.all() == ["1:c"]
    assert not queue.assign(":a", 2)
    assert await queue.all() == ["1:c", "2:a", "2:a"]


async def test_calls_of_lost_sender_are_dropped() -> None:
    queue = Queue()
    for uid in (1, None):
        for sender in (":a", ":b"):
            queue.call(sender, uid)
    queue.drop(":a")
    assert not queue.assign(":a", 1)
    queue.assign(":b", 1)
    assert await queue.all() == ["1:b", "1:b"]


async def test_dropped_calls_leave_room() -> None:
    queue = Queue()
    for _ in range(100):
        assert queue.call(":a", 1, BIG)
        assert queue.call(":b", None)
        queue.drop(":a")
        queue.drop(":b")
        for _ in range(UNKNOWN_SENDER_LIMIT // CALL_OVERHEAD):
            assert queue.call(":b", None)
        queue.queue.clear()


async def test_sender_and_user_are_bounded() -> None:
    queue = Queue()
    assert queue.call(":a", 1, BIG)
    assert not queue.call(":a", 1)
    for number in range(USER_LIMIT // SENDER_LIMIT - 1):
        assert queue.call(f":a{number}", 1, BIG)
    assert not queue.call(":b", 1)
    assert queue.call(":c", 2)


async def test_queue_that_users_filled_has_room_for_root() -> None:
    queue = Queue()
    for number in range((QUEUE_LIMIT - KEPT) // SENDER_LIMIT):
        assert queue.call(f":a{number}", 1 + number // 4, BIG)
    assert not queue.call(":b", 99)
    assert queue.call(":root", 0)


async def test_waiting_sender_is_bounded_and_what_its_user_cannot_queue_is_returned() -> None:
    queue = Queue()
    for _ in range(UNKNOWN_SENDER_LIMIT // CALL_OVERHEAD):
        assert queue.call(":a", None)
    assert not queue.call(":a", None)
    assert queue.call(":b", None)
    for number in range(USER_LIMIT // SENDER_LIMIT):
        assert queue.call(f":c{number}", 1, BIG)
    assert len(queue.assign(":b", 1)) == 1


async def test_user_that_always_has_more_calls_is_answered_a_part_of_the_time() -> None:
    queue = Queue()
    for number in range(1000):
        for _ in range(2):
            assert queue.call(f":a{number}", 1)
    async with queue.running():
        at_once = await queue.exhausted()
        assert BURST - COST <= at_once * COST <= (BURST + COST) / (1 - SHARE)
        queue.time += 1
        later = await queue.exhausted() - at_once
        assert SHARE - 2 * COST <= later * COST <= (SHARE + 2 * COST) / (1 - SHARE)


async def test_others_are_answered_while_a_user_waits() -> None:
    queue = Queue()
    for _ in range(1500):
        assert queue.call(":a", 1)
    async with queue.running():
        count = await queue.exhausted()
        for sender, uid in ((":b", 2), (":root", 0)):
            for _ in range(3):
                queue.call(sender, uid)
        await until(lambda: len(queue.answered) >= count + 6)
    assert queue.answered[count : count + 6] == ["0:root"] * 3 + ["2:b"] * 3


async def test_user_that_waits_for_each_reply_is_never_paused() -> None:
    queue = Queue()
    async with queue.running():
        for number in range(round(3 * BURST / COST)):
            queue.call(":a", 1)
            async with asyncio.timeout(PATIENCE):
                while len(queue.answered) <= number:  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0)
        assert queue.queue._ration.pause(1) > 0


async def test_root_is_never_paused() -> None:
    queue = Queue()
    for number in range(round(3 * BURST / COST)):
        assert queue.call(f":{number}", 0)
    assert len(await queue.all()) == round(3 * BURST / COST)


async def test_user_that_had_less_comes_first() -> None:
    queue = Queue()
    for uid in (1, 2, 3):
        queue.queue._ration.spend(uid, 1 / uid)
        queue.call(":a", uid)
    assert await queue.all() == ["3:a", "2:a", "1:a"]


async def test_no_reply_overtakes_a_large_one() -> None:
    queue = Queue()
    large = queue.large[":large"] = asyncio.get_running_loop().create_future()
    for sender in (":large", ":b"):
        queue.call(sender, 0)
    async with queue.running():
        await until(lambda: queue.answered == ["0:large"])
        for _ in range(20):
            await asyncio.sleep(0)
        assert queue.answered == ["0:large"]
        large.set_result(None)
        await until(lambda: queue.answered == ["0:large", "0:b"])
