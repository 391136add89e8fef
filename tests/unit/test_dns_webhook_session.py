"""A session with a webhook writes what changes here and there, and reports what is true."""

import asyncio
import json
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.session import FINISH, LOOK, RELEASE
from koi_agent.capabilities.dns.webhook.trials import TOGETHER
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time, now
from tests.unit.webhook_provider import MEDIA_TYPE, Answer, Provider
from tests.unit.webhook_sessions import TEXT, running

ANNOUNCED = (RecordState.ANNOUNCED, "")
CHANGE = ("POST", "/records")


@in_virtual_time
async def test_a_name_comes_with_its_mark_changes_and_goes(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1", "2001:db8::1")
        assert made.state("web") is RecordState.WANTED
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("web.internal") == ["192.0.2.1"]
        assert provider.targets("web.internal", "AAAA") == ["2001:db8::1"]
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]
        assert provider.held["web.internal", "A"]["recordTTL"] == 30
        await made.put("web", "192.0.2.2")
        assert made.state("web") is RecordState.WANTED
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("web.internal") == ["192.0.2.2"]
        assert ("web.internal", "AAAA") not in provider.held
        await made.put("web")
        await asyncio.sleep(5)
        assert not provider.held
    assert (tmp_path / "claims").read_text().splitlines()[-1] == "- web.internal"


@in_virtual_time
async def test_the_mark_is_there_before_the_addresses_and_after_them(tmp_path: Path) -> None:
    provider = Provider()

    def check() -> None:
        has_mark = ("_koi.web.internal", "TXT") in provider.held
        assert has_mark or ("web.internal", "A") not in provider.held
        provider.meanwhile.append(check)

    provider.meanwhile = [check]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        await made.put("web")
        complete(made.session)
        await asyncio.sleep(5)
    assert not provider.held
    assert len(provider.posts()) == 4


