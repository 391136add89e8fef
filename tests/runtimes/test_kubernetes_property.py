"""Whatever a cluster does to its responses: after the next list, what runs is published."""

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtimes.followed import SCRIPTS
from tests.runtimes.followed_kubernetes import FollowedKubernetes, followed_kubernetes

Step = Callable[[FollowedKubernetes, int], None]


def act(name: str) -> Step:
    def step(server: FollowedKubernetes, number: int) -> None:
        if pods := list(server.cluster.pods):
            getattr(server.cluster, name)(pods[number % len(pods)])

    return step


def create(server: FollowedKubernetes, number: int) -> None:
    node = "n2" if number % 5 == 0 else "n1"
    uid = server.cluster.create(node=node, owner=f"rs-{number % 3}" if number % 2 else "")
    if number % 4:
        server.cluster.run(uid)


def annotate(server: FollowedKubernetes, number: int) -> None:
    if pods := list(server.cluster.pods):
        server.cluster.annotate(pods[number % len(pods)], f"Name {number}")


def serve(server: FollowedKubernetes, number: int) -> None:
    pods = list(server.cluster.pods)[number % 3 :: 2]
    server.cluster.serve(f"svc{number % 2}", pods, node_port=30000 + number % 7)


def mangled(into: Callable[[bytes], list[bytes]]) -> Step:
    def step(server: FollowedKubernetes, number: int) -> None:
        server.faults.lines.extend([into] * (number % 4 + 1))

    return step


def answering(endpoint: str, status: int) -> Step:
    def step(server: FollowedKubernetes, number: int) -> None:
        headers = {"Retry-After": str(number % 2)} if number % 3 else {}
        server.faults.answers.setdefault(endpoint, deque()).append((status, headers))

    return step


def spoiling(endpoint: str, spoil: Callable[[bytes], bytes]) -> Step:
    def step(server: FollowedKubernetes, _number: int) -> None:
        server.faults.bodies.setdefault(endpoint, deque()).append(spoil)

    return step


def toggle_streams(server: FollowedKubernetes, number: int) -> None:
    server.faults.streams_lists = number % 2 == 0


def hold(server: FollowedKubernetes, number: int) -> None:
    if number % 2:
        server.faults.silent.add("watch")
    else:
        server.faults.silent.discard("watch")


def end_streams(server: FollowedKubernetes, number: int) -> None:
    server.faults.ends_streams = number % 3


def expire(server: FollowedKubernetes, number: int) -> None:
    server.faults.expires_pages = number % 3


def garbled(line: bytes) -> list[bytes]:
    """Return an event with every other field of another type."""
    event = json.loads(line)
    for part in (event["object"], event["object"].get("metadata", {})):
        for key in list(part)[::2]:
            part[key] = [42]
    return [json.dumps(event).encode()]


STEPS: dict[str, Step] = {
    "create": create,
    "annotate": annotate,
    "serve": serve,
    "withdraw": lambda server, number: server.cluster.withdraw(f"svc{number % 2}"),
    **{name: act(name) for name in ("run", "crash", "end", "terminate", "remove")},
    "compact": lambda server, _number: server.cluster.compact(),
    "drop": mangled(lambda _line: []),
    "double": mangled(lambda line: [line, line]),
    "garbage": mangled(lambda line: [b"\x00\xff}{", line]),
    "half a line": mangled(lambda line: [line[: len(line) // 2]]),
    "garbled": mangled(garbled),
    "hold": hold,
    "streams": toggle_streams,
    "expire": expire,
    "end streams": end_streams,
    "end watches": lambda server, _number: server.fake.end(),
    "cut": lambda server, _number: server.fake.cut(),
    "no list": answering("list", 500),
    "busy list": answering("list", 429),
    "no stream": answering("stream", 500),
    "busy stream": answering("stream", 429),
    "no watch": answering("watch", 500),
    "busy watch": answering("watch", 503),
    "expired watch": answering("watch", 410),
    "unauthorized": answering("version", 401),
    "list cut": spoiling("list", lambda body: body[: len(body) // 2]),
    "list no JSON": spoiling("list", lambda _body: b"<html>"),
    "list of another type": spoiling("list", lambda _body: b"[]"),
}


@pytest.mark.timeout(600)
@settings(SCRIPTS, max_examples=40)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=60,
    )
)
def test_what_runs_is_published_after_the_next_list(script: list[tuple[str, int, bool]]) -> None:
    asyncio.run(run_script(script))


async def run_script(script: list[tuple[str, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with followed_kubernetes(Path(folder)) as server:
            for number in range(3):
                create(server, number)
            for step, number, waits in script:
                STEPS[step](server, number)
                await asyncio.sleep(0.003 if waits else 0)
            faults = server.faults
            faults.lines.clear()
            faults.answers.clear()
            faults.bodies.clear()
            faults.silent.clear()
            faults.expires_pages = faults.ends_streams = 0
            server.fake.cluster.on_change()
            await server.settle()
            await server.settle()
