"""Measures DNS names: ``python -m bench.dns``.

From the event of a container until its name is resolved through each outlet. The peer is the same
record without the agent: a file that is written for dnsmasq, nsupdate for Knot, and one request to
external-dns. The zone is built in this process. It needs dnsmasq, Knot and nsupdate, and no root.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
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
WEBHOOK: Final = f"http://{HERE}:8888"
MEDIA_TYPE: Final = "application/external.dns.webhook+json;version=1"
DOMAINS: Final = Domains(main="internal")


def measure(run: Run) -> None:
    for checkout in run.turns(ROUNDS):
        if checkout.path == CHECKOUT:
            of_zone(run, checkout)
    with private_bus() as bus:
        outlets = {"server": responder, "hosts": dnsmasq, "update": knot, "webhook": external_dns}
        if shutil.which("external-dns") is None:
            run.figures.absent["dns.webhook"] = "external-dns: not installed"
            del outlets["webhook"]
        for checkout in run.turns(ROUNDS):
            for outlet, serving in outlets.items():
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


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has names: the settings for it, and whether it has a name.

    ``add`` adds a name without the agent.
    """

    settings: str
    has: Callable[[str], bool]
    add: Callable[[str], None] | None = None


Serving = Callable[[Path, int, ExitStack], Server]
"""Starts a server on a port."""


def responder(_folder: Path, port: int, _stack: ExitStack) -> Server:
    return Server(f"Listen={HERE}:{port}\n", partial(resolves, port))


def dnsmasq(folder: Path, port: int, stack: ExitStack) -> Server:
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

    return Server(f"HostsDirectory={hosts}\n", partial(resolves, port), add)


def knot(folder: Path, port: int, stack: ExitStack) -> Server:
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
    text = f"Update={HERE}:{port}\nUpdateKey=peer\nUpdateKeyFile={key}\n"
    return Server(text, partial(resolves, port), add)


def external_dns(_folder: Path, _port: int, stack: ExitStack) -> Server:
    """Start external-dns, whose port can't be chosen; its provider keeps records in memory."""
    options = ("--provider=inmemory", "--inmemory-zone=internal", "--source=fake")
    stack.enter_context(running("external-dns", "--webhook-server", *options, is_killed=True))

    def add(added: str) -> None:
        endpoint = {"dnsName": added, "recordType": "A", "targets": ["192.0.2.1"]}
        webhook(json.dumps({"create": [endpoint]}).encode())

    def has(wanted: str) -> bool:
        return any(one["dnsName"] == wanted for one in json.loads(webhook() or "[]"))

    return Server(f"Webhook={WEBHOOK}\n", has, add)


def webhook(body: bytes | None = None) -> bytes:
    """Request the records of external-dns, or change them."""
    fields = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
    request = urllib.request.Request(f"{WEBHOOK}/records", body, fields)
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


@contextmanager
def running(*command: str, is_killed: bool = False) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        if is_killed:  # it ignores SIGTERM
            process.kill()
        process.terminate()
        process.wait(60)


def through(
    run: Run, checkout: Checkout, outlet: str, serving: Serving, folder: Path, address: str
) -> None:
    """Measure one outlet, and its peer."""
    with ExitStack() as stack:
        port = free_port()
        server = serving(folder, port, stack)
        engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
        common = settings(backends="docker", docker=folder / "docker.sock")
        text = f"{common}MDNS=off\nDNS={outlet}\n[DNS]\n{server.settings}"
        agent = stack.enter_context(on_bus(checkout, folder, address, text))
        engine.run_each([{**OPTS_IN, "koi.name": "first"}])
        until_there("first.internal", server)
        wait_until_calm(agent.pid)
        for number in range(CYCLES):
            began = time.perf_counter()
            engine.run_each([{**OPTS_IN, "koi.name": f"ours{number}"}])
            ours = until_there(f"ours{number}.internal", server) - began
            floor = []
            if server.add:
                began = time.perf_counter()
                server.add(f"theirs{number}.internal")
                floor = [1000 * (until_there(f"theirs{number}.internal", server) - began)]
            run.add(f"dns.{outlet}", checkout, [1000 * ours], floor)
            time.sleep(PAUSE)


def until_there(wanted: str, server: Server) -> float:
    """Return the time at which a server has a name."""
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        with suppress(OSError, dns.exception.DNSException):  # the server is starting
            if server.has(wanted):
                return time.perf_counter()
        time.sleep(0.001)
    sys.exit(f"{wanted} was not there within 60 s")


def resolves(port: int, wanted: str) -> bool:
    query = dns.message.make_query(wanted, "A")
    return bool(dns.query.udp(query, HERE, timeout=1, port=port).answer)


if __name__ == "__main__":
    main("dns", measure, __doc__)
