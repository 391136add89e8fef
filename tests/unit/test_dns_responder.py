"""The responder on real sockets: UDP, TCP, transfers, notifications, and hostile clients."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from koi_agent.capabilities.dns.providers import Responder
from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.responder import tcp
from koi_agent.capabilities.dns.responder.settings import ResponderSettings
from koi_agent.config import Listen
from koi_agent.config.dns import Server, listen, servers, transfers
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.reach.addresses import Network
from koi_agent.host.sockets import own_tcp, own_udp
from tests.ports import free_port
from tests.unit.dns_zones import DOMAINS, WEB, complete, key, named

WIKI = named("a", "wiki.internal", "192.0.2.1", services=[WEB])


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


class Served:
    """A responder that runs, and what it reported."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reported: dict[Key, Sequence[RecordStatus]] = {}
        self.session: ProviderSession[Name]

    async def ask(
        self, name: str, kind: str = "A", host: str = "127.0.0.1", *, by_tcp: bool = False
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        send = dns.asyncquery.tcp if by_tcp else dns.asyncquery.udp
        return await send(query, host, timeout=30, port=self.port)

    async def serial(self) -> int:
        return int((await self.ask("internal", "SOA")).answer[0][0].serial)


@asynccontextmanager
async def responder(
    *,
    allow: str = "",
    notify: tuple[Server, ...] = (),
    networks: tuple[Network, ...] = (),
    host: str = "127.0.0.1",
    is_complete: bool = True,
    passed: tuple[socket.socket, ...] = (),
) -> AsyncIterator[Served]:
    made = Served(passed[0].getsockname()[1] if passed else free_port())
    provider = Responder(
        ResponderSettings(
            scope="user",
            domains=DOMAINS,
            networks=networks,
            ttl=30,
            listen=() if passed else (Listen(host=host, port=made.port),),
            passed=passed,
            allow_transfer=transfers(allow),
            notify=notify,
        )
    )
    async with provider.session(made.reported.__setitem__) as session:
        made.session = session
        if is_complete:
            complete(session)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(session.run())
            yield made
            running.cancel()


@pytest.mark.parametrize("by_tcp", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_name_is_answered_until_it_is_withdrawn(host: str, by_tcp: bool) -> None:  # noqa: FBT001
    async with responder(host=host, is_complete=False) as made:
        await made.session.put(key("a"), [WIKI])
        response = await made.ask("wiki.internal", host=host, by_tcp=by_tcp)
        assert response.answer[0].to_text() == "wiki.internal. 30 IN A 192.0.2.1"
        await made.session.put(key("a"), ())
        response = await made.ask("wiki.internal", host=host, by_tcp=by_tcp)
        assert response.rcode() == dns.rcode.SERVFAIL  # it may be one of those that are to come
        complete(made.session)
        response = await made.ask("wiki.internal", host=host, by_tcp=by_tcp)
        assert response.rcode() == dns.rcode.NXDOMAIN


async def test_an_address_of_an_instance_has_a_name() -> None:
    at = ("198.51.100.7",)
    async with responder(networks=(ip_network("198.51.100.0/24"),)) as made:
        vm = Name(owner=key("a"), name="vm.internal", addresses=at, own_addresses=at)
        await made.session.put(key("a"), [vm])
        response = await made.ask("7.100.51.198.in-addr.arpa", "PTR")
        assert response.answer[0].to_text() == "7.100.51.198.in-addr.arpa. 30 IN PTR vm.internal."
        response = await made.ask("8.100.51.198.in-addr.arpa", "PTR")
        assert response.rcode() == dns.rcode.NXDOMAIN
        response = await made.ask("1.2.0.192.in-addr.arpa", "PTR")
        assert response.rcode() == dns.rcode.REFUSED


async def test_a_wildcard_socket_answers_from_the_address_that_was_asked() -> None:
    async with responder(host="0.0.0.0") as made:
        await made.session.put(key("a"), [WIKI])
        for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
            # The client is connected, so that it gets no response from another address.
            assert (await made.ask("wiki.internal", host=host)).answer


async def test_the_status_of_each_name_is_reported() -> None:
    async with responder() as made:
        local = named("a", "l.internal")
        outside = named("a", "x.example", "192.0.2.1")
        await made.session.put(key("a"), [WIKI, local, outside])
        states = [(one.name, one.state, one.provider) for one in made.reported[key("a")]]
        assert states == [
            ("wiki.internal", RecordState.ANNOUNCED, "server"),
            ("l.internal", RecordState.HELD, "server"),
            ("x.example", RecordState.WANTED, "server"),
        ]


async def test_the_serial_grows_with_each_change_and_over_restarts() -> None:
    seen = []
    for _ in range(3):
        async with responder() as made:
            seen.append(await made.serial())
            for records in ([WIKI], [WIKI], []):
                await made.session.put(key("a"), records)
                seen.append(await made.serial())
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) - 3  # the same names change nothing


def test_an_agent_without_a_responder_loads_no_dnspython() -> None:
    program = "import sys, koi_agent.agent; sys.exit('dns' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
    loading = program.replace(";", ", koi_agent.capabilities.dns.responder.session;", 1)
    assert subprocess.run([sys.executable, "-c", loading], check=False, timeout=60).returncode == 1


async def test_an_address_in_use_is_reported() -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        provider = Responder(
            ResponderSettings(
                scope="user",
                domains=DOMAINS,
                networks=(),
                ttl=30,
                passed=(),
                listen=listen(f"127.0.0.1:{port}"),
                allow_transfer=transfers(""),
                notify=(),
            )
        )
        with pytest.raises(ProviderLost, match="already in use"):
            async with provider.session(lambda _key, _status: None):
                raise AssertionError("it listens")


class Secondary(asyncio.DatagramProtocol):
    """A server that is notified; it responds while ``responds`` is True."""

    def __init__(self) -> None:
        self.responds = True
        self.serials: list[tuple[str, int]] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The class that asyncio uses derives from DatagramTransport since Python 3.12.
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = dns.message.from_wire(data)
        assert request.opcode() == dns.opcode.NOTIFY
        assert request.flags & dns.flags.AA
        zone = request.question[0].name.to_text()
        self.serials.append((zone, request.answer[0][0].serial))
        if self.responds:
            self.transport.sendto(dns.message.make_response(request).to_wire(), addr)


@asynccontextmanager
async def secondary() -> AsyncIterator[tuple[Secondary, tuple[Server, ...]]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        Secondary, local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol, servers(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}")
    finally:
        transport.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what another task or process has done
            await asyncio.sleep(0.02)


async def test_secondary_servers_are_notified_of_the_last_change() -> None:
    async with secondary() as (server, notify), responder(notify=notify) as made:
        await until(lambda: {zone for zone, _ in server.serials} == {f"{d}." for d in DOMAINS.all})
        assert len(server.serials) == 3  # each has responded, so that none is repeated
        server.serials.clear()
        for number in range(50):
            name = named(f"{number}", f"n{number}.internal", "192.0.2.1")
            await made.session.put(key(f"{number}"), [name])
        last = await made.serial()
        await until(lambda: ("internal.", last) in server.serials)
        assert len(server.serials) < 10
        assert {zone for zone, _ in server.serials} <= {f"{d}." for d in DOMAINS.all}


async def test_a_secondary_server_without_a_response_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secondary() as (server, notify):
        server.responds = False
        async with responder(notify=notify) as made:
            await until(lambda: "no response" in caplog.text)
            server.responds = True
            server.serials.clear()
            await made.session.put(key("a"), [WIKI])
            last = await made.serial()
            await until(lambda: ("internal.", last) in server.serials)
    assert caplog.text.count("no response") == 1


async def test_garbage_costs_one_message_and_one_connection() -> None:
    async with responder() as made:
        await made.session.put(key("a"), [WIKI])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for wire in (b"", b"\0", b"\xff" * 500, bytes(4000), bytes(12), b"\x80" * 65_000):
                with contextlib.suppress(OSError):
                    sending.sendto(wire, ("127.0.0.1", made.port))
        for start in (b"\xff\xff", b"\0\0", b"\0\5hello", b"\0\x0c" + bytes(12), b"\x10\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(start)
            if start != b"\xff\xff":
                writer.write_eof()
            async with asyncio.timeout(60):
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()  # until the server closes
            writer.close()
        assert (await made.ask("wiki.internal")).answer
        assert (await made.ask("wiki.internal", by_tcp=True)).answer


async def test_several_requests_of_one_connection_are_answered_in_order() -> None:
    async with responder() as made:
        await made.session.put(key("a"), [WIKI])
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        queries = [dns.message.make_query("wiki.internal", kind) for kind in ("A", "MX", "TXT")]
        for query in queries:
            wire = query.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
        for query in queries:
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert dns.message.from_wire(await reader.readexactly(size)).id == query.id
        writer.close()


async def test_a_client_has_a_bounded_number_of_connections() -> None:
    async with responder() as made, contextlib.AsyncExitStack() as stack:
        await made.session.put(key("a"), [WIKI])
        for _ in range(tcp.MOST_OF_CLIENT):
            _, writer = await asyncio.open_connection("127.0.0.1", made.port)
            stack.callback(writer.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        assert (await made.ask("wiki.internal")).answer
    async with responder() as made:
        assert (await made.ask("internal", "NS", by_tcp=True)).answer


async def test_a_client_that_does_not_read_its_transfer_delays_no_other() -> None:
    async with responder(allow="127.0.0.1") as made:
        long = Service(type="_http._tcp", port=80, txt=tuple((c, c * 250) for c in "abcde"))
        for number in range(500):
            name = named(f"{number}", f"n{number}.internal", "192.0.2.1", services=[long])
            await made.session.put(key(f"{number}"), [name])
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", made.port))
            wire = dns.message.make_query("internal", "AXFR").to_wire()
            slow.sendall(len(wire).to_bytes(2, "big") + wire)
            await asyncio.to_thread(slow.recv, 1)  # the transfer has begun
            assert (await made.ask("n7.internal")).answer
            assert (await made.ask("n7.internal", by_tcp=True)).answer


async def test_sockets_from_systemd_are_served_and_stay_open() -> None:
    port = free_port()
    with own_udp("127.0.0.1", port) as udp, own_tcp("127.0.0.1", port) as tcp:
        for _ in range(2):
            async with responder(passed=(udp, tcp)) as served:
                await served.session.put(key("a"), [WIKI])
                for by_tcp in (False, True):
                    answer = await served.ask("wiki.internal", by_tcp=by_tcp)
                    assert str(answer.answer[0][0]) == "192.0.2.1"
