"""Two agents with one provider: a name is of one of them, and each has all that it may have."""

import asyncio
from pathlib import Path

from koi_agent.capabilities.dns.webhook.session import LOOK
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time
from tests.unit.webhook_provider import Provider, served
from tests.unit.webhook_sessions import MARK, OTHER, OTHER_TEXT, TEXT, opened

ANNOUNCED = (RecordState.ANNOUNCED, "")
A = ("web.internal", "A")
MARKED = ("_koi.web.internal", "TXT")


@in_virtual_time
async def test_two_agents_that_mark_a_name_at_one_time_agree(tmp_path: Path) -> None:
    for first, second in ((MARK, OTHER), (OTHER, MARK)):
        provider = Provider()
        provider.merges = True
        folder = tmp_path / first
        async with (
            served(provider) as url,
            opened(url, folder / "a", mark=first) as a,
            opened(url, folder / "b", mark=second) as b,
        ):
            await a.put("web", "192.0.2.1")
            await b.put("web", "192.0.2.2")
            await asyncio.sleep(5 * LOOK)
            has_a = a.status("web") == ANNOUNCED
            winner, loser = (a, b) if has_a else (b, a)
            address, other = ("192.0.2.1", "192.0.2.2") if has_a else ("192.0.2.2", "192.0.2.1")
            assert (winner.status("web"), loser.state("web")) == (ANNOUNCED, RecordState.REFUSED)
            assert provider.targets(*A) == [address]
            assert len(provider.targets(*MARKED)) == 1
            complete(winner.session)
            await winner.put("web")
            await asyncio.sleep(5 * LOOK)
            assert provider.targets(*A) == [other]


@in_virtual_time
async def test_marks_of_two_agents_are_reduced_to_one(tmp_path: Path) -> None:
    provider = Provider()
    provider.add("_koi.web.internal", "TXT", OTHER_TEXT, TEXT)
    provider.add("web.internal", "A", "192.0.2.1", "192.0.2.2")
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "claims").write_text(f"+ web.internal a={address}\n")
    async with served(provider) as url, opened(url, tmp_path / "b", mark=OTHER) as b:
        await b.put("web", "192.0.2.2")
        await asyncio.sleep(5)
        assert b.state("web") is RecordState.REFUSED
        assert provider.targets(*MARKED) == [TEXT]
        assert provider.targets(*A) == ["192.0.2.1"]
        async with opened(url, tmp_path / "a") as a:
            await a.put("web", "192.0.2.1")
            await asyncio.sleep(5)
            assert a.status("web") == ANNOUNCED
