"""The confined service announces instances that opt in, through the machine's Avahi or resolved."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import IMAGE, Engine
from tests.system.peers import BOX, Peer
from tests.system.service import UNITS, Service

WEB = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server 8080 --directory /srv
[X-Koi]
Announce=web
Type=_http._tcp
HealthPath=/
HealthInterval=1s
"""
OTHER = "192.0.2.3"
"""Another address of the machine's."""
KILLS = 100
"""How often the agent is killed."""
IN_NO_TIME = "[Unit]\nStartLimitIntervalSec=0\n"
RULES = "/usr/share/polkit-1/rules.d/koi-runtime.rules"
SPEAKING = "[Resolve]\nMulticastDNS=yes\n"


@pytest.fixture
def peer(machine: Machine, service: Service) -> Iterator[Peer]:
    """A peer, and a unit that asks to be announced; nothing that announces runs yet."""
    made = Peer(machine)
    machine.write(f"{UNITS}/web.service", WEB)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "web.service")
    yield made
    machine.systemctl("stop", "web.service", "avahi-daemon.socket", "avahi-daemon.service")
    machine.systemctl("stop", "systemd-resolved.service")
    machine.remove(f"{UNITS}/web.service")
    service.systemctl("stop")
    made.close()


def announcements(service: Service, name: str = "web") -> list[dict[str, Any]]:
    """Return the records of mDNS of an instance."""
    rows = service.get("/v1/runtime/instances")
    records = next((row["announcements"] for row in rows if row["name"] == name), ())
    return [one for one in records if one["capability"] == "mdns"]


def standings(service: Service, name: str = "web") -> set[tuple[str, str]]:
    return {(one["name"], one["status"]) for one in announcements(service, name)}


def await_announced(service: Service, name: str = "web") -> None:
    wanted = {(f"{name}._http._tcp.local", "announced"), (f"{name}.local", "announced")}
    try:
        wait_until(lambda: standings(service, name) == wanted, f"{name} is announced", timeout=60)
    except Exception as error:
        raise AssertionError(f"{announcements(service, name)}\n{service.journal()}") from error


def start_avahi(machine: Machine) -> None:
    machine.systemctl("start", "avahi-daemon.service")


def test_a_unit_is_found_through_avahi_whatever_becomes_of_that(
    service: Service, peer: Peer
) -> None:
    machine = service.machine
    for _ in range(2):
        start_avahi(machine)
        await_announced(service)
        wait_until(lambda: peer.ask("web.local", "A") == [BOX], "the peer has the address")
        peer.await_service("web._http._tcp.local", 8080)
        assert "Directory listing" in peer.run("curl", "-s", f"http://{BOX}:8080/")
        machine.systemctl("kill", "--signal=KILL", "avahi-daemon.service")
        machine.systemctl("stop", "avahi-daemon.socket", "avahi-daemon.service", check=False)
        wait_until(lambda: {status for _, status in standings(service)} == {"wanted"}, "they wait")
    start_avahi(machine)
    await_announced(service)
    (shown,) = service.get("/v1/health/status")["services"]
    assert (shown["kind"], shown["status"], shown["message"]) == ("http", "up", "HTTP 200")
    assert 'koi_announcements{capability="mdns",provider="avahi",status="announced"} 2' in (
        service.metrics()
    )
    service.systemctl("stop")
    assert peer.ask("web.local", "A") == []


def test_a_container_is_found_in_a_minute(service: Service, peer: Peer) -> None:
    engine = Engine(service.machine, "docker")
    engine.prepare()
    engine.allow(service)
    service.configure("[Runtime]\nRestartGrace=10s\n")
    service.systemctl("reload")
    start_avahi(service.machine)
    engine.start()
    published = ("--name=shop", "--publish=18080:80", "--label=koi.announce=shop")
    id_ = engine.run(*published, IMAGE, "httpd", "-f", "-p", "80")
    try:
        await_announced(service, "shop")
        wait_until(lambda: peer.ask("shop.local", "A") == [BOX], "the peer has the address")
        peer.await_service("shop._http._tcp.local", 18080)
        fetch = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{BOX}:18080/")
        wait_until(lambda: peer.run(*fetch, check=False) == "404", "busybox answers without a page")
        with service.machine.spawn("docker", "restart", "--time=0", id_):
            asked = [peer.ask("shop.local", "A", seconds=5) for _ in range(10)]
        assert asked == [[BOX]] * 10  # a restart sends no goodbye
        engine.call("pause", id_)
        wait_until(lambda: peer.ask("shop.local", "A") == [], "it is withdrawn")
        engine.call("unpause", id_)
        await_announced(service, "shop")
    finally:
        engine.empty()
        engine.stop()
    wait_until(lambda: peer.ask("shop.local", "A") == [], "it is gone")


