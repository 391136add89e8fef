"""The gate of Caddy on real sockets, between an agent that may be hostile and a Caddy."""

import asyncio
import copy
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koi_agent.capabilities.proxy.providers import Caddy
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.errors import ConfigError
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.agent_mark import agent_mark
from koi_agent.host.caddy.objects import Names
from koi_agent.services.gate.caddy.bodies import Allowed
from koi_agent.services.gate.caddy.profile import caddy_profile
from koi_agent.services.gate.limits import Limits
from koi_agent.services.gate.server import Server
from koi_agent.services.gate.upstream import Upstream
from tests.gate.caddy_requests import ALLOWED, POLICY, SERVER, head, sent, served
from tests.gate.test_caddy_views import RICH, SECRET
from tests.gate.test_server import send
from tests.real.agents import eventually
from tests.unit import fake_caddy_server
from tests.unit.caddy_configurations import NAMES
from tests.unit.dns_zones import complete
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.fake_caddy_server import CaddyServer
from tests.unit.proxy_routes import put, route

pytestmark = pytest.mark.usefixtures("leak_check")

READ = sent("GET", "/config/")
WATCH = head("GET", "/config/admin")


@asynccontextmanager
async def gate(
    folder: Path,
    caddy: FakeCaddy,
    *,
    names: Names = NAMES,
    allowed: Allowed | ConfigError = ALLOWED,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[Path, CaddyServer]]:
    """Run a gate before a Caddy; yield the path of its socket, and the Caddy."""

    def settings() -> Allowed:
        if isinstance(allowed, ConfigError):
            raise allowed
        return allowed

    path = folder / "gate.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        listener.settimeout(0)
        async with fake_caddy_server.served(caddy, folder / "admin.sock") as behind:
            server = Server(
                caddy_profile(names, settings), Upstream(str(behind.path), limits), limits
            )
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.run(listener))
                yield path, behind
                serving.cancel()


def content(received: bytes) -> Any:
    return json.loads(received.partition(b"\r\n\r\n")[2])


def status(received: bytes) -> int:
    return int(received.split(b" ")[1])


async def test_the_agent_serves_its_routes_through_the_gate(tmp_path: Path) -> None:
    caddy = FakeCaddy(copy.deepcopy(RICH), has_etag=True)
    reported: dict[Key, Sequence[RecordStatus]] = {}
    one, two = route(port=8443), route("b", "shop.internal", port=8443, scheme="https")
    async with gate(tmp_path, caddy, names=Names(agent_mark("system"))) as (path, behind):
        provider = Caddy("system", AdminAddress(path=str(path)))
        async with provider.session(reported.__setitem__) as opened, asyncio.TaskGroup() as group:
            running = group.create_task(opened.run())
            complete(opened)
            for routes in ((one,), (one, two)):
                await put(opened, *routes)
                await eventually(lambda: announced(reported), f"announced: {reported}")
            caddy.load()  # as a reload does: the routes are gone
            behind.change()
            await eventually(lambda: "shop.internal" in json.dumps(caddy.root), "they are back")
            running.cancel()
        assert "shop.internal" not in json.dumps(caddy.root)
        assert behind.hosts == {""}
    assert caddy.root["apps"]["http"] == RICH["apps"]["http"]


def announced(reported: dict[Key, Sequence[RecordStatus]]) -> bool:
    found = [one.state for of_owner in reported.values() for one in of_owner]
    return bool(found) and {*found} == {RecordState.ANNOUNCED}


async def test_nothing_of_others_is_read(tmp_path: Path) -> None:
    async with gate(tmp_path, FakeCaddy(RICH)) as (path, _):
        received = await send(path, READ)
        assert status(received) == 200
        assert SECRET.encode() not in received
        assert re.search(rb'Etag: "[0-9a-f]{32}"', received)
        assert await send(path, WATCH + b"x") == (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnull"
        )


@pytest.mark.parametrize(
    "attack",
    [
        sent("POST", "/load", {"admin": {"disabled": True}}),
        sent("POST", "/stop"),
        sent("POST", "/adapt", {}),
        sent("GET", "/pki/ca/local"),
        sent("DELETE", "/config/"),
        sent("POST", "/config/", {"apps": {}}),
        sent("PATCH", SERVER, {"listen": [":443"]}),
        sent("DELETE", "/config/apps/http/servers/srv0"),
        head("PATCH", SERVER, {"Transfer-Encoding": "chunked"}) + b"2\r\n{}\r\n0\r\n\r\n",
        head("POST", "/load", {"Content-Length": str(2**30)}) + b"{}",
        head("PATCH", SERVER, {"Content-Length": "8388609"}) + b"{}",
        head("PATCH", SERVER, {"Content-Length": "4"}) + b"{}{}",
        head("PATCH", SERVER, {"Content-Length": "13"}) + b'{"a":1,"a":1}',
        head("GET", "/config/", {"Content-Length": "40"}) + sent("POST", "/stop"),
        sent("POST", "/stop").replace(b"\r\n", b"\n"),
    ],
)
async def test_an_attack_is_refused_and_nothing_of_it_reaches_caddy(
    tmp_path: Path, attack: bytes
) -> None:
    caddy = FakeCaddy(served()[0])
    before = copy.deepcopy(caddy.root)
    async with gate(tmp_path, caddy, limits=Limits(head=0.5)) as (path, behind):
        received = await send(path, attack)
        assert received == b"" or status(received) == 403
        assert received.count(b"HTTP/1.1") == (1 if received else 0)
        assert behind.seen == []
        assert caddy.root == before
        assert status(await send(path, READ)) == 200


