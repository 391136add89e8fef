"""Whole responses of an engine: the parser, and connections that stay open."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from koi_agent.backends.http_engine.connections import Connections
from koi_agent.backends.http_engine.response_parser import ResponseParser
from koi_agent.core.json_stream import StreamError
from tests.http.serving import until

pytestmark = pytest.mark.usefixtures("leak_check")

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 4\r\n\r\nbody"
CHUNKED = (
    OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\nTrailer: 1\r\n\r\n"
)


@pytest.mark.parametrize(
    ("response", "is_last"),
    [
        (SIZED, False),
        (CHUNKED, False),
        (CHUNKED.replace(b"2;", b"0002;").replace(b"chunked", b"Chunked"), False),
        (b"HTTP/1.1 102 Processing\r\n\r\n" + SIZED, False),
        (SIZED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), True),
        (SIZED.replace(b"1.1", b"1.0"), True),
        (
            SIZED.replace(b"1.1", b"1.0").replace(
                b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"
            ),
            False,
        ),
    ],
)
def test_a_response_is_the_same_in_any_pieces(response: bytes, *, is_last: bool) -> None:
    for size in range(1, len(response) + 1):
        parser = ResponseParser(4)
        for start in range(0, len(response), size):
            assert not parser.is_complete
            parser.feed(response[start : start + size])
        assert (parser.is_complete, parser.status, bytes(parser.body)) == (True, 200, b"body")
        assert parser.is_last is is_last


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    parser = ResponseParser(4)
    for piece in (OK + b"\r\nbo", b"dy"):
        parser.feed(piece)
        assert not parser.is_complete
    parser.end()
    assert (parser.is_complete, parser.is_last, bytes(parser.body)) == (True, True, b"body")


@pytest.mark.parametrize("response", [SIZED, CHUNKED])
def test_a_response_that_is_cut_off_is_an_error(response: bytes) -> None:
    for size in range(len(response)):
        parser = ResponseParser(4)
        parser.feed(response[:size])
        with pytest.raises(StreamError, match="within the response"):
            parser.end()


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (b"hello\r\n\r\n", "not HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "not HTTP"),
        (b"a" * 70_000, "not HTTP"),
        (OK + b"Content-Length: 5\r\n\r\n", "longer than 4 bytes"),
        (OK + b"\r\nhello", "longer than 4 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n", "longer than 4 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n3\r\n", "longer than 4 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbody\r\n", "chunk of another size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "without a size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 2000, "not HTTP"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "unknown transfer coding"),
        (
            OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            "unknown transfer coding",
        ),
        (OK + b"Content-Length: -4\r\n\r\n", "no valid length"),
        (OK + b"Content-Length: 4, 4\r\n\r\n", "no valid length"),
        (SIZED + b"more", "bytes after the response"),
    ],
)
def test_what_is_not_one_response_is_an_error(response: bytes, text: str) -> None:
    parser = ResponseParser(4)
    with pytest.raises(StreamError, match=text):
        parser.feed(response)
    assert not parser.is_complete or parser.is_last


@asynccontextmanager
async def engine(folder: Path, *answers: Sequence[bytes]) -> AsyncIterator[Connections]:
    """Serve one connection after the other, each with its own responses; close it after them.

    A response that is empty never comes.
    """
    rest = iter(answers)
    path = str(folder / "engine.sock")
    served: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(writer)
        with suppress(asyncio.IncompleteReadError, OSError):
            for answer in next(rest):
                await reader.readuntil(b"\r\n\r\n")
                if not answer:
                    await reader.read()
                writer.write(answer)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        served.remove(writer)

    server = await asyncio.start_unix_server(serve, path)
    connections = Connections(path, 100)
    try:
        yield connections
    finally:
        connections.close()
        server.close()
        await until(lambda: not served)


async def test_requests_share_a_connection(tmp_path: Path) -> None:
    async with engine(tmp_path, [SIZED, CHUNKED, SIZED.replace(b"200", b"404")]) as connections:
        found = [await connections.get("/one") for _ in range(3)]
    assert found == [(200, b"body"), (200, b"body"), (404, b"body")]


async def test_requests_at_one_time_have_connections_of_their_own(tmp_path: Path) -> None:
    async with (
        engine(tmp_path, [SIZED], [SIZED], [CHUNKED]) as connections,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(connections.get("/one")) for _ in range(3)]
    assert [task.result() for task in tasks] == [(200, b"body")] * 3


async def test_a_connection_in_use_is_closed_after_its_response(tmp_path: Path) -> None:
    async with engine(tmp_path, [SIZED, b"never"]) as connections, asyncio.TaskGroup() as group:
        asked = group.create_task(connections.get("/one"))
        await asyncio.sleep(0)
        connections.close()
        assert await asked == (200, b"body")
        assert not connections._idle


async def test_a_connection_that_the_engine_closed_is_replaced(tmp_path: Path) -> None:
    async with engine(tmp_path, [SIZED], [SIZED]) as connections:
        assert await connections.get("/one") == (200, b"body")
        assert await connections.get("/two") == (200, b"body")


async def test_a_new_connection_without_a_response_is_an_error(tmp_path: Path) -> None:
    async with engine(tmp_path, []) as connections:
        with pytest.raises(StreamError, match="ended before the response"):
            await connections.get("/one")


@pytest.mark.parametrize(
    "first",
    [b"", SIZED[:-1], SIZED + b"more", SIZED.replace(b"1.1", b"1.0"), OK + b"x\r\n\r\n" * 9],
)
async def test_a_connection_is_not_used_again_unless_its_response_was_whole(
    tmp_path: Path, first: bytes
) -> None:
    async with engine(tmp_path, [first, b"never"], [SIZED]) as connections:
        with suppress(StreamError, TimeoutError):
            async with asyncio.timeout(0.2):
                await connections.get("/one")
        assert await connections.get("/two") == (200, b"body")
