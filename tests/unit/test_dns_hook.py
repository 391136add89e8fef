"""The hook's file as the agent writes it: the records of all names, read as the hook reads them."""

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dns.rdata
import dns.rdatatype
import pytest

from koi_agent.capabilities.dns.hook.file import HOOK
from koi_agent.capabilities.dns.hook.names import MOST_DOMAINS_TEXT, NO_NAMES, HookNames
from koi_agent.capabilities.dns.names_file import NamesFile, clear
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.files import replace as replace_file
from koi_agent.host.resolver import hook_obstacle
from koi_agent.services.hook.records import EMPTY, Records
from tests.costs import best
from tests.unit.dns_zones import DOMAINS, WEB, key, named
from tests.unit.virtual_time import in_virtual_time

WIKI = named("a", "wiki.internal", "192.0.2.1", "2001:db8::1", services=[WEB])
SHOP = named("b", "shop.home.example", "192.0.2.1")
OWN = Name(
    owner=key("c"),
    name="own.internal",
    local_addresses=("172.17.0.2",),
    own_addresses=("172.17.0.2",),
)
REVERSE = "2.0.17.172.in-addr.arpa"


def names(*several: Name) -> HookNames:
    made = HookNames(DOMAINS, 30)
    for name in several:
        made.put(name.owner, [name])
    return made


def read(made: HookNames) -> Records:
    return Records(made.text().encode("ascii"))


def shown(records: Records, name: str, kind: int) -> list[str]:
    """Return the data of the records of a name, as in a zone file."""
    types = records.find(name)
    assert types is not None
    data = [base64.b64decode(one) for one in types.get(str(kind), ())]
    return sorted(
        dns.rdata.from_wire("IN", dns.rdatatype.RdataType(kind), one, 0, len(one)).to_text()
        for one in data
    )


def test_names_have_records_of_all_types() -> None:
    records = read(names(WIKI, SHOP))
    assert records.domains == DOMAINS.all
    assert records.ttl == 10
    assert shown(records, "wiki.internal", 1) == ["192.0.2.1"]
    assert shown(records, "wiki.internal", 28) == ["2001:db8::1"]
    assert shown(records, "wiki._http._tcp.internal", 33) == ["0 0 8080 wiki.internal."]
    assert shown(records, "wiki._http._tcp.internal", 16) == [r'"path=/\195\164\"\\" "v=1"']
    assert shown(records, "_http._tcp.internal", 12) == ["wiki._http._tcp.internal."]
    assert shown(records, "_services._dns-sd._udp.internal", 12) == ["_http._tcp.internal."]
    assert shown(records, "shop.home.example", 1) == ["192.0.2.1"]


def test_names_between_others_exist_and_have_no_records() -> None:
    records = read(names(WIKI))
    for name in ("internal", "home.example", "_tcp.internal", "_dns-sd._udp.internal"):
        assert records.find(name) == {}
    for name in ("none.internal", "_x.internal", "ki.internal", "wiki", "example"):
        assert records.find(name) is None


def test_an_address_of_one_instance_has_a_reverse_name_which_is_a_domain() -> None:
    made = names(OWN)
    assert shown(read(made), REVERSE, 12) == ["own.internal."]
    assert shown(read(made), "own.internal", 1) == ["172.17.0.2"]
    assert REVERSE in read(made).domains
    made.put(key("e"), [replace(OWN, owner=key("e"))])  # two instances claim the address
    assert REVERSE not in read(made).domains
    assert read(made).find(REVERSE) is None
    made.put(key("e"), ())
    assert shown(read(made), REVERSE, 12) == ["own.internal."]
    made.put(key("c"), ())
    assert made.text() == names().text()


def test_replicas_share_a_name_and_the_order_of_changes_does_not_matter() -> None:
    first, second = names(), names()
    several = [named(str(one), "wiki.internal", f"192.0.2.{one}", services=[WEB]) for one in (1, 2)]
    for name in several:
        first.put(name.owner, [name])
    for name in (*several[::-1], *several):
        second.put(name.owner, [name])
    assert {*first.text().splitlines()} >= {*read(first).domains} - {*DOMAINS.all}
    for made in (first, second):
        assert shown(read(made), "wiki.internal", 1) == ["192.0.2.1", "192.0.2.2"]
    for name in several:
        assert first.put(name.owner, ())
        assert not first.put(name.owner, ())
    assert first.text() == names().text()


