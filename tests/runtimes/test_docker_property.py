"""Whatever an engine does to its own words: after the next list the truth is published."""

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from koi_agent.backends.docker import session
from tests.runtimes.followed import Followed, followed
from tests.runtimes.truth import Box

Step = Callable[[Followed, int], None]


def box_of(engine: Followed, number: int) -> Box | None:
    boxes = list(engine.truth.boxes.values())
    return boxes[number % len(boxes)] if boxes else None


def act(name: str) -> Step:
    def step(engine: Followed, number: int) -> None:
        if box := box_of(engine, number):
            getattr(engine.truth, name)(box)

    return step


def run(engine: Followed, number: int) -> None:
    policy = "always" if number % 3 == 0 else ""
    health = "healthy" if number % 2 else ""
    engine.truth.run(port=1000 + number, policy=policy, health=health)


def mangled(into: Callable[[bytes], list[bytes]]) -> Step:
    def step(engine: Followed, number: int) -> None:
        engine.faults.lines.extend([into] * (number % 4 + 1))

    return step


def answering(endpoint: str, status: int) -> Step:
    def step(engine: Followed, _number: int) -> None:
        engine.faults.statuses.setdefault(endpoint, deque()).append(status)

    return step


def spoiling(endpoint: str, spoil: Callable[[bytes], bytes]) -> Step:
    def step(engine: Followed, _number: int) -> None:
        engine.faults.bodies.setdefault(endpoint, deque()).append(spoil)

    return step


def hold(engine: Followed, number: int) -> None:
    engine.faults.deaf = number % 2 == 0
    if not engine.faults.deaf:
        engine.fake.release()


def reorder(engine: Followed, _number: int) -> None:
    engine.fake._held.reverse()


def doubt(engine: Followed, _number: int) -> None:
    engine.follower._session and engine.follower._session._have_doubts("a test")  # type: ignore[attr-defined]


def garbled(body: bytes) -> bytes:
    """Give every other field another type."""
    said = json.loads(body)
    records = said if isinstance(said, list) else [said]
    for record in records[::2]:
        for key in list(record)[::2]:
            record[key] = [42]
    return json.dumps(said).encode()


STEPS: dict[str, Step] = {
    "run": run,
    **{name: act(name) for name in ("die", "again", "stop", "start", "restart", "remove")},
    **{name: act(name) for name in ("pause", "unpause", "rename", "check", "connect")},
    "drop": mangled(lambda _line: []),
    "double": mangled(lambda line: [line, line]),
    "garbage": mangled(lambda line: [b"\x00\xff}{\n", line]),
    "half a line": mangled(lambda line: [line[: len(line) // 2] + b"\n"]),
    "hold": hold,
    "reorder": reorder,
    "end": lambda engine, _number: engine.fake.end(),
    "cut": lambda engine, _number: engine.fake.cut(),
    "no list": answering("list", 500),
    "no inspection": answering("inspect", 500),
    "vanished": answering("inspect", 404),
    "no events": answering("events", 500),
    "list cut": spoiling("list", lambda body: body[: len(body) // 2]),
    "list no JSON": spoiling("list", lambda _body: b"<html>"),
    "inspection no JSON": spoiling("inspect", lambda _body: b"{"),
    "inspection cut": spoiling("inspect", lambda body: body[:5]),
    "inspection garbled": spoiling("inspect", garbled),
    "list garbled": spoiling("list", garbled),
    "doubt": doubt,
}


# A health event is lost, and then a list says of the container only that it is paused.
LOST_WHILE_PAUSED = [
    *[("drop", 32, True), ("check", 24, True), ("pause", 0, False), ("again", 0, False)],
    *[("again", 44, True), ("pause", 0, False), ("again", 24, True), ("again", 24, True)],
    *[("list no JSON", 34, False), ("again", 0, False), ("again", 34, False)],
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fresh", [session.FRESH, 0.0])
@pytest.mark.parametrize("name", ["docker", "podman"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=80,
    )
)
@example(script=LOST_WHILE_PAUSED)
def test_truth_is_published_after_the_next_list(
    name: str,
    fresh: float,
    script: list[tuple[str, int, bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing here takes as long as a real list lags behind: with 0 lists are believed at once.
    monkeypatch.setattr(session, "FRESH", fresh)
    asyncio.run(whole(name, script))


async def whole(name: str, script: list[tuple[str, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with followed(Path(folder), name) as engine:
            for number in range(3):
                run(engine, number)
            for step, number, rests in script:
                STEPS[step](engine, number)
                await asyncio.sleep(0.003 if rests else 0)
            faults = engine.faults
            faults.lines.clear()
            faults.statuses.clear()
            faults.bodies.clear()
            faults.deaf = False
            engine.fake.release()
            await engine.settle()
