"""Prints the mDNS answers that arrive on any interface.

A line has the interface, TTL, type, name and data, separated by tabs.

It runs on a peer: ``python -m tests.lan.listener``. A packet socket receives from interfaces that
appear later, too.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

from tests.system.query import TYPES, name_at, shown

ALL: Final = 0x0003  # ETH_P_ALL
IPV4, IPV6, UDP = 0x0800, 0x86DD, 17
PORT: Final = 5353
NAMES: Final = {number: name for name, number in TYPES.items()}


def payload(protocol: int, packet: bytes) -> bytes:
    """Return the mDNS message in a packet, empty for any other packet."""
    start = 40
    if protocol == IPV4:
        start, kind = (packet[0] & 0x0F) * 4, packet[9]
    elif protocol == IPV6:
        kind = packet[6]
    else:
        return b""
    if kind != UDP or struct.unpack_from(">H", packet, start)[0] != PORT:
        return b""
    return packet[start + 8 :]


def answers(data: bytes) -> Iterator[str]:
    """Yield the answers and additional records of a response, a line each."""
    _, flags, questions, *counts = struct.unpack_from(">6H", data)
    if not flags & 0x8000:
        return
    at = 12
    for _ in range(questions):
        at = name_at(data, at)[1] + 4
    for _ in range(sum(counts)):
        name, at = name_at(data, at)
        kind, _, ttl, size = struct.unpack_from(">HHIH", data, at)
        at += 10
        text = shown(data, at, size, kind) if kind in NAMES else data[at : at + size].hex()
        yield f"{ttl}\t{NAMES.get(kind, kind)}\t{name}\t{text}"
        at += size


def main() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL)) as packets:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            packet, (interface, protocol, direction, *_) = packets.recvfrom(65536)
            if direction == socket.PACKET_OUTGOING:
                continue
            if message := payload(protocol, packet):
                sys.stdout.write("".join(f"{interface}\t{line}\n" for line in answers(message)))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
