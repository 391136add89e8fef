"""Runs in a machine: measures when names of units are found by the host's own DNS server.

``python3 - OUTLET CYCLES`` prints milliseconds as JSON: ``ours`` from the start of a unit until its
name is found, ``query`` of one question that is answered.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.query

STUB = "127.0.0.53"
UNIT = "[Service]\nExecStart=busybox httpd -f -p {port}\n[X-Koi]\nEnable=yes\n"
UNITS = Path("/run/systemd/system")
RECORDS = Path("/run/systemd/resolve/static.d")
QUERIES = 300
PAUSE = 2.5
"""Seconds after which systemd-resolved looks at files of records again."""


def find(name: str) -> bool:
    query = dns.message.make_query(name, "A")
    try:
        return bool(dns.query.udp(query, STUB, timeout=5).answer)
    except (OSError, dns.exception.DNSException):
        return False


def until_found(name: str) -> float:
    """Return the time at which a name is found."""
    deadline = time.perf_counter() + 60
    while not find(name):
        if time.perf_counter() > deadline:
            sys.exit(f"{name} was not found within 60 s")
        time.sleep(0.001)
    return time.perf_counter()


def of_unit(name: str) -> float:
    """Return the milliseconds from the start of a unit until its name is found."""
    began = time.perf_counter()
    subprocess.run(("systemctl", "start", f"{name}.service"), check=True)
    return 1000 * (until_found(f"{name}.internal") - began)


def of_file(name: str) -> float:
    """Return the milliseconds from a file of static records until its name is found."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    file = RECORDS / f"{name}.rr"
    began = time.perf_counter()
    record = {"key": {"name": f"{name}.internal", "type": 1}, "address": "192.0.2.1"}
    file.with_suffix(".new").write_text(json.dumps([record]))
    file.with_suffix(".new").rename(file)
    found = until_found(f"{name}.internal")
    file.unlink()
    return 1000 * (found - began)


def of_question(name: str) -> float:
    began = time.perf_counter()
    find(name)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    outlet, cycles = sys.argv[1], int(sys.argv[2])
    names = [f"{outlet}{number}" for number in range(cycles + 1)]
    for number, name in enumerate(names):
        (UNITS / f"{name}.service").write_text(UNIT.format(port=9000 + number))
    subprocess.run(("systemctl", "daemon-reload"), check=True)
    ours, floor = [], []
    of_unit(names[0])  # the outlet opens with the first name
    for name in names[1:]:
        ours.append(of_unit(name))
        time.sleep(PAUSE)
        if outlet == "static":
            floor.append(of_file(f"file-{name}"))
            time.sleep(PAUSE)
    query = [of_question(f"{names[0]}.internal") for _ in range(QUERIES)]
    subprocess.run(("systemctl", "stop", *(f"{name}.service" for name in names)), check=True)
    sys.stdout.write(json.dumps({"ours": ours, "floor": floor, "query": query}))


if __name__ == "__main__":
    main()
