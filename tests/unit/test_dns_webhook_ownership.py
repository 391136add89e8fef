"""A record that the agent did not make is never changed, and none of the agent's is left behind."""

import asyncio
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.session import LOOK
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time
from tests.unit.webhook_provider import Provider, endpoint
from tests.unit.webhook_sessions import OTHER_TEXT, running

ANNOUNCED = (RecordState.ANNOUNCED, "")
A = ("web.internal", "A")
MARKED = ("_koi.web.internal", "TXT")


async def refused(provider: Provider, folder: Path, reason: str) -> None:
    """Check that a name is refused, and that nothing is changed while it comes and goes."""
    before = dict(provider.held)
    async with running(provider, folder) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2 * LOOK)
        state, text = made.status("web")
        assert (state, reason in text) == (RecordState.REFUSED, True)
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
    async with running(provider, folder, releases=True) as made:
        complete(made.session)
        await asyncio.sleep(5)
    assert provider.held == before
    assert not provider.posts()


@pytest.mark.parametrize(
    "there",
    [
        endpoint("web.internal", "A", "192.0.2.77"),
        endpoint("web.internal", "A", "192.0.2.1"),
        endpoint("WEB.Internal.", "AAAA", "2001:db8::77"),
        endpoint("web.internal", "CNAME", "other.internal"),
        endpoint("web.internal", "TXT", "heritage=external-dns"),
        endpoint("web.internal", "A", "192.0.2.1", setIdentifier="eu"),
        endpoint("web.internal", "A", "not an address", "\ud800"),
        endpoint("web.internal", "A", "2001:db8::1"),
        {"dnsName": "web.internal"},
        {"dnsName": "web.internal", "recordType": "A", "targets": None},
        {"dnsName": "web.internal", "recordType": 5, "targets": ["192.0.2.1"]},
        endpoint("web.internal", "A", "192.0.2.1", labels={"a": "b" * 70_000}),
    ],
)
@in_virtual_time
async def test_a_name_that_others_have_is_refused(tmp_path: Path, there: dict[str, object]) -> None:
    provider = Provider()
    provider.held["web.internal", "?"] = there
    await refused(provider, tmp_path, "not from this agent")


