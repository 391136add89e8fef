"""Score is kept of real sockets: one success makes healthy, several failures unhealthy."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.health.checker import Checker
from koi_agent.core.checks import CheckKind, HealthCheck
from koi_agent.core.instance import Health
from tests.real.agents import eventually

Found = list[tuple[str, Health, str]]


def check(port: int, interval: float = 0.01) -> HealthCheck:
    return HealthCheck(
        kind=CheckKind.TCP, address="127.0.0.1", port=port, interval=interval, timeout=1.0
    )


@asynccontextmanager
async def checking(unhealthy_after: int = 2) -> AsyncIterator[tuple[Checker, Found]]:
    found: Found = []
    checker = Checker(lambda *said: found.append(said), unhealthy_after)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(checker.run())
        try:
            yield checker, found
        finally:
            task.cancel()


async def until(found: Found, health: Health, key: str = "a") -> None:
    await eventually(lambda: any(said[:2] == (key, health) for said in found), health)


async def test_health_follows_what_listens() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
        async with checking() as (checker, found):
            checker.want("a", check(port))
            assert found == [("a", Health.STARTING, "")]
            await until(found, Health.UNHEALTHY)
            assert found[1:] == [
                ("a", Health.STARTING, "connection refused"),
                ("a", Health.UNHEALTHY, "connection refused"),
            ]
            door.listen()
            await until(found, Health.HEALTHY)
            assert found[-1] == ("a", Health.HEALTHY, "connected")
            (status,) = checker.status()
            assert status.last_ok == status.last_checked > 0
            assert checker.counts["failure"] >= 2


async def test_who_is_not_to_be_asked_any_more_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        async with checking() as (checker, found):
            for key in "ab":
                checker.want(key, check(port))
            await until(found, Health.HEALTHY)
            await until(found, Health.HEALTHY, "b")
            checker.forget("b")
            checker.want("a", None)
            assert found[-1] == ("a", Health.NONE, "")
            assert not [said for said in found if said[:2] == ("b", Health.NONE)]
            await asyncio.sleep(0.3)
            asked = checker.counts["success"]
            await asyncio.sleep(0.6)
            assert checker.counts["success"] == asked


async def test_a_check_that_changes_keeps_its_health_until_it_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        async with checking() as (checker, found):
            checker.want("a", check(port))
            await until(found, Health.HEALTHY)
            checker.want("a", check(port, interval=5.0))
            assert found[-1] == ("a", Health.HEALTHY, "connected")


async def test_thousands_share_a_few_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as door:
        port = door.getsockname()[1]
        async with checking() as (checker, _):
            for number in range(300):
                checker.want(f"a{number}", check(port, interval=60.0))
            await eventually(lambda: checker.counts["success"] == 300, "all are asked", seconds=20)


async def test_who_hangs_and_is_forgotten_makes_room_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        hanging = HealthCheck(
            kind=CheckKind.HTTP,
            address="127.0.0.1",
            port=silent.getsockname()[1],
            interval=0.01,
            timeout=300.0,
        )
        with socket.create_server(("127.0.0.1", 0)) as door:
            async with checking() as (checker, found):
                for number in range(64):
                    checker.want(f"a{number}", hanging)
                await asyncio.sleep(0.5)
                checker.want("b", check(door.getsockname()[1]))
                for number in range(64):
                    checker.forget(f"a{number}")
                await until(found, Health.HEALTHY, "b")
