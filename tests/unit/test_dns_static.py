"""Static records for systemd-resolved: the items, the file, and the installed version."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.names_file import NamesFile, clear
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.static.file import PERIOD, STATIC
from koi_agent.capabilities.dns.static.items import Items
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.resolver import resolved_version, static_obstacle
from tests.unit.dns_zones import key, named
from tests.unit.virtual_time import in_virtual_time

WIKI = named("a", "wiki.internal", "192.0.2.1", "2001:db8::1")
SHOP = named("b", "shop.internal", "192.0.2.1")
OWN = Name(
    owner=key("c"),
    name="own.internal",
    local_addresses=("172.17.0.2",),
    own_addresses=("172.17.0.2",),
)


def shown(text: str) -> set[tuple[str, int, str]]:
    return {
        (one["key"]["name"], one["key"]["type"], one.get("address") or one.get("name"))
        for one in json.loads(text)
    }


def test_a_name_has_an_item_for_each_address() -> None:
    items = Items()
    assert json.loads(items.text()) == []
    items.put(key("a"), [WIKI])
    items.put(key("b"), [SHOP])
    assert shown(items.text()) == {
        ("wiki.internal", 1, "192.0.2.1"),
        ("wiki.internal", 28, "2001:db8::1"),
        ("shop.internal", 1, "192.0.2.1"),
    }


def test_an_item_has_only_fields_that_systemd_resolved_knows() -> None:
    items = Items()
    items.put(key("c"), [OWN])
    for one in json.loads(items.text()):
        assert one.keys() - {"address", "name"} == {"key"}
        assert one["key"].keys() == {"name", "type"}


def test_an_address_of_one_instance_has_a_reverse_name() -> None:
    items = Items()
    items.put(key("c"), [OWN])
    reverse = ("2.0.17.172.in-addr.arpa", 12, "own.internal")
    assert shown(items.text()) == {("own.internal", 1, "172.17.0.2"), reverse}
    other = Name(owner=key("d"), name="other.internal", addresses=("172.17.0.2",))
    items.put(key("d"), [other])
    assert reverse in shown(items.text())
    items.put(key("e"), [OWN])  # two instances claim the address
    assert reverse not in shown(items.text())
    items.put(key("e"), ())
    assert reverse in shown(items.text())


def test_replicas_share_a_name_and_the_order_of_changes_does_not_matter() -> None:
    first, second = Items(), Items()
    names = [named(str(one), "wiki.internal", f"192.0.2.{one}") for one in range(1, 9)]
    for name in names:
        first.put(name.owner, [name])
    for name in (*names[::-1], *names):
        second.put(name.owner, [name])
    assert first.text() == second.text()
    assert len(json.loads(first.text())) == len(names)


def test_what_does_not_change_is_not_written() -> None:
    items = Items()
    assert items.put(key("a"), [WIKI])
    assert not items.put(key("a"), [WIKI])
    assert items.put(key("a"), ())
    assert not items.put(key("a"), ())
    assert items.text() == Items().text()


@in_virtual_time
async def test_names_are_written_together_and_reported_then(tmp_path: Path) -> None:
    path = tmp_path / "static.rr"
    path.write_text("of an earlier run")
    reported: dict[Key, Sequence[RecordStatus]] = {}
    file = NamesFile(path, STATIC, Items(), reported.__setitem__)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(file.run())
        await file.put(key("a"), [WIKI])
        await asyncio.sleep(1000)
        assert path.read_text() == "of an earlier run"
        assert [one.state for one in reported[key("a")]] == [RecordState.WANTED]
        await file.put(key("b"), [SHOP])
        file.complete()
        await asyncio.sleep(0.1)
        assert names(path) == {"wiki.internal", "shop.internal"}
        assert {one.state for rows in reported.values() for one in rows} == {RecordState.ANNOUNCED}
        assert path.stat().st_mode & 0o777 == 0o644
        await file.put(key("a"), ())
        await asyncio.sleep(PERIOD / 2)
        assert names(path) == {"wiki.internal", "shop.internal"}
        await asyncio.sleep(PERIOD)
        assert names(path) == {"shop.internal"}
        running.cancel()
    clear(path, STATIC)
    assert names(path) == set()


def names(path: Path) -> set[str]:
    return {name for name, _, _ in shown(path.read_text())}


@in_virtual_time
async def test_without_names_the_file_of_an_earlier_run_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "static.rr"
    path.write_text("of an earlier run")
    file = NamesFile(path, STATIC, Items(), lambda *_: None)
    file.complete()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(file.run())
        await asyncio.sleep(0.1)
        running.cancel()
    assert names(path) == set()


@in_virtual_time
async def test_a_file_that_cannot_be_written_is_lost_and_named(tmp_path: Path) -> None:
    file = NamesFile(tmp_path / "none/static.rr", STATIC, Items(), lambda *_: None)
    file.complete()
    with pytest.raises(ProviderLost, match=r"none/static\.rr: No such file"):
        await file.run()


def test_a_file_that_cannot_be_emptied_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clear(tmp_path / "none", STATIC)
    assert caplog.text == ""
    (tmp_path / "static.rr").mkdir()
    clear(tmp_path / "static.rr", STATIC)
    assert "DNS names can't be withdrawn" in caplog.text


@pytest.mark.parametrize(
    ("library", "version"),
    [
        ("x86_64-linux-gnu/systemd/libsystemd-shared-262.so", 262),
        ("systemd/libsystemd-shared-257.9.so", 257),
        ("../lib64/systemd/libsystemd-shared-261.2-1.fc44.so", 261),
        ("aarch64-linux-gnu/systemd/libsystemd-shared-262~rc1.so", 262),
        ("systemd/libsystemd-core-262.so", 0),
    ],
)
def test_the_version_of_systemd_resolved_is_that_of_its_library(
    tmp_path: Path, library: str, version: int
) -> None:
    root = tmp_path / "lib"
    for name in (library, "systemd/systemd-resolved"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert resolved_version(root) == version
    obstacle = "" if version >= 261 else "needed"
    assert obstacle in static_obstacle("system", root)
    assert bool(static_obstacle("system", root)) == bool(obstacle)
    assert "system's agent" in static_obstacle("user", root)
    (root / "systemd/systemd-resolved").unlink()
    assert resolved_version(root) == 0
