"""A client that returns every message it gets, also replies that it did not expect."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.bus import sasl
from koi_agent.bus.client import BUS, BUS_PATH
from koi_agent.bus.messages import Header, Message, MessageType, decode, encode, extent, marshal


class RawClient:
    """A socket to a bus; serials count from 1."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""
        self._serial = 0

    async def send(self, header: Header, body: bytes = b"") -> int:
        """Send a message; returns its serial."""
        self._serial += 1
        header.serial = self._serial
        await asyncio.get_running_loop().sock_sendall(self._sock, encode(header, body))
        return self._serial

    async def call(self, target: tuple[str, str, str], member: str, *texts: str) -> Message:
        """Call a method that takes strings; returns the reply and drops earlier messages."""
        destination, path, interface = target
        header = Header(kind=MessageType.CALL, path=path, interface=interface, member=member)
        header.destination, header.signature = destination, "s" * len(texts)
        serial = await self.send(header, marshal(header.signature, texts))
        while (reply := await self.receive()).header.reply_serial != serial:
            pass
        return reply

    async def receive(self) -> Message:
        """Return the next message of any type."""
        while len(self._data) < 16 or len(self._data) < extent(self._data, 0)[2]:
            received = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
            assert received, "the bus closed the connection"
            self._data += received
        _, begin, end = extent(self._data, 0)
        message = Message(decode(self._data, 0), self._data[begin:end], self._data[0])
        self._data = self._data[end:]
        return message


@asynccontextmanager
async def raw_client(address: str) -> AsyncIterator[RawClient]:
    """Connect to a bus and call Hello."""
    sock = await sasl.connect(address)
    with sock:
        client = RawClient(sock)
        await client.call((BUS, BUS_PATH, BUS), "Hello")
        yield client
