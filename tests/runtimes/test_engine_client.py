"""The shared client of HTTP engines: bounds of a response, and the errors that a backend gets."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from koi_agent.backends.http_engine.client import EngineClient, RequestRefused
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.http_engine.sessions import URL, session
from koi_agent.backends.http_engine.socket_errors import NothingBehindGate, UnixSocket
from koi_agent.backends.http_engine.streams import MAX_BODY
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.json_stream import StreamError
from tests.real.agents import eventually

pytestmark = pytest.mark.usefixtures("leak_check")

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]

SMALL = RequestLimits(max_array=2000, max_line=1000)


def response(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def engine(
    folder: Path, respond: Respond | bytes, limits: RequestLimits | None = None
) -> AsyncIterator[EngineClient]:
    """Run an engine that sends one response on each connection, and yield a client of it."""
    path = folder / "engine.sock"
    connections: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            connections.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if isinstance(respond, bytes):
                writer.write(respond)
            else:
                await respond(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        async with EngineClient(UnixSocket(str(path)), limits or RequestLimits()) as client:
            yield client
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        if connections:
            await asyncio.wait(connections)


async def elements(client: EngineClient, pause: float = 0.0) -> list[object]:
    """Return the elements of an array, and wait after each slice."""
    found: list[object] = []
    async for part in client.get_array("list"):
        found += part
        await asyncio.sleep(pause)
    return found


async def test_a_response_is_decoded(tmp_path: Path) -> None:
    async with engine(tmp_path, response(b'{"a": [1]}')) as client:
        assert await client.get_json("version") == {"a": [1]}


async def test_an_array_is_decoded_in_slices(tmp_path: Path) -> None:
    value = [{"number": number} for number in range(120)]
    async with engine(tmp_path, response(json.dumps(value).encode())) as client:
        parts = [part async for part in client.get_array("list")]
    assert [element for part in parts for element in part] == value
    assert max(map(len, parts)) == 50


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (response(b"<html>"), "the response is not JSON"),
        (response(b"[" * 100_000), "the response is not JSON"),
        (response(b""), "the response is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "the connection ended within"),
        (b"", "the connection ended before the response"),
        (b"hello\r\n\r\n", "the response is not HTTP"),
        (response(b" " * (MAX_BODY + 1)), f"the response is longer than {MAX_BODY} bytes"),
        (response(b"", "302 Found", "Location: /elsewhere"), "HTTP status 302"),
        (response(b'{"message": "it is\\nbroken"}', "500 No"), r"HTTP status 500: it is\x0abroken"),
        (response(b'{"error": "not authorized"}', "403 No"), "HTTP status 403: not authorized"),
        (response(b"secret", "404 No"), "HTTP status 404"),
        (response(b'["secret"]', "404 No"), "HTTP status 404"),
    ],
)
async def test_an_unusable_response_is_a_lost_backend(
    tmp_path: Path, body: bytes, text: str
) -> None:
    async with engine(tmp_path, body) as client:
        with pytest.raises(BackendLost) as caught:
            await client.get_json("version")
    assert str(caught.value).startswith(f"{tmp_path}/engine.sock: GET /version: {text}")
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, BackendAbsent)


async def test_a_refused_request_has_its_status(tmp_path: Path) -> None:
    async with engine(tmp_path, response(b"{}", "404 Not Found")) as client:
        with pytest.raises(RequestRefused) as caught:
            await elements(client)
        assert caught.value.status == 404


async def test_a_gate_without_an_engine_is_an_absent_backend(tmp_path: Path) -> None:
    async with engine(tmp_path, response(b"{}", "502 Bad Gateway")) as client:
        with pytest.raises(NothingBehindGate, match="no engine behind it"):
            await client.get_json("version")


async def test_a_missing_socket_is_an_absent_backend(tmp_path: Path) -> None:
    async with EngineClient(UnixSocket(f"{tmp_path}/none.sock"), RequestLimits()) as client:
        with pytest.raises(BackendAbsent, match=r"none\.sock: no such socket"):
            await client.get_json("version")


async def test_an_engine_that_does_not_respond_is_lost_in_time(tmp_path: Path) -> None:
    async def wait(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[")
        await asyncio.sleep(60)

    async with engine(tmp_path, wait, RequestLimits(response=0.3, array=0.3)) as client:
        for request in (client.get_json("version"), elements(client)):
            with pytest.raises(BackendLost, match="no response in time"):
                await request


async def test_an_array_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    async with engine(tmp_path, response(b"[" + b"1," * 2000 + b"1]"), SMALL) as client:
        with pytest.raises(BackendLost, match="longer than 2000 bytes"):
            await elements(client)


async def test_a_timeout_while_an_array_is_consumed_is_an_error_of_the_request(
    tmp_path: Path,
) -> None:
    async def send_half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n[" + b"1," * 60)
        await writer.drain()
        await asyncio.sleep(60)

    async with engine(tmp_path, send_half, RequestLimits(array=2.0)) as client:
        with pytest.raises(BackendLost, match="no response in time"):
            await elements(client, 1.5)


async def test_a_request_of_an_ended_session_is_a_lost_backend(tmp_path: Path) -> None:
    async with engine(tmp_path, response(b"[]")) as client:
        pass
    with pytest.raises(BackendLost, match="the session has ended"):
        await client.get_json("late")
    with pytest.raises(BackendLost, match="the session has ended"):
        await elements(client)


async def test_a_stream_has_lines_until_it_is_closed(tmp_path: Path) -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\none\ntwo\n" + b"a" * 5000 + b"\nthree\n")
        await writer.drain()
        await asyncio.sleep(2.1)  # longer than a stream may take to begin

    async with engine(tmp_path, stream, RequestLimits(stream=2.0, max_line=1000)) as client:
        lines = await client.open_lines("events")
        found: list[bytes] = []
        async for batch in lines.batches():
            found += batch
        lines.close()
    assert found == [b"one", b"two", b"", b"three"]


async def test_a_stream_passes_lines_on_as_they_arrive(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\none\ntw")
        await writer.drain()
        await more.wait()
        writer.write(b"o\n" + b"a" * 5000 + b"\nthree\nunfinished")

    async with engine(tmp_path, stream, SMALL) as client:
        lines = await client.open_lines("events")
        found: list[bytes] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(lines.follow(found.extend))
            await eventually(lambda: found == [b"one"], "the first line")
            more.set()
        lines.close()
    assert found == [b"one", b"two", b"", b"three"]


@pytest.mark.parametrize("end", ["", "0\r\n\r\n"], ids=["within", "last bytes"])
async def test_an_error_of_the_consumer_of_a_stream_is_raised_as_it_is(
    tmp_path: Path, end: str
) -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"4\r\none\n\r\n" + end.encode())
        await asyncio.sleep(60)

    def refuse(_lines: Sequence[bytes]) -> None:
        raise ValueError("a bug")

    logged: list[Mapping[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    async with engine(tmp_path, stream) as client:
        lines = await client.open_lines("events")
        with pytest.raises(ValueError, match="a bug"):
            await lines.follow(refuse)
        lines.close()
    assert len(logged) == 1


@pytest.mark.parametrize(
    "head",
    ["Transfer-Encoding: odd\r\n", "Content-Length: x\r\n", "Transfer-Encoding: chunked\r\n"],
)
async def test_a_stream_with_a_head_that_is_not_valid_does_not_open(
    tmp_path: Path, head: str
) -> None:
    async with engine(tmp_path, f"HTTP/1.1 200 OK\r\n{head}\r\nnonsense\r\n".encode()) as client:
        with pytest.raises(BackendLost, match="GET /events: the response has"):
            await client.open_lines("events")


async def test_an_error_frees_its_stream_and_ends_the_connection(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"x\r\n")
        with suppress(OSError):
            while True:
                writer.write(bytes(2**16))
                await writer.drain()
        ended.set()

    gc.disable()
    try:
        async with engine(tmp_path, stream) as client:
            lines = await client.open_lines("events")
            freed = weakref.ref(lines)
            with pytest.raises(BackendLost, match="a chunk without a size"):
                await lines.follow(lambda _lines: None)
            async with asyncio.timeout(60):
                await ended.wait()
            lines.close()
            del lines
            assert freed() is None
    finally:
        gc.enable()


async def test_an_engine_sends_no_faster_than_lines_are_taken(tmp_path: Path) -> None:
    sent: list[int] = []
    line = b"a" * 999 + b"\n"

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for number in range(200):
            writer.write(100 * line)
            await writer.drain()
            sent.append(number)

    async with engine(tmp_path, stream) as client:
        lines = await client.open_lines("events")
        await asyncio.sleep(1)
        assert len(sent) < 100
        found = [one async for batch in lines.batches() for one in batch]
        lines.close()
    assert len(found) == 20_000


async def test_a_stream_that_breaks_is_a_lost_backend(tmp_path: Path) -> None:
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n40\r\ntw"
    async with engine(tmp_path, body) as client:
        lines = await client.open_lines("events")
        with pytest.raises(BackendLost, match="GET /events: the connection ended within"):
            async for _ in lines.batches():
                pass
        lines.close()
        followed = await client.open_lines("events")
        with pytest.raises(BackendLost, match="GET /events: the connection ended within"):
            await followed.follow(lambda _lines: None)
        followed.close()


@pytest.mark.parametrize("method", ["read", "text", "json"])
async def test_the_bound_holds_for_a_client_library_on_the_session(
    tmp_path: Path, method: str
) -> None:
    async with (
        engine(tmp_path, response(b" " * (MAX_BODY + 1))) as client,
        session(client.socket.path) as opened,
        opened.get(f"{URL}/info") as found,
    ):
        with pytest.raises(StreamError, match="longer than"):
            await getattr(found, method)()


async def test_a_stream_ends_with_its_client(tmp_path: Path) -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await writer.drain()
        await asyncio.sleep(60)

    async with engine(tmp_path, stream) as client:
        lines = (await client.open_lines("events")).batches()
        assert await anext(lines) == [b"one"]
    with pytest.raises(BackendLost, match="GET /events: the connection ended within"):
        await anext(lines)
