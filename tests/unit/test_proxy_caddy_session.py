"""The session with a Caddy that answers slowly, wrongly, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from koi_agent.capabilities.proxy.caddy.session import PERIOD
from koi_agent.capabilities.proxy.providers import Caddy
from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.agent_mark import agent_mark
from koi_agent.host.caddy.objects import Names
from tests.real.agents import eventually
from tests.unit.dns_zones import complete, key
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.fake_caddy_server import CaddyServer, response, served
from tests.unit.proxy_routes import put, route

NAMES: Final = Names(agent_mark("system"))
FILE: Final = {"apps": {"http": {"servers": {"srv0": {"listen": [":80"]}}}}}
Reported = dict[Key, Sequence[RecordStatus]]


@asynccontextmanager
async def session(
    server: CaddyServer, reported: Reported | None = None
) -> AsyncIterator[ProviderSession[Route]]:
    report = reported if reported is not None else {}
    provider = Caddy("system", AdminAddress(path=str(server.path)))
    async with provider.session(report.__setitem__) as opened:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                running = group.create_task(opened.run())
                yield opened
                running.cancel()


async def reports(reported: Reported, state: RecordState, text: str = "") -> None:
    def is_so() -> bool:
        found = [one for of_owner in reported.values() for one in of_owner]
        return bool(found) and all(one.state is state and text in one.reason for one in found)

    await eventually(is_so, f"{state} {text}: {reported}")


def servers(caddy: FakeCaddy) -> set[str]:
    return set(((caddy.root.get("apps") or {}).get("http") or {}).get("servers") or {})


async def test_changes_that_come_together_are_sent_together(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server:
        async with session(server, reported) as opened:
            complete(opened)
            await put(opened, *(route(f"{n}", f"n{n}.internal") for n in range(50)))
            await reports(reported, RecordState.ANNOUNCED)
            assert len(reported) == 50
            assert caddy.writes == 2
            await put(opened, *(route(f"{n}", f"n{n}.internal") for n in range(50)))
            await asyncio.sleep(0.5)
            assert caddy.writes == 2
        assert servers(caddy) == {"srv0"}
        assert server.hosts == {""}


async def test_a_route_is_announced_beside_the_first_one_of_another_port(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        await put(opened, route("b", "b.internal"), route("c", "c.internal", port=8443))
        await reports(reported, RecordState.ANNOUNCED)


async def test_a_change_that_is_under_way_at_the_end_is_removed(tmp_path: Path) -> None:
    caddy = FakeCaddy(FILE)
    async with served(caddy, tmp_path / "s") as server:
        server.delay = 0.5
        async with session(server) as opened:
            await put(opened, route())
            await eventually(lambda: server.received, "a change is received")
        await eventually(lambda: len(server.seen) > 1, "it is made, and undone")
        assert "@id" not in json.dumps(caddy.root)


async def test_caddy_has_no_error_to_log(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        assert server.unread == []


async def test_a_version_without_the_delay_for_streams_is_served(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE, knows_streams=False), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        assert "stream_close_delay" not in json.dumps(caddy.root)


async def test_what_is_lost_is_sent_again_at_once(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        for _ in range(3):
            caddy.load()
            server.change()
            await eventually(lambda: len(servers(caddy)) == 2, "the server is there again")


async def test_a_refusal_is_reported_and_sent_again(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    caddy.taken = {443}
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.FAILED, "address already in use")
        await put(opened, route("b", "shop.internal", port=8443))

        def other_is_served() -> bool:
            return [one.state for one in reported[key("b")]] == [RecordState.ANNOUNCED]

        await eventually(other_is_served, "the other port is served")
        refused = len(server.seen)
        await asyncio.sleep(1)
        assert len(server.seen) < refused + 4
        caddy.taken = set()
        await reports(reported, RecordState.ANNOUNCED)


async def test_a_port_of_another_server_is_reported_until_it_is_free(tmp_path: Path) -> None:
    file = {"apps": {"http": {"servers": {"a\x1b": {"listen": [":443"]}}}}}
    caddy, reported = FakeCaddy(file), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        await put(opened, route())
        await reports(reported, RecordState.HELD, r"server a\x1b of Caddy's own configuration")
        assert caddy.root == caddy.file
        caddy.file = FILE
        caddy.load()
        server.change()
        await reports(reported, RecordState.ANNOUNCED)


async def test_with_an_etag_a_change_of_others_is_not_overwritten(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE, has_etag=True), Reported()
    changes = 0

    def change_after_read(method: str, path: str) -> None:
        nonlocal changes
        if method != "GET" and changes < 3:
            changes += 1
            caddy.root["apps"][f"other{changes}"] = {}

    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        server.answer = change_after_read
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        assert changes == 3
        assert set(caddy.root["apps"]) >= {"other1", "other2", "other3"}


async def test_others_that_change_all_the_time_are_reported(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        server.answer = lambda method, _path: caddy.load() if method == "GET" else None
        await put(opened, route())
        await reports(reported, RecordState.FAILED, "others change the same objects")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "incomplete"),
        (b"no HTTP\r\n\r\n", "not HTTP"),
        (response(200, None)[:-4] + b"nul}", "not JSON"),
        (response(200, {})[:-2] + b"[" * 2, "not JSON"),
        (response(403, {"error": "host not allowed"}), "host not allowed"),
        (response(500, {"error": ["x"]}), "HTTP status 500"),
        (response(500, {"error": "a\x1b[31m"}), r"a\\x1b\[31m"),
    ],
)
async def test_a_caddy_that_answers_wrongly_ends_the_session(
    tmp_path: Path, made: bytes, text: str
) -> None:
    caddy = FakeCaddy(FILE)

    async def broken() -> None:
        async with served(caddy, tmp_path / "s") as server, session(server) as opened:
            server.answer = lambda _method, path: made if path == "/config/" else None
            await put(opened, route())
            await asyncio.sleep(60)

    with pytest.raises(ProviderLost, match=text):
        await broken()


async def test_a_configuration_that_is_too_long_ends_the_session(tmp_path: Path) -> None:
    caddy = FakeCaddy(FILE)
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 17 * 2**20

    async def broken() -> None:
        async with served(caddy, tmp_path / "s") as server, session(server) as opened:
            server.answer = lambda _method, path: huge if path == "/config/" else None
            await put(opened, route())
            await asyncio.sleep(60)

    with pytest.raises(ProviderLost, match="longer than"):
        await broken()


@pytest.mark.parametrize(
    "root", [[], "x", {"apps": 1}, {"apps": {"http": {"servers": []}}}, {"apps": {"http": "x"}}]
)
async def test_a_configuration_that_is_not_understood_is_reported(
    tmp_path: Path, root: Any
) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        server.answer = lambda _method, path: response(200, root) if path == "/config/" else None
        await put(opened, route())
        await reports(reported, RecordState.FAILED, "of its configuration is not an")
        server.answer = lambda _method, _path: None
        await reports(reported, RecordState.ANNOUNCED)


async def test_a_session_waits_for_a_caddy_and_ends_with_it(tmp_path: Path) -> None:
    caddy = FakeCaddy(FILE)
    path = tmp_path / "later" / "s"
    server = CaddyServer(caddy, path)
    reported = Reported()

    async def begin() -> None:
        await asyncio.sleep(0.5)
        path.parent.mkdir()
        await asyncio.sleep(0.2)
        await server.start()

    async def lost() -> None:
        async with session(server, reported) as opened:
            await put(opened, route())
            await reports(reported, RecordState.ANNOUNCED)
            await server.stop()
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        group.create_task(begin())
        # Since Python 3.13, a server takes its socket with it.
        with pytest.raises(ProviderLost, match=r"refused|No such file"):
            await lost()
    assert len(servers(caddy)) == 2


async def test_routes_of_a_killed_agent_go_once_all_are_known(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server:
        async with session(server, reported) as opened:
            await put(opened, route())
            await reports(reported, RecordState.ANNOUNCED)
            killed = caddy.root
        caddy.root = killed
        async with session(server, Reported()) as opened:
            await asyncio.sleep(0.5)
            assert caddy.root == killed
            complete(opened)
            await eventually(lambda: servers(caddy) == {"srv0"}, "the old route is gone")


async def test_a_route_that_changes_all_the_time_makes_few_changes(tmp_path: Path) -> None:
    caddy, reported = FakeCaddy(FILE), Reported()
    async with served(caddy, tmp_path / "s") as server, session(server, reported) as opened:
        complete(opened)
        await put(opened, route())
        await reports(reported, RecordState.ANNOUNCED)
        before, loop = caddy.writes, asyncio.get_running_loop()
        began = loop.time()
        for number in range(40):
            await put(opened, route(to=9000 + number))
            await asyncio.sleep(PERIOD / 20)
        assert caddy.writes - before <= (loop.time() - began) / PERIOD + 1
        await reports(reported, RecordState.ANNOUNCED)
