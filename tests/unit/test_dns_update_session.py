"""A session writes what changes here and on the server, and reports what is true."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from koi_agent.capabilities.dns.update.claims import node_claims
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.session import ASSERT, LOOK, UpdateSession
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.unit.dns_primary import MemoryPrimary
from tests.unit.dns_zones import DOMAINS, key, named
from tests.unit.virtual_time import in_virtual_time

SHOP, NEWS = (named(name[0], f"{name}.internal", "192.0.2.1") for name in ("shop", "news"))
A = ("shop.internal.", "A")


class Opened:
    """A session that runs, and what it reported."""

    def __init__(self, primary: MemoryPrimary, folder: Path, *, releases: bool) -> None:
        self.reported: dict[Key, Sequence[RecordStatus]] = {}
        settings = UpdateSettings(
            scope="user",
            domains=DOMAINS,
            ttl=30,
            server=None,
            zone="internal",
            key="peer",
            key_file="",
            release_on_stop=releases,
        )
        claims = node_claims(folder / "claims", "internal")
        self.session = UpdateSession(
            settings, cast("Primary", primary), claims, "0" * 16, self.reported.__setitem__
        )

    def state(self, id_: str) -> tuple[RecordState, str]:
        (status,) = self.reported[key(id_)]
        return status.state, status.reason


@asynccontextmanager
async def opened(
    primary: MemoryPrimary, folder: Path, *, releases: bool = False
) -> AsyncIterator[Opened]:
    made = Opened(primary, folder, releases=releases)
    await made.session.open()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.session.run(), name="session")
        yield made
        running.cancel()
    await made.session.close()


@in_virtual_time
async def test_a_name_is_announced_when_the_server_has_it(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        assert made.state("s")[0] is RecordState.WANTED
        await asyncio.sleep(1)
        assert made.state("s") == (RecordState.ANNOUNCED, "")
        assert primary.records[A] == {"192.0.2.1"}


@in_virtual_time
async def test_what_another_client_changes_is_mended(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
        del primary.records[A]
        primary.number += 1
        await made.session.put(key("n"), [NEWS])  # its own change must not hide the other one
        await asyncio.sleep(2 * LOOK)
        assert primary.records[A] == {"192.0.2.1"}
        del primary.records[A]  # the zone does not show it in its serial
        await asyncio.sleep(ASSERT + 2 * LOOK)
        assert primary.records[A] == {"192.0.2.1"}


@in_virtual_time
async def test_what_another_client_changes_during_a_write_is_mended(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)

        def drop() -> None:
            del primary.records[A]
            primary.number += 1

        primary.meanwhile = [drop]
        await made.session.put(key("n"), [NEWS])
        await asyncio.sleep(1)
        assert A not in primary.records
        await asyncio.sleep(2 * LOOK)
        assert primary.records[A] == {"192.0.2.1"}


@in_virtual_time
async def test_the_last_update_of_a_killed_agent_may_come_late(tmp_path: Path) -> None:
    primary = MemoryPrimary()

    def late() -> None:
        primary.add("shop.internal.", "A", "192.0.2.1")
        primary.add("_koi.shop.internal.", "TXT", '"koi-runtime 0000000000000000"')

    primary.early = [late]
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
        assert made.state("s") == (RecordState.ANNOUNCED, "")


@in_virtual_time
async def test_an_update_that_changes_nothing_hides_no_change_of_others(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        await made.session.put(key("n"), [NEWS])
        await asyncio.sleep(1)

    def drop() -> None:
        del primary.records[A]
        primary.number += 1

    primary.meanwhile = [drop]
    async with opened(primary, tmp_path) as made:  # it has both names already
        await made.session.put(key("s"), [SHOP])
        await made.session.put(key("n"), [NEWS])
        await asyncio.sleep(2 * LOOK)
        assert primary.records[A] == {"192.0.2.1"}


@in_virtual_time
async def test_a_zone_that_does_not_change_is_not_read_again(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        made.session.complete()
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
        asked, updates = primary.asked, len(primary.updates)
        await asyncio.sleep(ASSERT / 2)
        assert primary.asked <= asked + ASSERT / LOOK  # the serial alone
        assert len(primary.updates) == updates


@in_virtual_time
async def test_a_name_that_could_not_be_dropped_is_dropped_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path) as made:
        made.session.complete()
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
        primary.refused = {"shop.internal."}
        await made.session.put(key("s"), [])
        await asyncio.sleep(1)
        assert primary.records[A] == {"192.0.2.1"}
        assert "shop.internal stays on the server" in caplog.text
        primary.refused = set()
        await asyncio.sleep(2 * LOOK)
        assert A not in primary.records


@pytest.mark.parametrize("releases", [False, True])
@in_virtual_time
async def test_names_are_released_at_the_end_if_that_is_configured(
    tmp_path: Path, *, releases: bool
) -> None:
    primary = MemoryPrimary()
    async with opened(primary, tmp_path, releases=releases) as made:
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
    assert (A in primary.records) != releases
    async with opened(primary, tmp_path) as made:
        made.session.complete()
        await asyncio.sleep(1)
    assert primary.records == {}


@in_virtual_time
async def test_a_lease_is_renewed_before_it_ends(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.lease = 120
    async with opened(primary, tmp_path) as made:
        await made.session.put(key("s"), [SHOP])
        await asyncio.sleep(1)
        for _ in range(5):
            before = len(primary.updates)
            await asyncio.sleep(120)
            assert len(primary.updates) > before


@in_virtual_time
async def test_a_lease_that_is_too_short_ends_the_session(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.lease = 1
    made = Opened(primary, tmp_path, releases=False)
    await made.session.open()
    await made.session.put(key("s"), [SHOP])
    with pytest.raises(ProviderLost, match="it keeps names for 1 s only"):
        await made.session.run()


@in_virtual_time
async def test_names_that_the_zone_does_not_get_are_held(tmp_path: Path) -> None:
    async with opened(MemoryPrimary(), tmp_path) as made:
        await made.session.put(key("a"), [named("a", "a.home.example", "192.0.2.1")])
        await made.session.put(key("b"), [named("b", "b.internal")])
        assert made.state("a")[0] is made.state("b")[0] is RecordState.HELD
        assert "outside the zone internal" in made.state("a")[1]
        assert made.state("b")[1] == "only this host reaches it"
