"""The prober checks real sockets: one success makes healthy, several failures unhealthy."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.prober import ProberSession
from koi_agent.capabilities.health.provider import Prober
from koi_agent.core.events import Change, Checked, CheckStatus
from koi_agent.core.instance import CheckKind, Health
from koi_agent.core.key import Key
from koi_agent.core.reach.local import Target
from tests.real.agents import eventually

A, B = Key("docker", "a"), Key("docker", "b")


def check(port: int, interval: float = 0.01, timeout: float = 1.0) -> HealthCheck:
    return HealthCheck(
        kind=CheckKind.TCP,
        targets=(Target("127.0.0.1", port),),
        interval=interval,
        timeout=timeout,
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
    session = ProberSession(results.apply)
    async with asyncio.TaskGroup() as group:
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


async def test_check_of_another_target_keeps_its_health_until_it_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            await session.put(A, [check(port)])
            await until(results, Health.HEALTHY)
            await session.put(A, [replace(check(port, interval=5.0), kind=CheckKind.HTTP)])
            status = results.last()
            assert status
            assert (status.health, status.message) == (Health.HEALTHY, "connected")
            assert status.last_checked == 0


@pytest.mark.parametrize(
    "change",
    [{"unhealthy_after": 1}, {"unhealthy_after": 9}, {"timeout": 0.5}, {"interval": 60.0}, {}],
)
async def test_other_thresholds_forget_nothing(change: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = check(listener.getsockname()[1], interval=30.0)
        async with probing() as (session, results):
            await session.put(A, [before])
            await until(results, Health.HEALTHY)
            old = results.last()
            assert old
            after = replace(before, **change)
            await session.put(A, [after])
            new = replace(old, interval=after.interval, timeout=after.timeout)
            assert results.last() == new


async def test_lower_threshold_counts_the_failures_so_far() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        before = replace(check(unused.getsockname()[1], interval=60.0), unhealthy_after=3)
        async with probing() as (session, results):
            await session.put(A, [before])
            await eventually(lambda: results.count(passed=False) == 1, "it has failed once")
            assert results.of()[-1][0] is Health.STARTING
            await session.put(A, [replace(before, unhealthy_after=1)])
            assert results.of()[-1][0] is Health.UNHEALTHY


async def test_shorter_interval_applies_to_a_check_that_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = check(listener.getsockname()[1], interval=3600.0)
        async with probing() as (session, results):
            await session.put(A, [before])
            await until(results, Health.HEALTHY)
            await session.put(A, [replace(before, interval=0.01)])
            await eventually(lambda: results.count(passed=True) > 2, "it runs often")


@pytest.mark.parametrize("turns", range(8))
async def test_result_of_the_run_before_never_counts_for_the_next(turns: int) -> None:
    """The check ends some turns of the event loop before its instance starts again."""
    results = Results()
    feed = Feed("prober", Prober(results.apply), lambda _owner: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probed = HealthCheck(
            kind=CheckKind.HTTP,
            targets=(Target("127.0.0.1", listener.getsockname()[1]),),
            interval=60.0,
            timeout=60.0,
            unhealthy_after=1,
        )
        listener.setblocking(False)  # noqa: FBT003 - the socket's own
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed.run())
            feed.want(A, (probed,))
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            with connection:
                await asyncio.get_running_loop().sock_recv(connection, 1)
                connection.send(b"HTTP/1.1 200 OK\r\n")
                for _ in range(turns):
                    await asyncio.sleep(0)
                feed.interrupt(A)
                feed.want(A, (probed,))
                before = len(results.received)
                for _ in range(20):
                    await asyncio.sleep(0)
            assert all(one.passed is None for one in results.received[before:])
            feeding.cancel()


async def test_same_check_of_a_restarted_instance_starts_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            await session.put(A, [check(port, interval=0.2)])
            await until(results, Health.HEALTHY)
            session.interrupt(A)
            await session.put(A, [check(port, interval=0.2)])
            status = results.last()
            assert status
            assert (status.health, status.message) == (Health.STARTING, "")


async def test_hundreds_of_checks_share_a_few_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]
        async with probing() as (session, results):
            for number in range(300):
                await session.put(Key("docker", f"a{number}"), [check(port, 60.0, 60.0)])
            await eventually(lambda: results.count(passed=True) == 300, "all have run", seconds=60)


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
