"""Whatever an engine does to its responses: after the next list, what runs is published."""

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from koi_agent.backends.docker.tunables import Tunables
from tests.runtimes.fake_containers import FakeContainer
from tests.runtimes.followed import SCRIPTS, Followed, followed

Step = Callable[[Followed, int], None]


def container_at(engine: Followed, number: int) -> FakeContainer | None:
    containers = list(engine.containers.all.values())
    return containers[number % len(containers)] if containers else None


def act(name: str) -> Step:
    def step(engine: Followed, number: int) -> None:
        if container := container_at(engine, number):
            getattr(engine.containers, name)(container)

    return step


def run(engine: Followed, number: int) -> None:
    policy = "always" if number % 3 == 0 else ""
    health = "healthy" if number % 2 else ""
    engine.containers.run(port=1000 + number, policy=policy, health=health)


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
    engine.faults.holds_events = number % 2 == 0
    if not engine.faults.holds_events:
        engine.fake.release()


def reorder(engine: Followed, _number: int) -> None:
    engine.fake.reverse_held()


def doubt(engine: Followed, _number: int) -> None:
    """Send a line that can't be parsed: any event may have been lost."""
    engine.fake.send(b"no event\n")


def garbled(body: bytes) -> bytes:
    """Return a body with every other field of another type."""
    parsed = json.loads(body)
    records = parsed if isinstance(parsed, list) else [parsed]
    for record in records[::2]:
        for key in list(record)[::2]:
            record[key] = [42]
    return json.dumps(parsed).encode()


STEPS: dict[str, Step] = {
    "run": run,
    **{name: act(name) for name in ("die", "stop", "start", "restart", "remove")},
    **{name: act(name) for name in ("pause", "unpause", "rename", "restart_by_policy")},
    **{name: act(name) for name in ("toggle_health", "toggle_network")},
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


# A health event is lost, and then the list says only that the container is paused.
LOST_WHILE_PAUSED = [
    ("drop", 32, True),
    ("toggle_health", 24, True),
    ("pause", 0, False),
    ("restart_by_policy", 0, False),
    ("restart_by_policy", 44, True),
    ("pause", 0, False),
    ("restart_by_policy", 24, True),
    ("restart_by_policy", 24, True),
    ("list no JSON", 34, False),
    ("restart_by_policy", 0, False),
    ("restart_by_policy", 34, False),
]

# Most lines of a container are lost in two steps.
LOST_TWICE = [
    ("drop", 26, True),
    ("die", 34, True),
    ("list cut", 35, True),
    ("drop", 26, True),
    ("start", 10, False),
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("list_lag", [Tunables().list_lag, 0.0])
@pytest.mark.parametrize("kind", ["docker", "podman"])
@settings(SCRIPTS, max_examples=60)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=80,
    )
)
@example(script=LOST_WHILE_PAUSED)
@example(script=LOST_TWICE)
def test_what_runs_is_published_after_the_next_list(
    kind: str,
    list_lag: float,
    script: list[tuple[str, int, bool]],
) -> None:
    # The fake's lists do not lag: with 0 they are applied to all containers.
    asyncio.run(run_script(kind, script, Tunables(list_lag=list_lag)))


async def run_script(kind: str, script: list[tuple[str, int, bool]], tunables: Tunables) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with followed(Path(folder), kind, tunables=tunables) as engine:
            for number in range(3):
                run(engine, number)
            for step, number, waits in script:
                STEPS[step](engine, number)
                await asyncio.sleep(0.003 if waits else 0)
            faults = engine.faults
            faults.lines.clear()
            faults.statuses.clear()
            faults.bodies.clear()
            faults.holds_events = False
            engine.fake.release()
            await engine.settle()
