"""The gate on real sockets, between clients that try everything and engines that do."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.api import API
from koi_agent.config import Config
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.gate.server import HEAD_PATIENCE, MOST_CONNECTIONS, Server
from koi_agent.gate.upstream import MOST, PATIENCE, Upstream
from koi_agent.host import engines
from koi_agent.host.listeners import ListenerTable
from tests.real.agents import eventually
from tests.unit.virtual_time import in_virtual_time, now

pytestmark = pytest.mark.usefixtures("leak_check")

LIST = b'[{"Id":"a","State":"running","Command":"secret"}]'
OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
ASK = b"GET /v1.41/containers/json HTTP/1.1\r\nHost: a\r\n\r\n"
ONCE = ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
CREATE = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"GET /_ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Engine:
    """What stands behind the gate; ``asked`` is what it was asked for, byte by byte."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.open = 0

    async def say(self, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + LIST)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await self.say(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1


@asynccontextmanager
async def gate(folder: Path, engine: Engine | None = None) -> AsyncIterator[Path]:
    """Have a gate before an engine, or before none; yields where it listens."""
    engine_path, path = folder / "engine.sock", folder / "gate.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    listener.settimeout(0)
    behind = await asyncio.start_unix_server(engine.answer, engine_path) if engine else None
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(Server(Upstream(str(engine_path))).run(listener))
            try:
                yield path
            finally:
                serving.cancel()
    finally:
        listener.close()
        if behind:
            behind.close()


async def say(path: Path, data: bytes) -> bytes:
    """Send bytes, and read all that comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(data)
        async with asyncio.timeout(600):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def test_a_list_comes_through_without_what_is_nobodys_business(
    tmp_path: Path, engine: Engine
) -> None:
    async with gate(tmp_path, engine) as path:
        said = await say(path, ASK + LAST)
    assert b'[{"Id":"a","State":"running"}' in said
    assert b"secret" not in said
    assert engine.asked == [b"GET /v1.41/containers/json HTTP/1.0\r\nHost: gate\r\n\r\n"]


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
        said = await say(path, attack)
        assert said.split(b" ")[1] in (b"403", b"431")
        assert said.count(b"HTTP/1.1") == 1
        assert engine.asked == []
        assert b"200 OK" in await say(path, LAST)


async def test_what_follows_a_question_is_judged_for_itself(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine) as path:
        said = await say(path, ASK + b"DELETE /v1.41/containers/a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (said.count(b"200 OK"), said.count(b"403 Forbidden")) == (1, 1)
    assert len(engine.asked) == 1


@in_virtual_time
async def test_a_slow_sender_is_left_and_holds_up_nobody(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine) as path:
        began = now()
        assert await say(path, b"GET /v1.41") == b""
        assert now() - began == pytest.approx(HEAD_PATIENCE)
        assert b"200 OK" in await say(path, ASK + LAST)


@in_virtual_time
async def test_many_connections_wait_for_their_turn(tmp_path: Path, engine: Engine) -> None:
    async with gate(tmp_path, engine) as path:
        idle = [await asyncio.open_unix_connection(path) for _ in range(MOST_CONNECTIONS)]
        async with asyncio.TaskGroup() as group:
            late = group.create_task(say(path, LAST))
            await asyncio.sleep(0.2)
            assert not late.done()
            for _, writer in idle:
                writer.close()
        assert b"200 OK" in late.result()


async def test_events_are_handed_on_one_by_one_and_end_with_who_listens(
    tmp_path: Path, engine: Engine
) -> None:
    more = asyncio.Event()

    async def say_events(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b'{"Type":"image","Action":"pull"}\n')
        for number in range(100):
            said = b'{"Type":"container","Action":"start","timeNano":%d,"from":"secret"}\n'
            writer.write(said % number)
            await writer.drain()
            await more.wait()
            more.clear()

    engine.say = say_events  # type: ignore[method-assign]
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


@pytest.mark.parametrize(("answer", "status"), [one[1:] for one in broken()])
async def test_an_engine_that_says_nonsense_is_told_of_in_our_words(
    tmp_path: Path, engine: Engine, answer: bytes, status: bytes
) -> None:
    async def say_so(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    engine.say = say_so  # type: ignore[method-assign]
    async with gate(tmp_path, engine) as path:
        said = await say(path, ONCE)
    assert said.split(b" ")[1] == status
    assert b"secret" not in said


async def test_an_engine_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    async with gate(tmp_path) as path:
        said = await say(path, ASK)
        assert b"502 Bad Gateway" in said
        assert b"No such file" in said
        async with API(str(path)) as api:
            with pytest.raises(BackendAbsent, match="no engine is behind it"):
                await api.engine()


@in_virtual_time
async def test_a_whole_answer_comes_to_a_slow_reader_that_asks_for_the_end(
    tmp_path: Path, engine: Engine
) -> None:
    record = b'{"Id":"%064d","State":"running"}'
    many = b"[" + b",".join(record % number for number in range(10_000)) + b"]"

    async def say_many(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + many)

    engine.say = say_many  # type: ignore[method-assign]
    async with gate(tmp_path, engine) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(ONCE)
        await asyncio.sleep(0.3)
        async with asyncio.timeout(60):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert said.endswith(b"\r\n0\r\n\r\n")
    assert said.count(b'"running"') == 10_000


@in_virtual_time
async def test_a_silent_engine_does_not_keep_connections(tmp_path: Path, engine: Engine) -> None:
    async def say_nothing(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * PATIENCE)

    engine.say = say_nothing  # type: ignore[method-assign,assignment]
    async with gate(tmp_path, engine) as path:
        for _ in range(MOST_CONNECTIONS):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /v1.41/events HTTP/1.1\r\nHost: a\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        assert b"200 OK" in await say(path, LAST)
        await eventually(lambda: not engine.open, "the engine is left", seconds=3 * PATIENCE)


async def test_an_event_that_is_too_long_is_passed_on_empty_and_the_next_one_whole(
    tmp_path: Path, engine: Engine
) -> None:
    async def say_much(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b'{"a":"' + b"a" * MOST + b'"}\n')
        writer.write(b'{"Type":"container","Action":"die"}\n')

    engine.say = say_much  # type: ignore[method-assign]
    async with gate(tmp_path, engine) as path:
        said = await say(
            path, b"GET /v1.41/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
    assert b"\r\n1\r\n\n\r\n" in said
    assert b'"Action":"die"' in said


async def test_a_gate_that_answers_knows_best_whether_there_is_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker.sock").touch()  # nobody can listen there
    monkeypatch.setitem(engines.SOCKETS, "docker", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(engines, "GATES", str(tmp_path / "gates"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    docker = Docker("docker", Config(scope="system"), ListenerTable())
    with pytest.raises(BackendLost, match="is no socket"):
        async with docker.session(lambda _: None):
            pass
    async with gate(tmp_path) as path:
        (tmp_path / "gates").mkdir()
        (tmp_path / "gates/docker.sock").symlink_to(path)
        with pytest.raises(BackendAbsent, match="no engine is behind it"):
            async with docker.session(lambda _: None):
                pass
