"""The fake Koi daemon as a process: its breadcrumb, its ends, and how it misbehaves."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from koi_agent.host.http_client import Limits, RequestFailed, Response, client
from tests.unit.fake_koi import Clock, FakeKoi
from tests.unit.fake_koi_server import (
    BROKEN,
    ENDLESS,
    GARBAGE,
    NOT_FOUND,
    UNAUTHORIZED,
    KoiServer,
    served,
)
from tests.unit.fake_koi_wire import MEDIA_TYPE, Answer, Request

LIMITS = Limits(seconds=30, body=100_000)
NAME = b'{"name":"web","ip":"10.0.0.1"}'


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KoiServer]:
    async with served(FakeKoi(Clock()), tmp_path) as made:
        yield made


async def request(server: KoiServer, *, seconds: float = 30) -> Response:
    """Add a name with the token in the breadcrumb."""
    url, token = server.breadcrumb.read_text().splitlines()
    fields = {"x-koi-token": token.removeprefix("dat:"), "content-type": MEDIA_TYPE}
    limits = Limits(seconds=seconds, body=LIMITS.body)
    async with client(url) as made:
        return await made.request("POST", "/v1/dns/add", limits, headers=fields, body=NAME)


async def test_the_breadcrumb_leads_to_the_daemon(server: KoiServer) -> None:
    assert stat.S_IMODE(server.breadcrumb.stat().st_mode) == 0o600
    response = await request(server)
    assert (response.status, len(response.json()["entries"])) == (200, 1)
    (seen,) = server.daemon.requests
    assert (seen.place, seen.json()["name"]) == (("POST", "/v1/dns/add"), "web")


async def test_a_daemon_that_is_killed_leaves_its_breadcrumb(server: KoiServer) -> None:
    before = server.breadcrumb.read_text()
    await server.kill()
    assert server.breadcrumb.read_text() == before
    with pytest.raises(RequestFailed) as failed:
        await request(server)
    assert not failed.value.was_sent
    await server.restart()
    assert server.breadcrumb.read_text() != before
    assert (await request(server)).status == 200
    assert [one for one in server.daemon.mdns.network if one[0] == "goodbye"] == []


async def test_a_daemon_that_is_stopped_says_goodbye(server: KoiServer) -> None:
    network = server.daemon.mdns.network
    await server.stop()
    assert not server.breadcrumb.exists()
    assert network[-1][0] == "goodbye"


async def test_a_request_of_a_client_with_an_old_token_is_refused(server: KoiServer) -> None:
    server.daemon.start()
    assert (await request(server)).status == 401


@pytest.mark.parametrize("answer", [UNAUTHORIZED, NOT_FOUND, BROKEN])
async def test_errors_come_on_request(server: KoiServer, answer: Answer) -> None:
    server.trouble = lambda _: answer
    assert (await request(server)).status == answer.status
    assert server.daemon.names.held == []
    assert len(server.daemon.requests) == 1


async def test_what_is_not_http_comes_on_request(server: KoiServer) -> None:
    server.trouble = lambda _: GARBAGE
    with pytest.raises(RequestFailed, match="not HTTP"):
        await request(server)


async def test_a_body_without_an_end_comes_on_request(server: KoiServer) -> None:
    server.trouble = lambda _: ENDLESS
    with pytest.raises(RequestFailed, match="longer than 100000 bytes"):
        await request(server)


async def test_a_response_is_lost_on_request(server: KoiServer) -> None:
    server.cuts = lambda _: True
    with pytest.raises(RequestFailed, match="closed the connection"):
        await request(server)
    assert len(server.daemon.names.held) == 1


async def test_no_response_comes_on_request(server: KoiServer) -> None:
    server.hangs = lambda sent: sent.method == "POST"
    with pytest.raises(RequestFailed, match="no response"):
        await request(server, seconds=1)
    assert len(server.daemon.names.held) == 1


async def test_a_slow_daemon_makes_the_change_of_a_client_that_is_gone(server: KoiServer) -> None:
    server.delay, carried_out = 1, asyncio.Event()

    def carry_out(_: Request) -> bool:
        carried_out.set()
        return True

    server.cuts = carry_out
    with pytest.raises(RequestFailed, match="no response"):
        await request(server, seconds=0.5)
    await carried_out.wait()
    assert len(server.daemon.names.held) == 1
