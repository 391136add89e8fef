"""Measures DNS names: ``python -m bench.dns``.

From the event of a container until its name is resolved through each outlet. The peer is the same
record without the agent: a file that is written for dnsmasq, and nsupdate for Knot. The zone is
built in this process. It needs dnsmasq, Knot and nsupdate, and no root.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template
from typing import Final

import dns.exception
import dns.message
import dns.query

from bench.agents import on_bus, settings, wait_until_calm
from bench.containers import private_bus
from bench.fake_engine import OPTS_IN, FakeEngine
from bench.parts import Checkout, Run, main
from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.zone import Zones
from koi_agent.core.key import Key
from koi_agent.core.plan.full_names import Domains
from tests.namespaces import CHECKOUT
from tests.ports import free_port
from tests.real.dns_servers import PRIMARIES, SECRET, ZONE

ROUNDS: Final = 2
CYCLES: Final = 15
PAUSE: Final = 1.0
"""Seconds after a name: Knot writes its zone file after an update, and delays the next one."""
CHANGES: Final = 2_000
NAMES: Final = 10_000
HERE: Final = "127.0.0.1"
DOMAINS: Final = Domains(main="internal")


def measure(run: Run) -> None:
    for checkout in run.turns(ROUNDS):
        if checkout.path == CHECKOUT:
            of_zone(run, checkout)
    with private_bus() as bus:
        for checkout in run.turns(ROUNDS):
            for outlet, serving in {"server": responder, "hosts": dnsmasq, "update": knot}.items():
                with tempfile.TemporaryDirectory() as folder:
                    through(run, checkout, outlet, serving, Path(folder), bus.address)


def of_zone(run: Run, checkout: Checkout) -> None:
    """Measure how long a zone takes, and a change with many and with few other names."""
    began = time.process_time()
    large = zone(NAMES)
    run.add("dns.zone", checkout, [1000 * (time.process_time() - began)])
    run.add("dns.change", checkout, [change(large)], [change(zone(10))])


def zone(count: int) -> Zones:
    made = Zones(DOMAINS, 30)
    for number in range(count):
        made.put(Key("docker", f"{number}"), [name(number, "192.0.2.1")])
    return made


def name(number: int, address: str) -> Name:
    service = Service(type="_http._tcp", port=8080, txt=(("path", "/"),))
    key = Key("docker", f"{number}")
    return Name(owner=key, name=f"n{number}.internal", addresses=(address,), services=(service,))


def change(zones: Zones) -> float:
    """Return the milliseconds of processor time for a change of one name."""
    began = time.process_time()
    for number in range(CHANGES):
        zones.put(Key("docker", "5"), [name(5, f"192.0.2.{2 + number % 2}")])
    return 1000 * (time.process_time() - began) / CHANGES


Add = Callable[[str], None]
"""Adds a name without the agent."""
Serving = Callable[[Path, int, ExitStack], tuple[str, Add | None]]
"""Starts a DNS server on a port; returns the settings for it, and the peer."""


def responder(_folder: Path, port: int, _stack: ExitStack) -> tuple[str, None]:
    return f"Listen={HERE}:{port}\n", None


def dnsmasq(folder: Path, port: int, stack: ExitStack) -> tuple[str, Add]:
    hosts = folder / "hosts"
    hosts.mkdir()
    options = ("--no-hosts", "--no-resolv", "--cache-size=0", "--pid-file", "--bind-interfaces")
    stack.enter_context(
        running(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", f"--port={port}"),
            *(f"--hostsdir={hosts}", f"--listen-address={HERE}", "--user=", *options),
        )
    )

    def add(added: str) -> None:
        written = folder / added
        written.write_text(f"192.0.2.1 {added}\n")
        written.rename(hosts / added)

    return f"HostsDirectory={hosts}\n", add


def knot(folder: Path, port: int, stack: ExitStack) -> tuple[str, Add]:
    kind = PRIMARIES["knot"]
    (folder / "db").mkdir()
    (folder / "internal.zone").write_text(ZONE)
    values = {"folder": folder, "port": port, "peer": HERE, "primary": HERE, "secret": SECRET}
    (folder / "server.conf").write_text(Template(kind.text).substitute(values))
    (folder / "update.key").write_text(f"hmac-sha256:{SECRET}\n")
    stack.enter_context(running(kind.program, *kind.arguments, str(folder / "server.conf")))

    def add(added: str) -> None:
        lines = (
            f"server {HERE} {port}",
            "zone internal",
            f"add {added} 30 A 192.0.2.1",
            "send",
            "",
        )
        command = ("nsupdate", "-y", f"hmac-sha256:peer:{SECRET}")
        subprocess.run(command, input="\n".join(lines), text=True, check=True)

    key = folder / "update.key"
    return f"Update={HERE}:{port}\nUpdateKey=peer\nUpdateKeyFile={key}\n", add


@contextmanager
def running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def through(
    run: Run, checkout: Checkout, outlet: str, serving: Serving, folder: Path, address: str
) -> None:
    """Measure one outlet, and its peer."""
    with ExitStack() as stack:
        port = free_port()
        of_outlet, add = serving(folder, port, stack)
        engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
        common = settings(backends="docker", docker=folder / "docker.sock")
        text = f"{common}MDNS=off\nDNS={outlet}\n[DNS]\n{of_outlet}"
        agent = stack.enter_context(on_bus(checkout, folder, address, text))
        engine.run_each([{**OPTS_IN, "koi.name": "first"}])
        until_resolved("first.internal", port)
        wait_until_calm(agent.pid)
        for number in range(CYCLES):
            began = time.perf_counter()
            engine.run_each([{**OPTS_IN, "koi.name": f"ours{number}"}])
            ours = until_resolved(f"ours{number}.internal", port) - began
            floor = []
            if add:
                began = time.perf_counter()
                add(f"theirs{number}.internal")
                floor = [1000 * (until_resolved(f"theirs{number}.internal", port) - began)]
            run.add(f"dns.{outlet}", checkout, [1000 * ours], floor)
            time.sleep(PAUSE)


def until_resolved(wanted: str, port: int) -> float:
    """Return the time at which a name has an address."""
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            query = dns.message.make_query(wanted, "A")
            if dns.query.udp(query, HERE, timeout=1, port=port).answer:
                return time.perf_counter()
        except (OSError, dns.exception.DNSException):
            pass  # the server is starting
        time.sleep(0.001)
    sys.exit(f"{wanted} was not resolved within 60 s")


if __name__ == "__main__":
    main("dns", measure, __doc__)
