"""The prober checks real sockets: one success makes healthy, several failures unhealthy."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.prober import Prober, ProberSession
from koi_agent.core.events import Change, Checked, CheckStatus
from koi_agent.core.instance import CheckKind, Health
from koi_agent.core.key import Key
from koi_agent.core.reach.local import Target
from tests.real.agents import eventually

A, B = Key("docker", "a"), Key("docker", "b")


def check(port: int, interval: float = 0.01) -> HealthCheck:
    return HealthCheck(
        kind=CheckKind.TCP,
        targets=(Target("127.0.0.1", port),),
        interval=interval,
        timeout=1.0,
        unhealthy_after=2,
    )


class Results:
    """The results that a prober hands to the registry."""

    def __init__(self) -> None:
        self.received: list[Checked] = []

    def apply(self, change: Change) -> None:
        assert isinstance(change, Checked)
        self.received.append(change)

    def of(self, key: Key = A) -> list[tuple[Health, str]]:
        """Return health and message of each result for an instance that differs from the last."""
        found: list[tuple[Health, str]] = []
        for one in self.received:
            if one.key == key and one.status:
                result = one.status.health, one.status.message
                found += [] if found[-1:] == [result] else [result]
        return found

    def last(self, key: Key = A) -> CheckStatus | None:
        return [one.status for one in self.received if one.key == key][-1]

    def count(self, *, passed: bool) -> int:
        return sum(one.passed is passed for one in self.received)


@asynccontextmanager
async def probing() -> AsyncIterator[tuple[ProberSession, Results]]:
    results = Results()
    async with (
        Prober(results.apply).session(lambda _key, _status: None) as session,
        asyncio.TaskGroup() as group,
    ):
        task = group.create_task(session.run())
        try:
            yield session, results
        finally:
            task.cancel()


async def until(results: Results, health: Health, key: Key = A) -> None:
    await eventually(lambda: any(one == health for one, _ in results.of(key)), health)


async def test_health_follows_the_listener() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            await session.put(A, [check(port)])
            assert results.of() == [(Health.STARTING, "")]
            await until(results, Health.UNHEALTHY)
            assert results.of()[1:] == [
                (Health.STARTING, "connection refused"),
                (Health.UNHEALTHY, "connection refused"),
            ]
            listener.listen()
            await until(results, Health.HEALTHY)
            assert results.of()[-1] == (Health.HEALTHY, "connected")
            status = results.last()
            assert status
            assert status.last_ok == status.last_checked > 0
            assert results.count(passed=False) >= 2


async def test_withdrawn_check_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            for key in (A, B):
                await session.put(key, [check(port)])
            await until(results, Health.HEALTHY)
            await until(results, Health.HEALTHY, B)
            for key in (A, B):
                await session.put(key, [])
                assert results.last(key) is None
            await asyncio.sleep(0.3)
            count = results.count(passed=True)
            await asyncio.sleep(0.6)
            assert results.count(passed=True) == count


async def test_changed_check_keeps_its_health_until_it_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            await session.put(A, [check(port)])
            await until(results, Health.HEALTHY)
            await session.put(A, [check(port, interval=5.0)])
            status = results.last()
            assert status
            assert (status.health, status.message) == (Health.HEALTHY, "connected")


async def test_same_check_of_a_restarted_instance_starts_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            await session.put(A, [check(port, interval=0.2)])
            await until(results, Health.HEALTHY)
            await session.put(A, [check(port, interval=0.2)])
            status = results.last()
            assert status
            assert (status.health, status.message) == (Health.STARTING, "")


async def test_hundreds_of_checks_share_a_few_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            for number in range(300):
                await session.put(Key("docker", f"a{number}"), [check(port, interval=60.0)])
            await eventually(lambda: results.count(passed=True) == 300, "all have run", seconds=20)


async def test_withdrawn_check_frees_its_slot_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        hanging = HealthCheck(
            kind=CheckKind.HTTP,
            targets=(Target("127.0.0.1", silent.getsockname()[1]),),
            interval=0.01,
            timeout=300.0,
            unhealthy_after=2,
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with probing() as (session, results):
                keys = [Key("docker", f"a{number}") for number in range(64)]
                for key in keys:
                    await session.put(key, [hanging])
                await asyncio.sleep(0.5)
                await session.put(B, [check(listener.getsockname()[1])])
                for key in keys:
                    await session.put(key, [])
                await until(results, Health.HEALTHY, B)
