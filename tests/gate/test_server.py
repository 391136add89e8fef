"""The gate on real sockets, between hostile clients and hostile engines."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.api import connected
from koi_agent.backends.docker.kinds import DOCKER
from koi_agent.backends.docker.sockets import Candidate, Candidates
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.http_engine.socket_errors import UnixSocket
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.host.listeners import ListenerTable
from koi_agent.services.gate.limits import Limits
from koi_agent.services.gate.profiles import profile
from koi_agent.services.gate.server import Server
from koi_agent.services.gate.upstream import Upstream
from tests.real.agents import eventually

pytestmark = pytest.mark.usefixtures("leak_check")

LIST = b'[{"Id":"a","State":"running","Command":"secret"}]'
OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
ASK = b"GET /v1.41/containers/json HTTP/1.1\r\nHost: a\r\n\r\n"
ONCE = ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
CREATE = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"GET /_ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Engine:
    """An engine behind the gate; ``requests`` are the bytes that it received."""

    def __init__(self, respond: Respond) -> None:
        self.requests: list[bytes] = []
        self.open = 0
        self._respond = respond

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self._respond(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1


@asynccontextmanager
async def gate(
    folder: Path, engine: Engine | None = None, limits: Limits | None = None
) -> AsyncIterator[Path]:
    """Run a gate, with or without an engine behind it; yield the path of its socket."""
    engine_path, path = folder / "engine.sock", folder / "gate.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    listener.settimeout(0)
    behind = await asyncio.start_unix_server(engine.serve, engine_path) if engine else None
    try:
        async with asyncio.TaskGroup() as group:
            server = Server(profile("docker"), Upstream(str(engine_path), limits), limits)
            serving = group.create_task(server.run(listener))
            try:
                yield path
            finally:
                serving.cancel()
    finally:
        listener.close()
        if behind:
            behind.close()


async def send(path: Path, data: bytes) -> bytes:
    """Send bytes, and return everything that comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def send_list(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + LIST)


@pytest.fixture
def engine() -> Engine:
    return Engine(send_list)


async def test_a_list_passes_without_the_fields_that_the_agent_does_not_read(
    tmp_path: Path, engine: Engine
) -> None:
    async with gate(tmp_path, engine) as path:
        received = await send(path, ASK + LAST)
    assert b'[{"Id":"a","State":"running"}' in received
    assert b"secret" not in received
    assert engine.requests == [b"GET /v1.41/containers/json HTTP/1.0\r\nHost: gate\r\n\r\n"]


