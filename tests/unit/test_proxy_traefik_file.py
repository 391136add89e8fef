"""The file for Traefik: complete at each moment, and written only if the routes differ."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.proxy.providers import Traefik
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.capabilities.proxy.traefik import document
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route
from tests.unit.virtual_time import in_virtual_time

WIKI = route("a", "wiki.internal")
SHOP = route("c", "shop.internal", port=8443, scheme="https", address="172.17.0.5", to=443)


@asynccontextmanager
async def session(
    path: Path, reported: dict[Key, Sequence[RecordStatus]] | None = None
) -> AsyncIterator[ProviderSession[Route]]:
    report = reported if reported is not None else {}
    provider = Traefik("system", str(path))
    async with provider.session(report.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        yield opened
        running.cancel()


def content(path: Path) -> Any:
    first, _, rest = path.read_text().partition("\n")
    assert first.startswith("# Written by koi-runtime, agent ")
    return json.loads(rest)


@in_virtual_time
async def test_the_file_has_all_routes_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(path, reported) as opened:
        await put(opened, WIKI, SHOP)
        await asyncio.sleep(5)
        assert not path.exists()
        assert [one.state for one in reported[key("a")]] == [RecordState.WANTED]
        complete(opened)
        await asyncio.sleep(1)
        assert content(path) == document(sites([WIKI, SHOP]))
        assert path.stat().st_mode & 0o777 == 0o644
        assert [one.state for one in reported[key("a")]] == [RecordState.ANNOUNCED]
        await opened.put(key("a"), [])
        await asyncio.sleep(1)
        assert content(path) == document(sites([SHOP]))
    assert content(path) == document(sites([SHOP]))
    await Traefik("system", str(path)).withdraw()
    assert content(path) == {}


@in_virtual_time
async def test_the_file_of_a_killed_agent_stays_until_the_routes_are_complete(
    tmp_path: Path,
) -> None:
    path = tmp_path / "koi.yml"
    async with session(path) as opened:
        await put(opened, WIKI)
        complete(opened)
        await asyncio.sleep(1)
        killed = path.read_text()
    path.write_text(killed)
    async with session(path) as opened:
        await put(opened, SHOP)
        await asyncio.sleep(1)
        assert path.read_text() == killed
        complete(opened)
        await asyncio.sleep(1)
        assert content(path) == document(sites([SHOP]))


@in_virtual_time
async def test_a_file_with_the_wanted_routes_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    async with session(path) as opened:
        await put(opened, WIKI)
        complete(opened)
        await asyncio.sleep(1)
        text = path.read_text()
    path.write_text(text)
    before = path.stat()
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(path, reported) as opened:
        await put(opened, WIKI)
        complete(opened)
        await asyncio.sleep(1)
        await put(opened, SHOP)
        await opened.put(SHOP.owner, [])
        await asyncio.sleep(1)
        assert path.stat().st_ino == before.st_ino
        assert path.read_text() == text
        assert [one.state for one in reported[key("a")]] == [RecordState.ANNOUNCED]
        await put(opened, SHOP)
        await asyncio.sleep(1)
        assert path.stat().st_ino != before.st_ino


@pytest.mark.parametrize("late", range(8))
@in_virtual_time
async def test_a_route_is_announced_once_it_is_in_the_file(tmp_path: Path, late: int) -> None:
    path = tmp_path / "koi.yml"
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(path, reported) as opened:
        await put(opened, WIKI)
        complete(opened)
        for turn in range(20):
            await asyncio.sleep(0)
            if turn == late:
                await put(opened, SHOP)
            text = path.read_text() if path.exists() else ""
            for owner, host in (("a", "wiki.internal"), ("c", "shop.internal")):
                known = reported.get(key(owner), ())
                is_announced = RecordState.ANNOUNCED in [one.state for one in known]
                assert is_announced == (host in text)
        await asyncio.sleep(1)
        assert {one.state for of in reported.values() for one in of} == {RecordState.ANNOUNCED}


@in_virtual_time
async def test_routes_go_with_an_agent_that_ends_after_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    feed = Feed("proxy traefik", Traefik("system", str(path)), lambda _owner: None)
    feed.want(WIKI.owner, (WIKI,))
    feed.complete()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run())
        await asyncio.sleep(1)
        text = path.read_text()
        path.unlink()
        path.mkdir()  # a write fails now
        feed.want(SHOP.owner, (SHOP,))
        await asyncio.sleep(1)
        assert "not a regular file" in feed.status(SHOP.owner)[0].reason
        path.rmdir()
        path.write_text(text)
        feeding.cancel()
    assert content(path) == {}


async def test_at_the_end_a_file_of_others_stays_and_nothing_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "koi.yml"
    path.write_text("of others\n")
    await Traefik("system", str(path)).withdraw()
    await Traefik("system", str(tmp_path / "none" / "koi.yml")).withdraw()
    assert path.read_text() == "of others\n"
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


async def test_at_the_end_a_file_that_was_removed_is_there_without_routes(tmp_path: Path) -> None:
    """Traefik keeps the routes of a file that is removed."""
    path = tmp_path / "koi.yml"
    await Traefik("system", str(path)).withdraw()
    assert content(path) == {}


async def test_a_pipe_in_the_place_of_the_file_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    os.mkfifo(path)
    with pytest.raises(ProviderLost, match="not a regular file"):
        async with session(path):
            pass


@in_virtual_time
async def test_a_file_of_others_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    path.write_text("http:\n  routers: {}\n")
    with pytest.raises(ProviderLost, match="this agent did not write it"):
        async with session(path):
            pass
    assert path.read_text() == "http:\n  routers: {}\n"
    path.unlink()

    async def overwritten() -> None:
        async with session(path) as opened:
            await put(opened, WIKI)
            complete(opened)
            await asyncio.sleep(1)
            path.write_text("of others\n")
            await put(opened, SHOP)
            await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as raised:
        await overwritten()
    assert raised.group_contains(ProviderLost, match="this agent did not write it")
    assert path.read_text() == "of others\n"


@in_virtual_time
async def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    async def written() -> None:
        async with session(tmp_path / "none" / "koi.yml") as opened:
            complete(opened)
            await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as raised:
        await written()
    assert raised.group_contains(ProviderLost, match="TraefikFile=.*No such file")


async def test_without_a_file_the_status_names_the_page() -> None:
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with Traefik("system", "").session(reported.__setitem__) as opened:
        await put(opened, WIKI)
    (status,) = reported[key("a")]
    assert (status.name, status.state) == ("https://wiki.internal", RecordState.WANTED)
    assert "/v1/proxy/traefik" in status.reason
