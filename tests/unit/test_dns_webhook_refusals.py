"""A refusal costs the names concerned, without a storm of requests."""

import asyncio
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.webhook.session import LOOK
from koi_agent.capabilities.dns.webhook.trials import BURST, RATE
from koi_agent.core.instance import RecordState
from tests.unit.dns_zones import complete
from tests.unit.virtual_time import in_virtual_time
from tests.unit.webhook_provider import Answer, Provider, Request
from tests.unit.webhook_sessions import TEXT, Opened, running

ANNOUNCED = (RecordState.ANNOUNCED, "")
CHANGE = ("POST", "/records")


async def put(made: Opened, number: int) -> None:
    for at in range(number):
        await made.put(f"n{at}", f"192.0.2.{at % 250}")


def states(made: Opened, number: int) -> dict[RecordState, int]:
    found = [made.state(f"n{at}") for at in range(number)]
    return {state: found.count(state) for state in set(found)}


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500, 502])
@pytest.mark.parametrize("is_adjusting", [True, False])
@in_virtual_time
async def test_one_name_that_is_refused_costs_one_name(
    tmp_path: Path, status: int, *, is_adjusting: bool
) -> None:
    provider = Provider()
    refused = provider.adjust_refused if is_adjusting else provider.refused
    refused["n7.internal"] = status
    async with running(provider, tmp_path) as made:
        await put(made, 64)
        await asyncio.sleep(30)
        assert states(made, 64) == {RecordState.ANNOUNCED: 63, RecordState.FAILED: 1}
        assert f"responds {status}" in made.status("n7")[1]
        posts = len(provider.posts()) + len(provider.posts("/adjustendpoints"))
        assert posts <= 25
        await asyncio.sleep(3600)
        later = len(provider.posts()) + len(provider.posts("/adjustendpoints"))
        assert later - posts <= 20
        refused.clear()
        await asyncio.sleep(700)
        assert made.status("n7") == ANNOUNCED


@in_virtual_time
async def test_a_name_that_is_refused_comes_at_once_with_another_address(tmp_path: Path) -> None:
    provider = Provider()
    provider.refused["n0.internal"] = 400
    async with running(provider, tmp_path) as made:
        await made.put("n0", "192.0.2.1")
        await asyncio.sleep(1000)
        provider.refused.clear()
        await made.put("n0", "192.0.2.2")
        await asyncio.sleep(5)
        assert made.status("n0") == ANNOUNCED


@pytest.mark.parametrize("status", [400, 500])
@in_virtual_time
async def test_a_webhook_that_refuses_all_names_is_not_flooded(tmp_path: Path, status: int) -> None:
    provider = Provider()
    number = 300
    provider.refused = {f"n{at}.internal": status for at in range(number)}
    async with running(provider, tmp_path) as made:
        await put(made, number)
        await asyncio.sleep(60)
        assert len(provider.posts()) <= 120
        assert states(made, number).keys() <= {RecordState.WANTED, RecordState.FAILED}
        assert "responds" in made.status("n7")[1]
        provider.refused.clear()
        await asyncio.sleep(1500)
        assert states(made, number) == {RecordState.ANNOUNCED: number}
    times = [one.at for one in provider.requests if one.method == "POST"]
    for first, later in zip(times, times[60:], strict=False):
        assert later - first >= (60 - BURST) / RATE - 1


@in_virtual_time
async def test_a_batch_that_takes_too_long_is_sent_in_parts(tmp_path: Path) -> None:
    provider = Provider()

    def is_long(request: Request) -> bool:
        return len(request.body.get("create", ())) > 10

    provider.hangs[CHANGE] = is_long
    async with running(provider, tmp_path) as made:
        await put(made, 40)
        await asyncio.sleep(600)
        assert states(made, 40) == {RecordState.ANNOUNCED: 40}
    sizes = [len(sent["create"]) for sent in provider.posts()]
    # A batch that timed out was carried out: only the addresses are left.
    assert sizes[0] == 40
    assert sizes.count(40) <= 2
    assert sum(sizes) <= 3 * 40


@in_virtual_time
async def test_a_provider_that_does_not_keep_a_record_is_reported(tmp_path: Path) -> None:
    provider = Provider()
    provider.drops = {"A"}
    async with running(provider, tmp_path) as made:
        await made.put("n0", "192.0.2.1")
        await asyncio.sleep(2 * LOOK)
        state, reason = made.status("n0")
        assert (state, "does not show it" in reason) == (RecordState.FAILED, True)
        posts = len(provider.posts())
        await asyncio.sleep(3600)
        assert len(provider.posts()) - posts <= 15
        provider.drops = set()
        await asyncio.sleep(700)
        assert made.status("n0") == ANNOUNCED


@in_virtual_time
async def test_a_flapping_name_does_not_flood_the_webhook(tmp_path: Path) -> None:
    provider = Provider()
    provider.refused["n0.internal"] = 400
    async with running(provider, tmp_path) as made:
        for at in range(600):
            await made.put("n0", f"192.0.2.{at % 250}")
            await asyncio.sleep(0.1)
        assert len(provider.requests) <= 60 * RATE + BURST + 1  # the first one negotiates


@in_virtual_time
async def test_a_busy_webhook_is_left_alone_and_names_stay_announced(tmp_path: Path) -> None:
    for status in (429, 503):
        provider = Provider()
        async with running(provider, tmp_path) as made:
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(5)
            provider.answers[CHANGE] = [Answer(status, b"", {"Retry-After": "120"})]
            await made.put("shop", "192.0.2.1")
            await asyncio.sleep(5)
            state, reason = made.status("shop")
            assert (state, f"responds {status}" in reason) == (RecordState.WANTED, True)
            assert made.status("web") == ANNOUNCED
            sent = len(provider.requests)
            await asyncio.sleep(100)
            assert len(provider.requests) == sent
            await asyncio.sleep(30)
            assert made.status("shop") == ANNOUNCED
            assert provider.targets("_koi.shop.internal", "TXT") == [TEXT]


@in_virtual_time
async def test_a_wait_that_the_webhook_asks_for_is_bounded(tmp_path: Path) -> None:
    for text in ("99999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "a while", "²", "-5"):
        provider = Provider()
        async with running(provider, tmp_path / "x") as made:
            provider.answers[CHANGE] = [Answer(503, b"", {"Retry-After": text})]
            await made.put("web", "192.0.2.1")
            await asyncio.sleep(400)
            assert made.status("web") == ANNOUNCED


@in_virtual_time
async def test_names_that_can_not_be_adjusted_hold_up_no_other_name(tmp_path: Path) -> None:
    provider = Provider()
    number = 150
    async with running(provider, tmp_path) as made:
        complete(made.session)
        await made.put("old", "192.0.2.1")
        await asyncio.sleep(5)
        provider.adjust_refused = {f"n{at}.internal": 500 for at in range(number)}
        await put(made, number)
        await asyncio.sleep(900)
        await made.put("web", "192.0.2.1")
        await made.put("old")
        await asyncio.sleep(600)
        assert made.status("web") == ANNOUNCED
        assert {name for name, _ in provider.held} == {"web.internal", "_koi.web.internal"}


@in_virtual_time
async def test_a_busy_webhook_that_asks_for_no_pause_is_not_flooded(tmp_path: Path) -> None:
    provider = Provider()
    async with running(provider, tmp_path) as made:
        provider.answers["GET", "/records"] = [Answer(503, b"", {"Retry-After": "0"})] * 1000
        await made.put("web", "192.0.2.1")
        await asyncio.sleep(600)
        assert len(provider.requests) <= 600 / 4
