"""Health checks by a Koi daemon, and by the prober where the daemon can't."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.kept import Checks, Koi, Results
from koi_agent.capabilities.health.koi import body_of
from koi_agent.core.events import Checked, CheckStatus
from koi_agent.core.instance import CheckKind, Health
from koi_agent.core.key import Key
from koi_agent.core.reach.local import Target
from tests.real.agents import eventually
from tests.unit.fake_koi_server import KoiServer
from tests.unit.koi_sessions import SETTINGS, koi, opened

A, B = Key("docker", "a"), Key("docker", "b")
NAME = "koi-runtime:docker:a"

__all__ = ["koi"]


def check(*addresses: str, port: int = 80, **fields: Any) -> HealthCheck:
    targets = tuple(Target(one, port) for one in addresses or ("127.0.0.1", "::1"))
    given: dict[str, Any] = {
        "kind": CheckKind.TCP,
        "interval": 1.0,
        "timeout": 0.5,
        "unhealthy_after": 2,
    }
    return HealthCheck(targets=targets, **(given | fields))


class Registry:
    """The results that were applied."""

    def __init__(self) -> None:
        self.received: list[Checked] = []

    def __call__(self, change: Any) -> None:
        self.received.append(change)

    def last(self, key: Key = A) -> CheckStatus | None:
        found = [one.status for one in self.received if one.key == key]
        return found[-1] if found else None

    async def has(self, health: Health, key: Key = A) -> None:
        await eventually(lambda: (one := self.last(key)) and one.health is health, f"{health}")


def names(koi: KoiServer) -> list[str]:
    return sorted(one["name"] for one in koi.daemon.checks.held)


def set_result(koi: KoiServer, result: str, name: str = NAME) -> None:
    """Set a result of this moment."""
    koi.daemon.checks.results[name] = result
    koi.daemon.checks.at = datetime.now(UTC).isoformat()


@pytest.mark.parametrize(
    ("made", "target"),
    [
        (check(), "127.0.0.1:80"),
        (check("::1", "10.0.0.1"), "10.0.0.1:80"),
        (check(kind=CheckKind.HTTP, path="/health?x=1"), "http://127.0.0.1:80/health?x=1"),
        (check("::1"), None),
        (check(kind=CheckKind.HTTP, scheme="https"), None),
        (check(kind=CheckKind.HTTP, host="web.local"), None),
    ],
)
def test_a_daemon_gets_what_it_can_check(made: HealthCheck, target: str | None) -> None:
    body = body_of(A, made)
    assert (body and body["target"]) == target
    if body:
        assert (body["interval_secs"], body["timeout_secs"], body["name"]) == (1, 1, NAME)


async def test_results_of_the_daemon_make_healthy_and_unhealthy(koi: KoiServer) -> None:
    registry = Registry()
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(interval=2.0)])
        await registry.has(Health.STARTING)
        await eventually(lambda: names(koi) == [NAME], "the check")
        set_result(koi, "up")
        await registry.has(Health.HEALTHY)
        set_result(koi, "down")
        await eventually(lambda: [one.passed for one in registry.received][-1:] == [False], "down")
        assert (last := registry.last())
        assert (last.health, last.message) == (Health.HEALTHY, "down, by the Koi daemon")
        set_result(koi, "down")
        await registry.has(Health.UNHEALTHY)
        await made.session.put(A, ())
        assert registry.received[-1] == Checked(A, None)
        await eventually(lambda: not names(koi), "no check")


async def test_results_from_before_do_not_count(koi: KoiServer) -> None:
    def reads() -> int:
        return len([one for one in koi.daemon.requests if one.path == "/v1/health/status"])

    registry = Registry()
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(unhealthy_after=1, interval=2.0)])
        await eventually(lambda: names(koi) == [NAME], "the check")
        set_result(koi, "down")
        await registry.has(Health.UNHEALTHY)
        session: Any = made.session
        session.interrupt(A)
        before, read = len(registry.received), reads()
        await made.session.put(A, [check(unhealthy_after=1, interval=2.0)])
        await eventually(lambda: reads() > read + 2, "the results were read")
        found = {one.status and one.status.health for one in registry.received[before:]}
        assert found == {Health.STARTING}


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made.getsockname()[1]


async def test_the_prober_runs_what_the_daemon_does_not(koi: KoiServer, listener: int) -> None:
    other = {"name": NAME, "kind": "tcp", "target": "127.0.0.1:9"}
    koi.daemon.call("POST", "/v1/health/add", other)
    registry = Registry()
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(port=listener)])
        await made.session.put(B, [check("::ffff:127.0.0.1", port=listener)])
        await registry.has(Health.HEALTHY, A)
        await eventually(lambda: registry.last(B), "the prober has the other check, too")
        assert names(koi) == [NAME]
        koi.daemon.call("DELETE", f"/v1/health/remove/{NAME}")
    assert names(koi) == []


async def test_an_interrupted_check_ends_at_the_daemon(koi: KoiServer) -> None:
    registry = Registry()
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check()])
        await eventually(lambda: names(koi) == [NAME], "the check")
        before = len(registry.received)
        session: Any = made.session
        session.interrupt(A)
        set_result(koi, "down")
        await eventually(lambda: not names(koi), "no check")
        assert len(registry.received) == before


def test_another_provider_begins_with_the_last_health() -> None:
    registry = Registry()
    results = Results(registry)

    def apply(health: Health) -> Health:
        status = CheckStatus(
            kind=CheckKind.TCP, target="", interval=1, timeout=1, health=health, message="x"
        )
        results(Checked(A, status))
        last = registry.last()
        assert last
        return last.health

    assert apply(Health.STARTING) is Health.STARTING
    assert apply(Health.UNHEALTHY) is Health.UNHEALTHY
    assert apply(Health.STARTING) is Health.UNHEALTHY
    assert apply(Health.HEALTHY) is Health.HEALTHY
    assert apply(Health.STARTING) is Health.HEALTHY
    results.forget(A)
    assert apply(Health.STARTING) is Health.STARTING
    apply(Health.HEALTHY)
    results(Checked(A, None))
    assert registry.last() is None
    assert apply(Health.STARTING) is Health.STARTING


async def test_the_prober_takes_over_and_keeps_the_health(koi: KoiServer, listener: int) -> None:
    """The daemon is killed, and the prober goes on until the daemon is back."""
    registry = Registry()
    provider = Checks(replace(SETTINGS, has_fallback=True), registry)
    feed = Feed("health", provider, lambda _: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        feed.want(A, (check(port=listener, interval=1.0),))
        feed.complete()
        await eventually(lambda: names(koi) == [NAME], "the check")
        set_result(koi, "up")
        await registry.has(Health.HEALTHY)
        await koi.kill()
        before = len(registry.received)
        await eventually(lambda: len(registry.received) > before + 2, "the prober")
        koi.daemon.start()
        await koi.start()

        def is_back() -> bool:
            set_result(koi, "up")
            last = registry.last()
            return last is not None and last.message == "up, by the Koi daemon"

        await eventually(is_back, "the daemon checks again")
        found = {one.status and one.status.health for one in registry.received[before:]}
        assert found == {Health.HEALTHY}
        running.cancel()
