"""The installed service gives DNS names: to its host by systemd-resolved, and as a DNS server."""

from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import IMAGE, LIMITS, Engine, Engines
from tests.system.peers import BOX, Peer
from tests.system.service import SOCKET, UNITS, Service, fetch
from tests.system.test_announcing import WEB

FILE = "/run/koi-runtime/dns/static.rr"
FIRST_VERSION = 261
"""The first version of systemd-resolved that has static records."""
ASK = """\
import sys, dns.message, dns.query
question = dns.message.make_query(sys.argv[1], "A")
answer = dns.query.udp(question, "127.0.0.1", timeout=5, port=5354)
print(dns.rcode.to_text(answer.rcode()), *[rr.to_text() for rrset in answer.answer for rr in rrset])
"""


@pytest.fixture
def web(machine: Machine, service: Service) -> Iterator[Machine]:
    """A machine on a network, with a unit that opts in as ``web``."""
    peer = Peer(machine)
    machine.write(f"{UNITS}/web.service", WEB)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "web.service")
    wait_until(lambda: "web.service" in service.listed(), "the unit is listed")
    yield machine
    machine.systemctl("stop", "web.service", "systemd-resolved.service")
    machine.remove(f"{UNITS}/web.service")
    service.systemctl("stop")
    peer.close()


def resolved_version(machine: Machine) -> int:
    return int(machine.run("resolvectl", "--version").stdout.split()[1])


def names(machine: Machine) -> str:
    """Return the content of the file that systemd-resolved reads."""
    return machine.path(FILE).read_text().strip()


def found(machine: Machine, name: str) -> str:
    """Return the addresses of a name as programs of the machine find them, "" for none."""
    lines = machine.run("getent", "ahostsv4", name, check=False).stdout.splitlines()
    return " ".join(dict.fromkeys(line.split()[0] for line in lines))


def asked_of_stub(machine: Machine, name: str) -> str:
    """Return what a DNS client gets from the server that systemd-resolved is for this host."""
    ask = ASK.replace("127.0.0.1", "127.0.0.53").replace("5354", "53")
    return machine.run("python3", "-c", ask, name, check=False).stdout.strip()


def found_in_container(podman: Engine, name: str) -> str:
    """Return what nslookup prints in a container that uses that server."""
    podman.start()
    options = ("--rm", "--network=host", *LIMITS["podman"])
    command = ("busybox", "nslookup", name, "127.0.0.53")
    done = podman.machine.run("podman", "run", *options, IMAGE, *command, check=False, timeout=60)
    return done.stdout


def test_containers_and_dns_clients_find_names(
    service: Service, web: Machine, engines: Engines
) -> None:
    if resolved_version(web) < FIRST_VERSION:
        pytest.skip("this systemd-resolved has no static records")
    web.systemctl("start", "systemd-resolved.service")
    wait_until(lambda: asked_of_stub(web, "web.internal") == f"NOERROR {BOX}", "a client finds it")
    assert f"Address: {BOX}" in found_in_container(engines["podman"], "web.internal")
    service.systemctl("stop")
    wait_until(lambda: BOX not in asked_of_stub(web, "web.internal"), "the name is gone")
    assert BOX not in found_in_container(engines["podman"], "web.internal")
    engines["podman"].stop()


def test_the_host_finds_names_by_static_records(service: Service, web: Machine) -> None:
    if resolved_version(web) < FIRST_VERSION:
        assert "static" not in service.metrics()
        assert names(web) == "[]"
        return
    web.systemctl("start", "systemd-resolved.service")
    wait_until(lambda: found(web, "web.internal") == BOX, "the host finds the name")
    assert BOX in web.run("resolvectl", "query", "web.internal").stdout
    web.systemctl("restart", "systemd-resolved.service")
    wait_until(lambda: found(web, "web.internal") == BOX, "it finds the name after a restart")
    service.systemctl("restart")
    assert found(web, "web.internal") == BOX  # a restart takes no name away
    web.systemctl("kill", "--signal=KILL", "koi-runtime.service")
    assert found(web, "web.internal") == BOX  # a killed agent takes no name away
    wait_until(lambda: service.show("ActiveState") == "active", "the agent is back")
    assert found(web, "web.internal") == BOX
    web.systemctl("stop", "web.service")
    wait_until(lambda: found(web, "web.internal") == "", "the name is gone")
    web.systemctl("start", "web.service")
    wait_until(lambda: found(web, "web.internal") == BOX, "the name is back")
    service.systemctl("stop")
    assert names(web) == "[]"
    wait_until(lambda: found(web, "web.internal") == "", "the name is gone with the agent")


def test_a_killed_agent_that_is_told_to_write_no_names_withdraws_them(
    service: Service, web: Machine
) -> None:
    if resolved_version(web) < FIRST_VERSION:
        pytest.skip("this systemd-resolved has no static records")
    web.systemctl("start", "systemd-resolved.service")
    wait_until(lambda: found(web, "web.internal") == BOX, "the host finds the name")
    service.configure("[Capabilities]\nDNS=off\n")
    web.systemctl("kill", "--signal=KILL", "koi-runtime.service")
    wait_until(lambda: names(web) == "[]", "the names are withdrawn")


def test_the_confined_service_is_a_dns_server(service: Service, web: Machine) -> None:
    service.configure("[DNS]\nListen=5354\n")
    service.systemctl("reload")

    def answer(name: str) -> str:
        return web.run("python3", "-c", ASK, name, check=False).stdout.strip()

    wait_until(lambda: answer("web.internal") == f"NOERROR {BOX}", "the server has the name")
    wait_until(lambda: answer("none.internal") == "NXDOMAIN", "it knows that there is no other")
    assert answer("web.example.org") == "REFUSED"
    serial = web.path("/var/lib/koi-runtime/serial").read_text()
    assert int(serial) > 0
    assert f"web.internal. 30 IN A {BOX}\n" in fetch(web, SOCKET, "/v1/dns/zone")


def test_port_53_is_served_on_sockets_of_systemd(service: Service, web: Machine) -> None:
    unit = "koi-runtime-dns.socket"
    drop_in = f"/etc/systemd/system/{unit}.d/addresses.conf"
    listen = (
        "ListenStream=\nListenDatagram=\nListenStream=127.0.0.9:53\nListenDatagram=127.0.0.9:53\n"
    )
    web.write(drop_in, f"[Socket]\n{listen}")
    web.systemctl("daemon-reload")
    web.systemctl("enable", unit)
    try:
        service.systemctl("restart")

        def answer() -> str:
            ask = ASK.replace("127.0.0.1", "127.0.0.9").replace("5354", "53")
            return web.run("python3", "-c", ask, "web.internal", check=False).stdout.strip()

        wait_until(lambda: answer() == f"NOERROR {BOX}", "the server answers on port 53")
        service.systemctl("restart")
        wait_until(lambda: answer() == f"NOERROR {BOX}", "it answers after a restart")
        web.systemctl("stop", unit)  # as after a failure of the service
        service.systemctl("restart")
        wait_until(lambda: answer() == f"NOERROR {BOX}", "the sockets are open again")
        assert f"{unit} is open" in web.run("koi-runtime", "--system", "doctor", check=False).stdout
    finally:
        web.systemctl("disable", "--now", unit)
        service.systemctl("stop")
        web.remove(drop_in)
        web.systemctl("daemon-reload")
