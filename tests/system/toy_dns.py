"""A DNS server that has an address for every name, and writes each question into a file.

``python3 toy_dns.py FILE``: it answers on UDP port 5399 of 127.0.0.1.
"""

import socket
import struct
import sys
from pathlib import Path

ADDRESS = "203.0.113.1"
PORT = 5399


def main() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        Path(sys.argv[1]).open("a") as log,
    ):
        sock.bind(("127.0.0.1", PORT))
        while True:
            data, peer = sock.recvfrom(4096)
            at, labels = 12, []
            while data[at]:
                labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
                at += 1 + data[at]
            kind = struct.unpack("!H", data[at + 1 : at + 3])[0]
            log.write(f"{'.'.join(labels).lower()} {kind}\n")
            log.flush()
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(ADDRESS)
            counts = struct.pack("!HHHH", 1, kind == 1, 0, 0)
            response = data[:2] + b"\x85\x80" + counts + data[12 : at + 5]
            sock.sendto(response + record * (kind == 1), peer)


if __name__ == "__main__":
    main()
