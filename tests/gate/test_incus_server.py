"""The gate of Incus on real sockets, between a client and a server that misbehaves."""

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from koi_agent.backends.http_engine.client import EngineClient, RequestRefused
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.http_engine.socket_errors import NothingBehindGate, UnixSocket
from koi_agent.backends.incus.events import Event, parse_event
from koi_agent.core.errors import BackendLost
from koi_agent.host.incus import EVENTS, LIST, instance_path
from koi_agent.services.gate.limits import Limits
from koi_agent.services.gate.profiles import profile
from koi_agent.services.gate.server import Server
from koi_agent.services.gate.upstream import Upstream
from tests.runtimes.fake_incus import FakeIncus, frame
from tests.runtimes.followed import eventually

pytestmark = pytest.mark.usefixtures("leak_check")
SECRET = "not for you"
QUICK = Limits(engine=0.3, engine_pause=0.3, response=0.5)


@asynccontextmanager
async def gate(folder: Path, limits: Limits | None = None) -> AsyncIterator[EngineClient]:
    """Run a gate before the socket of a server, and yield a client of the gate."""
    path = folder / "gate.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    listener.settimeout(0)
    upstream = Upstream(str(folder / "unix.socket"), limits)
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(Server(profile("incus"), upstream, limits).run(listener))
            try:
                async with EngineClient(UnixSocket(str(path)), RequestLimits(response=5)) as client:
                    yield client
            finally:
                serving.cancel()
    finally:
        listener.close()


async def test_instances_pass_without_their_secrets(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        web = fake.guests.launch("web", "p+2", config={"user.koi.name": "Web"})
        server = await client.get_json("1.0")
        assert server["metadata"]["environment"]["server"] == "incus"
        listed = await client.get_json(LIST.lstrip("/"))
        shown = await client.get_json(instance_path("p+2", "web").lstrip("/"))
        assert [shown["metadata"]] == listed["metadata"]
        assert shown["metadata"]["expanded_config"]["user.koi.name"] == "Web"
        assert shown["metadata"]["state"]["pid"] == web.started
        assert SECRET not in json.dumps(listed)


async def test_a_list_that_is_longer_than_one_record_passes(tmp_path: Path) -> None:
    small = Limits(record=5000)
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path, small) as client:
        for number in range(20):
            fake.guests.launch(f"web{number}")
        listed = await client.get_json(LIST.lstrip("/"))
        assert len(listed["metadata"]) == 20


async def test_events_pass_as_lines_and_end_with_the_client(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        stream = await client.open_lines(EVENTS.lstrip("/"))
        assert fake.is_followed()
        fake.send(json.dumps({"type": "logging", "metadata": {"message": SECRET}}).encode())
        fake.send_frame(frame(0x9, b"ping"))
        fake.guests.launch("web")
        seen: list[object] = []
        async for lines in stream.batches():
            seen += map(parse_event, lines)
            if len(seen) >= 2:
                break
        actions = [event.action for event in seen if isinstance(event, Event)]
        assert actions == ["instance-created", "instance-started"]
        stream.close()
        await eventually(lambda: not fake.is_followed(), "the server's stream has ended")


async def test_an_end_of_the_events_reaches_the_client(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        for end in (fake.end, fake.cut, lambda: fake.send_frame(b"\xf1\x00")):
            stream = await client.open_lines(EVENTS.lstrip("/"))
            end()
            with suppress(BackendLost):
                async with asyncio.timeout(20):
                    async for _ in stream.batches():
                        raise AssertionError("no event was sent")
            stream.close()


async def test_a_missing_instance_is_a_404_on_an_open_connection(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket"), gate(tmp_path) as client:
        for _ in range(3):
            with pytest.raises(RequestRefused, match="HTTP status 404"):
                await client.get_json(instance_path("default", "gone").lstrip("/"))


async def test_a_request_that_is_not_allowed_does_not_reach_the_server(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        for path in ("1.0/certificates", "1.0/instances", "internal/sql", "1.0/events"):
            with pytest.raises(RequestRefused, match="koi-runtime-gate"):
                await client.get_json(path)
        assert fake.requests == []


@pytest.mark.parametrize("endpoint", ["list", "events"])
async def test_a_silent_server_costs_its_own_request(tmp_path: Path, endpoint: str) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path, QUICK) as client:
        fake.faults.silent.add(endpoint)
        path = {"list": LIST, "events": EVENTS}[endpoint].lstrip("/")
        with pytest.raises(RequestRefused, match="no response in time"):
            await client.open_lines(path)
        assert await client.get_json("1.0")


async def test_a_refusal_of_the_server_reaches_the_client_without_its_text(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        for endpoint, path in (("list", LIST), ("events", EVENTS)):
            fake.faults.statuses[endpoint] = deque([403, 418])
            for status in (403, 504):
                with pytest.raises(RequestRefused, match=f"HTTP status {status}") as refused:
                    await client.open_lines(path.lstrip("/"))
                assert "broken" not in str(refused.value)


async def test_a_response_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket") as fake, gate(tmp_path) as client:
        fake.faults.bodies["list"] = deque([lambda _body: SECRET.encode() * 9000])
        with pytest.raises(RequestRefused, match="not a JSON object") as refused:
            await client.get_json(LIST.lstrip("/"))
        assert SECRET not in str(refused.value)


async def test_a_gate_without_a_server_says_so(tmp_path: Path) -> None:
    async with gate(tmp_path) as client:
        for open_ in (client.get_json("1.0"), client.open_lines(EVENTS.lstrip("/"))):
            with pytest.raises(NothingBehindGate):
                await open_
