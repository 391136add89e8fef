"""A Koi daemon that accepts changes and does not show them: it is not asked again and again."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from koi_agent.host.koi_daemon.kinds import KINDS
from tests.unit.fake_koi_wire import Answer, Json, Request, document
from tests.unit.koi_world import Event, World, bodies, run_with_agent

HOUR: Final = 3600
MOST: Final = 300
"""Changes in an hour: a retry each 30 s at least, and both a removal and an addition."""
MOST_AT_FIRST: Final = 16
"""Changes in the first ten seconds."""
Way = Callable[[World, Request], Answer | None]


def event(act: str, name: str = "x", number: int = 0) -> Event:
    return Event(0, act, name, number)


def is_x(entry: Json) -> bool:
    return str(entry["name"]).startswith("x")


def listed(world: World, change: Callable[[list[Json]], list[Json]]) -> Answer:
    """Return the list of the daemon after a change of it."""
    kind = KINDS[world.kind]
    found: Any = json.loads(world.server.daemon.call("GET", kind.listing).body)
    if not kind.array:
        return document(change(found))
    return document({**found, kind.array: change(found[kind.array])})


def hidden(world: World, request: Request) -> Answer | None:
    """Leave the entry out of each list."""
    if request.path != KINDS[world.kind].listing:
        return None
    return listed(world, lambda entries: [one for one in entries if not is_x(one)])


def renamed(world: World, request: Request) -> Answer | None:
    """List the entry by another name."""
    if request.path != KINDS[world.kind].listing:
        return None
    return listed(
        world,
        lambda entries: [
            {**one, "name": f"_{one['name']}"} if is_x(one) else one for one in entries
        ],
    )


def flickering(world: World, request: Request) -> Answer | None:
    """List the entry with another content that the agent has sent, too."""
    if request.path != KINDS[world.kind].listing:
        return None
    other = bodies(world.kind, "x", 1)
    return listed(
        world,
        lambda entries: [
            {**one, **other, "name": one["name"]} if is_x(one) else one for one in entries
        ],
    )


def kept(world: World, request: Request) -> Answer | None:
    """Keep an entry that is removed."""
    is_removal = request.method == "DELETE" and request.path.startswith(KINDS[world.kind].remove)
    return document({"status": "ok"}) if is_removal else None


def dropped(world: World, request: Request) -> Answer | None:
    """Keep nothing that is added."""
    is_x_ = b'"x' in request.body
    is_addition = request.path == KINDS[world.kind].add and is_x_
    return document({"status": "ok"}) if is_addition else None


def changes(world: World) -> Sequence[Request]:
    kind = KINDS[world.kind]
    found = world.server.daemon.requests
    return [one for one in found if one.path == kind.add or one.path.startswith(kind.remove)]


@pytest.mark.parametrize("way", [hidden, renamed, flickering, kept, dropped])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_daemon_does_not_show_is_tried_again_with_pauses(kind: str, way: Way) -> None:
    async def happening(world: World) -> None:
        await world.act(event("want", number=0))
        await asyncio.sleep(5)
        world.server.trouble = lambda request: way(world, request)
        world.server.daemon.requests.clear()
        await world.act(event("want", number=1))
        await world.act(event("want", "y"))
        await asyncio.sleep(10)
        assert len(changes(world)) < MOST_AT_FIRST
        assert "y" in world.held()
        await asyncio.sleep(HOUR)
        assert len(changes(world)) < MOST
        world.server.trouble = lambda _: None
        await asyncio.sleep(900)
        if kind != "mdns":  # the registrations that were hidden end with their leases
            world.check()

    run_with_agent(kind, happening)
