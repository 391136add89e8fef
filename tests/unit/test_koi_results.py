"""The results of a Koi daemon: those that are new count, and the prober checks without any."""

import asyncio
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.health.kept import Checks, Koi
from koi_agent.core.instance import Health
from tests.real.agents import eventually
from tests.unit.fake_koi_server import KoiServer
from tests.unit.fake_koi_wire import Answer, Request, document
from tests.unit.koi_sessions import SETTINGS, koi, opened
from tests.unit.test_koi_health import NAME, A, B, Registry, check, names, set_result

OTHER = "koi-runtime:docker:b"
VALUES: tuple[Any, ...] = (None, True, 1, 1e400, "", "\udc80", [], ["x"], {}, {"x": [{}]})

__all__ = ["koi"]


async def test_the_prober_checks_while_the_daemon_has_no_new_result(koi: KoiServer) -> None:
    registry = Registry()
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(port=1)])
        await eventually(lambda: names(koi) == [NAME], "the check")
        set_result(koi, "up")
        await registry.has(Health.HEALTHY)
        await registry.has(Health.UNHEALTHY)  # the daemon says "up", and that is old
        assert (last := registry.last())
        assert "by the Koi daemon" not in last.message

        def is_back() -> bool:
            set_result(koi, "up")
            found = registry.last()
            return found is not None and found.message == "up, by the Koi daemon"

        await eventually(is_back, "the daemon checks again")


@pytest.mark.parametrize("at", ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "yesterday"])
async def test_a_result_is_new_whatever_the_clock_says(koi: KoiServer, at: str) -> None:
    registry = Registry()
    koi.daemon.checks.results[NAME] = "down"
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(unhealthy_after=1, interval=3.0)])
        await eventually(lambda: names(koi) == [NAME], "the check")
        koi.daemon.checks.results[NAME] = "up"
        koi.daemon.checks.at = at
        await registry.has(Health.HEALTHY)
        assert Health.UNHEALTHY not in {
            one.status and one.status.health for one in registry.received
        }


async def test_a_result_of_any_form_costs_no_other_one(koi: KoiServer) -> None:
    registry = Registry()
    tried = 0

    def trouble(request: Request) -> Answer | None:
        nonlocal tried
        if request.path != "/v1/health/status":
            return None
        found = koi.daemon.call("GET", request.path).json()["services"]
        bad = [
            {**one, field: value}
            for one in found
            if one["name"] == NAME
            for field in one
            for value in VALUES
        ]
        tried = max(tried, len(bad))
        return document({"services": [*VALUES, *bad, *found]})

    koi.trouble = trouble
    async with opened(Koi(SETTINGS, registry)) as made:
        await made.session.put(A, [check(interval=2.0)])
        await made.session.put(B, [check(interval=2.0)])
        await eventually(lambda: names(koi) == [NAME, OTHER], "the checks")
        set_result(koi, "up")
        set_result(koi, "up", OTHER)
        await registry.has(Health.HEALTHY, B)
    assert tried > 50


async def test_a_run_that_begins_without_a_session_has_no_health_of_the_one_before(
    koi: KoiServer,
) -> None:
    registry = Registry()
    provider = Checks(SETTINGS, registry)
    feed = Feed("health", provider, lambda _: None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        feed.want(A, (check(interval=30.0),))
        feed.want(B, (check(interval=30.0),))
        feed.complete()
        await eventually(lambda: names(koi) == [NAME, OTHER], "the checks")
        set_result(koi, "up")
        set_result(koi, "up", OTHER)
        await registry.has(Health.HEALTHY)
        await registry.has(Health.HEALTHY, B)
        await koi.kill()
        await eventually(lambda: feed.status(A)[0].reason, "no session")
        feed.interrupt(A)
        feed.want(A, (check(interval=30.0),))
        feed.want(B, ())
        before = len(registry.received)
        koi.daemon.start()
        await koi.start()
        await eventually(lambda: len(registry.received) > before + 1, "the next session")
        await eventually(lambda: names(koi) == [NAME], "the check of the next run")
        assert (last := registry.last())
        assert last.health is Health.STARTING
        assert registry.last(B) is None
        running.cancel()
