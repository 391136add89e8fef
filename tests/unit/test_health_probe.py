"""One check against a real socket."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.probe import Unhealthy, probe
from koi_agent.core.instance import CheckKind
from koi_agent.core.reach.local import Target

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
CONNECTIONS = Path("/proc/net/tcp")
BY_BYTES = 100
"""The bytes at the start of a response that are sent one by one."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def check(
    port: int, kind: str = "http", address: str = "127.0.0.1", **other: object
) -> HealthCheck:
    fields = {"interval": 1.0, "timeout": 5.0, "unhealthy_after": 3} | other
    targets = (Target(address, port),)
    return HealthCheck(kind=CheckKind(kind), targets=targets, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def server(
    serve: Serve, address: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, address, 0, ssl=context)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        if answering:
            await asyncio.wait([task for task in answering if task])


def responding(response: bytes, requests: list[bytes] | None = None) -> Serve:
    """Return a server that sends this response and adds each request to ``requests``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        for byte in response[:BY_BYTES]:  # in as many segments, or records of TLS, as possible
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        writer.write(response[BY_BYTES:])
        await writer.drain()

    return serve


async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "HTTP 200"),
        (b"HTTP/1.0 204 \r\n\r\n", "HTTP 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 200\r\n\r\n" + b"x" * 10_000, "HTTP 200"),
    ],
)
async def test_a_successful_check_returns_the_status(response: bytes, message: str) -> None:
    async with server(responding(response)) as port:
        assert await probe(check(port)) == message


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"HTTP/1.1 500 secret\r\n\r\n", "^HTTP 500$"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "^HTTP 404$"),
        (b"SSH-2.0-OpenSSH\r\n", "^the response is not HTTP$"),
        (b"HTTP/1.1 2000 OK\r\n", "is not HTTP"),
        (b"", "closed at once"),
        (b"x" * 100_000, "is not HTTP"),
    ],
)
async def test_a_failed_check_gives_the_reason_without_text_of_the_server(
    response: bytes, why: str
) -> None:
    async with server(responding(response)) as port:
        with pytest.raises(Unhealthy, match=why):
            await probe(check(port))


async def test_the_request_has_path_and_host() -> None:
    requests: list[bytes] = []
    async with server(responding(b"HTTP/1.1 200 OK\r\n\r\n", requests), "::1") as port:
        await probe(check(port, address="::1", path="/up?a=b"))
    lines = requests[0].split(b"\r\n")
    assert lines[0] == b"GET /up?a=b HTTP/1.1"
    assert f"Host: [::1]:{port}".encode() in lines


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_a_check_of_a_closed_port_fails(kind: str) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        with pytest.raises(Unhealthy, match=r"^connection refused$"):
            await probe(check(door.getsockname()[1], kind))


async def test_a_check_of_a_silent_server_fails_after_the_timeout() -> None:
    async with server(silent) as port:
        with pytest.raises(Unhealthy, match=r"^no answer within 0\.5 s$"):
            await probe(check(port, timeout=0.5))
        assert await probe(check(port, "tcp")) == "connected"


async def test_a_connection_that_is_closed_at_once_is_unhealthy() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with server(hang_up) as port:
        with pytest.raises(Unhealthy, match="closed at once"):
            await probe(check(port, "tcp"))


async def test_a_check_never_connects_to_itself() -> None:
    """The kernel may use the port itself as the source port of a connection to it."""
    port = int(EPHEMERAL.read_text().split()[0]) + 1  # noqa: ASYNC240 - not on a disk
    for _ in range(3000):
        if not await is_refused(port):
            # A server of another program answers the second time too. A check rarely connects to
            # itself, and not twice.
            assert not await is_refused(port)
            port += 2


async def is_refused(port: int) -> bool:
    try:
        await probe(check(port, "tcp"))
    except Unhealthy as unhealthy:
        return "refused" in str(unhealthy)
    return False


async def test_no_connection_is_left_in_time_wait() -> None:
    async with server(responding(b"HTTP/1.1 200 OK\r\n\r\nhello")) as port:
        before = waiting(port)  # another program may have used this port
        for _ in range(50):
            await probe(check(port))
        assert waiting(port) <= before


def waiting(port: int) -> set[tuple[str, str]]:
    """Return both ends of the connections of a port that are in TIME_WAIT."""
    rows = [line.split()[1:4] for line in CONNECTIONS.read_text().splitlines()[1:]]
    ours = f":{port:04X}"
    return {(near, far) for near, far, state in rows if state == "06" and ours in near + far}


@pytest.fixture
def certified(tmp_path: Path) -> ssl.SSLContext:
    """The server's side of TLS, with a self-signed certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    made += ["-subj", "/CN=elsewhere.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_check_with_https_accepts_any_certificate(certified: ssl.SSLContext) -> None:
    async with server(responding(b"HTTP/1.1 200 OK\r\n\r\n"), context=certified) as port:
        assert await probe(check(port, scheme="https", timeout=5.0)) == "HTTP 200"
    async with server(no_tls) as port:
        with pytest.raises(Unhealthy, match="TLS failed"):
            await probe(check(port, scheme="https"))


async def test_the_host_is_that_of_the_check_and_else_the_address() -> None:
    requests: list[bytes] = []
    async with server(responding(b"HTTP/1.1 200 OK\r\n\r\n", requests)) as port:
        await probe(check(port, host="wiki.local"))
        await probe(check(port))
    fields = [request.split(b"\r\n")[1] for request in requests]
    assert fields == [b"Host: wiki.local", f"Host: 127.0.0.1:{port}".encode()]
