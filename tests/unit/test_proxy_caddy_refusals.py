"""A site that Caddy refuses fails alone, and all others are served."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from koi_agent.capabilities.proxy.caddy.convergence import MOST_TRIALS, halves
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.real.agents import eventually
from tests.unit.dns_zones import complete, key
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.fake_caddy_server import served
from tests.unit.proxy_routes import put, route
from tests.unit.test_proxy_caddy_session import FILE, session

Reported = dict[Key, Sequence[RecordStatus]]
MANY = 40


def failed(reported: Reported) -> set[str]:
    """Return the owners of failed routes, once none is under way."""
    states = {owner.id: one.state for owner, records in reported.items() for one in records}
    if RecordState.WANTED in states.values() or len(states) < MANY:
        return {"under way"}
    return {id_ for id_, state in states.items() if state is RecordState.FAILED}


@pytest.mark.parametrize("word", ["n7.internal", "127.0.0.1:7007"])
async def test_one_refused_site_fails_alone(tmp_path: Path, word: str) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    caddy.refused = {f'"{word}"', '"n23.internal"'}
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        complete(opened)
        await put(opened, *(route(f"{n}", f"n{n}.internal", to=7000 + n) for n in range(MANY)))
        await eventually(lambda: failed(reported) == {"7", "23"}, f"two fail: {failed(reported)}")
        (status,) = reported[key("7")]
        assert status.reason.endswith(f'Caddy refuses it: loading a module: "{word}" is not valid')
        await put(opened, route("8", "n8.internal", to=9999))
        await eventually(lambda: "127.0.0.1:9999" in str(caddy.root), "others are changed")
        await eventually(lambda: failed(reported) == {"7", "23"}, "two still fail")
        caddy.refused = set()
        await eventually(lambda: failed(reported) == set(), "all are served")
        await opened.put(key("3"), [])
        await eventually(lambda: "n3.internal" not in str(caddy.root), "one is removed")


async def test_if_all_are_refused_the_search_ends(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    caddy.refused = {"reverse_proxy"}
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        complete(opened)
        await put(opened, *(route(f"{n}", f"n{n}.internal") for n in range(MANY)))
        await eventually(lambda: len(failed(reported)) == MANY, "all fail")
        assert len(server.seen) < 2 * MOST_TRIALS
        await asyncio.sleep(0.3)
        caddy.refused = set()
        await eventually(lambda: failed(reported) == set(), "all are served")


def test_halves_have_all_parts_and_none_is_empty() -> None:
    assert halves([]) == []
    sites = [object() for _ in range(5)]
    for number in range(1, 6):
        parts = halves(sites[:number])  # type: ignore[arg-type]
        assert [one for part in parts for one in part] == sites[:number]
        assert all(parts)
