"""The link unit: systemd-resolved of every version asks the agent's DNS server for its domains."""

from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import Engines
from tests.system.peers import BOX
from tests.system.service import UNITS, Service
from tests.system.test_dns import asked_of_stub, found, found_in_container, web

__all__ = ["web"]

LINK = "koi-runtime-dns-link.service"
# The kernel may lack the type of link that the unit makes by default.
DROP_IN = f"{UNITS}/{LINK}.d/kind.conf"
KIND = "[Service]\nEnvironment=KIND=ifb\n"
STATIC = "[Capabilities]\nDNS=server\n[DNS]\nListen=5354\n"


@pytest.fixture
def linked(service: Service, web: Machine) -> Iterator[Machine]:
    """A machine whose systemd-resolved asks the agent, which has no static records."""
    service.configure(STATIC)
    service.systemctl("restart")
    web.write(DROP_IN, KIND)
    web.systemctl("daemon-reload")
    web.systemctl("enable", "--now", LINK)
    yield web
    web.systemctl("disable", "--now", LINK)
    web.remove(DROP_IN)
    web.systemctl("daemon-reload")


def doctor(machine: Machine) -> str:
    return machine.run("koi-runtime", "--system", "doctor", check=False).stdout


def test_the_host_finds_names_over_the_link(service: Service, linked: Machine) -> None:
    wait_until(lambda: found(linked, "web.internal") == BOX, "the host finds the name")
    service_name = ("--type=SRV", "web._http._tcp.internal")
    assert "web.internal" in linked.run("resolvectl", "query", *service_name).stdout
    assert f"questions about internal to {LINK}" in doctor(linked)
    linked.systemctl("restart", "systemd-resolved.service")
    wait_until(lambda: found(linked, "web.internal") == BOX, "it finds the name after a restart")
    linked.systemctl("stop", "web.service")
    wait_until(lambda: found(linked, "web.internal") == "", "the name is gone")
    linked.systemctl("start", "web.service")
    wait_until(lambda: found(linked, "web.internal") == BOX, "the name is back")
    service.systemctl("stop")
    assert found(linked, "web.internal") == ""
    service.systemctl("start")
    wait_until(lambda: found(linked, "web.internal") == BOX, "the name is back with the agent")


def test_containers_and_dns_clients_find_names(linked: Machine, engines: Engines) -> None:
    wait_until(
        lambda: asked_of_stub(linked, "web.internal") == f"NOERROR {BOX}", "a client finds it"
    )
    assert f"Address: {BOX}" in found_in_container(engines["podman"], "web.internal")
    engines["podman"].stop()


def test_no_other_name_goes_to_the_agent(linked: Machine) -> None:
    shown = linked.run("resolvectl", "status", "koi-dns").stdout
    assert "~internal" in shown
    assert "-DefaultRoute" in shown
    assert "127.0.0.1:5354" in shown


def test_the_link_is_no_network_of_others(linked: Machine) -> None:
    wait_until(lambda: found(linked, "web.internal") == BOX, "the host finds the name")
    announced = linked.run("koi-runtime", "--system", "explain", "web.service").stdout
    assert "169.254" not in announced


def test_the_link_goes_with_its_unit(linked: Machine) -> None:
    linked.systemctl("stop", LINK)
    assert "koi-dns" not in linked.run("ip", "link").stdout
    linked.systemctl("start", LINK)
    assert "koi-dns" in linked.run("ip", "link").stdout
