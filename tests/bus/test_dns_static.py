"""Static records follow systemd-resolved on the bus."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Emits, Interface, Property, interface
from koi_agent.capabilities.dns.providers import FIRST_VERSION, StaticRecords
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.static import file as static_file
from koi_agent.capabilities.dns.static.session import RESOLVED
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost
from tests.bus.tables import playing
from tests.unit.dns_zones import complete, key, named
from tests.world.bus import PrivateBus

WIKI = named("a", "wiki.internal", "192.0.2.1")


@pytest.fixture
def records(bus: PrivateBus, tmp_path: Path) -> StaticRecords:
    file, link = tmp_path / "static.rr", tmp_path / "koi-runtime.rr"
    file.write_text("of an earlier run")
    link.symlink_to(file)
    return StaticRecords(bus.address, file, link, FIRST_VERSION)


def resolved() -> Mapping[str, Interface]:
    return {"/": interface(f"{RESOLVED}.Manager", Property("A", "s", Emits.FALSE, lambda _: ""))}


@asynccontextmanager
async def running(records: StaticRecords) -> AsyncIterator[ProviderSession[Name]]:
    """Run a session; an error that ends it is raised at the end of the block."""
    async with records.session(lambda *_: None) as session, asyncio.TaskGroup() as group:
        complete(session)
        task = group.create_task(session.run())
        yield session
        task.cancel()


def content(records: StaticRecords) -> str:
    return records.file.read_text()


async def written(records: StaticRecords) -> None:
    async with asyncio.timeout(30):
        while "wiki.internal" not in content(records):  # noqa: ASYNC110 - nothing reports a write
            await asyncio.sleep(0.05)


async def test_names_are_withdrawn_at_the_end(records: StaticRecords) -> None:
    async with playing(records.address, RESOLVED, resolved()):
        async with running(records) as session:
            await session.put(key("a"), [WIKI])
            await written(records)
        assert json.loads(content(records)) == []


async def test_a_systemd_resolved_that_goes_takes_no_name_away(records: StaticRecords) -> None:
    async with AsyncExitStack() as played:
        await played.enter_async_context(playing(records.address, RESOLVED, resolved()))
        with pytest.raises(ExceptionGroup) as raised:
            await until_lost(records, played)
    assert raised.group_contains(ProviderLost, match="left the bus")
    assert "wiki.internal" in content(records)


async def until_lost(records: StaticRecords, played: AsyncExitStack) -> None:
    """Run a session, end systemd-resolved, and wait for the end of the session."""
    async with running(records) as session:
        await session.put(key("a"), [WIKI])
        await written(records)
        await played.aclose()
        await asyncio.sleep(60)


async def test_without_systemd_resolved_nothing_is_written(records: StaticRecords) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), records.session(lambda *_: None):
            raise AssertionError("there is a session")
    assert content(records) == "of an earlier run"


async def test_a_link_that_leads_elsewhere_is_named(records: StaticRecords) -> None:
    records.link.unlink()
    async with playing(records.address, RESOLVED, resolved()):
        with pytest.raises(ProviderLost, match="no link to"):
            async with records.session(lambda *_: None):
                raise AssertionError("there is a session")


async def test_a_bus_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = StaticRecords(f"unix:path={tmp_path}/bus", tmp_path, tmp_path, FIRST_VERSION)
    with pytest.raises(ProviderLost, match="bus at unix:path"):
        async with nowhere.session(lambda *_: None):
            raise AssertionError("there is a session")


def test_an_old_systemd_resolved_is_named(tmp_path: Path) -> None:
    old = StaticRecords("", tmp_path, tmp_path, 257)
    assert old.absence.endswith("systemd-resolved 261 or later; version 257 is installed")
    assert not old.is_always_open
    assert static_file.NAME == "static"