@pytest.mark.parametrize("more", [(), ("unrelated",)])
@in_virtual_time
async def test_a_name_that_another_agent_marked_is_refused(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    provider = Provider()
    provider.add("web.internal", "A", "192.0.2.1")
    provider.add("_koi.web.internal", "TXT", OTHER_TEXT, *more)
    await refused(provider, tmp_path, "another agent")


@in_virtual_time
async def test_a_text_of_others_at_the_name_of_the_mark_is_refused(tmp_path: Path) -> None:
    provider = Provider()
    provider.add("_koi.web.internal", "TXT", "hello")
    await refused(provider, tmp_path, "_koi.NAME")


@in_virtual_time
async def test_names_of_a_killed_agent_go_when_the_next_one_has_all_names(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await made.put("shop", "192.0.2.1")
        await asyncio.sleep(5)
    for is_lost in (False, True):
        if is_lost:
            (tmp_path / "claims").unlink()
        async with running(provider, tmp_path) as made:
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(5)
            assert made.status("web") == ANNOUNCED
            assert len(provider.held) == 4
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.2")
        await asyncio.sleep(5)
        complete(made.session)
        await asyncio.sleep(5)
        assert provider.targets(*A) == ["192.0.2.2"]
        assert [*provider.held] == [MARKED, A]


@in_virtual_time
async def test_an_address_that_is_added_by_hand_stays(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        provider.add("web.internal", "A", "192.0.2.77", "192.0.2.1")
        await asyncio.sleep(2 * LOOK)
        state, reason = made.status("web")
        assert (state, "records of others" in reason) == (RecordState.ANNOUNCED, True)
        await made.put("web", "192.0.2.2")
        await asyncio.sleep(5)
        assert provider.targets(*A) == ["192.0.2.2", "192.0.2.77"]
        await made.put("web")
        await asyncio.sleep(5)
        assert provider.held == {A: {**provider.held[A], "targets": ["192.0.2.77"]}}


@in_virtual_time
async def test_an_address_that_is_changed_by_hand_stays_and_the_mark_goes(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        provider.add("web.internal", "A", "192.0.2.77")
        await asyncio.sleep(3 * LOOK)
        assert made.state("web") is RecordState.REFUSED
        assert provider.held == {A: endpoint(*A, "192.0.2.77")}
        await made.put("web")
        await asyncio.sleep(5)
        assert provider.held == {A: endpoint(*A, "192.0.2.77")}


@in_virtual_time
async def test_an_endpoint_of_the_other_type_is_not_changed(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        provider.add("web.internal", "AAAA", "2001:db8::77")
        await made.put("web", "192.0.2.2", "2001:db8::1")
        await asyncio.sleep(5)
        state, reason = made.status("web")
        assert (state, "AAAA records" in reason) == (RecordState.REFUSED, True)
        assert provider.targets(*A) == ["192.0.2.2"]
        await made.put("web")
        await asyncio.sleep(5)
    assert provider.held == {
        ("web.internal", "AAAA"): endpoint("web.internal", "AAAA", "2001:db8::77")
    }


@in_virtual_time
async def test_a_mark_that_is_removed_by_hand_gives_the_name_away(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await made.put("shop", "192.0.2.1")
        await asyncio.sleep(5)
        del provider.held[MARKED]
        await asyncio.sleep(2 * LOOK)
        state, reason = made.status("web")
        assert (state, "not from this agent" in reason) == (RecordState.REFUSED, True)
        await made.put("web")
        await asyncio.sleep(5)
        assert provider.targets(*A) == ["192.0.2.1"]


@in_virtual_time
async def test_what_others_make_after_a_refusal_is_theirs(tmp_path: Path) -> None:
    for status in (400, 500):
        provider = Provider()
        folder = tmp_path / str(status)
        async with running(provider, folder) as made:
            await made.put("shop", "192.0.2.1")
            await asyncio.sleep(5)
            provider.refused["web.internal"] = status
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(2)
            assert made.state("web") is RecordState.FAILED
        provider.add("web.internal", "A", "192.0.2.1")
        provider.refused.clear()
        async with running(provider, folder) as made:
            complete(made.session)
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(2 * LOOK)
            assert made.state("web") is RecordState.REFUSED
            await made.put("web")
            await asyncio.sleep(2 * LOOK)
        assert provider.held[A] == endpoint(*A, "192.0.2.1")


@pytest.mark.parametrize("status", [400, 500])
@in_virtual_time
async def test_an_address_that_was_refused_is_not_the_agents_later(
    tmp_path: Path, status: int
) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)

        def refuse() -> None:
            provider.refused["web.internal"] = status

        provider.meanwhile = [refuse]  # after the mark
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(3)
        assert [*provider.held] == [MARKED]
        assert made.state("web") is RecordState.FAILED
        provider.add("web.internal", "A", "192.0.2.1")
        provider.refused.clear()
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
    assert provider.held == {A: endpoint(*A, "192.0.2.1")}


@in_virtual_time
async def test_claims_are_read_in_any_case_and_nonsense_is_ignored(tmp_path: Path) -> None:
    lines = (
        "+ WEB.Internal A=192.0.2.1 PROOF\n+ x\x1b[31m a=192.0.2.1\n+ y.internal b=5\n- \n+\n+ half"
    )
    (tmp_path / "claims").write_text(lines)
    provider = Provider()
    provider.drops = {"TXT"}
    provider.add("web.internal", "A", "192.0.2.1")
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await asyncio.sleep(5)
    assert not provider.held


@in_virtual_time
async def test_an_address_that_others_add_at_once_after_a_refusal_is_theirs(tmp_path: Path) -> None:
    provider = Provider()
    provider.refused_then = lambda: provider.add("web.internal", "A", "192.0.2.1")
    async with running(provider, tmp_path) as made:
        complete(made.session)

        def refuse() -> None:
            provider.refused["web.internal"] = 400

        provider.meanwhile = [refuse]  # after the mark
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(3)
        provider.refused.clear()
        await asyncio.sleep(3 * LOOK)
        assert made.state("web") is RecordState.REFUSED
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
    assert provider.held == {A: endpoint(*A, "192.0.2.1")}


@in_virtual_time
async def test_a_set_with_an_identifier_is_never_the_agents(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(5)
        provider.add("web.internal", "A", "192.0.2.1", setIdentifier="eu")
        await asyncio.sleep(3 * LOOK)
        assert made.state("web") is RecordState.REFUSED
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
    assert provider.held == {A: endpoint(*A, "192.0.2.1", setIdentifier="eu")}