def test_a_name_outside_the_domains_is_left_out() -> None:
    assert not names().put(key("z"), [named("z", "wiki.example.org", "192.0.2.1")])


def test_the_domains_have_a_bound() -> None:
    made = names()
    for number in range(6000):
        address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
        name = Name(
            owner=key(str(number)),
            name=f"n{number}.internal",
            addresses=(address,),
            own_addresses=(address,),
        )
        made.put(name.owner, [name])
    text = made.text()
    assert len(text.partition("\n")[0]) < MOST_DOMAINS_TEXT + 1000
    assert read(made).domains[:1] == ("internal",)


def test_the_cost_of_a_change_does_not_grow_with_the_number_of_names() -> None:
    def change(made: HookNames) -> None:
        for one in ("192.0.2.8", "192.0.2.9") * 50:
            made.put(key("x"), [named("x", "x.internal", one, services=[WEB])])

    few, many = names(), names()
    for number in range(3000):
        many.put(key(f"n{number}"), [named(f"n{number}", f"n{number}.internal", "192.0.2.1")])
    assert best(lambda: change(many)) < 10 * best(lambda: change(few))


@in_virtual_time
async def test_names_are_written_once_complete_and_then_at_once(tmp_path: Path) -> None:
    path = tmp_path / "hook.json"
    path.write_text("of an earlier run")
    reported: dict[Key, Sequence[RecordStatus]] = {}
    file = NamesFile(path, HOOK, names(), reported.__setitem__)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(file.run())
        await file.put(key("a"), [WIKI])
        await asyncio.sleep(1000)
        assert path.read_text() == "of an earlier run"
        assert [one.state for one in reported[key("a")]] == [RecordState.WANTED]
        file.complete()
        await asyncio.sleep(0.001)
        assert Records(path.read_bytes()).find("wiki.internal")
        assert [one.state for one in reported[key("a")]] == [RecordState.ANNOUNCED]
        assert path.stat().st_mode & 0o777 == 0o644
        await file.put(key("b"), [SHOP])
        await asyncio.sleep(0.001)
        assert Records(path.read_bytes()).find("shop.home.example")
        running.cancel()
    clear(path, HOOK)
    assert path.read_text() == NO_NAMES


async def test_writing_takes_a_small_part_of_the_time(tmp_path: Path) -> None:
    path = tmp_path / "hook.json"
    many = names(*(named(f"n{one}", f"n{one}.internal", "192.0.2.1") for one in range(3000)))
    cost = best(lambda: replace_file(path, many.text()))
    file, seen = NamesFile(path, HOOK, many, lambda *_: None), {0}
    file.complete()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(file.run())
        began = time.monotonic()
        while len(seen) < 4 or time.monotonic() < began + 1:
            name = named("x", f"x{time.monotonic_ns()}.internal", "192.0.2.1")
            await file.put(key("x"), [name])
            await asyncio.sleep(0.001)
            seen.add(path.stat().st_ctime_ns)
        elapsed = time.monotonic() - began
        running.cancel()
    assert len(seen) < elapsed / (4 * cost)


async def test_a_file_that_cannot_be_written_is_lost_and_named(tmp_path: Path) -> None:
    file = NamesFile(tmp_path / "none/hook.json", HOOK, names(), lambda *_: None)
    file.complete()
    with pytest.raises(ProviderLost, match=r"none/hook\.json: No such file"):
        await file.run()


def test_only_a_file_with_names_is_emptied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hook.json"
    clear(path, HOOK)
    assert not path.exists()
    path.write_text(names(WIKI).text())
    clear(path, HOOK)
    assert path.read_bytes() == EMPTY
    before = path.stat().st_ino
    clear(path, HOOK)
    assert path.stat().st_ino == before
    path.unlink()
    path.mkdir()
    clear(path, HOOK)
    assert "DNS names can't be withdrawn" in caplog.text


def test_the_hook_needs_a_version_that_asks_it(tmp_path: Path) -> None:
    assert "259 or later is needed, and it is not installed" in hook_obstacle("system", tmp_path)
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/systemd-resolved").touch()
    (tmp_path / "systemd/libsystemd-shared-258.so").touch()
    assert "version 258 is installed" in hook_obstacle("system", tmp_path)
    (tmp_path / "systemd/libsystemd-shared-259.1.so").touch()
    assert hook_obstacle("system", tmp_path) == ""
    assert "system's agent" in hook_obstacle("user", tmp_path)
