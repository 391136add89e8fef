"""DNS names at a Koi daemon."""

import asyncio
from collections.abc import Iterator

import pytest

from koi_agent.capabilities.dns.providers import Koi
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState
from tests.real.agents import eventually
from tests.unit.dns_zones import WEB, complete, key, named
from tests.unit.fake_koi_server import NOT_FOUND, KoiServer
from tests.unit.fake_koi_wire import document
from tests.unit.koi_sessions import SETTINGS, koi, opened

PROVIDER = Koi(SETTINGS, 30)
WIKI, BLOG = key("wiki"), key("blog")

__all__ = ["koi"]


def held(koi: KoiServer) -> dict[str, str]:
    return {one["name"]: one["ip"] for one in koi.daemon.names.held}


async def test_names_are_sent_and_removed_at_the_end(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1", "10.0.0.2", services=[WEB]))
        await made.reports(WIKI, RecordState.ANNOUNCED, "10.0.0.1; a Koi daemon gets its address")
        assert held(koi) == {"wiki.internal.": "10.0.0.1"}
        await made.put(named("wiki", "wiki.internal", "10.0.0.3"))
        await eventually(lambda: held(koi) == {"wiki.internal.": "10.0.0.3"}, "the other address")
        await made.put(named("blog", "blog.internal", "10.0.0.9"))
        await made.announced(WIKI, BLOG)
        complete(made.session)
        await made.drop(WIKI)
        await eventually(lambda: held(koi) == {"blog.internal.": "10.0.0.9"}, "only blog")
    assert held(koi) == {}


@pytest.mark.parametrize(
    ("name", "addresses", "state", "reason"),
    [
        (
            "wiki.home.example",
            ["10.0.0.1"],
            RecordState.REFUSED,
            "zone of the Koi daemon, internal",
        ),
        ("wiki.internal", ["192.0.2.1"], RecordState.REFUSED, "private IPv4"),
        ("wiki.internal", ["fd00::1"], RecordState.REFUSED, "private IPv4"),
        ("wiki.internal", [], RecordState.HELD, "only this host"),
    ],
)
async def test_names_that_a_daemon_does_not_answer_are_not_sent(
    koi: KoiServer, name: str, addresses: list[str], state: RecordState, reason: str
) -> None:
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", name, *addresses))
        await made.reports(WIKI, state, reason)
        assert not [one for one in koi.daemon.requests if one.method == "POST"]


async def test_names_of_other_clients_are_left_alone(koi: KoiServer) -> None:
    koi.daemon.call("POST", "/v1/dns/add", {"name": "wiki", "ip": "10.9.9.9"})
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
        complete(made.session)
        await made.reports(WIKI, RecordState.HELD, "another client")
        await made.put(named("blog", "blog.internal", "10.0.0.2"))
        await made.announced(BLOG)
        koi.daemon.call("POST", "/v1/dns/add", {"name": "blog", "ip": "10.9.9.8"})
        complete(made.session)
        await made.reports(BLOG, RecordState.HELD, "another client")
        before = held(koi)
    assert held(koi) == before == {"wiki.internal.": "10.9.9.9", "blog.internal.": "10.9.9.8"}


async def test_an_entry_that_another_client_removes_is_made_again(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
        await made.announced(WIKI)
        koi.daemon.call("DELETE", "/v1/dns/remove/wiki")
        complete(made.session)
        await eventually(lambda: held(koi) == {"wiki.internal.": "10.0.0.1"}, "it is there again")


async def test_replicas_share_one_address_and_keep_it(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(named("b", "wiki.internal", "10.0.0.2"))
        await made.announced(key("b"))
        await made.put(named("a", "wiki.internal", "10.0.0.1"))
        await made.reports(key("a"), RecordState.HELD, "10.0.0.2, of docker:b")
        assert held(koi) == {"wiki.internal.": "10.0.0.2"}
        await made.drop(key("b"))
        await made.announced(key("a"))
        assert held(koi) == {"wiki.internal.": "10.0.0.1"}


@pytest.mark.parametrize("how", ["hangs", "cuts"])
async def test_an_entry_whose_answer_is_lost_is_found_in_the_list(koi: KoiServer, how: str) -> None:
    lost: Iterator[bool] = iter([True])
    setattr(koi, how, lambda one: one.path == "/v1/dns/add" and next(lost, False))
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
        await made.announced(WIKI)
        assert len([one for one in koi.daemon.requests if one.method == "POST"]) == 1
    assert held(koi) == {}


async def test_a_daemon_that_starts_again_ends_the_session(koi: KoiServer) -> None:
    async def use() -> None:
        async with opened(PROVIDER) as made:
            await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
            await made.announced(WIKI)
            await koi.restart()
            await asyncio.sleep(60)

    with pytest.raises(ProviderLost, match="Koi daemon"):
        await use()
    assert held(koi) == {"wiki.internal.": "10.0.0.1"}
    async with opened(PROVIDER) as made:
        complete(made.session)
        await eventually(lambda: held(koi) == {}, "the next session removes the name")


async def test_a_daemon_that_refuses_the_token_is_not_used(koi: KoiServer) -> None:
    koi.breadcrumb.write_text(f"{koi.url}\ndat:{'x' * 43}\n")
    with pytest.raises(ProviderLost, match="or refuses the token"):
        async with opened(PROVIDER):
            pass


async def test_a_daemon_that_keeps_nothing_is_asked_less_and_less(koi: KoiServer) -> None:
    koi.trouble = lambda one: document({"entries": []}) if one.method == "POST" else None
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
        await made.reports(WIKI, RecordState.FAILED, "accepts a change and does not make it")
        await asyncio.sleep(3)
        assert len([one for one in koi.daemon.requests if one.method == "POST"]) < 6
        koi.trouble = lambda _: None
        await made.announced(WIKI)


async def test_records_that_are_put_again_cost_no_look_at_the_daemon(koi: KoiServer) -> None:
    koi.trouble = lambda one: NOT_FOUND if one.method == "POST" else None
    async with opened(PROVIDER) as made:
        await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
        await made.reports(WIKI, RecordState.FAILED)
        koi.daemon.requests.clear()
        for _ in range(60):
            made.reported.clear()
            await made.put(named("wiki", "wiki.internal", "10.0.0.1"))
            assert made.reported[WIKI][0].state is RecordState.FAILED
            await asyncio.sleep(0.05)
        looks = [one for one in koi.daemon.requests if one.path == "/v1/dns/entries"]
        assert len(looks) < 25
