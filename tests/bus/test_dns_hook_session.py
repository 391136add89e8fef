"""The outlet of the hook keeps its names for what follows: a reload, a return, another agent."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.dns.hook.names import NO_NAMES
from koi_agent.capabilities.dns.hook.settings import NO_SERVICE, NO_SOCKET, HookSettings
from koi_agent.capabilities.dns.providers import Hook, StaticRecords
from koi_agent.core.instance import RecordState
from koi_agent.core.plan.full_names import Domains
from koi_agent.host.resolver import RESOLVED
from tests.bus.host_names import WIKI, feeding, resolved
from tests.bus.tables import playing
from tests.unit.dns_zones import DOMAINS
from tests.world.bus import PrivateBus

OTHER = Domains(main="internal", extra=("lab.example",))
TURNS = 25
"""Turns of the event loop in which a loss is noticed, and more."""


@pytest.fixture
def settings(bus: PrivateBus, tmp_path: Path) -> HookSettings:
    """Settings with a socket, and with a file of an earlier run."""
    file, socket, service = (tmp_path / name for name in ("hook.json", "hook.sock", "hook"))
    file.write_text("of an earlier run")
    socket.touch()
    service.mkdir()
    return HookSettings(
        address=bus.address, file=file, socket=socket, service=service, domains=DOMAINS, ttl=30
    )


async def written(settings: HookSettings, text: str) -> None:
    """Wait until a text is in the file; what was there before must have the name."""
    async with asyncio.timeout(30):
        while text not in (content := settings.file.read_text()):
            assert "wiki.internal" in content or content == "of an earlier run"
            await asyncio.sleep(0.001)


async def waits(feed: Feed, reason: str) -> None:
    """Wait until the name has a reason, "" for none."""
    async with asyncio.timeout(30):
        while [one.reason for one in feed.status(WIKI.owner)] != [reason]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_other_settings_take_no_name_away(settings: HookSettings) -> None:
    async with playing(settings.address, RESOLVED, resolved()), feeding(Hook(settings)) as feed:
        await written(settings, "wiki.internal")
        feed.renew(Hook(replace(settings, domains=OTHER)))
        for _ in range(100):  # the names are complete only later
            await asyncio.sleep(0.001)
            assert "wiki.internal" in settings.file.read_text()
        feed.complete()
        await written(settings, "lab.example")
        assert "wiki.internal" in settings.file.read_text()
    assert settings.file.read_text() == NO_NAMES


@pytest.mark.parametrize("kind", ["hook", "static"])
async def test_names_go_with_an_agent_that_ends_at_once_after_a_loss(
    settings: HookSettings, kind: str
) -> None:
    link = settings.file.with_name("link.rr")
    link.symlink_to(settings.file)
    static = StaticRecords(settings.address, settings.file, link)
    async with AsyncExitStack() as played:
        await played.enter_async_context(playing(settings.address, RESOLVED, resolved()))
        async with feeding(Hook(settings) if kind == "hook" else static) as feed:
            await written(settings, "wiki.internal")
            await played.aclose()
            await waits(feed, "systemd-resolved left the bus")
            assert "wiki.internal" in settings.file.read_text()
    assert "wiki.internal" not in settings.file.read_text()


async def test_names_go_with_an_agent_that_ends_in_any_moment_of_a_loss(
    settings: HookSettings,
) -> None:
    async with playing(settings.address, RESOLVED, resolved()):
        for turns in range(TURNS):
            settings.file.write_text("of an earlier run")
            async with feeding(Hook(settings)):
                await written(settings, "wiki.internal")
                settings.socket.unlink()
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert settings.file.read_text() == NO_NAMES, f"{turns} turns"
            settings.socket.touch()


async def test_without_systemd_resolved_names_are_withdrawn_at_the_end(
    settings: HookSettings,
) -> None:
    async with feeding(Hook(settings)):
        await asyncio.sleep(0.5)
        assert settings.file.read_text() == "of an earlier run"
    assert settings.file.read_text() == NO_NAMES


async def test_without_a_socket_the_status_names_it(settings: HookSettings) -> None:
    settings.socket.unlink()
    async with playing(settings.address, RESOLVED, resolved()), feeding(Hook(settings)) as feed:
        await waits(feed, NO_SOCKET)
        settings.socket.touch()
        await written(settings, "wiki.internal")
        settings.socket.unlink()
        await waits(feed, NO_SOCKET)
        assert "wiki.internal" in settings.file.read_text()


async def test_without_the_service_the_status_names_it(settings: HookSettings) -> None:
    """systemd-resolved asks nothing of a hook that an administrator has stopped."""
    async with playing(settings.address, RESOLVED, resolved()), feeding(Hook(settings)) as feed:
        await written(settings, "wiki.internal")
        settings.service.rmdir()
        await waits(feed, NO_SERVICE)
        assert "wiki.internal" in settings.file.read_text()
        settings.service.mkdir()
        await waits(feed, "")
        assert [one.state for one in feed.status(WIKI.owner)] == [RecordState.ANNOUNCED]
