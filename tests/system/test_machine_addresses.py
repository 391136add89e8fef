"""Another host resolves the name of a machine or an Incus instance, and its service answers.

Each kind is shown twice: on the network of the other host, and on a private one behind this host.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import instances
from tests.system.incus import IMAGE, IncusServer
from tests.system.nspawn import Machines, nspawn, unit_of
from tests.system.peers import BOX, BRIDGE, BridgedPeer
from tests.system.service import Service

ON_LAN, BEHIND, GATEWAY = "192.0.2.20", "10.78.0.2", "10.78.0.1"
WEB: Final = (
    "ip addr add {address}/24 dev host0; ip link set host0 up;"
    " echo page of {name} > /tmp/page; exec httpd -f -p 8081 -h /tmp"
)
KEYS: Final = "[X-Koi]\nEnable=yes\nType=_http._tcp\nPort=8081\n"
ONLY_HERE: Final = "so only this host reaches it"


@pytest.fixture
def peer(machine: Machine, service: Service) -> Iterator[BridgedPeer]:
    """A peer that asks Avahi."""
    made = BridgedPeer(machine)
    machine.systemctl("start", "avahi-daemon.service")
    yield made
    machine.systemctl("stop", "avahi-daemon.socket", "avahi-daemon.service")
    service.systemctl("stop")
    made.close()


@pytest.fixture
def machines(machine: Machine, service: Service) -> Iterator[Machines]:
    with nspawn(machine) as machines:
        for name in ("near", "far"):
            machine.write(f"{drop_in(name)}/koi.conf", KEYS)
        machine.systemctl("daemon-reload")
        yield machines
        for name in ("near", "far"):
            machine.remove(drop_in(name))


def drop_in(name: str) -> str:
    return f"/etc/systemd/system/{unit_of(name)}.service.d"


def announcements(service: Service, backend: str, id_: str) -> list[dict[str, Any]]:
    """Return the records of mDNS of an instance."""
    records = instances(service, backend).get(id_, {}).get("announcements", ())
    return [dict(one) for one in records if one["capability"] == "mdns"]


def await_announced(service: Service, backend: str, id_: str) -> None:
    wait_until(
        lambda: {one["status"] for one in announcements(service, backend, id_)} == {"announced"},
        lambda: f"{id_} is announced: {instances(service, backend)}",
        timeout=60,
    )


def await_only_here(service: Service, backend: str, id_: str) -> None:
    """Wait until an instance is refused, because no other host reaches it."""

    def is_refused() -> bool:
        records = announcements(service, backend, id_)
        return any(ONLY_HERE in (one["reason"] or "") for one in records) and all(
            one["status"] == "refused" for one in records
        )

    wait_until(is_refused, lambda: f"{id_} is refused: {instances(service, backend)}", timeout=60)


def await_page(fetch: Callable[[], str], text: str) -> None:
    wait_until(lambda: text in fetch(), lambda: f"it answers with {text}, not {fetch()}")


def page(peer: BridgedPeer, name: str, port: str, path: str) -> str:
    """Resolve a name as another host does, and return the page at its only address."""
    (address,) = peer.ask(f"{name}.local", "A") or ("192.0.2.99",)
    return peer.run("curl", "-s", "-m", "5", f"http://{address}:{port}{path}", check=False)


def run(machines: Machines, name: str, address: str, *options: str) -> None:
    script = WEB.format(address=address, name=name)
    # In the unit of its supervisor: the name of its own scope depends on the version of systemd.
    machines.run(name, "--keep-unit", *options, "--", "/bin/sh", "-c", script)


def test_a_machine_on_the_network_of_others_is_reached_by_its_name(
    machines: Machines, peer: BridgedPeer, service: Service
) -> None:
    run(machines, "near", ON_LAN, f"--network-bridge={BRIDGE}")
    await_announced(service, "machined", "near")
    wait_until(lambda: peer.ask("near.local", "A") == [ON_LAN], "the peer has its own address")
    peer.await_service("near._http._tcp.local", 8081)
    await_page(lambda: page(peer, "near", "8081", "/page"), "page of near")


def test_a_machine_behind_this_host_is_not_announced(
    machines: Machines, peer: BridgedPeer, service: Service
) -> None:
    run(machines, "far", BEHIND, "--network-veth")
    machines.machine.run("ip", "addr", "add", f"{GATEWAY}/24", "dev", "ve-far")
    machines.machine.run("ip", "link", "set", "ve-far", "up")
    fetch = ("curl", "-s", "-m", "5", f"http://{BEHIND}:8081/page")
    await_page(lambda: machines.machine.run(*fetch, check=False).stdout, "page of far")
    await_only_here(service, "machined", "far")
    assert instances(service, "machined")["far"]["ips"] == [BEHIND]
    assert peer.ask("far.local", "A") == []
    assert peer.ask("far._http._tcp.local", "SRV") == []


def opt_in(incus: IncusServer, name: str) -> None:
    for key, value in (("enable", "true"), ("type", "_http._tcp"), ("port", "80")):
        incus.call("config", "set", name, f"user.koi.{key}={value}")


def test_an_instance_on_the_network_of_others_is_reached_by_its_name(
    incus: IncusServer, peer: BridgedPeer, service: Service
) -> None:
    incus.call("init", IMAGE, "near")
    nic = ("nic", "name=eth0", "nictype=bridged", f"parent={BRIDGE}")
    incus.call("config", "device", "add", "near", "eth0", *nic)
    opt_in(incus, "near")
    incus.call("start", "near")
    incus.call("exec", "near", "--", "/bin/ip", "addr", "add", f"{ON_LAN}/24", "dev", "eth0")
    await_announced(service, incus.kind.name, "default/near")
    wait_until(lambda: peer.ask("near.local", "A") == [ON_LAN], "the peer has its own address")
    peer.await_service("near._http._tcp.local", 80)
    await_page(lambda: page(peer, "near", "80", "/inittab"), "sysinit")


def test_an_instance_behind_this_host_is_announced_once_a_proxy_device_publishes_it(
    incus: IncusServer, peer: BridgedPeer, service: Service
) -> None:
    incus.launch("far")
    opt_in(incus, "far")
    await_only_here(service, incus.kind.name, "default/far")
    assert peer.ask("far.local", "A") == []
    proxy = ("proxy", f"listen=tcp:{BOX}:8080", "connect=tcp:127.0.0.1:80")
    incus.call("config", "device", "add", "far", "web", *proxy)
    await_announced(service, incus.kind.name, "default/far")
    wait_until(lambda: peer.ask("far.local", "A") == [BOX], "the peer has the address of this host")
    peer.await_service("far._http._tcp.local", 8080)
    await_page(lambda: page(peer, "far", "8080", "/inittab"), "sysinit")
