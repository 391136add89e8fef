"""Asks the stub of systemd-resolved for names without a pause, until its input ends.

``python3 stub_load.py SUFFIX NAME PERIOD`` asks for other names below SUFFIX each time and for
NAME, every PERIOD seconds each. Prints JSON: for both the number of questions, the longest times
in seconds, and the answers other than the usual one.
"""

import json
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Any

STUB = ("127.0.0.53", 53)
REPEAT = 1.0
PATIENCE = 60.0
MOST = 10
"""Longest times that are printed."""


def question(name: str, number: int) -> bytes:
    labels = b"".join(bytes((len(one),)) + one.encode() for one in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def shown(response: bytes) -> str:
    """Return the address in a response with one record, or its code."""
    number = struct.unpack("!H", response[6:8])[0]
    return socket.inet_ntoa(response[-4:]) if number == 1 else f"rcode {response[3] & 15}"


def ask(name: str, number: int) -> str:
    """Return the answer. As by any resolver, a question is repeated: a datagram may be lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(REPEAT)
        sock.connect(STUB)
        for _ in range(int(PATIENCE / REPEAT)):
            began = time.monotonic()
            with suppress(OSError):
                sock.send(question(name, number))
                return shown(sock.recv(4096))
            # Nothing may listen now, which is an error at once.
            time.sleep(max(0.0, began + REPEAT - time.monotonic()))
    return "no answer"


class Load(threading.Thread):
    """Questions one after the other; those in ``names`` are used in turn."""

    def __init__(self, pattern: str, period: float, end: threading.Event) -> None:
        super().__init__(daemon=True)
        self.pattern, self.period, self.end = pattern, period, end
        self.times: list[float] = []
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        for number in count():
            if self.end.is_set():
                return
            began = time.monotonic()
            found = ask(self.pattern.format(number), number % 65536)
            self.times.append(time.monotonic() - began)
            self.answers[found] += 1
            self.end.wait(self.period)

    def result(self) -> dict[str, Any]:
        ranked = sorted(self.times, reverse=True)
        middle = ranked[len(ranked) // 2] if ranked else 0.0
        return {"longest": ranked[:MOST], "median": middle, "answers": self.answers}


def main() -> None:
    suffix, name, period = sys.argv[1], sys.argv[2], float(sys.argv[3])
    end = threading.Event()
    loads = {
        "foreign": Load(f"n{{}}-{time.time_ns()}.{suffix}", period, end),
        "own": Load(name, period, end),
    }
    for load in loads.values():
        load.start()
    select.select([sys.stdin], [], [])
    end.set()
    for load in loads.values():
        load.join()
    sys.stdout.write(json.dumps({key: load.result() for key, load in loads.items()}))


if __name__ == "__main__":
    main()
