"""Changes, restarts of a daemon, kills of the agent and other clients, at any moment.

In the end the daemon has what other clients made, and what the agent wants, and nothing else.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.host.koi_daemon.keeper import SETTLE
from koi_agent.host.koi_daemon.kinds import KINDS, LEASE
from koi_agent.host.koi_daemon.session import LOOK
from tests.unit.koi_world import NAMES, Event, World, run_with_agent

SECONDS: Final = 200
END: Final = 4 * LOOK + 2 * SETTLE + 2 * LEASE
ACTS: Final = ("want", "withdraw", "restart", "kill", "make", "remove", "hang", "cut", "late")
EVENTS: Final = st.lists(
    st.builds(
        Event,
        at=st.floats(0, SECONDS),
        act=st.sampled_from(ACTS),
        name=st.sampled_from(NAMES),
        number=st.integers(0, 2),
    ),
    max_size=12,
)


async def happen(world: World, events: Sequence[Event]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for event in sorted(events):
        await asyncio.sleep(max(0.0, began + event.at - loop.time()))
        await world.act(event)
    world.server.hangs = world.server.cuts = world.server.late = lambda _: False
    await asyncio.sleep(END)
    world.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_takes_effect_after_a_later_one_leaves_nothing(kind: str) -> None:
    events = [
        Event(1, "late", "x", 1),
        Event(2, "want", "x", 0),
        Event(4, "want", "x", 1),
        Event(90, "withdraw", "x", 0),
    ]
    run_with_agent(kind, lambda world: happen(world, events[:3]))
    run_with_agent(kind, lambda world: happen(world, events))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_the_daemon_ends_with_what_is_wanted_and_what_others_made(kind: str) -> None:
    @settings(max_examples=60)
    @given(EVENTS)
    def holds(events: list[Event]) -> None:
        run_with_agent(kind, lambda world: happen(world, events))

    holds()
