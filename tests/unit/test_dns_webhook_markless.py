"""Providers that drop TXT records: the claims of the agent are the proof, and it reports that."""

import asyncio
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.evidence import ATTEMPTS, PATIENCE
from koi_agent.capabilities.dns.webhook.session import LOOK
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time
from tests.unit.webhook_provider import Answer, Provider, endpoint
from tests.unit.webhook_sessions import TEXT, running

ANNOUNCED = (RecordState.ANNOUNCED, "")
A = ("web.internal", "A")
ONLY_A_FILE = "only a file has the owner"


def markless(*, is_adjusting: bool) -> Provider:
    provider = Provider()
    if is_adjusting:
        provider.adjust = lambda one: [] if one["recordType"] == "TXT" else [one]
    else:
        provider.drops = {"TXT"}
    return provider


@pytest.mark.parametrize("is_adjusting", [True, False])
@in_virtual_time
async def test_names_come_and_go_without_marks(tmp_path: Path, *, is_adjusting: bool) -> None:
    provider = markless(is_adjusting=is_adjusting)
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(ATTEMPTS * (PATIENCE + 5))
        state, reason = made.status("web")
        assert (state, ONLY_A_FILE in reason) == (RecordState.ANNOUNCED, True)
        assert [*provider.held] == [A]
        posts = len(provider.posts())
        await made.put("web", "192.0.2.2")
        await asyncio.sleep(5)
        assert provider.targets(*A) == ["192.0.2.2"]
        assert len(provider.posts()) == posts + 1
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await asyncio.sleep(5)
    assert not provider.held


@in_virtual_time
async def test_a_killed_agent_leaves_nothing_behind_without_marks(tmp_path: Path) -> None:
    provider = markless(is_adjusting=True)
    async with running(provider, tmp_path) as made:
        provider.hangs["POST", "/records"] = lambda _: True  # carried out, and never answered
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2)
        claims = (tmp_path / "claims").read_text()  # as it is if the agent is killed now
    (tmp_path / "claims").write_text(claims)
    provider.hangs.clear()
    assert provider.targets(*A) == ["192.0.2.1"]
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await asyncio.sleep(5)
    assert not provider.held


@in_virtual_time
async def test_an_equal_record_of_others_is_not_adopted_without_marks(tmp_path: Path) -> None:
    provider = markless(is_adjusting=True)
    provider.add(*A, "192.0.2.1")
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2 * LOOK)
        assert made.state("web") is RecordState.REFUSED
        await made.put("web")
        await asyncio.sleep(2 * LOOK)
    assert provider.held == {A: endpoint(*A, "192.0.2.1")}


@pytest.mark.parametrize("status", [400, 500, 503])
@in_virtual_time
async def test_an_error_is_no_evidence_that_marks_are_dropped(tmp_path: Path, status: int) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        provider.answers["POST", "/records"] = [Answer(status, b"", {"Retry-After": "1"})] * 4
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(300)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]


@in_virtual_time
async def test_a_provider_that_shows_marks_late_keeps_them(tmp_path: Path) -> None:
    provider = Provider()
    provider.shown = lambda one: [one] if late else []
    late = False
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(PATIENCE / 2)
        assert made.state("web") is RecordState.WANTED
        late = True
        await asyncio.sleep(PATIENCE)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]
        assert len(provider.posts()) == 2


@in_virtual_time
async def test_marks_are_added_once_a_provider_shows_any(tmp_path: Path) -> None:
    provider = markless(is_adjusting=False)
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(ATTEMPTS * (PATIENCE + 5))
        assert ONLY_A_FILE in made.status("web")[1]
        provider.drops = set()
        provider.add("_koi.other.internal", "TXT", '"koi-runtime 2222222222222222"')
        await asyncio.sleep(2 * LOOK)
        assert made.status("web") == ANNOUNCED
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]


@in_virtual_time
async def test_a_mark_that_is_removed_at_once_is_no_evidence(tmp_path: Path) -> None:
    provider = Provider()

    def remove() -> None:
        provider.held.clear()

    provider.meanwhile = [remove]
    async with running(provider, tmp_path) as made:
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(ATTEMPTS * (PATIENCE + 5))
        assert made.status("web") == ANNOUNCED
        assert provider.targets("_koi.web.internal", "TXT") == [TEXT]