def test_replicas_share_a_host_name_with_an_address_each(service: Service, peer: Peer) -> None:
    engine = Engine(service.machine, "docker")
    engine.prepare()
    engine.allow(service)
    service.machine.run("ip", "addr", "add", f"{OTHER}/24", "dev", "lan0")
    start_avahi(service.machine)
    engine.start()
    try:
        for number, address in ((1, BOX), (2, OTHER)):
            compose = "--label=com.docker.compose"
            engine.run(
                *(f"--publish={address}:18080:80", "--label=koi.enable=true"),
                *(f"{compose}.project=p", f"{compose}.service=shop"),
                *(f"{compose}.container-number={number}", IMAGE, "httpd", "-f", "-p", "80"),
            )
        wait_until(lambda: peer.ask("shop.local", "A") == [BOX, OTHER], "both are there")
        names = {"shop._http._tcp.local", "shop #2._http._tcp.local"}
        wait_until(lambda: names <= set(peer.ask("_http._tcp.local", "PTR")), "so are the services")
        (first,) = engine.call("ps", "--quiet", "--filter=publish=18080", "--latest").split()
        engine.call("rm", "--force", first)
        wait_until(lambda: peer.ask("shop.local", "A") == [BOX], "one is left")
    finally:
        engine.empty()
        engine.stop()


def test_services_are_announced_by_resolved_as_polkit_allows(service: Service, peer: Peer) -> None:
    start_resolved(service)
    assert standings(service) == {("web._http._tcp.local", "announced"), ("web.local", "refused")}
    assert {one["provider"] for one in announcements(service)} == {"resolved"}
    wait_until(
        lambda: [one[:5] for one in peer.ask("web._http._tcp.local", "SRV")] == ["8080 "],
        "the peer finds it",
    )
    service.systemctl("stop")
    assert not registered(service)


def test_resolved_withdraws_what_a_killed_agent_registered_since_262(
    service: Service, peer: Peer
) -> None:
    machine = service.machine
    service.drop_in("[Service]\nRestart=no\n")
    service.systemctl("restart")
    start_resolved(service)
    machine.systemctl("kill", "--signal=KILL", "koi-runtime.service")
    wait_until(lambda: service.show("ActiveState") == "failed", "it is killed")
    if machine.run("resolvectl", "--version").stdout.split()[1] >= "262":
        wait_until(lambda: not registered(service), "resolved has withdrawn it")
        wait_until(lambda: not peer.ask("web._http._tcp.local", "SRV"), "the peer finds nothing")
    else:
        assert registered(service)
    machine.systemctl("reset-failed", "koi-runtime.service")
    service.systemctl("start")
    wait_until(lambda: len(registered(service)) == 1, "it is registered again, once")
    wait_until(lambda: peer.ask("web._http._tcp.local", "SRV"), "the peer finds it")


def start_resolved(service: Service) -> None:
    """Start resolved, and wait until the service is announced by it."""
    machine = service.machine
    machine.write("/run/systemd/resolved.conf.d/test.conf", SPEAKING)
    machine.systemctl("start", "systemd-resolved.service")
    machine.run("resolvectl", "mdns", "lan0", "yes")
    wait_until(lambda: "announced" in dict(standings(service)).values(), "it is", timeout=30)


def registered(service: Service) -> list[str]:
    """Return the services of the agent in resolved, by their objects."""
    listed = service.machine.run("busctl", "tree", "--list", "org.freedesktop.resolve1").stdout
    return [line for line in listed.split() if "/dnssd/koi_2d" in line]


@pytest.mark.timeout(1200)
def test_nothing_stays_on_the_network_whenever_the_agent_is_killed(
    service: Service, peer: Peer
) -> None:
    machine = service.machine
    service.drop_in(IN_NO_TIME + "[Service]\nRestart=no\n")
    start_avahi(machine)
    service.systemctl("stop")
    moments = random.Random(KILLS)
    for number in range(KILLS):
        machine.systemctl("start", "--no-block", "koi-runtime.service")
        if number % 4:
            time.sleep(moments.uniform(0.2, 1.8))
        else:  # killed while its records are announced
            wait_until(lambda: peer.ask("web.local", "A") == [BOX], "it is announced", timeout=60)
        machine.systemctl("kill", "--signal=KILL", "koi-runtime.service", check=False)
        wait_until(lambda: peer.ask("web.local", "A", seconds=0.2) == [], "it is gone", timeout=20)
        machine.systemctl("stop", "koi-runtime.service", check=False)
    machine.systemctl("reset-failed", "koi-runtime.service")
    service.systemctl("start")
    await_announced(service)
    wait_until(lambda: peer.ask("web.local", "A") == [BOX], "it is announced, once")
