"""A Koi daemon is preferred, and another provider acts while it can't be used."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, Never

import pytest

from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.preferred import Preferred
from tests.unit.fake_koi_server import BROKEN, GARBAGE, NOT_FOUND, UNAUTHORIZED
from tests.unit.fake_koi_wire import Answer
from tests.unit.koi_sessions import SETTINGS
from tests.unit.koi_world import Event, Provider, World, run_with_agent

WANT = Event(0, "want", "x", 0)


class Other:
    """Another provider; ``held`` are the owners whose records it has."""

    absence = "it is not here"

    def __init__(self, world: World) -> None:
        self.held: set[Key] = set()
        self.sessions = 0
        self._world = world

    def session(self, _report: Report) -> AbstractAsyncContextManager[ProviderSession[Any]]:
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ProviderSession[Any]]:
        self.sessions += 1
        try:
            yield self
        finally:
            assert not self._world.held(), "both announce the service"
            self.held.clear()

    async def put(self, owner: Key, records: Sequence[Any]) -> None:
        assert not self._world.held(), "both announce the service"
        (self.held.add if records else self.held.discard)(owner)

    async def run(self) -> Never:
        await asyncio.Event().wait()
        raise AssertionError


def preferred(world: World) -> Other:
    """Start an agent that prefers the daemon to another provider; return the other one."""
    other, settings = Other(world), replace(SETTINGS, has_fallback=True)
    world.provider = Preferred("mdns", settings, Provider("mdns", settings), other)
    world.start()
    return other


async def is_announced(world: World) -> bool:
    await asyncio.sleep(20)
    return bool(world.held())


def test_the_other_provider_acts_while_the_daemon_is_away() -> None:
    async def happening(world: World) -> None:
        other = preferred(world)
        await world.act(WANT)
        assert await is_announced(world)
        for sessions in (1, 2):
            await world.server.kill()
            world.server.daemon.start()
            await asyncio.sleep(20)
            assert other.held
            await world.server.start()
            assert await is_announced(world)
            assert not other.held
            assert other.sessions == sessions
            await asyncio.sleep(120)

    run_with_agent("mdns", happening, starts=False)


def test_a_change_to_the_daemon_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    async def happening(world: World) -> None:
        await world.server.kill()
        preferred(world)
        await world.act(WANT)
        await asyncio.sleep(60)
        caplog.clear()
        await world.server.start()
        assert await is_announced(world)

    with caplog.at_level("INFO"):
        run_with_agent("mdns", happening, starts=False)
    found = [one.levelname for one in caplog.records if "available now" in one.getMessage()]
    assert found == ["INFO"]
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


def test_a_restart_of_the_daemon_is_waited_for() -> None:
    async def happening(world: World) -> None:
        other = preferred(world)
        await world.act(WANT)
        await asyncio.sleep(100)
        await world.server.kill()
        world.server.daemon.start()
        await asyncio.sleep(1)
        await world.server.start()
        assert await is_announced(world)
        assert not other.sessions

    run_with_agent("mdns", happening, starts=False)


def test_the_other_provider_acts_until_there_is_a_daemon() -> None:
    async def happening(world: World) -> None:
        await world.server.kill()
        world.server.breadcrumb.unlink()
        other = preferred(world)
        await world.act(WANT)
        await asyncio.sleep(600)
        assert other.held
        await world.server.start()
        assert await is_announced(world)

    run_with_agent("mdns", happening, starts=False)


@pytest.mark.parametrize("answer", [BROKEN, NOT_FOUND, UNAUTHORIZED, GARBAGE])
@pytest.mark.parametrize("what", ["list", "changes"])
def test_the_other_provider_acts_while_a_daemon_does_not_work(
    answer: Answer | bytes, what: str
) -> None:
    async def happening(world: World) -> None:
        world.server.trouble = lambda one: (
            answer if (one.method == "GET") == (what == "list") and "/v1/mdns" in one.path else None
        )
        other = preferred(world)
        await world.act(WANT)
        await asyncio.sleep(300)
        assert other.held or (what == "changes" and answer in (BROKEN, NOT_FOUND))
        world.server.trouble = lambda _: None
        await asyncio.sleep(900)
        assert world.held()
        assert not other.held

    run_with_agent("mdns", happening, starts=False)


def test_a_daemon_that_announces_nothing_is_left_for_longer_and_longer() -> None:
    async def happening(world: World) -> None:
        disabled = Answer(503, b'{"error":"capability_disabled","message":"no mDNS"}')
        world.server.trouble = lambda one: disabled if one.path.endswith("announce") else None
        other = preferred(world)
        await world.act(WANT)
        await asyncio.sleep(3600)
        assert other.held
        assert other.sessions < 20
        world.server.trouble = lambda _: None
        await asyncio.sleep(1200)
        assert world.held()

    run_with_agent("mdns", happening, starts=False)
