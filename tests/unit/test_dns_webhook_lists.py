"""Providers whose lists lag or lack records: nothing is given away, and nothing is left behind."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.session import LOOK
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time, now
from tests.unit.webhook_provider import MEDIA_TYPE, Answer, Provider
from tests.unit.webhook_sessions import TEXT, running

ANNOUNCED = (RecordState.ANNOUNCED, "")
A = ("web.internal", "A")
MARKED = ("_koi.web.internal", "TXT")
EMPTY = Answer(200, b"[]", {"Content-Type": MEDIA_TYPE})


class Late(Provider):
    """A provider that makes the first change of an address later, and responds ``status`` first."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__()
        self._status = status
        self._seconds = seconds

    def handle(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        if self._status and (method, path) == ("POST", "/records") and b'"A"' in body:
            loop, status = asyncio.get_running_loop(), self._status
            loop.call_later(self._seconds, super().handle, method, path, fields, body)
            self._status = 0
            return Answer(status)
        return super().handle(method, path, fields, body)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("merges", [True, False])
@in_virtual_time
async def test_empty_lists_do_not_give_names_away(
    tmp_path: Path, count: int, *, merges: bool
) -> None:
    provider = Provider()
    provider.merges = merges
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2 * LOOK)
        provider.answers["GET", "/records"] = [EMPTY] * count
        await asyncio.sleep(3 * LOOK)
        assert not provider.answers["GET", "/records"]
        assert made.status("web") == ANNOUNCED
        assert provider.targets(*MARKED) == [TEXT]
        await made.put("web")
        await asyncio.sleep(5)
        assert not provider.held


@pytest.mark.parametrize("lag", [5, 40])
@in_virtual_time
async def test_a_name_that_goes_before_it_is_listed_is_removed(tmp_path: Path, lag: float) -> None:
    provider = Provider()
    since: dict[str, float] = {}

    def shown(one: dict[str, object]) -> list[object]:
        is_late = one["recordType"] == "A" and now() < since.setdefault("A", now()) + lag
        return [] if is_late else [one]

    provider.shown = shown
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2)
        assert {*provider.held} == {A, MARKED}
        await made.put("web")
        await asyncio.sleep(4 * LOOK)
        assert not provider.held


@pytest.mark.parametrize("status", [502, 504])
@in_virtual_time
async def test_a_change_that_a_gateway_gave_up_may_come_later(tmp_path: Path, status: int) -> None:
    provider = Late(status, 30)
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(2)
        assert {*provider.held} == {MARKED}
        await made.put("web")
        await asyncio.sleep(4 * LOOK)
        assert len(provider.posts()) == 4  # the mark, the address, and both removals
        assert not provider.held