@in_virtual_time
async def test_what_is_lost_at_the_provider_is_added_again(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        provider.held.clear()
        await asyncio.sleep(2 * LOOK)
        assert provider.targets("web.internal") == ["192.0.2.1"]
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]
        assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_a_provider_that_does_not_change_is_read_and_not_written(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        posts, began = len(provider.posts()), len(provider.requests)
        await asyncio.sleep(10 * LOOK)
        assert len(provider.posts()) == posts
        assert 5 <= len(provider.requests) - began <= 25
        assert len(provider.posts("/adjustendpoints")) == 1


@in_virtual_time
async def test_a_provider_is_left_alone_if_no_name_is_wanted(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
        sent = len(provider.requests)
        await asyncio.sleep(10 * LOOK)
        assert len(provider.requests) == sent
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_many_names_are_sent_together(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        for number in range(2 * TOGETHER):
            await made.put(f"n{number}", f"192.0.2.{number % 250}")
        await asyncio.sleep(30)
        assert {made.state(f"n{number}") for number in range(2 * TOGETHER)} == {
            RecordState.ANNOUNCED
        }
    assert len(provider.posts()) <= 6
    assert len(provider.posts("/adjustendpoints")) <= 3


@in_virtual_time
async def test_replicas_share_a_name(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        await made.put("a", "192.0.2.1", name="web.internal")
        await made.put("b", "192.0.2.2", name="web.internal")
        await asyncio.sleep(5)
        assert provider.targets("web.internal") == ["192.0.2.1", "192.0.2.2"]
        await made.put("a")
        await asyncio.sleep(5)
        assert provider.targets("web.internal") == ["192.0.2.2"]
        assert made.status("b") == ANNOUNCED


@in_virtual_time
async def test_names_outside_the_filter_are_held(tmp_path: Path) -> None:
    provider = Provider()
    provider.filter = {"include": ["example.com", "web.internal"], "exclude": ["no.example.com"]}
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await made.put("shop", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED
        state, reason = made.status("shop")
    assert state is RecordState.HELD
    assert "its domains are example.com, web.internal" in reason
    assert ("shop.internal", "A") not in provider.held
    assert "shop" not in json.dumps(provider.posts())


@pytest.mark.parametrize("status", [301, 401, 405, 406, 415])
@pytest.mark.parametrize("place", [CHANGE, ("POST", "/adjustendpoints"), ("GET", "/records")])
@in_virtual_time
async def test_a_webhook_that_can_not_be_used_is_lost(
    tmp_path: Path, status: int, place: tuple[str, str]
) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        provider.answers[place] = [Answer(status)]
        await made.put("web", "192.0.2.1")
        with pytest.raises(ProviderLost, match=f"responds {status}"):
            await made.session.run()


@in_virtual_time
async def test_errors_far_apart_do_not_add_up(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        for number in range(30):
            provider.answers["GET", "/records"] = [Answer(500)] * 2
            provider.answers[CHANGE] = [Answer(500)] * 3
            await made.put("shop", f"192.0.2.{number}")
            await asyncio.sleep(300)
            assert provider.targets("shop.internal") == [f"192.0.2.{number}"]
            assert made.status("shop") == ANNOUNCED


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"x" * 2**17, {"Content-Type": MEDIA_TYPE}),
        Answer(200, b"[]", {"Content-Type": MEDIA_TYPE}),
        Answer(200, b'{"include": 5}', {"Content-Type": MEDIA_TYPE}),
        Answer(200, b"{}", {"Content-Type": "text/html\x1b[31m"}),
        Answer(200, b"{}"),
        Answer(404),
        Answer(503),
    ],
)
@in_virtual_time
async def test_what_does_not_negotiate_is_lost(tmp_path: Path, answer: Answer) -> None:
    provider = Provider()
    provider.answers["GET", "/"] = [answer]
    with pytest.raises(ProviderLost) as caught:
        async with running(provider, tmp_path):
            pass
    assert str(caught.value).startswith("[DNS] Webhook=http://127.0.0.1:")
    assert str(caught.value).isprintable()


@in_virtual_time
async def test_cookies_are_not_returned(tmp_path: Path) -> None:
    provider = Provider()
    cookie = {"Content-Type": MEDIA_TYPE, "Set-Cookie": "a=b"}
    provider.answers["GET", "/"] = [Answer(200, b"{}", cookie)]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_names_are_removed_at_the_end_if_that_is_configured(tmp_path: Path) -> None:
    provider = Provider()
    provider.add("printer.internal", "A", "192.0.2.77")
    async with running(provider, tmp_path, releases=True) as made:
        for name in ("web", "shop"):
            await made.put(name, "192.0.2.1")
        await asyncio.sleep(5)
        assert len(provider.held) == 5
    assert [*provider.held] == [("printer.internal", "A")]


@in_virtual_time
async def test_a_request_in_progress_ends_before_the_names_are_removed(tmp_path: Path) -> None:
    provider = Provider()
    provider.delay = 4.0
    async with running(provider, tmp_path, releases=True) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(6)
        assert [*provider.held] == [("_koi.web.internal", "TXT")]  # the address is under way
    await asyncio.sleep(60)
    assert not provider.held
    assert provider.posts()[1]["create"][0]["dnsName"] == "web.internal"


@in_virtual_time
async def test_a_session_ends_although_a_request_does_not(tmp_path: Path) -> None:
    provider = Provider()
    provider.hangs[CHANGE] = lambda request: "create" in request.body
    async with running(provider, tmp_path, releases=True) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(1)
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]
        before = now()
    assert not provider.held
    assert now() - before < FINISH + RELEASE


@in_virtual_time
async def test_an_address_that_changes_while_it_is_sent_is_sent_again(tmp_path: Path) -> None:
    provider = Provider()
    provider.delay = 0.3
    async with running(provider, tmp_path) as made:
        complete(made.session)
        for number in range(200):
            await made.put("web", f"192.0.2.{number}", f"2001:db8::{number}")
            await asyncio.sleep(0.11)
        await asyncio.sleep(10)
        assert provider.targets("web.internal") == ["192.0.2.199"]
        assert provider.targets("web.internal", "AAAA") == ["2001:db8::199"]
        assert made.status("web") == ANNOUNCED
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(0.2)
        await made.put("web")
        await asyncio.sleep(10)
    assert not provider.held
