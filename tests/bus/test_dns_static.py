"""Static records follow systemd-resolved on the bus."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.providers import StaticRecords
from koi_agent.core.errors import ProviderLost
from koi_agent.host.resolver import RESOLVED
from tests.bus.host_names import WIKI, feeding, resolved, running, written
from tests.bus.tables import playing
from tests.unit.dns_zones import key
from tests.world.bus import PrivateBus


@pytest.fixture
def records(bus: PrivateBus, tmp_path: Path) -> StaticRecords:
    file, link = tmp_path / "static.rr", tmp_path / "koi-runtime.rr"
    file.write_text("of an earlier run")
    link.symlink_to(file)
    return StaticRecords(bus.address, file, link)


def content(records: StaticRecords) -> str:
    return records.file.read_text()


async def test_names_are_withdrawn_at_the_end(records: StaticRecords) -> None:
    async with playing(records.address, RESOLVED, resolved()):
        async with feeding(records):
            await written(records.file)
        assert json.loads(content(records)) == []


async def test_a_systemd_resolved_that_goes_takes_no_name_away(records: StaticRecords) -> None:
    async with AsyncExitStack() as played:
        await played.enter_async_context(playing(records.address, RESOLVED, resolved()))
        with pytest.raises(ProviderLost, match="left the bus"):
            await until_lost(records, played)
    assert "wiki.internal" in content(records)


async def until_lost(records: StaticRecords, played: AsyncExitStack) -> None:
    """Run a session, end systemd-resolved, and wait for the end of the session."""
    async with running(records) as session:
        await session.put(key("a"), [WIKI])
        await written(records.file)
        await played.aclose()
        await asyncio.sleep(60)


async def test_without_systemd_resolved_the_names_of_an_earlier_run_go_with_the_agent(
    records: StaticRecords,
) -> None:
    async with feeding(records):
        await asyncio.sleep(0.5)
        assert content(records) == "of an earlier run"
    assert content(records) == "[]\n"


async def test_a_link_that_leads_elsewhere_is_named(records: StaticRecords) -> None:
    records.link.unlink()
    async with playing(records.address, RESOLVED, resolved()):
        with pytest.raises(ProviderLost, match="no link to"):
            async with records.session(lambda *_: None):
                raise AssertionError("there is a session")


async def test_a_bus_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = StaticRecords(f"unix:path={tmp_path}/bus", tmp_path, tmp_path)
    with pytest.raises(ProviderLost, match="bus at unix:path"):
        async with nowhere.session(lambda *_: None):
            raise AssertionError("there is a session")


async def test_an_obstacle_is_named_and_ends_no_session(tmp_path: Path) -> None:
    file = tmp_path / "static.rr"
    file.write_text("of another agent")
    never = StaticRecords("", file, tmp_path, "systemd-resolved is too old")
    assert never.absence == "systemd-resolved is too old"
    assert not never.is_always_open
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), never.session(lambda *_: None):
            raise AssertionError("there is a session")
    await never.withdraw()
    assert file.read_text() == "of another agent"