@pytest.mark.parametrize(
    "attack",
    [
        CREATE,
        b"GET /v1.41/containers/json HTTP/1.1\r\nHost: a\r\nContent-Length: 70\r\n\r\n" + CREATE,
        b"GET /version HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + CREATE,
        b"GET /exec/a/start HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        b"GET /v1.41/containers/json HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_an_attack_is_refused_once_and_nothing_of_it_reaches_the_engine(
    tmp_path: Path, engine: Engine, attack: bytes
) -> None:
    async with gate(tmp_path, engine) as path:
        received = await send(path, attack)
        assert received.split(b" ")[1] in (b"403", b"431")
        assert received.count(b"HTTP/1.1") == 1
        assert engine.requests == []
        assert b"200 OK" in await send(path, LAST)


async def test_the_end_of_a_connection_is_in_its_last_response(
    tmp_path: Path, engine: Engine
) -> None:
    async with gate(tmp_path, engine) as path:
        first, last = (await send(path, ASK + ONCE)).split(b"HTTP/1.1 200 OK")[1:]
    assert b"\r\nConnection: close\r\n" not in first
    assert b"\r\nConnection: close\r\n" in last


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    return [text.removeprefix("request refused: ") for text in texts if "refused" in text]


@pytest.mark.parametrize(
    "attack", [CREATE, b"\x16\x03\x01\r\n\r\n", b"GET /secrets HTTP/1.1\r\n\r\n"]
)
async def test_many_refusals_are_counted_instead_of_logged(
    tmp_path: Path, engine: Engine, attack: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with gate(tmp_path, engine, Limits(refusals=3, refusal_interval=3600.0)) as path:
        for _ in range(20):
            assert b"403" in await send(path, attack)
        assert len(refusals(caplog)) == 3
    assert refusals(caplog)[3:] == ["17 more like this were left out"]


async def test_refusals_are_logged_again_in_the_next_interval(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with gate(tmp_path, engine, Limits(refusals=1, refusal_interval=0.1)) as path:
        for _ in range(2):
            caplog.clear()
            await send(path, CREATE)
            await eventually(lambda: len(refusals(caplog)) == 1, "it is logged")
            await asyncio.sleep(0.2)
        assert len(refusals(caplog)) == 1


async def test_each_request_of_a_connection_is_checked(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine) as path:
        received = await send(path, ASK + b"DELETE /v1.41/containers/a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (received.count(b"200 OK"), received.count(b"403 Forbidden")) == (1, 1)
    assert len(engine.requests) == 1


async def test_a_slow_sender_is_disconnected(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine, Limits(head=0.3)) as path:
        assert await send(path, b"GET /v1.41") == b""
        assert b"200 OK" in await send(path, ASK + LAST)


async def test_connections_beyond_the_limit_wait(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine) as path:
        idle = [await asyncio.open_unix_connection(path) for _ in range(Limits().connections)]
        async with asyncio.TaskGroup() as group:
            late = group.create_task(send(path, LAST))
            await asyncio.sleep(0.2)
            assert not late.done()
            for _, writer in idle:
                writer.close()
        assert b"200 OK" in late.result()


async def test_events_pass_one_by_one_and_end_with_the_client(
    tmp_path: Path,
) -> None:
    more = asyncio.Event()

    async def send_events(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b'{"Type":"image","Action":"pull"}\n')
        for number in range(100):
            received = b'{"Type":"container","Action":"start","timeNano":%d,"from":"secret"}\n'
            writer.write(received % number)
            await writer.drain()
            await more.wait()
            more.clear()

    engine = Engine(send_events)
    async with gate(tmp_path, engine) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /v1.41/events?since=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(60):
            assert b"chunked" in await reader.readuntil(b"\r\n\r\n")
            for number in range(3):
                await reader.readuntil(b"\r\n")
                line = await reader.readuntil(b"\r\n")
                assert json.loads(line) == {
                    "Type": "container",
                    "Action": "start",
                    "timeNano": number,
                }
                more.set()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(60):
            while engine.open:
                more.set()
                await asyncio.sleep(0.01)


def broken() -> Iterator[tuple[str, bytes, bytes]]:
    yield "no HTTP", b"hello\r\n\r\n", b"504"
    yield "a status of its own", b"HTTP/1.0 404 Not Found\r\n\r\nsecret", b"404"
    yield "a strange status", b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", b"504"
    yield "nothing", b"", b"504"
    yield "half a head", b"HTTP/1.0 200 OK\r\nA: b", b"504"
    yield "no JSON", OK + b"secret", b"504"
    yield "an endless head", b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", b"504"


@pytest.mark.parametrize(("body", "status"), [one[1:] for one in broken()])
async def test_an_unusable_response_becomes_an_error_without_its_text(
    tmp_path: Path, body: bytes, status: bytes
) -> None:
    async def send_body(writer: asyncio.StreamWriter) -> None:
        writer.write(body)

    engine = Engine(send_body)
    async with gate(tmp_path, engine) as path:
        received = await send(path, ONCE)
    assert received.split(b" ")[1] == status
    assert b"secret" not in received


async def test_an_absent_engine_is_a_bad_gateway(tmp_path: Path) -> None:
    async with gate(tmp_path) as path:
        received = await send(path, ASK)
        assert b"502 Bad Gateway" in received
        assert b"No such file" in received
        with pytest.raises(BackendAbsent, match="this gate has no engine behind it"):
            async with connected(UnixSocket(str(path)), RequestLimits()):
                pass


async def test_a_slow_reader_gets_the_whole_response(
    tmp_path: Path,
) -> None:
    record = b'{"Id":"%064d","State":"running"}'
    many = b"[" + b",".join(record % number for number in range(10_000)) + b"]"

    async def send_many(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + many)

    engine = Engine(send_many)
    async with gate(tmp_path, engine) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(ONCE)
        await asyncio.sleep(0.3)
        async with asyncio.timeout(60):
            received = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert received.endswith(b"\r\n0\r\n\r\n")
    assert received.count(b'"running"') == 10_000


async def test_a_silent_engine_blocks_no_other_client(
    tmp_path: Path,
) -> None:

    async def send_nothing(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    engine = Engine(send_nothing)
    async with gate(tmp_path, engine, Limits(engine=0.3)) as path:
        for _ in range(Limits().connections):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /v1.41/events HTTP/1.1\r\nHost: a\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        assert b"200 OK" in await send(path, LAST)
        await eventually(lambda: not engine.open, "the connections to the engine are closed")


async def test_an_event_that_is_too_long_passes_as_an_empty_line(
    tmp_path: Path,
) -> None:

    async def send_long_event(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b'{"a":"' + b"a" * 100_000 + b'"}\n')
        writer.write(b'{"Type":"container","Action":"die"}\n')

    engine = Engine(send_long_event)
    async with gate(tmp_path, engine, Limits(record=20_000)) as path:
        received = await send(
            path, b"GET /v1.41/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
    assert b"\r\n1\r\n\n\r\n" in received
    assert b'"Action":"die"' in received


async def test_a_gate_without_an_engine_says_more_than_the_engines_socket(tmp_path: Path) -> None:
    socket_path = tmp_path / "docker.sock"
    socket_path.touch()  # a file, on which nothing can listen
    gate_path = tmp_path / "gates/docker.sock"
    candidates = Candidates(
        sockets=(
            Candidate(path=str(gate_path), is_gate=True),
            Candidate(path=str(socket_path), gate_unit="gate.path"),
        )
    )
    docker = Docker("docker", DOCKER, candidates, ListenerTable(), image_labels=True)
    with pytest.raises(BackendLost, match=r"docker\.sock: not a socket"):
        async with docker.session(lambda _: None):
            pass
    async with gate(tmp_path) as path:
        gate_path.parent.mkdir()
        gate_path.symlink_to(path)
        with pytest.raises(BackendAbsent, match="this gate has no engine behind it"):
            async with docker.session(lambda _: None):
                pass
