"""A one-shot multicast DNS query, in a machine: python3 query.py ADDRESS NAME TYPE [SECONDS].

ADDRESS is the asker's own, on the network that is asked. It prints what the answers hold, a line
each: addresses, names, or a port and a name. No library: it runs on any Python.
"""

import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Iterator

GROUP = ("224.0.0.251", 5353)
TYPES = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}


def question(name: str, kind: int) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    spelled = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return struct.pack(">6H", 7, 0, 1, 0, 0, 0) + spelled + struct.pack(">HH", kind, 1)


def name_at(data: bytes, at: int) -> tuple[str, int]:
    """Read a name, compressed or not; returns it and where it ends."""
    labels, end = [], 0
    while size := data[at]:
        if size >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", data, at)[0] & 0x3FFF
            continue
        labels.append(data[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels), end or at + 1


def answers(data: bytes, wanted: int) -> Iterator[str]:
    _, _, questions, count, _, _ = struct.unpack_from(">6H", data)
    at = 12
    for _ in range(questions):
        _, at = name_at(data, at)
        at += 4
    for _ in range(count):
        _, at = name_at(data, at)
        kind, _, _, size = struct.unpack_from(">HHIH", data, at)
        at += 10
        if kind == wanted:
            yield shown(data, at, size, kind)
        at += size


def shown(data: bytes, at: int, size: int, kind: int) -> str:
    if kind in (TYPES["A"], TYPES["AAAA"]):
        return str(ipaddress.ip_address(data[at : at + size]))
    if kind == TYPES["SRV"]:
        port = struct.unpack_from(">H", data, at + 4)[0]
        return f"{port} {name_at(data, at + 6)[0]}"
    if kind == TYPES["TXT"]:
        return data[at + 1 : at + 1 + data[at]].decode()
    return name_at(data, at)[0]


def main() -> None:
    own, name, kind = sys.argv[1], sys.argv[2], TYPES[sys.argv[3]]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((own, 0))
        door.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        door.sendto(question(name, kind), GROUP)
        found: set[str] = set()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            door.settimeout(left)
            try:
                found.update(answers(door.recv(9000), kind))
            except TimeoutError:
                break
            deadline = min(deadline, time.monotonic() + 0.2)
    sys.stdout.write("".join(f"{line}\n" for line in sorted(found)))


if __name__ == "__main__":
    main()
