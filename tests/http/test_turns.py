"""The turns of requests: those of one client wait for each other, and no others do."""

import asyncio

from koi_agent.core.ration import BURST, SHARE
from koi_agent.publishers.http.turns import REQUEST_COST, Turns
from tests.http.serving import until


class Handler:
    """Handles requests, each of which takes ``COST`` seconds of a clock that it sets."""

    COST = 0.05

    def __init__(self) -> None:
        self.time = 0.0
        self.turns = Turns(lambda: self.time)
        self.handled: list[int] = []

    async def request(self, client: int) -> None:
        async with self.turns.turn(client):
            self.time += self.COST
            self.handled.append(client)
            await asyncio.sleep(0)


async def test_client_that_always_has_more_requests_waits_and_others_do_not() -> None:
    handler = Handler()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(handler.request(1)) for _ in range(200)]
        # What is used comes back meanwhile at the rate of SHARE.
        enough = round(BURST / (Handler.COST + REQUEST_COST) / (1 - SHARE)) - 2
        await until(lambda: len(handler.handled) >= enough)
        await until(lambda: handler.turns._ration.pause(1) > 0)
        for _ in range(50):
            await handler.request(2)
        assert len(handler.handled) < 200 + 50
        for task in tasks:
            task.cancel()
    assert not handler.turns._requests


async def test_client_that_waits_for_each_response_never_waits_for_its_ration() -> None:
    handler = Handler()
    for _ in range(round(3 * BURST / Handler.COST)):
        await handler.request(1)
    assert handler.turns._ration.pause(1) > 0


async def test_one_request_of_a_client_is_handled_at_a_time() -> None:
    turns = Turns()
    async with turns.turn(1), asyncio.TaskGroup() as group:
        second = group.create_task(turns.turn(1).__aenter__())
        async with turns.turn(2):
            pass
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        second.cancel()
