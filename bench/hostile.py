"""The hostile user of ``bench.unfair``, and a service that does nothing: processes of their own."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from koi_agent.bus import sasl
from koi_agent.bus.client import BUS, BUS_PATH, Connection
from koi_agent.bus.connection import open_socket
from koi_agent.bus.marshalling import marshal
from koi_agent.bus.messages import Flag, Header, Message, MessageType, encode
from koi_agent.bus.writer import BusLost
from koi_agent.core.dbus_names import INSTANCES, MANAGER, ROOT
from tests.world.users import NOBODY

OBJECTS: Final = (ROOT, "org.freedesktop.DBus.ObjectManager")
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
PEER: Final = "org.freedesktop.DBus.Peer"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
SINK: Final = "org.example.Sink1"
"""A service that answers no call of the attack. Users wait for it because of the bus alone."""
HEAD: Final = b"GET /v1/runtime/instances HTTP/1.1\r\nHost: localhost\r\n"
STREAM: Final = b"GET /v1/runtime/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Harm:
    """Calls of one kind: ``turns`` floods on each connection, a second apart."""

    target: tuple[str, str]
    member: str
    signature: str = ""
    arguments: Sequence[object] = ()
    reads: bool = True
    turns: int = 20
    flags: int = 0

    def frames(self, destination: str, calls: int) -> bytes:
        """Return the calls of one turn; none has the serial of Hello."""
        path, interface = self.target
        header = Header(kind=MessageType.CALL, path=path, interface=interface, member=self.member)
        header.destination, header.flags = destination, self.flags
        header.signature = self.signature
        body = marshal(self.signature, self.arguments)
        frames = bytearray()
        for header.serial in range(2, 2 + calls):
            frames += encode(header, body)
        return bytes(frames)


HARMS: Final = (
    Harm(OBJECTS, "GetManagedObjects"),
    Harm(OBJECTS, "GetManagedObjects", reads=False),
    Harm((ROOT, MANAGER), "ListInstances", turns=1),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect"),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect", reads=False, turns=1),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect", flags=Flag.NO_REPLY_EXPECTED),
    Harm((ROOT, MANAGER), "Unknown"),
    Harm((ROOT, PEER), "Ping"),
    Harm((ROOT, MANAGER), "GetColumns", "as", (("announcements", "ports", "ips"),)),
    Harm((ROOT, MANAGER), "FindInstances", "a{sv}", ({},)),
    Harm((ROOT, MANAGER), "GetInstanceByPID", "u", (1,)),
    Harm((ROOT, MANAGER), "GetInstanceByName", "s", ("none",)),
    Harm((ROOT, MANAGER), "Explain", "s", ("docker:none",)),
    Harm((ROOT, PROPERTIES), "GetAll", "s", (MANAGER,)),
)
PAGES: Final = (
    *("/v1/runtime/instances", "/v1/runtime/instances/none", "/v1/health/status"),
    *("/v1/sd/prometheus?include=discovered", "/v1/dns/zone?format=json", "/v1/proxy/routes"),
    *("/v1/proxy/traefik", "/metrics", "/openapi.json"),
)
"""The pages that the attack asks for again and again."""


async def on_bus(address: str, harm: Harm, destination: str, calls: int) -> None:
    """Connect and do harm, again and again: so many calls a second."""
    frames, loop = harm.frames(destination, calls), asyncio.get_running_loop()
    hello = Header(kind=MessageType.CALL, path=BUS_PATH, interface=BUS, member="Hello", serial=1)
    hello.destination = BUS
    while True:
        with suppress(BusLost, OSError), await sasl.connect(address) as sock:
            await loop.sock_sendall(sock, encode(hello))
            for _ in range(harm.turns):
                await loop.sock_sendall(sock, frames)
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while harm.reads and await loop.sock_recv(sock, 1 << 18):
                            pass
                        await asyncio.sleep(1)
        await asyncio.sleep(0.05)


async def on_http(path: str, sent: bytes) -> None:
    """Connect, send, and connect again once the agent closes the connection."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(sent)
            while await reader.read(65536):
                if sent.endswith(b"\r\n\r\n") and sent != STREAM:
                    writer.write(sent)
            writer.close()
        await asyncio.sleep(0.05)


async def hurt(address: str, path: str, destination: str, connections: int, calls: int) -> None:
    pages = [HEAD.replace(PAGES[0].encode(), page.encode()) + b"\r\n" for page in PAGES]
    http = (b"", HEAD, STREAM, *pages)
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(on_bus(address, HARMS[number % len(HARMS)], destination, calls))
            group.create_task(on_http(path, http[number % len(http)]))


async def swallow(address: str) -> None:
    """Answer pings without a path that the attack has."""

    def on_call(message: Message) -> None:
        if message.header.path == "/":
            header = Header(kind=MessageType.RETURN, reply_serial=message.header.serial)
            header.destination = message.header.sender
            link.send(header)

    opened = await open_socket(address, on_call)
    link = Connection(opened, address)
    await link.request_name(SINK)
    await link.wait_closed()


def main() -> None:
    if sys.argv[1] == "--sink":
        asyncio.run(swallow(sys.argv[2]))
        return
    address, path, destination, *options = sys.argv[1:]
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    asyncio.run(hurt(address, path, destination, *map(int, options)))


if __name__ == "__main__":
    main()
