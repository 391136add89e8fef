"""Whatever an Incus does to its responses: after the next list, what runs is published."""

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.backends.incus.tunables import Tunables
from tests.runtimes.fake_guests import FakeGuest
from tests.runtimes.fake_incus import frame
from tests.runtimes.followed import SCRIPTS, eventually
from tests.runtimes.followed_incus import FollowedIncus, followed_incus

QUICK = Tunables(inspect_retry=0.05, list_delay=0.01, address_checks=(0.01, 0.05))
Step = Callable[[FollowedIncus, int], None]


def guest_at(server: FollowedIncus, number: int) -> FakeGuest | None:
    guests = list(server.guests.all.values())
    return guests[number % len(guests)] if guests else None


def act(name: str) -> Step:
    def step(server: FollowedIncus, number: int) -> None:
        if guest := guest_at(server, number):
            getattr(server.guests, name)(guest)

    return step


def launch(server: FollowedIncus, number: int) -> None:
    server.guests.launch(project="p+2" if number % 5 == 0 else f"p{number % 3}")


def mangled(into: Callable[[bytes], list[bytes]]) -> Step:
    def step(server: FollowedIncus, number: int) -> None:
        server.faults.messages.extend([into] * (number % 4 + 1))

    return step


def answering(endpoint: str, status: int) -> Step:
    def step(server: FollowedIncus, _number: int) -> None:
        server.faults.statuses.setdefault(endpoint, deque()).append(status)

    return step


def spoiling(endpoint: str, spoil: Callable[[bytes], bytes]) -> Step:
    def step(server: FollowedIncus, _number: int) -> None:
        server.faults.bodies.setdefault(endpoint, deque()).append(spoil)

    return step


def hold(server: FollowedIncus, number: int) -> None:
    server.faults.holds_events = number % 2 == 0
    if not server.faults.holds_events:
        server.fake.release()


def garbled(body: bytes) -> bytes:
    """Return a body with every other field of another type."""
    parsed = json.loads(body)
    metadata = parsed["metadata"]
    records = metadata if isinstance(metadata, list) else [metadata]
    for record in records[::2]:
        for key in list(record)[::2]:
            record[key] = [42]
    return json.dumps(parsed).encode()


def slow(endpoint: str) -> Step:
    def step(server: FollowedIncus, number: int) -> None:
        server.faults.delays.setdefault(endpoint, deque()).append(number / 5000)

    return step


STEPS: dict[str, Step] = {
    "launch": launch,
    **{name: act(name) for name in ("start", "stop", "stop_forcibly", "restart", "delete")},
    **{name: act(name) for name in ("pause", "resume", "snapshot", "update", "rename", "lease")},
    "drop": mangled(lambda _message: []),
    "double": mangled(lambda message: [message, message]),
    "garbage": mangled(lambda message: [b"\x00\xff}{", message]),
    "half a message": mangled(lambda message: [message[: len(message) // 2]]),
    "hold": hold,
    "ping": lambda server, _number: server.fake.send_frame(frame(0x9, b"ping")),
    "bad frame": lambda server, _number: server.fake.send_frame(b"\xf1\x01x"),
    "end": lambda server, _number: server.fake.end(),
    "cut": lambda server, _number: server.fake.cut(),
    "slow list": slow("list"),
    "slow instance": slow("instance"),
    "no list": answering("list", 500),
    "no instance": answering("instance", 500),
    "vanished": answering("instance", 404),
    "no events": answering("events", 500),
    "list cut": spoiling("list", lambda body: body[: len(body) // 2]),
    "list no JSON": spoiling("list", lambda _body: b"<html>"),
    "instance no JSON": spoiling("instance", lambda _body: b"{"),
    "instance garbled": spoiling("instance", garbled),
    "list garbled": spoiling("list", garbled),
}


@pytest.mark.timeout(240)
@settings(SCRIPTS, max_examples=80)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=80,
    )
)
def test_what_runs_is_published_after_the_next_list(script: list[tuple[str, int, bool]]) -> None:
    asyncio.run(run_script(script))


async def run_script(script: list[tuple[str, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with followed_incus(Path(folder), tunables=QUICK) as server:
            for number in range(3):
                launch(server, number)
            for step, number, waits in script:
                STEPS[step](server, number)
                await asyncio.sleep(0.003 if waits else 0)
            faults = server.faults
            faults.messages.clear()
            faults.statuses.clear()
            faults.bodies.clear()
            faults.holds_events = False
            server.fake.release()
            await server.settle()
            await server.settle()


LOSSLESS = sorted(
    {"launch", "start", "stop", "stop_forcibly", "restart", "delete", "pause", "resume"}
    | {"snapshot", "update", "rename", "hold", "double", "no instance", "instance no JSON"}
    | {"slow instance"}
)
"""Steps after which each event still arrives, if late, and each request works in the end."""


@pytest.mark.timeout(240)
@settings(SCRIPTS, max_examples=80)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(LOSSLESS), st.integers(0, 50), st.sampled_from([0, 1, 3])),
        min_size=5,
        max_size=60,
    )
)
def test_events_alone_lead_to_what_runs(script: list[tuple[str, int, int]]) -> None:
    asyncio.run(run_lossless(script))


async def run_lossless(script: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Checks of addresses would repair what an event left wrong.
        tunables = replace(QUICK, address_checks=())
        async with followed_incus(Path(folder), tunables=tunables) as server:
            for number in range(2):
                launch(server, number)
            for step, number, pause in script:
                STEPS[step](server, number)
                await asyncio.sleep(pause / 1000)
            server.faults.statuses.clear()
            server.faults.bodies.clear()
            server.faults.holds_events = False
            server.fake.release()
            await eventually(lambda: not server.disagreement(), server.disagreement)
            assert server.status.drift == 0
            assert server.status.reconnects == 0
