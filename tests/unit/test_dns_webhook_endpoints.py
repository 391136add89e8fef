"""Endpoints as providers adjust and list them: spelled otherwise, split, or without sense."""

import asyncio
import json
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.api import Refused, Webhook
from koi_agent.capabilities.dns.webhook.listing import MOST_CHARACTERS, Listing
from koi_agent.core.instance import RecordState
from koi_agent.host.http_client import client
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time
from tests.unit.webhook_provider import Provider, endpoint
from tests.unit.webhook_sessions import MARK, running

ANNOUNCED = (RecordState.ANNOUNCED, "")


@in_virtual_time
async def test_the_addresses_that_a_provider_leaves_out_are_reported(tmp_path: Path) -> None:
    provider = Provider()
    provider.adjust = lambda one: [] if one["recordType"] == "AAAA" else [one]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1", "2001:db8::1")
        await made.put("six", "2001:db8::1")
        await asyncio.sleep(5)
        reason = "the provider leaves out 2001:db8::1"
        assert made.status("web") == (RecordState.ANNOUNCED, reason)
        state, reason = made.status("six")
        assert (state, "takes none" in reason) == (RecordState.REFUSED, True)


@in_virtual_time
async def test_an_endpoint_that_is_split_keeps_all_addresses(tmp_path: Path) -> None:
    provider = Provider()
    provider.merges = True
    provider.adjust = lambda one: [{**one, "targets": [target]} for target in one["targets"]]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        await asyncio.sleep(5)
        assert provider.targets("web.internal") == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_what_a_provider_adds_to_an_endpoint_is_kept(tmp_path: Path) -> None:
    provider = Provider()
    own = [{"name": "proxied", "value": "false"}]
    provider.adjust = lambda one: [{**one, "providerSpecific": own, "recordTTL": 300}]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        await made.put("web", "192.0.2.2")
        await asyncio.sleep(5)
        assert provider.held["web.internal", "A"] == endpoint(
            "web.internal", "A", "192.0.2.2", providerSpecific=own, recordTTL=300
        )


@pytest.mark.parametrize(
    "others",
    [
        [endpoint("web2.internal", "A", "\ud800"), endpoint("\ud800.internal", "A", "192.0.2.1")],
        [None, 5, "x", [], {}, {"dnsName": 5}, {"dnsName": "a.internal", "targets": [5]}],
        [endpoint("big.internal", "TXT", "x" * 200_000)],
        [{"dnsName": "deep.internal", "labels": json.loads("[" * 300 + "]" * 300)}],
    ],
)
@in_virtual_time
async def test_foreign_endpoints_that_make_no_sense_cost_nothing(
    tmp_path: Path, others: list[object]
) -> None:
    provider = Provider()
    provider.shown = lambda one: [*others, one]
    provider.add("printer.internal", "A", "192.0.2.77")
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_a_name_in_unicode_is_the_same_name(tmp_path: Path) -> None:
    provider = Provider()
    provider.add("BÜCHER。internal", "A", "192.0.2.77")
    async with running(provider, tmp_path) as made:
        await made.put("xn--bcher-kva", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.state("xn--bcher-kva") is RecordState.REFUSED
    assert not provider.posts()


@pytest.mark.parametrize(
    "spelled",
    [
        f"koi-runtime {MARK}",
        f'"koi-runtime" " {MARK}"',
        f'"koi-runtime\\032{MARK}"',
        f'"\\"koi-runtime {MARK}\\""',
        f"koi-runtime\\ {MARK}",
    ],
)
@in_virtual_time
async def test_a_mark_is_known_in_any_presentation(tmp_path: Path, spelled: str) -> None:
    provider = Provider()
    provider.adjust = lambda one: [
        {**one, "targets": [spelled]} if one["recordType"] == "TXT" else one
    ]
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("_koi.web.internal", "TXT") == [spelled]
        await made.put("web")
        await asyncio.sleep(5)
    assert not provider.held


@in_virtual_time
async def test_a_marked_name_with_control_characters_makes_no_claim(tmp_path: Path) -> None:
    provider = Provider()
    provider.add("printer.internal", "A", "192.0.2.77")
    name = "_koi.x\n+ printer.internal a=192.0.2.77 proof\n"
    provider.add(name, "TXT", f"koi-runtime {MARK}")
    for _ in range(2):
        async with running(provider, tmp_path) as made:
            complete(made.session)
            await asyncio.sleep(5)
    assert provider.targets("printer.internal") == ["192.0.2.77"]
    assert "printer" not in (tmp_path / "claims").read_text()


@pytest.mark.parametrize("zone", ["é", "x\n+ printer.internal a=192.0.2.77 proof\n"])
@in_virtual_time
async def test_a_marked_address_with_a_zone_makes_no_claim(tmp_path: Path, zone: str) -> None:
    provider = Provider()
    provider.add("printer.internal", "A", "192.0.2.77")
    provider.add("_koi.old.internal", "TXT", f"koi-runtime {MARK}")
    provider.add("old.internal", "AAAA", f"fe80::1%{zone}")
    for _ in range(2):
        async with running(provider, tmp_path) as made:
            complete(made.session)
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(5)
            assert made.status("web") == ANNOUNCED
    assert provider.targets("printer.internal") == ["192.0.2.77"]
    assert "printer" not in (tmp_path / "claims").read_text()


async def test_an_endpoint_that_is_too_deep_to_be_returned_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    async with client("http://127.0.0.1:1") as made:
        with pytest.raises(Refused, match="can't be returned"):
            await Webhook(made, "http://127.0.0.1:1").apply({"create": deep})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    async with client("http://127.0.0.1:1") as made:
        with pytest.raises(Refused, match="can't be returned"):
            await Webhook(made, "http://127.0.0.1:1").apply({"create": [{"recordTTL": number}]})


def test_endpoints_are_kept_within_a_bound() -> None:
    listing = Listing(lambda name: name.endswith(".internal"), "0" * 16)
    long = "x" * 60_000
    count = MOST_CHARACTERS // len(long) + 10
    for number in range(count):
        made = endpoint(f"n{number}.internal", "A", "192.0.2.1", providerSpecific=[long])
        listing.add(made)
        listing.add({**made, "dnsName": f"n{number}.other"})  # concerns no name of the agent
    foreign = [listing.at(f"n{number}.internal").is_foreign for number in range(count)]
    assert foreign == sorted(foreign)
    assert foreign[0] is False
    assert foreign[-1] is True