async def test_each_request_of_a_connection_is_checked(tmp_path: Path) -> None:
    root, body = served()
    caddy = FakeCaddy(root)
    text = json.dumps(body).encode()
    change = head("PATCH", SERVER, {"Content-Length": str(len(text))}) + text
    async with gate(tmp_path, caddy) as (path, behind):
        received = await send(path, change + change + sent("POST", "/stop") + change)
        assert re.findall(rb"HTTP/1.1 ([0-9]+)", received) == [b"200", b"200", b"403"]
        assert behind.seen == [("PATCH", SERVER)] * 2


async def test_a_change_is_made_to_the_known_configuration_only(tmp_path: Path) -> None:
    root, body = served()
    for has_etag in (False, True):
        caddy = FakeCaddy(root, has_etag=has_etag)
        folder = tmp_path / str(has_etag)
        folder.mkdir()
        async with gate(folder, caddy) as (path, behind):
            found = re.search(rb'Etag: ("[^"]+")', await send(path, READ))
            assert found
            text = json.dumps(body).encode()
            fields = {"If-Match": found[1].decode(), "Content-Length": str(len(text))}
            change = head("PATCH", SERVER, fields | {"Connection": "close"}) + text
            caddy.root["logging"] = {}  # what the agent does not see
            assert status(await send(path, change)) == 412
            assert behind.seen == []
            caddy.root.pop("logging")
            assert status(await send(path, change)) == 200
            assert status(await send(path, change)) == 412


async def test_the_end_of_a_connection_tells_of_a_change(tmp_path: Path) -> None:
    async with gate(tmp_path, FakeCaddy(RICH)) as (path, behind):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(WATCH)
        async with asyncio.timeout(60):
            await reader.readuntil(b"null")
            behind.change()
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_watch_ends_with_its_client(tmp_path: Path) -> None:
    async with gate(tmp_path, FakeCaddy(RICH)) as (path, behind):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(WATCH)
        async with asyncio.timeout(60):
            await reader.readuntil(b"null")
        await eventually(lambda: len(behind.open) == 1, "Caddy has the connection")
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not behind.open, "the connection to Caddy is closed")


async def test_an_absent_caddy_is_a_bad_gateway(tmp_path: Path) -> None:
    async with gate(tmp_path, FakeCaddy(RICH)) as (path, behind):
        await behind.stop()
        for request in (READ, WATCH, sent("DELETE", POLICY)):
            assert status(await send(path, request)) == 502


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "http app: start: listening on :443: listen tcp :443: bind: address already in use",
            "listening on :443: listen tcp :443: bind: address already in use",
        ),
        ('json: unknown field "stream_close_delay"', 'unknown field "stream_close_delay"'),
        ("provision tls: open /etc/ssl/s3cret.pem: permission denied", "the reason is in the log"),
        ("dial redis://:s3cret@db", "the reason is in the log"),
    ],
)
async def test_a_reason_of_caddy_has_nothing_of_others(
    tmp_path: Path, text: str, shown: str
) -> None:
    root, body = served()
    async with gate(tmp_path, FakeCaddy(root)) as (path, behind):
        refusal = fake_caddy_server.response(500, {"error": text})
        behind.answer = lambda method, _path: refusal if method == "PATCH" else None
        received = await send(path, sent("PATCH", SERVER, body))
    assert status(received) == 500
    assert content(received)["error"].startswith(shown)
    assert SECRET.encode() not in received


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 403 Forbidden\r\n\r\ns3cret",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
        b"s3cret",
        b"HTTP/1.1 200 OK\r\n\r\n[" + b" " * 3_000_000 + b"]",
    ],
)
async def test_an_unusable_response_becomes_an_error(tmp_path: Path, answer: bytes) -> None:
    limits = Limits(record=2_000_000)
    async with gate(tmp_path, FakeCaddy(RICH), limits=limits) as (path, behind):
        behind.answer = lambda _method, _path: answer
        for request in (READ, sent("DELETE", POLICY)):
            received = await send(path, request)
            assert status(received) == 504
            assert SECRET.encode() not in received


async def test_without_its_configuration_the_gate_changes_nothing(tmp_path: Path) -> None:
    root, body = served()
    error = ConfigError("koi-runtime.conf:3: [Proxy] Ports=: 0 is not a port")
    async with gate(tmp_path, FakeCaddy(root), allowed=error) as (path, behind):
        received = await send(path, sent("PATCH", SERVER, body))
        assert status(received) == 503
        assert "Ports=: 0 is not a port" in content(received)["error"]
        assert behind.seen == []
        assert status(await send(path, READ)) == 200


async def test_a_slow_body_ends_its_connection_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root, body = served()
    async with gate(tmp_path, FakeCaddy(root), limits=Limits(body=0.3)) as (path, behind):
        begin = head("PATCH", SERVER, {"Content-Length": "1000"}) + b"{"
        assert await send(path, begin) == b""
        assert behind.seen == []
        assert status(await send(path, sent("PATCH", SERVER, body))) == 200
    assert "bug" not in caplog.text


async def test_the_agent_waits_for_a_caddy_that_is_not_there_yet(tmp_path: Path) -> None:
    caddy = FakeCaddy(copy.deepcopy(RICH))
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with gate(tmp_path, caddy, names=Names(agent_mark("system"))) as (path, behind):
        await behind.stop()
        behind.path.unlink()
        provider = Caddy("system", AdminAddress(path=str(path)))
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(serve_once(provider, reported))
            await asyncio.sleep(0.5)
            assert not opening.done()
            assert not reported
            await behind.start()
        assert announced(reported)


async def serve_once(provider: Caddy, reported: dict[Key, Sequence[RecordStatus]]) -> None:
    """Serve a route until it is announced."""
    async with provider.session(reported.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        await put(opened, route(port=8443))
        await eventually(lambda: announced(reported), f"announced: {reported}")
        running.cancel()
